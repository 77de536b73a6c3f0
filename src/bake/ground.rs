//! What a stage stands on: its sandbox, with the tree below it.
//!
//! The last stage's is put together as soon as the base is configured: packages are still being read then, and of what
//! lies below nothing depends on them.

use std::collections::BTreeSet;
use std::thread::ScopedJoinHandle;

use tempfile::TempDir;

use super::graph::Graph;
use super::kept_tree;
use super::making::Ready;
use super::stage_result::StageResult;
use crate::digest::Digest;
use crate::ecosystem::debian::stage;
use crate::error::Result;
use crate::layer::Part;
use crate::lock::PlatformPackage;
use crate::sandbox::{Executor, Session, can_lay, memory};
use crate::store::Store;

/// A sandbox for a stage.
#[derive(Debug)]
pub struct Ground {
    pub executor: Executor,
    pub session: Session,
    /// Where it is; this must outlive it.
    pub place: TempDir,
    /// Whether its tree is in memory.
    pub in_memory: bool,
    /// Whether its tree holds what is below the stage; it is empty if not.
    pub is_placed: bool,
}

/// Comes from another thread. If it could not be had, whoever needs it tries again, and says why.
pub type Coming<'scope> = ScopedJoinHandle<'scope, Result<Ground>>;

impl Ground {
    /// Puts the configured base into the empty tree, to be checked later: lays the tree on it if that is kept.
    fn place(&mut self, store: &Store, base: &StageResult, packages: &[Ready<'_>]) -> Result<()> {
        let mut below = base.tree(packages);
        let kept = kept_tree::of(store, base).filter(|_| self.in_memory && can_lay(self.executor));
        // Why it cannot be laid on it does not matter: what it is made of is there as well.
        let is_laid = kept.as_ref().is_some_and(|kept| self.session.lay(&kept.image).is_ok());
        if let Some(kept) = kept.as_ref().filter(|_| is_laid) {
            below = kept.rest(&below);
        }
        let placed = stage::place_below(&mut self.session, &below, true);
        if let Some(kept) = kept.filter(|_| !is_laid || placed.is_err()) {
            // A damaged one is set aside by being read, and made again.
            let _ = store.open_checked(&kept.image);
        }
        placed?;
        self.is_placed = true;
        Ok(())
    }
}

/// One with an empty tree for packages that need not have been read yet.
pub fn early(graph: &Graph<'_>, packages: &[&PlatformPackage]) -> Result<Ground> {
    (graph.bakery.start)(seems_to_fit(graph, packages))
}

/// One with the configured base; `empty` is used if it is right for that.
pub fn on_base(
    graph: &Graph<'_>,
    base: &StageResult,
    packages: &[Ready<'_>],
    empty: Option<Coming<'_>>,
) -> Result<Ground> {
    let in_memory = seems_to_fit(graph, &graph.order);
    let mut ground = match empty.and_then(|coming| coming.join().ok()) {
        Some(Ok(empty)) if empty.in_memory == in_memory => empty,
        _ => (graph.bakery.start)(in_memory)?,
    };
    ground.place(graph.bakery.store, base, packages)?;
    Ok(ground)
}

/// Whether the tree of these packages seems to fit into memory: a package takes about four times what its archive does.
fn seems_to_fit(graph: &Graph<'_>, packages: &[&PlatformPackage]) -> bool {
    const GROWTH: u64 = 4;
    let digests: BTreeSet<&Digest> = packages.iter().map(|package| &package.sha256).collect();
    let artifacts = graph.lockfile.packages.iter().filter_map(|package| package.artifacts.get(&graph.lock.platform));
    let size: u64 = artifacts.filter(|one| digests.contains(&one.sha256)).map(|artifact| artifact.size).sum();
    fits(graph.bakery.tree_memory, GROWTH * size)
}

/// Whether the tree fits into memory, with plenty left for everything else. Making and removing thousands of files
/// takes longer on a disk than some packages' scripts run.
pub fn in_memory<'p>(limit: u64, parts: impl Iterator<Item = &'p Part>) -> bool {
    fits(limit, parts.map(|part| part.tar_size).sum())
}

fn fits(limit: u64, size: u64) -> bool {
    // As many bakes as there are threads may ask this at once.
    size <= limit && memory::has(2 * size * (1 + rayon::current_num_threads() as u64))
}
