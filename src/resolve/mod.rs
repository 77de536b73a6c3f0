//! Resolving: a definition's settings, an old lock and indexes make a new lock.
//!
//! A lock moves only when asked, and as little as possible: the old lock's versions are preferred, and the
//! evidence about an index stays as it is unless a pin taken from it moved. Each ecosystem resolves its share; one
//! that the definition asks the same of as before is not asked again.

mod base_image;
mod copies;
mod debian;
mod fetches;
mod languages;
mod local;
mod locator;
mod merge;
mod npm;
mod python;

pub use copies::copies;
pub use languages::Languages;
pub use local::changed as changed_local_packages;
pub use locator::{Locator, Places};

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::ecosystem::debian::archive::Suite;
use crate::ecosystem::debian::sources::Sources;
use crate::ecosystem::debian::universe::Universe;
use crate::ecosystem::origins::Origins;
use crate::error::{Context, Result};
use crate::lock::{Lockfile, REVISION, VERSION};
use crate::net::Client;
use crate::registry::Registry;
use crate::store::Store;
use crate::workspace::Settings;

/// The origin of files of the workspace.
const LOCAL: &str = "local";
/// The origin of what a definition names by its URL.
const URL: &str = "url";

/// Which pins of an old lock may move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moving {
    /// None, unless the definition forces it.
    Nothing,
    /// These packages', and those that they force.
    Named(BTreeSet<String>),
    /// All.
    Everything,
    /// One package's, to exactly this version.
    Precise { package: String, version: String },
}

impl Moving {
    /// What of it concerns Debian's packages: a single version may be another ecosystem's.
    fn of_debian(&self, old: Option<&Lockfile>) -> &Self {
        let Self::Precise { package, .. } = self else { return self };
        let named = |other: &&crate::lock::Package| other.name == *package;
        let mut known = old.into_iter().flat_map(|old| &old.packages).filter(named).peekable();
        let elsewhere = known.peek().is_some() && !known.any(|other| other.ecosystem == "debian");
        if elsewhere { &Self::Nothing } else { self }
    }
}

/// What resolving needs. What one environment has asked of the archives is there for the next.
#[derive(Debug)]
pub struct Resolver<'a> {
    /// The workspace's folder: keys and local packages are below it.
    root: &'a Path,
    store: &'a Store,
    client: &'a Client,
    sources: &'a Sources,
    registry: &'a Registry<'a>,
    languages: Languages<'a>,
    /// Seconds since 1970, for the expiry of signatures and indexes.
    now: u64,
    /// Suites fetched, by what was asked for.
    suites: Mutex<BTreeMap<Digest, Arc<Suite>>>,
    /// Indexes read, by platform and all that they were made of.
    universes: Mutex<BTreeMap<Digest, Arc<Universe>>>,
}

impl<'a> Resolver<'a> {
    pub fn new(
        root: &'a Path,
        store: &'a Store,
        client: &'a Client,
        sources: &'a Sources,
        registry: &'a Registry<'a>,
        origins: Origins,
        now: u64,
    ) -> Self {
        let languages = Languages::new(client, store, origins, now);
        let (suites, universes) = (Mutex::default(), Mutex::default());
        Self { root, store, client, sources, registry, languages, now, suites, universes }
    }

    /// The lock of the environment `name` under `settings`. With `anew`, everything is asked again, though pins stay:
    /// the old lock may not be what one resolution gave.
    pub fn lock(
        &self,
        name: &str,
        settings: &Settings,
        old: Option<&Lockfile>,
        moving: &Moving,
        anew: bool,
    ) -> Result<Lockfile> {
        self.resolve(name, settings, old, moving, anew).context(|| format!("locking `{name}`"))
    }

    fn resolve(
        &self,
        name: &str,
        settings: &Settings,
        old: Option<&Lockfile>,
        moving: &Moving,
        anew: bool,
    ) -> Result<Lockfile> {
        // What another kiln has locked for another format says the same of packages.
        let same = |old: &&Lockfile| !anew && *moving == Moving::Nothing && covers(old, settings);
        let kept = old.filter(same);
        let debian = match kept.filter(|old| old.environment.debian == settings.debian) {
            Some(old) => merge::Resolved { packages: of(old, "debian"), origins: old.origins.clone() },
            None if settings.base.is_some() => merge::Resolved { packages: Vec::new(), origins: Vec::new() },
            None => std::thread::scope(|scope| {
                if kept.is_none() {
                    scope.spawn(|| self.languages.prepare(settings));
                }
                self.debian(settings, old, moving.of_debian(old))
            })?,
        };
        let mut packages = debian.packages;
        let python = self.python(settings, &packages, old, kept, moving)?;
        let npm = self.npm(settings, &packages, old, kept, moving)?;
        packages.extend(python);
        packages.extend(npm);
        packages.extend(self.base_image(settings, old, moving)?);
        packages.extend(self.fetches(settings, old)?);
        let mut lockfile = Lockfile {
            version: VERSION,
            revision: REVISION,
            format: crate::FORMAT,
            environment: settings.clone(),
            origins: debian.origins,
            packages,
            local: copies(self.root, Some(self.store), settings)?,
            accounts: old.map(|old| old.accounts.clone()).unwrap_or_default(),
            outputs: old.map(|old| old.outputs.clone()).unwrap_or_default(),
        };
        lockfile.keep_platforms();
        lockfile.normalize();
        lockfile.drop_void_outputs(name);
        Ok(lockfile)
    }
}

/// Whether an old lock says something of every platform that is asked for.
fn covers(old: &Lockfile, settings: &Settings) -> bool {
    settings.platforms.iter().all(|platform| old.environment.platforms.contains(platform))
}

/// The packages of one ecosystem.
fn of(lockfile: &Lockfile, ecosystem: &str) -> Vec<crate::lock::Package> {
    lockfile.packages.iter().filter(|package| package.ecosystem == ecosystem).cloned().collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
