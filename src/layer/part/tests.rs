use std::io::Read;

use proptest::prelude::*;

use super::{PartBuilder, default_directory, parents};
use crate::digest::Digest;
use crate::layer::{Entry, Kind, Part};
use crate::store::Store;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn file(path: &str, content: &[u8]) -> Entry {
    let kind = Kind::File { size: content.len() as u64, sha256: Digest::of(content) };
    Entry { kind, mode: 0o644, mtime: 7, ..default_directory(path) }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { kind: Kind::HardLink { target: target.into() }, ..file(path, b"") }
}

/// A reader that gives at most `step` bytes at once.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.1).min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn build(store: &Store, content: &[u8], step: usize) -> Part {
    let mut builder = PartBuilder::new(store).unwrap();
    builder.directory(Entry { mode: 0o700, mtime: 99, ..default_directory("a/b") });
    builder.directory(default_directory("a/b"));
    builder.entry(&file("a/b/file", content), &mut Slow(content, step)).unwrap();
    builder.entry(&link("c/d/link", "a/b/file"), &mut std::io::empty()).unwrap();
    builder
        .entry(&Entry { kind: Kind::Symlink { target: "x".into() }, ..file("e", b"") }, &mut std::io::empty())
        .unwrap();
    builder.finish().unwrap()
}

#[test]
fn a_part_has_its_directories_sorted_with_all_parents() {
    let (_folder, store) = store();
    let part = build(&store, b"content", 3);
    let directories: Vec<_> =
        part.directories.iter().map(|entry| (entry.path.as_str(), entry.mode, entry.mtime)).collect();
    assert_eq!(directories, [("a", 0o755, 0), ("a/b", 0o700, 0), ("c", 0o755, 0), ("c/d", 0o755, 0)]);
    assert_eq!(part.entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["a/b/file", "c/d/link", "e"]);
    assert_eq!(part.tar_size, 4 * 512);
    assert_eq!(part.members, [(u32::try_from(part.size).unwrap(), 4 * 512)]);
    assert_eq!(store.size(&part.content), Some(part.size));
    assert_eq!(part.blobs(), [part.content]);
    let kept = part.clone().with_plain(&store).unwrap();
    let plain = kept.plain.unwrap();
    assert_eq!(kept.blobs(), [part.content, plain]);
    assert_eq!(kept, Part { plain: Some(plain), ..part.clone() });
    assert!(kept.is_compressed());
    assert_eq!(store.size(&plain), Some(part.tar_size));
    assert_eq!(part.content.to_string(), "b73728ff50ea8add778ffb09d9cebc3c1ec5343fd958b08846427f4cbea955d5");
}

#[test]
fn a_part_of_nothing_is_nothing() {
    let (_folder, store) = store();
    let part = PartBuilder::new(&store).unwrap().finish().unwrap();
    assert_eq!((part.size, part.tar_size, part.members.len()), (0, 0, 0));
}

#[test]
fn what_is_not_right_is_refused() {
    let (_folder, store) = store();
    let mut builder = PartBuilder::new(&store).unwrap();
    builder.entry(&file("a", b"one"), &mut &b"one"[..]).unwrap();
    let error = builder.entry(&file("a", b"one"), &mut &b"one"[..]).unwrap_err();
    assert!(error.to_string().contains("/a is there twice"), "{error}");
    let mut refused = |entry: &Entry, content: &[u8], said: &str| {
        let error = builder.entry(entry, &mut &content[..]).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    };
    refused(&file("b", b"one"), b"two", "expected sha256");
    refused(&file("c", b"one"), b"on", "expected 3");
    refused(&file("d", b"one"), b"ones", "more than its 3 bytes");
    refused(&link("e", "nowhere"), b"", "/nowhere, which does not come before it");
    refused(&file("../f", b""), b"", "not a path");
    refused(&file("/f", b""), b"", "not a path");
    refused(&file("", b""), b"", "root");
    let mut builder = PartBuilder::new(&store).unwrap();
    builder.entry(&file("a", b""), &mut std::io::empty()).unwrap();
    builder.entry(&file("a/b", b""), &mut std::io::empty()).unwrap();
    assert!(builder.finish().unwrap_err().to_string().contains("/a is there as a directory"));
}

#[test]
fn parents_are_all_but_the_root() {
    assert_eq!(parents("a/b/c").collect::<Vec<_>>(), ["a/b", "a"]);
    assert_eq!(parents("a").count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn how_content_arrives_does_not_change_a_part(step in 1..70_000_usize, length in 0..2_500_000_usize) {
        let (_folder, store) = store();
        let content: Vec<u8> = (0..length).map(|at| (at * at % 251) as u8).collect();
        let one = build(&store, &content, step.max(length / 5_000));
        prop_assert_eq!(one, build(&store, &content, usize::MAX));
    }
}
