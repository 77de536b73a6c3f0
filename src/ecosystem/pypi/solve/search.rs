//! The search: PubGrub's steps, and what uv does between them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use pep440_rs::{Version, VersionSpecifiers};
use pubgrub::{ConflictId, Dependencies, DependencyProvider, Id, PackageResolutionStatistics, State, Term};
use url::Url;

use super::ahead::Ahead;
use super::package::Package;
use super::priority::{Priorities, Priority};
use super::reason::{Reason, Tree};
use super::universe::{Candidates, Choice, Universe, Why};
use crate::ecosystem::pypi::index::Direct;
use crate::ecosystem::pypi::metadata::Metadata;
use crate::ecosystem::pypi::name::Name;
use crate::ecosystem::pypi::ranges::{self, Range};
use crate::ecosystem::pypi::requirement::{Requirement, Wanted};
use crate::ecosystem::pypi::tags::Fit;
use crate::error::{Context, Error, Kind, Result};

/// After so many conflicts a project changes its place in the order.
const CONFLICTS: usize = 5;

/// The types that PubGrub is used with. Its own loop, which would call the methods, is not.
pub(super) struct Types;

impl DependencyProvider for Types {
    type P = Package;
    type V = Version;
    type VS = Range;
    type M = Reason;
    type Err = Infallible;
    type Priority = Option<Priority>;

    fn prioritize(&self, _: &Package, _: &Range, _: &PackageResolutionStatistics) -> Option<Priority> {
        None
    }

    fn choose_version(&self, _: &Package, _: &Range) -> Result<Option<Version>, Infallible> {
        Ok(None)
    }

    fn get_dependencies(&self, _: &Package, _: &Version) -> Result<Dependencies<Package, Range, Reason>, Infallible> {
        Ok(Dependencies::Unavailable(Reason::Unknown))
    }
}

type Edges = Vec<(Package, Range)>;

/// What came of looking for a version.
enum Decision {
    Version(Version),
    None,
    Unknown,
    Unusable(Version, Why),
    OtherPython(Version, VersionSpecifiers),
}

/// See the module's documentation.
pub(super) struct Search<'a> {
    pub universe: &'a Universe<'a>,
    ahead: &'a Ahead,
    /// Projects that are asked for by address.
    pub addresses: BTreeMap<Name, Arc<Direct>>,
    by_address: BTreeSet<Name>,
    state: State<Types>,
    next: Id<Package>,
    priorities: Priorities,
    decided: BTreeSet<(Package, Version)>,
    looked_ahead: BTreeMap<Name, Range>,
    tried: BTreeMap<Name, BTreeSet<Version>>,
    fetched_ahead: BTreeMap<Name, usize>,
    conflicts: Conflicts,
}

/// How often packages were in conflicts.
#[derive(Default)]
struct Conflicts {
    affected: BTreeMap<Package, usize>,
    culprits: BTreeMap<Package, usize>,
    promote: Vec<Package>,
    demote: Vec<Id<Package>>,
}

impl<'a> Search<'a> {
    pub fn new(universe: &'a Universe<'a>, ahead: &'a Ahead) -> Result<Self> {
        let addresses = addresses(universe)?;
        let state = State::init(Package::Root, root_version());
        let next = state.root_package;
        Ok(Self {
            universe,
            ahead,
            by_address: addresses.keys().cloned().collect(),
            addresses,
            state,
            next,
            priorities: Priorities::default(),
            decided: BTreeSet::new(),
            looked_ahead: BTreeMap::new(),
            tried: BTreeMap::new(),
            fetched_ahead: BTreeMap::new(),
            conflicts: Conflicts::default(),
        })
    }

    /// Searches to the end: the decisions, or the proof that there is no solution.
    pub fn run(&mut self) -> Result<Result<Vec<(Package, Version)>, Tree>> {
        loop {
            match self.state.unit_propagation(self.next) {
                Ok(conflicts) => {
                    let conflicts: Vec<_> = conflicts.into_iter().collect();
                    for (affected, conflict) in conflicts {
                        self.record_conflict(affected, &conflict);
                    }
                }
                Err(tree) => return Ok(Err(tree)),
            }
            self.look_ahead();
            self.change_places();
            let priorities = &self.priorities;
            let packages = &self.state.package_store;
            let Some((next, _)) =
                self.state.partial_solution.pick_highest_priority_pkg(|id, _| Some(priorities.of(&packages[id])))
            else {
                let chosen: Vec<(Package, Version)> = self
                    .state
                    .partial_solution
                    .extract_solution()
                    .map(|(id, version)| (self.state.package_store[id].clone(), version))
                    .collect();
                return Ok(Ok(chosen));
            };
            self.next = next;
            self.step()?;
        }
    }

