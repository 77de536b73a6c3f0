//! Fetched archives and files → parts: tar in every compression, zip, `.deb`, and single files.
//!
//! A part is a pure function of the file's bytes, its name (which says what it is), how it is placed, and the format.
//! Nothing is known here of where it came from.

mod tarball;
mod zipped;

use std::collections::BTreeSet;
use std::io::{self, Read};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::placing::Placing;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::store::Store;
use crate::{FORMAT, canonical};

pub use zipped::{entry_count, modified};

/// Names in one archive.
const LIMIT_ENTRIES: usize = 2_000_000;
/// An archive may grow to this many bytes whatever its size,
const LIMIT_PLAIN: u64 = 1 << 30;
/// or to this many times its size.
const LIMIT_RATIO: u64 = 200;

/// What is done with a fetched file.
#[derive(Clone, Debug, Serialize)]
pub struct Options<'a> {
    /// Its file name.
    pub name: &'a str,
    pub unpack: bool,
    /// How many leading names of the archive's paths are left out.
    pub strip: u32,
    /// Patterns of the archive's paths, before stripping; all if there are none.
    pub select: &'a [String],
    pub placing: &'a Placing,
}

/// A part, and the newest modification time in it, in seconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchPart {
    pub part: Part,
    pub newest_mtime: u64,
}

/// What a file's name says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Tar(Compression),
    Zip,
    Deb,
    /// Not an archive.
    File,
}

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Format {
    /// By the end of the file's name.
    pub fn of(name: &str) -> Self {
        const ENDINGS: [(&str, Format); 14] = [
            (".tar", Format::Tar(Compression::None)),
            (".tar.gz", Format::Tar(Compression::Gzip)),
            (".tgz", Format::Tar(Compression::Gzip)),
            (".tar.bz2", Format::Tar(Compression::Bzip2)),
            (".tbz2", Format::Tar(Compression::Bzip2)),
            (".tar.xz", Format::Tar(Compression::Xz)),
            (".txz", Format::Tar(Compression::Xz)),
            (".tar.zst", Format::Tar(Compression::Zstd)),
            (".tzst", Format::Tar(Compression::Zstd)),
            (".zip", Format::Zip),
            (".jar.zip", Format::Zip),
            (".whl", Format::Zip),
            (".deb", Format::Deb),
            (".udeb", Format::Deb),
        ];
        let name = name.to_lowercase();
        ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map_or(Self::File, |(_, format)| *format)
    }
}

/// Whether the file becomes a single file of the image.
pub fn is_single(name: &str, unpack: bool) -> bool {
    !unpack || Format::of(name) == Format::File
}

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    file: &'a Digest,
    options: &'a Options<'a>,
}

/// The part of the file in the blob `file`. Made once: the store keeps it under its inputs.
pub fn part(store: &Store, file: &Digest, options: &Options<'_>) -> Result<FetchPart> {
    let key = Digest::of(&canonical::to_vec(&Key { format: FORMAT, file, options })?);
    if let Some(part) = store.keyed("fetch", &key) {
        return Ok(part);
    }
    let _lock = store.lock_key("fetch", &key)?;
    if let Some(part) = store.keyed("fetch", &key) {
        return Ok(part);
    }
    let part = make(store, file, options).context(|| format!("unpacking `{}`", options.name))?;
    store.put_keyed("fetch", &key, &[part.part.content], &part)?;
    Ok(part)
}

fn make(store: &Store, file: &Digest, options: &Options<'_>) -> Result<FetchPart> {
    let format = if options.unpack { Format::of(options.name) } else { Format::File };
    let content = store.open_checked(file)?;
    let size = content.metadata()?.len();
    if format == Format::File && (options.strip > 0 || !options.select.is_empty()) {
        return Err(Error::new("`strip` and `select` are for archives, and its name is not one's").hint(
            "archives are known by the end of their name: .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz, .tar.zst, .zip, .deb",
        ));
    }
    let mut unpack = Unpack::new(PartBuilder::new(store)?, options)?;
    match format {
        Format::Tar(compression) => unpack.tar(tarball::decoder(compression, content, size)?)?,
        Format::Deb => unpack.tar(super::debian::deb::read(io::BufReader::new(content))?.data)?,
        Format::Zip => zipped::unpack(content, size, &mut unpack)?,
        Format::File => unpack.file("", 0o644, 0, size, &mut io::BufReader::new(content))?,
    }
    unpack.finish(format == Format::File)
}

/// The state of one walk through an archive.
struct Unpack<'a> {
    builder: PartBuilder<'a>,
    options: &'a Options<'a>,
    select: Option<GlobSet>,
    /// What has been placed, by its path in the archive: hard links name it.
    placed: BTreeSet<String>,
    newest_mtime: u64,
    entries: usize,
}

