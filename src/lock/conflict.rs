//! Lockfiles that git could not merge.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Lockfile, Output, first_marker};
use crate::error::Result;

impl Lockfile {
    /// Of a text with git's conflict markers: the lock of the own side with the pins that only the other
    /// side has, as a start for resolving. `None` for a text without markers.
    ///
    /// Fails if what the markers leave of neither side is a lockfile.
    pub fn parse_conflicted(text: &str) -> Result<Option<Self>> {
        if first_marker(text).is_none() {
            return Ok(None);
        }
        let (ours, theirs) = sides(text);
        match (Self::parse(&ours), Self::parse(&theirs)) {
            (Ok(ours), Ok(theirs)) => Ok(Some(ours.with_pins_of(theirs))),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(Some(one)),
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn with_pins_of(mut self, other: Self) -> Self {
        let known: BTreeSet<(String, String)> =
            self.packages.iter().map(|package| (package.ecosystem.clone(), package.name.clone())).collect();
        let more = other.packages.into_iter();
        self.packages.extend(more.filter(|more| !known.contains(&(more.ecosystem.clone(), more.name.clone()))));
        let known: BTreeSet<(String, Vec<String>)> =
            self.local.iter().map(|local| (local.from.clone(), local.ignore.clone())).collect();
        let more = other.local.into_iter();
        self.local.extend(more.filter(|more| !known.contains(&(more.from.clone(), more.ignore.clone()))));
        for (platform, ids) in other.accounts {
            let ours = self.accounts.entry(platform).or_default();
            add_free(&mut ours.users, ids.users);
            add_free(&mut ours.groups, ids.groups);
        }
        // They say what they were made from: what does not fit the result is dropped with the rest.
        let known: Vec<_> = self.outputs.iter().map(|output| (output.platform, output.platform_lock)).collect();
        let is_new = |output: &Output| !known.contains(&(output.platform, output.platform_lock));
        self.outputs.extend(other.outputs.into_iter().filter(is_new));
        self
    }
}

/// Adds the names that are new and whose number is not somebody else's.
fn add_free(ours: &mut BTreeMap<String, u32>, theirs: BTreeMap<String, u32>) {
    for (name, id) in theirs {
        if !ours.values().any(|taken| *taken == id) {
            ours.entry(name).or_insert(id);
        }
    }
}

/// The text as either side has it.
fn sides(text: &str) -> (String, String) {
    #[derive(Clone, Copy, PartialEq)]
    enum Part {
        Both,
        Ours,
        /// What both came from, where git shows it.
        Base,
        Theirs,
    }
    let (mut ours, mut theirs) = (String::new(), String::new());
    let mut part = Part::Both;
    for line in text.lines() {
        part = match part {
            _ if line.starts_with("<<<<<<< ") => Part::Ours,
            Part::Ours if line.starts_with("||||||| ") => Part::Base,
            Part::Ours | Part::Base if line == "=======" => Part::Theirs,
            Part::Theirs if line.starts_with(">>>>>>> ") => Part::Both,
            part => {
                for (side, text) in [(Part::Ours, &mut ours), (Part::Theirs, &mut theirs)] {
                    if part == Part::Both || part == side {
                        text.push_str(line);
                        text.push('\n');
                    }
                }
                part
            }
        };
    }
    (ours, theirs)
}

#[cfg(test)]
mod tests {
    use super::super::model::first_marker;
    use super::sides;

    #[test]
    fn both_styles_of_conflicts_are_read() {
        let merge = "a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> other\nd\n";
        assert_eq!(sides(merge), ("a\nb\nd\n".to_owned(), "a\nc\nd\n".to_owned()));
        let diff3 = "<<<<<<< HEAD\nb\n||||||| 1234\nx\n=======\nc\n>>>>>>> other\n";
        assert_eq!(sides(diff3), ("b\n".to_owned(), "c\n".to_owned()));
        assert_eq!(first_marker(merge), Some(2));
        assert_eq!(first_marker("a = 1\n"), None);
    }
}
