//! What the tree holds at one time, what changed since, and packing that into a part.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rayon::prelude::*;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::Change;
use super::tree::{Tree, is_directory, names, status};
use crate::digest::{Digest, HashingReader};
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::layer::entry::WHITEOUT;
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::store::Store;

/// How deep directories may be nested: as deep as [`crate::layer::entry::normalize`] accepts.
const DEPTH: usize = 128;

/// The largest extended attribute that Linux allows, in bytes (xattr(7)).
const XATTR_LIMIT: usize = 64 << 10;

/// What lstat(2) says about one path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    inode: u64,
    links: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    /// Seconds and nanoseconds, as all times here.
    mtime: (i64, u64),
    ctime: (i64, u64),
    device: u64,
    /// Of directories alone.
    xattrs: BTreeMap<String, String>,
}

impl Known {
    fn new(status: &Stat, xattrs: BTreeMap<String, String>) -> Self {
        Self {
            inode: status.st_ino,
            #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
            links: status.st_nlink as u64,
            mode: status.st_mode,
            uid: status.st_uid,
            gid: status.st_gid,
            size: u64::try_from(status.st_size).unwrap_or(0),
            #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
            mtime: (status.st_mtime, status.st_mtime_nsec as u64),
            #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
            ctime: (status.st_ctime, status.st_ctime_nsec as u64),
            device: status.st_rdev,
            xattrs,
        }
    }

    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether nothing can have changed. Of a directory, what is in it is not looked at, nor when its
    /// inode changed: what does that without changing anything else here (mounting over it, for
    /// one) differs between executors.
    fn same(&self, other: &Self) -> bool {
        if self.file_type() != FileType::Directory {
            return self == other;
        }
        let key = |known: &Self| (known.inode, known.mode, known.uid, known.gid, known.mtime);
        key(self) == key(other) && self.xattrs == other.xattrs
    }

    /// Whether it counts as nothing: no layer can hold a socket, and a character device with the number 0 is what
    /// overlayfs takes for nothing.
    fn is_nothing(&self) -> bool {
        match self.file_type() {
            FileType::Socket => true,
            FileType::CharacterDevice => self.device == 0,
            _ => false,
        }
    }

    fn changed_at(&self) -> u64 {
        u64::try_from(self.ctime.0).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(self.ctime.1)
    }
}

/// Every path of a tree with what lstat(2) said of it, by path.
#[derive(Debug)]
pub(super) struct Snapshot(Vec<(String, Known)>);

impl Snapshot {
    /// Looks at the whole tree.
    pub fn take(tree: &Tree) -> Result<Self> {
        let root = tree.open_exactly("", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let known = Known::new(&rustix::fs::fstat(&root)?, xattrs(&root, "")?);
        let mut all = walk(&root, "", 0)?;
        all.push((String::new(), known));
        all.par_sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(Self(all))
    }

    /// Looks at `paths` again, and at when the directories above them were changed last: whatever else may
    /// have happened to those is no part of placing something in them.
    pub fn update(&mut self, tree: &Tree, paths: &[String]) -> Result<()> {
        let mut directories: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for path in paths {
            for parent in crate::layer::part::parents(path) {
                directories.entry(parent).or_default();
            }
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            directories.entry(parent).or_default().push(name);
        }
        let look = |(directory, names)| look_at(tree, directory, names);
        let directories: Vec<_> = directories.into_iter().collect();
        let looked: Vec<_> = directories.into_par_iter().map(look).collect::<Result<_>>()?;
        let (mut above, mut found) = (Vec::new(), Vec::new());
        for (path, mtime, below) in looked.into_iter().flatten() {
            above.push((path, mtime));
            found.extend(below);
        }
        // What was found now comes before what was known; the sort keeps that, and only the first of a path stays.
        found.append(&mut self.0);
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found.dedup_by(|(later, _), (earlier, _)| later == earlier);
        self.0 = found;
        for (path, mtime) in above {
            if let Ok(index) = self.index(path) {
                self.0[index].1.mtime = mtime;
            }
        }
        Ok(())
    }

    fn index(&self, path: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(path))
    }

    fn get(&self, path: &str) -> Option<&Known> {
        self.index(path).ok().map(|index| &self.0[index].1)
    }

