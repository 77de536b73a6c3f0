//! A folder as a list of what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kiln::Digest;
use kiln::ecosystem::npm::bins;
use kiln::ecosystem::npm::part::NpmPart;
use kiln::ecosystem::npm::tree::Placed;
use kiln::layer::Kind;

/// What is at a path: its kind, permissions, and content or target.
pub type Tree = BTreeMap<String, String>;

/// What npm has made.
pub fn on_disk(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    walk(folder, "node_modules", &mut tree);
    // npm's own notes, with the addresses of this machine in them.
    tree.remove("node_modules/.package-lock.json");
    tree
}

fn walk(root: &Path, path: &str, tree: &mut Tree) {
    let whole = root.join(path);
    let metadata = fs::symlink_metadata(&whole).unwrap();
    let mode = metadata.permissions().mode() & 0o7777;
    let text = if metadata.is_symlink() {
        format!("link {}", fs::read_link(&whole).unwrap().display())
    } else if metadata.is_dir() {
        for entry in fs::read_dir(&whole).unwrap() {
            walk(root, &format!("{path}/{}", entry.unwrap().file_name().to_str().unwrap()), tree);
        }
        format!("directory {mode:o}")
    } else {
        format!("file {mode:o} {}", Digest::of(&fs::read(&whole).unwrap()))
    };
    tree.insert(path.to_owned(), text);
}

/// What the parts and links make, if all goes below the root.
pub fn of_parts(placed: &[Placed], parts: &BTreeMap<String, NpmPart>) -> Tree {
    let mut tree = Tree::new();
    for part in parts.values() {
        for entry in part.part.directories.iter().chain(&part.part.entries) {
            let text = match &entry.kind {
                Kind::Directory => format!("directory {:o}", entry.mode),
                Kind::File { sha256, .. } => format!("file {:o} {sha256}", entry.mode),
                other => panic!("{} is {other:?}", entry.path),
            };
            tree.insert(entry.path.clone(), text);
        }
    }
    for link in bins::links(placed) {
        if tree.contains_key(&format!("{}/{}", link.package, link.file)) {
            tree.insert(link.path.rsplit_once('/').unwrap().0.to_owned(), "directory 755".into());
            tree.insert(link.path, format!("link {}", link.target));
        }
    }
    tree
}
