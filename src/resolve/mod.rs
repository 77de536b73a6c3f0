//! Resolving: a definition's settings, an old lock and indexes make a new lock.
//!
//! A lock moves only when asked, and as little as possible: the old lock's versions are preferred, and the
//! evidence about an index stays as it is unless a pin taken from it moved.

mod local;
mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

use rayon::prelude::*;

use crate::ecosystem::debian::archive::{self, Access, Exceptions, Keys, Suite, SuiteRequest};
use crate::ecosystem::debian::date;
use crate::ecosystem::debian::index::{self, Index};
use crate::ecosystem::debian::solver::{self, Chosen};
use crate::ecosystem::debian::sources::{Place, Sources};
use crate::ecosystem::debian::universe::Universe;
use crate::error::{Context, Error, Result};
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

/// What resolving needs. Indexes that one environment has asked for are there for the next.
#[derive(Debug)]
pub struct Resolver {
    /// The workspace's folder: keys and local packages are below it.
    pub root: PathBuf,
    pub store: Store,
    pub client: Client,
    pub sources: Sources,
    /// Seconds since 1970, for the expiry of signatures and indexes.
    pub now: u64,
}

impl Resolver {
    /// The lock of the environment `name` under `settings`.
    pub fn lock(&self, name: &str, settings: &Settings, old: Option<&Lockfile>, moving: &Moving) -> Result<Lockfile> {
        self.resolve(name, settings, old, moving).context(|| format!("locking `{name}`"))
    }

    fn resolve(&self, name: &str, settings: &Settings, old: Option<&Lockfile>, moving: &Moving) -> Result<Lockfile> {
        let requests = self.requests(settings)?;
        let suites = archive::fetch_suites(
            &Access {
                client: &self.client,
                store: &self.store,
                sources: &self.sources,
                now: self.now,
                on_event: &|_| {},
            },
            &requests,
        )?;
        let local = local::packages(&self.root, &self.store, &settings.debian.local)?;
        let solutions: BTreeMap<Platform, Vec<Chosen>> = settings
            .platforms
            .par_iter()
            .map(|platform| {
                let indexes = self.indexes(settings, &requests, &suites, &local, *platform)?;
                let chosen = solve(settings, *platform, indexes, &local, old, moving)
                    .context(|| format!("resolving for {platform}"))?;
                Ok((*platform, chosen))
            })
            .collect::<Result<_>>()?;
        merge::lockfile(name, settings, old, &requests, &suites, solutions)
    }

    /// Everything that one platform's packages may come from.
    fn indexes(
        &self,
        settings: &Settings,
        requests: &[SuiteRequest],
        suites: &[Suite],
        local: &[local::Local],
        platform: Platform,
    ) -> Result<Vec<Index>> {
        let mut indexes = Vec::new();
        for (request, suite) in requests.iter().zip(suites) {
            for found in &suite.indexes {
                if found.architecture != platform.architecture() && found.architecture != "all" {
                    continue;
                }
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
                    priority: settings
                        .debian
                        .source
                        .iter()
                        .find(|source| source.origin == request.origin && source.suite == request.suite)
                        .and_then(|source| source.priority),
                };
                // The label comes back with each chosen package: it says which suite it was taken from.
                indexes.push(Index::parse(
                    format!("{}/{}", request.origin, request.suite),
                    release,
                    found.bytes(&self.store)?.into_owned(),
                )?);
            }
        }
        if !local.is_empty() {
            let stanzas: Vec<&str> = local.iter().map(|local| local.stanza.as_str()).collect();
            let release = index::Release { origin: LOCAL.to_owned(), ..index::Release::default() };
            indexes.push(Index::parse(format!("{LOCAL}/workspace"), release, stanzas.join("\n").into_bytes())?);
        }
        Ok(indexes)
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
                exceptions: Exceptions { allow_expired: suite.allow_expired, allow_weak: false },
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
                exceptions: Exceptions { allow_expired: source.allow_expired, allow_weak: false },
            });
        }
        Ok(requests)
    }
}

fn solve(
    settings: &Settings,
    platform: Platform,
    indexes: Vec<Index>,
    local: &[local::Local],
    old: Option<&Lockfile>,
    moving: &Moving,
) -> Result<Vec<Chosen>> {
    let universe = Universe::new(platform.architecture(), indexes)?;
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
    // A local package is asked for by being named: exactly it.
    packages.extend(local.iter().map(|local| format!("{}={}", local.name, local.version)));
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
    let solution = solver::solve(&universe, &request)?;
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
            return Ok(vec![Request::new(&format!("file://{}", path.display()), size)?]);
        }
        let evidence = self.lockfile.origins.iter().find(|evidence| evidence.name == name && evidence.suite == suite);
        let date = evidence.and_then(|evidence| date::parse_snapshot(&evidence.date).ok()).unwrap_or(self.now);
        let places = self.places(name, suite)?;
        archive::artifact_candidates(self.sources, &places, name, path, size, date)
    }

    fn places(&self, name: &str, suite: &str) -> Result<Vec<Place>> {
        let mut known = self.places.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
