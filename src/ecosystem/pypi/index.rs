//! What the solver wants to know of an index, and the values it gets: projects, their versions, their files.
//!
//! The solver asks through the trait, so that tests can give it a world of their own; `client.rs` asks servers.

use std::fmt;
use std::sync::{Arc, OnceLock};

use pep440_rs::Version;
use url::Url;

use super::filename::Filename;
use super::listing::Listing;
use super::metadata::Metadata;
use super::name::Name;
use super::page::{self, Listed};
use crate::digest::Digest;
use crate::error::Result;

/// Where packages come from. Every answer is remembered: asking again costs nothing, and threads that ask for
/// the same thing at once share one answer.
pub trait Index: Sync {
    /// All that an origin has of a project. [`crate::error::Kind::NotFound`] if it does not know it.
    fn project(&self, name: &Name, origin: &str) -> Result<Arc<Project>>;

    /// What a file of a project says of itself. [`crate::error::Kind::Corrupt`] if that cannot be used.
    fn metadata(&self, project: &Project, file: &Listed) -> Result<Arc<Metadata>>;

    /// The file at an address (`name @ https://…`).
    fn direct(&self, name: &Name, url: &Url) -> Result<Arc<Direct>>;
}

/// A project's files by version. What a version has is read when it is looked at: most never are.
#[derive(Debug)]
pub struct Project {
    pub name: Name,
    pub origin: String,
    base: Url,
    /// Ascending.
    versions: Vec<Version>,
    listing: Listing,
    releases: Vec<OnceLock<Release>>,
}

/// The files of one version, in the page's order.
#[derive(Clone, Debug, Default)]
pub struct Release {
    pub wheels: Vec<Listed>,
    pub sources: Vec<Listed>,
}

/// A file at an address that somebody named.
#[derive(Clone, Debug)]
pub struct Direct {
    pub filename: Filename,
    pub file: File,
    pub metadata: Arc<Metadata>,
}

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub filename: String,
    /// With whatever query the index gave; without user and password.
    pub url: String,
    /// Not every index gives it.
    pub sha256: Option<Digest>,
    /// In bytes, where the index says so.
    pub size: Option<u64>,
    /// The origin that listed it; `None` for one by address.
    pub origin: Option<String>,
    pub kind: FileKind,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    Wheel,
    /// A source distribution: it has to be built.
    Source,
}

impl FileKind {
    /// What the file with this name is.
    pub fn of(filename: &Filename) -> Self {
        match filename {
            Filename::Wheel(_) => Self::Wheel,
            Filename::Source(_) => Self::Source,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Wheel => "wheel",
            Self::Source => "source distribution",
        })
    }
}

impl Project {
    /// The project that a listing describes.
    pub fn new(name: Name, origin: String, listing: Listing) -> Result<Self> {
        let base = Url::parse(listing.base())?;
        let versions = listing.versions()?;
        let releases = versions.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { name, origin, base, versions, listing, releases })
    }

    /// Its versions, ascending.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// What the version at a place among the versions has.
    pub fn release(&self, at: usize) -> &Release {
        self.releases[at].get_or_init(|| {
            let mut release = Release::default();
            for listed in self.listing.files(at, &self.name) {
                match &listed.filename {
                    Filename::Wheel(_) => release.wheels.push(listed),
                    Filename::Source(_) => release.sources.push(listed),
                }
            }
            release
        })
    }

    /// The address of one of its files.
    pub fn address(&self, listed: &Listed) -> Result<Url> {
        page::address(&self.base, &listed.href)
    }

    /// One of its files, to be fetched.
    pub fn file(&self, listed: &Listed) -> Result<File> {
        let mut url = self.address(listed)?;
        // They fail for URLs only that can hold neither.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_fragment(None);
        Ok(File {
            filename: listed.name.clone(),
            url: url.into(),
            sha256: listed.sha256,
            size: listed.size,
            origin: Some(self.origin.clone()),
            kind: FileKind::of(&listed.filename),
        })
    }
}
