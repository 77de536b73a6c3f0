//! `.deb` files of the workspace, as an index of their own.

use std::fs;
use std::path::Path;

use crate::ecosystem::debian::deb;
use crate::error::{Context, Error, Result};
use crate::store::Store;

/// A local package: its stanza as an index would have it.
#[derive(Debug)]
pub struct Local {
    pub name: String,
    pub version: String,
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
    Ok(Local { name: field("Package")?, version: field("Version")?, stanza })
}
