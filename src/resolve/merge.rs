//! The platforms' solutions of Debian's packages, made into one list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ecosystem::debian::archive::{Suite, SuiteRequest};
use crate::ecosystem::debian::date;
use crate::ecosystem::debian::solver::Chosen;
use crate::lock::{Artifact, Evidence, Lockfile, Package};
use crate::workspace::Platform;

/// Debian's share of a lock.
pub(super) struct Resolved {
    pub packages: Vec<Package>,
    pub origins: Vec<Evidence>,
}

/// Debian's share of the lock, keeping of `old` what still holds: observations and evidence.
pub(super) fn debian(
    old: Option<&Lockfile>,
    requests: &[SuiteRequest],
    suites: &[Arc<Suite>],
    solutions: BTreeMap<Platform, Vec<Chosen>>,
) -> Resolved {
    let mut packages: BTreeMap<(String, String, bool), Package> = BTreeMap::new();
    for (platform, chosen) in solutions {
        for chosen in chosen {
            let key = (chosen.package.name.clone(), chosen.package.version.clone(), chosen.base);
            let artifact = artifact(old, platform, &chosen);
            let package = packages.entry(key).or_insert_with(|| package(&chosen));
            package.required_by.extend(chosen.required_by);
            package.requested = package.requested.take().or(chosen.requested);
            package.artifacts.insert(platform, artifact);
        }
    }
    let packages: Vec<Package> = packages.into_values().collect();
    let origins = evidence(&packages, old, requests, suites);
    Resolved { packages, origins }
}

fn package(chosen: &Chosen) -> Package {
    Package {
        ecosystem: "debian".to_owned(),
        name: chosen.package.name.clone(),
        version: chosen.package.version.clone(),
        source: chosen.package.source.clone(),
        source_version: chosen.package.source_version.clone(),
        origin: chosen.index.clone(),
        base: chosen.base,
        requested: None,
        required_by: Vec::new(),
        build_for: Vec::new(),
        artifacts: BTreeMap::new(),
    }
}

/// The artifact, with what the old lock has seen of the same bytes.
fn artifact(old: Option<&Lockfile>, platform: Platform, chosen: &Chosen) -> Artifact {
    let known = old
        .into_iter()
        .flat_map(|old| &old.packages)
        .filter(|package| package.ecosystem == "debian" && package.name == chosen.package.name)
        .filter_map(|package| package.artifacts.get(&platform))
        .find(|artifact| artifact.sha256 == chosen.package.sha256);
    Artifact {
        size: chosen.package.size,
        architecture: chosen.package.architecture.clone(),
        scripts: known.and_then(|artifact| artifact.scripts),
        scripts_sha256: known.and_then(|artifact| artifact.scripts_sha256),
        licences: known.map(|artifact| artifact.licences.clone()).unwrap_or_default(),
        diversions: known.map(|artifact| artifact.diversions.clone()).unwrap_or_default(),
        ..Artifact::new(&chosen.package.filename, chosen.package.sha256)
    }
}

/// The evidence: new for a suite of which a pin moved, else what the old lock says.
fn evidence(
    new: &[Package],
    old: Option<&Lockfile>,
    requests: &[SuiteRequest],
    suites: &[Arc<Suite>],
) -> Vec<Evidence> {
    requests
        .iter()
        .zip(suites)
        .map(|(request, suite)| {
            let origin = format!("{}/{}", request.origin, request.suite);
            let fresh = Evidence {
                name: request.origin.clone(),
                suite: request.suite.clone(),
                date: date::rfc3339(suite.evidence.date),
                signed_index: suite.evidence.inrelease,
                keys: suite.evidence.fingerprints.clone(),
                exceptions: exceptions(request),
            };
            let known = old.and_then(|old| {
                old.origins.iter().find(|known| known.name == request.origin && known.suite == request.suite)
            });
            match (known, old) {
                (Some(known), Some(old)) if pins(&old.packages, &origin) == pins(new, &origin) => known.clone(),
                _ => fresh,
            }
        })
        .collect()
}

/// The checks that the definition waives.
fn exceptions(request: &SuiteRequest) -> Vec<String> {
    let waived = [(request.exceptions.allow_expired, "allow-expired"), (request.exceptions.allow_weak, "allow-weak")];
    waived.into_iter().filter(|(waived, _)| *waived).map(|(_, name)| name.to_owned()).collect()
}

/// What a lock takes from an origin.
fn pins<'l>(packages: &'l [Package], origin: &str) -> BTreeSet<(&'l str, Platform, crate::Digest)> {
    packages
        .iter()
        .filter(|package| package.origin == origin)
        .flat_map(|package| {
            package.artifacts.iter().map(|(platform, artifact)| (package.name.as_str(), *platform, artifact.sha256))
        })
        .collect()
}
