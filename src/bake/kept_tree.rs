//! The tree of a configured base as one file that trees are laid on. The first image on a base is made in a tree that is
//! put together of parts; every other one needs the same again.
//!
//! What an image cannot hold (files with several names or with attributes) is placed on it as ever. Where it cannot be
//! mounted, everything is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::making::Ready;
use super::stage_result::StageResult;
use crate::canonical;
use crate::digest::Digest;
use crate::ecosystem::debian::changes::Before;
use crate::error::Result;
use crate::layer::part::{default_directory, parents};
use crate::layer::{Entry, Kind, Part, erofs};
use crate::sandbox::{Executor, Extraction, can_lay};
use crate::store::Store;

/// The kind of these results in the store, and the version of what they depend on beside the base.
const KIND: &str = "tree";
const VERSION: u32 = 1;

/// A tree on an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptTree {
    pub image: Digest,
    /// The paths that are not in the image.
    left: BTreeSet<String>,
    /// The directories whose metadata is not in the image, or is disturbed by placing these paths.
    directories: Vec<Entry>,
}

impl KeptTree {
    /// What is to be placed on the image, of the layers of the base.
    pub fn rest(&self, below: &[Extraction]) -> Vec<Extraction> {
        let is_left = |entry: &&Entry| self.left.contains(&entry.path);
        let mut rest: Vec<Extraction> = below
            .iter()
            .map(|layer| {
                let parts: Vec<Part> = layer
                    .parts
                    .iter()
                    .filter(|part| part.entries.iter().any(|entry| is_left(&entry)))
                    .cloned()
                    .collect();
                let others = parts.iter().flat_map(|part| &part.entries).filter(|entry| !is_left(entry));
                let skip = layer.skip.iter().cloned().chain(others.map(|entry| entry.path.clone())).collect();
                Extraction { directories: Vec::new(), parts, skip }
            })
            .filter(|layer| !layer.parts.is_empty())
            .collect();
        rest.push(Extraction { directories: self.directories.clone(), ..Extraction::default() });
        rest
    }
}

/// The tree of a base, if it is kept.
pub fn of(store: &Store, base: &StageResult) -> Option<KeptTree> {
    store.keyed(KIND, &key(base).ok()?)
}

fn key(base: &StageResult) -> Result<Digest> {
    Ok(Digest::of(&canonical::to_vec(&(VERSION, base.key))?))
}

/// Keeps the tree of a base, unless it is kept or could not be used here.
pub fn keep(store: &Store, base: &StageResult, packages: &[Ready<'_>]) -> Result<()> {
    if !store.is_writable() || of(store, base).is_some() || !can_lay(Executor::RootNamespaces) {
        return Ok(());
    }
    let key = key(base)?;
    let _lock = store.lock_key(KIND, &key)?;
    if of(store, base).is_some() {
        return Ok(());
    }
    let below = base.tree(packages);
    let parts: Vec<&Part> = below.iter().flat_map(|layer| &layer.parts).collect();
    let before = Before::new(&below, &[], &BTreeMap::new());
    let root = default_directory("");
    let kept = split(&before.entries, &root);
    let image = erofs::write(store, &kept.held, &parts)?;
    let kept = KeptTree { image, left: kept.left, directories: kept.directories };
    store.put_keyed(KIND, &key, &[image], &kept)
}

/// A tree, divided by what an image can hold.
struct Split<'e> {
    held: BTreeMap<&'e str, &'e Entry>,
    left: BTreeSet<String>,
    directories: Vec<Entry>,
}

fn split<'e>(tree: &'e BTreeMap<String, Entry>, root: &'e Entry) -> Split<'e> {
    let target = |entry: &'e Entry| match &entry.kind {
        Kind::HardLink { target } => Some(target.as_str()),
        _ => None,
    };
    let linked: BTreeSet<&str> = tree.values().filter_map(target).collect();
    let mut held: BTreeMap<&str, &Entry> = BTreeMap::from([("", root)]);
    let mut left = BTreeSet::new();
    // The root of the tree is not the image's.
    let mut again = BTreeSet::from([""]);
    for (path, entry) in tree {
        if erofs::holds(entry) && !linked.contains(path.as_str()) {
            held.insert(path, entry);
            // Of a directory only.
            if !entry.xattrs.is_empty() {
                again.insert(path);
            }
        } else {
            left.insert(path.clone());
            again.insert(parents(path).next().unwrap_or(""));
        }
    }
    let directories = again.into_iter().filter_map(|path| held.get(path).map(|entry| (*entry).clone())).collect();
    Split { held, left, directories }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { kind, ..default_directory(path) }
    }

    #[test]
    fn what_an_image_cannot_hold_is_left_and_its_directories_are_set_again() {
        let file = || Kind::File { size: 0, sha256: Digest::of(b"") };
        let attributes = BTreeMap::from([("user.a".to_owned(), "00".to_owned())]);
        let entries = [
            entry("a", Kind::Directory),
            entry("a/file", file()),
            Entry { xattrs: attributes.clone(), ..entry("b", Kind::Directory) },
            entry("c", Kind::Directory),
            entry("c/first", file()),
            entry("c/link", Kind::Symlink { target: "first".to_owned() }),
            entry("c/second", Kind::HardLink { target: "c/first".to_owned() }),
            entry("d", Kind::Directory),
            Entry { xattrs: attributes, ..entry("d/able", file()) },
        ];
        let tree = entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        let root = default_directory("");
        let split = split(&tree, &root);
        assert_eq!(split.held.keys().copied().collect::<Vec<_>>(), ["", "a", "a/file", "b", "c", "c/link", "d"]);
        assert_eq!(split.left, BTreeSet::from(["c/first", "c/second", "d/able"].map(str::to_owned)));
        let directories: Vec<&str> = split.directories.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(directories, ["", "b", "c", "d"]);
    }
}
