//! The build graph: platform lock → parts → configured layers → image.
//!
//! Every step is keyed by the hash of its inputs and done once. Packages are read in parallel, as they
//! arrive; scripts run while what was read is compressed and put together to layers.

mod above;
mod accounts;
mod base_image;
mod bins;
mod compare;
mod compose;
mod endings;
mod graph;
mod ground;
mod kept_tree;
mod languages;
mod making;
mod owners;
mod plan;
mod sources;
mod stage_result;
mod stages;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use graph::Graph;

use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::ecosystem::local::Listing;
use crate::error::Result;
use crate::image::{ContainerConfig, Image};
use crate::lock::{Artifact, Blob, LayerOutput, Lockfile, Package, PlatformLock, PlatformStep};
use crate::net::{Client, Event, Request};
use crate::sandbox::Extraction;
use crate::store::Store;

pub use compare::{Difference, compare};
pub use compose::{LOCK_PATH, platform as oci_platform};
pub use endings::Endings;
pub use ground::Ground;
pub use making::Turns;
pub use owners::{Touch, Trace};
pub use stage_result::StageResult;

/// Where an artifact of a package may be had.
type Candidates<'a> = dyn Fn(&Package, &Artifact) -> Result<Vec<Request>> + Sync + 'a;

/// Where a blob that an artifact names may be had.
type BlobCandidates<'a> = dyn Fn(&Package, &Blob) -> Result<Vec<Request>> + Sync + 'a;

/// What baking needs besides the lock; none of it may show in the bytes.
pub struct Bakery<'a> {
    pub store: &'a Store,
    pub client: &'a Client,
    /// Where an artifact of a package may be had.
    pub candidates: &'a Candidates<'a>,
    /// Where what an artifact names may be had: the layers of an image.
    pub blob_candidates: &'a BlobCandidates<'a>,
    /// Starts a sandbox for scripts, in memory or not. Which executor it has is decided with the first.
    pub start: &'a (dyn Fn(bool) -> Result<Ground> + Sync),
    pub progress: &'a (dyn Fn(Progress) + Sync),
    /// The largest tree, in bytes, that may live in memory while scripts run in it.
    pub tree_memory: u64,
    /// Shared by images that are baked at once.
    pub turns: &'a Turns,
    /// Shared by all: what is cleared away while other images, and layouts, are written.
    pub endings: &'a Endings,
}

impl std::fmt::Debug for Bakery<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bakery").field("store", &self.store.root()).finish_non_exhaustive()
    }
}

/// What baking tells while it goes on.
#[derive(Clone, Debug)]
pub enum Progress {
    /// Artifacts to fetch, and their bytes.
    Fetching { count: usize, bytes: u64 },
    /// An event of a download.
    Download(Event),
    /// All artifacts are there.
    Fetched,
    /// A package has become a part; how many there are in all.
    Part { name: String, total: usize },
    /// A stage's scripts begin to run.
    Configuring { stage: &'static str, packages: usize },
    /// All that needs no script is made, these layers among it; while scripts run, processors are free.
    Ahead { layers: Vec<Digest> },
    /// A step's script begins to run.
    Running { step: String },
    /// A step's script has run; for how long.
    Ran { step: String, took: Duration },
    /// Something that whoever bakes should know of.
    Note(String),
    /// A stage's scripts have run; for how long.
    Configured { stage: &'static str, scripts: Duration },
}

/// A baked image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baked {
    pub image: Image,
    /// The image's layers with their names.
    pub layers: Vec<LayerOutput>,
    /// The digest of the lock that the image carries: the one it was baked from, with the ids of the users and groups
    /// that scripts have made.
    pub lock: Digest,
    /// These ids.
    pub accounts: Ids,
    /// What was seen of each package, in the platform lock's order.
    pub observed: Vec<Observed>,
}

/// What was seen of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// The digest of its scripts, if it has any.
    pub scripts: Option<Digest>,
    /// The licences that its copyright file names.
    pub licences: BTreeSet<String>,
    /// The files that its scripts divert.
    pub diversions: BTreeSet<String>,
    /// Bytes of its artifact.
    #[serde(default)]
    pub size: u64,
}

