//! What a process has begun and not finished, in a folder of its own in the store's `tmp`.
//!
//! The folder is locked for as long as its process lives, so the next one that writes to the store can
//! tell what a killed run has left from what is still being worked on, and removes it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Context, Result};

const PREFIX: &str = "run-";

/// The folders of this process.
static OWN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A process's folder, removed when dropped.
#[derive(Debug)]
pub(super) struct Work {
    folder: PathBuf,
    _lock: File,
}

impl Work {
    /// Makes the folder in `tmp`, and removes those of processes that are no more.
    pub fn start(tmp: &Path) -> Result<Self> {
        sweep(tmp);
        // A process that sweeps may take the folder for a leftover before it is locked; then it is gone.
        for _ in 0..100 {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(tmp)?.keep();
            own().insert(folder.clone());
            let lock = File::open(&folder).and_then(|lock| lock.lock().map(|()| lock));
            if let Ok(lock) = lock
                && folder.exists()
            {
                return Ok(Self { folder, _lock: lock });
            }
            own().remove(&folder);
        }
        None.context(|| "another process keeps removing it")
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What remains, the next process removes.
        let _ = fs::remove_dir_all(&self.folder);
        own().remove(&self.folder);
    }
}

/// Removes what this process has begun: for one that is about to end at once. Its other threads may still
/// be writing; what they leave, the next process removes.
pub fn abandon() {
    let folders = own().clone();
    for _ in 0..3 {
        folders.iter().for_each(|folder| drop(fs::remove_dir_all(folder)));
    }
}

/// Removes the folders of processes that have ended, as far as their files are this user's.
fn sweep(tmp: &Path) {
    let Ok(entries) = fs::read_dir(tmp) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        if let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn own() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}
