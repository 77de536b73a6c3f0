//! What is mounted on the tree while a program runs in it.
//!
//! The worker stages the mounts once, beside the tree, in a mount namespace of its own. Each program gets
//! a copy of that namespace in which they are attached to the tree, which becomes the root; so the worker
//! itself always sees the bare tree.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::Bind;
use super::tree::Tree;
use crate::error::{Context, Error, Result};

/// Attributes of a mount (mount_setattr(2)).
pub(super) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub(super) const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;
const NO_SETUID: u64 = libc::MOUNT_ATTR_NOSUID;

/// The devices every program has; of the host's, with the numbers they are made with in a plain chroot.
pub(super) const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// The links in `/dev`.
pub(super) const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Something shown at a place in the tree, in a form that needs no memory to attach.
#[derive(Clone, Debug)]
pub(super) struct Mount {
    /// On the host.
    pub source: CString,
    /// Inside, from the root.
    pub target: CString,
    /// Attributes added to those that the source has.
    pub attributes: u64,
}

impl Mount {
    fn new(source: &Path, target: &str, attributes: u64) -> Result<Self> {
        let source = CString::new(source.as_os_str().as_bytes())?;
        Ok(Self { source, target: CString::new(format!("/{}", target.trim_matches('/')))?, attributes })
    }
}

/// Detaches the mount namespace from the host's, so that nothing mounted here is seen there.
pub(super) fn make_private() -> Result<()> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).context(|| "making the mounts private")
}

/// Mounts what programs will see in the directory `stage`: `/proc`, `/dev`, `/tmp` and `/run`. The caller
/// must be the first process of a process namespace.
pub(super) fn stage(stage: &Path) -> Result<()> {
    tmpfs(stage, c"mode=0755,size=4g")?;
    for (name, mode) in [("proc", 0o555), ("dev", 0o755), ("tmp", 0o1777), ("run", 0o755)] {
        make_directory(&stage.join(name), mode)?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", stage.join("proc"), "proc", flags, None).context(|| "mounting /proc").map_err(
        |error| error.hint("inside a container, /proc must not be masked (podman: `--security-opt unmask=ALL`)"),
    )?;
    let devices = stage.join("dev");
    for (name, _, _) in DEVICES {
        let target = devices.join(name);
        File::create(&target).context(|| format!("making {}", target.display()))?;
        let source = Path::new("/dev").join(name);
        rustix::mount::mount_bind(&source, &target).context(|| format!("binding {}", source.display()))?;
    }
    device_directories(&devices)?;
    tmpfs(&devices.join("shm"), c"mode=1777,size=64m")?;
    // Group 5 is Debian's `tty`.
    let options = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    rustix::mount::mount("devpts", devices.join("pts"), "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, options)
        .context(|| "mounting /dev/pts")
}

/// The parts of `/dev` that are neither devices nor mounts.
pub(super) fn device_directories(devices: &Path) -> Result<()> {
    make_directory(&devices.join("shm"), 0o1777)?;
    make_directory(&devices.join("pts"), 0o755)?;
    for (name, target) in LINKS {
        symlink(target, devices.join(name)).context(|| format!("linking /dev/{name}"))?;
    }
    Ok(())
}

/// Gives the tree memory to live in, mounted where it would otherwise be on the disk; the directory. Unlike what is
/// mounted on a tree it holds devices and setuid programs, as packages bring them.
///
/// Not in large pages (tmpfs(5), `huge`): where a virtual machine gives free memory back to its host, as many do, they
/// are cut from what was given back, and making the tree takes longer than in small ones.
pub(super) fn memory(place: &Path) -> Result<File> {
    let what = || format!("mounting a tmpfs at {}", place.display());
    rustix::mount::mount("tmpfs", place, "tmpfs", MountFlags::empty(), c"mode=0755").context(what)?;
    File::open(place).context(what)
}

fn tmpfs(path: &Path, options: &std::ffi::CStr) -> Result<()> {
    rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
        .context(|| format!("mounting a tmpfs at {}", path.display()))
}

/// Makes a directory with exactly this mode.
pub(super) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .context(|| format!("making the directory {}", path.display()))
}

/// The mounts of a program, in order. `/proc` can only be read: its `sys` is the host's own for root.
/// `/sys` tells of the host's processors and devices, so unattended programs have none. Nothing is mounted
/// where the tree has something else than a directory, a link for example.
pub(super) fn plan(tree: &Tree, stage: &Path, binds: &[Bind], foreground: bool) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for (name, attributes) in [("proc", READ_ONLY), ("dev", 0), ("tmp", 0), ("run", 0)] {
        if super::tree::status(tree.root(), name).is_ok_and(|status| !super::tree::is_directory(&status)) {
            continue;
        }
        mounts.push(Mount::new(&stage.join(name), name, attributes)?);
    }
    if foreground && Path::new("/sys/kernel").is_dir() {
        mounts.push(Mount::new(Path::new("/sys"), "sys", READ_ONLY)?);
    }
    for bind in binds {
        let read_only = if bind.read_only { READ_ONLY } else { 0 };
        mounts.push(Mount::new(&bind.source, &bind.target, NO_SETUID | NO_DEVICES | read_only)?);
    }
    Ok(mounts)
}

/// Makes the mount points that the tree lacks. What was made is returned, to be removed by [`unmake_points`].
pub(super) fn make_points(tree: &Tree, mounts: &[Mount]) -> Result<Vec<String>> {
    let mut made = Vec::new();
    for mount in mounts {
        let source = PathBuf::from(std::ffi::OsStr::from_bytes(mount.source.as_bytes()));
        let metadata = fs::metadata(&source).context(|| format!("looking at {}", source.display()))?;
        let target = crate::layer::entry::normalize(mount.target.to_str()?)?;
        if target.is_empty() {
            return Err(Error::new("nothing can be bound over the root"));
        }
        // What is mounted on another mount has its point there: the tree is not touched for it.
        if tree.resolve(&target, rustix::fs::OFlags::PATH).is_ok() {
            continue;
        }
        let mut prefix = String::new();
        for name in target.split('/') {
            prefix = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            if tree.exists(&prefix)? {
                continue;
            }
            if prefix == target && !metadata.is_dir() {
                tree.write(&prefix, b"", 0o644, None)?;
            } else {
                tree.make_directory(&prefix, 0o755)?;
            }
            made.push(prefix.clone());
        }
    }
    Ok(made)
}

/// Removes the mount points again, as far as nothing was put there.
pub(super) fn unmake_points(tree: &Tree, made: &[String]) {
    for path in made.iter().rev() {
        if let Ok((parent, name)) = tree.parent(path)
            && rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::REMOVEDIR).is_err()
        {
            let _ = rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::empty());
        }
    }
}
