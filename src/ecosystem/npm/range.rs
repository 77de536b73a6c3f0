//! Ranges of versions as npm reads them (the grammar of its documentation, "semver"), in the lenient form that
//! npm uses: what is no comparator is passed over.
//!
//! A range is a union of sets of comparators. A prerelease is in a set only if one of the comparators names a
//! prerelease of the same release.

use std::cmp::Ordering;

use super::semver::{Version, number, tail};

/// Longer texts are refused.
const LONGEST: usize = 16_384;
/// Bounds in one range: whether two ranges meet is asked of every pair.
const MOST: usize = 1000;

/// A range of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    sets: Vec<Vec<Comparator>>,
}

/// A bound. No comparator at all lets everything through.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

/// Three numbers of which the later ones may be left open (`1.x`, `1.2`, `*`).
#[derive(Clone, Debug)]
struct Partial {
    major: Option<u64>,
    minor: Option<u64>,
    patch: Option<u64>,
    /// The whole version, where all is said.
    version: Option<Version>,
    /// Whether nothing is said after what was left open: `1.x.3` is no order.
    ordered: bool,
}

impl Range {
    /// Reads a range; `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        Self::with(text, false)
    }

    /// The same, but prereleases are like other versions: how npm reads `engines`.
    pub fn parse_with_prereleases(text: &str) -> Option<Self> {
        Self::with(text, true)
    }

    fn with(text: &str, prereleases: bool) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut sets: Vec<_> = text.split("||").filter_map(|part| set(part.trim(), prereleases)).collect();
        if sets.iter().map(Vec::len).sum::<usize>() > MOST {
            return None;
        }
        // An alternative that lets everything through makes the others superfluous, prereleases they name included.
        if sets.iter().any(Vec::is_empty) {
            sets = vec![Vec::new()];
        }
        (!sets.is_empty()).then_some(Self { sets })
    }

    /// Whether the version is in the range.
    pub fn contains(&self, version: &Version) -> bool {
        self.sets.iter().any(|set| {
            holds(set, version)
                && (version.prerelease.is_empty()
                    || set.iter().any(|comparator| {
                        !comparator.version.prerelease.is_empty() && comparator.version.same_release(version)
                    }))
        })
    }

    /// Whether the version is between the bounds, prerelease or not.
    pub fn contains_prerelease(&self, version: &Version) -> bool {
        self.sets.iter().any(|set| holds(set, version))
    }

    /// Whether some version may be in both.
    pub fn intersects(&self, other: &Self) -> bool {
        self.sets
            .iter()
            .any(|set| other.sets.iter().any(|with| satisfiable(&set.iter().chain(with).collect::<Vec<_>>())))
    }
}

fn holds(set: &[Comparator], version: &Version) -> bool {
    set.iter().all(|comparator| comparator.holds(version))
}

/// Whether the bounds leave room.
fn satisfiable(comparators: &[&Comparator]) -> bool {
    let pairs = comparators
        .iter()
        .enumerate()
        .flat_map(|(at, one)| comparators[at + 1..].iter().map(move |other| (one, other)));
    pairs.into_iter().all(|(one, other)| one.meets(other) && other.meets(one))
}

impl Comparator {
    fn holds(&self, version: &Version) -> bool {
        let order = version.cmp(&self.version);
        match self.operator {
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Equal => order == Ordering::Equal,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::Greater => order == Ordering::Greater,
        }
    }

    /// Whether a version may be within both bounds, as npm's library judges that.
    fn meets(&self, other: &Self) -> bool {
        let within = |version: &Version, bound: &Self| {
            let named = !bound.version.prerelease.is_empty() && bound.version.same_release(version);
            bound.holds(version) && (version.prerelease.is_empty() || named)
        };
        let nothing =
            |bound: &Self| bound.operator == Operator::Less && bound.version.same_release(&Version::release(0, 0, 0));
        match (self.operator, other.operator) {
            (Operator::Equal, _) => within(&self.version, other),
            (_, Operator::Equal) => within(&other.version, self),
            _ if nothing(self) || nothing(other) => false,
            (Operator::Greater | Operator::GreaterOrEqual, Operator::Less | Operator::LessOrEqual) => {
                let closed = self.operator == Operator::GreaterOrEqual && other.operator == Operator::LessOrEqual;
                self.version < other.version || (closed && self.version == other.version)
            }
            _ => true,
        }
    }
}

