//! Building the tree, as npm does: from the project outwards, nearest first; for each dependency that is missing
//! or wrong, the version that its specifier gets is tried together with its peers, then placed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::conflict;
use super::graph::{Edge, EdgeId, EdgeKind, Graph, NodeId, folded};
use super::model::{Index, Request};
use super::place::place;
use crate::ecosystem::npm::collation;
use crate::ecosystem::npm::packument::Manifest;
use crate::ecosystem::npm::pick::pick;
use crate::ecosystem::npm::spec::Spec;
use crate::error::{Context, Error, Kind, Result};

/// Packages that are tried: what honest projects need is far below.
const MOST_NODES: usize = 200_000;
/// Packages in the tree.
const MOST_PLACED: usize = 50_000;
/// Peers that bring peers, one after the other.
const DEEPEST_PEERS: usize = 100;

/// The state of one resolution.
pub(super) struct Builder<'a> {
    pub graph: Graph,
    index: &'a dyn Index,
    request: &'a Request,
    queue: Vec<NodeId>,
    seen: BTreeSet<NodeId>,
    /// Nodes that stand for what could not be had.
    pub failures: BTreeSet<NodeId>,
    /// The tree in which things are tried for a node.
    trials: BTreeMap<NodeId, NodeId>,
    picked: BTreeMap<(String, String), Result<Arc<Manifest>>>,
}

impl<'a> Builder<'a> {
    pub fn new(graph: Graph, index: &'a dyn Index, request: &'a Request) -> Self {
        Self {
            graph,
            index,
            request,
            queue: vec![0],
            seen: BTreeSet::new(),
            failures: BTreeSet::new(),
            trials: BTreeMap::new(),
            picked: BTreeMap::new(),
        }
    }

