//! From dependencies to a tree of folders: what `npm install` (npm 11, hoisted, peers installed) would put where
//! in an empty project.
//!
//! npm's documentation describes the outcome only roughly ("npm install", "Algorithm"); which version ends up in
//! which folder follows from the order in which it works, so that order is followed here. `docs/npm-parity.md`
//! says how that is tested, and what differs. Where documents come from is behind [`Index`].

mod build;
mod check;
mod conflict;
mod flags;
mod graph;
mod model;
mod overrides;
mod place;
mod sets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::packument::Manifest;
use super::platform::{Engines, Platform};
use super::spec::check_name;
use crate::error::Result;
use build::Builder;
use graph::Graph;
pub use model::{Bundled, Index, Pin, Placed, Request};
use overrides::Rules;

/// The tree for one platform, sorted by path.
///
/// Fails with [`Kind::No`](crate::error::Kind::No) if it cannot be had: a version that does not exist, peers of
/// the project's own dependencies that contradict each other, a package that is not for the platform.
pub fn solve(index: &dyn Index, request: &Request) -> Result<Vec<Placed>> {
    for name in request.dependencies.keys() {
        check_name(name)?;
    }
    let rules = Rules::parse(&request.overrides, &request.dependencies)?;
    let project = Manifest {
        dependencies: request.dependencies.iter().map(|(name, spec)| (name.clone(), spec.clone())).collect(),
        ..Manifest::default()
    };
    let wanted: Vec<(String, String)> = project.dependencies.clone();
    index.prefetch(&wanted);
    let mut builder = Builder::new(Graph::new(project, rules), index, request);
    builder.keep()?;
    builder.run()?;
    let Builder { graph, failures, .. } = builder;
    flags::check_known(&graph)?;
    let kept = flags::kept(&graph, &failures, &request.platform, &request.engines)?;
    Ok(all_placed(&graph, &kept))
}

/// A package of a lockfile that npm wrote.
#[derive(Clone, Debug)]
pub(super) struct Locked {
    /// The folders from the top down, it last.
    pub names: Vec<String>,
    pub manifest: Manifest,
    pub bundled: bool,
    pub only_for_development: bool,
}

/// The tree that a lockfile fixes, for one platform. Outer packages come first in `locked`.
pub(super) fn from_lock(
    project: Manifest,
    locked: Vec<Locked>,
    platform: &Platform,
    engines: &Engines,
) -> Result<Vec<Placed>> {
    let mut graph = Graph::new(project, Rules::default());
    let mut left_out = BTreeSet::new();
    for package in locked {
        let Some((name, above)) = package.names.split_last() else { continue };
        let mut parent = 0;
        for name in above {
            parent = graph.nodes[parent].children.get(&graph::folded(name)).copied().unwrap_or(parent);
        }
        let node = graph.child(name, Arc::new(package.manifest), None, parent);
        graph.nodes[node].unpacked = package.bundled;
        if package.only_for_development {
            left_out.insert(node);
        }
    }
    let mut kept = flags::kept_of(&graph, &left_out, platform, engines)?;
    kept.retain(|node, _| !left_out.contains(node));
    Ok(all_placed(&graph, &kept))
}

fn all_placed(graph: &Graph, kept: &BTreeMap<graph::NodeId, bool>) -> Vec<Placed> {
    let mut all: Vec<Placed> = kept.iter().map(|(node, optional)| placed(graph, *node, *optional, kept)).collect();
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

fn placed(graph: &Graph, node: graph::NodeId, optional: bool, kept: &BTreeMap<graph::NodeId, bool>) -> Placed {
    let manifest = &graph.nodes[node].manifest;
    let bundled = graph.nodes[node].unpacked;
    let into = graph.nodes[node].edges_in.iter().map(|edge| graph.edges[*edge].from);
    let mut required_by: Vec<String> =
        into.filter(|from| *from == 0 || kept.contains_key(from)).map(|from| graph.location(from)).collect();
    required_by.sort();
    let own = graph.edge_out(0, &graph.nodes[node].name).filter(|edge| graph.edges[*edge].to == Some(node));
    Placed {
        path: graph.location(node),
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        integrity: manifest.dist.integrity.clone().filter(|_| !bundled),
        tarball: if bundled { String::new() } else { manifest.dist.tarball.clone() },
        bundled,
        optional,
        has_install_script: manifest.has_install_script,
        bin: manifest.bin.clone(),
        required_by,
        requested: own.map(|edge| graph.edges[edge].raw.clone()),
        deprecated: manifest.deprecated.clone(),
    }
}
