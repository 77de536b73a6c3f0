//! Which nodes of a finished tree are installed on a platform: what only optional dependencies need is left out
//! where it does not fit or could not be had.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{EdgeKind, Graph, NodeId};
use crate::ecosystem::npm::platform::{Engines, Platform};
use crate::error::{Error, Result};

/// Nodes that only optional dependencies lead to.
fn optional(graph: &Graph) -> BTreeSet<NodeId> {
    let mut needed = BTreeSet::from([0]);
    let mut queue = vec![0];
    while let Some(node) = queue.pop() {
        let edges = graph.nodes[node].edges_out.iter().map(|edge| &graph.edges[*edge]);
        queue.extend(
            edges.filter(|edge| !edge.is_optional()).filter_map(|edge| edge.to).filter(|to| needed.insert(*to)),
        );
    }
    graph.all().into_iter().filter(|node| !needed.contains(node)).collect()
}

/// Nodes that somebody needs: those that were only tried for optional peers are superfluous.
fn needed(graph: &Graph) -> BTreeSet<NodeId> {
    let mut needed = BTreeSet::from([0]);
    let mut queue = vec![0];
    while let Some(node) = queue.pop() {
        let edges = graph.nodes[node].edges_out.iter().map(|edge| &graph.edges[*edge]);
        let peers = edges.filter(|edge| edge.kind != EdgeKind::OptionalPeer).filter_map(|edge| edge.to);
        // What is below a package needs its folder.
        queue.extend(peers.chain(graph.nodes[node].parent).filter(|to| needed.insert(*to)));
    }
    needed
}

/// What must go when `node` cannot be had: everything that needs it, up to where that is optional, and what
/// only those need.
fn goes_with(graph: &Graph, node: NodeId, gone: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let mut set = BTreeSet::from([node]);
    let mut queue = vec![node];
    while let Some(id) = queue.pop() {
        let into = graph.nodes[id].edges_in.iter().map(|edge| &graph.edges[*edge]);
        queue.extend(into.filter(|edge| !edge.is_optional()).map(|edge| edge.from).filter(|from| set.insert(*from)));
    }
    let start: Vec<NodeId> = set.iter().copied().collect();
    graph.only_needed_by(&start, |graph, edge| {
        let edge = &graph.edges[edge];
        !edge.to.is_some_and(|to| set.contains(&to)) && !gone.contains(&edge.from)
    })
}

/// The nodes that are installed, and whether each is optional.
///
/// Fails ([`Kind::No`](crate::error::Kind::No)) if a package that is needed could not be had, or is not for the
/// platform.
pub(super) fn kept(
    graph: &Graph,
    failures: &BTreeSet<NodeId>,
    platform: &Platform,
    engines: &Engines,
) -> Result<BTreeMap<NodeId, bool>> {
    let optional = optional(graph);
    let mut gone = BTreeSet::new();
    for node in graph.all().into_iter().filter(|node| failures.contains(node)) {
        match &graph.nodes[node].failed {
            Some(error) if !optional.contains(&node) => return Err(error.clone()),
            _ => gone.extend(goes_with(graph, node, &gone)),
        }
    }
    fitting(graph, &optional, gone, platform, engines)
}

/// The same for a tree in which all could be had; `ignored` nodes may be for any platform.
pub(super) fn kept_of(
    graph: &Graph,
    ignored: &BTreeSet<NodeId>,
    platform: &Platform,
    engines: &Engines,
) -> Result<BTreeMap<NodeId, bool>> {
    fitting(graph, &optional(graph), ignored.clone(), platform, engines)
}

fn fitting(
    graph: &Graph,
    optional: &BTreeSet<NodeId>,
    mut gone: BTreeSet<NodeId>,
    platform: &Platform,
    engines: &Engines,
) -> Result<BTreeMap<NodeId, bool>> {
    let all: Vec<NodeId> = graph.all().into_iter().skip(1).collect();
    for node in &all {
        let manifest = &graph.nodes[*node].manifest;
        let fits = platform.fits(manifest);
        if !optional.contains(node) {
            if !fits {
                return Err(unfit(graph, *node, platform));
            }
        } else if (!fits || !engines.fit(manifest)) && !gone.contains(node) {
            gone.extend(goes_with(graph, *node, &gone));
        }
    }
    let needed = needed(graph);
    let all = all.into_iter().filter(|node| needed.contains(node));
    Ok(all.filter(|node| !gone.contains(node)).map(|node| (node, optional.contains(&node))).collect())
}

fn unfit(graph: &Graph, node: NodeId, platform: &Platform) -> Error {
    let manifest = &graph.nodes[node].manifest;
    let lists = [("os", &manifest.os), ("cpu", &manifest.cpu), ("libc", &manifest.libc)];
    let wants: Vec<String> = lists
        .iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(kind, list)| format!("{kind} {}", list.join(", ")))
        .collect();
    Error::no(format!(
        "{} {} is for {} and not for {} on {} with {}",
        manifest.name,
        manifest.version,
        wants.join("; "),
        platform.os,
        platform.cpu,
        platform.libc
    ))
    .hint("packages for other platforms belong into `optionalDependencies` of what needs them; an override may choose another version")
}

/// Refuses a tree in which something that is needed is missing or wrong, other than peers that were put up with.
pub(super) fn check_known(graph: &Graph) -> Result<()> {
    for node in graph.all() {
        for id in &graph.nodes[node].edges_out {
            let edge = &graph.edges[*id];
            let missing = edge.to.is_none() && edge.kind == EdgeKind::Plain;
            // What is inside a tarball is its publisher's affair.
            if missing && !graph.nodes[node].unpacked && !graph.nodes[node].manifest.bundled.contains(&edge.name) {
                return Err(
                    Error::no(super::conflict::asks(graph, *id)).caused_by(Error::new("nothing was found for it"))
                );
            }
        }
    }
    Ok(())
}
