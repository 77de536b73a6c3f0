//! The reference is what the program says of itself: `docs/reference/commands.md` is made here from its help, and
//! `docs/reference/environment.md` has every variable that it reads and no other.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::root;

const COMMANDS: &str = "docs/reference/commands.md";
const ENVIRONMENT: &str = "docs/reference/environment.md";
/// Variables that kiln's libraries read: for colours, and for the certificates that are trusted.
const OF_LIBRARIES: [&str; 5] = ["CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "SSL_CERT_DIR", "SSL_CERT_FILE"];

fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(words)
        .arg("-h")
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(output.status.success(), "kiln {} -h", words.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// Splits a command's help into what is its own and what every command has.
fn own(help: &str) -> (String, String) {
    let mut parts: Vec<(bool, String)> = Vec::new();
    for block in help.trim_end().split("\n\n") {
        parts.push((block.starts_with("Global options:"), block.to_owned()));
    }
    let join = |global: bool| {
        let blocks = parts.iter().filter(|(is_global, _)| *is_global == global);
        blocks.map(|(_, block)| block.as_str()).collect::<Vec<_>>().join("\n\n")
    };
    (join(false), join(true))
}

fn commands() -> String {
    let mut text = String::from(
        "# Commands and their options\n\n\
         What `kiln COMMAND -h` prints; `kiln COMMAND --help` says the same with more space. [Commands](../commands.md) explains\n\
         them by what one does with them; [variables](environment.md) stand for the options that every command has.\n\
         (This page is made from the program; `tests/book/reference.rs` holds it to it and says how to renew it.)\n",
    );
    let top = help(&[]);
    let (_, global) = own(&help(&["build"]));
    write!(text, "\n## Options of every command\n\n```text\n{global}\n```\n").unwrap();
    let mut inside = false;
    for line in top.lines() {
        if let Some(group) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            inside = !["Examples", "Options"].contains(&group);
            if inside {
                write!(text, "\n## {group}\n").unwrap();
            }
        } else if let Some(name) = line.split_whitespace().next().filter(|name| inside && *name != "help") {
            let (own, _) = own(&help(&[name]));
            write!(text, "\n### kiln {name}\n\n```text\n{own}\n```\n").unwrap();
        }
    }
    text
}

#[test]
fn the_page_of_commands_is_what_the_help_says() {
    let found = fs::read_to_string(root().join(COMMANDS)).unwrap_or_default();
    let expected = commands();
    assert!(expected.matches("\n### ").count() > 20, "{expected}");
    if found != expected {
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("commands.md");
        fs::write(&made, &expected).unwrap();
        panic!("{COMMANDS} is not what the help says: replace it by {}", made.display());
    }
}

/// The names of variables that the command line reads, by the ways that its code has of reading them.
fn read_by_the_code() -> BTreeSet<String> {
    let named = Regex::new(r#"(?:variable|below|flag|number)\(\s*"([A-Z_]+)"|env = "([A-Z_]+)""#).unwrap();
    let proxies = Regex::new(r#"proxy\("([a-z_]+)"\)"#).unwrap();
    let mut names = BTreeSet::new();
    for file in ["context.rs", "arguments.rs", "completions.rs", "compose.rs", "progress.rs"] {
        let code = fs::read_to_string(root().join("src/cli").join(file)).unwrap();
        for found in named.captures_iter(&code) {
            names.insert(found.get(1).or(found.get(2)).unwrap().as_str().to_owned());
        }
        names.extend(proxies.captures_iter(&code).map(|found| found[1].to_owned()));
        for prefix in ["KILN_ORIGIN_", "KILN_REPOSITORY", "KILN_COMPLETE"] {
            if code.contains(prefix) {
                names.insert(prefix.to_owned());
            }
        }
    }
    names
}

/// What package managers' settings are passed on by: `machine` in the context.
fn passed_on() -> BTreeSet<String> {
    let code = fs::read_to_string(root().join("src/cli/context.rs")).unwrap();
    let (_, rest) = code.split_once("fn machine()").unwrap();
    let (body, _) = rest.split_once("\n}\n").unwrap();
    let name = Regex::new(r#""([A-Z_]+)""#).unwrap();
    name.captures_iter(body).map(|found| found[1].to_owned()).collect()
}

/// The variables in the first column of the page's tables; `…` and `<NAME>` stand for any end.
fn on_the_page() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join(ENVIRONMENT)).unwrap();
    let name = Regex::new(r"`([A-Za-z_]+)(?:…|<NAME>)?`").unwrap();
    let first = page.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    first.flat_map(|column| name.captures_iter(column).map(|found| found[1].to_owned()).collect::<Vec<_>>()).collect()
}

#[test]
fn the_page_of_variables_has_all_that_are_read() {
    let mut read = read_by_the_code();
    assert!(read.len() > 20, "only {read:?} were found: has the way they are read changed?");
    read.extend(passed_on());
    read.extend(OF_LIBRARIES.map(str::to_owned));
    assert_eq!(on_the_page(), read, "left: {ENVIRONMENT}, right: the code");
}
