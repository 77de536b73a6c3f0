//! Resolving what the greedy walk left broken: apt's scored problem resolver.
//!
//! Every package gets a score for how much depends on it. From the highest score to the lowest, each broken package
//! is either mended by removing what stands against it, if that scores lower, or given up itself.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::index::Priority;
use super::super::universe::{Dependency, Kind, Name};
use super::install::By;
use super::state::{Mode, State, When, group_end};

/// How often all packages are gone through.
const MAX_ROUNDS: usize = 20;
const OF_REQUESTED: i32 = 10_000;
const OF_ESSENTIAL: i32 = 5_000;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Resolver<'s, 'u> {
    state: &'s mut State<'u>,
    requested: &'s BTreeSet<Name>,
    scores: Vec<i32>,
    pre_installed: BTreeSet<Name>,
    upgrade_tried: BTreeSet<Name>,
}

/// What is to be removed (or kept back) for the sake of the package under consideration.
#[derive(Clone, Copy, Debug)]
struct Kill<'u> {
    name: Name,
    dependency: Dependency<'u>,
}

/// What becomes of a package if no alternative of a group can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Otherwise {
    Remove,
    Keep,
}

/// What considering one alternative came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Considered {
    /// Go on with the next alternative or group.
    Next,
    /// This package has been dealt with, this time round.
    Stop,
}

impl<'s, 'u> Resolver<'s, 'u> {
    /// Mends `state` as far as that is possible. Broken packages may remain.
    pub fn run(state: &'s mut State<'u>, requested: &'s BTreeSet<Name>) {
        if state.broken().is_empty() {
            return;
        }
        let mut resolver = Self {
            state,
            requested,
            scores: Vec::new(),
            pre_installed: BTreeSet::new(),
            upgrade_tried: BTreeSet::new(),
        };
        let mut order = resolver.package_order();
        resolver.install_broken(&order);
        resolver.score();
        order.sort_by_key(|&name| Reverse(resolver.scores[name as usize]));
        let mut change = true;
        for round in 0..MAX_ROUNDS {
            if !change {
                break;
            }
            change = false;
            for &name in &order {
                change |= resolver.investigate(name, round);
            }
        }
        resolver.mark_automatic();
    }

    /// All names that packages have, in the order of apt's hash table.
    fn package_order(&self) -> Vec<Name> {
        let universe = self.state.universe;
        super::order::by_table(1..universe.name_count() as Name, |name| universe.name(name))
    }

    fn install_broken(&mut self, order: &[Name]) {
        let mut again = true;
        while again {
            again = false;
            for &name in order {
                if self.state.node(name).mode == Mode::Install {
                    self.pre_installed.insert(name);
                } else if self.state.node(name).install.is_some() && self.state.is_broken(name) {
                    self.state.mark_install(name, false, 0, By::Solver);
                    again |= self.state.node(name).mode == Mode::Install;
                }
            }
        }
    }

    fn score(&mut self) {
        let count = self.state.universe.name_count();
        self.scores = vec![0; count];
        let installed: Vec<Name> = self.state.installed.iter().copied().collect();
        for &name in &installed {
            self.score_itself(name);
            self.score_targets(name);
        }
        let old = self.scores.clone();
        for &name in &installed {
            self.inherit(name, &old);
        }
        for name in 0..count as Name {
            let transfer = (self.scores[name as usize] - old[name as usize]).abs();
            if transfer != 0 {
                for provider in self.installed_providers(name, |_, _| true) {
                    self.scores[provider as usize] += transfer;
                }
            }
        }
        for name in 0..count as Name {
            if self.requested.contains(&name) {
                self.scores[name as usize] += OF_REQUESTED;
            }
            if self.state.is_essential(name) || self.state.is_important(name) {
                self.scores[name as usize] += OF_ESSENTIAL;
            }
        }
    }

