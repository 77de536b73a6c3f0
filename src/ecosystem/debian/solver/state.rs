//! The state of every package while a solution is looked for: what is installed, what would be, and
//! whether the relations of what would be hold.
//!
//! Models what apt's dependency cache answers, computed when asked instead of kept up to date for every
//! relation in the universe. One thing has to be remembered nevertheless: apt drops the candidate of a package
//! that turns out to be uninstallable without looking at who depends on it, so those go on believing in it
//! until something near them changes ([`State::drop_candidate`]). Its answers depend on that.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use super::super::policy;
use super::super::universe::{Dependency, Kind, Name, Universe, Version};

/// What is to be done with a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Keep,
    Install,
    Delete,
}

/// The state of one package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// Installed now.
    pub current: Option<Version>,
    /// What would be installed if it were to be.
    pub candidate: Option<Version>,
    /// What will be installed in the end.
    pub install: Option<Version>,
    pub mode: Mode,
    /// Nobody asked for it by name.
    pub auto: bool,
    /// Its mode is not to be changed.
    pub protected: bool,
    /// Not installed before: a new package.
    pub new: bool,
    /// Installed, but nothing that was asked for needs it.
    pub garbage: bool,
}

/// Which of a package's versions a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    Then,
    Candidate,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct State<'u> {
    pub universe: &'u Universe,
    pub nodes: Vec<Node>,
    /// Names of what will be installed in the end.
    pub installed: BTreeSet<Name>,
    /// Names of what is installed now.
    pub base: Vec<Name>,
    dependencies: BTreeMap<Version, Rc<[Dependency<'u>]>>,
    /// By the name a relation points at: candidates that it still believes in.
    believed: BTreeMap<Name, BTreeMap<Name, Option<Version>>>,
    /// A name that counts as essential although its package does not say so.
    forced_essential: Option<Name>,
}

impl<'u> State<'u> {
    /// Everything as policy has it, with `installed` installed and kept.
    pub fn new(
        universe: &'u Universe,
        installed: &BTreeMap<Name, Version>,
        preferred: &BTreeMap<Name, Version>,
    ) -> Self {
        let mut nodes = Vec::with_capacity(universe.name_count());
        let candidates = policy::candidates(universe);
        for name in 0..universe.name_count() as Name {
            let current = installed.get(&name).copied();
            let usual = match current {
                Some(_) => policy::candidate(universe, name, current),
                None => candidates[name as usize],
            };
            let candidate = preferred.get(&name).copied().or(usual);
            nodes.push(Node {
                current,
                candidate,
                install: current,
                mode: Mode::Keep,
                auto: false,
                protected: false,
                new: current.is_none() || candidate.is_none(),
                garbage: false,
            });
        }
        Self {
            universe,
            nodes,
            installed: installed.keys().copied().collect(),
            base: installed.keys().copied().collect(),
            dependencies: BTreeMap::new(),
            believed: BTreeMap::new(),
            // apt takes itself for essential where it decides.
            forced_essential: universe.find("apt"),
        }
    }

    pub fn node(&self, name: Name) -> &Node {
        &self.nodes[name as usize]
    }

    pub fn node_mut(&mut self, name: Name) -> &mut Node {
        &mut self.nodes[name as usize]
    }

    pub fn is_essential(&self, name: Name) -> bool {
        self.universe.is_essential(name) || self.forced_essential == Some(name)
    }

    pub fn is_important(&self, name: Name) -> bool {
        self.universe.is_protected(name) || self.forced_essential == Some(name)
    }

    pub fn dependencies(&mut self, version: Version) -> Rc<[Dependency<'u>]> {
        let universe = self.universe;
        self.dependencies.entry(version).or_insert_with(|| universe.dependencies(version).into()).clone()
    }

    fn version_of(&self, name: Name, when: When) -> Option<Version> {
        let node = self.node(name);
        match when {
            When::Now => node.current,
            When::Then => node.install,
            When::Candidate => node.candidate,
        }
    }

    /// Whether a version of `parent` may look at this package at all: nothing conflicts with itself.
    pub fn ignores(dependency: &Dependency<'_>, parent: Name, other: Name) -> bool {
        dependency.kind.is_negative() && parent == other
    }

