//! One thing that a definition can ask for, as people type it: `debian:curl=8.1*`, `pypi:httpx>=0.27`,
//! `npm:bootstrap@5`. Knows how each ecosystem writes what it asks for, and neither files nor indexes.

use crate::ecosystem::npm::semver;
use crate::ecosystem::npm::spec::{self, Spec};
use crate::ecosystem::pypi::requirement::{Requirement, Wanted as Versions};
use crate::error::{Error, Result};

/// Where packages that a definition names come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ecosystem {
    Debian,
    Pypi,
    Npm,
}

impl Ecosystem {
    /// All of them, in the order in which definitions have them.
    pub const ALL: [Self; 3] = [Self::Debian, Self::Pypi, Self::Npm];

    /// As the lockfile has it, and as it is typed before a name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
        }
    }

    /// Whose packages they are, for people.
    pub fn owner(self) -> &'static str {
        match self {
            Self::Debian => "Debian",
            Self::Pypi => "Python",
            Self::Npm => "npm",
        }
    }

    /// Splits `ECOSYSTEM:REST`; without one, the whole text is the rest. What other tools call an ecosystem is an
    /// error that says what kiln calls it.
    pub fn split(text: &str) -> Result<(Option<Self>, &str)> {
        let Some((prefix, rest)) = text.split_once(':') else { return Ok((None, text)) };
        if let Some(known) = Self::ALL.into_iter().find(|known| known.name() == prefix) {
            return Ok((Some(known), rest.trim()));
        }
        let meant = match prefix {
            "deb" | "apt" => Self::Debian,
            "pip" | "python" | "uv" => Self::Pypi,
            "node" | "yarn" | "pnpm" | "js" => Self::Npm,
            _ => return Ok((None, text)),
        };
        Err(Error::new(format!("`{prefix}` is no ecosystem that kiln knows"))
            .hint(format!("did you mean `{}:{rest}`?", meant.name())))
    }
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub ecosystem: Ecosystem,
    /// The package's name, normalised; of Debian's alternatives, `a | b`.
    pub name: String,
    /// As the definition writes it: Debian's and Python's with the name, npm's the range alone. Empty for npm's
    /// packages of which any version will do.
    pub text: String,
}

impl Asked {
    /// Reads what is asked of `ecosystem`.
    pub fn parse(ecosystem: Ecosystem, text: &str) -> Result<Self> {
        let text = text.trim();
        let (name, text) = match ecosystem {
            Ecosystem::Debian => (debian_name(text)?, alternatives(text).collect::<Vec<_>>().join(" | ")),
            Ecosystem::Pypi => (text.parse::<Requirement>()?.name.to_string(), text.to_owned()),
            Ecosystem::Npm => {
                let (name, range) = spec::split(text);
                Spec::parse(name, range)?;
                (name.to_owned(), range.trim().to_owned())
            }
        };
        Ok(Self { ecosystem, name, text })
    }

    /// What it reads as in a definition's list; nothing if it is malformed.
    pub(super) fn in_list(ecosystem: Ecosystem, text: &str) -> Option<Self> {
        Self::parse(ecosystem, text).ok()
    }

    /// Whether it names a package and says no more of it.
    pub fn is_bare(&self) -> bool {
        match self.ecosystem {
            Ecosystem::Debian => self.text == self.name,
            Ecosystem::Pypi => self.text.parse::<Requirement>().is_ok_and(|requirement| {
                let unversioned = matches!(&requirement.wanted, Versions::Versions(all, _) if all.is_empty());
                unversioned && requirement.marker.is_true()
            }),
            Ecosystem::Npm => self.text.is_empty(),
        }
    }

    /// The same of no version before `version`, as the ecosystem's own tools write it after an addition: uv `>=`, npm
    /// `^`. Debian's packages are asked for by their bare names.
    pub fn from_version(&self, version: &str) -> Self {
        let text = match self.ecosystem {
            Ecosystem::Debian => self.text.clone(),
            // No bound may have a local part (PEP 440, "inclusive ordered comparison").
            Ecosystem::Pypi => format!("{}>={}", self.text, version.split('+').next().unwrap_or_default()),
            Ecosystem::Npm => format!("^{version}"),
        };
        Self { text, ..self.clone() }
    }

