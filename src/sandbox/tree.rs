//! The tree's files, reached without ever leaving it: every path is resolved below the root's
//! descriptor (openat2(2), `RESOLVE_IN_ROOT`), where an absolute link or `..` leads no further than the root.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawDir, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{Context, Error, Kind, Result};
use crate::layer::entry::normalize;

/// How a path is resolved: symbolic links lead where they would for a program inside.
const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// The tree as the worker sees it: never with anything mounted on it.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    path: PathBuf,
}

impl Tree {
    /// The tree whose root is the directory at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let root = rustix::fs::open(path, flags, Mode::empty()).context(|| format!("opening {}", path.display()))?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// Where the root is on the host.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root's descriptor, good for resolving only.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// What stat(2) says of the root.
    pub fn status(&self) -> rustix::io::Result<rustix::fs::Stat> {
        rustix::fs::fstat(&self.root)
    }

    /// Opens `path` (as in `Entry::path`), following links inside the tree.
    pub fn resolve(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), INSIDE)
    }

    /// Opens `path`, following no link at all.
    pub fn open_exactly(&self, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
    }

    /// The directory that `path` is in, and its name there.
    pub fn parent<'a>(&self, path: &'a str) -> rustix::io::Result<(OwnedFd, &'a str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }

    /// Replaces `path` with a regular file, root's, making missing parents. `mtime` is in seconds since 1970;
    /// now, if it is `None`.
    pub fn write(&self, path: &str, bytes: &[u8], mode: u32, mtime: Option<u64>) -> Result<()> {
        let path = checked(path)?;
        let write = || -> io::Result<()> {
            let (parent, name) = self.made_parent(&path)?;
            if let Err(error) = rustix::fs::unlinkat(&parent, name, AtFlags::empty())
                && error != Errno::NOENT
            {
                return Err(error.into());
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))?);
            file.write_all(bytes)?;
            if let Some(mtime) = mtime {
                let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or(i64::MAX), tv_nsec: 0 };
                rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
            }
            Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?)
        };
        write().context(|| format!("writing /{path} in the sandbox"))
    }

    /// A file's content; `None` if there is nothing by that name.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let path = checked(path)?;
        let read = || -> io::Result<Option<Vec<u8>>> {
            // Not blocking: a FIFO would be waited for.
            let file = match self.resolve(&path, OFlags::RDONLY | OFlags::NONBLOCK) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            let mut bytes = Vec::new();
            { file }.read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        read().context(|| format!("reading /{path} in the sandbox"))
    }

    /// Whether there is anything by that name; a link need not lead anywhere.
    pub fn exists(&self, path: &str) -> Result<bool> {
        let path = checked(path)?;
        match self
            .parent(&path)
            .and_then(|(parent, name)| status(parent.as_fd(), if name.is_empty() { "." } else { name }))
        {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error).context(|| format!("looking at /{path} in the sandbox")),
        }
    }

    /// The names in a directory, sorted.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let path = checked(path)?;
        let list = || -> Result<Vec<String>> {
            let directory = self.resolve(&path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|error| {
                let kind = if error == Errno::NOENT { Kind::NotFound } else { Kind::Trouble };
                Error::from(error).kind(kind)
            })?;
            let mut names = names(directory.as_fd())?;
            names.sort_unstable();
            Ok(names)
        };
        list().map_err(|error| {
            let kind = error.what();
            Error::new(format!("listing /{path} in the sandbox")).caused_by(error).kind(kind)
        })
    }

    /// Removes whatever is at `path`, with all below it; nothing there is fine.
    pub fn remove(&self, path: &str) -> Result<()> {
        let path = checked(path)?;
        let (parent, name) = match self.parent(&path) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error).context(|| format!("removing /{path} in the sandbox")),
        };
        remove(parent.as_fd(), name).context(|| format!("removing /{path} in the sandbox"))
    }

    /// Makes a symbolic link, replacing anything but a directory.
    pub fn symlink(&self, path: &str, target: &str) -> Result<()> {
        let path = checked(path)?;
        let link = || {
            let (parent, name) = self.made_parent(&path)?;
            match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => rustix::fs::symlinkat(target, &parent, name),
                Err(error) => Err(error),
            }
        };
        link().context(|| format!("linking /{path} in the sandbox"))
    }

    /// Moves one name to another, replacing it, as rename(2) does.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (from, to) = (checked(from)?, checked(to)?);
        let rename = || {
            let (from_parent, from_name) = self.parent(&from)?;
            let (to_parent, to_name) = self.made_parent(&to)?;
            rustix::fs::renameat(&from_parent, from_name, &to_parent, to_name)
        };
        rename().context(|| format!("renaming /{from} to /{to} in the sandbox"))
    }

    /// Makes a directory and its missing parents; one that is there gets the mode.
    pub fn make_directory(&self, path: &str, mode: u32) -> Result<()> {
        let path = checked(path)?;
        let make = || {
            let directory = self.made_directory(&path)?;
            let directory = rustix::fs::openat(&directory, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode & 0o7777))
        };
        make().context(|| format!("making the directory /{path} in the sandbox"))
    }

    fn made_parent<'a>(&self, path: &'a str) -> rustix::io::Result<(OwnedFd, &'a str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.made_directory(parent)?, name))
    }

    fn made_directory(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.resolve(path, flags) {
            Err(Errno::NOENT) if !path.is_empty() => {
                let (parent, name) = self.made_parent(path)?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                self.resolve(path, flags)
            }
            result => result,
        }
    }
}

/// The one spelling of a path given by kiln's own code; the root is refused where a name is needed.
fn checked(path: &str) -> Result<String> {
    normalize(path)
}

/// lstat(2) of a name in a directory.
pub(super) fn status(directory: BorrowedFd<'_>, name: &str) -> rustix::io::Result<rustix::fs::Stat> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Whether it is a directory.
pub(super) fn is_directory(status: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::Directory
}

/// The names in a directory that was just opened, in no order. A name that is not UTF-8 is an error: no entry could hold it.
pub(super) fn names(directory: BorrowedFd<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::<u8>::uninit(); 1 << 13];
    let mut directory = RawDir::new(directory, &mut buffer);
    while let Some(found) = directory.next() {
        let found = found?;
        let name = found.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let name = std::str::from_utf8(name).map_err(|_| {
            Error::new(format!("the file name {:?} is not UTF-8", Path::new(OsStr::from_bytes(name)).display()))
        })?;
        names.push(name.to_owned());
    }
    Ok(names)
}

/// Removes a name with all below it; nothing there is fine.
pub(super) fn remove<Name: rustix::path::Arg + Copy>(parent: BorrowedFd<'_>, name: Name) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says ISDIR, POSIX allows PERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    empty(parent, name)?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Removes everything in the directory `name`. Its depth is limited by the number of open files.
pub(super) fn empty<Name: rustix::path::Arg>(parent: BorrowedFd<'_>, name: Name) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // Collected first: what readdir(3) gives while names are being removed is unspecified.
    let mut below = Vec::new();
    for found in Dir::read_from(&directory)? {
        let found = found?;
        if !matches!(found.file_name().to_bytes(), b"." | b"..") {
            below.push(found.file_name().to_owned());
        }
    }
    below.iter().try_for_each(|name| remove(directory.as_fd(), name.as_c_str()))
}
