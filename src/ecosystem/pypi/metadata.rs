//! What a package says of itself: name, version, requirements (core metadata, PEP 566, 643, 621).
//!
//! It is read from wheels' METADATA, and for source distributions from whatever they carry that is known
//! without building them. Takes text, never a path; knows nothing of indexes.

use std::collections::BTreeSet;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use serde::{Deserialize, Serialize};

use super::name::Name;
use super::requirement::{Requirement, lenient_specifiers};
use crate::error::{Context, Error, Kind, Result};
use crate::tables;

/// No metadata is larger, in bytes.
pub const LARGEST: u64 = 16 << 20;
/// No package has more requirements.
const MOST_REQUIREMENTS: usize = 20_000;

/// What resolution needs to know of one version of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    pub name: Name,
    pub version: Version,
    /// All of them, those of extras marked so (`extra == "…"`).
    pub requires: Vec<Requirement>,
    pub requires_python: Option<VersionSpecifiers>,
    pub extras: BTreeSet<Name>,
    pub basis: Basis,
}

/// How sure it is that building would give the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// It is a wheel's, or the source distribution promises that building does not change it.
    Certain,
    /// It is what the source distribution's author had when it was packed; its build could say otherwise.
    Guessed,
}

/// The same as text: what the store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub name: String,
    pub version: String,
    pub requires: Vec<String>,
    pub requires_python: Option<String>,
    pub extras: Vec<String>,
    pub basis: Basis,
}

impl Stored {
    /// Reads a METADATA or PKG-INFO file. Its description is skipped.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Header)> {
        let header = Header::parse(bytes)?;
        let stored = Self {
            name: header.one("Name")?.to_owned(),
            version: header.one("Version")?.to_owned(),
            requires: header.all("Requires-Dist").map(str::to_owned).collect(),
            requires_python: header.all("Requires-Python").next().map(str::to_owned),
            extras: header.all("Provides-Extra").map(str::to_owned).collect(),
            basis: Basis::Certain,
        };
        Ok((stored, header))
    }

    /// Reads the table `[project]` of a pyproject.toml (PEP 621), if it says all that resolution needs.
    /// A version that the build makes up is the one that the distribution's name has.
    pub fn parse_pyproject(text: &str, version: &Version) -> Result<Option<Self>> {
        #[derive(Deserialize)]
        struct File {
            project: Option<Project>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Project {
            name: Option<String>,
            version: Option<String>,
            requires_python: Option<String>,
            #[serde(default)]
            dependencies: Vec<String>,
            #[serde(default)]
            optional_dependencies: std::collections::BTreeMap<String, Vec<String>>,
            #[serde(default)]
            dynamic: Vec<String>,
        }
        let file: File = tables::from_str(text).context(|| "reading pyproject.toml")?;
        let Some(Project {
            name: Some(name),
            version: own,
            requires_python,
            dependencies,
            optional_dependencies,
            dynamic,
        }) = file.project
        else {
            return Ok(None);
        };
        let is_dynamic = |field: &str| dynamic.iter().any(|dynamic| dynamic == field);
        if ["dependencies", "optional-dependencies", "requires-python"].into_iter().any(is_dynamic) {
            return Ok(None);
        }
        let mut requires = dependencies;
        for (extra, optional) in &optional_dependencies {
            requires.extend(optional.iter().map(|text| with_extra(text, extra)));
        }
        Ok(Some(Self {
            name,
            version: own.unwrap_or_else(|| version.to_string()),
            requires,
            requires_python,
            extras: optional_dependencies.into_keys().collect(),
            basis: Basis::Certain,
        }))
    }

    /// Adds what setuptools wrote into `*.egg-info/requires.txt`: requirements, then groups of them headed by
    /// `[extra]`, `[:marker]` or `[extra:marker]`.
    pub fn add_egg_requirements(&mut self, text: &str) {
        let (mut extra, mut marker) = (String::new(), String::new());
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(head) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                let (name, condition) = head.split_once(':').unwrap_or((head, ""));
                (extra, marker) = (name.trim().to_owned(), condition.trim().to_owned());
                if !extra.is_empty() && !self.extras.contains(&extra) {
                    self.extras.push(extra.clone());
                }
                continue;
            }
            let marked = if marker.is_empty() { line.to_owned() } else { with_marker(line, &marker) };
            self.requires.push(if extra.is_empty() { marked } else { with_extra(&marked, &extra) });
        }
    }

    /// The values, checked.
    pub fn read(&self) -> Result<Metadata> {
        let what = || format!("reading the metadata of {} {}", self.name, self.version);
        if self.requires.len() > MOST_REQUIREMENTS {
            return Err(Error::new(format!("{}: it has more than {MOST_REQUIREMENTS} requirements", what()))
                .kind(Kind::Corrupt));
        }
        let read = || -> Result<Metadata> {
            Ok(Metadata {
                name: self.name.parse()?,
                version: Version::from_str(&self.version)?,
                requires: self.requires.iter().map(|text| Requirement::lenient(text)).collect::<Result<_>>()?,
                requires_python: self.requires_python.as_deref().map(lenient_specifiers).transpose()?,
                // One that is no name nobody can ask for.
                extras: self.extras.iter().filter_map(|extra| extra.parse().ok()).collect(),
                basis: self.basis,
            })
        };
        read().map_err(|error| Error::new(what()).kind(Kind::Corrupt).caused_by(error))
    }
}