    /// The lowest of these versions, by the ecosystem's own order; those that are none do not count.
    pub fn lowest<'v>(&self, versions: impl Iterator<Item = &'v str>) -> Option<&'v str> {
        match self.ecosystem {
            Ecosystem::Debian => versions.min(),
            Ecosystem::Pypi => {
                let known = versions.filter_map(|text| Some((text.parse::<pep440_rs::Version>().ok()?, text)));
                known.min().map(|(_, text)| text)
            }
            Ecosystem::Npm => {
                let known = versions.filter_map(|text| Some((semver::Version::parse(text)?, text)));
                known.min().map(|(_, text)| text)
            }
        }
    }

    /// What becomes of a requirement when this one is added to it: as with uv, what is not said stays, and extras are
    /// gathered. Nothing if `old` says as much already.
    pub(super) fn over(&self, old: &Self) -> Option<Self> {
        let text = match self.ecosystem {
            Ecosystem::Debian | Ecosystem::Npm if self.is_bare() => return None,
            Ecosystem::Debian | Ecosystem::Npm => self.text.clone(),
            Ecosystem::Pypi => python_over(&old.text, &self.text)?,
        };
        (text != old.text).then(|| Self { text, ..self.clone() })
    }

    /// As it is typed: `pypi:httpx>=0.27`, `npm:bootstrap@5`.
    pub fn typed(&self) -> String {
        match (self.ecosystem, self.text.as_str()) {
            (Ecosystem::Npm, "") => format!("npm:{}", self.name),
            (Ecosystem::Npm, range) => format!("npm:{}@{range}", self.name),
            (ecosystem, text) => format!("{}:{text}", ecosystem.name()),
        }
    }
}

fn alternatives(text: &str) -> impl Iterator<Item = &str> {
    text.split('|').map(str::trim)
}

/// The names of a request in apt's syntax: `name`, `name=version`, `name/suite`, `a | b`.
fn debian_name(text: &str) -> Result<String> {
    let bad = || {
        let error = Error::new(format!("`{}` asks for no Debian package", text.escape_debug())).hint(
            "Debian's are asked for by `name`, `name=version` or `name/suite`, and `a | b` is the first to be had",
        );
        match text.contains(['<', '>', '@', '[']) {
            true => error.hint(format!("for Python's package write `pypi:{text}`, for npm's `npm:NAME@RANGE`")),
            false => error,
        }
    };
    let mut names = Vec::new();
    for one in alternatives(text) {
        let (name, rest) = one.split_at(one.find(['=', '/']).unwrap_or(one.len()));
        let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.:".contains(c);
        let of_version = |c: char| c.is_ascii_alphanumeric() || "+-.:~*_".contains(c);
        let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(of_name)
            && rest.chars().skip(1).all(of_version)
            && rest.len() != 1;
        if !good {
            return Err(bad());
        }
        names.push(name);
    }
    Ok(names.join(" | "))
}

fn python_over(old: &str, new: &str) -> Option<String> {
    let (was, wanted): (Requirement, Requirement) = (old.parse().ok()?, new.parse().ok()?);
    let unversioned = matches!(&wanted.wanted, Versions::Versions(all, _) if all.is_empty());
    let more: Vec<_> = wanted.extras.iter().filter(|extra| !was.extras.contains(extra)).collect();
    if unversioned && wanted.marker.is_true() && more.is_empty() {
        return None;
    }
    let specifiers = |requirement: &Requirement| match &requirement.wanted {
        Versions::Versions(all, _) => all.to_string().replace(", ", ","),
        Versions::Url(url) => format!(" @ {url}"),
    };
    let mut extras: Vec<String> = was.extras.iter().chain(more).map(ToString::to_string).collect();
    extras.sort();
    let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
    let marker = if wanted.marker.is_true() { &was.marker } else { &wanted.marker };
    let marker = marker.contents().map(|marker| format!(" ; {marker}")).unwrap_or_default();
    // Its name stays as it was written.
    let end = |c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c);
    let name = old.trim().split(end).next().unwrap_or_default();
    let versions = specifiers(if unversioned { &was } else { &wanted });
    Some(format!("{name}{extras}{versions}{marker}"))
}

