//! Placing layers into the tree: directories first, then the files of all parts in parallel, then the
//! directories' own metadata, which placing files would disturb.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::Extraction;
use super::protocol::Checked;
use super::tree::{Tree, empty, is_directory, remove, status};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::layer::entry::{WHITEOUT, normalize};
use crate::layer::{Entry, Kind, Part};
use crate::store::Store;

/// The name that empties the directory it is in (OCI image specification, layers, opaque whiteout).
const OPAQUE: &str = ".wh..wh..opq";

/// How much of a file is in memory at once, in bytes: what a processor's own memory holds.
const BUFFER: usize = 1 << 16;

/// What came of placing.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// The paths of the devices that this executor may not make.
    pub unmade: Vec<String>,
    /// The streams that are to be checked later.
    pub unchecked: Vec<Digest>,
}

/// Places `layers` in order.
pub(super) fn extract(tree: &Tree, store: &Store, layers: &[Extraction], checked: Checked) -> Result<Placed> {
    let mut directories: BTreeMap<&str, &Entry> = BTreeMap::new();
    let mut all = Placed::default();
    for layer in layers {
        remove_whiteouts(tree, layer)?;
        let made: Vec<&Entry> =
            layer.directories.iter().filter(|directory| !layer.skip.contains(&directory.path)).collect();
        for level in by_depth(made.iter().copied()).into_values() {
            level.into_par_iter().try_for_each(|directory| make_directory(tree, directory))?;
        }
        directories.extend(made.into_iter().map(|directory| (directory.path.as_str(), directory)));
        // The largest first, so that no thread is left alone with it at the end.
        let mut parts: Vec<&Part> = layer.parts.iter().collect();
        parts.sort_by_key(|part| Reverse(part.tar_size));
        let placed: Result<Vec<Placed>> =
            parts.par_iter().with_max_len(1).map(|part| place_part(tree, store, part, layer, checked)).collect();
        for placed in placed? {
            all.unmade.extend(placed.unmade);
            all.unchecked.extend(placed.unchecked);
        }
    }
    // Children before parents: setting a child's time does not touch its parent, but a parent's mode may
    // bar the way where the worker's rights over foreign owners end.
    for level in by_depth(directories.into_values()).into_values().rev() {
        level.into_par_iter().try_for_each(|directory| {
            finish_directory(tree, directory).context(|| format!("setting the directory /{}", directory.path))
        })?;
    }
    all.unmade.sort();
    Ok(all)
}

/// Directories by how many are above them.
fn by_depth<'a>(directories: impl Iterator<Item = &'a Entry>) -> BTreeMap<usize, Vec<&'a Entry>> {
    let mut levels: BTreeMap<usize, Vec<&Entry>> = BTreeMap::new();
    for directory in directories {
        let depth = directory.path.split('/').filter(|name| !name.is_empty()).count();
        levels.entry(depth).or_default().push(directory);
    }
    levels
}

/// Removes what the layer's whiteouts name, before anything of the layer itself is placed.
fn remove_whiteouts(tree: &Tree, layer: &Extraction) -> Result<()> {
    for entry in layer.parts.iter().flat_map(|part| &part.entries) {
        let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { continue };
        if layer.skip.contains(&entry.path) {
            continue;
        }
        check_path(parent)?;
        let removed = match tree.resolve(parent, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error),
            Ok(parent) if name == OPAQUE => empty(parent.as_fd(), "."),
            Ok(_) if matches!(hidden, "" | "." | "..") => Err(Errno::INVAL),
            Ok(parent) => remove(parent.as_fd(), hidden),
        };
        removed.context(|| format!("removing what /{} hides", entry.path))?;
    }
    Ok(())
}

fn check_path(path: &str) -> Result<()> {
    if normalize(path)? == path {
        return Ok(());
    }
    Err(Error::new(format!("the path {path:?} is not in its one spelling")).kind(ErrorKind::Corrupt))
}

