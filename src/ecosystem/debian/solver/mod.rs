//! apt's own answer: which packages, in which versions, a request comes to.
//!
//! The algorithm is that of apt 2.6 (`apt-get install --no-install-recommends` into a root that has only the
//! essential packages): a greedy walk ([`install`]), then a scored resolver for what the walk left broken
//! ([`resolver`]), then the removal of leftovers ([`garbage`]). Knows no network, store or lockfile.

mod explain;
mod garbage;
mod install;
mod order;
mod request;
mod resolver;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use super::index::{Package, Release};
use super::universe::{Name, Universe, Version};
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use install::By;
use request::Wanted;
use resolver::Resolver;
use state::State;

/// The stack of the thread that solves: chains of dependencies are followed 3,000 deep.
const STACK: usize = 64 << 20;
/// How many packages may be asked for at once.
const MAX_PACKAGES: usize = 10_000;

/// What is installed before anything that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// All packages that are `Essential: yes` (Debian Policy 3.8), with what they depend on.
    #[default]
    Essential,
    /// Nothing.
    None,
}

/// What is to be solved.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The platform's Debian architecture; the universe's.
    pub architecture: String,
    /// What is there first.
    pub base: Base,
    /// In apt's syntax: `name`, `name=version`, `name/suite`; `a | b` is the first that can be had.
    pub packages: Vec<String>,
    /// Versions of an old lock, by name: kept where they can be.
    pub preferred: BTreeMap<String, String>,
    /// Which of the preferred versions may move nevertheless.
    pub moving: Moving,
}

/// Which packages of an old lock may move to another version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Moving {
    /// None, unless it has to.
    #[default]
    Nothing,
    /// These, and what they force.
    Named(BTreeSet<String>),
    /// All.
    Everything,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// Sorted by name.
    pub packages: Vec<Chosen>,
    /// Names whose preferred version had to be given up.
    pub moved: BTreeSet<String>,
}

/// A package of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The package in full.
    pub package: Package,
    /// The release of the index that it is taken from.
    pub release: Release,
    /// The label of that index.
    pub index: String,
    /// Whether it belongs to the base.
    pub base: bool,
    /// The text of the request that named it.
    pub requested: Option<String>,
    /// Packages with a dependency that it satisfies; sorted.
    pub required_by: Vec<String>,
    /// The names, not its own, by which it satisfies those dependencies; sorted.
    pub provides_used: Vec<String>,
}

/// Solves a request, as apt would on the same indexes.
///
/// Fails with [`ErrorKind::No`] if there is no solution (or apt finds none), with a chain of reasons; with
/// [`ErrorKind::NotFound`] if a name is unknown.
pub fn solve(universe: &Universe, request: &Request) -> Result<Solution> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("solver".into()).stack_size(STACK);
        let handle = thread.spawn_scoped(scope, || solve_here(universe, request)).context(|| "starting the solver")?;
        handle.join().unwrap_or_else(|_| Err(Error::new("the solver stopped for a mistake of its own")))
    })
}

fn solve_here(universe: &Universe, request: &Request) -> Result<Solution> {
    if request.architecture != universe.architecture() {
        return Err(Error::new(format!(
            "the request is for {}, the indexes are for {}",
            request.architecture,
            universe.architecture()
        )));
    }
    if request.packages.len() > MAX_PACKAGES {
        return Err(Error::new(format!(
            "{} packages are asked for, more than the {MAX_PACKAGES} allowed",
            request.packages.len()
        )));
    }
    let preferred = preferences(universe, request);
    if preferred.is_empty() {
        return Attempt::run(universe, request, &preferred)?.solution(BTreeSet::new());
    }
    match Attempt::run(universe, request, &preferred) {
        Ok(attempt) => attempt.solution(BTreeSet::new()),
        Err(_) => fewest_changes(universe, request, preferred),
    }
}