    fn score_itself(&mut self, name: Name) {
        let node = *self.state.node(name);
        let Some(version) = node.install else { return };
        let mut score = match self.state.universe.priority(version) {
            Priority::Unset => 0,
            Priority::Required => 3,
            Priority::Important => 2,
            Priority::Standard => 1,
            Priority::Optional => -1,
            Priority::Extra => -2,
        };
        if self.state.is_essential(name) || self.state.is_important(name) {
            score += 100;
        }
        if node.current.is_some() && node.candidate.is_some() {
            score += 1;
        }
        self.scores[name as usize] += score;
    }

    /// What a package depends on gains a point, what it conflicts with loses one.
    fn score_targets(&mut self, name: Name) {
        let Some(version) = self.state.node(name).install else { return };
        let universe = self.state.universe;
        for dependency in self.state.dependencies(version).iter() {
            let points = match dependency.kind {
                Kind::PreDepends | Kind::Depends | Kind::Recommends => 1,
                Kind::Conflicts | Kind::Breaks => -1,
                Kind::Suggests => continue,
            };
            let target = dependency.target;
            if !State::ignores(dependency, name, target) {
                if dependency.version.is_some() {
                    let there = self.state.node(target).install;
                    // As with apt, who provides it then goes without points too.
                    if !there.is_some_and(|version| dependency.accepts(universe.version(version))) {
                        continue;
                    }
                }
                self.scores[target as usize] += points;
            }
            let accepts =
                |owner, provided: &str| !State::ignores(dependency, name, owner) && dependency.accepts(provided);
            for provider in self.installed_providers(target, accepts) {
                self.scores[provider as usize] += points;
            }
        }
    }

    fn installed_providers(&self, target: Name, accepts: impl Fn(Name, &str) -> bool) -> BTreeSet<Name> {
        let universe = self.state.universe;
        universe
            .providers(target)
            .filter(|&(by, provided)| {
                let owner = universe.name_of(by);
                self.state.node(owner).install == Some(by) && accepts(owner, provided)
            })
            .map(|(by, _)| universe.name_of(by))
            .collect()
    }

    /// One level of inheritance: an installed package passes its score on to what its relations name, once each.
    fn inherit(&mut self, name: Name, old: &[i32]) {
        let own = old[name as usize];
        let Some(version) = self.state.node(name).install else { return };
        if own <= 0 {
            return;
        }
        for dependency in self.state.dependencies(version).iter() {
            let passes = matches!(dependency.kind, Kind::PreDepends | Kind::Depends | Kind::Recommends);
            if passes && self.state.node(dependency.target).install.is_some() {
                self.scores[dependency.target as usize] += own;
            }
        }
    }

    /// Deals with one package, if it is broken. Whether anything changed.
    fn investigate(&mut self, name: Name, round: usize) -> bool {
        self.reinstate(name);
        let mut change = false;
        if self.state.node(name).install.is_none() || !self.state.is_broken(name) {
            return change;
        }
        let Some(version) = self.state.node(name).install else { return change };
        let dependencies = self.state.dependencies(version);
        let mut kills = Vec::new();
        let mut at = 0;
        while at < dependencies.len() {
            let group = at..group_end(&dependencies, at);
            at = group.end;
            if !dependencies[group.start].kind.is_critical() {
                continue;
            }
            let many = group.len() > 1;
            let before = kills.len();
            let mut otherwise = Otherwise::Remove;
            let mut stop = false;
            let mut mended = false;
            for alternative in group.clone() {
                if self.state.group_holds(&dependencies[group.clone()], name, When::Then) {
                    mended = true;
                    break;
                }
                let consider = Consider {
                    name,
                    dependency: dependencies[alternative],
                    group: &dependencies[group.clone()],
                    many,
                    round,
                };
                let considered = self.consider(&consider, &mut otherwise, &mut kills, &mut change);
                if considered == Considered::Stop && !many {
                    stop = true;
                    break;
                }
            }
            if many && !mended && kills.len() == before {
                change |= self.give_up_group(name, otherwise);
            }
            if stop {
                break;
            }
        }
        if self.state.node(name).install.is_some() {
            change |= self.apply(name, &kills, round);
        }
        change
    }

