use std::io::Read;

use super::flatten;
use crate::digest::Digest;
use crate::layer::part::default_directory;
use crate::layer::{Entry, Kind, Layer, PartBuilder, assemble};
use crate::store::Store;

fn layer(store: &Store, directories: &[&str], files: &[(&str, &str)]) -> Layer {
    let mut builder = PartBuilder::new(store).unwrap();
    for directory in directories {
        builder.directory(default_directory(directory));
    }
    for (path, content) in files {
        let kind = match content.strip_prefix("->") {
            Some(target) => Kind::HardLink { target: target.into() },
            None => Kind::File { size: content.len() as u64, sha256: Digest::of(content.as_bytes()) },
        };
        let entry = Entry { kind, mode: 0o644, ..default_directory(path) };
        builder.entry(&entry, &mut content.as_bytes()).unwrap();
    }
    let part = builder.finish().unwrap();
    assemble(store, &part.directories, &[&part]).unwrap()
}

fn shown(store: &Store, layers: &[Layer]) -> Vec<String> {
    let flattened = flatten(store, layers).unwrap();
    let show = |entry: &Entry| match &entry.kind {
        Kind::File { .. } => {
            let mut content = String::new();
            flattened.content(entry).unwrap().read_to_string(&mut content).unwrap();
            format!("{}={content}", entry.path)
        }
        Kind::HardLink { target } => format!("{}->{target}", entry.path),
        _ => format!("{}/", entry.path),
    };
    flattened.entries.iter().map(show).collect()
}

#[test]
fn layers_are_applied_with_their_whiteouts() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lower =
        layer(&store, &["a", "empty"], &[("a/x", "1"), ("a/y", "2"), ("b/z", "3"), ("b/c/w", "4"), ("d/e", "5")]);
    let upper = layer(
        &store,
        &[],
        &[("a/.wh.x", ""), ("b/.wh..wh..opq", ""), ("b/new", "6"), ("a/y", "7"), (".wh.d", ""), ("a/.wh.y", "")],
    );
    assert_eq!(shown(&store, std::slice::from_ref(&lower)).len(), 10);
    // A whiteout hides what is below it, not what its own layer has.
    assert_eq!(shown(&store, &[lower, upper]), ["a/", "a/y=7", "b/", "b/new=6", "empty/"]);
}

#[test]
fn the_first_name_is_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lower = layer(&store, &[], &[("m", "one"), ("z", "->m"), ("b", "->m"), ("e", ""), ("f", "->e"), ("g", "")]);
    assert_eq!(shown(&store, std::slice::from_ref(&lower)), ["b=one", "e=", "f->e", "g=", "m->b", "z->b"]);
    let upper = layer(&store, &[], &[(".wh.b", "")]);
    assert_eq!(shown(&store, &[lower, upper]), ["e=", "f->e", "g=", "m=one", "z->m"]);
}

#[test]
fn nothing_goes_below_what_is_no_directory() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let lower = layer(&store, &[], &[("a", "one")]);
    let upper = layer(&store, &[], &[("a/b", "two")]);
    // The upper layer says that /a is a directory now.
    assert_eq!(shown(&store, &[lower.clone(), upper.clone()]), ["a/", "a/b=two"]);
    assert_eq!(shown(&store, &[upper, lower]), ["a=one"]);
}

#[test]
fn a_layer_that_is_not_its_diff_id_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut wrong = layer(&store, &[], &[("a", "one")]);
    wrong.diff_id = Digest::of(b"");
    assert!(flatten(&store, &[wrong]).unwrap_err().to_string().contains("plain stream"));
}
