//! One requirement: which versions of a project, with which extras, where (PEP 508, 440).
//!
//! What people write in definitions is read strictly. What old packages say of themselves is often malformed in
//! ways whose meaning is clear; those are mended as uv mends them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use pep440_rs::{VersionSpecifier, VersionSpecifiers};
use pep508_rs::{ExtraName, MarkerTree, VersionOrUrl};
use url::Url;

use super::name::Name;
use super::ranges::{self, Range};
use super::target::Target;
use crate::error::{Error, Result};

/// No requirement is longer, in bytes.
const LONGEST: usize = 1 << 16;

/// See the module's documentation.
#[derive(Clone, PartialEq, Eq)]
pub struct Requirement {
    pub name: Name,
    /// Without repetitions, in the order in which they were written.
    pub extras: Vec<Name>,
    pub wanted: Wanted,
    /// Where it applies.
    pub marker: MarkerTree,
    text: Arc<str>,
}

/// Which versions are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those that satisfy the specifiers, and their set.
    Versions(VersionSpecifiers, Range),
    /// The one at an address (`name @ https://…`), which may have a fragment with hashes.
    Url(Url),
}

impl FromStr for Requirement {
    type Err = Error;

    /// Reads a requirement as people write them.
    fn from_str(text: &str) -> Result<Self> {
        Self::read(text.trim()).map_err(|cause| {
            Error::new(format!("`{}` is not a requirement", shown(text)))
                .caused_by(Error::new(cause))
                .hint("requirements are written as in `name[extra]>=1.2,<2 ; python_version < \"3.12\"`")
        })
    }
}

impl Requirement {
    /// Reads a requirement from a package's metadata, mending what is known to be meant otherwise.
    pub fn lenient(text: &str) -> Result<Self> {
        let text = text.trim();
        let first = match Self::read(text) {
            Ok(requirement) => return Ok(requirement),
            Err(error) => error,
        };
        let (head, tail) = text.split_at(text.find(';').unwrap_or(text.len()));
        let end = head.find(|character: char| !is_of_name(character)).unwrap_or(head.len());
        let end = match head[end..].trim_start().starts_with('[') {
            true => head.find(']').map_or(end, |at| at + 1),
            false => end,
        };
        let (name, specifiers) = head.split_at(end);
        mended(specifiers, |specifiers| Self::read(&format!("{name}{specifiers}{tail}")).ok())
            .ok_or_else(|| Error::new(format!("`{}` is not a requirement", shown(text))).caused_by(Error::new(first)))
    }

    fn read(text: &str) -> std::result::Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} bytes"));
        }
        check_readable(text)?;
        check_names(text)?;
        // In the place of an address the library looks past all white space again from each bit of it.
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let parsed = pep508_rs::Requirement::<Url>::from_str(&squeezed)
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
        let name = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
        let mut extras: Vec<Name> = Vec::new();
        for extra in &parsed.extras {
            let extra = name(extra.as_ref())?;
            if !extras.contains(&extra) {
                extras.push(extra);
            }
        }
        let wanted = match parsed.version_or_url {
            None => Wanted::versions(VersionSpecifiers::empty()),
            Some(VersionOrUrl::VersionSpecifier(specifiers)) => Wanted::versions(specifiers),
            Some(VersionOrUrl::Url(url)) => Wanted::Url(url),
        };
        Ok(Self { name: name(parsed.name.as_ref())?, extras, wanted, marker: parsed.marker, text: text.trim().into() })
    }

    /// The requirement of exactly one version.
    pub fn exactly(name: &Name, version: &pep440_rs::Version) -> Self {
        let specifiers = VersionSpecifiers::from(VersionSpecifier::equals_version(version.clone()));
        Self {
            name: name.clone(),
            extras: Vec::new(),
            wanted: Wanted::versions(specifiers),
            marker: MarkerTree::TRUE,
            text: format!("{name}=={version}").into(),
        }
    }

    /// The same requirement of the project alone.
    pub fn without_extras(&self) -> Self {
        Self { extras: Vec::new(), ..self.clone() }
    }

    /// The same requirement where another marker applies too.
    pub fn also_under(&self, marker: &MarkerTree) -> Self {
        let mut both = self.clone();
        both.marker.and(marker.clone());
        both
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The specifiers; none for one by address.
    pub fn specifiers(&self) -> Option<&VersionSpecifiers> {
        match &self.wanted {
            Wanted::Versions(specifiers, _) => Some(specifiers),
            Wanted::Url(_) => None,
        }
    }

    /// The versions that it allows.
    pub fn range(&self) -> Range {
        match &self.wanted {
            Wanted::Versions(_, range) => range.clone(),
            Wanted::Url(_) => Range::full(),
        }
    }

    /// Whether it applies to a target where these extras are asked for.
    pub fn applies(&self, target: &Target, extras: &[Name]) -> bool {
        let extras: Vec<ExtraName> =
            extras.iter().filter_map(|extra| ExtraName::new(extra.as_str().to_owned()).ok()).collect();
        self.marker.evaluate(target.markers(), &extras)
    }
}

