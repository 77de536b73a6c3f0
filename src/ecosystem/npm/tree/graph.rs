//! The graph that a tree is built in: nodes (packages at places), and edges (dependencies), which lead to what
//! Node.js would find from there, level by level up.
//!
//! It holds several trees at once: the one being built, and small ones in which a package is tried together
//! with its peers. Which package goes where is decided elsewhere.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::overrides::{RuleId, Rules};
use crate::ecosystem::npm::packument::Manifest;
use crate::ecosystem::npm::spec::{Spec, Wanted};
use crate::error::Error;

/// A node's place in [`Graph::nodes`].
pub(super) type NodeId = usize;
/// An edge's place in [`Graph::edges`].
pub(super) type EdgeId = usize;

/// A package at a place, or tried out.
#[derive(Debug)]
pub(super) struct Node {
    /// The name of its folder; an alias differs from the manifest's.
    pub name: String,
    pub manifest: Arc<Manifest>,
    /// Why it could not be had, where it could not.
    pub failed: Option<Error>,
    pub parent: Option<NodeId>,
    /// The top of the tree that it is in; itself where it is the top.
    pub root: NodeId,
    /// By folded name.
    pub children: BTreeMap<String, NodeId>,
    /// When it came to where it is: siblings are looked at in this order.
    attached: usize,
    /// In the order of the manifest.
    pub edges_out: Vec<EdgeId>,
    pub edges_in: Vec<EdgeId>,
    /// The overrides in force for what it depends on.
    pub overrides: Option<RuleId>,
    /// For the top of a tree in which things are tried: the node that they are tried for.
    pub source: Option<NodeId>,
    /// Whether it came out of the tarball of a package above it.
    pub unpacked: bool,
}

/// Of which kind a dependency is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeKind {
    Plain,
    Optional,
    Peer,
    OptionalPeer,
}

/// A dependency of a node.
#[derive(Debug)]
pub(super) struct Edge {
    pub from: NodeId,
    pub name: String,
    /// The specifier that the manifest gives.
    pub raw: String,
    /// A further specifier that is accepted of what is there already.
    accept: Option<String>,
    pub kind: EdgeKind,
    pub to: Option<NodeId>,
    pub overrides: Option<RuleId>,
    /// A peer that is known not to be had, and put up with.
    pub conflicted: bool,
}

impl Edge {
    pub fn is_peer(&self) -> bool {
        matches!(self.kind, EdgeKind::Peer | EdgeKind::OptionalPeer)
    }

