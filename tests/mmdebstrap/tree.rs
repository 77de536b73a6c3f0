//! A root file system read from a tar archive, and how two of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use kiln::digest::Digest;
use kiln::ecosystem::debian::rules::{Action, RULES, matches, shadow_day};
use kiln::ecosystem::debian::{alias_database, file_listing, info_directory, keystore};

use crate::differences::{Aspect, DIFFERENCES};

/// What a path is, hard links resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The type, and what a file holds or where a link leads.
    pub what: String,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: u64,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Of a file with several names, the first.
    pub first_name: String,
    content: Option<Vec<u8>>,
}

pub type Tree = BTreeMap<String, Node>;

/// Reads a tar archive.
pub fn read(path: &Path) -> Tree {
    let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 20, File::open(path).unwrap()));
    let mut tree = Tree::new();
    let mut links = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = spelled(&entry.path_bytes());
        let target = entry.link_name_bytes().map(|name| String::from_utf8_lossy(&name).into_owned());
        let mut xattrs = BTreeMap::new();
        if let Some(extensions) = entry.pax_extensions().unwrap() {
            for extension in extensions.map(Result::unwrap) {
                if let Some(name) = extension.key().unwrap().strip_prefix("SCHILY.xattr.") {
                    xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
                }
            }
        }
        let header = entry.header();
        let kind = header.entry_type();
        let (mode, mtime) = (header.mode().unwrap() & 0o7777, header.mtime().unwrap());
        let owner = (header.uid().unwrap(), header.gid().unwrap());
        let device = (header.device_major().ok().flatten(), header.device_minor().ok().flatten());
        let mut content = None;
        let what = match kind {
            tar::EntryType::Link => {
                links.push((path, spelled(target.unwrap().as_bytes())));
                continue;
            }
            tar::EntryType::Directory => "directory".to_owned(),
            tar::EntryType::Symlink => format!("link to {}", target.unwrap()),
            tar::EntryType::Regular => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                let digest = Digest::of(&bytes);
                let what = format!("file of {} bytes, {digest}", bytes.len());
                content = needed(&path).then_some(bytes);
                what
            }
            kind => format!("{kind:?} {device:?}"),
        };
        let first_name = path.clone();
        tree.insert(path, Node { what, mode, owner, mtime, xattrs, first_name, content });
    }
    // Links lead to files, never to links: both builders write them so.
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, target) in links {
        tree.insert(path.clone(), tree[&target].clone());
        names.entry(target).or_default().insert(path);
    }
    for (target, mut paths) in names {
        paths.insert(target);
        let first = paths.first().unwrap().clone();
        for path in paths {
            tree.get_mut(&path).unwrap().first_name.clone_from(&first);
        }
    }
    tree
}

fn spelled(path: &[u8]) -> String {
    String::from_utf8_lossy(path).trim_start_matches("./").trim_end_matches('/').to_owned()
}

/// Whether more than the digest of this file is looked at.
fn needed(path: &str) -> bool {
    let rewritten = RULES
        .iter()
        .filter(|rule| !matches!(rule.action, Action::Remove | Action::Clear))
        .any(|rule| rule.paths.iter().any(|pattern| matches(pattern, path)));
    let compared = DIFFERENCES
        .iter()
        .filter(|difference| matches!(difference.aspect, Aspect::Order | Aspect::Bytecode))
        .any(|difference| difference.paths.iter().any(|pattern| covers(pattern, path)));
    rewritten || compared || matches("var/lib/dpkg/info/*.list", path)
}

/// Whether `path` is at, or for `/**` at or below, what `pattern` says.
pub fn covers(pattern: &str, path: &str) -> bool {
    let Some(folder) = pattern.strip_suffix("/**") else { return matches(pattern, path) };
    matches(folder, path) || path.match_indices('/').any(|(at, _)| matches(folder, &path[..at]))
}

/// What packages ship, by dpkg's lists.
fn shipped(tree: &Tree) -> BTreeSet<String> {
    let lists = tree.iter().filter(|(path, _)| matches("var/lib/dpkg/info/*.list", path));
    let text: Vec<String> = lists
        .filter_map(|(_, node)| node.content.as_ref())
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .collect();
    text.iter().flat_map(|text| text.lines()).map(|line| line.trim_start_matches('/').to_owned()).collect()
}

