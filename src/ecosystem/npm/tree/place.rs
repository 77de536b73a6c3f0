//! Putting a package where it is wanted: as far up as nobody minds, with the peers that it brings.

use std::collections::BTreeSet;

use super::check::{Check, Question, Verdict, check};
use super::conflict;
use super::graph::{EdgeId, Graph, NodeId};
use crate::ecosystem::npm::collation;
use crate::error::{Error, Result};

/// Peers of peers that bring each other in, one below the other.
const DEEPEST: usize = 200;

/// What was put somewhere.
#[derive(Debug)]
pub(super) struct Placement {
    pub edge: EdgeId,
    pub node: NodeId,
    /// Nodes whose dependencies must be looked at again.
    pub unsettled: BTreeSet<NodeId>,
}

/// A package that is being placed for an edge.
struct Placing<'a> {
    edge: EdgeId,
    /// In a tree where it was tried.
    package: NodeId,
    /// The edges that led here, this one last.
    edges: Vec<EdgeId>,
    /// From where it was asked for.
    start: NodeId,
    placements: &'a mut Vec<Placement>,
}

/// Places `package` for `edge`, and what it brings. All that was put somewhere is in the result.
///
/// Fails ([`Kind::No`](crate::error::Kind::No)) if what the project asks for itself cannot be had together.
pub(super) fn place(graph: &mut Graph, edge: EdgeId, package: NodeId) -> Result<Vec<Placement>> {
    let mut placements = Vec::new();
    let start = graph.edges[edge].from;
    place_one(graph, Placing { edge, package, edges: vec![edge], start, placements: &mut placements })?;
    Ok(placements)
}

fn place_one(graph: &mut Graph, placing: Placing<'_>) -> Result<()> {
    let Placing { edge, package, edges, start, placements } = placing;
    if edges.len() > DEEPEST {
        return Err(Error::no(format!("more than {DEEPEST} packages want each other as peers, one after the other")));
    }
    if graph.edges[edge].to.is_some() && graph.is_valid(edge) {
        return Ok(());
    }
    let name = graph.edges[edge].name.clone();
    let start = graph.deepest(start, &name);
    let Some(place) = find(graph, edge, package, &edges, start)? else {
        graph.edges[edge].conflicted = true;
        return Ok(());
    };
    let verdict = if place.verdict == Verdict::Conflict { place.alone } else { place.verdict };
    if verdict == Verdict::Keeps {
        if graph.edges[edge].is_peer() && !graph.is_valid(edge) {
            graph.edges[edge].conflicted = true;
        }
        dedupe(graph, place.target, true);
        return Ok(());
    }
    let target = place.target;
    if let Some(loops) = graph.ancestry(target).find(|node| !graph.is_top(*node) && graph.matches(*node, package)) {
        return Err(Error::no(format!(
            "`{name}` would be below itself without end: {} leads to it again",
            graph.location(loops)
        ))
        .hint("two packages need different versions of each other in turn: an override of one of them ends it"));
    }
    let trial = graph.nodes[package].parent;
    let node = copy(graph, package);
    let mut unsettled = BTreeSet::new();
    let old = graph.nodes[target].children.get(&super::graph::folded(&name)).copied();
    match old {
        Some(old) => replace(graph, node, old, target, &mut unsettled),
        None => graph.set_parent(node, Some(target)),
    }
    settle(graph, edge, node, target);
    placements.push(Placement { edge, node, unsettled });
    let Some(trial) = trial else { return Ok(()) };
    for peer_edge in graph.nodes[node].edges_out.clone() {
        let asked = &graph.edges[peer_edge];
        if !asked.is_peer() || asked.conflicted || graph.is_valid(peer_edge) {
            continue;
        }
        let key = super::graph::folded(&asked.name);
        let Some(peer) = graph.nodes[trial].children.get(&key).copied() else { continue };
        if graph.satisfies(peer, peer_edge) {
            let edges = [&edges[..], &[peer_edge]].concat();
            place_one(graph, Placing { edge: peer_edge, package: peer, edges, start, placements: &mut *placements })?;
        }
    }
    Ok(())
}

/// The highest folder that will do; `None` if none does and that is put up with.
fn find(graph: &Graph, edge: EdgeId, package: NodeId, edges: &[EdgeId], start: NodeId) -> Result<Option<Check>> {
    let name = &graph.edges[edge].name;
    let (mut best, mut alone, mut last) = (None, None, None);
    for target in graph.ancestry(start) {
        let peer = graph.edge_out(target, name).is_some_and(|own| graph.edges[own].is_peer());
        if peer && !graph.is_top(target) {
            continue;
        }
        let answer = check(graph, Question { package, target, edges, frugal: false, path: &[] });
        if answer.alone != Verdict::Conflict {
            alone = Some(answer.clone());
        }
        if answer.verdict == Verdict::Conflict {
            last = answer.conflict;
            break;
        }
        best = Some(answer);
        if graph.nodes[package].failed.is_some() {
            break;
        }
    }
    if best.is_some() {
        return Ok(best);
    }
    if is_the_projects(graph, edges[0]) {
        return Err(conflict::error(graph, edge, package, last));
    }
    Ok(alone)
}

