//! A tree that lies on a file system image: what is in the image is read from there, what programs change is beside it
//! (overlayfs, Documentation/filesystems/overlayfs.rst of Linux).
//!
//! Programs see the same as in a tree of files. Moving a directory works as there (`redirect_dir`), and a file keeps its
//! number when it is changed (`xino`); only files with several names would not stay one, so an image has none.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::mounts::make_directory;
use super::snapshot::Snapshot;
use super::tree::Tree;
use super::{Change, Executor};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::store::Store;

/// The first Linux that mounts a file without a loop device.
const MOUNTS_FILES: (u32, u32) = (6, 12);

/// Whether a session with this executor can lay its tree on an image, if that is in memory otherwise.
pub fn is_possible(executor: Executor) -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map_while(|part| part.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let knows = |kind: &str| rustix::mount::fsopen(kind, rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).is_ok();
    executor == Executor::RootNamespaces && version >= MOUNTS_FILES && knows("erofs") && knows("overlay")
}

/// What a tree is laid together of.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The image.
    lower: Tree,
    /// What is not as in the image: files, and whiteouts, which are character devices with the number 0.
    upper: Tree,
}

impl Overlay {
    /// Mounts the image, and on it the tree at `root`, an empty directory in `place`; both are seen by this process and
    /// its children alone. If it fails, the tree is as it was.
    pub fn lay(place: &Path, root: &Path, store: &Store, image: &Digest) -> Result<Self> {
        let [below, above, work] = ["below", "above", "work"].map(|name| place.join(name));
        for path in [&below, &above, &work] {
            make_directory(path, 0o755)?;
        }
        let laid = mount_image(store, image, &below).and_then(|()| {
            let laid = mount_overlay([&below, &above, &work], root);
            laid.and_then(|()| Ok(Self { lower: Tree::open(&below)?, upper: Tree::open(&above)? }))
        });
        if laid.is_err() {
            let _ = rustix::mount::unmount(root, UnmountFlags::DETACH);
            let _ = rustix::mount::unmount(&below, UnmountFlags::DETACH);
            for path in [&below, &above, &work] {
                let _ = fs::remove_dir_all(path);
            }
        }
        laid
    }

    /// The part of the tree that is looked at for what changes.
    pub fn upper(&self) -> &Tree {
        &self.upper
    }

    /// What is not as it was at `mark`, a snapshot of [`Overlay::upper`]; `tree` is the whole.
    pub fn changes(&self, mark: &Snapshot, tree: &Tree) -> Result<Vec<Change>> {
        let mut now = Snapshot::take(&self.upper)?;
        let mut hidden = Vec::new();
        for path in now.others() {
            hidden.extend(self.hidden_by(&path, !now.has(&path))?);
        }
        for path in now.directories() {
            // A directory that was moved here from below has what it had there.
            let is_moved = self.attribute(&path, "trusted.overlay.redirect")?.is_some();
            if is_moved || self.attribute(&path, "trusted.overlay.opaque")?.is_some_and(|value| value == b"y") {
                hidden.extend(self.hidden_by(&path, false)?);
            }
            if is_moved {
                now.add_below(tree, &path)?;
            }
        }
        let mut changes = now.changes(mark, tree)?;
        let known: BTreeSet<String> = changes.iter().map(|change| change.path.clone()).collect();
        hidden.retain(|path| !now.has(path) && !known.contains(path));
        changes.extend(hidden.into_iter().map(|path| {
            let ctime = now.removed_at(&path);
            Change { path, entry: None, ctime }
        }));
        changes.sort_by(|one, other| one.path.cmp(&other.path));
        changes.dedup_by(|one, other| one.path == other.path);
        Ok(changes)
    }

    /// The paths of the image that something at `path` hides: all below it, and `itself` if nothing is there instead.
    fn hidden_by(&self, path: &str, itself: bool) -> Result<Vec<String>> {
        match self.lower.open_exactly(path, OFlags::PATH) {
            Ok(_) => {
                let mut hidden = super::snapshot::paths_below(&self.lower, path)?;
                if itself {
                    hidden.push(path.to_owned());
                }
                Ok(hidden)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
            Err(error) => Err(error).context(|| format!("looking at /{path} below the tree")),
        }
    }

    /// What overlayfs has noted of a directory that is above.
    fn attribute(&self, path: &str, name: &str) -> Result<Option<Vec<u8>>> {
        let directory = self.upper.open_exactly(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut value = vec![0; 4096];
        match rustix::fs::fgetxattr(&directory, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
            Err(error) => Err(error).context(|| format!("reading the attribute {name} of /{path}")),
        }
    }
}

/// A file that others can write could be changed under the kernel's hands.
fn mount_image(store: &Store, image: &Digest, target: &Path) -> Result<()> {
    let path = store.blob_path(image);
    let file = File::open(&path).context(|| format!("reading {}", path.display()))?;
    let metadata = file.metadata()?;
    if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(Error::new(format!("{} can be changed by others", path.display())));
    }
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::mount::mount(source, target, "erofs", MountFlags::RDONLY, None)
        .context(|| format!("mounting {} at {}", path.display(), target.display()))
}

/// The directories are given as descriptors: their names may have characters that mean something in a list of options.
fn mount_overlay([below, above, work]: [&Path; 3], target: &Path) -> Result<()> {
    let open = |path: &Path| File::open(path).context(|| format!("opening {}", path.display()));
    let [below, above, work] = [open(below)?, open(above)?, open(work)?];
    let name = |file: &File| format!("/proc/self/fd/{}", file.as_raw_fd());
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=on,xino=on,index=off,metacopy=off",
        name(&below),
        name(&above),
        name(&work)
    );
    let options = std::ffi::CString::new(options)?;
    rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())
        .context(|| format!("mounting an overlay at {}", target.display()))
}