impl<'a> Unpack<'a> {
    fn new(builder: PartBuilder<'a>, options: &'a Options<'a>) -> Result<Self> {
        let mut select = GlobSetBuilder::new();
        for pattern in options.select {
            let glob = GlobBuilder::new(pattern.trim_start_matches("./").trim_end_matches('/'))
                .literal_separator(true)
                .build()
                .context(|| format!("reading the pattern `{pattern}` of `select`"))?;
            select.add(glob);
        }
        let select = (!options.select.is_empty()).then(|| select.build()).transpose()?;
        Ok(Self { builder, options, select, placed: BTreeSet::new(), newest_mtime: 0, entries: 0 })
    }

    /// Where a path of the archive goes below the folder, if anywhere.
    fn wanted(&mut self, path: &str) -> Result<Option<String>> {
        self.entries += 1;
        if self.entries > LIMIT_ENTRIES {
            return Err(Error::new(format!("it holds more than {LIMIT_ENTRIES} names")));
        }
        let path = crate::layer::entry::normalize(path)?;
        let selected = |set: &GlobSet| {
            let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
            set.is_match(&path) || folders.into_iter().any(|folder| set.is_match(folder))
        };
        if !self.select.as_ref().is_none_or(selected) {
            return Ok(None);
        }
        let rest = path.splitn(self.options.strip as usize + 1, '/').nth(self.options.strip as usize);
        Ok(rest.filter(|rest| !rest.is_empty()).map(str::to_owned))
    }

    fn file(&mut self, relative: &str, mode: u32, mtime: u64, size: u64, content: &mut dyn Read) -> Result<()> {
        let mode = self.options.placing.mode.unwrap_or(mode);
        let kind = Kind::File { size, sha256: Digest::of(b"") };
        let entry = self.entry(relative, kind, mode, mtime)?;
        self.builder.new_file(entry, content)?;
        Ok(())
    }

    fn entry(&mut self, relative: &str, kind: Kind, mode: u32, mtime: u64) -> Result<Entry> {
        let placing = self.options.placing;
        if mtime > super::placing::LIMIT_TIME {
            return Err(Error::new(format!("{relative:?} was modified before 1970 or after 2242")));
        }
        self.newest_mtime = self.newest_mtime.max(mtime);
        let path = placing.path(relative)?;
        Ok(Entry { path, kind, mode, uid: placing.uid, gid: placing.gid, mtime, xattrs: Default::default() })
    }

    fn symlink(&mut self, relative: &str, target: &str, mtime: u64) -> Result<()> {
        let entry = self.entry(relative, Kind::Symlink { target: target.to_owned() }, 0o777, mtime)?;
        if target.is_empty() || target.contains('\0') || !self.options.placing.holds(&entry.path, target) {
            return Err(Error::new(format!("its link {relative:?} leads to {target:?}, out of its folder")).hint(
                "leave it out with `select`, or unpack with `to = \"/\"` if the archive is meant for the whole tree",
            ));
        }
        self.builder.entry(&entry, &mut io::empty())
    }

    fn finish(mut self, single: bool) -> Result<FetchPart> {
        if self.entries > 0 && self.placed.is_empty() {
            return Err(Error::new(format!("none of its {} names is placed", self.entries)).hint(
                "`select` is matched against the archive's own paths; `strip` leaves out what is not deep enough",
            ));
        }
        if !single {
            self.options.placing.directory(&mut self.builder, "", 0o755)?;
        }
        Ok(FetchPart { part: self.builder.finish()?, newest_mtime: self.newest_mtime })
    }
}

/// How many bytes an archive of `size` bytes may hold.
pub fn limit(size: u64) -> u64 {
    size.saturating_mul(LIMIT_RATIO).max(LIMIT_PLAIN)
}

/// The content of the file `name` that is so many folders deep in an archive, if it has one. With several, the first.
pub fn file_at_depth(
    store: &Store,
    file: &Digest,
    archive: &str,
    name: &str,
    depth: usize,
    maximum: u64,
) -> Result<Option<Vec<u8>>> {
    let wanted = |path: &str| {
        let path = path.trim_start_matches("./");
        path.matches('/').count() == depth && path.rsplit('/').next() == Some(name)
    };
    let read = |content: &mut dyn Read| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        content.take(maximum + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > maximum {
            true => Err(Error::new(format!("its `{name}` has more than {maximum} bytes"))),
            false => Ok(bytes),
        }
    };
    let content = store.open_checked(file)?;
    let size = content.metadata()?.len();
    match Format::of(archive) {
        Format::Tar(compression) => {
            let mut reader = crate::layer::tar::Reader::new(tarball::decoder(compression, content, size)?);
            while let Some(item) = reader.next_item()? {
                if item.typeflag == b'0' && wanted(&item.path) {
                    return read(&mut reader).map(Some);
                }
            }
            Ok(None)
        }
        Format::Zip => {
            let mut zip = zip::ZipArchive::new(io::BufReader::new(content)).context(|| "it is no zip archive")?;
            for index in 0..zip.len() {
                let mut member = zip.by_index(index)?;
                if wanted(&member.name()?) {
                    return read(&mut member).map(Some);
                }
            }
            Ok(None)
        }
        Format::Deb | Format::File => Err(Error::new(format!("`{archive}` is not an archive of sources"))),
    }
}