    /// Begins with what an older lock has where it has it, as far as the registry still has it too. What is
    /// content with it stays; what nobody needs any more is left out in the end.
    pub fn keep(&mut self) -> Result<()> {
        let request = self.request;
        let wanted: Vec<(String, String)> =
            request.preferred.values().map(|pin| (pin.name.clone(), pin.version.to_string())).collect();
        self.index.prefetch(&wanted);
        let mut pins: Vec<(Vec<&str>, &super::Pin)> =
            request.preferred.iter().map(|(path, pin)| (path.split("node_modules/").skip(1).collect(), pin)).collect();
        pins.sort_by_key(|(names, _)| names.len());
        for (names, pin) in pins {
            let Some((name, above)) = names.split_last() else { continue };
            let above = above.iter().try_fold(0, |node: NodeId, name| {
                self.graph.nodes[node].children.get(&folded(name.trim_end_matches('/'))).copied()
            });
            let moves = request.moving.contains(&pin.name) || request.moving.contains(*name);
            let Some(above) = above.filter(|_| !moves) else { continue };
            let packument = match self.index.packument(&pin.name) {
                Ok(packument) => packument,
                Err(error) if error.what() == Kind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let Some(manifest) = packument.versions.values().find(|one| one.version == pin.version) {
                self.graph.child(name, Arc::new(manifest.clone()), None, above);
            }
        }
        for node in self.graph.all().into_iter().skip(1) {
            if !self.problems(node).is_empty() || !self.graph.nodes[node].manifest.bundled.is_empty() {
                self.queue.push(node);
            }
        }
        Ok(())
    }

    /// Works until nothing is missing that can be had.
    pub fn run(&mut self) -> Result<()> {
        for edge in self.graph.nodes[0].edges_out.clone() {
            let (asked, spec) = (&self.graph.edges[edge], self.graph.spec(edge));
            if asked.raw != spec {
                return Err(Error::no(format!(
                    "the definition asks for `{}` `{}` and overrides it with `{spec}`",
                    asked.name, asked.raw
                ))
                .hint("an override is for what other packages ask for: change the dependency itself"));
            }
        }
        while let Some(node) = self.next() {
            if self.graph.nodes[node].root == 0 && self.seen.insert(node) {
                self.step(node)?;
            }
        }
        Ok(())
    }

    /// The node nearest to the top; among equals the first by its path.
    fn next(&mut self) -> Option<NodeId> {
        let graph = &self.graph;
        let depth = self.queue.iter().map(|node| graph.depth(*node)).min()?;
        let nearest = self.queue.iter().enumerate().filter(|(_, node)| graph.depth(**node) == depth);
        let paths = nearest.map(|(at, node)| (at, graph.location(*node)));
        let (first, _) = paths.min_by(|(_, one), (_, other)| collation::compare(one, other))?;
        Some(self.queue.remove(first))
    }

    fn enqueue(&mut self, node: NodeId) {
        if !self.queue.contains(&node) {
            self.queue.push(node);
        }
    }

    fn step(&mut self, node: NodeId) -> Result<()> {
        if self.graph.in_shrinkwrap(node) {
            return Ok(());
        }
        let manifest = Arc::clone(&self.graph.nodes[node].manifest);
        let opened = node != 0 && !self.graph.nodes[node].unpacked;
        if opened && (manifest.has_shrinkwrap || !manifest.bundled.is_empty()) {
            self.open(node, &manifest)?;
        }
        let mut tasks = Vec::new();
        for edge in self.problems(node) {
            if self.graph.edges[edge].conflicted {
                continue;
            }
            tasks.push((edge, self.package_for(node, edge)?));
            if self.graph.nodes.len() > MOST_NODES {
                return Err(Error::no("the packages' peers lead to more combinations than can be tried")
                    .hint("fix the version of a package whose peers contradict others'"));
            }
        }
        tasks.sort_by(|(one, _), (other, _)| {
            collation::compare(&self.graph.edges[*one].name, &self.graph.edges[*other].name)
        });
        for (edge, package) in tasks {
            self.place(edge, package)?;
        }
        Ok(())
    }

    /// Adds what a package's own tarball holds, or says, of what is below it.
    fn open(&mut self, node: NodeId, manifest: &Arc<Manifest>) -> Result<()> {
        let what = || format!("opening {} {}", manifest.name, manifest.version);
        if manifest.has_shrinkwrap {
            return Err(Error::no("it fixes its dependencies itself, in an npm-shrinkwrap.json")).context(what).map_err(
                |error| error.kind(Kind::No).hint("such packages can be had through a package-lock.json that names all: `lock = \"package-lock.json\"`"),
            );
        }
        for inner in self.index.bundled(manifest).context(what)? {
            let mut above = node;
            for name in &inner.above {
                match self.graph.nodes[above].children.get(&folded(name)) {
                    Some(child) => above = *child,
                    None => break,
                }
            }
            let child = self.graph.child(&inner.name, Arc::new(inner.manifest), None, above);
            self.graph.nodes[child].unpacked = true;
        }
        Ok(())
    }

    /// The dependencies of a node that are missing or wrong.
    fn problems(&self, node: NodeId) -> Vec<EdgeId> {
        let bundled: &[String] = if node == 0 { &[] } else { &self.graph.nodes[node].manifest.bundled };
        let graph = &self.graph;
        let is_problem = |id: &EdgeId| {
            let edge: &Edge = &graph.edges[*id];
            if bundled.contains(&edge.name) {
                return false;
            }
            match edge.to {
                None => edge.kind != EdgeKind::OptionalPeer,
                Some(to) => !self.failures.contains(&to) && !graph.in_shrinkwrap(to) && !graph.is_valid(*id),
            }
        };
        graph.nodes[node].edges_out.iter().copied().filter(is_problem).collect()
    }

    /// What is to be placed for an edge of `node`, tried together with its peers.
    fn package_for(&mut self, node: NodeId, edge: EdgeId) -> Result<NodeId> {
        let trial = self.trial(node, true);
        let tried = self.graph.edge_out(trial, &self.graph.edges[edge].name);
        let tried = tried.filter(|tried| self.graph.is_valid(*tried)).and_then(|tried| self.graph.edges[tried].to);
        if let Some(package) = tried.filter(|package| self.graph.satisfies(*package, edge)) {
            return Ok(package);
        }
        if self.graph.edges[edge].kind == EdgeKind::OptionalPeer
            && let Some(package) = self.somewhere(node, edge)
        {
            return Ok(package);
        }
        let within = self.graph.edges[edge].is_peer().then_some(trial);
        self.try_out(edge, within, None, &mut BTreeSet::from([node]), 0)
    }

    /// A package in the tree that is what an optional peer asks for, the nearest to the top.
    fn somewhere(&self, node: NodeId, edge: EdgeId) -> Option<NodeId> {
        let start = self.graph.nodes[node].parent.unwrap_or(node);
        let mut queue = std::collections::VecDeque::from(self.graph.children(start));
        while let Some(candidate) = queue.pop_front() {
            let bundled = self.graph.bundler(candidate).is_some_and(|bundler| bundler != 0);
            if !bundled && self.graph.satisfies(candidate, edge) {
                return Some(candidate);
            }
            queue.extend(self.graph.children(candidate));
        }
        None
    }

    /// A tree of its own with the dependencies of a node, in which packages are tried with their peers.
    fn trial(&mut self, node: NodeId, again: bool) -> NodeId {
        if let Some(trial) = self.trials.get(&node).filter(|_| again) {
            return *trial;
        }
        let (name, manifest) = (self.graph.nodes[node].name.clone(), Arc::clone(&self.graph.nodes[node].manifest));
        let trial = self.graph.top(name, manifest, self.graph.nodes[node].overrides, Some(node));
        self.trials.insert(node, trial);
        trial
    }

    /// Makes the package that an edge asks for in a trial, with its peers. `second` is another edge that it
    /// should satisfy, if one package can be found for both.
    fn try_out(
        &mut self,
        edge: EdgeId,
        within: Option<NodeId>,
        second: Option<EdgeId>,
        required: &mut BTreeSet<NodeId>,
        depth: usize,
    ) -> Result<NodeId> {
        if depth > DEEPEST_PEERS {
            return Err(Error::no(format!(
                "more than {DEEPEST_PEERS} packages want each other as peers, one after the other"
            )));
        }
        let from = self.graph.edges[edge].from;
        let within = within.unwrap_or_else(|| self.trial(from, false));
        let first = self.make(edge, edge, within)?;
        let other = match second {
            Some(second) if !self.graph.is_valid(second) => Some(self.make(edge, second, within)?),
            _ => None,
        };
        let package = match other {
            Some(other) if self.graph.is_valid(edge) => other,
            _ => first,
        };
        self.graph.set_parent(package, Some(within));
        let needed = |edge: EdgeId, required: &BTreeSet<NodeId>| {
            let edge = &self.graph.edges[edge];
            required.contains(&edge.from) && edge.kind != EdgeKind::OptionalPeer
        };
        if needed(edge, required) || second.is_some_and(|second| needed(second, required)) {
            required.insert(package);
        }
        self.try_peers(package, required, depth)?;
        Ok(package)
    }

    /// Makes the peers of a package in its trial, and theirs. Those that also satisfy what the trial's node
    /// asks for are preferred.
    fn try_peers(&mut self, package: NodeId, required: &mut BTreeSet<NodeId>, depth: usize) -> Result<()> {
        let peers = self.graph.nodes[package].edges_out.iter().copied();
        let mut peers: Vec<EdgeId> = peers
            .filter(|edge| self.graph.edges[*edge].is_peer())
            .filter(|edge| self.graph.edges[*edge].to.is_none() || !self.graph.is_valid(*edge))
            .collect();
        peers.sort_by(|one, other| collation::compare(&self.graph.edges[*one].name, &self.graph.edges[*other].name));
        for edge in peers {
            // A better one may have been found for the package itself on the way.
            let Some(trial) = self.graph.nodes[package].parent else { break };
            if self.graph.edges[edge].to.is_some() && self.graph.is_valid(edge) {
                continue;
            }
            let asked = self.graph.edge_out(trial, &self.graph.edges[edge].name);
            // A conflict is put up with unless the project itself asks for both sides.
            let tolerated = self.graph.nodes[trial].source != Some(0);
            let Some(current) = self.graph.edges[edge].to else {
                let Some(asked) = asked else {
                    self.try_out(edge, Some(trial), None, required, depth + 1)?;
                    continue;
                };
                let found = self.try_out(asked, Some(trial), Some(edge), required, depth + 1)?;
                if self.graph.is_valid(edge) {
                    continue;
                }
                if tolerated || !required.contains(&found) {
                    self.graph.edges[edge].conflicted = true;
                    continue;
                }
                if self.graph.nodes[package].parent.is_none() {
                    break;
                }
                return Err(conflict::peer_error(&self.graph, edge, Some(asked)));
            };
            let better = self.try_out(edge, None, None, required, depth + 1)?;
            if self.graph.can_replace(better, current, &BTreeSet::new()) {
                self.try_out(edge, Some(trial), None, required, depth + 1)?;
                continue;
            }
            if !tolerated && required.contains(&self.graph.edges[edge].from) {
                return Err(conflict::peer_error(&self.graph, edge, asked));
            }
        }
        Ok(())
    }

    /// A node below `within` for the name of `edge`, of the version that `spec`'s specifier gets.
    fn make(&mut self, edge: EdgeId, spec: EdgeId, within: NodeId) -> Result<NodeId> {
        let name = self.graph.edges[edge].name.clone();
        Ok(match self.manifest(&name, spec) {
            Ok(manifest) => self.graph.child(&name, manifest, None, within),
            // The network may answer next time; that a package is missing stays so.
            Err(error) if error.what() == Kind::Network => return Err(error),
            Err(error) => {
                let why = conflict::asks(&self.graph, spec);
                let kind = if error.what() == Kind::NotFound { Kind::No } else { error.what() };
                let error = Error::new(why).kind(kind).caused_by(error);
                let unknown = Manifest { name: name.clone(), ..Manifest::default() };
                let node = self.graph.child(&name, Arc::new(unknown), Some(error), within);
                self.failures.insert(node);
                node
            }
        })
    }

    fn manifest(&mut self, name: &str, edge: EdgeId) -> Result<Arc<Manifest>> {
        let text = self.graph.spec(edge);
        let spec = Spec::parse(name, &text)?;
        let key = (name.to_owned(), text);
        if let Some(known) = self.picked.get(&key) {
            return known.clone();
        }
        let found = self.index.packument(&spec.name).and_then(|packument| {
            pick(&packument, &spec.wanted, &self.request.engines).map(|one| Arc::new(one.clone()))
        });
        self.picked.insert(key, found.clone());
        found
    }

    /// Places what was tried, and notes whose dependencies must be looked at again.
    fn place(&mut self, edge: EdgeId, package: NodeId) -> Result<()> {
        let placements = place(&mut self.graph, edge, package)?;
        let mut names = Vec::new();
        for placement in placements {
            let node = placement.node;
            if self.graph.nodes[node].failed.is_some() {
                self.failures.insert(node);
            }
            for into in self.graph.nodes[node].edges_in.clone() {
                let asked = &self.graph.edges[into];
                if into != placement.edge && !asked.conflicted && !self.graph.is_valid(into) {
                    let from = asked.from;
                    self.seen.remove(&from);
                    self.enqueue(from);
                }
            }
            self.enqueue(node);
            for node in placement.unsettled {
                self.seen.remove(&node);
                self.enqueue(node);
            }
            for edge in self.problems(node) {
                names.push((self.graph.edges[edge].name.clone(), self.graph.spec(edge)));
            }
        }
        if self.graph.all().len() > MOST_PLACED {
            return Err(Error::no(format!("the tree would have more than {MOST_PLACED} packages")));
        }
        self.index.prefetch(&names);
        Ok(())
    }
}
