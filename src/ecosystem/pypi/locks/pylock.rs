//! `pylock.toml` (PEP 751).

use serde::Deserialize;

use super::{Chooser, Hashes, Locked, MOST_PACKAGES, Offer, last_part, not_a_file, on_server, read_version, shown};
use crate::ecosystem::pypi::name::Name;
use crate::error::{Context, Error, Result};
use crate::tables;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Lock {
    lock_version: String,
    #[serde(default)]
    environments: Vec<String>,
    requires_python: Option<String>,
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    requires_python: Option<String>,
    vcs: Option<toml::Table>,
    directory: Option<toml::Table>,
    archive: Option<File>,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    name: Option<String>,
    url: Option<String>,
    path: Option<String>,
    size: Option<u64>,
    #[serde(default)]
    hashes: Hashes,
}

pub(super) fn parse(text: &str, chooser: &Chooser<'_>) -> Result<Vec<Locked>> {
    let lock: Lock = tables::from_str(text)?;
    if lock.lock_version.split('.').next() != Some("1") {
        return Err(Error::new(format!("its version is `{}`, this kiln knows version 1", shown(&lock.lock_version))));
    }
    if lock.packages.len() > MOST_PACKAGES {
        return Err(Error::new(format!("it has more than {MOST_PACKAGES} packages")));
    }
    chooser.check_python(lock.requires_python.as_deref())?;
    let mut any = lock.environments.is_empty();
    for environment in &lock.environments {
        any |= chooser.applies(Some(environment))?;
    }
    if !any {
        return Err(Error::no(format!("none of its environments is {}", chooser.target))
            .hint("lock it for this platform too, or choose another one"));
    }
    let mut locked = Vec::new();
    for package in lock.packages {
        let name: Name = package.name.parse()?;
        let applies = chooser.applies(package.marker.as_deref()).context(|| format!("reading the marker of {name}"));
        let applies = applies.map_err(|error| {
            error.hint("markers on `extras` and `dependency_groups` are not supported: lock without them")
        })?;
        if applies {
            chooser.check_python(package.requires_python.as_deref()).context(|| format!("reading {name}"))?;
            locked.push(one(chooser, &name, package)?);
        }
    }
    Ok(locked)
}

fn one(chooser: &Chooser<'_>, name: &Name, package: Package) -> Result<Locked> {
    match (&package.vcs, &package.directory) {
        (Some(_), _) => return Err(not_a_file(name, "repository")),
        (_, Some(_)) => return Err(not_a_file(name, "folder")),
        (None, None) => {}
    }
    let files = package.wheels.into_iter().chain(package.sdist).chain(package.archive);
    let offers: Vec<Offer> = files.map(|file| offer(name, file)).collect::<Result<_>>()?;
    let version = match &package.version {
        Some(version) => read_version(name, version)?,
        None => {
            let named =
                offers.iter().find_map(|offer| crate::ecosystem::pypi::filename::Filename::parse(&offer.name, name));
            named.map(|filename| filename.version().clone()).context(|| format!("the lock has no version of {name}"))?
        }
    };
    chooser.choose(name, &version, offers)
}

fn offer(name: &Name, file: File) -> Result<Offer> {
    let Some(url) = &file.url else {
        let path = file.path.unwrap_or_default();
        return Err(not_a_file(name, &format!("path ({path})")));
    };
    let url = on_server(name, url)?;
    let sha256 = file.hashes.get("sha256").map(|digest| digest.to_ascii_lowercase().parse()).transpose();
    let sha256 = sha256.context(|| format!("reading a hash of {name}"))?;
    Ok(Offer { name: file.name.unwrap_or_else(|| last_part(&url)), url: Some(url), sha256, size: file.size })
}
