//! The platform lock: what one platform's image is a function of, in canonical JSON.

use serde::{Deserialize, Serialize};

use super::model::Lockfile;
use crate::canonical;
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::error::Result;
use crate::workspace::{Platform, Settings};

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
    pub size: u64,
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
        let packages = lockfile
            .packages
            .iter()
            .filter_map(|package| {
                let artifact = package.artifacts.get(&platform)?;
                Some(PlatformPackage {
                    ecosystem: package.ecosystem.clone(),
                    name: package.name.clone(),
                    version: package.version.clone(),
                    architecture: artifact.architecture.clone(),
                    source: package.source.clone(),
                    source_version: package.source_version.clone(),
                    base: package.base,
                    sha256: artifact.sha256,
                    size: artifact.size,
                })
            })
            .collect();
        let accounts = lockfile.accounts.get(&platform).cloned().unwrap_or_default();
        Self { version: 1, format: lockfile.format, name: name.to_owned(), platform, environment, packages, accounts }
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