    /// Decides on the next package, or finds out why that is not possible.
    fn step(&mut self) -> Result<()> {
        let package = self.state.package_store[self.next].clone();
        let term = self.state.partial_solution.term_intersection_for_package(self.next);
        let Some(Term::Positive(range)) = term.cloned() else {
            return Err(Error::new(format!("{package} is to be decided without being required: kiln has a defect")));
        };
        let version = match self.choose(&package, &range)? {
            Decision::Version(version) => version,
            Decision::None => {
                self.state.add_no_versions(self.next, range);
                return Ok(());
            }
            Decision::Unknown => {
                self.state.add_unavailable(self.next, range, Reason::Unknown);
                return Ok(());
            }
            Decision::Unusable(version, why) => {
                let versions = self.widened(&package, &version)?;
                self.state.add_unavailable(self.next, versions, Reason::Unusable(why));
                return Ok(());
            }
            Decision::OtherPython(version, requires) => {
                let versions = self.widened(&package, &version)?;
                let python = self.state.package_store.alloc(Package::Python);
                self.state.add_dependency(self.next, versions, (python, ranges::python(&requires)));
                self.state.partial_solution.add_decision(self.next, version);
                return Ok(());
            }
        };
        self.fetch_more(&package, &version, &range);
        if self.decided.contains(&(package.clone(), version.clone())) {
            self.state.partial_solution.add_decision(self.next, version);
            return Ok(());
        }
        let versions = self.widened(&package, &version)?;
        match self.dependencies(&package, &version)? {
            Err(reason) => self.state.add_unavailable(self.next, versions, reason),
            Ok(edges) => {
                self.decided.insert((package, version.clone()));
                self.add(version, versions, edges);
            }
        }
        Ok(())
    }

    /// The version to try.
    fn choose(&mut self, package: &Package, range: &Range) -> Result<Decision> {
        let name = match package {
            Package::Root => return Ok(Decision::Version(root_version())),
            Package::Python => return Ok(Decision::None),
            Package::Project { name, .. } | Package::Extra { name, .. } | Package::Conditional { name, .. } => name,
        };
        let universe = self.universe;
        if let Some(direct) = self.addresses.get(name) {
            let version = direct.metadata.version.clone();
            let decision = match universe.fit(&direct.filename) {
                _ if !range.contains(&version) => Decision::None,
                Fit::Fits(_) => Decision::Version(version),
                fit => Decision::Unusable(version, Why::NoWheelFits(fit)),
            };
            return Ok(decision);
        }
        let Some(candidates) = universe.candidates(name)? else { return Ok(Decision::Unknown) };
        let Some(at) = universe.select(&candidates, range) else { return Ok(Decision::None) };
        let version = candidates.versions[at].clone();
        if let Choice::Unusable(why) = universe.choice(&candidates, at) {
            return Ok(Decision::Unusable(version, why.clone()));
        }
        if let Some(requires) = universe.other_python(&candidates, at) {
            return Ok(Decision::OtherPython(version, requires.clone()));
        }
        if package.plain().is_some() {
            self.ahead.best(name, &Range::singleton(version.clone()));
        }
        Ok(Decision::Version(version))
    }

    /// The version with the gap around it in which there is no other: so the ranges of versions that were
    /// rejected one by one become one.
    fn widened(&self, package: &Package, version: &Version) -> Result<Range> {
        let single = Range::singleton(version.clone());
        let Some(name) = package.name().filter(|name| !self.addresses.contains_key(*name)) else { return Ok(single) };
        Ok(match self.universe.candidates(name)? {
            Some(candidates) if !candidates.versions.is_empty() => single.widen_versions(&candidates.versions),
            _ => single,
        })
    }

