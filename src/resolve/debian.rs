//! Debian's packages: what apt would install, per platform.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::{LOCAL, Moving, Resolver, local, lock, merge};
use crate::canonical;
use crate::digest::Digest;
use crate::ecosystem::debian::archive::{self, Access, Exceptions, Keys, Suite, SuiteRequest};
use crate::ecosystem::debian::index::{self, Index};
use crate::ecosystem::debian::solver::{self, Chosen};
use crate::ecosystem::debian::universe::Universe;
use crate::error::{Context, Error, Kind, Result};
use crate::lock::Lockfile;
use crate::workspace::{Base, Platform, Settings};

impl Resolver<'_> {
    /// Resolves what the definition asks of Debian.
    pub(super) fn debian(
        &self,
        settings: &Settings,
        old: Option<&Lockfile>,
        moving: &Moving,
    ) -> Result<merge::Resolved> {
        let requests = self.requests(settings)?;
        let suites = self.suites(&requests)?;
        let local = local::packages(self.root, self.store, &settings.debian.local)?;
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
        Ok(merge::debian(old, &requests, &suites, solutions))
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
        let access =
            Access { client: self.client, store: self.store, sources: self.sources, now: self.now, on_event: &|_| {} };
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
        Index::parse(label, release, found.bytes(self.store)?.into_owned())
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
        if package.ecosystem == "debian" && package.artifacts.contains_key(&platform) {
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
        ))
        .hint(format!("ask for `{package}={version}` in the definition, and `kiln lock` says what is in its way")));
    }
    Ok(solution.packages)
}
