//! What is bound into a tree, from the worker's side: it alone has the rights over files of the image's users. Nothing
//! here follows a link, so whatever a program has put into a volume, nothing outside of it is touched.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Uid};

use crate::error::{Context, Error, Result};

/// How deep folders of a volume may lie in one another: each level holds a descriptor.
const MAXIMUM_DEPTH: usize = 512;

/// Gives the file or folder at `path`, with all that is in it, to a user and a group. What is theirs already is left
/// alone.
pub(super) fn give(path: &Path, uid: u32, gid: u32) -> Result<()> {
    give_entry(CWD, path.as_os_str(), path, (uid, gid), 0)
}

/// `name` is looked up in `folder`; `path` is for people.
fn give_entry(folder: BorrowedFd<'_>, name: &OsStr, path: &Path, owner: (u32, u32), depth: usize) -> Result<()> {
    let (uid, gid) = owner;
    let context = || format!("giving {} to user {uid}:{gid} inside", path.display());
    if depth > MAXIMUM_DEPTH {
        return Err(Error::new(format!("folders are more than {MAXIMUM_DEPTH} deep"))).context(context);
    }
    let status = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).context(context)?;
    if (status.st_uid, status.st_gid) != owner {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .context(context)
            .map_err(|error| error.hint("only files of the caller, and of its subordinate ids, can be given away"))?;
    }
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(folder, name, flags, Mode::empty()).context(context)?;
    for entry in Dir::read_from(&opened).context(context)? {
        let entry = entry.context(context)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            give_entry(opened.as_fd(), name, &path.join(name), owner, depth + 1)?;
        }
    }
    Ok(())
}

/// Removes all that is in the folder at `path`.
pub(super) fn empty(path: &Path) -> Result<()> {
    let context = || format!("emptying {}", path.display());
    for entry in fs::read_dir(path).context(context)? {
        let entry = entry.context(context)?;
        let path = entry.path();
        let removed = match entry.file_type().context(context)?.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.context(|| format!("removing {}", path.display())).context(context)?;
    }
    Ok(())
}
