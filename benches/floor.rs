//! What no builder of an image with gzip layers can do without: decoding the packages and compressing what is in
//! them on all cores, then one copy and one hash of the whole. Scripts come on top.
//!
//! `cargo bench --bench floor -- FOLDER...`, where each folder holds `.deb`, `.whl` and `.tgz` files at any depth
//! (`benches/peers prepare` makes such of packages: `FOLDER/mirror/SET`).

#![allow(clippy::print_stdout, reason = "a benchmark prints what it has measured")]

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln::digest::Digest;
use kiln::ecosystem::debian::deb;
use kiln::layer::gzip;
use rayon::prelude::*;

/// What is decoded, by the end of its name.
const KINDS: [&str; 3] = ["deb", "whl", "tgz"];

fn main() -> kiln::Result<()> {
    let folders: Vec<PathBuf> =
        std::env::args_os().skip(1).filter(|argument| argument != "--bench").map(PathBuf::from).collect();
    println!("| folder | packages | plain MB | gzip MB | codec s | copy s | hash s | floor s |");
    println!("|---|---|---|---|---|---|---|---|");
    for folder in folders {
        measure(&folder)?;
    }
    Ok(())
}

fn measure(folder: &Path) -> kiln::Result<()> {
    let mut packages = Vec::new();
    packages_in(folder, &mut packages)?;
    // The largest first: otherwise one core is left with it at the end.
    packages.sort_by_key(|(path, size)| (std::cmp::Reverse(*size), path.clone()));
    let (plain, codec) = timed(|| -> kiln::Result<Vec<(Vec<u8>, u64)>> {
        packages.par_iter().with_max_len(1).map(|(path, _)| recode(path)).collect()
    });
    let plain = plain?;
    let copy = tempfile::NamedTempFile::new_in(folder)?;
    let ((), copying) = timed(|| plain.iter().for_each(|(bytes, _)| copy.as_file().write_all(bytes).unwrap()));
    let ((), hashing) = timed(|| {
        plain.iter().for_each(|(bytes, _)| {
            std::hint::black_box(Digest::of(bytes));
        });
    });
    let size: usize = plain.iter().map(|(bytes, _)| bytes.len()).sum();
    let compressed: u64 = plain.iter().map(|(_, compressed)| compressed).sum();
    println!(
        "| {} | {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
        folder.file_name().unwrap_or(folder.as_os_str()).display(),
        packages.len(),
        size as f64 / 1e6,
        compressed as f64 / 1e6,
        codec.as_secs_f64(),
        copying.as_secs_f64(),
        hashing.as_secs_f64(),
        (codec + copying + hashing).as_secs_f64(),
    );
    Ok(())
}

fn packages_in(folder: &Path, found: &mut Vec<(PathBuf, u64)>) -> kiln::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            packages_in(&entry.path(), found)?;
        } else if entry.path().extension().is_some_and(|extension| KINDS.iter().any(|kind| extension == *kind)) {
            found.push((entry.path(), entry.metadata()?.len()));
        }
    }
    Ok(())
}

/// A package's files as plain tar, and the bytes that they compress to as layers are.
fn recode(path: &Path) -> kiln::Result<(Vec<u8>, u64)> {
    let mut plain = Vec::new();
    let file = BufReader::with_capacity(1 << 18, File::open(path)?);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("whl") => {
            let mut wheel = zip::ZipArchive::new(file).map_err(kiln::Error::from)?;
            for index in 0..wheel.len() {
                wheel.by_index(index).map_err(kiln::Error::from)?.read_to_end(&mut plain)?;
            }
        }
        Some("tgz") => drop(gzip::reader(file).read_to_end(&mut plain)?),
        _ => drop(deb::read(file)?.data.read_to_end(&mut plain)?),
    }
    let sizes: Vec<u64> = plain
        .par_chunks(gzip::BLOCK)
        .map(|block| Ok(gzip::member(block)?.len() as u64))
        .collect::<kiln::Result<_>>()?;
    Ok((plain, sizes.iter().sum()))
}

fn timed<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = action();
    (result, started.elapsed())
}
