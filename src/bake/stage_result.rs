//! What a stage gave, as the store keeps it by the hash of the stage's inputs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::making::Ready;
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::ecosystem::debian::stage;
use crate::layer::Part;
use crate::sandbox::Extraction;

/// What a stage gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageResult {
    /// The hash of the stage's inputs.
    pub key: Digest,
    /// What the scripts changed.
    pub part: Part,
    /// By package, the paths that it does not contribute.
    pub leave_out: BTreeMap<String, BTreeSet<String>>,
    /// By path, the script that wrote it last.
    pub writers: BTreeMap<String, String>,
    /// The newest time of an artifact in it or below, in seconds since 1970.
    pub epoch: u64,
    /// The ids of the users and groups that its scripts have made.
    pub ids: Ids,
    /// By package, the files that it diverts.
    pub diversions: BTreeMap<String, BTreeSet<String>>,
}

impl StageResult {
    /// The configured base that this is as a tree is made of it: its packages, and what configuring them changed.
    pub fn tree(&self, packages: &[Ready<'_>]) -> Vec<Extraction> {
        let parts = packages.iter().map(|ready| (&ready.deb.part, self.leave_out.get(&ready.package.name)));
        let mut all = stage::placement(std::iter::empty(), parts);
        all.push(Extraction {
            directories: self.part.directories.clone(),
            parts: vec![self.part.clone()],
            ..Extraction::default()
        });
        all
    }
}