impl Baked {
    /// Bytes of all layers as stored.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// The image of `lock` if the store has it.
pub fn cached(store: &Store, lock: &Digest) -> Option<Baked> {
    store.keyed("baked", lock)
}

/// How much of an image the store had before it was baked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// All of it.
    Image,
    /// This many of its layers.
    Layers(usize),
}

/// Bakes one platform of a lockfile. Also says how much of it the store had already.
pub fn bake(bakery: &Bakery<'_>, lockfile: &Lockfile, lock: &PlatformLock) -> Result<(Baked, Reuse)> {
    let bytes = lock.to_bytes()?;
    let key = Digest::of(&bytes);
    if let Some(baked) = cached(bakery.store, &key) {
        return Ok((baked, Reuse::Image));
    }
    let _lock = bakery.store.lock_key("baked", &key)?;
    if let Some(baked) = cached(bakery.store, &key) {
        return Ok((baked, Reuse::Image));
    }
    let graph = Graph::new(bakery, lockfile, lock)?;
    let baked = compose::image(&graph)?;
    let blobs: Vec<Digest> = baked.image.blobs().into_keys().collect();
    // From the lock with these ids, it would have been the same.
    for key in BTreeSet::from([key, baked.lock]) {
        bakery.store.put_keyed("baked", &key, &blobs, &baked)?;
    }
    let reuse = Reuse::Layers(graph.reused(&baked.layers));
    Ok((baked, reuse))
}

/// Fetches every artifact of one platform of a lockfile that the store lacks; how many these were.
pub fn fetch(bakery: &Bakery<'_>, lockfile: &Lockfile, lock: &PlatformLock) -> Result<usize> {
    let blobs = lock.packages.iter().flat_map(|package| std::iter::once(&package.sha256).chain(&package.blobs));
    let missing = blobs.filter(|digest| !bakery.store.contains(digest)).count();
    Graph::new(bakery, lockfile, lock)?.fetch(&|_| {})?;
    Ok(missing)
}

/// Everything that baking reads from the store: artifacts, and the workspace's own files.
pub fn inputs(store: &Store, lock: &PlatformLock) -> Result<BTreeSet<Digest>> {
    let mut inputs: BTreeSet<Digest> = lock.packages.iter().map(|package| package.sha256).collect();
    inputs.extend(lock.packages.iter().flat_map(|package| &package.blobs));
    for step in &lock.steps {
        let PlatformStep::Copy { sha256, .. } = step else { continue };
        inputs.insert(*sha256);
        inputs.extend(Listing::read(store, sha256)?.files());
    }
    Ok(inputs)
}

/// The stages of an image, in order; run if the store does not have them.
pub fn stages(bakery: &Bakery<'_>, lockfile: &Lockfile, lock: &PlatformLock) -> Result<Vec<StageResult>> {
    compose::stage_results(&Graph::new(bakery, lockfile, lock)?)
}

/// What the image's configuration says of its containers. The documents of a base image are fetched if the store
/// lacks them.
pub fn container_config(bakery: &Bakery<'_>, lockfile: &Lockfile, lock: &PlatformLock) -> Result<ContainerConfig> {
    if lock.packages.iter().any(|package| !package.blobs.is_empty()) {
        Graph::new(bakery, lockfile, lock)?.fetch(&|_| {})?;
    }
    compose::container_config(bakery.store, lock)
}

/// What the image's tree is made of, the lock it carries included, in order, for a sandbox to put together.
pub fn tree(bakery: &Bakery<'_>, lockfile: &Lockfile, lock: &PlatformLock) -> Result<Vec<Extraction>> {
    compose::tree(&Graph::new(bakery, lockfile, lock)?)
}

/// Whose a path of an image is. What the store does not have any more of what the image is put together of is made
/// again.
pub fn trace(bakery: &Bakery<'_>, lockfile: &Lockfile, lock: &PlatformLock, path: &str) -> Result<Trace> {
    compose::trace(&Graph::new(bakery, lockfile, lock)?, path)
}
