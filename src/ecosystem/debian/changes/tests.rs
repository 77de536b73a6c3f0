use std::collections::{BTreeMap, BTreeSet};

use super::{Before, Changed};
use crate::digest::Digest;
use crate::layer::{Entry, Kind, Part};
use crate::sandbox::{Change, Extraction};

const EPOCH: u64 = 1000;

fn entry(path: &str, kind: Kind) -> Entry {
    let mode = if kind == Kind::Directory { 0o755 } else { 0o644 };
    let mtime = if kind == Kind::Directory { 0 } else { 500 };
    Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
}

fn folder(path: &str) -> Entry {
    entry(path, Kind::Directory)
}

fn file(path: &str, content: &str) -> Entry {
    entry(path, Kind::File { size: content.len() as u64, sha256: Digest::of(content.as_bytes()) })
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, Kind::Symlink { target: target.to_owned() })
}

fn hard(path: &str, target: &str) -> Entry {
    entry(path, Kind::HardLink { target: target.to_owned() })
}

fn layer(directories: &[Entry], entries: &[Entry]) -> Extraction {
    let part = Part {
        directories: directories.to_vec(),
        entries: entries.to_vec(),
        content: Digest::of(b""),
        size: 0,
        tar_size: 0,
        members: Vec::new(),
        plain: None,
    };
    Extraction { directories: directories.to_vec(), parts: vec![part], ..Extraction::default() }
}

fn before(directories: &[Entry], entries: &[Entry]) -> Before {
    Before::new(&[layer(directories, entries)], &[], &BTreeMap::new())
}

fn now(entry: Entry) -> Change {
    Change { path: entry.path.clone(), entry: Some(entry), ctime: 7 }
}

fn gone(path: &str) -> Change {
    Change { path: path.to_owned(), entry: None, ctime: 7 }
}

/// The layer's paths: folders with a slash, links with their targets, hard links with `=`.
fn result(before: &Before, mut found: Vec<Change>) -> Vec<String> {
    found.sort_by(|a, b| a.path.cmp(&b.path));
    listed(Changed::compare(before, found, EPOCH), before)
}

fn listed(changed: Changed, before: &Before) -> Vec<String> {
    let (directories, entries) = changed.into_entries(before);
    let mut seen = BTreeSet::new();
    let all = directories.iter().chain(&entries);
    all.map(|entry| {
        assert!(seen.insert(entry.path.clone()), "/{} is in the layer twice", entry.path);
        match &entry.kind {
            Kind::Directory => format!("{}/", entry.path),
            Kind::Symlink { target } => format!("{} -> {target}", entry.path),
            Kind::HardLink { target } => {
                assert!(seen.contains(target), "/{} comes before its file", entry.path);
                format!("{} = {target}", entry.path)
            }
            _ => entry.path.clone(),
        }
    })
    .collect()
}

#[test]
fn what_is_as_before_once_times_are_clamped_is_no_change() {
    let before = before(&[folder("a")], &[Entry { mtime: EPOCH, ..file("a/x", "1") }, file("a/y", "1")]);
    let touched = Entry { mtime: EPOCH + 5, ..file("a/x", "1") };
    let found = vec![now(Entry { mtime: 9, ..folder("a") }), now(touched), now(file("a/y", "2")), gone("a/unknown")];
    assert_eq!(result(&before, found), ["a/", "a/y"]);
}

#[test]
fn a_parent_keeps_what_it_became() {
    let below =
        [layer(&[folder("a")], &[file("a/x", "1")]), layer(&[Entry { mode: 0o700, uid: 5, ..folder("a") }], &[])];
    let before = Before::new(&below, &[], &BTreeMap::new());
    let changed = Changed::compare(&before, vec![now(file("a/new", "1"))], EPOCH);
    let (directories, _) = changed.into_entries(&before);
    assert_eq!((directories[0].mode, directories[0].uid), (0o700, 5));
}

#[test]
fn a_removed_folder_is_one_whiteout_whatever_sorts_between() {
    let before = before(
        &[folder("a"), folder("a/d"), folder("a/d/e")],
        &[file("a/d-x", "1"), file("a/d.y", "1"), file("a/d/e/f", "1"), file("a/z", "1")],
    );
    let found = vec![gone("a/d"), gone("a/d-x"), gone("a/d/e"), gone("a/d/e/f")];
    assert_eq!(result(&before, found), ["a/", "a/.wh.d", "a/.wh.d-x"]);
}

