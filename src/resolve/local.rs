//! `.deb` files of the workspace, as an index of their own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::LOCAL;
use crate::digest::Digest;
use crate::ecosystem::debian::deb;
use crate::error::{Context, Error, Result};
use crate::lock::Lockfile;
use crate::store::Store;
use crate::workspace::Platform;

/// A local package: its stanza as an index would have it.
#[derive(Debug)]
pub struct Local {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub stanza: String,
}

/// Reads the packages at `paths`, relative to `root`, into the store.
pub fn packages(root: &Path, store: &Store, paths: &[String]) -> Result<Vec<Local>> {
    paths
        .iter()
        .map(|path| package(root, store, path).context(|| format!("reading the local package `{path}`")))
        .collect()
}

fn package(root: &Path, store: &Store, path: &str) -> Result<Local> {
    if path.starts_with('/') || path.split('/').any(|name| name == "..") {
        return Err(Error::new("it is outside the workspace")
            .hint("local packages are named relative to the workspace's folder"));
    }
    let bytes = fs::read(root.join(path))?;
    let package = deb::read(bytes.as_slice())?;
    let digest = store.put(&bytes)?;
    let mut stanza = String::new();
    for (name, value) in &package.control.fields {
        if !["filename", "size", "sha256"].contains(&name.to_lowercase().as_str()) {
            stanza += &format!("{name}: {}\n", value.trim_end().replace('\n', "\n "));
        }
    }
    stanza += &format!("Filename: {path}\nSize: {}\nSHA256: {digest}\n", bytes.len());
    let field = |name: &str| {
        package.control.field(name).map(str::to_owned).ok_or_else(|| Error::new(format!("it has no `{name}`")))
    };
    Ok(Local { name: field("Package")?, version: field("Version")?, architecture: field("Architecture")?, stanza })
}

/// What the local packages ask for on a platform: exactly themselves. One that is there for another
/// platform only is asked for by its name, and the solver says that it is not there.
pub fn wanted(local: &[Local], platform: Platform) -> Vec<String> {
    let fits = |local: &Local| local.architecture == platform.architecture() || local.architecture == "all";
    let here: BTreeSet<&str> = local.iter().filter(|local| fits(local)).map(|local| local.name.as_str()).collect();
    local
        .iter()
        .filter_map(|local| match here.contains(local.name.as_str()) {
            true => fits(local).then(|| format!("{}={}", local.name, local.version)),
            false => Some(local.name.clone()),
        })
        .collect()
}

/// The locked local packages whose files are no longer what they were when locked. A file that is gone is
/// not among them: the lock says what it was, and the store may have it.
pub fn changed(root: &Path, lockfile: &Lockfile) -> Vec<String> {
    let label = format!("{LOCAL}/");
    let mut changed = BTreeSet::new();
    for package in lockfile.packages.iter().filter(|package| package.origin.starts_with(&label)) {
        for artifact in package.artifacts.values() {
            let found = fs::File::open(root.join(&artifact.path)).and_then(|mut file| Digest::of_reader(&mut file));
            if found.is_ok_and(|(found, _)| found != artifact.sha256) {
                changed.insert(artifact.path.clone());
            }
        }
    }
    changed.into_iter().collect()
}
