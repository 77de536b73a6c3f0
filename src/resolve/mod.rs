//! Resolving: a definition's settings, an old lock and indexes make a new lock.
//!
//! A lock moves only when asked, and as little as possible: the old lock's versions are preferred, and the
//! evidence about an index stays as it is unless a pin taken from it moved.

mod local;
mod merge;

pub use local::changed as changed_local_packages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use crate::canonical;
use crate::digest::Digest;
use crate::ecosystem::debian::archive::{self, Access, Exceptions, Keys, Suite, SuiteRequest};
use crate::ecosystem::debian::date;
use crate::ecosystem::debian::index::{self, Index};
use crate::ecosystem::debian::solver::{self, Chosen};
use crate::ecosystem::debian::sources::{Place, Sources};
use crate::ecosystem::debian::universe::Universe;
use crate::error::{Context, Error, Kind, Result};
use crate::lock::Lockfile;
use crate::net::{Client, Request};
use crate::store::Store;
use crate::workspace::{Base, Platform, Settings, Workspace};

/// The origin of `.deb` files of the workspace.
const LOCAL: &str = "local";

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

/// What resolving needs. What one environment has asked of the archives is there for the next.
#[derive(Debug)]
pub struct Resolver {
    /// The workspace's folder: keys and local packages are below it.
    root: PathBuf,
    store: Store,
    client: Client,
    sources: Sources,
    /// Seconds since 1970, for the expiry of signatures and indexes.
    now: u64,
    /// Suites fetched, by what was asked for.
    suites: Mutex<BTreeMap<Digest, Arc<Suite>>>,
    /// Indexes read, by platform and all that they were made of.
    universes: Mutex<BTreeMap<Digest, Arc<Universe>>>,
}

impl Resolver {
    pub fn new(root: PathBuf, store: Store, client: Client, sources: Sources, now: u64) -> Self {
        Self { root, store, client, sources, now, suites: Mutex::default(), universes: Mutex::default() }
    }

    /// The lock of the environment `name` under `settings`.
    pub fn lock(&self, name: &str, settings: &Settings, old: Option<&Lockfile>, moving: &Moving) -> Result<Lockfile> {
        self.resolve(name, settings, old, moving).context(|| format!("locking `{name}`"))
    }

    fn resolve(&self, name: &str, settings: &Settings, old: Option<&Lockfile>, moving: &Moving) -> Result<Lockfile> {
        let requests = self.requests(settings)?;
        let suites = self.suites(&requests)?;
        let local = local::packages(&self.root, &self.store, &settings.debian.local)?;
        let solutions: BTreeMap<Platform, Vec<Chosen>> = settings
            .platforms
            .par_iter()
            .map(|platform| {
                let chosen = self
                    .universe(settings, &requests, &suites, &local, *platform)
                    .and_then(|universe| solve(settings, *platform, &universe, &local, old, moving))
                    .context(|| format!("resolving for {platform}"))?;
                Ok((*platform, chosen))
            })
            .collect::<Result<_>>()?;
        merge::lockfile(name, settings, old, &requests, &suites, solutions)
    }

    /// The suites asked for, each fetched once.
    fn suites(&self, requests: &[SuiteRequest]) -> Result<Vec<Arc<Suite>>> {
        let keys = requests.iter().map(request_key).collect::<Result<Vec<Digest>>>()?;
        let mut missing: Vec<(Digest, SuiteRequest)> = Vec::new();
        for (key, request) in keys.iter().zip(requests) {
            if !lock(&self.suites).contains_key(key) && !missing.iter().any(|(other, _)| other == key) {
                missing.push((*key, request.clone()));
            }
        }
        let access = Access {
            client: &self.client,
            store: &self.store,
            sources: &self.sources,
            now: self.now,
            on_event: &|_| {},
        };
        let (missing, asked): (Vec<Digest>, Vec<SuiteRequest>) = missing.into_iter().unzip();
        let fetched = archive::fetch_suites(&access, &asked)?;
        let mut known = lock(&self.suites);
        known.extend(missing.into_iter().zip(fetched.into_iter().map(Arc::new)));
        Ok(keys.iter().map(|key| Arc::clone(&known[key])).collect())
    }