impl Wanted {
    fn versions(specifiers: VersionSpecifiers) -> Self {
        let range = ranges::of(&specifiers);
        Self::Versions(specifiers, range)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Reads specifiers from an index or from metadata, mending what is known to be meant otherwise.
pub fn lenient_specifiers(text: &str) -> Result<VersionSpecifiers> {
    let read = |text: &str| {
        check_readable(text)?;
        VersionSpecifiers::from_str(text)
            .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())
    };
    let first = match read(text) {
        Ok(specifiers) => return Ok(specifiers),
        Err(error) => error,
    };
    let short = text.len() <= LONGEST;
    short
        .then(|| mended(text, |text| read(text).ok()))
        .flatten()
        .ok_or_else(|| Error::new(format!("`{}` are no version specifiers", shown(text))).caused_by(Error::new(first)))
}

/// The library takes names for granted that its own parser lets through.
fn check_names(text: &str) -> std::result::Result<(), String> {
    let valid = |name: &str| name.parse::<Name>().map(drop).map_err(|error| error.to_string());
    let end = text.find(|character: char| !is_of_name(character)).unwrap_or(text.len());
    valid(&text[..end])?;
    let Some(extras) = text[end..].trim_start().strip_prefix('[') else { return Ok(()) };
    let extras = extras.split(']').next().unwrap_or_default();
    extras.split(',').map(str::trim).filter(|extra| !extra.is_empty()).try_for_each(valid)
}

/// Refuses what the library that reads requirements, specifiers and markers stumbles over. It takes words of markers
/// for ASCII, as they are (PEP 508, "Grammar"), and panics within a character of several bytes; and it adds one to
/// every number, the largest that there is as well.
pub(super) fn check_readable(text: &str) -> std::result::Result<(), String> {
    const LARGEST: &str = "18446744073709551615";
    if let Some(wrong) = text.chars().find(|character| !character.is_ascii() && !character.is_whitespace()) {
        return Err(format!("`{}` is not a character of requirements", wrong.escape_debug()));
    }
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    match numbers.any(|number| number.trim_start_matches('0') == LARGEST) {
        true => Err(format!("{LARGEST} is too large for a version")),
        false => Ok(()),
    }
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_.".contains(character)
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    short.escape_debug().to_string()
}

/// Tries the mends one after the other, each on top of those before it, until the text can be read.
fn mended<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mends: [fn(&str) -> String; 8] = [
        separate,
        |text| star_for_tilde(text),
        |text| without_star_after_order(text),
        dot_before_star,
        without_last_comma,
        |text| text.replace(">dev", ">0.0.0dev"),
        without_zero_after_prerelease,
        |text| text.replace(['\'', '"'], ""),
    ];
    let mut text = text.to_owned();
    for mend in mends {
        let changed = mend(&text);
        if changed != text {
            if let Some(value) = read(&changed) {
                return Some(value);
            }
            text = changed;
        }
    }
    None
}

/// `>=7.2<8` → `>=7.2,<8`
fn separate(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 4);
    let mut after_digit = false;
    for character in text.chars() {
        if after_digit && "<>=~^!".contains(character) {
            out.push(',');
        }
        out.push(character);
        after_digit = character.is_ascii_digit();
    }
    out
}

/// The length of the number with dots that the text begins with.
fn number(text: &str) -> usize {
    let length = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    text[..length].trim_end_matches('.').len()
}

/// `!=~5.0` → `!=5.0.*`
fn star_for_tilde(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("!=~") {
        let (before, after) = (&rest[..at], &rest[at + 3..]);
        let length = number(after);
        out.push_str(before);
        out.push_str(if length > 0 { "!=" } else { "!=~" });
        out.push_str(&after[..length]);
        out.push_str(if length > 0 { ".*" } else { "" });
        rest = &after[length..];
    }
    out + rest
}

/// `>=1.9.*` → `>=1.9`
fn without_star_after_order(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['<', '>']) {
        let operator = at + 1 + usize::from(rest[at + 1..].starts_with('='));
        let spaces = rest[operator..].len() - rest[operator..].trim_start().len();
        let end = operator + spaces + number(&rest[operator + spaces..]);
        out.push_str(&rest[..end]);
        rest = &rest[end..];
        if end > operator + spaces {
            rest = rest.strip_prefix(".*").unwrap_or(rest);
        }
    }
    out + rest
}