/// Applies kiln's own rules to another builder's tree.
pub fn apply_rules(tree: &mut Tree, epoch: u64) {
    let shipped = shipped(tree);
    for rule in RULES {
        for pattern in rule.paths {
            let matching: Vec<String> = tree.keys().filter(|path| matches(pattern, path)).cloned().collect();
            for path in matching {
                match rule.action {
                    Action::Remove if shipped.contains(&path) => {}
                    Action::Remove => {
                        let below = format!("{path}/");
                        tree.retain(|other, _| *other != path && !other.starts_with(&below));
                        remove_links(tree, &path);
                    }
                    Action::Clear => {
                        let below = format!("{path}/");
                        tree.retain(|other, _| !other.starts_with(&below));
                    }
                    Action::Empty => rewrite(tree, &path, |_| Vec::new()),
                    Action::ShadowDay => rewrite(tree, &path, |bytes| {
                        shadow_day(&String::from_utf8_lossy(&bytes), epoch / 86400).into_bytes()
                    }),
                    Action::ListingOrder => rewrite(tree, &path, |bytes| {
                        file_listing::sorted(&String::from_utf8_lossy(&bytes)).into_bytes()
                    }),
                    Action::InfoOrder => rewrite(tree, &path, |bytes| {
                        info_directory::sorted(&String::from_utf8_lossy(&bytes)).into_bytes()
                    }),
                    Action::AliasTime => rewrite(tree, &path, |bytes| alias_database::with_time(bytes, epoch)),
                    Action::KeystoreTime => rewrite(tree, &path, |bytes| keystore::with_time(bytes, epoch).unwrap()),
                }
            }
        }
    }
}

/// Links to what a rule has removed go with it.
fn remove_links(tree: &mut Tree, path: &str) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let absolute = format!("link to /{path}");
    let beside = format!("link to {name}");
    tree.retain(|other, node| {
        let other_folder = other.rsplit_once('/').map_or("", |(folder, _)| folder);
        node.what != absolute && !(node.what == beside && other_folder == folder)
    });
}

fn rewrite(tree: &mut Tree, path: &str, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let node = tree.get_mut(path).unwrap();
    if let Some(bytes) = node.content.take() {
        let bytes = edit(bytes);
        node.what = format!("file of {} bytes, {}", bytes.len(), Digest::of(&bytes));
        node.content = Some(bytes);
    }
}

/// A difference: the path, what about it, and both sides.
pub struct Found {
    pub path: String,
    pub aspect: &'static str,
    pub sides: String,
    /// Of two files, whether they have the same lines in another order.
    same_lines: bool,
    /// Of two files, whether they begin with the same 16 bytes: in Python's byte-code, its version and the
    /// time and size of the source.
    same_start: bool,
}

impl Found {
    /// The place in the list of what explains it.
    pub fn explained(&self) -> Option<usize> {
        DIFFERENCES.iter().position(|difference| {
            let aspect = match difference.aspect {
                Aspect::Anything => true,
                Aspect::Mode => self.aspect == "mode",
                Aspect::Time => self.aspect == "time",
                Aspect::Order => self.aspect == "what" && self.same_lines,
                Aspect::Bytecode => self.aspect == "what" && self.same_start,
            };
            aspect && difference.paths.iter().any(|pattern| covers(pattern, &self.path))
        })
    }
}

/// What differs. `stages` are the times that ours gives to what scripts made.
pub fn compare(ours: &Tree, theirs: &Tree, stages: &[u64]) -> Vec<Found> {
    let epoch = stages.iter().copied().max().unwrap();
    let mut found = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let mut aspect = |aspect: &'static str, sides: [String; 2], same_lines: bool, same_start: bool| {
            if sides[0] != sides[1] {
                let sides = format!("kiln {}, mmdebstrap {}", sides[0], sides[1]);
                found.push(Found { path: path.clone(), aspect, sides, same_lines, same_start });
            }
        };
        let nothing = || "nothing".to_owned();
        let (ours, theirs) = match (ours.get(path), theirs.get(path)) {
            (Some(ours), Some(theirs)) => (ours, theirs),
            (ours, theirs) => {
                let side = |node: Option<&Node>| node.map_or_else(nothing, |node| node.what.clone());
                aspect("there", [side(ours), side(theirs)], false, false);
                continue;
            }
        };
        let contents = (ours.content.as_deref().unwrap_or_default(), theirs.content.as_deref().unwrap_or_default());
        let lines = |bytes: &[u8]| {
            let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            lines.sort();
            lines
        };
        let same_lines = !contents.0.is_empty() && lines(contents.0) == lines(contents.1);
        let same_start = contents.0.len() > 16 && contents.0.get(..16) == contents.1.get(..16);
        aspect("what", [ours.what.clone(), theirs.what.clone()], same_lines, same_start);
        for (name, ours, theirs) in [
            ("mode", format!("{:04o}", ours.mode), format!("{:04o}", theirs.mode)),
            ("owner", format!("{:?}", ours.owner), format!("{:?}", theirs.owner)),
            ("attributes", format!("{:?}", ours.xattrs), format!("{:?}", theirs.xattrs)),
            ("names", ours.first_name.clone(), theirs.first_name.clone()),
        ] {
            aspect(name, [ours, theirs], false, false);
        }
        // What was made while building has no time of its own: the latest that either builder allows.
        let made = stages.contains(&ours.mtime) && theirs.mtime >= epoch;
        if !made && !ours.what.starts_with("directory") && !theirs.what.starts_with("directory") {
            aspect("time", [ours.mtime.to_string(), theirs.mtime.min(epoch).to_string()], false, false);
        }
    }
    found
}
