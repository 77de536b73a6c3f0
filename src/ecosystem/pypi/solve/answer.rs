//! From the search's decisions to the solution: files, and who requires what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pep440_rs::Version;

use super::package::Package;
use super::search::Search;
use super::{Pin, Solution};
use crate::ecosystem::pypi::index::File;
use crate::ecosystem::pypi::metadata::{Basis, Metadata};
use crate::ecosystem::pypi::name::Name;
use crate::error::{Context, Error, Result};

/// The solution that these decisions are.
pub(super) fn answer(search: &Search<'_>, chosen: &[(Package, Version)]) -> Result<Solution> {
    let mut versions: BTreeMap<&Name, &Version> = BTreeMap::new();
    let mut extras: BTreeMap<&Name, BTreeSet<Name>> = BTreeMap::new();
    for (package, version) in chosen {
        if let Package::Project { name, extra, .. } = package {
            versions.insert(name, version);
            extras.entry(name).or_default().extend(extra.clone());
        }
    }
    let mut solution = Solution::default();
    let mut required_by: BTreeMap<Name, BTreeSet<Name>> = BTreeMap::new();
    for (name, version) in &versions {
        let metadata =
            search.metadata(name, version)?.map_err(|reason| Error::new(format!("{name} {version} {reason}")))?;
        let extras = extras.remove(*name).unwrap_or_default();
        for extra in std::iter::once(None).chain(extras.iter().map(Some)) {
            for requirement in search.required(&metadata, extra) {
                if requirement.name != **name {
                    required_by.entry(requirement.name).or_default().insert((*name).clone());
                }
            }
        }
        let pin = pin(search, name, version, extras, &metadata)?;
        note(&mut solution.notes, &pin, &metadata);
        solution.packages.insert((*name).clone(), pin);
    }
    for (name, by) in required_by {
        if let Some(pin) = solution.packages.get_mut(&name) {
            pin.required_by = by;
        }
    }
    Ok(solution)
}

fn pin(
    search: &Search<'_>,
    name: &Name,
    version: &Version,
    extras: BTreeSet<Name>,
    metadata: &Arc<Metadata>,
) -> Result<Pin> {
    let request = search.universe.request;
    let asks = request
        .requirements
        .iter()
        .filter(|requirement| requirement.name == *name && requirement.applies(&request.target, &[]));
    let (file, yanked) = file(search, name, version)?;
    Ok(Pin {
        name: name.clone(),
        version: version.clone(),
        extras,
        asked: asks.map(|requirement| requirement.text().to_owned()).collect(),
        required_by: BTreeSet::new(),
        file,
        basis: metadata.basis,
        yanked,
    })
}

fn file(search: &Search<'_>, name: &Name, version: &Version) -> Result<(File, Option<String>)> {
    if let Some(direct) = search.addresses.get(name) {
        return Ok((direct.file.clone(), None));
    }
    let what = || format!("{name} {version} was chosen and has no file: kiln has a defect");
    let candidates = search.universe.candidates(name)?.context(what)?;
    let at = candidates.versions.binary_search(version).ok().context(what)?;
    let listed = search.universe.file(&candidates, at).context(what)?;
    Ok((candidates.project.file(listed)?, listed.yanked.clone()))
}

fn note(notes: &mut Vec<String>, pin: &Pin, metadata: &Metadata) {
    let (name, version) = (&pin.name, &pin.version);
    for extra in pin.extras.iter().filter(|extra| !metadata.extras.contains(*extra)) {
        notes.push(format!("{name} {version} has no extra `{extra}`"));
    }
    if let Some(reason) = &pin.yanked {
        let reason: String = reason.trim().chars().take(120).collect();
        let because = if reason.is_empty() { String::new() } else { format!(": {}", reason.escape_debug()) };
        notes.push(format!("{name} {version} was yanked{because}"));
    }
    if metadata.basis == Basis::Guessed {
        notes.push(format!(
            "what {name} {version} requires is known from its source distribution only, not from a build"
        ));
    }
}
