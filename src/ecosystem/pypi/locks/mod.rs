//! Lockfiles of other tools: which version and which file of each project they pin for a target.
//!
//! Each kind has a module that takes its text. What a lock says is taken as it is: nothing is resolved anew. Only
//! files on servers can be used: a lock that names folders, repositories or paths is refused.

mod poetry;
mod pylock;
mod uv;

use std::collections::BTreeMap;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::MarkerTree;
use url::Url;

use super::filename::{Build, Filename};
use super::index::{File, FileKind, Index};
use super::name::Name;
use super::requirement::{check_readable, lenient_specifiers};
use super::tags::{Fit, Tags};
use super::target::Target;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::net::percent_decoded;

/// No lock is larger, in bytes.
const LARGEST: usize = 64 << 20;
/// No lock pins more packages.
const MOST_PACKAGES: usize = 100_000;

/// A kind of lockfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// `uv.lock`
    Uv,
    /// `pylock.toml` (PEP 751)
    Pylock,
    /// `poetry.lock`
    Poetry,
}

/// A project that a lock pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    pub name: Name,
    pub version: Version,
    pub file: LockedFile,
}

/// The file of it that is for the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedFile {
    pub filename: String,
    /// Where it is; poetry's locks do not say.
    pub url: Option<String>,
    /// Other hashes are not checked, so a lock may as well have none.
    pub sha256: Option<Digest>,
    /// In bytes.
    pub size: Option<u64>,
    pub kind: FileKind,
}

impl LockKind {
    /// The kind of the file with this name.
    pub fn of(filename: &str) -> Option<Self> {
        match filename {
            "uv.lock" => Some(Self::Uv),
            "poetry.lock" => Some(Self::Poetry),
            // PEP 751, "File Name"
            name if name == "pylock.toml" || (name.starts_with("pylock.") && name.ends_with(".toml")) => {
                Some(Self::Pylock)
            }
            _ => None,
        }
    }

    /// What a lock of this kind pins for a target, by name.
    pub fn parse(self, text: &str, target: &Target) -> Result<Vec<Locked>> {
        let (what, read): (_, Reader) = match self {
            Self::Uv => ("reading uv.lock", uv::parse),
            Self::Pylock => ("reading pylock.toml", pylock::parse),
            Self::Poetry => ("reading poetry.lock", poetry::parse),
        };
        let wrap = |error: Error| {
            let new = Error::new(what).kind(error.what());
            new.caused_by(error)
        };
        if text.len() > LARGEST {
            return Err(wrap(Error::new(format!("it has more than {LARGEST} bytes"))));
        }
        let mut locked = read(text, &Chooser { target, tags: Tags::of(target) }).map_err(wrap)?;
        locked.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(twice) = locked.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let [one, other] = twice else { return Ok(locked) };
            return Err(wrap(
                Error::no(format!("{} is pinned twice for {target}: {} and {}", one.name, one.version, other.version))
                    .hint("the lock is for several environments at once that this target cannot tell apart"),
            ));
        }
        Ok(locked)
    }
}

impl Locked {
    /// Its file with an address, for which an origin is asked if the lock has none.
    pub fn file(&self, index: &dyn Index, origin: &str) -> Result<File> {
        let LockedFile { filename, url, sha256, size, kind } = &self.file;
        if let Some(url) = url {
            let (filename, url) = (filename.clone(), url.clone());
            return Ok(File { filename, url, sha256: *sha256, size: *size, origin: None, kind: *kind });
        }
        let project = index.project(&self.name, origin)?;
        let release = project.versions().binary_search(&self.version).ok().map(|at| project.release(at));
        let mut files = release.into_iter().flat_map(|release| release.wheels.iter().chain(&release.sources));
        let listed = files.find(|listed| listed.name == *filename).ok_or_else(|| {
            Error::new(format!("the origin `{origin}` has no file `{filename}`"))
                .kind(Kind::NotFound)
                .hint("the lock was made with another index, or the file was removed from it")
        })?;
        if let (Some(expected), Some(found)) = (sha256, listed.sha256)
            && *expected != found
        {
            return Err(Error::new(format!(
                "the lock has sha256 {expected} for {filename}, the origin `{origin}` has {found}"
            ))
            .kind(Kind::Corrupt)
            .hint("one of them is not what its author made"));
        }
        let file = project.file(listed)?;
        Ok(File { sha256: sha256.or(file.sha256), ..file })
    }
}