    /// What a package of a version depends on, or why it is out.
    fn dependencies(&self, package: &Package, version: &Version) -> Result<Result<Edges, Reason>> {
        let requirements = match package {
            Package::Root => self.applicable(self.universe.request.requirements.iter(), None),
            Package::Python => Vec::new(),
            Package::Extra { .. } | Package::Conditional { .. } => {
                let single = Range::singleton(version.clone());
                return Ok(Ok(package.stands_for().into_iter().map(|package| (package, single.clone())).collect()));
            }
            Package::Project { name, extra, .. } => {
                let metadata = match self.metadata(name, version)? {
                    Ok(metadata) => metadata,
                    Err(reason) => return Ok(Err(reason)),
                };
                if let Some(requires) = &metadata.requires_python
                    && !self.universe.request.target.allows(requires)
                {
                    return Ok(Err(Reason::OtherPython(requires.clone())));
                }
                self.required(&metadata, extra.as_ref())
            }
        };
        let mut edges = Vec::new();
        for requirement in &requirements {
            match &requirement.wanted {
                Wanted::Versions(_, range) if range.is_empty() => {
                    return Ok(Err(Reason::Impossible(requirement.to_string())));
                }
                Wanted::Url(url) if !self.is_asked_for(&requirement.name, url) => {
                    return Ok(Err(Reason::Address(requirement.to_string())));
                }
                Wanted::Versions(..) | Wanted::Url(_) => {}
            }
            let range = requirement.range();
            edges.extend(Package::required(requirement).into_iter().map(|package| (package, range.clone())));
        }
        Ok(Ok(edges))
    }

    fn is_asked_for(&self, name: &Name, url: &Url) -> bool {
        let same =
            |direct: &Arc<Direct>| Url::parse(&direct.file.url).is_ok_and(|known| without_fragment(url) == known);
        self.addresses.get(name).is_some_and(same)
    }

    /// What a version of a project says of itself.
    pub fn metadata(&self, name: &Name, version: &Version) -> Result<Result<Arc<Metadata>, Reason>> {
        if let Some(direct) = self.addresses.get(name) {
            return Ok(Ok(Arc::clone(&direct.metadata)));
        }
        let candidates = self.universe.candidates(name)?;
        let found = candidates.as_deref().and_then(|candidates: &Candidates| {
            let at = candidates.versions.binary_search(version).ok()?;
            self.universe.metadata(candidates, at)
        });
        match found {
            Some(Ok(metadata)) => Ok(Ok(metadata)),
            Some(Err(error)) if error.what() == Kind::Corrupt => Ok(Err(Reason::Metadata(error.to_string()))),
            Some(Err(error)) => Err(error).context(|| format!("asking what {name} {version} requires")),
            None => Err(Error::new(format!("{name} {version} was chosen and is not there: kiln has a defect"))),
        }
    }

    /// The requirements of a project, or of one of its extras; those of extras that it asks of itself included.
    pub fn required(&self, metadata: &Metadata, extra: Option<&Name>) -> Vec<Requirement> {
        let mut found = self.applicable(metadata.requires.iter(), extra);
        let own = |requirement: &Requirement| requirement.name == metadata.name && !requirement.extras.is_empty();
        if !found.iter().any(own) {
            return found;
        }
        let mut seen: BTreeSet<Name> = BTreeSet::new();
        let mut queue: Vec<Name> = found
            .iter()
            .filter(|requirement| own(requirement))
            .flat_map(|requirement| requirement.extras.clone())
            .collect();
        let mut at = 0;
        while let Some(extra) = queue.get(at).cloned() {
            at += 1;
            if seen.insert(extra.clone()) {
                let more = self.applicable(metadata.requires.iter(), Some(&extra));
                queue.extend(more.iter().filter(|found| own(found)).flat_map(|found| found.extras.clone()));
                found.extend(more);
            }
        }
        let bounds: Vec<Requirement> = found
            .iter()
            .filter(|requirement| own(requirement) && requirement.specifiers().is_none_or(|given| !given.is_empty()))
            .map(Requirement::without_extras)
            .collect();
        found.retain(|requirement| !own(requirement));
        found.extend(bounds);
        found
    }

