//! The book's table of contents names every page, and no link of a page is dead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use crate::{pages, root};

static LINK: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\]\(([^)\s]+)\)").unwrap());

/// A page's text without its blocks of code, whose brackets are no links.
fn prose(path: &str) -> String {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let mut inside = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// Where the links of a page lead that stay in the repository: path and heading.
fn links(path: &str) -> Vec<(String, Option<String>)> {
    let prose = prose(path);
    let found = LINK.captures_iter(&prose).map(|found| found[1].to_owned());
    let inside = found.filter(|link| !link.starts_with("http://") && !link.starts_with("https://"));
    inside
        .map(|link| {
            let (file, heading) = match link.split_once('#') {
                Some((file, heading)) => (file, Some(heading.to_owned())),
                None => (link.as_str(), None),
            };
            let target = if file.is_empty() {
                path.to_owned()
            } else {
                resolved(&Path::new(path).with_file_name("").join(file))
            };
            (target, heading)
        })
        .collect()
}

/// A path without `..`, as git has it.
fn resolved(path: &Path) -> String {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(whole.pop(), "{} leads out of the repository", path.display()),
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole.display().to_string()
}

/// What a heading is called in a link: lower case, hyphens for spaces, nothing else but letters and digits.
fn anchors(path: &str) -> BTreeSet<String> {
    let prose = prose(path);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'));
            kept.map(|one| if one == ' ' { '-' } else { one }).collect()
        })
        .collect()
}

#[test]
fn no_link_is_dead() {
    let mut checked = 0;
    for page in pages() {
        for (target, heading) in links(&page) {
            assert!(root().join(&target).exists(), "{page}: a link leads to {target}, which is not there");
            if let Some(heading) = heading {
                assert!(anchors(&target).contains(&heading), "{page}: {target} has no heading `{heading}`");
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} links were found: has the way they are written changed?");
}

#[test]
fn every_expectation_is_answered() {
    let page = prose("docs/expectations.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .map(|line| line.split('|').map(str::trim).collect())
        .filter(|row: &Vec<_>| row.len() == 6)
        .collect();
    let numbered: Vec<String> = rows[2..].iter().map(|row| row[1].to_owned()).collect();
    assert_eq!(numbered, (1..=44).map(|number| number.to_string()).collect::<Vec<_>>());
    for row in &rows[2..] {
        let answered = ["met", "part", "not yet"].contains(&row[3]) && (row[3] == "not yet" || !row[4].is_empty());
        assert!(answered, "{row:?}");
    }
}

#[test]
fn the_table_of_contents_has_every_page() {
    const CONTENTS: &str = "docs/README.md";
    let named: BTreeSet<String> = links(CONTENTS).into_iter().map(|(target, _)| target).collect();
    for page in pages().into_iter().filter(|page| page != CONTENTS && page != "README.md") {
        assert!(named.contains(&page), "{page} is not in {CONTENTS}");
    }
    assert!(links("README.md").iter().any(|(target, _)| target == CONTENTS), "README.md does not lead to {CONTENTS}");
}
