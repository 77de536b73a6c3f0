//! The book (`docs/` and README.md) says what is so: its examples are run and compared with what it prints, its
//! reference is what the program itself says, and none of its links is dead.
//!
//! A block that begins with three backticks and `console` is run ([`page`] has its rules, [`shape`] what counts as the
//! same). Pages that need no network run always; the others where KILN_TEST_REAL is set.
#![allow(clippy::disallowed_methods, reason = "tests say what they cannot do on this machine")]

#[path = "../services/workspace.rs"]
mod machine;
#[path = "../support/mod.rs"]
mod support;

mod ci;
mod contents;
mod page;
mod programs;
mod reference;
mod renovate;
mod shape;
mod shell;

use std::path::{Path, PathBuf};

use page::Page;
use shape::Rule;
use shell::Shell;

/// Pages that are run against the archive and the registry of `tests/support`.
const FIXED: [&str; 10] = [
    "docs/commands.md",
    "docs/diff.md",
    "docs/how-to/air-gapped.md",
    "docs/how-to/ci.md",
    "docs/how-to/private-mirrors.md",
    "docs/how-to/private-registries.md",
    "docs/how-to/renovate.md",
    "docs/how-to/secrets.md",
    "docs/how-to/third-party-archives.md",
    "docs/registries.md",
];
/// Pages that are run against the real archives, as root, in a network namespace of their own. Pages on the same
/// services share a store.
const REAL: [&[&str]; 3] = [&["README.md"], &["docs/services.md", "docs/compose.md"], &[TUTORIAL]];
/// Followed twice: the second time from an empty folder again, with the store of the first time and no network.
const TUTORIAL: &str = "docs/tutorial.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the book, by its path in the repository.
fn pages() -> Vec<String> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = vec![root().join("README.md")];
    collect(&root().join("docs"), &mut found);
    found.sort();
    found.iter().map(|path| path.strip_prefix(root()).unwrap().display().to_string()).collect()
}

#[test]
fn every_page_with_examples_is_run() {
    let run: Vec<&str> = FIXED.into_iter().chain(REAL.concat()).collect();
    for path in pages() {
        let has_commands = !Page::read(&path).steps.is_empty();
        assert_eq!(has_commands, run.contains(&path.as_str()), "{path}: is it run, and is there something to run?");
    }
}

#[test]
fn pages_that_need_no_network() {
    let failed = FIXED.map(|path| std::panic::catch_unwind(|| shell::Fixture::new().run(&Page::read(path))).is_err());
    // Each has said what was wrong.
    assert_eq!(failed, [false; FIXED.len()]);
}

#[test]
fn pages_of_the_real_archives_and_the_tutorial_again_without_a_network() {
    if !machine::real("pages_of_the_real_archives_and_the_tutorial_again_without_a_network") {
        return;
    }
    let archives = format!("/proc/{}/ns/net", std::process::id());
    for paths in REAL {
        let folder = machine::Folder::new("book");
        for (number, path) in paths.iter().enumerate() {
            let run = |name: &str, archives: Option<&str>, rule| {
                let name = format!("{name}-{number}");
                machine::in_private_network(|| {
                    Shell::real(folder.path(), &name, archives).run(&Page::read(path), rule)
                });
            };
            run("first", Some(&archives), Rule::Moving);
            if *path == TUTORIAL {
                run("again", None, Rule::Again);
            }
        }
    }
}
