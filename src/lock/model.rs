//! What a lockfile says, as values, and reading it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::error::{Error, Kind, Result};
use crate::tables;
use crate::workspace::{Copy, Fetch, Platform, Settings, Step};

/// A lockfile. Lists are sorted, as [`Lockfile::normalize`] leaves them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lockfile {
    pub version: u32,
    pub revision: u32,
    /// The format ([`crate::FORMAT`]) that the outputs are made with.
    pub format: u32,
    /// The effective settings.
    pub environment: Settings,
    /// Where the pins come from.
    #[serde(default, rename = "origin")]
    pub origins: Vec<Evidence>,
    #[serde(default, rename = "package")]
    pub packages: Vec<Package>,
    /// The workspace's own files that the image holds.
    #[serde(default)]
    pub local: Vec<Local>,
    /// The ids of the users and groups that scripts have made, by platform: seen at the first build, kept from then on.
    #[serde(default)]
    pub accounts: BTreeMap<Platform, Ids>,
    /// What building gave.
    #[serde(default, rename = "output")]
    pub outputs: Vec<Output>,
}

/// A signed index that pins were taken from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Evidence {
    pub name: String,
    pub suite: String,
    /// Its `Date`, as `2026-11-15T09:42:10Z`.
    pub date: String,
    /// The SHA-256 of the signed file.
    pub signed_index: Digest,
    /// Fingerprints of the keys whose signatures on it are good.
    pub keys: Vec<String>,
    /// Exceptions of the definition that were needed to accept it.
    #[serde(default)]
    pub exceptions: Vec<String>,
}

/// A package at one version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Package {
    pub ecosystem: String,
    pub name: String,
    pub version: String,
    /// The source package, by which vulnerabilities are filed.
    pub source: String,
    pub source_version: String,
    /// The origin and suite, as `debian/trixie`.
    pub origin: String,
    /// Whether it belongs to the Essential set that the environment stands on.
    #[serde(default)]
    pub base: bool,
    /// The definition's words that ask for it.
    #[serde(default)]
    pub requested: Option<String>,
    /// The packages that need it, on any platform.
    #[serde(default)]
    pub required_by: Vec<String>,
    /// The packages that it is only there to build: it is not in the image.
    #[serde(default)]
    pub build_for: Vec<String>,
    /// What is fetched, by platform.
    pub artifacts: BTreeMap<Platform, Artifact>,
}

/// One downloaded file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Artifact {
    /// Where its origin keeps it; for a local file, where the workspace does.
    pub path: String,
    pub sha256: Digest,
    /// Bytes; 0 while it is not known: not every index says it, and it is seen when the artifact is first fetched.
    #[serde(default)]
    pub size: u64,
    /// The architecture it is for: the platform's, or `all`.
    pub architecture: String,
    /// Where npm packages are placed, below the prefix: `node_modules/a/node_modules/b`. Sorted.
    #[serde(default)]
    pub places: Vec<String>,
    /// The links to programs of npm packages, below the prefix, and where they lead.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Whether it is a source distribution, which is built in the sandbox.
    #[serde(default)]
    pub built: bool,
    /// Of an image: its configuration and its layers, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Blob>,
    /// Whether its scripts run, seen when it was first fetched.
    #[serde(default)]
    pub scripts: Option<Scripts>,
    /// The SHA-256 over its scripts, if it has any.
    #[serde(default)]
    pub scripts_sha256: Option<Digest>,
    /// The licences that its copyright file names.
    #[serde(default)]
    pub licences: BTreeSet<String>,
    /// The files that its scripts divert.
    #[serde(default)]
    pub diversions: BTreeSet<String>,
}

impl Artifact {
    /// An artifact for every architecture, of which nothing more is known.
    pub fn new(path: &str, sha256: Digest) -> Self {
        Self {
            path: path.to_owned(),
            sha256,
            size: 0,
            architecture: "all".to_owned(),
            places: Vec::new(),
            links: BTreeMap::new(),
            built: false,
            blobs: Vec::new(),
            scripts: None,
            scripts_sha256: None,
            licences: BTreeSet::new(),
            diversions: BTreeSet::new(),
        }
    }
}

impl Artifact {
    /// The name of the file, without folders and whatever else an address has.
    pub fn file_name(&self) -> &str {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }
}

/// Content that another artifact names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blob {
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

/// Files of the workspace, as a `[[copy]]` takes them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Local {
    /// The file or folder, relative to the workspace.
    pub from: String,
    /// The patterns of what stays out.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// The SHA-256 of the list of all files with their hashes.
    pub sha256: Digest,
    pub files: u64,
    /// Bytes of all files.
    pub size: u64,
}

/// What becomes of a package's scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scripts {
    /// It has none.
    None,
    /// They ran in the sandbox.
    Sandbox,
    /// It has some, and the definition accepts that they do not run.
    Unrun,
}

/// What building for one platform gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Output {
    pub platform: Platform,
    /// The digest of the [`super::PlatformLock`] it was made from.
    pub platform_lock: Digest,
    /// The digest of the image's manifest.
    pub image: Digest,
    /// Bytes of the manifest: with it, the index of all platforms is known wherever one of them is baked.
    #[serde(default)]
    pub manifest_size: Option<u64>,
    pub layers: Vec<LayerOutput>,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LayerOutput {
    /// What it holds, in a word or two.
    pub name: String,
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// The digest of the layer as stored.
    pub digest: Digest,
    /// Bytes of the layer as stored.
    pub size: u64,
}