fn with_extra(requirement: &str, extra: &str) -> String {
    with_marker(requirement, &format!("extra == \"{}\"", extra.replace(['"', '\\'], "")))
}

fn with_marker(requirement: &str, marker: &str) -> String {
    match requirement.split_once(';') {
        Some((head, own)) if !own.trim().is_empty() => format!("{} ; ({}) and {marker}", head.trim(), own.trim()),
        Some((head, _)) => format!("{} ; {marker}", head.trim()),
        // Without a space before it, a semicolon would be part of a URL.
        None => format!("{} ; {marker}", requirement.trim()),
    }
}

/// The fields at the head of a METADATA file, in their order.
#[derive(Clone, Debug)]
pub struct Header(Vec<(String, String)>);

impl Header {
    /// Reads up to the empty line after which the description follows. Bytes that are no UTF-8 become marks.
    fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > LARGEST {
            return Err(Error::new(format!("the metadata has more than {LARGEST} bytes")).kind(Kind::Corrupt));
        }
        let text = String::from_utf8_lossy(bytes);
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines() {
            if line.is_empty() {
                break;
            }
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push('\n');
                    value.push_str(line.trim());
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
        Ok(Self(fields))
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = name.to_ascii_lowercase();
        let fields = self.0.iter().filter(move |(other, value)| *other == name && value != "UNKNOWN");
        fields.map(|(_, value)| value.as_str())
    }