/// Whether the project itself asked for what is being placed, or for what has it as a peer.
fn is_the_projects(graph: &Graph, edge: EdgeId) -> bool {
    let from = graph.edges[edge].from;
    if from == 0 {
        return true;
    }
    if !graph.edges[edge].is_peer() {
        return false;
    }
    let into = &graph.nodes[from].edges_in;
    if into.iter().any(|edge| !graph.edges[*edge].is_peer() && graph.edges[*edge].from == 0) {
        return true;
    }
    into.iter().any(|edge| graph.edges[*edge].is_peer())
        && graph.peer_groups(from).keys().any(|entry| graph.edges[*entry].from == 0)
}

/// The package again, in no tree yet.
fn copy(graph: &mut Graph, package: NodeId) -> NodeId {
    let from = &graph.nodes[package];
    let (name, manifest, overrides, failed) =
        (from.name.clone(), from.manifest.clone(), from.overrides, from.failed.clone());
    let node = graph.top(name, manifest, overrides, None);
    graph.nodes[node].failed = failed;
    node
}

/// Puts `new` where `old` is, and takes out what only the old one needed.
fn replace(graph: &mut Graph, new: NodeId, old: NodeId, target: NodeId, unsettled: &mut BTreeSet<NodeId>) {
    let mut old_needs = Vec::new();
    for edge in graph.nodes[old].edges_out.clone() {
        let Some(to) = graph.edges[edge].to else { continue };
        if graph.edge_out(new, &graph.edges[edge].name).is_none() {
            old_needs.extend(graph.only_needed_by(&[to], |graph, other| graph.edges[other].to != Some(to)));
        }
    }
    let mut leaving = BTreeSet::new();
    for edge in graph.nodes[old].edges_in.clone() {
        let asked = &graph.edges[edge];
        let beside = graph.nodes[asked.from].parent == Some(target);
        if graph.satisfies(new, edge) || !asked.is_peer() || !beside || asked.conflicted {
            continue;
        }
        for entry in graph.peer_groups(asked.from).into_keys() {
            let Some(first) = graph.edges[entry].to else { continue };
            // What a package brought in is placed again, deeper; what the project asked for stays and goes without.
            if graph.edges[entry].from != 0 {
                let goes = |graph: &Graph, other: EdgeId| {
                    graph.edges[other].to != Some(first) && !graph.edges[other].conflicted
                };
                leaving.extend(graph.only_needed_by(&[first], goes));
            } else {
                graph.edges[edge].conflicted = true;
            }
        }
    }
    for child in graph.children(old) {
        graph.set_parent(child, Some(new));
    }
    graph.set_parent(new, Some(target));
    prune_after(graph, new, &old_needs);
    for node in leaving {
        let into = &graph.nodes[node].edges_in;
        unsettled.extend(into.iter().map(|edge| graph.edges[*edge].from));
        graph.set_parent(node, None);
    }
}

/// Takes out what nobody needs any more, now that `node` is where another was.
fn prune_after(graph: &mut Graph, node: NodeId, old_needs: &[NodeId]) {
    let edges = graph.nodes[node].edges_out.iter();
    let mut stale: BTreeSet<NodeId> =
        edges.filter(|edge| !graph.is_valid(**edge)).filter_map(|edge| graph.edges[*edge].to).collect();
    for need in old_needs {
        let counts = |graph: &Graph, edge: EdgeId| graph.edges[edge].to != Some(*need) && graph.is_valid(edge);
        stale.extend(graph.only_needed_by(&[*need], counts));
    }
    let stale: Vec<NodeId> = stale.into_iter().collect();
    let junk = graph.only_needed_by(&stale, |graph, edge| {
        graph.edges[edge].from != node && graph.edges[edge].to != Some(node) && graph.is_valid(edge)
    });
    junk.into_iter().for_each(|node| graph.set_parent(node, None));
}

/// Takes out duplicates that a new node makes superfluous.
fn settle(graph: &mut Graph, edge: EdgeId, node: NodeId, target: NodeId) {
    if graph.edges[edge].is_peer() && !graph.satisfies(node, edge) {
        graph.edges[edge].conflicted = true;
    }
    if let Some(to) = graph.edges[edge].to.filter(|to| *to != node && graph.is_valid(edge)) {
        dedupe(graph, to, false);
    }
    let root = graph.nodes[target].root;
    for other in graph.named(root, &graph.nodes[node].name.clone()) {
        let inside = graph.nodes[other].root == root && !graph.is_top(other) && graph.is_below(other, target);
        if !inside {
            continue;
        }
        dedupe(graph, other, false);
        if graph.nodes[other].root == root {
            for child in graph.children(other) {
                dedupe(graph, child, false);
            }
        }
    }
}

/// Takes a node out if it is a duplicate, with what only it needs; else, if asked to, looks below it.
fn dedupe(graph: &mut Graph, node: NodeId, descend: bool) {
    if graph.is_duplicate(node) {
        let counts = |graph: &Graph, edge: EdgeId| graph.edges[edge].to != Some(node) && graph.is_valid(edge);
        for gone in graph.only_needed_by(&[node], counts) {
            graph.set_parent(gone, None);
        }
        return;
    }
    if descend {
        let mut children = graph.children(node);
        children.sort_by(|one, other| collation::compare(&graph.nodes[*one].name, &graph.nodes[*other].name));
        for child in children {
            dedupe(graph, child, true);
        }
    }
}
