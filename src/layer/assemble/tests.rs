use std::fs;
use std::io::Read;

use super::{assemble, unpack_plain};
use crate::digest::Digest;
use crate::error;
use crate::layer::part::default_directory;
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::store::Store;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn part(store: &Store, path: &str, content: &[u8]) -> Part {
    let kind = Kind::File { size: content.len() as u64, sha256: Digest::of(content) };
    let mut builder = PartBuilder::new(store).unwrap();
    builder.entry(&Entry { kind, mode: 0o644, ..default_directory(path) }, &mut &content[..]).unwrap();
    builder.finish().unwrap()
}

#[test]
fn a_layer_is_its_directories_its_parts_and_an_end() {
    let (_folder, store) = store();
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
    let parts = [part(&store, "b/two", &large), part(&store, "a/one", b"one")];
    let directories = [default_directory("b"), default_directory("a")];
    let layer = assemble(&store, &directories, &[&parts[0], &parts[1]]).unwrap();
    let mut plain = Vec::new();
    unpack_plain(&store, &layer).unwrap().into_inner().read_to_end(&mut plain).unwrap();
    assert_eq!(Digest::of(&plain), layer.diff_id);
    assert_eq!(plain.len() as u64, layer.tar_size);
    assert_eq!(store.size(&layer.digest), Some(layer.size));
    let mut reader = unpack_plain(&store, &layer).unwrap();
    let mut found = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        found.push(item.path);
    }
    assert!(reader.ended());
    assert_eq!(found, ["a/", "b/", "b/two", "a/one"]);
    assert_eq!(layer.diff_id.to_string(), "032420b31e34849dc6b962d13fe39ab670a118bddbc5ce399f6a93e2d73b4832");
    assert_eq!(layer.digest.to_string(), "9bb445ae587847d0559525b3fde2c26c4f929358b2b56ec7614e72a3bd9e1d18");
}

#[test]
fn a_layer_is_made_once() {
    let (_folder, store) = store();
    let one = part(&store, "one", b"1");
    let layer = assemble(&store, &[], &[&one]).unwrap();
    // Without the part, only the kept result can give the layer again.
    fs::remove_file(store.blob_path(&one.content)).unwrap();
    assert_eq!(assemble(&store, &[], &[&one]).unwrap(), layer);
}

#[test]
fn directories_alone_make_a_layer() {
    let (_folder, store) = store();
    let layer = assemble(&store, &[default_directory("a")], &[]).unwrap();
    assert_eq!(layer.tar_size, 512 + 1024);
    assert_eq!(assemble(&store, &[], &[]).unwrap().tar_size, 1024);
}

#[test]
fn paths_that_engines_disagree_on_are_refused() {
    let (_folder, store) = store();
    let (one, same, below) = (part(&store, "a", b"1"), part(&store, "a", b"2"), part(&store, "a/b", b"3"));
    let refused = |directories: &[Entry], parts: &[&Part], said: &str| {
        let error = assemble(&store, directories, parts).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    };
    refused(&[], &[&one, &same], "/a is twice in one layer");
    refused(&[default_directory("a")], &[&one], "/a is twice");
    refused(&[default_directory("a"), default_directory("a")], &[], "/a is twice");
    refused(&[], &[&one, &below], "/a, where /a/b is to be");
    refused(&[], &[&below], "/a, where /a/b is to be");
}

#[test]
fn a_corrupt_part_is_said_and_set_aside() {
    let (_folder, store) = store();
    for damage in [
        |bytes: &mut Vec<u8>| bytes[4] ^= 1,
        |bytes: &mut Vec<u8>| bytes.truncate(9),
        |bytes: &mut Vec<u8>| {
            bytes[20] ^= 0xff;
        },
    ] {
        let one = part(&store, "one", &[7; 100_000]);
        let path = store.blob_path(&one.content);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let error = assemble(&store, &[], &[&one]).unwrap_err();
        assert_eq!(error.what(), error::Kind::Corrupt, "{error}");
        assert!(!store.contains(&one.content));
    }
}
