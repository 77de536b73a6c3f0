//! Whether a package can be put into a folder, with the peers that it brings. Nothing is changed here.

use std::collections::BTreeSet;

use super::graph::{EdgeId, Graph, NodeId};

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is room.
    Fits,
    /// In place of what is there.
    Replaces,
    /// What is there will do.
    Keeps,
    /// Somebody would miss something.
    Conflict,
}

/// The answer for a folder.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub target: NodeId,
    /// For the package with its peers.
    pub verdict: Verdict,
    /// For the package alone.
    pub alone: Verdict,
    /// The edge to a peer that did not fit.
    pub conflict: Option<EdgeId>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    /// The package, in a tree where it is tried together with its peers.
    pub package: NodeId,
    /// The node in whose `node_modules` it would be.
    pub target: NodeId,
    /// The edges that led here: a dependency, then peers of peers; the last one asks for the package.
    pub edges: &'a [EdgeId],
    /// Whether an older version is better than a second one.
    pub frugal: bool,
    /// The packages whose peers are being checked.
    pub path: &'a [NodeId],
}

/// Checks one folder.
pub(super) fn check(graph: &Graph, question: Question<'_>) -> Check {
    let edge = *question.edges.last().expect("an edge asks for the package");
    let frugal = question.frugal || graph.edges[edge].is_peer();
    let mut checker = Checker { graph, question: Question { frugal, ..question }, edge, alone: None, conflict: None };
    let verdict = checker.verdict();
    Check { target: question.target, verdict, alone: checker.alone.unwrap_or(verdict), conflict: checker.conflict }
}

struct Checker<'a> {
    graph: &'a Graph,
    question: Question<'a>,
    edge: EdgeId,
    alone: Option<Verdict>,
    conflict: Option<EdgeId>,
}

