//! Archives: tar streams, gzip members, what `[[fetch]]` unpacks, and layers of others.

use std::io::{self, Read};

use kiln::Digest;
use kiln::ecosystem::fetch::{self, Options};
use kiln::ecosystem::placing::Placing;
use kiln::layer::{Compression, Layer, flatten, gzip, import, tar};

use super::{Outcome, Target, printable, same};
use crate::mend;
use crate::world::World;

const TAR: &[&str] = &[
    "./",
    "../",
    "/",
    ".wh.",
    ".wh..wh..opq",
    "ustar\0",
    "ustar  \0",
    "PaxHeader",
    "././@LongLink",
    "30 mtime=1.5\n",
    "12 path=a/b\n",
    "28 size=18446744073709551615\n",
    "18 SCHILY.xattr.a=\n",
    "0000644\0",
    "1",
    "2",
    "5",
    "L",
    "x",
    "g",
];

fn list() -> Vec<Target> {
    vec![
        Target { name: "tar", words: TAR, mend: mend::tar, run: tar_stream },
        Target { name: "layer", words: TAR, mend: mend::tar, run: layer },
        Target { name: "gzip", words: &["\u{1f}\u{8b}"], mend: mend::nothing, run: gzip_stream },
        Target { name: "fetch-tar", words: TAR, mend: mend::tar, run: fetched_tar },
        Target { name: "fetch-compressed", words: &[], mend: mend::nothing, run: fetched_compressed },
        Target {
            name: "fetch-zip",
            words: &["PK\u{3}\u{4}", "PK\u{1}\u{2}", "PK\u{5}\u{6}", "../"],
            mend: mend::zip,
            run: fetched_zip,
        },
    ]
}

pub const TARGETS: fn() -> Vec<Target> = list;

fn tar_stream(_: &World, bytes: &[u8]) -> Outcome {
    // Once without looking at what is in the files.
    let mut reader = tar::Reader::new(bytes);
    let mut count = 0;
    while let Some(Some(_)) = printable(reader.next_item()) {
        count += 1;
        if count > bytes.len() / tar::BLOCK {
            return Err("it has more entries than there is room for".to_owned());
        }
    }
    let mut reader = tar::Reader::new(bytes);
    while let Some(Some(item)) = printable(reader.next_item()) {
        let mut content = Vec::new();
        if reader.read_to_end(&mut content).is_err() {
            break;
        }
        if content.len() as u64 != item.size {
            return Err(format!("{:?} has {} bytes, its header says {}", item.path, content.len(), item.size));
        }
        let digest = Digest::of(&content);
        let Some(entry) = printable(item.to_entry(digest)) else { continue };
        let mut written = Vec::new();
        if printable(tar::write_header(&entry, &mut written)).is_none() {
            continue;
        }
        let written_header = written.clone();
        written.extend(&content);
        written.resize(written.len() + tar::padding(content.len() as u64), 0);
        let mut again = tar::Reader::new(&written[..]);
        let item = again.next_item().map_err(|error| format!("{entry:?} cannot be read again: {error}"))?;
        let item = item.ok_or_else(|| format!("{entry:?} is not there when read again"))?;
        let read = item.to_entry(digest).map_err(|error| error.to_string())?;
        let mut rewritten = Vec::new();
        tar::write_header(&read, &mut rewritten).map_err(|error| error.to_string())?;
        same("a tar header", &written_header, &rewritten)?;
    }
    Ok(())
}

fn layer(world: &World, bytes: &[u8]) -> Outcome {
    let digest = world.put(bytes);
    let size = bytes.len() as u64;
    let layer = Layer { digest, size, diff_id: digest, tar_size: 0, compression: Compression::None };
    if let Some(imported) = printable(import(&world.store, &layer)) {
        for entry in imported.part.entries.iter().chain(&imported.part.directories) {
            if entry.path.starts_with('/') || entry.path.split('/').any(|name| name == "..") {
                return Err(format!("a path leads out: {:?}", entry.path));
            }
        }
    }
    let _ = printable(flatten(&world.store, std::slice::from_ref(&layer)));
    for compression in [Compression::Gzip, Compression::Zstd] {
        let _ = printable(import(&world.store, &Layer { compression, diff_id: Digest::of(b""), ..layer.clone() }));
    }
    Ok(())
}

fn gzip_stream(_: &World, bytes: &[u8]) -> Outcome {
    let mut plain = Vec::new();
    let _ = gzip::reader(bytes).take(1 << 20).read_to_end(&mut plain);
    for size in [0, 1, 12, 1 << 20, u32::MAX] {
        let _ = printable(gzip::decode_member(bytes, size));
    }
    let member = gzip::member(bytes).map_err(|error| error.to_string())?;
    let again = gzip::decode_member(&member, bytes.len() as u32).map_err(|error| error.to_string())?;
    same("a gzip member", &bytes.to_vec(), &again)
}

/// Unpacks a fetched file in several ways.
fn fetched(world: &World, bytes: &[u8], name: &str) -> Outcome {
    let digest = world.put(bytes);
    for (strip, select) in [(0, &[][..]), (1, &[]), (0, &["a/**".to_owned(), "*.txt".to_owned()])] {
        let placing = Placing::new("/opt/x/", None).map_err(|error| error.to_string())?;
        let options = Options { name, unpack: true, strip, select, placing: &placing };
        let Some(part) = printable(fetch::part(&world.store, &digest, &options)) else { continue };
        for entry in &part.part.entries {
            if !entry.path.starts_with("opt/x/") || entry.path.split('/').any(|name| name == "..") {
                return Err(format!("a path leads out: {:?}", entry.path));
            }
        }
    }
    let _ = printable(fetch::file_at_depth(&world.store, &digest, name, "pyproject.toml", 1, 1 << 20));
    Ok(())
}

fn fetched_tar(world: &World, bytes: &[u8]) -> Outcome {
    fetched(world, bytes, "a.tar")
}

/// What the bytes are compressed with is said by how they begin; whether it is true is for the reader to find.
fn fetched_compressed(world: &World, bytes: &[u8]) -> Outcome {
    let name = match bytes {
        [0x1f, ..] => "a.tar.gz",
        [b'B', ..] => "a.tar.bz2",
        [0xfd, ..] => "a.tar.xz",
        _ => "a.tar.zst",
    };
    fetched(world, bytes, name)
}

fn fetched_zip(world: &World, bytes: &[u8]) -> Outcome {
    let _ = printable(fetch::entry_count(&mut io::Cursor::new(bytes), bytes.len() as u64));
    fetched(world, bytes, "a.zip")
}