    /// An upgrade that was held back is tried once more.
    fn reinstate(&mut self, name: Name) {
        let node = *self.state.node(name);
        let held = node.candidate != node.install && node.current.is_some() && node.install.is_some();
        if !held || node.protected || !self.pre_installed.contains(&name) {
            return;
        }
        // As with apt, that is its last chance of any kind.
        self.pre_installed.remove(&name);
        self.upgrade_tried.insert(name);
        let before = self.state.broken().len();
        self.state.mark_install(name, false, 0, By::Solver);
        if self.state.is_broken(name) || before < self.state.broken().len() {
            self.state.mark_keep(name, By::Solver);
        }
    }

    fn give_up_group(&mut self, name: Name, otherwise: Otherwise) -> bool {
        match otherwise {
            Otherwise::Remove if self.state.node(name).protected => false,
            Otherwise::Remove => {
                self.state.mark_delete(name, 0);
                true
            }
            Otherwise::Keep => {
                self.state.mark_keep(name, By::Solver);
                true
            }
        }
    }

    fn consider(
        &mut self,
        this: &Consider<'_, 'u>,
        otherwise: &mut Otherwise,
        kills: &mut Vec<Kill<'u>>,
        change: &mut bool,
    ) -> Considered {
        let Consider { name, dependency, many, .. } = *this;
        let negative = dependency.kind.is_negative();
        let targets = self.state.all_targets(&dependency, name);
        if targets.is_empty() && !negative && !self.state.node(name).protected {
            if many {
                return Considered::Next;
            }
            *change = true;
            self.state.mark_keep(name, By::Solver);
            return Considered::Stop;
        }
        for version in targets {
            let other = self.state.universe.name_of(version);
            if negative && self.state.node(other).install != Some(version) {
                continue;
            }
            let satisfied_now = self.state.holds(&dependency, name, When::Now);
            if self.scores[name as usize] <= self.scores[other as usize] || (!satisfied_now && !negative) {
                if self.state.node(name).protected {
                    if self.upgrade(other) {
                        self.scores[other as usize] = self.scores[other as usize].min(self.scores[name as usize]);
                        break;
                    }
                    continue;
                }
                self.yield_to(this, other, otherwise);
                *change = true;
                return Considered::Stop;
            }
            let upgrade_helps = this.group.iter().any(|one| self.state.holds(one, name, When::Candidate));
            if dependency.kind == Kind::Breaks && upgrade_helps {
                self.state.mark_install(other, false, 0, By::Solver);
                continue;
            }
            let node = self.state.node(other);
            if node.protected && node.mode != Mode::Delete {
                continue;
            }
            kills.push(Kill { name: other, dependency: this.group[this.group.len() - 1] });
            if !negative {
                break;
            }
        }
        Considered::Next
    }

    /// The package under consideration gives way to `other`.
    fn yield_to(&mut self, this: &Consider<'_, 'u>, other: Name, otherwise: &mut Otherwise) {
        let Consider { name, dependency, many, round, .. } = *this;
        let was_to_be_installed = self.state.node(name).mode == Mode::Install;
        self.state.mark_keep(name, By::Solver);
        if !self.state.is_broken(name) {
            if *otherwise == Otherwise::Remove {
                *otherwise = Otherwise::Keep;
            }
            if many && was_to_be_installed {
                self.state.mark_install(name, false, 0, By::Solver);
            }
            return;
        }
        if self.upgrade(name) {
            return;
        }
        let target = dependency.target;
        if !many || self.state.node(name).garbage {
            self.state.mark_delete(name, 0);
            if round > 1 && self.scores[other as usize] > self.scores[name as usize] {
                self.scores[name as usize] = self.scores[other as usize];
            }
        } else if self.state.node(target).current.is_none()
            && self.state.node(target).mode != Mode::Delete
            && self.state.node(target).candidate.is_some()
        {
            let before = self.state.broken().len();
            self.state.mark_install(target, true, 1, By::Solver);
            if self.state.is_broken(target) || self.state.broken().len() > before {
                self.state.mark_delete(target, 1);
            }
        }
    }