    /// Whether there is something that a relation names, real or provided. For a conflict, that is bad.
    fn meets(&self, dependency: &Dependency<'_>, parent: Name, pick: impl Fn(Name) -> Option<Version>) -> bool {
        let target = dependency.target;
        let universe = self.universe;
        if !Self::ignores(dependency, parent, target)
            && pick(target).is_some_and(|version| dependency.accepts(universe.version(version)))
        {
            return true;
        }
        universe.providers(target).any(|(by, provided)| {
            let owner = universe.name_of(by);
            !Self::ignores(dependency, parent, owner) && pick(owner) == Some(by) && dependency.accepts(provided)
        })
    }

    /// Whether one alternative holds.
    pub fn holds(&self, dependency: &Dependency<'_>, parent: Name, when: When) -> bool {
        let met = match (when, self.believed.get(&dependency.target)) {
            (When::Candidate, Some(believed)) => self.meets(dependency, parent, |name| {
                believed.get(&name).copied().unwrap_or_else(|| self.node(name).candidate)
            }),
            _ => self.meets(dependency, parent, |name| self.version_of(name, when)),
        };
        met != dependency.kind.is_negative()
    }

    /// Whether any alternative of a group holds.
    pub fn group_holds(&self, group: &[Dependency<'_>], parent: Name, when: When) -> bool {
        group.iter().any(|dependency| self.holds(dependency, parent, when))
    }

    /// Whether all critical relations of a version hold, with what will be installed.
    pub fn is_satisfied(&mut self, version: Version) -> bool {
        let parent = self.universe.name_of(version);
        let dependencies = self.dependencies(version);
        groups(&dependencies)
            .filter(|group| dependencies[group.start].kind.is_critical())
            .all(|group| self.group_holds(&dependencies[group], parent, When::Then))
    }

    /// Whether what will be installed of a package will be broken.
    pub fn is_broken(&mut self, name: Name) -> bool {
        self.node(name).install.is_some_and(|version| !self.is_satisfied(version))
    }

    /// The packages that will be broken.
    pub fn broken(&mut self) -> Vec<Name> {
        let installed: Vec<Name> = self.installed.iter().copied().collect();
        installed.into_iter().filter(|&name| self.is_broken(name)).collect()
    }

    /// Sets what will be installed of a package.
    pub fn set_install(&mut self, name: Name, version: Option<Version>, mode: Mode) {
        let node = self.node_mut(name);
        node.install = version;
        node.mode = mode;
        match version {
            Some(_) => self.installed.insert(name),
            None => self.installed.remove(&name),
        };
        self.touch(name);
    }

    /// Makes another version the candidate; if the old one was to be installed, the new one will be.
    pub fn set_candidate(&mut self, name: Name, version: Version) {
        let node = *self.node(name);
        if node.candidate == Some(version) {
            return;
        }
        if node.candidate == node.install && node.mode == Mode::Install {
            self.node_mut(name).install = Some(version);
        }
        self.node_mut(name).candidate = Some(version);
        self.renew_status(name);
        self.touch(name);
    }

    /// Makes what will be installed the candidate, without telling those who depend on it.
    pub fn drop_candidate(&mut self, name: Name, to: Option<Version>) {
        let old = self.node(name).candidate;
        if old == to {
            return;
        }
        let universe = self.universe;
        for near in std::iter::once(name).chain(old.into_iter().flat_map(|version| universe.provided_by(version))) {
            self.believed.entry(near).or_default().entry(name).or_insert(old);
        }
        self.node_mut(name).candidate = to;
    }

    pub fn renew_status(&mut self, name: Name) {
        let node = self.node_mut(name);
        node.new = node.current.is_none() || node.candidate.is_none();
    }

    /// Those who name this package, or what it provides, look again.
    fn touch(&mut self, name: Name) {
        if self.believed.is_empty() {
            return;
        }
        let node = *self.node(name);
        let universe = self.universe;
        let versions = node.current.into_iter().chain(node.candidate);
        for near in std::iter::once(name).chain(versions.flat_map(|version| universe.provided_by(version))) {
            self.believed.remove(&near);
        }
    }

    /// The versions that could satisfy `dependency`, of those that are candidates (or installed now).
    pub fn targets(&self, dependency: &Dependency<'_>, parent: Name, when: When) -> Vec<Version> {
        if when == When::Candidate && self.holds(dependency, parent, when) == dependency.kind.is_negative() {
            return Vec::new();
        }
        let universe = self.universe;
        let mut found = Vec::new();
        let target = dependency.target;
        if let Some(version) = self.version_of(target, when)
            && !Self::ignores(dependency, parent, target)
            && dependency.accepts(universe.version(version))
        {
            found.push(version);
        }
        for (by, provided) in universe.providers(target) {
            let owner = universe.name_of(by);
            let picked = self.version_of(owner, when) == Some(by);
            if picked && !Self::ignores(dependency, parent, owner) && dependency.accepts(provided) {
                found.push(by);
            }
        }
        found
    }

    /// The versions of the universe that could satisfy `dependency`.
    pub fn all_targets(&self, dependency: &Dependency<'_>, parent: Name) -> Vec<Version> {
        let universe = self.universe;
        let target = dependency.target;
        let real = universe
            .versions(target)
            .filter(|_| !Self::ignores(dependency, parent, target))
            .filter(|&version| dependency.accepts(universe.version(version)));
        let provided = universe.providers(target).filter(|(by, provided)| {
            !Self::ignores(dependency, parent, universe.name_of(*by)) && dependency.accepts(provided)
        });
        real.chain(provided.map(|(by, _)| by)).collect()
    }

    /// What can satisfy a group, best first: installed before new, left before right, and in one alternative as
    /// apt prefers providers.
    pub fn solutions(&self, group: &[Dependency<'_>], parent: Name, when: When) -> Vec<Version> {
        let mut upgrades = Vec::new();
        let mut new = Vec::new();
        for dependency in group {
            let mut targets = self.targets(dependency, parent, when);
            targets.sort_by(|&a, &b| self.preference(a, b, dependency.target));
            for version in targets {
                let installed = self.node(self.universe.name_of(version)).current.is_some();
                if installed { upgrades.push(version) } else { new.push(version) }
            }
        }
        upgrades.append(&mut new);
        upgrades.dedup();
        if !group.last().is_some_and(|last| last.kind.is_negative()) {
            upgrades.retain(|&version| !self.is_forbidden(self.universe.name_of(version)));
        }
        upgrades
    }

    /// Protected in the state of not being there.
    pub fn is_forbidden(&self, name: Name) -> bool {
        let node = self.node(name);
        node.protected && (node.mode == Mode::Delete || (node.mode == Mode::Keep && node.current.is_none()))
    }

    /// Which of two providers of `target` apt tries first.
    fn preference(&self, a: Version, b: Version, target: Name) -> Ordering {
        let universe = self.universe;
        let (name_a, name_b) = (universe.name_of(a), universe.name_of(b));
        let (node_a, node_b) = (self.node(name_a), self.node(name_b));
        let first = |in_a: bool, in_b: bool| in_b.cmp(&in_a);
        let shared = |version, node: &Node| universe.is_multi_arch_same(version) && node.current.is_some();
        first(node_a.protected, node_b.protected)
            .then(first(shared(a, node_a), shared(b, node_b)))
            .then(first(node_a.current.is_some(), node_b.current.is_some()))
            .then(first(name_a == target, name_b == target))
            .then(first(self.is_essential(name_a), self.is_essential(name_b)))
            .then(first(self.is_important(name_a), self.is_important(name_b)))
            .then(universe.priority(a).cmp(&universe.priority(b)))
            .then(name_b.cmp(&name_a))
    }
}

/// The groups of alternatives in a list of relations.
pub(super) fn groups(dependencies: &[Dependency<'_>]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        if start >= dependencies.len() {
            return None;
        }
        at = group_end(dependencies, start);
        Some(start..at)
    })
}

/// Where the group that starts at `start` ends. A field's last relation ends its group, whatever it says.
pub(super) fn group_end(dependencies: &[Dependency<'_>], start: usize) -> usize {
    let kind: Kind = dependencies[start].kind;
    let mut end = start;
    while dependencies[end].or && dependencies.get(end + 1).is_some_and(|next| next.kind == kind) {
        end += 1;
    }
    end + 1
}
