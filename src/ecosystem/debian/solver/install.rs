//! Marking packages for installation: the greedy walk that settles nearly every request.
//!
//! Follows what apt 2.6 does step by step, because the answer depends on the order of the steps: conflicts of a
//! package first, then its own state, then its dependencies from left to right, each with the best
//! solution that can be had, undone as far as apt undoes it.

use std::collections::BTreeSet;

use super::super::universe::{Dependency, Name, Version};
use super::state::{Mode, State, When, group_end, groups};

/// How deep a chain of dependencies is followed: apt's own limit.
pub(super) const MAX_DEPTH: usize = 3000;

/// Who calls: a request, or a package that depends on something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    User,
    Solver,
}

/// What [`State::mark_install`] has collected before it changes anything.
#[derive(Debug, Default)]
struct Plan {
    /// Starts of groups of dependencies to be satisfied.
    needs: Vec<usize>,
    /// Conflicts to be resolved.
    conflicts: Vec<usize>,
    upgrades: Vec<Name>,
    removals: Vec<Name>,
}

impl<'u> State<'u> {
    fn may_change(&self, name: Name, mode: Mode, depth: usize, by: By) -> bool {
        if depth > MAX_DEPTH || self.universe.versions(name).next().is_none() {
            return false;
        }
        let node = self.node(name);
        if by == By::User || node.mode == mode {
            return true;
        }
        let kept = mode == Mode::Delete && (self.is_essential(name) || self.is_important(name));
        !node.protected && !kept
    }

    /// Leaves a package as it is now.
    pub fn mark_keep(&mut self, name: Name, by: By) -> bool {
        if !self.may_change(name, Mode::Keep, 0, by) {
            return false;
        }
        let node = *self.node(name);
        if node.mode != Mode::Keep {
            self.set_install(name, node.current, Mode::Keep);
        }
        true
    }

    /// Removes a package, or does not install it.
    pub fn mark_delete(&mut self, name: Name, depth: usize) -> bool {
        if !self.may_change(name, Mode::Delete, depth, By::Solver) {
            return false;
        }
        let node = *self.node(name);
        if node.mode == Mode::Delete || node.install.is_none() {
            return true;
        }
        if !self.may_delete(name) {
            return false;
        }
        let mode = if node.current.is_none() { Mode::Keep } else { Mode::Delete };
        self.set_install(name, None, mode);
        true
    }

    /// What was asked for by name is not given up.
    fn may_delete(&self, name: Name) -> bool {
        let node = self.node(name);
        !(node.current.is_none() && node.install.is_some() && node.new && !node.auto)
    }

    /// Marks a package for installation and, with `recurse`, what it needs. False if that cannot be; then
    /// a package that nobody asked for is unmarked again, but not what was marked for it on the way.
    pub fn mark_install(&mut self, name: Name, recurse: bool, depth: usize, by: By) -> bool {
        let node = *self.node(name);
        let settled =
            node.protected && node.mode == Mode::Keep && node.candidate.is_some() && node.candidate == node.current;
        if !settled && !self.may_change(name, Mode::Install, depth, by) {
            return false;
        }
        let Some(candidate) = node.candidate else { return false };
        if !node.protected && !self.is_broken(name) {
            if node.candidate == node.current {
                return node.install.is_some() || self.mark_keep(name, by);
            }
            if node.mode == Mode::Install {
                return true;
            }
        }
        if recurse && !self.is_satisfiable(name, candidate) {
            return false;
        }
        if by == By::User {
            self.change_to_install(name, by);
        }
        let fails_early = !self.node(name).protected && by == By::Solver;
        let mut failed = false;
        let mut plan = Plan::default();
        let dependencies = self.dependencies(candidate);
        if recurse {
            self.collect(name, &dependencies, &mut plan);
            if !self.remove_conflicting(name, &dependencies, &mut plan, depth, by) {
                if fails_early {
                    return false;
                }
                failed = true;
            }
            self.collect_dependants(name, candidate, &mut plan);
        }
        if by == By::Solver {
            self.change_to_install(name, by);
        }
        if !recurse {
            return !failed;
        }
        let was_protected = self.node(name).protected;
        self.node_mut(name).protected = true;
        let done = self.carry_out(name, candidate, &dependencies, &plan, depth, by, was_protected, failed);
        if !was_protected {
            self.node_mut(name).protected = false;
        }
        done
    }

