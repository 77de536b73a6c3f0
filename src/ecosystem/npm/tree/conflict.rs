//! Why packages cannot be had together, in words.

use super::graph::{EdgeId, Graph, NodeId};
use crate::error::Error;

/// The error for a package that the project asks for, or its peer, and that has no place. `peer` is an edge
/// to a peer that did not fit.
pub(super) fn error(graph: &Graph, edge: EdgeId, package: NodeId, peer: Option<EdgeId>) -> Error {
    let asked = peer.unwrap_or(edge);
    let named = &graph.nodes[package];
    let error = Error::no(format!("{} cannot be had together with the rest", called(&named.name, graph, package)))
        .caused_by(Error::new(asks(graph, asked)));
    let there = graph.resolve(graph.edges[edge].from, &super::graph::folded(&graph.edges[asked].name));
    let there = there.or_else(|| graph.nodes[0].children.get(&super::graph::folded(&graph.edges[asked].name)).copied());
    let error = match there {
        Some(there) => error.caused_by(Error::new(is_there(graph, there))),
        None => error,
    };
    hinted(error)
}

/// The error for a peer that contradicts what the project asks for.
pub(super) fn peer_error(graph: &Graph, edge: EdgeId, other: Option<EdgeId>) -> Error {
    let from = graph.edges[edge].from;
    let name = called(&graph.nodes[from].name, graph, from);
    let mut error = Error::no(format!("the peers of {name} cannot be had")).caused_by(Error::new(asks(graph, edge)));
    if let Some(other) = other {
        error = error.caused_by(Error::new(asks(graph, other)));
    }
    if let Some(to) = graph.edges[edge].to {
        error = error.caused_by(Error::new(is_there(graph, to)));
    }
    hinted(error)
}

fn hinted(error: Error) -> Error {
    error.hint("ask for versions that go together; an override makes a package take a peer that it was not made for")
}

/// Who asks for what.
pub(super) fn asks(graph: &Graph, edge: EdgeId) -> String {
    let asked = &graph.edges[edge];
    let spec = graph.spec(edge);
    let peer = if asked.is_peer() { " as its peer" } else { "" };
    let changed = if spec == asked.raw { String::new() } else { format!(" (an override of `{}`)", asked.raw) };
    format!("{} asks for `{}` `{spec}`{peer}{changed}", asker(graph, asked.from), asked.name)
}

fn asker(graph: &Graph, node: NodeId) -> String {
    // What is tried stands for what it is tried for.
    match graph.nodes[node].source {
        Some(source) => asker(graph, source),
        None if node == 0 => "the definition".to_owned(),
        None => called(&graph.nodes[node].name, graph, node),
    }
}

fn is_there(graph: &Graph, node: NodeId) -> String {
    let into: Vec<String> = graph.nodes[node]
        .edges_in
        .iter()
        .filter(|edge| graph.is_valid(**edge))
        .take(3)
        .map(|edge| format!("{} wants `{}`", asker(graph, graph.edges[*edge].from), graph.spec(*edge)))
        .collect();
    let why = if into.is_empty() { String::new() } else { format!(": {}", into.join(", ")) };
    format!("there is {}{why}", called(&graph.nodes[node].name, graph, node))
}

/// A package as people call it.
fn called(name: &str, graph: &Graph, node: NodeId) -> String {
    let manifest = &graph.nodes[node].manifest;
    if manifest.name == name {
        format!("{name} {}", manifest.version)
    } else {
        format!("{name} ({} {})", manifest.name, manifest.version)
    }
}
