//! What targets work in: a store, and a folder for files.

use std::fs;
use std::path::{Path, PathBuf};

use kiln::Digest;
use kiln::store::Store;

/// After so many inputs everything is made anew, so that it does not grow.
const INPUTS: u64 = 400;

pub struct World {
    pub store: Store,
    folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        // In memory where that can be: files are made and removed by the thousand.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("kiln-fuzz-").tempdir_in(place).expect("a folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        Self { store, folder }
    }

    /// Makes everything anew before every so many inputs.
    pub fn renew(&mut self, count: u64) {
        if count.is_multiple_of(INPUTS) {
            *self = Self::new();
        }
    }

    /// Puts bytes into the store.
    pub fn put(&self, bytes: &[u8]) -> Digest {
        self.store.put(bytes).expect("writing to the store")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("making a folder");
        fs::write(&path, bytes).expect("writing a file");
        path
    }
}
