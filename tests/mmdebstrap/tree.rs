//! A root file system read from a tar archive, and how two of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use kiln::digest::Digest;
use kiln::ecosystem::debian::keystore;
use kiln::ecosystem::debian::rules::{Action, RULES, matches, shadow_day};

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
                content = rewritten(&path).then_some(bytes);
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

/// Whether a rule looks at the content of this file.
fn rewritten(path: &str) -> bool {
    RULES
        .iter()
        .filter(|rule| !matches!(rule.action, Action::Remove | Action::Clear))
        .any(|rule| rule.paths.iter().any(|pattern| matches(pattern, path)))
}

/// Whether `path` is at, or for `/**` below, what `pattern` says.
pub fn covers(pattern: &str, path: &str) -> bool {
    let Some(folder) = pattern.strip_suffix("/**") else { return matches(pattern, path) };
    path.match_indices('/').any(|(at, _)| matches(folder, &path[..at]))
}

/// Applies kiln's own rules to another builder's tree.
pub fn apply_rules(tree: &mut Tree, epoch: u64) {
    for rule in RULES {
        for pattern in rule.paths {
            let matching: Vec<String> = tree.keys().filter(|path| matches(pattern, path)).cloned().collect();
            for path in matching {
                match rule.action {
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
    }
}

/// One line per path and aspect that differs. `stages` are the times that ours gives to what scripts made.
pub fn compare(ours: &Tree, theirs: &Tree, stages: &[u64]) -> Vec<(String, String)> {
    let epoch = stages.iter().copied().max().unwrap();
    let mut found = Vec::new();
    let mut differs = |path: &str, line: String| found.push((path.to_owned(), line));
    for path in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let (ours, theirs) = match (ours.get(path), theirs.get(path)) {
            (Some(ours), Some(theirs)) => (ours, theirs),
            (Some(ours), None) => {
                differs(path, format!("only kiln has it: {}", ours.what));
                continue;
            }
            (None, theirs) => {
                differs(path, format!("only mmdebstrap has it: {}", theirs.unwrap().what));
                continue;
            }
        };
        let mut aspect = |name: &str, ours: String, theirs: String| {
            if ours != theirs {
                differs(path, format!("{name}: kiln {ours}, mmdebstrap {theirs}"));
            }
        };
        aspect("what", ours.what.clone(), theirs.what.clone());
        aspect("mode", format!("{:04o}", ours.mode), format!("{:04o}", theirs.mode));
        aspect("owner", format!("{:?}", ours.owner), format!("{:?}", theirs.owner));
        aspect("attributes", format!("{:?}", ours.xattrs), format!("{:?}", theirs.xattrs));
        aspect("names", ours.first_name.clone(), theirs.first_name.clone());
        if ours.what.starts_with("directory") || theirs.what.starts_with("directory") {
            continue;
        }
        // What was made while building has no time of its own: the latest that either builder allows.
        let made = stages.contains(&ours.mtime) && theirs.mtime >= epoch;
        if !made {
            aspect("time", ours.mtime.to_string(), theirs.mtime.min(epoch).to_string());
        }
    }
    found
}
