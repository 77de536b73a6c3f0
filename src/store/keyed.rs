//! Keyed results: what a step with these inputs gave, as JSON that names its blobs.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Store;
use crate::canonical;
use crate::digest::Digest;
use crate::error::{Context, Result};

/// A result's last use is noted at most this often.
const USE_NOTED_EVERY: Duration = Duration::from_hours(12);

#[derive(Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    /// The blobs that the result needs; `gc` keeps them as long as the result.
    pub blobs: Vec<Digest>,
    pub result: T,
}

impl Store {
    fn keyed_path(&self, kind: &str, key: &Digest) -> PathBuf {
        let name = key.to_string();
        self.root.join("keyed").join(kind).join(&name[..2]).join(name)
    }

    /// The result of `key`, if the store has it and all its blobs. A damaged result is set aside and
    /// counts as none.
    pub fn keyed<T: DeserializeOwned>(&self, kind: &str, key: &Digest) -> Option<T> {
        let path = self.keyed_path(kind, key);
        let bytes = fs::read(&path).ok()?;
        let Some(json) = checked(&bytes) else {
            self.set_aside(&path);
            return None;
        };
        let envelope: Envelope<T> = serde_json::from_slice(json).ok()?;
        if !envelope.blobs.iter().all(|blob| self.contains(blob)) {
            return None;
        }
        self.note_use(&path);
        Some(envelope.result)
    }

    /// Stores the result of `key`. `blobs` are those it names.
    pub fn put_keyed<T: Serialize>(&self, kind: &str, key: &Digest, blobs: &[Digest], result: &T) -> Result<()> {
        self.require_writable()?;
        let path = self.keyed_path(kind, key);
        let json = canonical::to_vec(&Envelope { blobs: blobs.to_vec(), result })?;
        let folder = path.parent().expect("a result's path has a folder");
        fs::create_dir_all(folder).context(|| format!("making {}", folder.display()))?;
        let mut file = self.temporary("keyed-")?;
        file.write_all(Digest::of(&json).to_string().as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.write_all(&json))
            .context(|| format!("writing {}", path.display()))?;
        file.persist(&path).map_err(|error| error.error).context(|| format!("writing {}", path.display()))?;
        Ok(())
    }

    /// Touches a result so that `gc` sees it was used. Times never reach anything that is hashed.
    #[expect(clippy::disallowed_methods, reason = "the age of a cache entry, for gc alone")]
    fn note_use(&self, path: &std::path::Path) {
        if !self.writable {
            return;
        }
        let now = SystemTime::now();
        let stale = fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|noted| now.duration_since(noted).is_ok_and(|age| age > USE_NOTED_EVERY));
        if stale && let Ok(file) = fs::File::options().write(true).open(path) {
            let _ = file.set_modified(now);
        }
    }
}

/// The JSON of a result's file, if its first line is the digest of the rest.
pub(super) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (digest, json) = bytes.split_at_checked(65)?;
    (digest[64] == b'\n' && Digest::of(json).to_string().as_bytes() == &digest[..64]).then_some(json)
}
