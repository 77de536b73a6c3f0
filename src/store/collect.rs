//! Letting go of what has not been used, and counting what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::IgnoredAny;

use super::keyed::{Envelope, checked};
use super::{Store, open_lock};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// What a collection took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the store holds of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// `blobs`, `partial`, `tmp`, or the kind of a keyed result.
    pub kind: String,
    pub files: u64,
    pub bytes: u64,
}

impl Store {
    /// Removes results unused for `age`, blobs as old that no remaining result names (artifacts fetched for
    /// later are younger), and the leftovers of killed runs. Waits for no one: fails if another process uses the store.
    pub fn collect(root: &Path, age: Duration, dry_run: bool) -> Result<Collected> {
        let store = Self::open(root)?;
        store.require_writable()?;
        drop(store);
        let lock = open_lock(&root.join("lock"))?;
        lock.try_lock().map_err(|_| {
            Error::new(format!("another kiln is using the store at {}", root.display()))
                .hint("run `kiln gc` again when it has finished")
        })?;
        let mut collected = Collected::default();
        let mut kept = BTreeSet::new();
        for path in files(&root.join("keyed"))? {
            match blobs_of(&path, age) {
                Some(blobs) => kept.extend(blobs),
                None => collected.take(&path, dry_run)?,
            }
        }
        for path in files(&root.join("blobs"))? {
            let name: Option<Digest> = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            if !name.is_some_and(|name| kept.contains(&name) || !is_unused(&path, age)) {
                collected.take(&path, dry_run)?;
            }
        }
        for folder in ["tmp", "partial"] {
            for path in files(&root.join(folder))? {
                // Trees that a killed run left may belong to subordinate ids; what remains is harmless.
                let _ = collected.take(&path, dry_run);
            }
        }
        if !dry_run {
            // Empty files, which nobody misses or counts.
            for path in files(&root.join("locks"))? {
                let _ = fs::remove_file(path);
            }
            for entry in fs::read_dir(root.join("tmp"))?.flatten() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(collected)
    }

    /// What the store holds, by kind, in the kinds' order.
    pub fn usage(&self) -> Result<Vec<Usage>> {
        let mut folders = vec![("blobs".to_owned(), self.root.join("blobs"))];
        let mut kinds: Vec<PathBuf> =
            fs::read_dir(self.root.join("keyed"))?.flatten().map(|entry| entry.path()).collect();
        kinds.sort();
        folders.extend(
            kinds.into_iter().map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path)),
        );
        folders.push(("partial".to_owned(), self.root.join("partial")));
        folders.push(("tmp".to_owned(), self.root.join("tmp")));
        folders
            .into_iter()
            .map(|(kind, folder)| {
                let files = files(&folder)?;
                let bytes = files
                    .iter()
                    .filter_map(|path| fs::symlink_metadata(path).ok())
                    .map(|metadata| metadata.len())
                    .sum();
                Ok(Usage { kind, files: files.len() as u64, bytes })
            })
            .collect()
    }
}

impl Collected {
    fn take(&mut self, path: &Path, dry_run: bool) -> Result<()> {
        let size = fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        if !dry_run {
            fs::remove_file(path).context(|| format!("removing {}", path.display()))?;
        }
        self.files += 1;
        self.bytes += size;
        Ok(())
    }
}

/// The blobs of a result that is intact and was used within `age`.
fn blobs_of(path: &Path, age: Duration) -> Option<Vec<Digest>> {
    if is_unused(path, age) {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let envelope: Envelope<IgnoredAny> = serde_json::from_slice(checked(&bytes)?).ok()?;
    Some(envelope.blobs)
}

/// Whether a file's time, that of its last use as far as it is noted, is longer ago than `age`.
#[expect(clippy::disallowed_methods, reason = "the age of a cache entry")]
fn is_unused(path: &Path, age: Duration) -> bool {
    let used = fs::metadata(path).and_then(|metadata| metadata.modified());
    used.is_ok_and(|used| SystemTime::now().duration_since(used).is_ok_and(|unused| unused > age))
}

/// Every file below `folder` that can be listed, sorted.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry.context(|| format!("listing {}", folder.display()))?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found.sort();
    Ok(found)
}