impl Checker<'_> {
    fn verdict(&mut self) -> Verdict {
        let (graph, Question { package, target, .. }) = (self.graph, self.question);
        let name = &graph.edges[self.edge].name;
        let current = graph.nodes[target].children.get(&super::graph::folded(name)).copied();
        // What could not be had is dropped later, or fails all.
        if graph.nodes[package].failed.is_some() {
            return if current.is_some() { Verdict::Replaces } else { Verdict::Fits };
        }
        let own = graph.edge_out(target, name);
        if own.is_some_and(|own| graph.edges[own].is_peer()) && !graph.is_top(target) {
            return Verdict::Conflict;
        }
        let Some(current) = current else {
            if own.is_some_and(|own| own != self.edge && !graph.satisfies(package, own)) {
                return Verdict::Conflict;
            }
            return self.where_none_is();
        };
        self.where_another_is(current)
    }

    /// The folder has none of the name; those below it that use one from further up would find this one.
    fn where_none_is(&mut self) -> Verdict {
        let (graph, Question { package, target, edges, .. }) = (self.graph, self.question);
        let name = &graph.edges[self.edge].name;
        let above = (target != graph.edges[edges[0]].from)
            .then(|| graph.resolve(target, &super::graph::folded(name)))
            .flatten();
        let shadowed = above.is_some_and(|above| {
            graph.nodes[above].edges_in.iter().any(|edge| {
                graph.is_below(graph.edges[*edge].from, target)
                    && graph.is_valid(*edge)
                    && !graph.satisfies(package, *edge)
            })
        });
        if shadowed { Verdict::Conflict } else { self.peers(Verdict::Fits) }
    }

    fn where_another_is(&mut self, current: NodeId) -> Verdict {
        let (graph, Question { package, target, edges, frugal, .. }) = (self.graph, self.question);
        let replaced_already = !graph.satisfies(package, self.edge);
        let content = graph.satisfies(current, self.edge);
        if graph.matches(package, current) && (content || replaced_already) {
            return Verdict::Keeps;
        }
        let newer = graph.nodes[current].failed.is_none()
            && graph.nodes[package].manifest.version >= graph.nodes[current].manifest.version;
        let can_replace = graph.can_replace(package, current, &BTreeSet::new());
        if newer && can_replace && self.peers(Verdict::Replaces) != Verdict::Conflict {
            return Verdict::Replaces;
        }
        if content {
            return Verdict::Keeps;
        }
        if frugal && !newer && can_replace && self.peers(Verdict::Replaces) != Verdict::Conflict {
            return Verdict::Replaces;
        }
        // It can be deeper: what is there may stay.
        let deepest =
            edges.iter().fold(graph.edges[edges[0]].from, |from, edge| graph.deepest(from, &graph.edges[*edge].name));
        if target != deepest {
            return Verdict::Conflict;
        }
        let peer = graph.edges[self.edge].is_peer();
        if !peer && target == graph.edges[self.edge].from {
            return self.peers(Verdict::Replaces);
        }
        if edges.len() == 1 && !peer {
            return Verdict::Conflict;
        }
        if self.groups_can_go(current) { self.peers(Verdict::Replaces) } else { Verdict::Conflict }
    }

    /// Whether every group of peers that `current` is in can be replaced, or be deeper.
    fn groups_can_go(&self, current: NodeId) -> bool {
        let (graph, Question { package, target, edges, .. }) = (self.graph, self.question);
        let Some(trial) = graph.nodes[package].parent else { return false };
        let beside: BTreeSet<String> =
            graph.nodes[trial].children.values().map(|child| graph.nodes[*child].name.clone()).collect();
        graph.peer_groups(current).into_iter().all(|(entry, group)| {
            if entry == self.edge || entry == edges[0] {
                return true;
            }
            let Some(first) = graph.edges[entry].to else { return true };
            let key = super::graph::folded(&graph.nodes[first].name);
            match graph.nodes[trial].children.get(&key) {
                Some(new) if graph.can_replace(*new, first, &beside) => return true,
                Some(_) => {}
                None if self.group_is_content(first, trial) => return true,
                None => {}
            }
            group.iter().all(|peer| {
                let deep = graph.deepest(graph.edges[entry].from, &graph.nodes[*peer].name);
                deep != target && !graph.is_below(target, deep)
            })
        })
    }

    /// Whether the peers that `first` has got could be those of the trial.
    fn group_is_content(&self, first: NodeId, trial: NodeId) -> bool {
        let graph = self.graph;
        let (mut seen, mut queue) = (BTreeSet::from([first]), vec![first]);
        while let Some(peer) = queue.pop() {
            for edge in &graph.nodes[peer].edges_out {
                let asked = &graph.edges[*edge];
                if !asked.is_peer() || !graph.is_valid(*edge) {
                    continue;
                }
                match graph.nodes[trial].children.get(&super::graph::folded(&asked.name)) {
                    Some(new) if !graph.satisfies(*new, *edge) => return false,
                    Some(_) => {}
                    None => queue.extend(asked.to.filter(|to| seen.insert(*to))),
                }
            }
        }
        true
    }

    /// Whether the peers have a place too; `verdict` if so.
    fn peers(&mut self, verdict: Verdict) -> Verdict {
        self.alone = Some(verdict);
        let (graph, Question { package, target, edges, path, .. }) = (self.graph, self.question);
        let path = [path, &[package]].concat();
        for edge in &graph.nodes[package].edges_out {
            let Some(peer) = graph.edges[*edge].to.filter(|_| graph.edges[*edge].is_peer()) else { continue };
            if path.contains(&peer) {
                continue;
            }
            // The target may have the peer as its own peer: then it must be further up.
            let target = graph.deepest(target, &graph.nodes[peer].name);
            let edges = [edges, &[*edge]].concat();
            let answer = check(graph, Question { package: peer, target, edges: &edges, frugal: true, path: &path });
            if answer.verdict == Verdict::Conflict {
                self.conflict = self.conflict.or(answer.conflict).or(Some(*edge));
                return Verdict::Conflict;
            }
        }
        verdict
    }
}