/// The versions of the old lock that are to be candidates.
fn preferences(universe: &Universe, request: &Request) -> BTreeMap<Name, Version> {
    let moves = |name: &String| match &request.moving {
        Moving::Nothing => false,
        Moving::Named(names) => names.contains(name),
        Moving::Everything => true,
    };
    request
        .preferred
        .iter()
        .filter(|(name, _)| !moves(name))
        .filter_map(|(name, wanted)| {
            let name = universe.find(name)?;
            Some((name, universe.versions(name).find(|&version| universe.version(version) == *wanted)?))
        })
        .collect()
}

/// With all preferences there is no solution. There has to be one without; what it changes is given up,
/// then as much of that as possible is taken back, name by name.
fn fewest_changes(universe: &Universe, request: &Request, preferred: BTreeMap<Name, Version>) -> Result<Solution> {
    let fresh = Attempt::run(universe, request, &BTreeMap::new())?;
    let mut kept = preferred.clone();
    kept.retain(|&name, version| fresh.outcome.state.node(name).install.is_none_or(|install| install == *version));
    let given_up: Vec<Name> = preferred.keys().copied().filter(|name| !kept.contains_key(name)).collect();
    let mut best = match Attempt::run(universe, request, &kept) {
        Ok(attempt) => attempt,
        Err(_) => {
            kept.clear();
            fresh
        }
    };
    for name in given_up {
        kept.insert(name, preferred[&name]);
        match Attempt::run(universe, request, &kept) {
            Ok(attempt) => best = attempt,
            Err(_) => {
                kept.remove(&name);
            }
        }
    }
    let changed =
        |name: &Name| best.outcome.state.node(*name).install.is_some_and(|version| version != preferred[name]);
    let moved = preferred.keys().filter(|name| changed(name)).map(|&name| universe.name(name).to_owned()).collect();
    best.solution(moved)
}

/// What all tries with the same preferences share.
struct Basis<'u> {
    universe: &'u Universe,
    base: BTreeMap<Name, Version>,
    preferred: BTreeMap<Name, Version>,
}

/// Where the algorithm ends: with luck, nothing is broken.
struct Outcome<'u> {
    state: State<'u>,
    /// With the text of the request.
    requested: BTreeMap<Name, String>,
    broken: Vec<Name>,
}

/// A try with fixed preferences that succeeded.
struct Attempt<'u> {
    basis: Basis<'u>,
    outcome: Outcome<'u>,
}

impl<'u> Attempt<'u> {
    fn run(universe: &'u Universe, request: &Request, preferred: &BTreeMap<Name, Version>) -> Result<Self> {
        let base = match request.base {
            Base::Essential => essential(universe, preferred)?,
            Base::None => BTreeMap::new(),
        };
        let basis = Basis { universe, base, preferred: preferred.clone() };
        let mut chosen: Vec<Wanted> = Vec::new();
        for text in &request.packages {
            let mut options = request::parse(universe, text)?;
            // The first alternative that can be had together with what stands before it.
            let last = options.len() - 1;
            let found = (0..last).find(|&option| {
                let mut so_far = chosen.clone();
                so_far.push(options[option].clone());
                Self::mark(&basis, &so_far).is_ok_and(|outcome| outcome.broken.is_empty())
            });
            chosen.push(options.swap_remove(found.unwrap_or(last)));
        }
        let mut outcome = Self::mark(&basis, &chosen)?;
        if !outcome.broken.is_empty() {
            return Err(explain::unsatisfiable(&basis, &chosen));
        }
        outcome.state.remove_garbage();
        Ok(Self { basis, outcome })
    }