/// One alternative of a range; `None` if nothing in it is a comparator.
fn set(text: &str, prereleases: bool) -> Option<Vec<Comparator>> {
    if let Some(set) = hyphen(text, prereleases) {
        return Some(set);
    }
    let joined = joined(text);
    if joined.is_empty() {
        return Some(Vec::new());
    }
    let read: Vec<Vec<Comparator>> = joined.split(' ').filter_map(|token| comparators(token, prereleases)).collect();
    if read.is_empty() {
        return None;
    }
    let set = read.concat();
    // What nothing can satisfy does not become satisfiable with more.
    let nothing = below(Version::release(0, 0, 0));
    Some(if set.contains(&nothing) { vec![nothing] } else { set })
}

/// The text with single spaces, and none after an operator.
fn joined(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_ascii_whitespace() {
        if !out.is_empty() && !out.ends_with(['<', '>', '=', '~', '^']) {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// `1.2 - 2.3`: both ends included, an open end as far as it is said.
fn hyphen(text: &str, prereleases: bool) -> Option<Vec<Comparator>> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| *word == "-")?;
    let (from, to) = (partial(&words[..at].concat())?, partial(&words[at + 1..].concat())?);
    let mut set = Vec::new();
    if let Some(version) = from.lowest(prereleases) {
        set.push(Comparator { operator: Operator::GreaterOrEqual, version });
    }
    match (to.version.clone(), to.after()) {
        (Some(version), _) if version.prerelease.is_empty() && prereleases => {
            let next = Version::release(version.major, version.minor, version.patch + 1);
            set.push(below(next));
        }
        (Some(version), _) => set.push(Comparator { operator: Operator::LessOrEqual, version }),
        (None, Some(after)) => set.push(below(after)),
        (None, None) => {}
    }
    Some(set)
}

/// Everything before the release, its prereleases excluded too.
fn below(release: Version) -> Comparator {
    Comparator { operator: Operator::Less, version: release.first_prerelease() }
}

impl Partial {
    /// The lowest version meant; `None` for all versions.
    fn lowest(&self, prereleases: bool) -> Option<Version> {
        let major = self.major?;
        if let Some(version) = &self.version
            && !version.prerelease.is_empty()
        {
            return Some(version.clone());
        }
        let version = Version::release(major, self.minor.unwrap_or(0), self.patch.unwrap_or(0));
        Some(if prereleases { version.first_prerelease() } else { version })
    }

    /// The first release beyond all that an open version means.
    fn after(&self) -> Option<Version> {
        match (self.major?, self.minor) {
            (major, None) => Some(Version::release(major + 1, 0, 0)),
            (major, Some(minor)) => Some(Version::release(major, minor + 1, 0)),
        }
    }
}

/// `1`, `1.x`, `1.2.*`, `v1.2.3-beta`; `None` if it is none of these.
fn partial(text: &str) -> Option<Partial> {
    let text = text.trim_start_matches(['v', '=']);
    let (major, rest) = part(text)?;
    let (minor, rest) = following(rest)?;
    let Some(minor) = minor else {
        return rest.is_empty().then_some(Partial { major, minor: None, patch: None, version: None, ordered: true });
    };
    let (patch, rest) = following(rest)?;
    let Some(patch) = patch else {
        let ordered = major.is_some() || minor.is_none();
        let minor = major.and(minor);
        return rest.is_empty().then_some(Partial { major, minor, patch: None, version: None, ordered });
    };
    tail(rest)?;
    let ordered = (major.is_some() || minor.is_none()) && (minor.is_some() || patch.is_none());
    let minor = major.and(minor);
    let patch = minor.and(patch);
    let version = patch.and_then(|_| Version::parse(text));
    Some(Partial { major, minor, patch, version, ordered })
}

/// A number or a sign for any, which is `None`.
fn part(text: &str) -> Option<(Option<u64>, &str)> {
    match text.strip_prefix(['x', 'X', '*']) {
        Some(rest) => Some((None, rest)),
        None => number(text).map(|(number, rest)| (Some(number), rest)),
    }
}

/// A further part after a full stop; the outer `None` if there is none.
fn following(text: &str) -> Option<(Option<Option<u64>>, &str)> {
    match text.strip_prefix('.') {
        Some(rest) => part(rest).map(|(part, rest)| (Some(part), rest)),
        None => Some((None, text)),
    }
}

/// The bounds that one word stands for; `None` if it is no comparator.
fn comparators(token: &str, prereleases: bool) -> Option<Vec<Comparator>> {
    if let Some(rest) = token.strip_prefix('^') {
        return Some(caret(&partial(rest)?, prereleases));
    }
    if let Some(rest) = token.strip_prefix('~') {
        return Some(tilde(&partial(rest.strip_prefix('>').unwrap_or(rest))?, prereleases));
    }
    let operators = [
        (">=", Operator::GreaterOrEqual),
        ("<=", Operator::LessOrEqual),
        (">", Operator::Greater),
        ("<", Operator::Less),
        ("=", Operator::Equal),
    ];
    let (operator, rest) = operators
        .into_iter()
        .find_map(|(sign, operator)| token.strip_prefix(sign).map(|rest| (operator, rest)))
        .unwrap_or((Operator::Equal, token));
    let read = partial(rest).filter(|read| read.ordered)?;
    Some(match (&read.version, operator) {
        (Some(version), Operator::GreaterOrEqual) if *version == lowest_of_all(prereleases) => Vec::new(),
        (Some(version), operator) => vec![Comparator { operator, version: version.clone() }],
        (None, operator) => open(&read, operator, prereleases),
    })
}

fn lowest_of_all(prereleases: bool) -> Version {
    let zero = Version::release(0, 0, 0);
    if prereleases { zero.first_prerelease() } else { zero }
}

/// An operator before a version of which a part is left open.
fn open(read: &Partial, operator: Operator, prereleases: bool) -> Vec<Comparator> {
    let (Some(lowest), Some(after)) = (read.lowest(prereleases), read.after()) else {
        // Nothing is less or greater than any version.
        let none = matches!(operator, Operator::Less | Operator::Greater);
        return if none { vec![below(Version::release(0, 0, 0))] } else { Vec::new() };
    };
    let start = Comparator { operator: Operator::GreaterOrEqual, version: lowest.clone() };
    let beyond = if prereleases { after.clone().first_prerelease() } else { after.clone() };
    let set = match operator {
        Operator::Less => vec![below(Version::release(lowest.major, lowest.minor, lowest.patch))],
        Operator::LessOrEqual => vec![below(after)],
        Operator::Equal => vec![start, below(after)],
        Operator::GreaterOrEqual => vec![start],
        Operator::Greater => vec![Comparator { operator: Operator::GreaterOrEqual, version: beyond }],
    };
    without_first(set, prereleases)
}

/// `>=0.0.0` says nothing.
fn without_first(set: Vec<Comparator>, prereleases: bool) -> Vec<Comparator> {
    let says_nothing =
        |one: &Comparator| one.operator == Operator::GreaterOrEqual && one.version == lowest_of_all(prereleases);
    set.into_iter().filter(|one| !says_nothing(one)).collect()
}

/// `~1.2.3`: from there on, within the minor version.
fn tilde(read: &Partial, prereleases: bool) -> Vec<Comparator> {
    between(read, read.after(), prereleases)
}

/// `^1.2.3`: from there on, as long as the first number that is not zero stays.
fn caret(read: &Partial, prereleases: bool) -> Vec<Comparator> {
    let after = match (read.major, read.minor, read.patch) {
        (None, _, _) => None,
        (Some(0), Some(0), Some(patch)) => Some(Version::release(0, 0, patch + 1)),
        (Some(0), Some(minor), _) => Some(Version::release(0, minor + 1, 0)),
        (Some(major), _, _) => Some(Version::release(major + 1, 0, 0)),
    };
    between(read, after, prereleases)
}

fn between(read: &Partial, after: Option<Version>, prereleases: bool) -> Vec<Comparator> {
    // A version that is said in full is the bound itself, whatever is thought of prereleases.
    let lowest = read.version.clone().or_else(|| read.lowest(prereleases));
    let (Some(version), Some(after)) = (lowest, after) else { return Vec::new() };
    let start = Comparator { operator: Operator::GreaterOrEqual, version };
    without_first(vec![start, below(after)], prereleases)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(range: &str, version: &str) -> bool {
        let range = Range::parse(range).unwrap_or_else(|| panic!("{range}"));
        range.contains(&Version::parse(version).unwrap_or_else(|| panic!("{version}")))
    }

    #[test]
    fn every_form_of_range_is_understood() {
        for (range, inside, outside) in [
            ("^1.2.3", &["1.2.3", "1.9.0"][..], &["2.0.0", "1.2.2", "2.0.0-a", "1.3.0-a"][..]),
            ("^0.2.3", &["0.2.9"], &["0.3.0"]),
            ("^0.0.3", &["0.0.3"], &["0.0.4"]),
            ("^0.0", &["0.0.9"], &["0.1.0"]),
            ("^0", &["0.9.0"], &["1.0.0"]),
            ("^1.2.3-beta.2", &["1.2.3-beta.4", "1.2.3", "1.3.0"], &["1.2.4-beta.2", "1.2.3-beta.1"]),
            ("~1.2", &["1.2.0", "1.2.9"], &["1.3.0"]),
            ("~> 1.2.3", &["1.2.4"], &["1.3.0"]),
            ("1.x || >=2.5.0 || 5.0.0 - 7.2.3", &["1.7.0", "2.6.0", "9.0.0"], &["2.4.0", "0.9.0"]),
            ("1.2 - 2", &["1.2.0", "2.9.0"], &["3.0.0", "1.1.0"]),
            ("1.0.0 - 2.0.0", &["2.0.0"], &["2.0.1"]),
            ("", &["1.0.0"], &["1.0.0-a"]),
            ("*", &["0.0.0"], &["0.0.0-a"]),
            (">1", &["2.0.0"], &["1.9.0"]),
            (">1.2", &["1.3.0"], &["1.2.9"]),
            ("<=1.2", &["1.2.9"], &["1.3.0"]),
            ("<1.2", &["1.1.9"], &["1.2.0", "1.2.0-a"]),
            (">= 1.2.3 < 2", &["1.2.3"], &["2.0.0", "1.0.0"]),
            (">=1.0.0-0 <2.0.0", &["1.0.0-a"], &["1.0.1-a"]),
            ("=1.2.3", &["1.2.3"], &["1.2.4"]),
            ("v1.2", &["1.2.4"], &["1.3.0"]),
            ("1.2.3beta", &["1.2.3-beta"], &["1.2.3"]),
            (">*", &[], &["1.0.0"]),
            ("1.x nonsense", &["1.5.0"], &["2.0.0"]),
        ] {
            for version in inside {
                assert!(contains(range, version), "{range} {version}");
            }
            for version in outside {
                assert!(!contains(range, version), "{range} {version}");
            }
        }
        for wrong in ["latest", "1.2.3.4", "git+ssh://x", "^", "a || b", &"1 || ".repeat(10_000)] {
            assert_eq!(Range::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn engines_take_prereleases_as_they_come() {
        let engines = Range::parse_with_prereleases(">=18").unwrap();
        assert!(engines.contains_prerelease(&Version::parse("v18.0.0-nightly").unwrap()));
        assert!(!engines.contains_prerelease(&Version::parse("17.9.0").unwrap()));
    }

    #[test]
    fn ranges_meet_or_not() {
        let meet = |one: &str, other: &str| Range::parse(one).unwrap().intersects(&Range::parse(other).unwrap());
        for (one, other, expected) in [
            ("^1.2.0", "1.5.0", true),
            ("^1.2.0", "^2.0.0", false),
            (">1.0.0", "<1.0.0", false),
            (">=1.0.0", "<=1.0.0", true),
            (">1.0.0", "<=1.0.0", false),
            ("*", "3.0.0", true),
            ("1.x || 3.x", "2.x || 3.1.0", true),
        ] {
            assert_eq!((meet(one, other), meet(other, one)), (expected, expected), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.xX*v=<>~^| a-]{0,30}", version in "[0-3]\\.[0-3]\\.[0-3](-[a0])?") {
            let version = Version::parse(&version).unwrap();
            if let Some(range) = Range::parse(&text) {
                prop_assert!(!range.contains(&version) || range.contains_prerelease(&version));
            }
        }

        #[test]
        fn a_caret_keeps_its_major(major in 1..50_u64, minor in 0..50_u64, patch in 0..50_u64) {
            let range = Range::parse(&format!("^{major}.{minor}.{patch}")).unwrap();
            prop_assert!(range.contains(&Version::release(major, minor, patch)));
            prop_assert!(range.contains(&Version::release(major, minor + 1, 0)));
            prop_assert!(!range.contains(&Version::release(major + 1, 0, 0)));
        }
    }
}
