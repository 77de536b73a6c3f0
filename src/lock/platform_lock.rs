//! The platform lock: what one platform's image is a function of, in canonical JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::Lockfile;
use crate::canonical;
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::error::Result;
use crate::workspace::{Npm, Platform, Python, Settings, Step};

/// One platform's projection of a lockfile. Its canonical JSON is the last file of the image, and the
/// SHA-256 of that is what a build is keyed by. Evidence about indexes is not in it: the same content
/// from a later index is the same image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlatformLock {
    pub version: u32,
    pub format: u32,
    pub name: String,
    pub platform: Platform,
    pub environment: Settings,
    /// Sorted by name.
    pub packages: Vec<PlatformPackage>,
    /// What comes on top of the packages, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<PlatformStep>,
    /// The ids that users and groups have, once they have been seen.
    #[serde(default, skip_serializing_if = "Ids::is_empty")]
    pub accounts: Ids,
}

/// A package of a platform lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlatformPackage {
    pub ecosystem: String,
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub source: String,
    pub source_version: String,
    pub base: bool,
    pub sha256: Digest,
    /// Bytes, of Debian's packages: of others it may be unknown when they are locked, and shapes nothing.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub size: u64,
    /// Whether it is a source distribution, which is built in the sandbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub built: bool,
    /// Where npm packages are placed, below the prefix.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// The links to programs of npm packages, below the prefix, and where they lead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// Of an image: its configuration and its layers, the lowest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Digest>,
    /// The packages that it is only there to build.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_for: Vec<String>,
    /// The file's name, where it says what kind of archive it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A step of a platform lock: what it does, and the hash of what it takes. Where that comes from is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum PlatformStep {
    /// An archive or a file.
    Fetch {
        /// Its file name: it says which kind of archive it is.
        name: String,
        sha256: Digest,
        to: String,
        #[serde(default)]
        strip: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        select: Vec<String>,
        unpack: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
    },
    /// Files of the workspace: the hash is that of their list.
    Copy {
        sha256: Digest,
        to: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
    },
    /// A script.
    Run {
        script: String,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workdir: Option<String>,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_unknown(size: &u64) -> bool {
    *size == 0
}

impl PlatformLock {
    /// The projection of `lockfile`, the lockfile of the environment `name`, on `platform`.
    ///
    /// What does not shape the image of one platform is left out of the settings: the other platforms,
    /// the words that led to the packages, and where these come from.
    pub fn of(name: &str, lockfile: &Lockfile, platform: Platform) -> Self {
        let mut environment = lockfile.environment.clone();
        environment.platforms = vec![platform];
        environment.description.clear();
        environment.debian.packages.clear();
        environment.debian.local.clear();
        environment.debian.suites.clear();
        environment.debian.source.clear();
        environment.debian.snapshot = None;
        environment.steps.clear();
        environment.base = None;
        if let Some(python) = &mut environment.python {
            // Which files there are says everything, but for how they are placed.
            let (interpreter, compile) = (python.interpreter.take(), python.compile);
            *python = Python { interpreter, compile, index: "pypi".to_owned(), ..Python::default() };
        }
        if let Some(npm) = &mut environment.npm {
            let (prefix, scripts) = (std::mem::take(&mut npm.prefix), std::mem::take(&mut npm.scripts));
            *npm = Npm { prefix, scripts, ..Npm::default() };
        }
        let steps = lockfile.environment.steps.iter().filter(|step| step.is_for(platform));
        let steps = steps.filter_map(|step| platform_step(lockfile, step, platform)).collect();
        let packages = lockfile
            .packages
            .iter()
            .filter_map(|package| {
                let artifact = package.artifacts.get(&platform)?;
                // An image is what its manifest says, whatever it is called and where it is.
                let image = package.ecosystem == "image";
                let own = |text: &str| if image { String::new() } else { text.to_owned() };
                Some(PlatformPackage {
                    ecosystem: package.ecosystem.clone(),
                    name: own(&package.name),
                    version: own(&package.version),
                    architecture: artifact.architecture.clone(),
                    source: own(&package.source),
                    source_version: own(&package.source_version),
                    base: package.base,
                    sha256: artifact.sha256,
                    size: if package.ecosystem == "debian" { artifact.size } else { 0 },
                    built: artifact.built,
                    places: artifact.places.clone(),
                    links: artifact.links.clone(),
                    blobs: artifact.blobs.iter().map(|blob| blob.sha256).collect(),
                    build_for: package.build_for.clone(),
                    file: artifact.built.then(|| artifact.file_name().to_owned()),
                })
            })
            .collect();
        let accounts = lockfile.accounts.get(&platform).cloned().unwrap_or_default();
        let (version, format, name) = (1, lockfile.format, name.to_owned());
        Self { version, format, name, platform, environment, packages, steps, accounts }
    }

    /// Its bytes, as hashed and as baked in.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        canonical::to_vec(self)
    }

    /// The digest that a build is keyed by.
    pub fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&self.to_bytes()?))
    }
}

/// A step with the hash of what it takes; a lockfile that has been read has one for each.
pub(super) fn platform_step(lockfile: &Lockfile, step: &Step, platform: Platform) -> Option<PlatformStep> {
    Some(match step {
        Step::Fetch(fetch) => PlatformStep::Fetch {
            name: fetch.name().to_owned(),
            sha256: lockfile.fetched(fetch, platform)?.1.sha256,
            to: fetch.to.clone(),
            strip: fetch.strip,
            select: fetch.select.clone(),
            unpack: fetch.unpack.unwrap_or(true),
            mode: fetch.mode.clone(),
            owner: fetch.owner.clone(),
        },
        Step::Copy(copy) => PlatformStep::Copy {
            sha256: lockfile.copied(copy)?.sha256,
            to: copy.to.clone(),
            mode: copy.mode.clone(),
            owner: copy.owner.clone(),
        },
        Step::Run(run) => {
            PlatformStep::Run { script: run.script.clone(), env: run.env.clone(), workdir: run.workdir.clone() }
        }
    })
}
