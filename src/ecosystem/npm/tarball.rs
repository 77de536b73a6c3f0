//! Tarballs of packages: what is in them, as npm would unpack it.
//!
//! npm drops the first folder of every path whatever it is called, links of both kinds and devices, takes
//! `.gitignore` for `.npmignore`, and gives modes of its own. Everything here comes from strangers: paths that
//! lead out, files that are there twice, and archives that unpack to too much are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;

use super::packument::Manifest;
use super::spec::check_name;
use super::tree::Bundled;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::entry::normalize;
use crate::layer::tar;

/// Entries in one tarball.
const MOST_ENTRIES: usize = 1_000_000;
/// Bytes of all files of a tarball.
const MOST_BYTES: u64 = 16 << 30;
/// A tarball may unpack to so many times its size, and to a little more where it is small.
const MOST_RATIO: u64 = 500;
const SMALL: u64 = 64 << 20;
/// No `package.json` is larger, in bytes.
const LARGEST_MANIFEST: u64 = 16 << 20;
/// The beginning of a script, in which npm looks for a line end of Windows; in bytes.
const SCRIPT_HEAD: u64 = 2048;
/// Scripts with such a line end that are mended, in bytes.
const LARGEST_SCRIPT: u64 = 64 << 20;

/// The plain bytes of a tarball, as many as are allowed.
pub(super) struct Plain<R> {
    inner: Form<R>,
    left: u64,
}

enum Form<R> {
    Gzip(Box<MultiGzDecoder<R>>),
    Tar(R),
}

impl<R: BufRead> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.inner {
            Form::Gzip(reader) => reader.read(buffer)?,
            Form::Tar(reader) => reader.read(buffer)?,
        };
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other("it unpacks to far more than its size lets expect, which no honest package does")
        })?;
        Ok(count)
    }
}

/// A tarball's entries. `size` is that of the tarball, in bytes.
pub(super) fn open<R: BufRead>(mut reader: R, size: u64) -> Result<tar::Reader<Plain<R>>> {
    let gzip = reader.fill_buf()?.starts_with(b"\x1f\x8b");
    let inner = if gzip { Form::Gzip(Box::new(MultiGzDecoder::new(reader))) } else { Form::Tar(reader) };
    let left = size.saturating_mul(MOST_RATIO).clamp(SMALL, MOST_BYTES);
    Ok(tar::Reader::new(Plain { inner, left }))
}

/// An entry that npm would unpack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its place in the tarball, counted from 0.
    pub number: usize,
    pub directory: bool,
    /// Whether the tarball says that it may be run.
    pub mode: u32,
    pub size: u64,
    /// In seconds since 1970.
    pub mtime: u64,
}

/// What a tarball holds, as npm would unpack it.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// By path in the package; empty for the package itself.
    pub members: BTreeMap<String, Member>,
    /// The files of scripts that npm mends: they begin with `#!` and a line that ends as on Windows.
    pub foreign_scripts: BTreeSet<String>,
    /// The content of `package.json`.
    pub manifest: Vec<u8>,
}

/// A file that is there twice: what it was the first time.
struct Known {
    sha256: Digest,
    renamed: bool,
}

/// Reads a tarball without keeping the content of its files.
pub(super) fn contents(reader: impl BufRead, size: u64) -> Result<Contents> {
    let mut contents = Contents::default();
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let mut reader = open(reader, size)?;
    let mut number = 0;
    while let Some(item) = reader.next_item().map_err(damaged)? {
        if number == MOST_ENTRIES {
            return Err(Error::new(format!("it has more than {MOST_ENTRIES} entries")).kind(Kind::Corrupt));
        }
        member(&mut contents, &mut known, &item, number, &mut reader)
            .context(|| format!("unpacking {:?}", item.path.chars().take(200).collect::<String>()))
            .map_err(damaged)?;
        number += 1;
    }
    Ok(contents)
}

fn damaged(error: Error) -> Error {
    error.kind(Kind::Corrupt)
}

fn member(
    contents: &mut Contents,
    known: &mut BTreeMap<String, Known>,
    item: &tar::Item,
    number: usize,
    content: &mut dyn Read,
) -> Result<()> {
    let directory = item.typeflag == b'5';
    if !directory && item.typeflag != b'0' {
        return Ok(());
    }
    let Some(mut path) = stripped(&item.path)? else { return Ok(()) };
    if path.is_empty() && !directory {
        return Ok(());
    }
    let renamed = !directory && path.rsplit('/').next() == Some(".gitignore");
    if renamed {
        path = format!("{}.npmignore", &path[..path.len() - ".gitignore".len()]);
        if known.contains_key(&path) {
            return Ok(());
        }
    }
    let member = Member { number, directory, mode: item.mode, size: item.size, mtime: item.mtime };
    if directory {
        contents.members.entry(path).or_insert(member);
        return Ok(());
    }
    let head = head(content)?;
    let mut all = io::Read::chain(&head[..], content);
    let sha256 = if path == "package.json" {
        contents.manifest = limited(&mut all, LARGEST_MANIFEST)?;
        Digest::of(&contents.manifest)
    } else {
        Digest::of_reader(&mut all)?.0
    };
    match known.get(&path) {
        // What npm made of `.gitignore` gives way to the real one.
        Some(known) if known.sha256 != sha256 && !known.renamed => {
            return Err(Error::new(format!("`{path}` is in it twice, and not the same both times"))
                .hint("which one counts depends on who unpacks it: no package should be made like this"));
        }
        Some(known) if known.sha256 == sha256 => return Ok(()),
        _ => {}
    }
    if is_foreign_script(&head) {
        contents.foreign_scripts.insert(path.clone());
    }
    known.insert(path.clone(), Known { sha256, renamed });
    contents.members.insert(path, member);
    Ok(())
}