    #[expect(clippy::too_many_arguments, reason = "the second half of mark_install, apart for its early returns")]
    fn carry_out(
        &mut self,
        name: Name,
        candidate: Version,
        dependencies: &[Dependency<'u>],
        plan: &Plan,
        depth: usize,
        by: By,
        was_protected: bool,
        mut failed: bool,
    ) -> bool {
        let fails_early = !was_protected && by == By::Solver;
        self.upgrade_siblings(name, candidate, depth);
        let steps: [fn(&mut Self, &Step<'_, 'u>) -> bool; 3] =
            [Self::upgrade_or_remove, Self::install_needs, Self::remove_the_rest];
        let step = Step { name, dependencies, plan, depth, by, protect: was_protected };
        for run in steps {
            if !run(self, &step) {
                if fails_early {
                    self.discard(name);
                    return false;
                }
                failed = true;
            }
        }
        !failed
    }

    /// Whether every dependency of the candidate could be satisfied; if not, it stops being the candidate.
    fn is_satisfiable(&mut self, name: Name, candidate: Version) -> bool {
        if self.node(name).current == Some(candidate) {
            return true;
        }
        let dependencies = self.dependencies(candidate);
        let satisfiable = groups(&dependencies).all(|group| {
            let kind = dependencies[group.start].kind;
            let group = &dependencies[group];
            !kind.is_critical()
                || kind.is_negative()
                || self.group_holds(group, name, When::Then)
                || self.group_holds(group, name, When::Candidate)
        });
        if !satisfiable && !self.node(name).protected {
            match self.node(name).current {
                Some(current) => self.set_candidate(name, current),
                None => self.drop_candidate(name, None),
            }
            if self.node(name).mode != Mode::Delete {
                self.node_mut(name).mode = Mode::Keep;
                self.renew_status(name);
            }
        }
        satisfiable
    }

    fn change_to_install(&mut self, name: Name, by: By) {
        let node = *self.node(name);
        if node.protected && node.install == node.candidate {
            return;
        }
        let mode = if node.candidate == node.current { Mode::Keep } else { Mode::Install };
        self.set_install(name, node.candidate, mode);
        let node = self.node_mut(name);
        match by {
            By::User => node.auto = false,
            By::Solver if node.new => node.auto = true,
            By::Solver => {}
        }
    }

    fn collect(&mut self, name: Name, dependencies: &[Dependency<'u>], plan: &mut Plan) {
        let protected = self.node(name).protected;
        for group in groups(dependencies) {
            let kind = dependencies[group.start].kind;
            let start = group.start;
            if !kind.is_critical() || (!protected && self.group_holds(&dependencies[group], name, When::Then)) {
                continue;
            }
            if kind.is_negative() { plan.conflicts.push(start) } else { plan.needs.push(start) }
        }
    }

    /// Keeps out what the package conflicts with, or plans its upgrade or removal.
    fn remove_conflicting(
        &mut self,
        name: Name,
        dependencies: &[Dependency<'u>],
        plan: &mut Plan,
        depth: usize,
        by: By,
    ) -> bool {
        let protect = self.node(name).protected;
        let stops = !protect && by == By::Solver;
        let mut bad_candidates = BTreeSet::new();
        let mut failed = false;
        for &conflict in &plan.conflicts.clone() {
            let group = &dependencies[conflict..=conflict];
            for version in self.solutions(group, name, When::Candidate) {
                let other = self.universe.name_of(version);
                let node = *self.node(other);
                if node.candidate != Some(version) {
                    continue;
                }
                let ok = if node.current == Some(version) {
                    self.remove_not_upgradable(other, depth, protect, plan)
                } else if node.mode == Mode::Install && !self.mark_keep(other, By::Solver) {
                    false
                } else if protect {
                    self.discard_candidate(other);
                    if node.current.is_none() {
                        self.node_mut(other).protected = true;
                    }
                    true
                } else {
                    bad_candidates.insert(other);
                    true
                };
                if !ok {
                    failed = true;
                    if stops {
                        return false;
                    }
                }
            }
            for version in self.solutions(group, name, When::Now) {
                let other = self.universe.name_of(version);
                let node = *self.node(other);
                if node.candidate.is_some() && node.candidate != Some(version) && !bad_candidates.contains(&other) {
                    plan.upgrades.push(other);
                } else if node.candidate != node.current && !self.remove_not_upgradable(other, depth, protect, plan) {
                    failed = true;
                    if stops {
                        return false;
                    }
                }
            }
        }
        !failed
    }

    fn remove_not_upgradable(&mut self, name: Name, depth: usize, protect: bool, plan: &mut Plan) -> bool {
        if !protect {
            if self.node(name).mode == Mode::Delete {
                return true;
            }
            if !self.may_change(name, Mode::Delete, depth, By::Solver) || !self.may_delete(name) {
                return false;
            }
            plan.removals.push(name);
            return true;
        }
        if self.node(name).mode != Mode::Delete && !self.mark_delete(name, depth + 1) {
            return false;
        }
        self.discard_candidate(name);
        self.node_mut(name).protected = true;
        true
    }

    /// What is installed now, depends on this package, and would not on the new version, has to follow.
    fn collect_dependants(&mut self, name: Name, candidate: Version, plan: &mut Plan) {
        let Some(current) = self.node(name).current else { return };
        if current == candidate {
            return;
        }
        let universe = self.universe;
        let (old, new) = (universe.version(current), universe.version(candidate));
        for other in self.installed.clone() {
            let node = *self.node(other);
            let Some(version) = node.current else { continue };
            if node.mode == Mode::Install || plan.upgrades.contains(&other) {
                continue;
            }
            let follows = self.dependencies(version).iter().any(|dependency| {
                dependency.target == name
                    && dependency.kind.is_critical()
                    && !dependency.kind.is_negative()
                    && dependency.accepts(old)
                    && !dependency.accepts(new)
            });
            if follows {
                plan.upgrades.push(other);
            }
        }
    }

    /// Binaries of the same source that are installed now move together.
    fn upgrade_siblings(&mut self, name: Name, candidate: Version, depth: usize) {
        let outdated: Vec<Name> = self
            .base
            .iter()
            .copied()
            .filter(|&other| other != name && self.node(other).candidate != self.node(other).current)
            .collect();
        if outdated.is_empty() {
            return;
        }
        let source = self.universe.source(candidate);
        let siblings: Vec<Name> = outdated
            .into_iter()
            .filter(|&other| {
                let node = self.node(other);
                let will_be = node.mode == Mode::Install && node.install == node.candidate;
                !will_be && node.candidate.is_some_and(|version| self.universe.source(version) == source)
            })
            .collect();
        for recurse in [false, true] {
            for &sibling in &siblings {
                self.mark_install(sibling, recurse, depth + 1, By::Solver);
            }
        }
    }

    fn upgrade_or_remove(&mut self, step: &Step<'_, 'u>) -> bool {
        let mut failed = false;
        for &other in &step.plan.upgrades {
            if self.node(other).mode == Mode::Install || self.mark_install(other, true, step.depth + 1, By::Solver) {
                continue;
            }
            if !self.mark_delete(other, step.depth + 1) {
                failed = true;
                if !step.protect && step.by == By::Solver {
                    break;
                }
            } else if step.protect {
                self.node_mut(other).protected = true;
            }
        }
        !failed
    }

    fn install_needs(&mut self, step: &Step<'_, 'u>) -> bool {
        let mut failed = false;
        for &start in &step.plan.needs {
            let group = &step.dependencies[start..group_end(step.dependencies, start)];
            if self.group_holds(group, step.name, When::Then) {
                if step.protect && !self.protect_only_solution(group, step) {
                    failed = true;
                }
            } else if !self.install_one_of(group, step) {
                failed = true;
                if !step.protect && step.by == By::Solver {
                    break;
                }
            }
        }
        !failed
    }

    /// What a protected package needs and has, it must not lose, unless there is something else.
    fn protect_only_solution(&mut self, group: &[Dependency<'u>], step: &Step<'_, 'u>) -> bool {
        let mut all: BTreeSet<Version> = BTreeSet::new();
        for dependency in group {
            all.extend(self.targets(dependency, step.name, When::Candidate));
            all.extend(self.targets(dependency, step.name, When::Now));
        }
        all.retain(|&version| !self.is_forbidden(self.universe.name_of(version)));
        let (Some(&only), 1) = (all.first(), all.len()) else { return true };
        let other = self.universe.name_of(only);
        if self.node(other).protected {
            return true;
        }
        self.node_mut(other).protected = true;
        self.mark_install(other, true, step.depth + 1, By::Solver)
    }

    fn install_one_of(&mut self, group: &[Dependency<'u>], step: &Step<'_, 'u>) -> bool {
        let solutions = self.solutions(group, step.name, When::Candidate);
        for &version in &solutions {
            let other = self.universe.name_of(version);
            if self.node(other).candidate != Some(version) {
                continue;
            }
            if step.protect && solutions.len() == 1 {
                if !self.mark_install(other, false, step.depth + 1, By::Solver) {
                    continue;
                }
                self.node_mut(other).protected = true;
            }
            if self.mark_install(other, true, step.depth + 1, By::Solver) {
                return true;
            }
        }
        false
    }

    fn remove_the_rest(&mut self, step: &Step<'_, 'u>) -> bool {
        step.plan.removals.iter().all(|&other| self.mark_delete(other, step.depth))
    }

    /// Takes the mark back; the version is no candidate any more.
    fn discard(&mut self, name: Name) {
        let node = *self.node(name);
        if node.mode == Mode::Keep && node.install == node.candidate && node.candidate == node.current {
            return;
        }
        self.set_install(name, node.current, Mode::Keep);
        self.discard_candidate(name);
    }

    fn discard_candidate(&mut self, name: Name) {
        let install = self.node(name).install;
        self.drop_candidate(name, install);
    }
}

/// What the steps of one [`State::mark_install`] share.
#[derive(Debug)]
struct Step<'s, 'u> {
    name: Name,
    dependencies: &'s [Dependency<'u>],
    plan: &'s Plan,
    depth: usize,
    by: By,
    /// Whether the package was protected before, so that what it needs becomes protected too.
    protect: bool,
}