/// Makes a directory, or keeps the one, or the link to one, that is there. Its metadata comes last.
fn make_directory(tree: &Tree, entry: &Entry) -> Result<()> {
    check_path(&entry.path)?;
    if entry.kind != Kind::Directory {
        return Err(Error::new(format!("/{} is listed as a directory and is none", entry.path)));
    }
    let make = || -> rustix::io::Result<()> {
        if entry.path.is_empty() {
            return Ok(());
        }
        let (parent, name) = tree.parent(&entry.path)?;
        let made = rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755));
        if made != Err(Errno::EXIST) || is_directory(&status(parent.as_fd(), name)?) {
            return made.or_else(|error| if error == Errno::EXIST { Ok(()) } else { Err(error) });
        }
        if tree.resolve(&entry.path, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
            return Ok(());
        }
        remove(parent.as_fd(), name)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
    };
    make().context(|| format!("making the directory /{}", entry.path))
}

fn finish_directory(tree: &Tree, entry: &Entry) -> Result<()> {
    let directory = match tree.open_exactly(&entry.path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => directory,
        // A later layer removed it, or it is a link to a directory, which has its own entry.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    set_metadata(&directory, entry)
}

/// Owner, mode, attributes and time, in the order in which none undoes another: changing the owner
/// clears setuid bits and capabilities. Most are what they should be as they are made, and looking is cheaper.
fn set_metadata(file: &OwnedFd, entry: &Entry) -> Result<()> {
    let found = rustix::fs::fstat(file)?;
    let is_owned = is_owned(&found, entry);
    if !is_owned {
        let (uid, gid) = owner(entry);
        rustix::fs::fchown(file, uid, gid).context(|| owner_of(entry))?;
    }
    if !is_owned || found.st_mode & 0o7777 != entry.mode & 0o7777 {
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode & 0o7777))?;
    }
    for (name, value) in &entry.xattrs {
        let value = hex::decode(value).context(|| format!("reading the attribute {name}"))?;
        rustix::fs::fsetxattr(file, name.as_str(), &value, XattrFlags::empty())
            .context(|| format!("setting the attribute {name}"))?;
    }
    Ok(rustix::fs::futimens(file, &times(entry))?)
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
}

fn is_owned(found: &Stat, entry: &Entry) -> bool {
    (found.st_uid, found.st_gid) == (entry.uid, entry.gid)
}