    pub fn is_optional(&self) -> bool {
        matches!(self.kind, EdgeKind::Optional | EdgeKind::OptionalPeer)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Graph {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    pub rules: Rules,
    /// Edges by the tree they are in and the folded name they ask for.
    asking: BTreeMap<(NodeId, String), BTreeSet<EdgeId>>,
    /// Nodes by the tree they are in and their folded name.
    named: BTreeMap<(NodeId, String), BTreeSet<NodeId>>,
    attached: usize,
    /// Whether any package brings dependencies in its tarball.
    bundles: bool,
    wanted: RefCell<BTreeMap<String, Option<Arc<Wanted>>>>,
}

/// Names that differ in case only share a place, since some file systems would not keep them apart.
pub(super) fn folded(name: &str) -> String {
    name.to_lowercase()
}

impl Graph {
    /// A graph with the project as its only node, number 0.
    pub fn new(project: Manifest, rules: Rules) -> Self {
        let mut graph = Self {
            nodes: Vec::new(),
            edges: Vec::new(),
            asking: BTreeMap::new(),
            named: BTreeMap::new(),
            attached: 0,
            bundles: false,
            wanted: RefCell::default(),
            rules,
        };
        let overrides = graph.rules.root();
        graph.top(String::new(), Arc::new(project), overrides, None);
        graph
    }

    /// Adds a node that is in no tree but its own.
    pub fn top(
        &mut self,
        name: String,
        manifest: Arc<Manifest>,
        overrides: Option<RuleId>,
        source: Option<NodeId>,
    ) -> NodeId {
        let id = self.add(name, manifest, overrides, source);
        self.load(id);
        id
    }

    /// Adds a node below `parent`, where it takes the place of one of the same name.
    pub fn child(&mut self, name: &str, manifest: Arc<Manifest>, failed: Option<Error>, parent: NodeId) -> NodeId {
        let id = self.add(name.to_owned(), manifest, None, None);
        self.nodes[id].failed = failed;
        self.set_parent(id, Some(parent));
        self.load(id);
        id
    }

    fn add(
        &mut self,
        name: String,
        manifest: Arc<Manifest>,
        overrides: Option<RuleId>,
        source: Option<NodeId>,
    ) -> NodeId {
        let id = self.nodes.len();
        self.bundles |= !manifest.bundled.is_empty();
        self.named.entry((id, folded(&name))).or_default().insert(id);
        self.nodes.push(Node {
            name,
            manifest,
            failed: None,
            parent: None,
            root: id,
            children: BTreeMap::new(),
            attached: 0,
            edges_out: Vec::new(),
            edges_in: Vec::new(),
            overrides,
            source,
            unpacked: false,
        });
        id
    }

    /// Makes the edges of a new node. A later kind of dependency goes before an earlier one of the same name.
    fn load(&mut self, node: NodeId) {
        let manifest = Arc::clone(&self.nodes[node].manifest);
        let optional = |name: &String| manifest.optional_peers.contains(name);
        let peers = manifest.peer_dependencies.iter();
        let mut all: Vec<(&str, &str, EdgeKind)> = Vec::new();
        all.extend(
            peers.clone().filter(|(name, _)| !optional(name)).map(|(n, s)| (n.as_str(), s.as_str(), EdgeKind::Peer)),
        );
        all.extend(
            peers.filter(|(name, _)| optional(name)).map(|(n, s)| (n.as_str(), s.as_str(), EdgeKind::OptionalPeer)),
        );
        all.extend(manifest.dependencies.iter().map(|(n, s)| (n.as_str(), s.as_str(), EdgeKind::Plain)));
        all.extend(manifest.optional_dependencies.iter().map(|(n, s)| (n.as_str(), s.as_str(), EdgeKind::Optional)));
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        for (at, (name, ..)) in all.iter().enumerate() {
            last.insert(folded(name), at);
        }
        for (at, (name, spec, kind)) in all.into_iter().enumerate() {
            if last.get(&folded(name)) != Some(&at) {
                continue;
            }
            let id = self.edges.len();
            self.edges.push(Edge {
                from: node,
                name: name.to_owned(),
                raw: spec.to_owned(),
                accept: manifest.accept.get(name).cloned(),
                kind,
                to: None,
                overrides: None,
                conflicted: false,
            });
            self.nodes[node].edges_out.push(id);
            self.asking.entry((self.nodes[node].root, folded(name))).or_default().insert(id);
            self.reload(id, true);
        }
    }

    /// Moves a node with all below it: below `parent`, or out of its tree.
    pub fn set_parent(&mut self, node: NodeId, parent: Option<NodeId>) {
        if self.nodes[node].parent == parent {
            return;
        }
        let key = folded(&self.nodes[node].name);
        if let Some(old) = self.nodes[node].parent.take()
            && self.nodes[old].children.get(&key) == Some(&node)
        {
            self.nodes[old].children.remove(&key);
        }
        if let Some(parent) = parent {
            if let Some(other) = self.nodes[parent].children.get(&key).copied() {
                self.set_parent(other, None);
            }
            self.nodes[parent].children.insert(key, node);
            self.nodes[node].parent = Some(parent);
        }
        self.attached += 1;
        self.nodes[node].attached = self.attached;
        let (from, to) = (self.nodes[node].root, parent.map_or(node, |parent| self.nodes[parent].root));
        let moved = self.below(node);
        for id in &moved {
            self.enlist(*id, from, to);
        }
        let keys: BTreeSet<String> = moved.iter().map(|id| folded(&self.nodes[*id].name)).collect();
        if from != to {
            keys.iter().for_each(|key| self.relink(from, key));
        }
        for id in moved {
            for edge in self.nodes[id].edges_out.clone() {
                self.reload(edge, false);
            }
        }
        keys.iter().for_each(|key| self.relink(to, key));
    }

    fn enlist(&mut self, node: NodeId, from: NodeId, to: NodeId) {
        let key = folded(&self.nodes[node].name);
        if let Some(set) = self.named.get_mut(&(from, key.clone())) {
            set.remove(&node);
        }
        self.named.entry((to, key)).or_default().insert(node);
        for edge in self.nodes[node].edges_out.clone() {
            let key = folded(&self.edges[edge].name);
            if let Some(set) = self.asking.get_mut(&(from, key.clone())) {
                set.remove(&edge);
            }
            self.asking.entry((to, key)).or_default().insert(edge);
        }
        self.nodes[node].root = to;
    }

    /// Looks again where the edges of a tree lead that ask for a name.
    fn relink(&mut self, root: NodeId, key: &str) {
        let Some(edges) = self.asking.get(&(root, key.to_owned())) else { return };
        for edge in edges.clone() {
            if self.resolve(self.edges[edge].from, key) != self.edges[edge].to {
                self.reload(edge, true);
            }
        }
    }

    /// A node with all below it.
    fn below(&self, node: NodeId) -> Vec<NodeId> {
        let mut all = vec![node];
        let mut next = 0;
        while let Some(id) = all.get(next).copied() {
            all.extend(self.nodes[id].children.values());
            next += 1;
        }
        all
    }

    /// All nodes of the tree that is built, the project first.
    pub fn all(&self) -> Vec<NodeId> {
        self.below(0)
    }

    /// The nodes of a tree with this name, oldest first.
    pub fn named(&self, root: NodeId, name: &str) -> Vec<NodeId> {
        self.named.get(&(root, folded(name))).into_iter().flatten().copied().collect()
    }

    /// What Node.js would find from `node`, by folded name.
    pub fn resolve(&self, node: NodeId, key: &str) -> Option<NodeId> {
        self.ancestry(node).find_map(|id| self.nodes[id].children.get(key).copied())
    }

    /// The node, its parent, and so on.
    pub fn ancestry(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::successors(Some(node), |id| self.nodes[*id].parent)
    }

    /// Whether `node` is `above` or below it.
    pub fn is_below(&self, node: NodeId, above: NodeId) -> bool {
        self.ancestry(node).any(|id| id == above)
    }

    /// Whether it is the top of a tree.
    pub fn is_top(&self, node: NodeId) -> bool {
        self.nodes[node].parent.is_none()
    }

    /// The children in the order in which they came.
    pub fn children(&self, node: NodeId) -> Vec<NodeId> {
        let mut children: Vec<NodeId> = self.nodes[node].children.values().copied().collect();
        children.sort_by_key(|child| self.nodes[*child].attached);
        children
    }

    /// The edge of a node that asks for a name.
    pub fn edge_out(&self, node: NodeId, name: &str) -> Option<EdgeId> {
        let key = folded(name);
        self.nodes[node].edges_out.iter().copied().find(|edge| folded(&self.edges[*edge].name) == key)
    }

    /// The path from the top of its tree: `node_modules/a/node_modules/b`; empty for the top.
    pub fn location(&self, node: NodeId) -> String {
        let mut names: Vec<&str> = self.ancestry(node).map(|id| self.nodes[id].name.as_str()).collect();
        names.pop();
        names.reverse();
        names.iter().map(|name| format!("node_modules/{name}")).collect::<Vec<_>>().join("/")
    }

    /// How many nodes are above it.
    pub fn depth(&self, node: NodeId) -> usize {
        self.ancestry(node).count() - 1
    }

    /// The specifier of an edge, an override applied.
    pub fn spec(&self, edge: EdgeId) -> String {
        let edge = &self.edges[edge];
        match edge.overrides.and_then(|rule| self.rules.value(rule, &edge.name)) {
            Some(value) => value.to_owned(),
            None => edge.raw.clone(),
        }
    }

    /// Whether an edge is content with where it leads, or needs nothing.
    pub fn is_valid(&self, id: EdgeId) -> bool {
        let edge = &self.edges[id];
        let Some(to) = edge.to else { return edge.is_optional() };
        let own = edge.is_peer() && self.nodes[to].parent == Some(edge.from) && !self.is_top(edge.from);
        !own && self.satisfies(to, id) && !self.overrides_conflict(edge, to)
    }

    fn overrides_conflict(&self, edge: &Edge, to: NodeId) -> bool {
        match (edge.overrides, self.nodes[to].overrides) {
            (Some(one), Some(other)) => !self.nodes[to].edges_out.is_empty() && self.rules.conflict(one, other),
            _ => false,
        }
    }

    /// Whether a node is what an edge asks for.
    pub fn satisfies(&self, node: NodeId, edge: EdgeId) -> bool {
        let asked = &self.edges[edge];
        if self.nodes[node].name != asked.name {
            return false;
        }
        let does = |spec: &str| {
            self.accepts(node, spec) || asked.accept.as_ref().is_some_and(|accept| self.accepts(node, accept))
        };
        // What comes in a tarball is not subject to overrides.
        let Some(rule) = asked.overrides.filter(|_| !self.is_bundled(node)) else { return does(&asked.raw) };
        let Some(key) = self.rules.key(rule) else { return does(&asked.raw) };
        does(&self.spec(edge)) || (does(&asked.raw) && !does(key))
    }

    fn accepts(&self, node: NodeId, spec: &str) -> bool {
        let Some(wanted) = self.wanted(spec) else { return false };
        match (&self.nodes[node].failed, &*wanted) {
            (Some(_), wanted) => *wanted == Wanted::Range(None),
            (None, wanted) => wanted.accepts(&self.nodes[node].manifest.version),
        }
    }

    fn wanted(&self, spec: &str) -> Option<Arc<Wanted>> {
        let mut known = self.wanted.borrow_mut();
        if let Some(wanted) = known.get(spec) {
            return wanted.clone();
        }
        // The name matters only for an error that is not looked at.
        let wanted = Spec::parse("a", spec).ok().map(|spec| Arc::new(spec.wanted));
        known.insert(spec.to_owned(), wanted.clone());
        wanted
    }

    /// Whether two nodes are the same package under the same name.
    pub fn matches(&self, one: NodeId, other: NodeId) -> bool {
        let (one, other) = (&self.nodes[one], &self.nodes[other]);
        if one.name != other.name {
            return false;
        }
        if let (Some(one), Some(other)) = (&one.manifest.dist.integrity, &other.manifest.dist.integrity) {
            return one == other;
        }
        let (one, other) = (&one.manifest, &other.manifest);
        if !one.dist.tarball.is_empty() && !other.dist.tarball.is_empty() {
            return one.dist.tarball == other.dist.tarball;
        }
        !one.name.is_empty() && one.name == other.name && one.version == other.version
    }

    /// The package whose tarball holds a node, if it is not the project.
    pub fn bundler(&self, node: NodeId) -> Option<NodeId> {
        if !self.bundles {
            return None;
        }
        self.bundler_on_path(node, &mut BTreeSet::new())
    }

    fn bundler_on_path(&self, node: NodeId, path: &mut BTreeSet<NodeId>) -> Option<NodeId> {
        if !path.insert(node) {
            return None;
        }
        let parent = self.nodes[node].parent?;
        if let Some(above) = self.bundler_on_path(parent, path) {
            return Some(above);
        }
        if self.nodes[parent].manifest.bundled.contains(&self.nodes[node].name) {
            return Some(parent);
        }
        let into = &self.nodes[node].edges_in;
        into.iter().any(|edge| self.bundler_on_path(self.edges[*edge].from, path) == Some(parent)).then_some(parent)
    }

    fn is_bundled(&self, node: NodeId) -> bool {
        self.bundler(node).is_some()
    }

    /// Looks again where an edge leads, and which overrides it is under.
    fn reload(&mut self, edge: EdgeId, hard: bool) {
        let from = self.edges[edge].from;
        let old_rule = self.edges[edge].overrides;
        let rule = self.nodes[from]
            .overrides
            .map(|rule| self.rules.of_edge(rule, &self.edges[edge].name, &self.edges[edge].raw));
        self.edges[edge].overrides = rule;
        let to = self.resolve(from, &folded(&self.edges[edge].name));
        let old = self.edges[edge].to;
        if to != old {
            self.edges[edge].to = to;
            if let Some(old) = old {
                self.nodes[old].edges_in.retain(|other| *other != edge);
                self.rule_left(old, rule);
            }
            if let Some(to) = to {
                self.rule_came(to, rule);
                self.nodes[to].edges_in.push(edge);
            }
        } else if let Some(to) = to
            && !hard
            && rule.is_some()
            && rule != old_rule
        {
            self.rule_left(to, old_rule);
            self.rule_came(to, rule);
        }
    }

    /// An edge under these overrides leads to the node now.
    fn rule_came(&mut self, node: NodeId, rule: Option<RuleId>) {
        let Some(rule) = rule else { return };
        let new = match self.nodes[node].overrides {
            None => rule,
            Some(old) if old == rule => return,
            Some(old) => match self.rules.more_specific(old, rule) {
                Some(new) if new != old => new,
                _ => return,
            },
        };
        self.nodes[node].overrides = Some(new);
        self.pass_on(node);
    }

    /// An edge under these overrides leads to the node no more.
    fn rule_left(&mut self, node: NodeId, rule: Option<RuleId>) {
        if self.nodes[node].overrides.is_none() || self.nodes[node].overrides != rule {
            return;
        }
        let mut new = None;
        for edge in &self.nodes[node].edges_in {
            let rule = self.edges[*edge].overrides;
            new = match (new, rule) {
                (Some(one), Some(other)) => self.rules.more_specific(other, one),
                _ => rule,
            };
        }
        if self.nodes[node].overrides == new {
            return;
        }
        self.nodes[node].overrides = new;
        if new.is_some() {
            self.pass_on(node);
        }
    }

    fn pass_on(&mut self, node: NodeId) {
        for edge in self.nodes[node].edges_out.clone() {
            self.reload(edge, true);
            if let Some(to) = self.edges[edge].to {
                self.rule_came(to, self.edges[edge].overrides);
            }
        }
    }
}
