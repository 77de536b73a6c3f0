//! What was marked on the way and is not needed in the end.
//!
//! Marking a package can fail after some of what it needs was marked already. apt finds such leftovers as what
//! nothing asked for (or essential) depends on, recommends or suggests, and takes them off again.

use std::collections::{BTreeMap, BTreeSet};

use super::super::universe::{Kind, Name, Version};
use super::super::version;
use super::install::{By, MAX_DEPTH};
use super::state::{Mode, State};
use crate::ecosystem::debian::index::Priority;

/// What a walk has seen.
#[derive(Debug, Default)]
struct Walk {
    marked: BTreeSet<Name>,
    explored: BTreeSet<Name>,
}

impl State<'_> {
    /// Finds out which packages are [`super::state::Node::garbage`].
    pub fn sweep(&mut self) {
        let mut walk = Walk::default();
        let universe = self.universe;
        for name in self.installed.clone() {
            let node = *self.node(name);
            let required = node.current.is_some_and(|version| universe.priority(version) == Priority::Required);
            // What a request protects is not garbage either, whatever it came by.
            if !node.auto || node.protected || self.is_essential(name) || self.is_important(name) || required {
                self.walk(name, 0, &mut walk);
            }
        }
        for name in 0..self.nodes.len() as Name {
            let node = *self.node(name);
            let there = node.current.is_some() || node.mode == Mode::Install;
            let required = node.current.is_some_and(|version| universe.priority(version) == Priority::Required);
            self.node_mut(name).garbage = there && !required && !walk.marked.contains(&name);
        }
    }

    /// What a package will be: nothing if it is not there, or is being removed.
    fn prospect(&self, name: Name) -> Option<Version> {
        let node = self.node(name);
        match node.mode {
            Mode::Install => node.install,
            Mode::Keep => node.current,
            Mode::Delete => None,
        }
    }

    fn walk(&mut self, name: Name, depth: usize, walk: &mut Walk) {
        let Some(version) = self.prospect(name) else { return };
        if depth > MAX_DEPTH || !walk.marked.insert(name) {
            return;
        }
        let dependencies = self.dependencies(version);
        for dependency in dependencies.iter() {
            let follows = !matches!(dependency.kind, Kind::Conflicts | Kind::Breaks);
            if !follows || walk.explored.contains(&dependency.target) {
                continue;
            }
            let (found, unsatisfied) = self.installed_targets(dependency);
            if !unsatisfied {
                walk.explored.insert(dependency.target);
            }
            for version in found {
                self.walk(self.universe.name_of(version), depth + 1, walk);
            }
        }
    }

    /// What satisfies a relation; of several binaries of a source only those of its newest version. And
    /// whether there is something of that name that does not.
    fn installed_targets(&self, dependency: &super::super::universe::Dependency<'_>) -> (Vec<Version>, bool) {
        let universe = self.universe;
        let mut by_source: BTreeMap<String, Vec<(String, Version)>> = BTreeMap::new();
        let mut found = Vec::new();
        let mut unsatisfied = false;
        let real = self.prospect(dependency.target).map(|version| (version, universe.version(version)));
        let provided =
            universe.providers(dependency.target).filter(|&(by, _)| self.prospect(universe.name_of(by)) == Some(by));
        for (version, text) in real.into_iter().chain(provided) {
            if dependency.accepts(text) { found.push(version) } else { unsatisfied = true }
        }
        if found.len() < 2 {
            return (found, unsatisfied);
        }
        for version in found {
            let (source, source_version) = universe.source(version);
            by_source.entry(source).or_default().push((source_version, version));
        }
        let mut newest = Vec::new();
        for mut versions in by_source.into_values() {
            let Some(highest) = versions.iter().map(|(source, _)| source.clone()).max_by(|a, b| version::compare(a, b))
            else {
                continue;
            };
            versions.retain(|(source, _)| *source == highest);
            newest.extend(versions.into_iter().map(|(_, version)| version));
        }
        (newest, unsatisfied)
    }

    /// Takes new packages off that nothing needs. One that turns out to be needed is put back.
    pub fn remove_garbage(&mut self) {
        self.sweep();
        let mut removed = BTreeSet::new();
        for name in self.installed.clone() {
            let node = *self.node(name);
            if node.garbage && node.mode == Mode::Install && node.current.is_none() {
                removed.insert(name);
                self.mark_delete(name, 0);
            }
        }
        while !removed.is_empty() && !self.broken().is_empty() {
            let Some(needed) = removed.iter().copied().find(|&name| self.has_dependant(name)) else { break };
            self.mark_install(needed, false, 0, By::Solver);
            removed.remove(&needed);
        }
    }

    /// Whether something that will be installed names this package, or what it provides, as a dependency.
    fn has_dependant(&mut self, name: Name) -> bool {
        let universe = self.universe;
        let Some(candidate) = self.node(name).candidate else { return false };
        let mut names: BTreeSet<Name> = universe.provided_by(candidate).collect();
        names.insert(name);
        for other in self.installed.clone() {
            let Some(version) = self.node(other).install else { continue };
            let dependencies = self.dependencies(version);
            let critical = |kind: Kind| matches!(kind, Kind::Depends | Kind::PreDepends);
            if dependencies.iter().any(|dependency| critical(dependency.kind) && names.contains(&dependency.target)) {
                return true;
            }
        }
        false
    }
}