    /// Those requirements that apply here, each followed by the constraints on its project.
    fn applicable<'r>(
        &self,
        requirements: impl Iterator<Item = &'r Requirement>,
        extra: Option<&Name>,
    ) -> Vec<Requirement> {
        let request = self.universe.request;
        let target = &request.target;
        let mut found = Vec::new();
        for requirement in requirements {
            let applies = match extra {
                None => requirement.applies(target, &[]),
                // What applies without the extra, the project itself requires.
                Some(extra) => {
                    requirement.applies(target, std::slice::from_ref(extra)) && !requirement.applies(target, &[])
                }
            };
            if !applies {
                continue;
            }
            found.push(requirement.clone());
            for constraint in &request.constraints {
                if constraint.name == requirement.name && constraint.applies(target, &[]) {
                    found.push(constraint.also_under(&requirement.marker));
                }
            }
        }
        found
    }

    /// Adds the dependencies of the package that is being decided.
    fn add(&mut self, version: Version, versions: Range, edges: Edges) {
        for (package, range) in &edges {
            self.priorities.meet(package, range, &self.by_address);
            let base = package.base();
            if let Some(base) = &base {
                self.priorities.meet(base, range, &self.by_address);
            }
            if let Some(name) = package.name().filter(|name| !self.by_address.contains(*name)) {
                self.ahead.page(name);
            }
        }
        for (package, range) in &edges {
            if let Some(base) = package.base() {
                let stand_in = self.state.package_store.alloc(package.clone());
                let base = self.state.package_store.alloc(base);
                // Known before the stand-in is decided, the project's own range is narrow from the start.
                self.state.add_dependency(stand_in, range.clone(), (base, range.clone()));
            }
        }
        let conflict = self.state.add_package_version_dependencies(self.next, version, versions, edges);
        if let Some(conflict) = conflict {
            self.record_conflict(self.next, &conflict);
        }
    }

    fn record_conflict(&mut self, affected: Id<Package>, conflict: &ConflictId<Types>) {
        let others: Vec<Id<Package>> = self.state.conflict_packages(conflict).filter(|id| *id != affected).collect();
        let name = self.state.package_store[affected].name().cloned();
        let mut real = false;
        for culprit in others {
            let package = &self.state.package_store[culprit];
            // A stand-in's conflict with its own project is none.
            if package.name() == name.as_ref() {
                continue;
            }
            real = true;
            let count = self.conflicts.culprits.entry(package.clone()).or_default();
            *count += 1;
            if *count == CONFLICTS {
                self.conflicts.demote.push(culprit);
            }
        }
        if real {
            let package = self.state.package_store[self.next].clone();
            let count = self.conflicts.affected.entry(package.clone()).or_default();
            *count += 1;
            if *count == CONFLICTS {
                self.conflicts.promote.push(package);
            }
        }
    }

    /// Moves projects that were in many conflicts, and takes the culprits' decisions back.
    fn change_places(&mut self) {
        for package in std::mem::take(&mut self.conflicts.promote) {
            self.priorities.is_affected(&package);
        }
        for culprit in std::mem::take(&mut self.conflicts.demote) {
            if self.priorities.is_culprit(&self.state.package_store[culprit]) {
                // One that is not decided has nothing to take back.
                let _ = self.state.backtrack_package(culprit);
            }
        }
    }

    /// Has the metadata fetched of what would be chosen of every project that is open.
    fn look_ahead(&mut self) {
        for (id, range) in self.state.partial_solution.prioritized_packages() {
            let Some(name) = self.state.package_store[id].plain() else { continue };
            if self.by_address.contains(name) || self.looked_ahead.get(name) == Some(range) {
                continue;
            }
            self.looked_ahead.insert(name.clone(), range.clone());
            self.ahead.best(name, range);
        }
    }

    /// Has the metadata of many versions fetched once many of a project were tried in vain.
    fn fetch_more(&mut self, package: &Package, version: &Version, range: &Range) {
        let Some(name) = package.plain().filter(|name| !self.by_address.contains(*name)) else { return };
        let tried = self.tried.entry(name.clone()).or_default();
        let count = tried.len();
        tried.insert(version.clone());
        let before = self.fetched_ahead.get(name).copied().unwrap_or_default();
        let crossed = [5, 10, 20].iter().any(|step| count >= *step && before < *step);
        if crossed || (count >= 20 && count - before >= 20) {
            self.fetched_ahead.insert(name.clone(), count);
            self.ahead.below(name, version, range, count.min(50));
        }
    }
}

/// The projects that are asked for by address, fetched.
fn addresses(universe: &Universe<'_>) -> Result<BTreeMap<Name, Arc<Direct>>> {
    let request = universe.request;
    let mut urls: BTreeMap<&Name, &Url> = BTreeMap::new();
    for requirement in request.requirements.iter().chain(&request.constraints) {
        let Wanted::Url(url) = &requirement.wanted else { continue };
        if !requirement.applies(&request.target, &[]) {
            continue;
        }
        if let Some(other) = urls.insert(&requirement.name, url)
            && other != url
        {
            return Err(Error::no(format!("{} is asked for at two addresses: {other} and {url}", requirement.name))
                .hint("leave one of them"));
        }
    }
    urls.into_iter().map(|(name, url)| Ok((name.clone(), universe.index().direct(name, url)?))).collect()
}

fn without_fragment(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    url
}

fn root_version() -> Version {
    Version::new([0])
}