/// A path without its first folder; `None` if there is nothing else to it.
fn stripped(path: &str) -> Result<Option<String>> {
    let Some((_, rest)) = path.split_once('/') else { return Ok(None) };
    if rest.contains('\n') {
        return Err(Error::new("there is a line break in the name"));
    }
    normalize(rest).map(Some)
}

fn head(content: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    content.take(SCRIPT_HEAD).read_to_end(&mut head)?;
    Ok(head)
}

fn is_foreign_script(head: &[u8]) -> bool {
    let line = head.iter().position(|byte| *byte == b'\n').map(|end| &head[..end]);
    line.is_some_and(|line| line.starts_with(b"#!") && line.ends_with(b"\r") && line.len() > 3)
}

/// A script whose first line ends as on Windows, as npm mends it: read as text, that line end replaced.
pub(super) fn mended(content: &mut dyn Read) -> Result<Vec<u8>> {
    let bytes = limited(content, LARGEST_SCRIPT)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match text.split_once('\n') {
        Some((line, rest)) => format!("{}\n{rest}", line.strip_suffix('\r').unwrap_or(line)).into_bytes(),
        None => text.into_owned().into_bytes(),
    })
}

fn limited(content: &mut dyn Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// The packages inside a tarball, in the order of depth and path.
pub fn bundled(reader: impl BufRead, size: u64) -> Result<Vec<Bundled>> {
    let mut reader = open(reader, size)?;
    let mut found: BTreeMap<(usize, Vec<String>), Bundled> = BTreeMap::new();
    let mut number = 0;
    let mut files = BTreeSet::new();
    let mut directories: BTreeMap<Vec<String>, String> = BTreeMap::new();
    while let Some(item) = reader.next_item().map_err(damaged)? {
        number += 1;
        if number > MOST_ENTRIES {
            return Err(Error::new(format!("it has more than {MOST_ENTRIES} entries")).kind(Kind::Corrupt));
        }
        let Some(path) = stripped(&item.path)?.filter(|_| item.typeflag == b'0') else { continue };
        if path.starts_with("node_modules/") {
            files.insert(path.clone());
        }
        let Some(names) = inner_package(&path) else { continue };
        let bytes = limited(&mut reader, LARGEST_MANIFEST).context(|| format!("reading {path:?}"))?;
        // npm takes what it cannot read for an empty folder.
        let Ok(manifest) = Manifest::parse(&bytes) else { continue };
        if let Some(folder) = bin_folder(&bytes) {
            directories.insert(names.clone(), folder);
        }
        let (name, above) = names.split_last().context(|| format!("{path:?} names no package"))?;
        let bundled = Bundled { above: above.to_vec(), name: name.clone(), manifest };
        found.insert((names.len(), names), bundled);
    }
    let mut all: Vec<Bundled> = found.into_values().collect();
    for inner in &mut all {
        let names = [&inner.above[..], std::slice::from_ref(&inner.name)].concat();
        if let Some(folder) = directories.get(&names).filter(|_| inner.manifest.bin.is_empty()) {
            let base: String = names.iter().map(|name| format!("node_modules/{name}/")).collect();
            inner.manifest.bin = programs_below(&files, &base, folder);
        }
    }
    Ok(all)
}

/// `directories.bin`: every file in it is a program. npm looks at it only in packages that it finds on disk.
fn bin_folder(manifest: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(super::packument::strip_mark(manifest)).ok()?;
    let folder = super::bin_field::inside(value.get("directories")?.get("bin")?.as_str()?);
    (!folder.is_empty()).then_some(folder)
}

fn programs_below(files: &BTreeSet<String>, base: &str, folder: &str) -> BTreeMap<String, String> {
    let within = format!("{base}{folder}/");
    let files = files.iter().filter_map(|file| file.strip_prefix(&within));
    let visible = files.filter(|file| !file.split('/').any(|name| name.starts_with('.')));
    visible.map(|file| (super::bin_field::base(file).to_owned(), format!("{folder}/{file}"))).collect()
}

/// The names of the folders that lead to the `package.json` of a package inside.
fn inner_package(path: &str) -> Option<Vec<String>> {
    let mut rest = path.strip_suffix("/package.json")?;
    let mut names = Vec::new();
    loop {
        rest = rest.strip_prefix("node_modules/")?;
        let slashes = if rest.starts_with('@') { 1 } else { 0 };
        let end = rest.match_indices('/').nth(slashes).map_or(rest.len(), |(at, _)| at);
        let name = &rest[..end];
        check_name(name).ok()?;
        names.push(name.to_owned());
        if end == rest.len() {
            return Some(names);
        }
        rest = &rest[end + 1..];
    }
}