#[cfg(test)]
mod tests {
    use super::{Asked, Ecosystem};

    fn asked(text: &str) -> Asked {
        let (ecosystem, rest) = Ecosystem::split(text).unwrap();
        Asked::parse(ecosystem.unwrap_or(Ecosystem::Debian), rest).unwrap()
    }

    #[test]
    fn what_is_typed_is_read_and_written_again() {
        for (text, name, bare) in [
            ("debian:curl", "curl", true),
            ("debian:curl=8.1*", "curl", false),
            ("debian:g++/trixie-backports", "g++", false),
            ("debian:mawk | gawk=1:5", "mawk | gawk", false),
            ("pypi:Zope.Interface", "zope-interface", true),
            ("pypi:celery[redis]", "celery", true),
            ("pypi:httpx>=0.27", "httpx", false),
            ("pypi:httpx ; python_version < \"3.12\"", "httpx", false),
            ("npm:bootstrap", "bootstrap", true),
            ("npm:@types/node@^22", "@types/node", false),
            ("npm:old@npm:bootstrap@2", "old", false),
        ] {
            let read = asked(text);
            assert_eq!((read.name.as_str(), read.is_bare(), read.typed().as_str()), (name, bare, text));
        }
        assert_eq!(asked("libc6:amd64").name, "libc6:amd64");
    }

    #[test]
    fn what_asks_for_nothing_is_refused() {
        for text in ["", "Curl", "curl=", "curl/", "a | ", "a b", "a\nb", "-a", "httpx>=1", "a@5", "é"] {
            assert!(Asked::parse(Ecosystem::Debian, text).is_err(), "{text}");
        }
        for text in ["", "a b", ">=1", "a=1", "a\n-r b"] {
            assert!(Asked::parse(Ecosystem::Pypi, text).is_err(), "{text}");
        }
        for text in ["", "@", "@5", "a@git+ssh://x/y", "a@file:../b", "A b", "../a", "node_modules"] {
            assert!(Asked::parse(Ecosystem::Npm, text).is_err(), "{text}");
        }
        let error = Ecosystem::split("pip:flask").unwrap_err();
        assert_eq!(error.hints(), ["did you mean `pypi:flask`?"]);
    }

    #[test]
    fn what_is_not_said_stays() {
        for (old, new, expected) in [
            ("flask>=3", "flask", None),
            ("Flask>=3", "flask[async]", Some("Flask[async]>=3")),
            (
                "celery[redis]>=5 ; python_version > '3'",
                "celery[sqs]<6",
                Some("celery[redis,sqs]<6 ; python_full_version >= '3.1'"),
            ),
            ("flask>=3,<4", "flask>=3,<4", None),
            ("flask", "flask>=3,<4", Some("flask>=3,<4")),
        ] {
            let changed = asked(&format!("pypi:{new}")).over(&asked(&format!("pypi:{old}")));
            assert_eq!(changed.map(|changed| changed.text).as_deref(), expected, "{old} {new}");
        }
        assert_eq!(asked("curl").over(&asked("curl=8*")), None);
        assert_eq!(asked("curl=9").over(&asked("curl=8*")).unwrap().text, "curl=9");
        assert_eq!(asked("npm:a@2").over(&asked("npm:a@1")).unwrap().text, "2");
    }

    #[test]
    fn what_was_locked_becomes_a_bound() {
        assert_eq!(asked("pypi:torch").from_version("2.1+cpu").text, "torch>=2.1");
        assert_eq!(asked("npm:bootstrap").from_version("5.3.3").text, "^5.3.3");
        assert_eq!(asked("curl").from_version("8.1-1").text, "curl");
        assert_eq!(asked("pypi:a").lowest(["1.10", "1.9.post1", "?", "1.9"].into_iter()), Some("1.9"));
        assert_eq!(asked("npm:a").lowest(["1.10.0", "1.9.0"].into_iter()), Some("1.9.0"));
    }
}