/// `!=3.0*` → `!=3.0.*`
fn dot_before_star(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for character in text.chars() {
        if character == '*' && out.ends_with(|last: char| last.is_ascii_digit()) {
            out.push('.');
        }
        out.push(character);
    }
    out
}

/// `>=3.6,` → `>=3.6`
fn without_last_comma(text: &str) -> String {
    let trimmed = text.trim_end();
    match trimmed.strip_suffix(",)") {
        Some(inside) => format!("{inside})"),
        None => trimmed.trim_end_matches(',').to_owned(),
    }
}

/// `>=9.0.0a1.0` → `>=9.0.0a1`
fn without_zero_after_prerelease(text: &str) -> String {
    let part = |part: &str| match part.trim_end().strip_suffix(".0") {
        Some(before) => {
            let letters = before.trim_end_matches(|character: char| character.is_ascii_digit());
            let marked = ["a", "b", "rc", "post", "dev"].iter().any(|mark| letters.ends_with(mark));
            if marked && letters.len() < before.len() { before.to_owned() } else { part.to_owned() }
        }
        None => part.to_owned(),
    };
    text.split(',').map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lenient(text: &str) -> String {
        Requirement::lenient(text).unwrap().specifiers().unwrap().to_string()
    }

    #[test]
    fn requirements_are_read() {
        let requirement: Requirement = "Foo_Bar[B,a.c, b] >=1,<2 ; sys_platform == 'linux'".parse().unwrap();
        assert_eq!(requirement.name.as_str(), "foo-bar");
        assert_eq!(requirement.extras.iter().map(Name::as_str).collect::<Vec<_>>(), ["b", "a-c"]);
        assert!(requirement.applies(&Target::new("3.13.5", "amd64", (2, 41)).unwrap(), &[]));
        let requirement: Requirement = "a @ https://h.example/a-1.whl#sha256=00".parse().unwrap();
        assert!(matches!(requirement.wanted, Wanted::Url(url) if url.fragment() == Some("sha256=00")));
        for wrong in ["", "-r x", "a >= ", "a==1;", "a[", "./a", "a b", "a @ ../x"] {
            let error = wrong.parse::<Requirement>().unwrap_err();
            assert!(error.message().contains("is not a requirement"), "{wrong}: {error}");
        }
    }

    #[test]
    fn what_the_library_panics_on_does_not_reach_it() {
        for wrong in ["a; python_version < '3.9' an\u{fffd} x", "a; 'x' in \u{e9}", "a==1.18446744073709551615.*"] {
            assert!(Requirement::lenient(wrong).is_err(), "{wrong}");
        }
        assert!(lenient_specifiers(">=3.8 \u{fffd}").is_err());
        assert!(lenient_specifiers("==3.00018446744073709551615.*").is_err());
        assert_eq!(lenient(&format!("a\u{a0}>=1.{}", u64::MAX - 1)), format!(">=1.{}", u64::MAX - 1));
    }

    #[test]
    fn extras_decide_where_markers_ask_for_them() {
        let target = Target::new("3.13.5", "amd64", (2, 41)).unwrap();
        let requirement: Requirement = "a; extra == 'Big_One' and python_version >= '3.8'".parse().unwrap();
        assert!(!requirement.applies(&target, &[]));
        assert!(requirement.applies(&target, &["big-one".parse().unwrap()]));
    }

    #[test]
    fn malformed_specifiers_are_mended() {
        for (text, specifiers) in [
            ("a (>=7.2.0<8.0.0)", ">=7.2.0, <8.0.0"),
            ("a (!=~5.0,>=4.12)", ">=4.12, !=5.0.*"),
            ("a2[x] >=1.9.*", ">=1.9"),
            ("a !=3.0*,!=3.1*", "!=3.0.*, !=3.1.*"),
            ("a >=3.6,", ">=3.6"),
            ("a >=3.6, ; python_version > '3'", ">=3.6"),
            ("a >dev", ">0.0.0.dev0"),
            ("a (>=9.0.0a1.0,<10)", ">=9.0.0a1, <10"),
            ("a >= 2.7'", ">=2.7"),
        ] {
            assert_eq!(lenient(text), specifiers, "{text}");
        }
        assert_eq!(lenient_specifiers(">=3.6.*,").unwrap().to_string(), ">=3.6");
        assert!(lenient_specifiers("later").is_err());
        assert!(Requirement::lenient("a >= later").is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,60}") {
            let _ = text.parse::<Requirement>();
            let _ = Requirement::lenient(&text);
            let _ = lenient_specifiers(&text);
        }

        #[test]
        fn almost_requirements_do_not_make_it_panic(text in "[ab1]{1,3}(\\[[a,]{0,3}\\])? ?[(<>=~!.,*0-9a-c'\"@; )]{0,20}") {
            let _ = Requirement::lenient(&text);
        }
    }
}
