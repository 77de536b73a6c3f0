//! Versions as npm reads them: Semantic Versioning 2.0.0 in the lenient spelling of npm's own library, which
//! takes `v1.2.3`, `=1.2.3` and `1.2.3beta` as well. Ranges are in `range.rs`.
//!
//! npm decides with these rules which version is installed, so they are followed to the letter; a second-tier
//! test asks npm's library the same questions.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longer texts are no versions (npm's limit), in characters.
const LONGEST: usize = 256;
/// The largest number in a version: what JavaScript can count to exactly.
pub(super) const LARGEST: u64 = (1 << 53) - 1;

/// A version. Ordered as Semantic Versioning says (11), with build metadata left out of it.
#[derive(Clone, Debug, Default)]
pub struct Version {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    /// What follows the hyphen, part by part; empty for a release.
    pub prerelease: Vec<Identifier>,
    /// What follows the plus sign.
    build: String,
}

/// One part of a prerelease. Numbers come before words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identifier {
    Number(u64),
    Word(String),
}

impl Version {
    /// Reads a version; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let text = text.trim().trim_start_matches(|c: char| c == 'v' || c == '=' || c.is_ascii_whitespace());
        let (major, rest) = number(text)?;
        let (minor, rest) = number(rest.strip_prefix('.')?)?;
        let (patch, rest) = number(rest.strip_prefix('.')?)?;
        let (prerelease, build) = tail(rest)?;
        Some(Self { major, minor, patch, prerelease, build })
    }

    /// The release with these numbers.
    pub(super) fn release(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch, ..Self::default() }
    }

    /// The first of all prereleases of this release, `-0`.
    pub(super) fn first_prerelease(mut self) -> Self {
        self.prerelease = vec![Identifier::Number(0)];
        self
    }

    /// Whether the other one is of the same release.
    pub(super) fn same_release(&self, other: &Self) -> bool {
        (self.major, self.minor, self.patch) == (other.major, other.minor, other.patch)
    }
}

/// The digits at the beginning, and what follows them.
pub(super) fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse().ok().filter(|number| *number <= LARGEST)?;
    Some((number, &text[end..]))
}

/// What follows the three numbers: a prerelease, whose hyphen may be missing, and build metadata.
pub(super) fn tail(text: &str) -> Option<(Vec<Identifier>, String)> {
    let (prerelease, build) = text.split_once('+').unwrap_or((text, ""));
    if text.contains('+') && !build.split('.').all(is_identifier) {
        return None;
    }
    if prerelease.is_empty() {
        return Some((Vec::new(), build.to_owned()));
    }
    let read =
        |text: &str| text.split('.').all(is_identifier).then(|| text.split('.').map(identifier).collect::<Vec<_>>());
    // A hyphen with nothing behind it is a part itself.
    let parts = prerelease.strip_prefix('-').and_then(read).or_else(|| read(prerelease))?;
    Some((parts, build.to_owned()))
}

fn is_identifier(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn identifier(part: &str) -> Identifier {
    match part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten() {
        Some(number) if number < LARGEST => Identifier::Number(number),
        _ => Identifier::Word(part.to_owned()),
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| {
            match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => self.prerelease.cmp(&other.prerelease),
            }
        })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)?;
        for (index, part) in self.prerelease.iter().enumerate() {
            formatter.write_str(if index == 0 { "-" } else { "." })?;
            match part {
                Identifier::Number(number) => write!(formatter, "{number}")?,
                Identifier::Word(word) => formatter.write_str(word)?,
            }
        }
        if !self.build.is_empty() {
            write!(formatter, "+{}", self.build)?;
        }
        Ok(())
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a version")))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn lenient_spellings_are_read_and_nonsense_is_not() {
        for (text, read) in [
            ("v1.2.3", "1.2.3"),
            (" = v1.2.3 ", "1.2.3"),
            ("1.2.3beta", "1.2.3-beta"),
            ("1.2.3-01.x", "1.2.3-1.x"),
            ("1.2.3+5.a", "1.2.3+5.a"),
            ("01.2.3", "1.2.3"),
            ("1.2.3-", "1.2.3--"),
        ] {
            assert_eq!(version(text).to_string(), read);
        }
        let long = format!("1.2.3-{}", "a".repeat(300));
        for wrong in ["", "1.2", "1.2.3.4", "1.2.x", "latest", "1.2.3-a..b", "9007199254740992.0.0", &long] {
            assert!(Version::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn they_are_in_the_order_of_semantic_versioning() {
        let order = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1"];
        let all: Vec<Version> = order.into_iter().chain(["1.0.0", "1.0.1", "1.10.0"]).map(version).collect();
        assert!(all.is_sorted_by(|a, b| a < b));
        assert_eq!(version("1.0.0+a"), version("1.0.0+b"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Some(read) = Version::parse(&text) {
                prop_assert_eq!(&version(&read.to_string()), &read);
            }
        }
    }
}