    /// What is not as it was at `earlier`, by path.
    pub fn changes(&self, earlier: &Self, tree: &Tree) -> Result<Vec<Change>> {
        let first_names = self.first_names();
        let changed: Vec<_> = self
            .0
            .iter()
            .filter(|(path, now)| earlier.get(path).is_none_or(|then| !then.same(now)))
            .filter(|(_, now)| !now.is_nothing())
            .collect();
        let mut changes: Vec<Change> = changed
            .into_par_iter()
            .map(|(path, now)| {
                let entry =
                    entry(tree, path, now, &first_names).context(|| format!("reading what changed at /{path}"))?;
                Ok(Change { path: path.clone(), entry: Some(entry), ctime: now.changed_at() })
            })
            .collect::<Result<_>>()?;
        for (path, then) in &earlier.0 {
            if !then.is_nothing() && !self.has(path) {
                changes.push(Change { path: path.clone(), entry: None, ctime: self.removed_at(path) });
            }
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(changes)
    }

    /// Whether there is something at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.get(path).is_some_and(|known| !known.is_nothing())
    }

    /// The paths of the directories.
    pub fn directories(&self) -> Vec<String> {
        self.paths(|known| known.file_type() == FileType::Directory)
    }

    /// The paths of everything else, also of what counts as nothing.
    pub fn others(&self) -> Vec<String> {
        self.paths(|known| known.file_type() != FileType::Directory)
    }

    fn paths(&self, which: impl Fn(&Known) -> bool) -> Vec<String> {
        self.0.iter().filter(|(_, known)| which(known)).map(|(path, _)| path.clone()).collect()
    }

    /// Looks at what `tree` has below a directory, as far as it is not known.
    pub fn add_below(&mut self, tree: &Tree, path: &str) -> Result<()> {
        let directory = tree.open_exactly(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let depth = crate::layer::part::parents(path).count();
        let found = walk(&directory, path, depth)?;
        let news: Vec<_> = found.into_iter().filter(|(path, _)| self.index(path).is_err()).collect();
        self.0.extend(news);
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(())
    }

    /// When the nearest directory that is left of a removed path was changed last.
    pub fn removed_at(&self, path: &str) -> u64 {
        let mut path = path;
        loop {
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            if let Some(known) = self.get(path) {
                return known.changed_at();
            }
        }
    }

    /// The first path of every file with several names, by its inode.
    fn first_names(&self) -> BTreeMap<u64, &str> {
        let mut first = BTreeMap::new();
        for (path, known) in &self.0 {
            if known.file_type() == FileType::RegularFile && known.links > 1 {
                first.entry(known.inode).or_insert(path.as_str());
            }
        }
        first
    }
}

/// The paths below a directory of `tree`, if it is one.
pub(super) fn paths_below(tree: &Tree, path: &str) -> Result<Vec<String>> {
    match tree.open_exactly(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => Ok(walk(&directory, path, 0)?.into_iter().map(|(path, _)| path).collect()),
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
        Err(error) => Err(error).context(|| format!("opening the directory /{path}")),
    }
}

/// A directory whose parents are real directories, when it was changed last, and those of `names` that are in it; nothing
/// if it is not there, as a walk would not find it.
type Looked<'p> = Option<(&'p str, (i64, u64), Vec<(String, Known)>)>;

fn look_at<'p>(tree: &Tree, path: &'p str, names: Vec<&str>) -> Result<Looked<'p>> {
    let directory = match tree.open_exactly(path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(error).context(|| format!("opening the directory /{path}")),
    };
    let known = Known::new(&rustix::fs::fstat(&directory)?, BTreeMap::new());
    let mut found = Vec::new();
    for name in names {
        let below = join(path, name);
        let status = match status(directory.as_fd(), name) {
            Ok(status) => status,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error).context(|| format!("looking at /{below}")),
        };
        let attributes = match is_directory(&status) {
            true => xattrs(&open(&directory, name, &below)?, &below)?,
            false => BTreeMap::new(),
        };
        found.push((below, Known::new(&status, attributes)));
    }
    Ok(Some((path, known.mtime, found)))
}

/// All that is below an open directory. The extended attributes of files are read when they turn out to have changed:
/// setting one changes when an inode was changed, which directories are not asked for.
fn walk(directory: &OwnedFd, path: &str, depth: usize) -> Result<Vec<(String, Known)>> {
    if depth > DEPTH {
        return Err(Error::new(format!("directories are nested more than {DEPTH} deep at /{path}")));
    }
    let mut found = Vec::new();
    let mut below = Vec::new();
    for name in names(directory.as_fd()).context(|| format!("reading the directory /{path}"))? {
        let status = status(directory.as_fd(), &name).context(|| format!("looking at {name} in /{path}"))?;
        let path = join(path, &name);
        match is_directory(&status) {
            true => below.push((name, path, status)),
            false => found.push((path, Known::new(&status, BTreeMap::new()))),
        }
    }
    let nested: Result<Vec<_>> = below
        .into_par_iter()
        .map(|(name, path, status)| {
            let opened = open(directory, &name, &path)?;
            let mut found = walk(&opened, &path, depth + 1)?;
            let known = Known::new(&status, xattrs(&opened, &path)?);
            found.push((path, known));
            Ok(found)
        })
        .collect();
    found.extend(nested?.into_iter().flatten());
    Ok(found)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

fn open(directory: &OwnedFd, name: &str, path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, rustix::fs::Mode::empty())
        .context(|| format!("opening the directory /{path}"))
}