/// The line of the first conflict marker, counted from 1. No line of a lockfile looks like one.
pub(super) fn first_marker(text: &str) -> Option<usize> {
    text.lines().position(|line| line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ")).map(|line| line + 1)
}

impl Lockfile {
    /// Reads a lockfile. A newer `version` is refused with both numbers; unknown keys of a newer
    /// `revision` are ignored.
    pub fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        if let Some(line) = first_marker(text) {
            return Err(Error::new(format!("it has git's conflict markers, the first in line {line}"))
                .kind(Kind::Corrupt)
                .hint("`kiln lock` takes the pins of both sides and resolves what they leave open"));
        }
        let found: Version = tables::from_str(text).map_err(|error| {
            Error::new("it has no `version`, so it is no lockfile of kiln's")
                .detail(error.to_string().trim_end())
                .hint("take it from git again (`git checkout -- FILE`), or remove it and run `kiln lock`")
        })?;
        if found.version != VERSION {
            return Err(Error::new(format!("its version is {}, this kiln knows version {VERSION}", found.version))
                .hint("use a newer kiln, or lock again with this one: remove the lockfile and run `kiln lock`"));
        }
        let damaged = |detail: String| {
            Error::new("it is damaged")
                .detail(detail)
                .kind(Kind::Corrupt)
                .hint("take it from git again (`git checkout -- FILE`), or remove it and run `kiln lock`")
        };
        // toml's own message spans several lines and shows the place.
        let lockfile: Self =
            tables::from_str(text).map_err(|error| damaged(error.to_string().trim_end().to_owned()))?;
        match lockfile.missing_input() {
            Some(input) => {
                Err(damaged(format!("its settings have `{input}`, and it does not say which bytes that is")))
            }
            None => Ok(lockfile),
        }
    }

    /// What a step takes that no row says the hash of.
    fn missing_input(&self) -> Option<&str> {
        if let Some(base) = &self.environment.base {
            let of_image = |package: &&Package| package.ecosystem == "image";
            let locked = self.packages.iter().find(of_image);
            let has = |platform| locked.is_some_and(|package| package.artifacts.contains_key(platform));
            if !self.environment.platforms.iter().all(has) {
                return Some(&base.image);
            }
        }
        self.environment.steps.iter().find_map(|step| match step {
            Step::Fetch(fetch) => {
                let mut platforms = self.environment.platforms.iter().filter(|platform| step.is_for(**platform));
                platforms.any(|platform| self.fetched(fetch, *platform).is_none()).then(|| fetch.place().1)
            }
            Step::Copy(copy) => self.copied(copy).is_none().then_some(copy.from.as_str()),
            Step::Run(_) => None,
        })
    }

    /// The package row of what a step fetches, and its artifact for `platform`.
    pub fn fetched(&self, fetch: &Fetch, platform: Platform) -> Option<(&Package, &Artifact)> {
        let (origin, path) = fetch.place();
        self.packages
            .iter()
            .filter(|package| package.ecosystem == "fetch" && package.origin == origin)
            .filter_map(|package| Some((package, package.artifacts.get(&platform)?)))
            .find(|(_, artifact)| artifact.path == path)
    }

    /// The row of what a step copies.
    pub fn copied(&self, copy: &Copy) -> Option<&Local> {
        self.local.iter().find(|local| local.from == copy.from && local.ignore == copy.ignore)
    }

    /// Sorts what has an order of its own.
    pub fn normalize(&mut self) {
        self.origins.sort();
        self.local.sort();
        self.local.dedup();
        for package in &mut self.packages {
            package.required_by.sort();
            package.required_by.dedup();
            package.build_for.sort();
            package.build_for.dedup();
        }
        self.packages.sort_by(|a, b| {
            (&a.ecosystem, &a.name, a.artifacts.keys().next(), &a.version, &a.build_for).cmp(&(
                &b.ecosystem,
                &b.name,
                b.artifacts.keys().next(),
                &b.version,
                &b.build_for,
            ))
        });
        self.outputs.sort_by_key(|output| output.platform);
    }

    /// The pinned output for `platform`, if it was made from the platform lock with that digest.
    pub fn output(&self, platform: Platform, platform_lock: &Digest) -> Option<&Output> {
        self.outputs.iter().find(|output| output.platform == platform && output.platform_lock == *platform_lock)
    }
}

impl Lockfile {
    /// Forgets what is for platforms that the settings no longer have.
    pub fn keep_platforms(&mut self) {
        let platforms = &self.environment.platforms;
        for package in &mut self.packages {
            package.artifacts.retain(|platform, _| platforms.contains(platform));
        }
        self.packages.retain(|package| !package.artifacts.is_empty());
        self.accounts.retain(|platform, _| platforms.contains(platform));
    }

    /// Forgets the outputs that were made from another platform lock than the present one of the
    /// environment `name`.
    pub fn drop_void_outputs(&mut self, name: &str) {
        let outputs = std::mem::take(&mut self.outputs);
        let valid = |output: &Output| {
            let lock = super::PlatformLock::of(name, self, output.platform);
            lock.digest().is_ok_and(|digest| digest == output.platform_lock)
        };
        self.outputs = outputs.into_iter().filter(|output| valid(output)).collect();
    }
}
