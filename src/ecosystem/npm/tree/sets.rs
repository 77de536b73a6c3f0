//! Sets of nodes that belong together: those that only each other need, peers that came in with one package.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{EdgeId, Graph, NodeId};

impl Graph {
    /// `start` and what it depends on, without what is needed from outside the set. Only edges that pass
    /// `counts` count.
    pub fn only_needed_by(&self, start: &[NodeId], counts: impl Fn(&Self, EdgeId) -> bool) -> BTreeSet<NodeId> {
        let mut set: BTreeSet<NodeId> = start.iter().copied().collect();
        let mut queue: Vec<NodeId> = start.to_vec();
        while let Some(node) = queue.pop() {
            for edge in &self.nodes[node].edges_out {
                if let Some(to) = self.edges[*edge].to
                    && !set.contains(&to)
                    && counts(self, *edge)
                {
                    set.insert(to);
                    queue.push(to);
                }
            }
        }
        loop {
            let wanted = |node: &NodeId| {
                let mut into = self.nodes[*node].edges_in.iter();
                into.any(|edge| !set.contains(&self.edges[*edge].from) && counts(self, *edge))
            };
            let outside: Vec<NodeId> = set.iter().copied().filter(wanted).collect();
            if outside.is_empty() {
                return set;
            }
            set.retain(|node| !outside.contains(node));
        }
    }

    /// How deep a package called `name` can be for what depends on it from `start`: a peer cannot be below.
    pub fn deepest(&self, start: NodeId, name: &str) -> NodeId {
        let peer = |node: NodeId| self.edge_out(node, name).is_some_and(|edge| self.edges[edge].is_peer());
        self.ancestry(start).find(|node| self.is_top(*node) || !peer(*node)).unwrap_or(start)
    }

    /// The groups of peers that a node is in: by the edge through which each group came in, its members.
    pub fn peer_groups(&self, node: NodeId) -> BTreeMap<EdgeId, BTreeSet<NodeId>> {
        let mut union = BTreeSet::from([node]);
        let mut queue = vec![node];
        while let Some(id) = queue.pop() {
            let out = self.peers_of(id);
            let into =
                self.nodes[id].edges_in.iter().filter(|edge| self.edges[**edge].is_peer() && self.is_valid(**edge));
            let into: Vec<NodeId> = into.map(|edge| self.edges[*edge].from).collect();
            queue.extend(out.into_iter().chain(into).filter(|other| union.insert(*other)));
        }
        let mut groups = BTreeMap::new();
        for peer in &union {
            for edge in &self.nodes[*peer].edges_in {
                let entry = !self.edges[*edge].is_peer() || self.is_top(self.edges[*edge].from);
                if !entry || !self.is_valid(*edge) {
                    continue;
                }
                let mut group = BTreeSet::from([*peer]);
                let mut queue = vec![*peer];
                while let Some(id) = queue.pop() {
                    queue.extend(self.peers_of(id).into_iter().filter(|other| group.insert(*other)));
                }
                if group.contains(&node) {
                    groups.insert(*edge, group);
                }
            }
        }
        groups
    }

    /// The peers that a node has got.
    fn peers_of(&self, node: NodeId) -> Vec<NodeId> {
        let edges = self.nodes[node].edges_out.iter();
        edges
            .filter(|edge| self.edges[**edge].is_peer() && self.is_valid(**edge))
            .filter_map(|edge| self.edges[*edge].to)
            .collect()
    }

    /// Whether `new` can stand where `old` is without anybody missing something. What depends on `old` from
    /// beside it as a peer and is called one of `leaving` goes as well.
    pub fn can_replace(&self, new: NodeId, old: NodeId, leaving: &BTreeSet<String>) -> bool {
        let (fresh, stale) = (&self.nodes[new], &self.nodes[old]);
        if fresh.name != stale.name || fresh.manifest.name != stale.manifest.name {
            return false;
        }
        if !stale.edges_out.is_empty() && fresh.overrides != stale.overrides {
            return false;
        }
        let own = self.only_needed_by(&[old], |graph, edge| graph.edges[edge].to != Some(old) && graph.is_valid(edge));
        stale.edges_in.iter().all(|edge| {
            let from = self.edges[*edge].from;
            let goes = !self.is_top(old)
                && self.nodes[from].parent == stale.parent
                && self.edges[*edge].is_peer()
                && leaving.contains(&self.nodes[from].name);
            goes || own.contains(&from) || self.satisfies(new, *edge)
        })
    }

    /// Whether a node can go because those that need it would find one further up that is as good.
    pub fn is_duplicate(&self, node: NodeId) -> bool {
        if self.bundler(node).is_some_and(|bundler| bundler != 0) || self.in_shrinkwrap(node) {
            return false;
        }
        let Some(above) = self.nodes[node].parent.and_then(|parent| self.nodes[parent].parent) else { return false };
        if self.nodes[node].edges_in.is_empty() {
            return true;
        }
        let Some(other) = self.resolve(above, &super::graph::folded(&self.nodes[node].name)) else { return false };
        if self.matches(other, node) {
            return true;
        }
        if !self.can_replace(other, node, &BTreeSet::new()) {
            return false;
        }
        let (mine, others) = (&self.nodes[node].manifest.version, &self.nodes[other].manifest.version);
        others == mine || (others > mine && !self.is_overridden(node))
    }

    /// Whether a node is the version it is because an override says so.
    fn is_overridden(&self, node: NodeId) -> bool {
        let name = &self.nodes[node].name;
        let version = self.nodes[node].manifest.version.to_string();
        let Some(rule) = self.nodes[node].overrides.filter(|rule| self.rules.name(*rule) == name) else { return false };
        let mut into = self.nodes[node].edges_in.iter().map(|edge| &self.edges[*edge]);
        self.rules.key(rule).is_some()
            && into.any(|edge| {
                edge.overrides.is_some_and(|rule| self.rules.made(rule, name, &version))
                    && edge.overrides != self.nodes[edge.from].overrides
            })
    }

    /// Whether a package above says in its tarball what is below it.
    pub fn in_shrinkwrap(&self, node: NodeId) -> bool {
        self.ancestry(node).skip(1).any(|above| self.nodes[above].manifest.has_shrinkwrap)
    }
}
