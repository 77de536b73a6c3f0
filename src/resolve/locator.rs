//! Where the artifacts of a lock may be had on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::base_image;
use super::fetches::origin_file;
use super::languages::Languages;
use super::python::LARGEST;
use super::{LOCAL, URL, lock};
use crate::ecosystem::debian::archive::{self, Access, Keys};
use crate::ecosystem::debian::date;
use crate::ecosystem::debian::sources::{Place, Sources};
use crate::ecosystem::npm::platform::Engines;
use crate::error::{Context, Error, Result};
use crate::lock::{Artifact, Blob, Lockfile, Package};
use crate::net::{Client, Request};
use crate::registry::Registry;
use crate::store::Store;
use crate::workspace::Workspace;

/// The addresses of origins that have been found.
#[derive(Debug, Default)]
pub struct Places(Mutex<BTreeMap<String, Vec<Place>>>);

/// Where artifacts of a lock may be had. The addresses of an origin are found once.
#[derive(Debug)]
pub struct Locator<'a> {
    pub workspace: &'a Workspace,
    pub store: &'a Store,
    pub client: &'a Client,
    pub sources: &'a Sources,
    pub registry: &'a Registry<'a>,
    pub languages: Languages<'a>,
    pub now: u64,
    pub lockfile: &'a Lockfile,
    pub places: Places,
}

impl Locator<'_> {
    /// Where to ask for an artifact of a package, in the order to try.
    pub fn candidates(&self, package: &Package, artifact: &Artifact) -> Result<Vec<Request>> {
        let (origin, path) = (package.origin.as_str(), artifact.path.as_str());
        let size = if artifact.size > 0 { artifact.size } else { LARGEST };
        let (name, suite) = origin.split_once('/').unwrap_or((origin, ""));
        if package.ecosystem == base_image::ECOSYSTEM {
            return Ok(vec![self.base_image(package)?.request(&artifact.sha256, true, size)?]);
        }
        if name == URL {
            return Ok(vec![Request::new(path, size)?]);
        }
        if name == LOCAL {
            let path = self.workspace.root.join(path);
            let address = url::Url::from_file_path(&path)
                .map_err(|()| Error::new(format!("{} is no absolute path", path.display())))?;
            return Ok(vec![Request::new(address.as_str(), size)?]);
        }
        match package.ecosystem.as_str() {
            "debian" => self.of_debian(name, suite, path, size),
            "pypi" => {
                let client = self.languages.pypi(BTreeSet::from([origin.to_owned()]))?;
                client.requests(&package.name.parse()?, origin, path, size)
            }
            "npm" => self.languages.npm(Engines::default())?.located(&package.name, path, size),
            _ => origin_file(&self.languages, origin, path),
        }
    }

    /// Where to ask for a blob that an artifact of a package names.
    pub fn blob_candidates(&self, package: &Package, blob: &Blob) -> Result<Vec<Request>> {
        Ok(vec![self.base_image(package)?.request(&blob.sha256, false, blob.size)?])
    }

    fn base_image(&self, package: &Package) -> Result<base_image::Place<'_>> {
        let asked = package.requested.as_deref().unwrap_or(&package.name);
        base_image::Place::parse(self.registry, &self.workspace.root, asked)
    }

    fn of_debian(&self, name: &str, suite: &str, path: &str, size: u64) -> Result<Vec<Request>> {
        let evidence = self.lockfile.origins.iter().find(|evidence| evidence.name == name && evidence.suite == suite);
        let date = evidence.and_then(|evidence| date::parse_snapshot(&evidence.date).ok()).unwrap_or(self.now);
        let places = self.places(name, suite)?;
        archive::artifact_candidates(self.sources, &places, name, path, size, date)
    }

    fn places(&self, name: &str, suite: &str) -> Result<Vec<Place>> {
        let mut known = lock(&self.places.0);
        let key = format!("{name}/{suite}");
        if let Some(places) = known.get(&key) {
            return Ok(places.clone());
        }
        let debian = &self.lockfile.environment.debian;
        let source = debian.source.iter().find(|source| source.origin == name && source.suite == suite);
        let keys = match source {
            None => Keys::Debian,
            Some(source) => Keys::Given(
                std::fs::read(self.workspace.root.join(&source.key))
                    .context(|| format!("reading the key of `{name}`"))?,
            ),
        };
        let access =
            Access { client: self.client, store: self.store, sources: self.sources, now: self.now, on_event: &|_| {} };
        let places = archive::artifact_places(&access, name, suite, &keys)?;
        known.insert(key, places.clone());
        Ok(places)
    }
}