/// Reads the text of a lock.
type Reader = fn(&str, &Chooser<'_>) -> Result<Vec<Locked>>;

/// A file that a lock offers for a package.
struct Offer {
    name: String,
    url: Option<String>,
    sha256: Option<Digest>,
    size: Option<u64>,
}

/// Chooses what is for a target.
struct Chooser<'a> {
    target: &'a Target,
    tags: Tags,
}

impl Chooser<'_> {
    /// The wheel that fits best, or else a source distribution.
    fn choose(&self, name: &Name, version: &Version, offers: Vec<Offer>) -> Result<Locked> {
        let mut best: Option<(Option<u32>, Option<Build>, Offer)> = None;
        for offer in offers {
            let Some(filename) = Filename::parse(&offer.name, name) else { continue };
            if !same_public(filename.version(), version) {
                return Err(Error::new(format!("{name} {version} has the file `{}`, of another version", offer.name))
                    .kind(Kind::Corrupt));
            }
            let rank = match &filename {
                Filename::Wheel(wheel) => match self.tags.fit(wheel) {
                    Fit::Fits(liking) => (Some(liking), wheel.build.clone()),
                    _ => continue,
                },
                Filename::Source(_) => (None, None),
            };
            if best.as_ref().is_none_or(|(liking, build, _)| (&rank.0, &rank.1) > (liking, build)) {
                best = Some((rank.0, rank.1, offer));
            }
        }
        let (liking, _, offer) = best.ok_or_else(|| {
            Error::no(format!("the lock has no file of {name} {version} for {}", self.target))
                .hint("lock it for this platform too, or choose another one")
        })?;
        let kind = if liking.is_some() { FileKind::Wheel } else { FileKind::Source };
        let Offer { name: filename, url, sha256, size } = offer;
        let file = LockedFile { filename, url, sha256, size, kind };
        Ok(Locked { name: name.clone(), version: version.clone(), file })
    }

    /// Whether a marker applies to the target, without extras.
    fn applies(&self, marker: Option<&str>) -> Result<bool> {
        let Some(marker) = marker.filter(|marker| !marker.trim().is_empty()) else { return Ok(true) };
        let wrong = |cause: String| {
            Error::new(format!("`{}` is no marker that is understood", shown(marker))).caused_by(Error::new(cause))
        };
        check_readable(marker).map_err(wrong)?;
        let tree = MarkerTree::from_str(marker)
            .map_err(|error| wrong(error.to_string().lines().next().unwrap_or_default().to_owned()))?;
        Ok(tree.evaluate(self.target.markers(), &[]))
    }

    /// Fails if the whole lock is for another Python.
    fn check_python(&self, requires: Option<&str>) -> Result<()> {
        let Some(requires) = requires.filter(|text| !text.trim().is_empty() && text.trim() != "*") else {
            return Ok(());
        };
        let specifiers: VersionSpecifiers = lenient_specifiers(requires)?;
        if specifiers.contains(&self.target.python().only_release()) {
            return Ok(());
        }
        Err(Error::no(format!("the lock is for Python {specifiers}, the target is {}", self.target))
            .hint("lock it for this Python too, or choose another one"))
    }
}

/// The file that an address or path ends in.
fn last_part(address: &str) -> String {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    percent_decoded(path.rsplit('/').next().unwrap_or(path))
}

/// The address of a file on a server, without a fragment; others are refused.
fn on_server(name: &Name, address: &str) -> Result<String> {
    let mut url = Url::parse(address).context(|| format!("reading an address of {name}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(Error::no(format!("the address `{}` of {name} cannot be locked", shown(url.scheme())))
            .hint("files are taken from http and https addresses without passwords"));
    }
    url.set_fragment(None);
    Ok(url.into())
}

/// The digest in `sha256:…`; `None` for other hashes.
fn sha256(text: &str) -> Result<Option<Digest>> {
    text.strip_prefix("sha256:").map(|digest| digest.to_ascii_lowercase().parse()).transpose()
}

/// The error for a package that is not a file on a server.
fn not_a_file(name: &Name, kind: &str) -> Error {
    Error::no(format!("the lock takes {} from a {}", name, shown(kind)))
        .hint("publish it as a wheel or source distribution, or copy its files with `[[copy]]`")
}

fn read_version(name: &Name, text: &str) -> Result<Version> {
    Version::from_str(text).context(|| format!("reading the version of {name}"))
}

fn same_public(one: &Version, other: &Version) -> bool {
    one.clone().without_local() == other.clone().without_local()
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(120).collect();
    short.escape_debug().to_string()
}

/// Hashes by their algorithms.
type Hashes = BTreeMap<String, String>;

#[cfg(test)]
mod tests;