    /// Tries to have the candidate of a package, and of what it needs, without breaking anything.
    fn upgrade(&mut self, name: Name) -> bool {
        let node = *self.state.node(name);
        let universe = self.state.universe;
        let upgradable = node.candidate.is_some_and(|candidate| {
            node.new
                || node.current.is_none_or(|current| {
                    super::super::version::compare(universe.version(candidate), universe.version(current)).is_gt()
                })
        });
        if !upgradable || self.requested.contains(&name) || !self.upgrade_tried.insert(name) {
            return false;
        }
        let was_kept = node.mode == Mode::Keep;
        if !self.state.mark_install(name, false, 0, By::Solver) {
            return false;
        }
        let Some(version) = self.state.node(name).install else { return false };
        let dependencies = self.state.dependencies(version);
        let mut at = 0;
        while at < dependencies.len() {
            let group = at..group_end(&dependencies, at);
            at = group.end;
            if dependencies[group.start].kind.is_critical() && !self.upgrade_group(name, &dependencies[group]) {
                if was_kept {
                    self.state.mark_keep(name, By::Solver);
                } else {
                    self.state.mark_delete(name, 0);
                }
                return false;
            }
        }
        true
    }

    fn upgrade_group(&mut self, name: Name, group: &[Dependency<'u>]) -> bool {
        let mut failed = false;
        for dependency in group {
            if self.state.group_holds(group, name, When::Then) {
                break;
            }
            let target = self.smart_target(dependency, name);
            if self.state.node(target).protected {
                failed = true;
            } else if self.state.holds(dependency, name, When::Candidate) {
                if self.upgrade(target) {
                    return true;
                }
                failed = true;
            } else if dependency.kind.is_negative() {
                break;
            } else {
                failed = true;
            }
        }
        !failed
    }

    /// The package that a relation means: the only one that provides the name, if no package has it.
    fn smart_target(&self, dependency: &Dependency<'u>, parent: Name) -> Name {
        let universe = self.state.universe;
        if universe.versions(dependency.target).next().is_some() {
            return dependency.target;
        }
        let mut owners = universe.providers(dependency.target).map(|(by, _)| universe.name_of(by));
        owners.find(|&owner| owner != parent).unwrap_or(dependency.target)
    }

    fn apply(&mut self, name: Name, kills: &[Kill<'u>], round: usize) -> bool {
        let mut change = false;
        for kill in kills {
            let now = self.state.holds(&kill.dependency, name, When::Now);
            let done = if now {
                self.state.mark_keep(kill.name, By::Solver)
            } else {
                kill.dependency.kind.is_negative() && self.state.mark_delete(kill.name, 0)
            };
            if (!done || round > 1) && self.scores[name as usize] > self.scores[kill.name as usize] {
                self.scores[kill.name as usize] = self.scores[name as usize];
                change = true;
            }
            change |= done;
        }
        change
    }

    /// What the resolver installed on its own, nobody asked for.
    fn mark_automatic(&mut self) {
        for name in self.state.installed.clone() {
            let node = *self.state.node(name);
            if node.new && node.mode == Mode::Install && !self.pre_installed.contains(&name) {
                self.state.node_mut(name).auto = true;
            }
        }
    }
}

/// One alternative of a relation of a broken package.
#[derive(Clone, Copy, Debug)]
struct Consider<'g, 'u> {
    name: Name,
    dependency: Dependency<'u>,
    group: &'g [Dependency<'u>],
    /// Whether the group has more than one alternative.
    many: bool,
    round: usize,
}
