//! What a tree is made from, and what it is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ecosystem::npm::integrity::Integrity;
use crate::ecosystem::npm::packument::{Manifest, Packument};
use crate::ecosystem::npm::platform::{Engines, Platform};
use crate::ecosystem::npm::semver::Version;
use crate::error::Result;

/// Where the tree's builder learns of packages.
pub trait Index {
    /// All versions of a package. [`Kind::NotFound`](crate::error::Kind::NotFound) if there is no such package.
    fn packument(&self, name: &str) -> Result<Arc<Packument>>;

    /// The packages inside a package's tarball, those further out first.
    fn bundled(&self, manifest: &Manifest) -> Result<Vec<Bundled>>;

    /// Says that these names with these specifiers are wanted soon.
    fn prefetch(&self, wanted: &[(String, String)]);
}

/// A package that is inside another one's tarball.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundled {
    /// The names of the folders between it and the outer package.
    pub above: Vec<String>,
    /// The name of its folder.
    pub name: String,
    pub manifest: Manifest,
}

/// What is to be installed.
#[derive(Clone, Debug)]
pub struct Request {
    /// Specifiers by name.
    pub dependencies: BTreeMap<String, String>,
    /// npm's `overrides`.
    pub overrides: Map<String, Value>,
    pub platform: Platform,
    /// What versions are chosen for, like npm does: those that do not fit come last, and are no obstacle.
    pub engines: Engines,
    /// What an older lock has, by path: kept where it still satisfies what asks for it. Packages in the tarballs
    /// of others are not among them.
    pub preferred: BTreeMap<String, Pin>,
    /// Packages whose pins are not kept.
    pub moving: BTreeSet<String>,
}

/// A package as locked before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its name in the registry.
    pub name: String,
    pub version: Version,
}

/// A package and where it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Below the project: `node_modules/a/node_modules/b`.
    pub path: String,
    /// Its name in the registry, which differs from the folder's for an alias.
    pub name: String,
    pub version: Version,
    /// What the registry says that the tarball hashes to.
    pub integrity: Option<Integrity>,
    /// The tarball's address; empty if it is in the tarball of a package above it, or not known.
    pub tarball: String,
    /// Whether it is in the tarball of a package above it.
    pub bundled: bool,
    /// Whether everything that needs it can do without it.
    pub optional: bool,
    pub has_install_script: bool,
    /// Programs: the file of each, relative to the package.
    pub bin: BTreeMap<String, String>,
    /// The paths of what depends on it; empty text for the definition.
    pub required_by: Vec<String>,
    /// The specifier in the definition, if it is asked for there.
    pub requested: Option<String>,
    /// Why it should not be used any more.
    pub deprecated: Option<String>,
}

impl Placed {
    /// The last part of the tarball's address.
    pub fn file_name(&self) -> &str {
        let path = self.tarball.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }
}
