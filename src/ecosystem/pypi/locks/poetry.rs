//! `poetry.lock`: packages with their files' names and hashes, without addresses.
//!
//! From 2.0 on a lock says for each package where it applies. Older ones leave that to whoever knows the project;
//! here a package counts if nothing in the lock requires it, or something that counts requires it for the target.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Value;

use super::{Chooser, Locked, MOST_PACKAGES, Offer, not_a_file, read_version, sha256, shown};
use crate::ecosystem::pypi::name::Name;
use crate::error::{Context, Error, Result};
use crate::tables;

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    lock_version: String,
    python_versions: Option<String>,
    /// Where the files were before 1.3 of the format.
    #[serde(default)]
    files: BTreeMap<String, Vec<File>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: String,
    #[serde(default)]
    optional: bool,
    category: Option<String>,
    groups: Option<Vec<String>>,
    /// One for all groups, or one for each.
    markers: Option<Value>,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
    source: Option<Source>,
}

#[derive(Clone, Deserialize)]
struct File {
    file: String,
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "type")]
    kind: String,
}

impl Package {
    fn is_main(&self) -> bool {
        let groups = self.groups.as_ref().is_none_or(|groups| groups.iter().any(|group| group == "main"));
        groups && self.category.as_deref().is_none_or(|category| category == "main") && !self.optional
    }
}

pub(super) fn parse(text: &str, chooser: &Chooser<'_>) -> Result<Vec<Locked>> {
    let lock: Lock = tables::from_str(text)?;
    let version = lock.metadata.lock_version.as_str();
    let series = version.split('.').next().unwrap_or_default();
    if !matches!(series, "1" | "2") {
        return Err(Error::new(format!("its version is `{}`, this kiln knows versions 1 and 2", shown(version))));
    }
    if lock.package.len() > MOST_PACKAGES {
        return Err(Error::new(format!("it has more than {MOST_PACKAGES} packages")));
    }
    chooser.check_python(lock.metadata.python_versions.as_deref())?;
    let says_where = lock.package.iter().any(|package| package.groups.is_some());
    let mut counted: BTreeSet<usize> = BTreeSet::new();
    for (at, package) in lock.package.iter().enumerate().filter(|(_, package)| package.is_main()) {
        if chooser.applies(marker(package)?).context(|| format!("reading the marker of {}", package.name))? {
            counted.insert(at);
        }
    }
    if !says_where {
        counted = reached(chooser, &lock.package, &counted)?;
    }
    counted.into_iter().map(|at| one(chooser, &lock.package[at], &lock.metadata.files)).collect()
}

fn marker(package: &Package) -> Result<Option<&str>> {
    match &package.markers {
        None => Ok(None),
        Some(Value::String(marker)) => Ok(Some(marker)),
        Some(Value::Table(groups)) => Ok(groups.get("main").and_then(Value::as_str)),
        Some(_) => Err(Error::new(format!("the markers of {} are neither a text nor a table", package.name))),
    }
}

/// Of the packages that may count, those that do: see the module's documentation.
fn reached(chooser: &Chooser<'_>, packages: &[Package], possible: &BTreeSet<usize>) -> Result<BTreeSet<usize>> {
    let mut by_name: BTreeMap<Name, Vec<usize>> = BTreeMap::new();
    for at in possible {
        by_name.entry(packages[*at].name.parse()?).or_default().push(*at);
    }
    let mut required = BTreeSet::new();
    let mut edges: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in possible {
        for (name, wanted) in &packages[*at].dependencies {
            let to = by_name.get(&name.parse()?).cloned().unwrap_or_default();
            let to: Vec<usize> = to.into_iter().filter(|to| to != at).collect();
            required.extend(to.iter().copied());
            if wanted_here(chooser, wanted).context(|| format!("reading what {} requires", packages[*at].name))? {
                edges.entry(*at).or_default().extend(to);
            }
        }
    }
    let mut open: Vec<usize> = possible.difference(&required).copied().collect();
    let mut found = BTreeSet::new();
    while let Some(at) = open.pop() {
        if found.insert(at) {
            open.extend(edges.get(&at).into_iter().flatten());
        }
    }
    Ok(found)
}

/// Whether a dependency applies to the target: it is a version, a table, or one of several tables.
fn wanted_here(chooser: &Chooser<'_>, wanted: &Value) -> Result<bool> {
    match wanted {
        Value::Table(table) => {
            let optional = table.get("optional").and_then(Value::as_bool) == Some(true);
            Ok(!optional && chooser.applies(table.get("markers").and_then(Value::as_str))?)
        }
        Value::Array(several) => {
            for one in several.iter().filter(|one| !one.is_array()) {
                if wanted_here(chooser, one)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Ok(true),
    }
}

fn one(chooser: &Chooser<'_>, package: &Package, elsewhere: &BTreeMap<String, Vec<File>>) -> Result<Locked> {
    let name: Name = package.name.parse()?;
    if let Some(source) = package.source.as_ref().filter(|source| source.kind != "legacy") {
        return Err(not_a_file(&name, &source.kind));
    }
    let version = read_version(&name, &package.version)?;
    let files = match package.files.is_empty() {
        true => elsewhere.get(&package.name).map(Vec::as_slice).unwrap_or_default(),
        false => &package.files,
    };
    let mut offers = Vec::new();
    for file in files {
        if file.file.contains(['/', '\\']) {
            return Err(not_a_file(&name, &format!("path ({})", shown(&file.file))));
        }
        let digest = file.hash.as_deref().map(sha256).transpose().context(|| format!("reading a hash of {name}"))?;
        offers.push(Offer { name: file.file.clone(), url: None, sha256: digest.flatten(), size: None });
    }
    chooser.choose(&name, &version, offers)
}
