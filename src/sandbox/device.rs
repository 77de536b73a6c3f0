//! `/dev`, `/proc`, `/tmp` and `/run` where nothing can be mounted: directories kept beside the tree, which take
//! the places of the tree's own while a program runs.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::mounts::{DEVICES, device_directories, make_directory};
use super::tree::{Tree, is_directory, remove, status};
use crate::error::{Context, Result};

/// What is swapped, and the mode of what takes its place.
const SWAPPED: [(&str, u32); 4] = [("dev", 0o755), ("proc", 0o555), ("tmp", 0o1777), ("run", 0o755)];

/// What scripts look for in `/proc` to decide what they write (postfix), as it is where it is mounted.
const SETTINGS: [&str; 2] = ["proc/sys/net/ipv4", "proc/sys/net/ipv6"];

/// The directories beside the tree: `own` while no program runs, `aside` for the tree's while one does.
#[derive(Debug)]
pub(super) struct Devices {
    own: OwnedFd,
    aside: OwnedFd,
    null: PathBuf,
    /// Whether `null` is a device, or a file that must be kept empty.
    real: bool,
}

impl Devices {
    /// Makes the directories in `beside`, with the devices in `dev`.
    pub fn new(beside: &Path) -> Result<Self> {
        let (own, aside) = (beside.join("own"), beside.join("aside"));
        make_directory(&own, 0o755)?;
        make_directory(&aside, 0o755)?;
        for (name, mode) in SWAPPED {
            make_directory(&own.join(name), mode)?;
        }
        for path in SETTINGS {
            fs::create_dir_all(own.join(path)).context(|| format!("making {path} of the sandbox"))?;
        }
        let directory = own.join("dev");
        device_directories(&directory)?;
        let mut real = true;
        for (name, major, minor) in DEVICES {
            let path = directory.join(name);
            let device = rustix::fs::makedev(major, minor);
            match rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), device) {
                Ok(()) => {}
                Err(Errno::PERM) => {
                    real = false;
                    imitate(&path, name)?;
                }
                Err(error) => return Err(error).context(|| format!("making {}", path.display())),
            }
            if path.exists() {
                let mode = fs::Permissions::from_mode(0o666);
                fs::set_permissions(&path, mode).context(|| format!("making {}", path.display()))?;
            }
        }
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .context(|| format!("opening {}", path.display()))
        };
        Ok(Self { own: open(&own)?, aside: open(&aside)?, null: directory.join("null"), real })
    }

    /// Puts the directories into the tree. What is no directory there (a link) is left as it is.
    pub fn enter(&self, tree: &Tree) -> Result<()> {
        if !self.real {
            File::create(&self.null).context(|| format!("emptying {}", self.null.display()))?;
        }
        for (name, _) in SWAPPED {
            match status(tree.root(), name) {
                Ok(there) if !is_directory(&there) => continue,
                Ok(_) => rename(tree.root(), self.aside.as_fd(), name)?,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error).context(|| format!("looking at /{name}")),
            }
            rename(self.own.as_fd(), tree.root(), name)?;
        }
        Ok(())
    }

    /// Takes them out again, whatever the program made of them.
    pub fn leave(&self, tree: &Tree) -> Result<()> {
        for (name, mode) in SWAPPED {
            // Still there: it was not swapped.
            if status(self.own.as_fd(), name).is_ok() {
                continue;
            }
            match status(tree.root(), name) {
                Ok(there) if is_directory(&there) => rename(tree.root(), self.own.as_fd(), name)?,
                // Not possible with a mount: the program replaced or removed it.
                _ => {
                    remove(tree.root(), name).context(|| format!("removing /{name}"))?;
                    rustix::fs::mkdirat(&self.own, name, Mode::from_raw_mode(mode))?;
                    rustix::fs::chmodat(&self.own, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
                }
            }
            if status(self.aside.as_fd(), name).is_ok() {
                rename(self.aside.as_fd(), tree.root(), name)?;
            }
        }
        Ok(())
    }
}

fn rename(from: impl AsFd, to: impl AsFd, name: &str) -> Result<()> {
    rustix::fs::renameat_with(from, name, to, name, RenameFlags::NOREPLACE)
        .context(|| format!("swapping /{name} of the sandbox"))
}

/// Something that behaves like a device as far as scripts use it, where devices cannot be made
/// (containers without `CAP_MKNOD`).
fn imitate(path: &Path, name: &str) -> Result<()> {
    match name {
        "null" => {
            File::create(path).context(|| format!("making {}", path.display()))?;
            keep_empty(path)
        }
        "zero" => feed(path, Path::new("/dev/zero")),
        "random" | "urandom" => feed(path, Path::new("/dev/urandom")),
        // Nothing needs them so much that a false one would be better than none.
        _ => Ok(()),
    }
}

/// A file that is emptied whenever it has been written to, for as long as the worker lives.
fn keep_empty(path: &Path) -> Result<()> {
    let watch = inotify::init(CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, path, WatchFlags::MODIFY)?;
    let file = File::options().write(true).open(path)?;
    let empty = move || {
        let mut events = [0; 4096];
        while rustix::io::read(&watch, &mut events).is_ok() {
            if file.metadata().is_ok_and(|metadata| metadata.len() > 0) {
                let _ = file.set_len(0);
            }
        }
    };
    std::thread::Builder::new().name("null".to_owned()).spawn(empty)?;
    Ok(())
}

/// A FIFO out of which comes what `source` gives, for as long as the worker lives.
fn feed(path: &Path, source: &Path) -> Result<()> {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .context(|| format!("making {}", path.display()))?;
    let mut source = File::open(source).context(|| format!("opening {}", source.display()))?;
    // Open for both, so that neither end ever waits for the other to be opened, nor sees it closed.
    let mut fifo = File::options().read(true).write(true).open(path)?;
    let feed = move || {
        let mut bytes = [0; 4096];
        while std::io::Read::read_exact(&mut source, &mut bytes).and_then(|()| fifo.write_all(&bytes)).is_ok() {}
    };
    std::thread::Builder::new().name("feed".to_owned()).spawn(feed)?;
    Ok(())
}