/// The extended attributes of an open file or directory, values in hexadecimal. `security.capability` is as the
/// worker's user namespace sees it, without a root id.
fn xattrs(file: &OwnedFd, path: &str) -> Result<BTreeMap<String, String>> {
    let mut list = [0_u8; 1024];
    let mut long = Vec::new();
    let listed = match rustix::fs::flistxattr(file, list.as_mut_slice()) {
        Ok(length) => &list[..length],
        Err(Errno::NOTSUP) => &[],
        Err(Errno::RANGE) => {
            long.resize(XATTR_LIMIT, 0);
            let length = rustix::fs::flistxattr(file, long.as_mut_slice());
            &long[..length.context(|| format!("listing the attributes of /{path}"))?]
        }
        Err(error) => return Err(error).context(|| format!("listing the attributes of /{path}")),
    };
    let mut found = BTreeMap::new();
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name)?;
        // Labels and access lists of the host's own policies are no part of an image.
        if name == "security.selinux" || name.starts_with("trusted.") {
            continue;
        }
        let mut value = vec![0_u8; XATTR_LIMIT];
        let length = rustix::fs::fgetxattr(file, name, value.as_mut_slice())
            .context(|| format!("reading the attribute {name} of /{path}"))?;
        found.insert(name.to_owned(), hex::encode(&value[..length]));
    }
    Ok(found)
}

fn entry(tree: &Tree, path: &str, known: &Known, first_names: &BTreeMap<u64, &str>) -> Result<Entry> {
    let device = || (rustix::fs::major(known.device), rustix::fs::minor(known.device));
    let kind = match known.file_type() {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => match first_names.get(&known.inode) {
            Some(first) if *first != path => Kind::HardLink { target: (*first).to_owned() },
            _ => {
                let mut file = File::from(tree.open_exactly(path, OFlags::RDONLY)?);
                let (sha256, size) = Digest::of_reader(&mut file)?;
                Kind::File { size, sha256 }
            }
        },
        FileType::Symlink => {
            let (parent, name) = tree.parent(path)?;
            let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
            Kind::Symlink { target: target.into_string().map_err(|_| Error::new("the link's target is not UTF-8"))? }
        }
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => {
            let (major, minor) = device();
            Kind::CharacterDevice { major, minor }
        }
        FileType::BlockDevice => {
            let (major, minor) = device();
            Kind::BlockDevice { major, minor }
        }
        FileType::Socket | FileType::Unknown => return Err(Error::new("it is of a kind that no layer can hold")),
    };
    Ok(Entry {
        path: path.to_owned(),
        kind,
        mode: known.mode & 0o7777,
        uid: known.uid,
        gid: known.gid,
        mtime: u64::try_from(known.mtime.0).unwrap_or(0),
        xattrs: match known.file_type() {
            FileType::RegularFile => xattrs(&tree.open_exactly(path, OFlags::RDONLY | OFlags::NONBLOCK)?, path)?,
            _ => known.xattrs.clone(),
        },
    })
}

/// Makes a part of `entries`, with the tree's content of the files among them, each checked to be what
/// its entry says. Empty files with the names of whiteouts need not exist.
pub(super) fn pack(tree: &Tree, store: &Store, directories: &[Entry], entries: &[Entry]) -> Result<Part> {
    let mut builder = PartBuilder::new(store)?;
    for directory in directories {
        builder.directory(directory.clone());
    }
    for entry in entries {
        pack_entry(tree, &mut builder, entry).context(|| format!("packing /{}", entry.path))?;
    }
    builder.finish()
}

fn pack_entry(tree: &Tree, builder: &mut PartBuilder<'_>, entry: &Entry) -> Result<()> {
    let name = entry.path.rsplit('/').next().unwrap_or_default();
    let Kind::File { size, sha256 } = &entry.kind else {
        return builder.entry(entry, &mut std::io::empty());
    };
    if name.starts_with(WHITEOUT) {
        return builder.entry(entry, &mut std::io::empty());
    }
    let file = File::from(tree.open_exactly(&entry.path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    let mut reader = HashingReader::new(file);
    builder.entry(entry, &mut reader)?;
    let (found, length) = reader.finish();
    if (found, length) != (*sha256, *size) {
        let message = format!("expected {size} bytes with sha256 {sha256}, found {length} with {found}");
        return Err(Error::new(message).kind(ErrorKind::Corrupt));
    }
    Ok(())
}