    /// Everything that one platform's packages may come from.
    fn universe(
        &self,
        settings: &Settings,
        requests: &[SuiteRequest],
        suites: &[Arc<Suite>],
        local: &[local::Local],
        platform: Platform,
    ) -> Result<Arc<Universe>> {
        let priority = |request: &SuiteRequest| {
            let mut sources = settings.debian.source.iter();
            sources
                .find(|source| source.origin == request.origin && source.suite == request.suite)
                .and_then(|source| source.priority)
        };
        let made_of = requests
            .iter()
            .map(|request| Ok((request_key(request)?, priority(request))))
            .collect::<Result<Vec<(Digest, Option<i32>)>>>()?;
        let stanzas: Vec<&str> = local.iter().map(|local| local.stanza.as_str()).collect();
        let key = Digest::of(&canonical::to_vec(&(platform, &made_of, &stanzas))?);
        if let Some(universe) = lock(&self.universes).get(&key) {
            return Ok(Arc::clone(universe));
        }
        let mut indexes = Vec::new();
        for ((request, suite), (_, priority)) in requests.iter().zip(suites).zip(made_of) {
            for found in &suite.indexes {
                if found.architecture == platform.architecture() || found.architecture == "all" {
                    indexes.push(self.index(request, suite, found, priority)?);
                }
            }
        }
        if !stanzas.is_empty() {
            let release = index::Release { origin: LOCAL.to_owned(), ..index::Release::default() };
            indexes.push(Index::parse(format!("{LOCAL}/workspace"), release, stanzas.join("\n").into_bytes())?);
        }
        let universe = Arc::new(Universe::new(platform.architecture(), indexes)?);
        lock(&self.universes).insert(key, Arc::clone(&universe));
        Ok(universe)
    }

    fn index(
        &self,
        request: &SuiteRequest,
        suite: &Suite,
        found: &archive::Index,
        priority: Option<i32>,
    ) -> Result<Index> {
        let release = index::Release {
            origin: request.origin.clone(),
            suite: suite.release.suite.clone().unwrap_or_default(),
            codename: suite.release.codename.clone().unwrap_or_default(),
            label: suite.release.label.clone().unwrap_or_default(),
            vendor: suite.release.origin.clone().unwrap_or_default(),
            version: suite.release.version.clone().unwrap_or_default(),
            component: found.component.clone(),
            not_automatic: suite.release.not_automatic,
            but_automatic_upgrades: suite.release.but_automatic_upgrades,
            priority,
        };
        // The label comes back with each chosen package: it says which suite it was taken from.
        let label = format!("{}/{}", request.origin, request.suite);
        Index::parse(label, release, found.bytes(&self.store)?.into_owned())
    }

    /// Which suites to ask for: Debian's own, then the definition's other sources.
    fn requests(&self, settings: &Settings) -> Result<Vec<SuiteRequest>> {
        let debian = &settings.debian;
        let architectures: Vec<String> =
            settings.platforms.iter().map(|platform| platform.architecture().to_owned()).collect();
        let mut requests: Vec<SuiteRequest> = debian
            .suites
            .iter()
            .map(|suite| SuiteRequest {
                origin: suite.origin.clone(),
                suite: suite.name.clone(),
                components: suite.components.clone(),
                architectures: architectures.clone(),
                keys: Keys::Debian,
                snapshot: debian.snapshot.clone(),
                exceptions: Exceptions { allow_expired: suite.allow_expired, allow_weak: suite.allow_weak },
            })
            .collect();
        for source in &debian.source {
            let path = self.root.join(&source.key);
            let key = std::fs::read(&path)
                .context(|| format!("reading the key of `{}`, {}", source.origin, path.display()))?;
            requests.push(SuiteRequest {
                origin: source.origin.clone(),
                suite: source.suite.clone(),
                components: source.components.clone(),
                architectures: architectures.clone(),
                keys: Keys::Given(key),
                snapshot: None,
                exceptions: Exceptions { allow_expired: source.allow_expired, allow_weak: source.allow_weak },
            });
        }
        Ok(requests)
    }
}

