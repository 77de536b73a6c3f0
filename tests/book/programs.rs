//! Commands of the book that are about this repository: installing kiln from it, and its benchmarks.

use std::process::Command;

use crate::{machine, root};

/// The lines of the first block on a page that has a line beginning with `start`.
fn block(page: &str, start: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let mut blocks = text.split("\n```").skip(1).step_by(2).map(|block| block.lines().skip(1));
    let found = blocks.find(|block| block.clone().any(|line| line.starts_with(start)));
    found.unwrap_or_else(|| panic!("{page} has no block with `{start}`")).map(str::to_owned).collect()
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}", output.status);
    printed
}

/// As the page says, but with what has been compiled for these tests, and into another place.
#[test]
fn installing_from_source() {
    // Not because of a network: cargo compiles most of it another time, as the tests want other features of libraries.
    if !machine::real("installing_from_source") {
        return;
    }
    let lines = block("docs/install.md", "cargo install");
    let words: Vec<&str> = lines[0].split('#').next().unwrap().split_whitespace().skip(1).collect();
    let place = tempfile::tempdir().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut install = Command::new(cargo);
    install.args(words).args(["--debug", "--offline", "--no-track", "--root"]).arg(place.path());
    succeed(install.current_dir(root()));
    let version = succeed(Command::new(place.path().join("bin/kiln")).arg("--version"));
    assert_eq!(version.trim(), concat!("kiln ", env!("CARGO_PKG_VERSION")));
}

/// The page's lines for one set, each command once.
#[test]
fn the_benchmarks() {
    if !machine::real("the_benchmarks") {
        return;
    }
    let lines = block("docs/performance.md", "benches/peers prepare");
    assert_eq!(lines[0], "cargo build --release");
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let program = env!("CARGO_BIN_EXE_kiln");
    let folder = place.path().display().to_string();
    // Instead of timing what it is given, it runs each once.
    let script =
        format!("set -e\nhyperfine() {{ for one in \"$@\"; do sh -ec \"$one\"; done; }}\n{}\n", lines[1..].join("\n"));
    let script = script.replace("FOLDER", &folder).replace("target/release/kiln", program).replace(" 8\n", " 1\n");
    succeed(Command::new("bash").args(["-c", &script]).current_dir(root()).env("KILN_BENCH_SETS", "queue"));
    for again in [["base", "queue"], ["changed", ""], ["unchanged", "queue"]] {
        let words = [again[0], &folder, again[1]].into_iter().filter(|word| !word.is_empty());
        succeed(Command::new("benches/peers").args(words).current_dir(root()).env("KILN_BENCH_SETS", "queue"));
    }
}
