//! File names of wheels and source distributions. Knows nothing of indexes or machines.

use std::fmt;
use std::str::FromStr;

use pep440_rs::Version;

use super::name::Name;
use crate::error::{Context, Error, Result};

/// No file name is longer, in bytes.
const LONGEST: usize = 400;

/// What a file is and of which version, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filename {
    Wheel(Wheel),
    Source(Source),
}

/// A wheel's name (PEP 427; the binary distribution format).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wheel {
    pub name: Name,
    pub version: Version,
    /// Breaks ties between wheels that are alike otherwise: more is better.
    pub build: Option<Build>,
    /// The three groups of tags: `py3-none-any`, each perhaps several joined by `.`.
    tags: String,
}

/// A source distribution's name (PEP 625, and what was usual before it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub name: Name,
    pub version: Version,
    pub archive: Archive,
}

/// A wheel's build number and what follows it.
pub type Build = (u64, String);

/// How a source distribution is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    TarGz,
    Zip,
}

impl Filename {
    /// Reads the name of a file that an index lists for `project`. `None` for what is no wheel or source
    /// distribution of it that can be used: installers, other archives, other projects, versions that
    /// PEP 440 does not know.
    pub fn parse(text: &str, project: &Name) -> Option<Self> {
        Self::parse_with(text, project, &mut Versions::default())
    }

    /// The same for many files of a project, which share versions.
    pub(super) fn parse_with(text: &str, project: &Name, versions: &mut Versions) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        if text.ends_with(".whl") {
            let (parts, build) = Wheel::parts(text).ok().filter(|(parts, _)| project.is(parts[0]))?;
            let version = versions.read(parts[1]).ok()?;
            let tags = parts[parts.len() - 3..].join("-");
            return Some(Self::Wheel(Wheel { name: project.clone(), version, build, tags }));
        }
        Source::parse_with(text, project, versions).map(Self::Source)
    }

    /// The version in it.
    pub fn version(&self) -> &Version {
        match self {
            Self::Wheel(wheel) => &wheel.version,
            Self::Source(source) => &source.version,
        }
    }
}

impl Wheel {
    /// The tags for the interpreter, its binary interface and the platform.
    pub fn tags(&self) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
        let mut groups = self.tags.split('-').map(|group| group.split('.').collect());
        (groups.next().unwrap_or_default(), groups.next().unwrap_or_default(), groups.next().unwrap_or_default())
    }
}

impl FromStr for Wheel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let what = || format!("`{}` is not the name of a wheel", text.escape_debug());
        let (parts, build) = Self::parts(text).map_err(|why| Error::new(format!("{}: {why}", what())))?;
        Ok(Self {
            name: parts[0].parse().context(what)?,
            version: Version::from_str(parts[1]).context(what)?,
            build,
            tags: parts[parts.len() - 3..].join("-"),
        })
    }
}

impl Wheel {
    /// The parts of a name, five or six, and the build number among them; or what is wrong with it.
    fn parts(text: &str) -> std::result::Result<(Vec<&str>, Option<Build>), &'static str> {
        let stem = text.strip_suffix(".whl").ok_or("it does not end in `.whl`")?;
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/\\".contains(&byte)) {
            return Err("it is too long or has characters that no file name has");
        }
        let parts: Vec<&str> = stem.split('-').collect();
        let build = match parts.len() {
            5 => None,
            6 => Some(build(parts[2]).ok_or("its build number does not begin with a digit")?),
            _ => return Err("it should have five or six parts, separated by `-`"),
        };
        if parts[parts.len() - 3..].iter().any(|group| group.split('.').any(str::is_empty)) {
            return Err("one of its tags is empty");
        }
        Ok((parts, build))
    }
}

/// Versions by their texts: reading one takes longer than finding it.
#[derive(Debug, Default)]
pub(super) struct Versions {
    last: Option<(String, Version)>,
}

impl Versions {
    fn read(&mut self, text: &str) -> std::result::Result<Version, pep440_rs::VersionParseError> {
        if let Some((known, version)) = &self.last
            && known == text
        {
            return Ok(version.clone());
        }
        let version = Version::from_str(text)?;
        self.last = Some((text.to_owned(), version.clone()));
        Ok(version)
    }
}

fn build(text: &str) -> Option<Build> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, text[digits..].to_owned()))
}

impl Source {
    /// Reads the name of a source distribution of `project`, which decides where its name ends.
    pub fn parse(text: &str, project: &Name) -> Option<Self> {
        Self::parse_with(text, project, &mut Versions::default())
    }

    fn parse_with(text: &str, project: &Name, versions: &mut Versions) -> Option<Self> {
        let (stem, archive) = Archive::ALL.into_iter().find_map(|archive| {
            archive.suffixes().iter().find_map(|suffix| Some((text.strip_suffix(suffix)?, archive)))
        })?;
        let (name, rest) = stem.split_at_checked(project.as_str().len())?;
        let version = rest.strip_prefix('-').filter(|_| project.is(name))?;
        let (name, version) = (project.clone(), versions.read(version).ok()?);
        Some(Self { name, version, archive })
    }
}

impl Archive {
    const ALL: [Self; 2] = [Self::TarGz, Self::Zip];

    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::TarGz => &[".tar.gz", ".tgz"],
            Self::Zip => &[".zip"],
        }
    }
}

impl fmt::Display for Wheel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} ({})", self.name, self.version, self.tags)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn wheels_are_read() {
        let wheel: Wheel = "Foo_bar-1.0-2b-cp312-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl".parse().unwrap();
        assert_eq!((wheel.name.as_str(), wheel.version.to_string().as_str()), ("foo-bar", "1.0"));
        assert_eq!(wheel.build, Some((2, "b".to_owned())));
        let (python, abi, platform) = wheel.tags();
        assert_eq!((python, abi), (vec!["cp312"], vec!["abi3"]));
        assert_eq!(platform, ["manylinux_2_17_x86_64", "manylinux2014_x86_64"]);
        for wrong in
            ["a-1.whl", "a-1-b-c-d-e.whl", "a-1-py3-none-.whl", "a-x-py3-none-any.whl", "../a-1-py3-none-any.whl"]
        {
            assert!(wrong.parse::<Wheel>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sources_are_read_by_their_project() {
        let read = |text, project| Source::parse(text, &name(project)).map(|source| source.version.to_string());
        assert_eq!(read("zope.interface-5.0.tar.gz", "zope-interface").as_deref(), Some("5.0"));
        assert_eq!(read("python-dateutil-2.8.2.zip", "python-dateutil").as_deref(), Some("2.8.2"));
        assert_eq!(read("foo-1.0-1.tgz", "foo").as_deref(), Some("1.0.post1"));
        for (text, project) in
            [("foo-1.0.tar.bz2", "foo"), ("foo-bar-1.0.tar.gz", "foo"), ("foo.tar.gz", "foo"), ("é-1.tar.gz", "a")]
        {
            assert_eq!(read(text, project), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_it_panic(text in "\\PC{0,40}(\\.whl|\\.tar\\.gz|\\.zip)?") {
            let _ = Filename::parse(&text, &name("a-b"));
        }

        #[test]
        fn what_is_read_was_written(version in "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}", abi in "[a-z0-9]{1,8}") {
            let text = format!("a_b-{version}-py3-{abi}-any.whl");
            let wheel: Wheel = text.parse().unwrap();
            prop_assert_eq!(wheel.version, Version::from_str(&version).unwrap());
            prop_assert_eq!(wheel.tags, format!("py3-{abi}-any"));
        }
    }
}