    /// What `apt-get install` does with its arguments. Fails if one of them means nothing.
    fn mark(basis: &Basis<'u>, wanted: &[Wanted]) -> Result<Outcome<'u>> {
        let mut state = State::new(basis.universe, &basis.base, &basis.preferred);
        let mut requested = BTreeMap::new();
        let mut order = Vec::new();
        let mut releases = Vec::new();
        for want in wanted {
            let (name, version) = request::select(&state, want)?;
            if requested.insert(name, want.text.clone()).is_none() {
                order.push(name);
            }
            if let Some(release) = &want.release {
                releases.push((version, release.clone()));
            }
            state.set_candidate(name, version);
            state.node_mut(name).protected = true;
            state.mark_install(name, false, 0, By::User);
        }
        request::switch_releases(&mut state, &releases);
        for name in order {
            state.mark_install(name, true, 0, By::User);
        }
        state.sweep();
        let names: BTreeSet<Name> = requested.keys().copied().collect();
        Resolver::run(&mut state, &names);
        let broken = state.broken();
        Ok(Outcome { state, requested, broken })
    }

    fn solution(mut self, moved: BTreeSet<String>) -> Result<Solution> {
        let names: Vec<Name> = self.outcome.state.installed.iter().copied().collect();
        let mut required: BTreeMap<Name, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
        for &name in &names {
            self.note_requirements(name, &mut required);
        }
        let mut packages = Vec::with_capacity(names.len());
        for name in names {
            let Some(version) = self.outcome.state.node(name).install else { continue };
            let Some(index) = self.basis.universe.indexes_of(version).next() else { continue };
            let (required_by, provides_used) = required.remove(&name).unwrap_or_default();
            packages.push(Chosen {
                package: self.basis.universe.package(version)?,
                release: index.release().clone(),
                index: index.label().to_owned(),
                base: self.basis.base.contains_key(&name),
                requested: self.outcome.requested.get(&name).cloned(),
                required_by: required_by.into_iter().collect(),
                provides_used: provides_used.into_iter().collect(),
            });
        }
        packages.sort_by(|a, b| a.package.name.cmp(&b.package.name));
        Ok(Solution { packages, moved })
    }

    /// For each dependency of a package, who satisfies it.
    fn note_requirements(&mut self, name: Name, required: &mut BTreeMap<Name, (BTreeSet<String>, BTreeSet<String>)>) {
        let Some(version) = self.outcome.state.node(name).install else { return };
        for dependency in self.outcome.state.dependencies(version).iter() {
            if !dependency.kind.is_critical() || dependency.kind.is_negative() {
                continue;
            }
            for target in self.outcome.state.targets(dependency, name, state::When::Then) {
                let other = self.basis.universe.name_of(target);
                if other == name {
                    continue;
                }
                let entry = required.entry(other).or_default();
                entry.0.insert(self.basis.universe.name(name).to_owned());
                let plain = dependency.text.split(':').next().unwrap_or_default();
                if plain != self.basis.universe.name(other) {
                    entry.1.insert(plain.to_owned());
                }
            }
        }
    }
}

/// The essential packages and what they depend on, installed into an empty root.
fn essential(universe: &Universe, preferred: &BTreeMap<Name, Version>) -> Result<BTreeMap<Name, Version>> {
    let mut state = State::new(universe, &BTreeMap::new(), preferred);
    let names: BTreeSet<Name> = (0..universe.name_count() as Name)
        .filter(|&name| universe.is_essential(name) && state.node(name).candidate.is_some())
        .collect();
    if names.is_empty() {
        return Err(Error::new(
            "no package of these indexes is `Essential: yes`, so there is nothing to make the base of",
        )
        .kind(ErrorKind::NotFound)
        .hint("add the suite that has the distribution's own packages, or set `base = \"none\"`"));
    }
    for recurse in [false, true] {
        for &name in &names {
            state.node_mut(name).protected = true;
            state.mark_install(name, recurse, 0, By::User);
        }
    }
    state.sweep();
    Resolver::run(&mut state, &names);
    if let Some(&first) = state.broken().first() {
        return Err(Error::no(format!(
            "the essential packages cannot be installed together: `{}` lacks something it needs",
            universe.name(first)
        )));
    }
    state.remove_garbage();
    Ok(state.installed.iter().filter_map(|&name| Some((name, state.node(name).install?))).collect())
}

#[cfg(test)]
mod tests;