    fn one(&self, name: &str) -> Result<&str> {
        self.all(name)
            .next()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Error::new(format!("the metadata has no field `{name}`")).kind(Kind::Corrupt))
    }

    /// Whether a source distribution with this PKG-INFO promises that its requirements stay as they are when it
    /// is built (PEP 643).
    pub fn is_static(&self) -> bool {
        let version = self.all("Metadata-Version").next().unwrap_or_default();
        let new = Version::from_str(version).is_ok_and(|version| version.release() >= [2, 2].as_slice());
        let changes = |field: &str| {
            ["requires-dist", "requires-python", "provides-extra"].contains(&field.to_ascii_lowercase().as_str())
        };
        new && !self.all("Dynamic").any(changes)
    }

    /// Whether it has requirements, of whatever worth.
    pub fn has_requirements(&self) -> bool {
        self.all("Requires-Dist").next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METADATA: &str = "Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\nRequires-Dist: a (>=1)\n\
        Requires-Dist: b; extra == 'X'\nProvides-Extra: X\nRequires-Python: >=3.6.*\nLicense: one\n  two\n\n\
        Requires-Dist: not this\n";

    #[test]
    fn metadata_is_read_up_to_the_description() {
        let (stored, header) = Stored::parse(METADATA.as_bytes()).unwrap();
        let metadata = stored.read().unwrap();
        assert_eq!(metadata.name.as_str(), "foo-bar");
        assert_eq!(metadata.requires.len(), 2);
        assert_eq!(metadata.requires_python.unwrap().to_string(), ">=3.6");
        assert!(metadata.extras.contains(&"x".parse().unwrap()));
        assert!(!header.is_static());
    }

    #[test]
    fn only_new_metadata_without_dynamic_requirements_is_static() {
        let header = |text: &str| Stored::parse(format!("Name: a\nVersion: 1\n{text}\n").as_bytes()).unwrap().1;
        assert!(header("Metadata-Version: 2.2").is_static());
        assert!(header("Metadata-Version: 2.4\nDynamic: Version").is_static());
        assert!(!header("Metadata-Version: 2.2\nDynamic: requires-dist").is_static());
        assert!(!header("Metadata-Version: 1.2").is_static());
    }

    #[test]
    fn a_static_project_table_is_enough() {
        let version = Version::from_str("3.0").unwrap();
        let text = "[project]\nname = 'a'\ndynamic = ['version']\ndependencies = ['b>1']\n\
            [project.optional-dependencies]\nx = ['c; python_version < \"3\"', 'd']\n";
        let stored = Stored::parse_pyproject(text, &version).unwrap().unwrap();
        assert_eq!(stored.version, "3.0");
        assert_eq!(stored.requires[1], "c ; (python_version < \"3\") and extra == \"x\"");
        assert_eq!(stored.read().unwrap().requires.len(), 3);
        let dynamic = "[project]\nname = 'a'\nversion = '1'\ndynamic = ['dependencies']\n";
        assert_eq!(Stored::parse_pyproject(dynamic, &version).unwrap(), None);
        assert_eq!(Stored::parse_pyproject("[tool.x]\n", &version).unwrap(), None);
        assert!(Stored::parse_pyproject("[project", &version).is_err());
    }

    #[test]
    fn requirements_of_eggs_are_read() {
        let (mut stored, _) = Stored::parse(b"Name: a\nVersion: 1\n").unwrap();
        stored
            .add_egg_requirements("b>=1\n\n[:python_version < \"3\"]\nc\n\n[test]\nd\n\n[x:os_name == 'nt']\ne[f]>2\n");
        assert_eq!(
            stored.requires,
            [
                "b>=1",
                "c ; python_version < \"3\"",
                "d ; extra == \"test\"",
                "e[f]>2 ; (os_name == 'nt') and extra == \"x\""
            ]
        );
        assert_eq!(stored.extras, ["test", "x"]);
        assert_eq!(stored.read().unwrap().requires.len(), 4);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (text, expected) in [
            ("Version: 1\n", "has no field `Name`"),
            ("Name: a\nVersion: \n", "has no field `Version`"),
            ("Name: a\nVersion: 1\nRequires-Dist: ???\n", "`???` is not a requirement"),
            ("Name: a\nVersion: one\n", "reading the metadata of a one"),
        ] {
            let error = Stored::parse(text.as_bytes()).and_then(|(stored, _)| stored.read()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.what(), Kind::Corrupt);
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..METADATA.len()) {
            let _ = Stored::parse(&bytes).map(|(stored, _)| stored.read());
            let _ = Stored::parse(&METADATA.as_bytes()[..cut]).map(|(stored, _)| stored.read());
            if let Ok((mut stored, _)) = Stored::parse(METADATA.as_bytes()) {
                stored.add_egg_requirements(&String::from_utf8_lossy(&bytes));
                let _ = stored.read();
            }
        }
    }
}