#[test]
fn a_folder_made_anew_hides_only_what_is_gone() {
    let before = before(&[folder("a"), folder("a/d")], &[file("a/d/x", "1"), file("a/d/y", "1")]);
    let found = vec![now(folder("a/d")), gone("a/d/x"), now(file("a/d/y", "2"))];
    assert_eq!(result(&before, found), ["a/", "a/d/", "a/d/.wh.x", "a/d/y"]);
}

#[test]
fn a_folder_that_became_a_link_takes_its_files_along() {
    let before = before(&[folder("a"), folder("a/d"), folder("a/d/e")], &[file("a/d/e/x", "1"), file("a/d/y", "1")]);
    let found = vec![now(link("a/d", "other")), gone("a/d/e"), gone("a/d/e/x"), gone("a/d/y")];
    assert_eq!(result(&before, found), ["a/", "a/d -> other"]);
}

#[test]
fn a_link_that_became_a_folder_is_replaced() {
    let before = before(&[folder("a")], &[link("a/l", "other")]);
    let found = vec![now(folder("a/l")), now(file("a/l/x", "1"))];
    assert_eq!(result(&before, found), ["a/", "a/l/", "a/l/x"]);
}

#[test]
fn later_layers_hide_what_was_before() {
    let below = [
        layer(&[folder("a"), folder("a/d")], &[file("a/d/x", "1"), file("a/gone", "1")]),
        layer(&[folder("a")], &[file("a/.wh.gone", ""), link("a/d", "e")]),
    ];
    let before = Before::new(&below, &[], &BTreeMap::new());
    // None of these is there any more, so that none can be taken away.
    assert!(result(&before, vec![gone("a/gone"), gone("a/d/x")]).is_empty());
    assert_eq!(result(&before, vec![gone("a/d")]), ["a/", "a/.wh.d"]);
}

#[test]
fn a_file_changes_under_all_its_names() {
    let before = before(&[folder("a")], &[file("a/1", "x"), hard("a/2", "a/1"), hard("a/3", "a/1")]);
    let mode = |entry: Entry| now(Entry { mode: 0o600, ..entry });
    // A changed mode.
    let found = vec![mode(file("a/1", "x")), mode(hard("a/2", "a/1")), mode(hard("a/3", "a/1"))];
    assert_eq!(result(&before, found), ["a/", "a/1", "a/2 = a/1", "a/3 = a/1"]);
    // Changed content: the other names are as before, and come along.
    let found = vec![now(file("a/1", "y")), now(hard("a/2", "a/1")), now(hard("a/3", "a/1"))];
    assert_eq!(result(&before, found), ["a/", "a/1", "a/2 = a/1", "a/3 = a/1"]);
    // One name became a file of its own; the others lead to the same as before.
    let found = vec![now(file("a/1", "x")), now(hard("a/2", "a/1")), now(file("a/3", "x"))];
    assert_eq!(result(&before, found), ["a/", "a/3"]);
    // A further name is the smallest: the file is written under it, the others lead to it.
    let found = vec![now(file("a/0", "x")), now(hard("a/1", "a/0")), now(hard("a/2", "a/0")), now(hard("a/3", "a/0"))];
    assert_eq!(result(&before, found), ["a/", "a/0", "a/1 = a/0", "a/2 = a/0", "a/3 = a/0"]);
    // Nothing but the time of the inode.
    let found = vec![now(file("a/1", "x")), now(hard("a/2", "a/1")), now(hard("a/3", "a/1"))];
    assert!(result(&before, found).is_empty());
}

#[test]
fn a_rule_that_takes_a_name_away_leaves_the_file_its_others() {
    let before = before(&[folder("var")], &[]);
    let found = vec![now(file("var/1", "x")), now(hard("var/2", "var/1")), now(hard("var/3", "var/1"))];
    let found =
        found.into_iter().chain([now(link("var/l", "1")), now(link("var/m", "/var/1")), now(link("var/n", "2"))]);
    let mut changed = Changed::compare(&before, found.collect(), EPOCH);
    changed.drop_with_links("var/1");
    assert_eq!(listed(changed, &before), ["var/", "var/2", "var/n -> 2", "var/3 = var/2"]);
}

#[test]
fn a_change_is_the_script_s_that_was_running() {
    let before = before(&[], &[]);
    let at = |path: &str, ctime: u64| Change { ctime, ..now(file(path, "x")) };
    let found = vec![at("a", 5), at("b", 10), at("c", 19), at("d", 25), at("var/lib/dpkg/status", 12)];
    let changed = Changed::compare(&before, found, EPOCH);
    let started = [(10, "one postinst".to_owned()), (20, "two postinst".to_owned())];
    let writers: Vec<String> = changed.writers(&started).into_values().collect();
    assert_eq!(writers, ["kiln", "one postinst", "one postinst", "two postinst", "dpkg"]);
}