/// What a suite depends on.
fn request_key(request: &SuiteRequest) -> Result<Digest> {
    let keys = match &request.keys {
        Keys::Debian => None,
        Keys::Given(bytes) => Some(Digest::of(bytes)),
    };
    Ok(Digest::of(&canonical::to_vec(&(
        &request.origin,
        &request.suite,
        &request.components,
        &request.architectures,
        keys,
        &request.snapshot,
        (request.exceptions.allow_expired, request.exceptions.allow_weak),
    ))?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn solve(
    settings: &Settings,
    platform: Platform,
    universe: &Universe,
    local: &[local::Local],
    old: Option<&Lockfile>,
    moving: &Moving,
) -> Result<Vec<Chosen>> {
    let mut preferred: BTreeMap<String, String> = BTreeMap::new();
    for package in old.map(|old| old.packages.as_slice()).unwrap_or_default() {
        if package.artifacts.contains_key(&platform) {
            preferred.insert(package.name.clone(), package.version.clone());
        }
    }
    let moving_names = match moving {
        Moving::Nothing => solver::Moving::Nothing,
        Moving::Everything => solver::Moving::Everything,
        Moving::Named(names) => solver::Moving::Named(names.clone()),
        Moving::Precise { package, version } => {
            if !universe.versions_of(package).contains(&version.as_str()) {
                return Err(Error::no(format!("`{package}` {version} is in none of the environment's suites"))
                    .hint(format!("there are: {}", universe.versions_of(package).join(", "))));
            }
            preferred.insert(package.clone(), version.clone());
            solver::Moving::Nothing
        }
    };
    let mut packages = settings.debian.packages.clone();
    packages.extend(local::wanted(local, platform));
    let request = solver::Request {
        architecture: platform.architecture().to_owned(),
        base: match settings.debian.base {
            Base::Essential => solver::Base::Essential,
            Base::None => solver::Base::None,
        },
        packages,
        preferred,
        moving: moving_names,
    };
    let solution = solver::solve(universe, &request).map_err(|error| match error.what() {
        // That a package does not exist is an answer: the definition cannot be satisfied.
        Kind::NotFound => error.kind(Kind::No),
        _ => error,
    })?;
    if let Moving::Precise { package, version } = moving
        && !solution.packages.iter().any(|chosen| chosen.package.name == *package && chosen.package.version == *version)
    {
        return Err(Error::no(format!(
            "`{package}` cannot be {version} together with everything else that is asked for"
        )));
    }
    Ok(solution.packages)
}

/// Where artifacts of a lock may be had. The addresses of an origin are found once.
#[derive(Debug)]
pub struct Locator<'a> {
    pub workspace: &'a Workspace,
    pub store: &'a Store,
    pub client: &'a Client,
    pub sources: &'a Sources,
    pub now: u64,
    pub lockfile: &'a Lockfile,
    places: Mutex<BTreeMap<String, Vec<Place>>>,
}

impl<'a> Locator<'a> {
    pub fn new(
        workspace: &'a Workspace,
        store: &'a Store,
        client: &'a Client,
        sources: &'a Sources,
        now: u64,
        lockfile: &'a Lockfile,
    ) -> Self {
        Self { workspace, store, client, sources, now, lockfile, places: Mutex::default() }
    }

    /// Where to ask for the artifact at `path` of `origin` (`debian/trixie`), in the order to try.
    pub fn candidates(&self, origin: &str, path: &str, size: u64) -> Result<Vec<Request>> {
        let (name, suite) = origin.split_once('/').unwrap_or((origin, ""));
        if name == LOCAL {
            let path = self.workspace.root.join(path);
            let address = url::Url::from_file_path(&path)
                .map_err(|()| Error::new(format!("{} is no absolute path", path.display())))?;
            return Ok(vec![Request::new(address.as_str(), size)?]);
        }
        let evidence = self.lockfile.origins.iter().find(|evidence| evidence.name == name && evidence.suite == suite);
        let date = evidence.and_then(|evidence| date::parse_snapshot(&evidence.date).ok()).unwrap_or(self.now);
        let places = self.places(name, suite)?;
        archive::artifact_candidates(self.sources, &places, name, path, size, date)
    }

    fn places(&self, name: &str, suite: &str) -> Result<Vec<Place>> {
        let mut known = lock(&self.places);
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
