//! `docs/errors.md`: every wrong situation whose error is in a snapshot, by kind. It is made from the snapshots in
//! `tests/cli/`, so it says what kiln says; `KILN_WRITE_DOCS=1 cargo test --test errors` writes it anew.
#![allow(clippy::disallowed_methods, reason = "a test may be asked to write")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// So many situations have a snapshot at least.
const LEAST: usize = 100;

const HEAD: &str = "\
# What kiln says when something is wrong

Every error says what was being done to what, what was found and what was expected, and ends with a hint where one
helps. Exit code 1 is a well-defined \"no\"; 2 means that there is no answer. These
situations are tested with all that is printed, each by the test named after it; the file is made from those tests.
";

/// An error in a snapshot.
struct Situation {
    code: u8,
    /// Its first line, and its last cause if it has one.
    says: String,
    hint: bool,
    test: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The snapshots of errors in a file of tests, in its order.
fn situations(text: &str) -> Vec<Situation> {
    let mut found = Vec::new();
    let mut test = String::new();
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.strip_suffix("() {")) {
            name.clone_into(&mut test);
        }
        let Some(code) = ["exit 1", "exit 2"].iter().position(|exit| line == *exit) else { continue };
        let (mut says, mut cause, mut hint) = (None, None, false);
        // A snapshot ends with its quotation mark on a line of its own.
        while let Some(line) = lines.next_if(|line| !line.starts_with(['"', '#'])) {
            says = says.or_else(|| line.strip_prefix("error: ").map(str::to_owned));
            cause = line.strip_prefix("caused by: ").map(str::to_owned).or(cause);
            hint = hint || line.starts_with("hint: ");
        }
        let Some(says) = says else { continue };
        let says = cause.map_or(says.clone(), |cause| format!("{says}: {cause}"));
        found.push(Situation { code: code as u8 + 1, says, hint, test: test.clone() });
    }
    found
}

/// By file: what it is about, and its situations.
fn all() -> BTreeMap<String, (String, Vec<Situation>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests/cli")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let about =
            text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect::<Vec<_>>().join(" ");
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let situations = situations(&text);
        if !situations.is_empty() {
            all.insert(name, (about, situations));
        }
    }
    all
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    for (name, (about, situations)) in all() {
        write!(out, "\n## {about}\n\n`tests/cli/{name}.rs`\n\n| exit | said | hint | test |\n|---|---|---|---|\n")
            .unwrap();
        for Situation { code, says, hint, test } in situations {
            let says = says.replace('|', "\\|").replace('<', "&lt;");
            let hint = if hint { "yes" } else { "" };
            writeln!(out, "| {code} | {says} | {hint} | `{test}` |").unwrap();
        }
    }
    out
}

#[test]
fn the_list_of_errors_is_what_the_tests_say() {
    let path = root().join("docs/errors.md");
    let expected = document();
    if std::env::var_os("KILN_WRITE_DOCS").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let found = read(&path);
    let different = expected.lines().zip(found.lines()).find(|(expected, found)| expected != found);
    assert!(
        expected == found,
        "docs/errors.md is not what the tests say ({different:?}): KILN_WRITE_DOCS=1 cargo test --test errors writes it"
    );
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn enough_situations_are_tested_and_most_of_them_help() {
    let all = all();
    let situations: Vec<&Situation> = all.values().flat_map(|(_, situations)| situations).collect();
    let hints = situations.iter().filter(|situation| situation.hint).count();
    assert!(situations.len() >= LEAST, "{} situations", situations.len());
    assert!(hints * 10 >= situations.len() * 8, "{hints} of {} have a hint", situations.len());
}
