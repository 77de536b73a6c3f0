//! The workspace's own files: a list of them with their hashes, and the list → part.
//!
//! The list is what the lockfile names by its hash; it and the content of the files are in the store, so that baking
//! reads nothing else. Nothing is known here of the lockfile.

mod import;

use std::io::{self, BufReader};

use serde::{Deserialize, Serialize};

pub use import::import;

use super::placing::Placing;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::store::Store;
use crate::{FORMAT, canonical};

/// When local files were modified, in seconds since 1970: 1980-01-02, as archives such as zip know no time before 1980.
const MTIME: u64 = 315_619_200;
/// The largest list, in bytes.
const LIMIT_LIST: u64 = 256 << 20;

/// Files of the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Whether it is one file, whose path is its name.
    pub single: bool,
    /// Sorted by path.
    pub entries: Vec<Listed>,
}

/// One name of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listed {
    /// Relative to what is copied.
    pub path: String,
    #[serde(flatten)]
    pub content: Content,
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Content {
    Directory,
    File { size: u64, sha256: Digest, executable: bool },
    Symlink { target: String },
}

impl Listing {
    /// The hash that the lockfile has.
    pub fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&canonical::to_vec(self)?))
    }

    /// The number of files, and their bytes.
    pub fn totals(&self) -> (u64, u64) {
        self.entries.iter().fold((0, 0), |(files, bytes), entry| match entry.content {
            Content::File { size, .. } => (files + 1, bytes + size),
            _ => (files, bytes),
        })
    }

    /// The files' hashes.
    pub fn files(&self) -> impl Iterator<Item = Digest> {
        self.entries.iter().filter_map(|entry| match entry.content {
            Content::File { sha256, .. } => Some(sha256),
            _ => None,
        })
    }

    /// Reads the list with this hash from the store.
    pub fn read(store: &Store, digest: &Digest) -> Result<Self> {
        if store.size(digest).is_some_and(|size| size > LIMIT_LIST) {
            return Err(Error::new(format!("the list {digest} of local files is too large")));
        }
        serde_json::from_slice(&store.read(digest)?).context(|| format!("reading the list {digest} of local files"))
    }
}

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    listing: &'a Digest,
    placing: &'a Placing,
}

/// The part of the files on the list with this hash. All have the format's time: what a checkout has says nothing.
pub fn part(store: &Store, listing: &Digest, placing: &Placing) -> Result<Part> {
    let key = Digest::of(&canonical::to_vec(&Key { format: FORMAT, listing, placing })?);
    if let Some(part) = store.keyed("local", &key) {
        return Ok(part);
    }
    let files = Listing::read(store, listing)?;
    let mut builder = PartBuilder::new(store)?;
    if !files.single {
        placing.directory(&mut builder, "", 0o755)?;
    }
    let entry = |path: &str, kind: Kind, mode: u32| -> Result<Entry> {
        let path = placing.path(path)?;
        let (uid, gid, mtime) = (placing.uid, placing.gid, MTIME);
        Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs: Default::default() })
    };
    for listed in &files.entries {
        let path = if files.single { "" } else { listed.path.as_str() };
        match &listed.content {
            Content::Directory => placing.directory(&mut builder, path, 0o755)?,
            Content::File { size, sha256, executable } => {
                let mode = placing.mode.unwrap_or(if *executable { 0o755 } else { 0o644 });
                let mut content = BufReader::new(store.open_checked(sha256)?);
                builder.entry(&entry(path, Kind::File { size: *size, sha256: *sha256 }, mode)?, &mut content)?;
            }
            Content::Symlink { target } => {
                builder.entry(&entry(path, Kind::Symlink { target: target.clone() }, 0o777)?, &mut io::empty())?;
            }
        }
    }
    let part = builder.finish()?;
    store.put_keyed("local", &key, &[part.content], &part)?;
    Ok(part)
}
