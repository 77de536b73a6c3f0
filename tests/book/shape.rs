//! Whether a command printed what the page says. A page keeps what was once seen; what differs from run to run is
//! compared by its shape:
//!
//! - a hexadecimal number of at least 12 digits is as good as any of the same length;
//! - so is a number before a unit of time (`ms`, `s`) or of size (`B`, `KiB`, `MiB`, `GiB`), and a date;
//! - so are the platforms, and several spaces are one;
//! - `…` stands for anything within its line, and a line that is nothing but `…` for any lines, also none.
//!
//! What comes from real archives moves with them: on these pages ([`Rule::Moving`]) any number and any version is as good
//! as any other; and when the tutorial is run again with the same store ([`Rule::Again`]), lines that begin with `Fetched`,
//! `Baked`, `Cached` or `Scripts of` may be others, because nothing is done twice.

use std::sync::LazyLock;

use regex::Regex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Fixed,
    Moving,
    Again,
}

/// Patterns and what is put in their place, in this order.
static ALWAYS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    compile(&[
        (r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?", "<date>"),
        (r"\b\d+(\.\d+)?(ms|s)\b", "<time>"),
        (r"[+-]?\b\d+(\.\d+)? (B|KiB|MiB|GiB)\b", "<size>"),
        (r"linux/(amd64|arm64)", "<platform>"),
        (r" +", " "),
    ])
});
static MOVING: LazyLock<Vec<(Regex, &str)>> =
    LazyLock::new(|| compile(&[(r"\b\d[0-9A-Za-z]*([.:~+-]+[0-9A-Za-z]+)+", "<version>"), (r"\b\d+\b", "<number>")]));
static HEXADECIMAL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[0-9a-f]{12,}\b").unwrap());

fn compile(patterns: &[(&str, &'static str)]) -> Vec<(Regex, &'static str)> {
    patterns.iter().map(|(pattern, name)| (Regex::new(pattern).unwrap(), *name)).collect()
}

/// A line without what may differ.
fn shape(line: &str, rule: Rule) -> String {
    let line = line.replace('\t', " ");
    let mut line = HEXADECIMAL
        .replace_all(line.trim_end(), |found: &regex::Captures<'_>| format!("<hex{}>", "x".repeat(found[0].len())))
        .into_owned();
    let moving: &[(Regex, &str)] = if rule == Rule::Fixed { &[] } else { &MOVING };
    for (pattern, name) in ALWAYS.iter().chain(moving) {
        line = pattern.replace_all(&line, *name).into_owned();
    }
    line
}

/// Whether `found` is what a page says, `expected`.
pub fn same(expected: &[String], found: &str, rule: Rule) -> bool {
    let is_cached =
        |line: &&str| ["Fetched ", "Baked ", "Cached ", "Scripts of "].iter().any(|start| line.starts_with(start));
    let shaped = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        let lines = lines.filter(|line| rule != Rule::Again || !is_cached(line));
        let mut lines: Vec<String> = lines.map(|line| shape(line, rule)).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    };
    let expected = shaped(&mut expected.iter().map(String::as_str));
    lines_match(&expected, &shaped(&mut found.lines()))
}

fn lines_match(expected: &[String], found: &[String]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((first, rest)) if first == "…" => (0..=found.len()).any(|skipped| lines_match(rest, &found[skipped..])),
        Some((first, rest)) => {
            found.split_first().is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others))
        }
    }
}

fn line_matches(expected: &str, found: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else { return expected == found };
    let Some(found) = found.strip_prefix(start) else { return false };
    found.char_indices().map(|(at, _)| at).chain([found.len()]).any(|at| line_matches(rest, &found[at..]))
}

#[test]
fn shapes() {
    let is =
        |expected: &str, found: &str, rule| same(&expected.lines().map(str::to_owned).collect::<Vec<_>>(), found, rule);
    let hash = |digit: &str| format!("queue sha256:{}", digit.repeat(64));
    assert!(is(&hash("a"), &hash("b"), Rule::Fixed));
    assert!(!is(&hash("a"), &hash("bb"), Rule::Fixed));
    assert!(is("Baked in 3.4s, 27.3 MiB", "Baked in 450ms, 1 KiB\n", Rule::Fixed));
    assert!(is("a\n…\nz", "a\nb\nc\nz\n", Rule::Fixed) && is("a\n…\nz", "a\nz", Rule::Fixed));
    assert!(!is("a\n…\nz", "a\nb", Rule::Fixed));
    assert!(is("v=8.0.2 sha=… bits=64", "v=8.0.2 sha=0:0 x bits=64", Rule::Fixed));
    assert!(!is("v=8.0.2 sha=… bits=64", "v=8.0.2 sha=0 bits=32", Rule::Fixed));
    assert!(!is("queue: 72 packages", "queue: 73 packages", Rule::Fixed));
    assert!(is("queue: 72 packages", "queue: 73 packages", Rule::Moving));
    assert!(is("Added redis 5:8.0.2-3+deb13u3", "Added   redis  5:8.0.3-1", Rule::Moving));
    assert!(!is("Added redis 5:8.0.2-3", "Removed redis 5:8.0.2-3", Rule::Moving));
    assert!(is("Baked it\na", "a", Rule::Again) && !is("Baked it\na", "a", Rule::Moving));
    assert!(!is("", "something", Rule::Moving) && !is("something", "", Rule::Moving));
}
