//! The content-addressed directory that holds artifacts, parts, layers and images.
//!
//! `docs/store.md` describes the layout, who may do what at the same time, and what `gc` may take. The
//! store knows digests and keys, never what the bytes mean, and it trusts none of its own files: every
//! read is checked, and what fails its check is set aside so that it is made or fetched again.

mod blob;
mod collect;
mod keyed;
mod verify;
mod work;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use blob::BlobWriter;
pub use collect::{Collected, Usage};
use work::Work;
pub use work::abandon;

use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};

/// The version of the directory layout, in the file `kiln-store`.
const LAYOUT: &str = "1\n";

/// An open store. Holding one keeps `gc` of other processes out.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    /// Locked shared for as long as the store is open; `None` for a store that can only be read.
    _lock: Option<File>,
    writable: bool,
    /// Made when something is written first.
    work: Mutex<Option<Work>>,
}

/// Exclusive among processes and threads, for the time in which one of them makes the result of a key.
#[derive(Debug)]
pub struct KeyLock(#[expect(dead_code, reason = "held for its lock")] Option<File>);

impl Store {
    /// Opens the store at `root`, and makes it if it does not exist. A directory that cannot be written
    /// to (a read-only mount, another user's) is opened for reading.
    pub fn open(root: &Path) -> Result<Self> {
        let marker = root.join("kiln-store");
        let writable = match Self::prepare(root, &marker) {
            Ok(()) => true,
            Err(_) if marker.is_file() && !may_write(root) => false,
            Err(error) => return Err(error),
        };
        let layout = fs::read_to_string(&marker).context(|| format!("reading {}", marker.display()))?;
        if layout != LAYOUT {
            return Err(Error::new(format!(
                "the store at {} has layout {}, this kiln knows layout {}",
                root.display(),
                layout.trim(),
                LAYOUT.trim()
            ))
            .hint("use a newer kiln, or another directory with `--store DIR`"));
        }
        let lock = if writable {
            let lock = open_lock(&root.join("lock"))?;
            lock.lock_shared().context(|| format!("locking the store at {}", root.display()))?;
            Some(lock)
        } else {
            None
        };
        Ok(Self { root: root.to_owned(), _lock: lock, writable, work: Mutex::default() })
    }

    fn prepare(root: &Path, marker: &Path) -> Result<()> {
        let hint = "another place for the store can be given with `--store DIR` or KILN_STORE";
        for folder in ["blobs/sha256", "keyed", "tmp", "partial", "locks"] {
            fs::create_dir_all(root.join(folder))
                .context(|| format!("making the store at {}", root.display()))
                .map_err(|error| error.hint(hint))?;
        }
        if !may_write(root) {
            return Err(Error::new(format!("the store at {} cannot be written to", root.display())).hint(hint));
        }
        if !marker.exists() {
            let context = || format!("making the store at {}", root.display());
            let file = tempfile::Builder::new().prefix("marker-").tempfile_in(root.join("tmp")).context(context)?;
            fs::write(file.path(), LAYOUT).context(context)?;
            file.persist(marker).map_err(|error| error.error).context(context)?;
        }
        Ok(())
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether anything can be added to it.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    fn require_writable(&self) -> Result<()> {
        if self.writable {
            return Ok(());
        }
        Err(Error::new(format!("the store at {} can only be read", self.root.display()))
            .hint("what is missing from it can be made in another one: `--store DIR` or KILN_STORE"))
    }

    /// A directory for work in progress, removed when dropped, and by a later run if this one is killed.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        let folder = self.work_folder()?;
        tempfile::Builder::new()
            .prefix("work-")
            .tempdir_in(folder)
            .context(|| format!("making a work directory in the store at {}", self.root.display()))
    }

    /// A file that is not part of the store yet.
    fn temporary(&self, prefix: &str) -> Result<tempfile::NamedTempFile> {
        let folder = self.work_folder()?;
        tempfile::Builder::new()
            .prefix(prefix)
            .tempfile_in(folder)
            .context(|| format!("writing to the store at {}", self.root.display()))
    }

    /// This process's own folder for what is not complete.
    fn work_folder(&self) -> Result<PathBuf> {
        self.require_writable()?;
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = &*work {
            return Ok(work.folder().to_owned());
        }
        let made = Work::start(&self.root.join("tmp"))
            .context(|| format!("making a work directory in the store at {}", self.root.display()))?;
        Ok(work.insert(made).folder().to_owned())
    }

    /// The file in which an interrupted download of `digest` is continued.
    pub fn partial(&self, digest: &Digest) -> PathBuf {
        self.root.join("partial").join(digest.to_string())
    }

    /// Waits until no other process or thread makes the result of `key`, then keeps them waiting.
    pub fn lock_key(&self, kind: &str, key: &Digest) -> Result<KeyLock> {
        if !self.writable {
            return Ok(KeyLock(None));
        }
        let path = self.root.join("locks").join(format!("{kind}-{}", &key.to_string()[..16]));
        let file = open_lock(&path)?;
        file.lock().context(|| format!("locking {}", path.display()))?;
        Ok(KeyLock(Some(file)))
    }
}

/// Whether the file system and the permissions let this process write. A full disk does.
fn may_write(root: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let access = Access::WRITE_OK | Access::EXEC_OK;
    ["tmp", "blobs/sha256", "keyed"]
        .iter()
        .all(|folder| accessat(CWD, root.join(folder), access, AtFlags::EACCESS).is_ok())
}

fn open_lock(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .context(|| format!("opening {}", path.display()))
}

/// An error about a blob that is not what its name says.
fn corrupt(path: &Path, expected: &Digest, found: &Digest) -> Error {
    Error::new(format!("the store's file {} is corrupt: expected sha256 {expected}, found {found}", path.display()))
        .kind(Kind::Corrupt)
        .hint("it was set aside: run the command again to fetch or make it anew")
}

#[cfg(test)]
mod tests;
