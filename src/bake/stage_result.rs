//! What a stage gave, as the store keeps it by the hash of the stage's inputs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::layer::Part;

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