fn owner_of(entry: &Entry) -> String {
    format!("giving it to user {} and group {}", entry.uid, entry.gid)
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(entry.mtime).unwrap_or(i64::MAX), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

/// The part's tar stream: its blob, checked, with all members inflated.
fn inflate(store: &Store, part: &Part) -> Result<Vec<u8>> {
    let blob = store.read(&part.content)?;
    let sum = part
        .members
        .iter()
        .fold((0, 0), |sum, (packed, plain)| (sum.0 + u64::from(*packed), sum.1 + u64::from(*plain)));
    if sum != (blob.len() as u64, part.tar_size) {
        let message = format!("the members of part {} do not add up to its size", part.content);
        return Err(Error::new(message).kind(ErrorKind::Corrupt));
    }
    let mut plain = vec![0; usize::try_from(part.tar_size)?];
    let (mut packed_rest, mut plain_rest) = (blob.as_slice(), plain.as_mut_slice());
    let mut members = Vec::with_capacity(part.members.len());
    for &(packed, plain) in &part.members {
        let (packed_head, packed_tail) = packed_rest.split_at(packed as usize);
        let (plain_head, plain_tail) = std::mem::take(&mut plain_rest).split_at_mut(plain as usize);
        members.push((packed_head, plain_head));
        (packed_rest, plain_rest) = (packed_tail, plain_tail);
    }
    members.into_par_iter().try_for_each(|(packed, plain)| {
        let length = plain.len();
        match libdeflater::Decompressor::new().gzip_decompress(packed, plain) {
            Ok(found) if found == length => Ok(()),
            Ok(found) => Err(Error::new(format!("a member holds {found} bytes instead of {length}"))),
            Err(error) => Err(error.into()),
        }
        .context(|| format!("decompressing part {}", part.content))
    })?;
    Ok(plain)
}

/// Places a part from its plain tar stream, if the store has kept that, and from its blob if that is not what it should
/// be: what was placed then is placed again.
fn place_part(tree: &Tree, store: &Store, part: &Part, layer: &Extraction, checked: Checked) -> Result<Placed> {
    if let Some(plain) = part.plain.filter(|plain| store.contains(plain)) {
        let later = checked == Checked::Later && part.is_compressed();
        let place = |stream: &mut dyn Read| place_stream(tree, part, layer, stream);
        let placed = if later { place(&mut store.open_unchecked(&plain)?) } else { store.read_through(&plain, place) };
        match placed {
            Ok(unmade) => return Ok(Placed { unmade, unchecked: later.then_some(plain).into_iter().collect() }),
            Err(error) if !part.is_compressed() => return Err(error),
            Err(_) if later => drop(store.open_checked(&plain)),
            Err(_) => {}
        }
    }
    let unmade = place_stream(tree, part, layer, &mut inflate(store, part)?.as_slice())?;
    Ok(Placed { unmade, unchecked: Vec::new() })
}

fn place_stream(tree: &Tree, part: &Part, layer: &Extraction, stream: &mut dyn Read) -> Result<Vec<String>> {
    let mut archive = tar::Archive::new(stream);
    let mut members = archive.entries()?;
    let mut placer = Placer::new(tree, part);
    for entry in &part.entries {
        let differs = || {
            Error::new(format!("part {} is not what its list says at /{}", part.content, entry.path))
                .kind(ErrorKind::Corrupt)
        };
        let mut member = members.next().ok_or_else(differs)?.map_err(|error| differs().caused_by(error))?;
        let size = if let Kind::File { size, .. } = entry.kind { size } else { 0 };
        if *member.path_bytes() != *entry.path.as_bytes() || member.size() != size {
            return Err(differs());
        }
        placer.entry(entry, &mut member, layer).context(|| format!("placing /{}", entry.path))?;
    }
    Ok(placer.unmade)
}

/// Places the entries of one part.
struct Placer<'a> {
    tree: &'a Tree,
    /// The directory of the last entry: most entries share their predecessor's.
    parent: Option<(&'a str, OwnedFd)>,
    /// The files of the part that have other names in it.
    linked: BTreeSet<&'a str>,
    /// Those of them that were not placed.
    skipped: BTreeMap<&'a str, Skipped<'a>>,
    unmade: Vec<String>,
    /// What files are copied through.
    buffer: Vec<u8>,
}

enum Skipped<'a> {
    File(&'a Entry, Vec<u8>),
    /// Placed as this path after all.
    Placed(&'a str),
}

impl<'a> Placer<'a> {
    fn new(tree: &'a Tree, part: &'a Part) -> Self {
        let target =
            |entry: &'a Entry| if let Kind::HardLink { target } = &entry.kind { Some(target.as_str()) } else { None };
        let linked = part.entries.iter().filter_map(target).collect();
        let buffer = vec![0; BUFFER];
        Self { tree, parent: None, linked, skipped: BTreeMap::new(), unmade: Vec::new(), buffer }
    }

    fn entry(&mut self, entry: &'a Entry, content: &mut dyn Read, layer: &Extraction) -> Result<()> {
        let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if name.starts_with(WHITEOUT) {
            return Ok(());
        }
        if layer.skip.contains(&entry.path) {
            if self.linked.contains(entry.path.as_str()) && matches!(entry.kind, Kind::File { .. }) {
                let mut kept = Vec::new();
                content.read_to_end(&mut kept)?;
                self.skipped.insert(&entry.path, Skipped::File(entry, kept));
            }
            return Ok(());
        }
        check_path(&entry.path)?;
        if name.is_empty() {
            return Err(Error::new("the root is no directory here"));
        }
        if self.parent.as_ref().is_none_or(|(path, _)| *path != parent) {
            let opened = self.tree.resolve(parent, OFlags::PATH | OFlags::DIRECTORY);
            self.parent = Some((parent, opened.context(|| format!("opening its directory /{parent}"))?));
        }
        match self.place(entry, name, content) {
            Ok(Err(Errno::EXIST)) => {
                remove(self.directory().as_fd(), name)?;
                Ok(self.place(entry, name, content)??)
            }
            result => Ok(result??),
        }
    }

    fn directory(&self) -> &OwnedFd {
        &self.parent.as_ref().expect("set before any entry is placed").1
    }

    /// Makes the entry where nothing is; the inner error is that of making it.
    fn place(&mut self, entry: &'a Entry, name: &str, content: &mut dyn Read) -> Result<rustix::io::Result<()>> {
        let made = match &entry.kind {
            Kind::Directory => return Err(Error::new("a directory is in a part's content")),
            Kind::File { .. } => return self.file(entry, name, content),
            Kind::HardLink { target } => return self.hard_link(entry, name, target),
            Kind::Symlink { target } => rustix::fs::symlinkat(target, self.directory(), name),
            Kind::Fifo => self.node(name, FileType::Fifo, 0),
            Kind::CharacterDevice { major, minor } => {
                self.node(name, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            Kind::BlockDevice { major, minor } => {
                self.node(name, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
        };
        let device = matches!(entry.kind, Kind::CharacterDevice { .. } | Kind::BlockDevice { .. });
        match made {
            Err(Errno::PERM) if device => {
                self.unmade.push(entry.path.clone());
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
            Ok(()) => self.finish_special(entry, name).map(Ok),
        }
    }

    fn node(&self, name: &str, kind: FileType, device: rustix::fs::Dev) -> rustix::io::Result<()> {
        rustix::fs::mknodat(self.directory(), name, kind, Mode::from_raw_mode(0o600), device)
    }

    fn file(&mut self, entry: &Entry, name: &str, content: &mut dyn Read) -> Result<rustix::io::Result<()>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        let mut file = match rustix::fs::openat(self.directory(), name, flags, mode) {
            Ok(file) => File::from(file),
            Err(error) => return Ok(Err(error)),
        };
        let Kind::File { size, .. } = entry.kind else { return Err(Error::new("it is no file")) };
        let mut left = size;
        while left > 0 {
            let length = usize::try_from(left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
            let piece = &mut self.buffer[..length];
            content.read_exact(piece)?;
            file.write_all(piece)?;
            left -= length as u64;
        }
        set_metadata(&file.into(), entry).map(Ok)
    }

    fn hard_link(&mut self, entry: &'a Entry, name: &str, target: &'a str) -> Result<rustix::io::Result<()>> {
        let target = match self.skipped.remove(target) {
            Some(Skipped::File(original, content)) => {
                let made = self.file(original, name, &mut content.as_slice())?;
                let known = if made.is_ok() { Skipped::Placed(&entry.path) } else { Skipped::File(original, content) };
                self.skipped.insert(target, known);
                return Ok(made);
            }
            Some(Skipped::Placed(other)) => {
                self.skipped.insert(target, Skipped::Placed(other));
                other
            }
            None => target,
        };
        check_path(target)?;
        let (from, from_name) = self.tree.parent(target).context(|| format!("finding its other name /{target}"))?;
        if from_name.is_empty() || is_directory(&status(from.as_fd(), from_name)?) {
            return Err(Error::new(format!("its other name /{target} is a directory")));
        }
        Ok(rustix::fs::linkat(&from, from_name, self.directory(), name, AtFlags::empty()))
    }

    /// Owner, mode and time of what cannot be opened.
    fn finish_special(&self, entry: &Entry, name: &str) -> Result<()> {
        if !entry.xattrs.is_empty() {
            return Err(Error::new("only files and directories can have extended attributes"));
        }
        if !is_owned(&status(self.directory().as_fd(), name)?, entry) {
            let (uid, gid) = owner(entry);
            rustix::fs::chownat(self.directory(), name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .context(|| owner_of(entry))?;
        }
        if !matches!(entry.kind, Kind::Symlink { .. }) {
            // Just made by us as no link, so following is harmless.
            rustix::fs::chmodat(self.directory(), name, Mode::from_raw_mode(entry.mode & 0o7777), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(self.directory(), name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}
