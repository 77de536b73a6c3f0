use std::collections::BTreeMap;

use super::{BLOCK, directory, directory_size, holds, write};
use crate::digest::Digest;
use crate::layer::part::default_directory;
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::store::Store;

fn file(path: &str, content: &[u8]) -> Entry {
    let kind = Kind::File { size: content.len() as u64, sha256: Digest::of(content) };
    Entry { kind, mode: 0o4755, uid: 70_000, gid: 5, mtime: 7, ..default_directory(path) }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { kind: Kind::Symlink { target: target.to_owned() }, mode: 0o777, ..default_directory(path) }
}

fn part(store: &Store, files: &[(&Entry, &[u8])]) -> Part {
    let mut builder = PartBuilder::new(store).unwrap();
    for (entry, content) in files {
        builder.entry(entry, &mut { *content }).unwrap();
    }
    builder.finish().unwrap()
}

fn image(store: &Store, entries: &[Entry], parts: &[&Part]) -> crate::error::Result<Digest> {
    let tree: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    write(store, &tree, parts)
}

/// Mode, owners, time, links and data.
type Found = (u64, u64, u64, u64, u64, Vec<u8>);

/// A reader of images by what the kernel's documentation says, to compare with what was written.
struct Reader(Vec<u8>);

impl Reader {
    fn number(&self, at: usize, length: usize) -> u64 {
        self.0[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn data(&self, inode: usize) -> Vec<u8> {
        let size = self.number(inode + 8, 8) as usize;
        let start = match self.number(inode, 2) >> 1 {
            0 => self.number(inode + 16, 4) as usize * BLOCK,
            _ => inode + 64,
        };
        self.0[start..start + size].to_vec()
    }

    /// The names in a directory and their inodes' places.
    fn names(&self, inode: usize) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        for block in self.data(inode).chunks(BLOCK) {
            let field = |at: usize, length: usize| Self(block.to_vec()).number(at, length) as usize;
            let count = field(8, 2) / 12;
            for index in 0..count {
                let start = field(index * 12 + 8, 2);
                let end = if index + 1 < count { field((index + 1) * 12 + 8, 2) } else { block.len() };
                let name = block[start..end].split(|byte| *byte == 0).next().unwrap();
                found.push((String::from_utf8(name.to_vec()).unwrap(), field(index * 12, 8) * 32));
            }
        }
        found
    }

    /// Everything below, by path.
    fn walk(&self, inode: usize, path: &str, found: &mut BTreeMap<String, Found>) {
        let field = |at, length| self.number(inode + at, length);
        let mode = field(4, 2);
        let is_directory = mode & 0o170_000 == 0o040_000;
        let data = if is_directory { Vec::new() } else { self.data(inode) };
        found.insert(path.to_owned(), (mode, field(24, 4), field(28, 4), field(32, 8), field(44, 4), data));
        let names = if is_directory { self.names(inode) } else { Vec::new() };
        assert!(names.is_sorted(), "{names:?}");
        for (name, place) in names {
            match name.as_str() {
                "." => assert_eq!(place, inode),
                ".." => {}
                name => self.walk(place, &format!("{path}/{name}"), found),
            }
        }
    }
}

#[test]
fn everything_is_found_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let long = vec![b'x'; 2 * BLOCK + 1];
    let files = [(file("a/empty", b""), &b""[..]), (file("a/long", &long), &long), (file("b", b"b"), b"b")];
    let replaced = file("a/long", b"of another layer");
    let lower = part(&store, &[(&replaced, b"of another layer"), (&files[2].0, b"b")]);
    let upper = part(&store, &[(&files[1].0, &long), (&files[0].0, b"")]);
    let mut entries =
        vec![default_directory(""), Entry { mode: 0o1777, ..default_directory("a") }, link("a/l", "../b")];
    // More names than fit into a block, and a target that does not fit behind its inode.
    entries.push(default_directory("many"));
    entries.extend((0..300).map(|number| default_directory(&format!("many/{number:0>40}"))));
    entries.push(link("far", &"t/".repeat(2040)));
    entries.extend(files.iter().map(|(entry, _)| entry.clone()));
    let digest = image(&store, &entries, &[&lower, &upper]).unwrap();
    assert_eq!(image(&store, &entries, &[&lower, &upper]).unwrap(), digest);

    let image = Reader(store.read(&digest).unwrap());
    assert_eq!(image.number(1024, 4), 0xE0F5_E1E2);
    assert_eq!(image.number(1024 + 36, 4) as usize * BLOCK, image.0.len());
    assert_eq!(image.number(1024 + 16, 8) as usize, entries.len());
    let mut found = BTreeMap::new();
    image.walk(image.number(1024 + 14, 2) as usize * 32, "", &mut found);
    assert_eq!(found.len(), entries.len());
    assert_eq!(found["/a/long"], (0o104_755, 70_000, 5, 7, 1, long));
    assert_eq!(found["/a/empty"].5, b"");
    assert_eq!(found["/b"].5, b"b");
    assert_eq!(found["/a/l"], (0o120_777, 0, 0, 0, 1, b"../b".to_vec()));
    assert_eq!(found["/far"].5, "t/".repeat(2040).into_bytes());
    assert_eq!(found["/a"], (0o041_777, 0, 0, 0, 2, Vec::new()));
    assert_eq!(found["/many"].4, 302);
    assert_eq!(found[""].4, 4);
}

#[test]
fn a_directory_of_any_size_is_as_large_as_said() {
    for count in [0, 1, 200, 400] {
        let names: Vec<String> = (0..count).map(|number| format!("{number:0>9}")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        let size = directory_size(&names);
        names.extend([".", ".."]);
        names.sort_unstable();
        let dirents: Vec<(&str, u64, u8)> = names.into_iter().map(|name| (name, 1 << 40, 7)).collect();
        assert_eq!(directory(&dirents).len() as u64, size);
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (root, lone) = (default_directory(""), file("a", b"a"));
    let of_a = part(&store, &[(&lone, b"a")]);
    assert!(image(&store, std::slice::from_ref(&lone), &[&of_a]).is_err(), "no root");
    assert!(image(&store, &[root.clone(), lone.clone()], &[]).is_err(), "no content");
    assert!(image(&store, &[root.clone(), link("b/c", "x")], &[]).is_err(), "no directory");
    let long = link(&"n".repeat(256), "x");
    assert!(image(&store, &[root.clone(), long], &[]).is_err(), "no such name");
    let fifo = Entry { kind: Kind::Fifo, ..default_directory("f") };
    assert!(!holds(&fifo));
    assert!(image(&store, &[root.clone(), fifo], &[]).is_err(), "no such kind");
    // A list that does not say what the stream has.
    let lying = Part { entries: vec![file("a", b"bb")], ..of_a };
    assert!(image(&store, &[root, file("a", b"bb")], &[&lying]).is_err(), "another size");
}
