//! Requirements files of the workspace, as the words that they stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::digest::Digest;
use crate::ecosystem::pypi::requirements;
use crate::error::Result;

/// What requirements files say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub requirements: Vec<String>,
    pub constraints: Vec<String>,
    /// By name, the only files that may be used.
    pub hashes: BTreeMap<String, BTreeSet<Digest>>,
}

/// Reads the requirements file at `path`, relative to `root`, and all that it includes.
pub(super) fn read_file(root: &Path, path: &str) -> Result<Found> {
    let read = |path: &str| super::read(&root.join(path), super::MAXIMUM_SIZE);
    let found = requirements::parse(path, &read)?;
    Ok(Found {
        requirements: found.requirements.iter().map(|requirement| requirement.text().to_owned()).collect(),
        constraints: found.constraints.iter().map(|requirement| requirement.text().to_owned()).collect(),
        hashes: found.hashes.into_iter().map(|(name, hashes)| (name.to_string(), hashes)).collect(),
    })
}
