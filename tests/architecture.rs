//! The arrows between folders: a module uses only those below it in the list of `src/lib.rs`, and the
//! rules that no lint knows.

use std::fs;
use std::path::{Path, PathBuf};

/// From the outside in. `error`, `digest`, `canonical` and `tables` are below everything.
const ORDER: [&str; 12] = [
    "cli",
    "resolve",
    "bake",
    "lock",
    "workspace",
    "ecosystem",
    "sandbox",
    "image",
    "layer",
    "registry",
    "net",
    "store",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// What a file uses of the crate, by its folder's name. Tests at the end of a file may use anything.
fn uses(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            used.push(name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    used
}

#[test]
fn arrows_go_down() {
    let mut checked = 0;
    for (level, folder) in ORDER.iter().enumerate() {
        for path in files(&source().join(folder)) {
            if path.ends_with("tests.rs") {
                continue;
            }
            for used in uses(&fs::read_to_string(&path).unwrap()) {
                let Some(other) = ORDER.iter().position(|name| *name == used) else { continue };
                assert!(other >= level, "{} uses `{used}`, which is above `{folder}`", path.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} arrows were found: has the way they are written changed?");
}

#[test]
fn every_folder_is_in_the_order() {
    for entry in fs::read_dir(source()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !files(&path).is_empty() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(ORDER.contains(&name.as_str()), "src/{name} has no place in the order");
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in files(&source()) {
        let text = fs::read_to_string(&path).unwrap();
        let is_tests = path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        assert!(is_tests || text.starts_with("//!"), "{} does not begin with what it is for", path.display());
    }
}

#[test]
fn unsafe_code_stays_in_the_sandbox() {
    for path in files(&source()) {
        let text = fs::read_to_string(&path).unwrap();
        let inside = path.starts_with(source().join("sandbox"));
        assert!(inside || !text.contains("unsafe "), "{} has unsafe code", path.display());
    }
}

#[test]
fn files_stay_readable() {
    for path in files(&source()) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 700, "{} has {lines} lines: is there a seam?", path.display());
    }
}
