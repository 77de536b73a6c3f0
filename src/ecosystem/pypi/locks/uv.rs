//! `uv.lock`: a graph of packages for all environments at once, walked from the project's own packages for one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Chooser, Locked, MOST_PACKAGES, Offer, last_part, not_a_file, on_server, read_version, sha256, shown};
use crate::ecosystem::pypi::name::Name;
use crate::error::{Context, Error, Result};
use crate::tables;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Lock {
    version: u64,
    requires_python: Option<String>,
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: Option<String>,
    source: BTreeMap<String, String>,
    #[serde(default)]
    resolution_markers: Vec<String>,
    sdist: Option<File>,
    #[serde(default)]
    wheels: Vec<File>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Dependency>>,
}

#[derive(Deserialize)]
struct File {
    url: Option<String>,
    path: Option<String>,
    filename: Option<String>,
    hash: Option<String>,
    size: Option<u64>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    version: Option<String>,
    source: Option<BTreeMap<String, String>>,
    marker: Option<String>,
    #[serde(default)]
    extra: Vec<String>,
}

impl Package {
    /// Whether it is a project that the lock is for.
    fn is_own(&self) -> bool {
        ["editable", "virtual"].iter().any(|kind| self.source.contains_key(*kind))
    }
}

pub(super) fn parse(text: &str, chooser: &Chooser<'_>) -> Result<Vec<Locked>> {
    let lock: Lock = tables::from_str(text)?;
    if lock.version != 1 {
        return Err(Error::new(format!("its version is {}, this kiln knows version 1", lock.version)));
    }
    if lock.package.len() > MOST_PACKAGES {
        return Err(Error::new(format!("it has more than {MOST_PACKAGES} packages")));
    }
    chooser.check_python(lock.requires_python.as_deref())?;
    let mut walk =
        Walk { chooser, packages: &lock.package, by_name: BTreeMap::new(), open: Vec::new(), reached: BTreeMap::new() };
    for (at, package) in lock.package.iter().enumerate() {
        walk.by_name.entry(package.name.parse()?).or_default().push(at);
        if package.is_own() {
            walk.open.push((at, None));
        }
    }
    if walk.open.is_empty() {
        return Err(Error::new("it has no project of its own: no package is `editable` or `virtual`"));
    }
    walk.run()?;
    let mut locked = Vec::new();
    for at in walk.reached.keys() {
        let package = &lock.package[*at];
        if !package.is_own() {
            locked.push(one(chooser, package)?);
        }
    }
    Ok(locked)
}

struct Walk<'a> {
    chooser: &'a Chooser<'a>,
    packages: &'a [Package],
    by_name: BTreeMap<Name, Vec<usize>>,
    /// Packages, or their extras, whose dependencies are still to be looked at.
    open: Vec<(usize, Option<String>)>,
    /// Those that were, with the extras.
    reached: BTreeMap<usize, BTreeSet<Option<String>>>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        while let Some((at, extra)) = self.open.pop() {
            if !self.reached.entry(at).or_default().insert(extra.clone()) {
                continue;
            }
            let package = &self.packages[at];
            let dependencies = match &extra {
                None => Some(&package.dependencies),
                Some(extra) => package.optional_dependencies.get(extra),
            };
            for dependency in dependencies.into_iter().flatten() {
                let what = || format!("reading what {} requires", package.name);
                if self.chooser.applies(dependency.marker.as_deref()).context(what)? {
                    let to = self.find(dependency).context(what)?;
                    self.open.push((to, None));
                    self.open.extend(dependency.extra.iter().map(|extra| (to, Some(extra.clone()))));
                }
            }
        }
        Ok(())
    }

    /// The package that a dependency means.
    fn find(&self, dependency: &Dependency) -> Result<usize> {
        let name: Name = dependency.name.parse()?;
        let mut found = Vec::new();
        for at in self.by_name.get(&name).into_iter().flatten() {
            let package = &self.packages[*at];
            let same_version = dependency.version.is_none() || dependency.version == package.version;
            let same_source = dependency.source.as_ref().is_none_or(|source| *source == package.source);
            if same_version && same_source && self.is_for_target(package)? {
                found.push(*at);
            }
        }
        match found[..] {
            [only] => Ok(only),
            [] => Err(Error::new(format!("the lock has no {name} for {}", self.chooser.target))),
            _ => Err(Error::new(format!("the lock has {} packages {name} for {}", found.len(), self.chooser.target))),
        }
    }

    fn is_for_target(&self, package: &Package) -> Result<bool> {
        let mut any = package.resolution_markers.is_empty();
        for marker in &package.resolution_markers {
            any |= self.chooser.applies(Some(marker))?;
        }
        Ok(any)
    }
}

fn one(chooser: &Chooser<'_>, package: &Package) -> Result<Locked> {
    let name: Name = package.name.parse()?;
    if let Some(kind) = package.source.keys().find(|kind| !matches!(kind.as_str(), "registry" | "url")) {
        return Err(not_a_file(&name, kind));
    }
    let version = package.version.as_deref().context(|| format!("the lock has no version of {name}"))?;
    let version = read_version(&name, version)?;
    let mut offers = Vec::new();
    for file in package.wheels.iter().chain(&package.sdist) {
        // A file by address has it in the source.
        let Some(url) = file.url.as_ref().or_else(|| package.source.get("url")) else {
            let path = file.path.as_ref().or(file.filename.as_ref()).cloned().unwrap_or_default();
            return Err(not_a_file(&name, &format!("path ({})", shown(&path))));
        };
        let url = on_server(&name, url)?;
        let digest = file.hash.as_deref().map(sha256).transpose().context(|| format!("reading a hash of {name}"))?;
        let filename = file.filename.clone().unwrap_or_else(|| last_part(&url));
        offers.push(Offer { name: filename, url: Some(url), sha256: digest.flatten(), size: file.size });
    }
    chooser.choose(&name, &version, offers)
}
