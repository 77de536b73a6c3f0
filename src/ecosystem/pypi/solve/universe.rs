//! An index as one target sees it: which versions of a project can be used, by which file, and which comes first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pep440_rs::{Operator, Version, VersionSpecifiers};

use super::{Prereleases, Request};
use crate::ecosystem::pypi::filename::{Build, Filename};
use crate::ecosystem::pypi::index::{Index, Project, Release};
use crate::ecosystem::pypi::metadata::Metadata;
use crate::ecosystem::pypi::name::Name;
use crate::ecosystem::pypi::page::Listed;
use crate::ecosystem::pypi::ranges::Range;
use crate::ecosystem::pypi::requirement::Requirement;
use crate::ecosystem::pypi::tags::{Fit, Tags};
use crate::error::{Kind, Result};

/// The origin of names of which nothing else is said.
const DEFAULT_ORIGIN: &str = "pypi";

/// See the module's documentation.
pub(super) struct Universe<'a> {
    index: &'a dyn Index,
    pub request: &'a Request,
    tags: Tags,
    /// Versions that may be used although they were taken back.
    allowed_yanked: BTreeMap<Name, BTreeSet<Version>>,
    /// Projects of which somebody named a pre-release.
    explicit: BTreeSet<Name>,
    known: Mutex<BTreeMap<Name, Arc<OnceLock<Answer>>>>,
}

/// A project, or `None` if the origin does not know it.
type Answer = Result<Option<Arc<Candidates>>>;

/// The versions of a project.
pub(super) struct Candidates {
    pub project: Arc<Project>,
    /// Ascending.
    pub versions: Vec<Version>,
    choices: Vec<OnceLock<Choice>>,
    any_local: bool,
    only_prereleases: bool,
}

/// How a version can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// By this wheel of the release.
    Wheel(usize),
    /// By building this source distribution. Where the release has a wheel too, for others, that one's metadata
    /// says what the version requires.
    Source(usize, Option<usize>),
    /// Not at all.
    Unusable(Why),
}

/// Why a version cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It was taken back, with this reason.
    Yanked(String),
    /// It has wheels only, and none fits.
    NoWheelFits(Fit),
    /// It would have to be built, which is not wanted.
    OnlySource,
    /// None of its files has a hash that is allowed.
    OtherHashes,
}

impl<'a> Universe<'a> {
    pub fn new(index: &'a dyn Index, request: &'a Request) -> Self {
        let mut allowed_yanked: BTreeMap<Name, BTreeSet<Version>> = BTreeMap::new();
        let mut explicit = BTreeSet::new();
        let applicable = |requirement: &&Requirement| requirement.applies(&request.target, &[]);
        for requirement in request.requirements.iter().chain(&request.constraints).filter(applicable) {
            let Some(specifiers) = requirement.specifiers() else { continue };
            if let Some(version) = pinned(specifiers) {
                allowed_yanked.entry(requirement.name.clone()).or_default().insert(version.clone());
            }
            if names_prerelease(specifiers) {
                explicit.insert(requirement.name.clone());
            }
        }
        for (name, version) in &request.preferred {
            allowed_yanked.entry(name.clone()).or_default().insert(version.clone());
        }
        Self { index, request, tags: Tags::of(&request.target), allowed_yanked, explicit, known: Mutex::default() }
    }

    pub fn index(&self) -> &dyn Index {
        self.index
    }

    /// How well a wheel fits the target.
    pub fn fit(&self, filename: &Filename) -> Fit {
        match filename {
            Filename::Wheel(wheel) => self.tags.fit(wheel),
            Filename::Source(_) => Fit::Fits(0),
        }
    }

    /// A project's versions. Waits for the index; `None` if it does not know the project.
    pub fn candidates(&self, name: &Name) -> Answer {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(name.clone()).or_default())
        };
        let ask = || {
            let origin = self.request.sources.get(name).map_or(DEFAULT_ORIGIN, String::as_str);
            match self.index.project(name, origin) {
                Ok(project) => Ok(Some(Arc::new(Candidates::new(project)))),
                Err(error) if error.what() == Kind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        };
        cell.get_or_init(ask).clone()
    }

    /// The version of the range that comes first: its place among the versions. It may turn out to be unusable.
    pub fn select(&self, candidates: &Candidates, range: &Range) -> Option<usize> {
        self.preferred(candidates, range).or_else(|| self.best(candidates, range))
    }

    /// The version that an earlier lock has, if it is still there and allowed.
    fn preferred(&self, candidates: &Candidates, range: &Range) -> Option<usize> {
        let name = &candidates.project.name;
        let version = self.request.preferred.get(name).filter(|_| !self.request.moving.contains(name))?;
        if !range.contains(version) || (version.any_prerelease() && self.request.prereleases == Prereleases::Disallow) {
            return None;
        }
        let at = candidates.versions.binary_search(version).ok()?;
        let is_local = |other: &Version| other.is_local() && other.clone().without_local() == *version;
        let locals = candidates.versions[at + 1..].iter().take_while(|other| is_local(other)).enumerate();
        let local = locals.filter(|(_, other)| candidates.any_local && range.contains(other)).last();
        Some(local.map_or(at, |(offset, _)| at + 1 + offset))
    }

    /// The newest version, those without pre-releases first.
    pub fn best(&self, candidates: &Candidates, range: &Range) -> Option<usize> {
        let newest = |wanted: &dyn Fn(&Version) -> bool| {
            let versions = candidates.versions.iter().enumerate().rev();
            versions
                .filter(|(_, version)| wanted(version))
                .find(|(_, version)| range.contains(version))
                .map(|(at, _)| at)
        };
        let stable = || newest(&|version| !version.any_prerelease());
        match self.request.prereleases {
            Prereleases::Allow => newest(&|_| true),
            Prereleases::Disallow => stable(),
            Prereleases::IfNecessary => stable().or_else(|| newest(&Version::any_prerelease)),
            Prereleases::IfNecessaryOrExplicit => {
                let all = candidates.only_prereleases || self.explicit.contains(&candidates.project.name);
                if all { newest(&|_| true) } else { stable() }
            }
        }
    }

    /// How the version at a place can be used.
    pub fn choice<'c>(&self, candidates: &'c Candidates, at: usize) -> &'c Choice {
        candidates.choices[at].get_or_init(|| self.choose(candidates, at))
    }

    fn choose(&self, candidates: &Candidates, at: usize) -> Choice {
        let release = candidates.release(at);
        let name = &candidates.project.name;
        let version = &candidates.versions[at];
        let forgiven = self.allowed_yanked.get(name).is_some_and(|versions| versions.contains(version));
        let allowed = self.request.hashes.get(name);
        let expected = |file: &Listed| match (allowed, file.sha256) {
            (Some(allowed), Some(digest)) => allowed.contains(&digest),
            _ => true,
        };
        let usable = |file: &Listed| expected(file) && (file.yanked.is_none() || forgiven);
        // Among equals the first listed one counts.
        let mut best: Option<(Option<Fit>, Option<&Build>, usize)> = None;
        for (place, file) in release.wheels.iter().enumerate() {
            let Filename::Wheel(wheel) = &file.filename else { continue };
            let fit = usable(file).then(|| self.tags.fit(wheel));
            let fits = matches!(fit, Some(Fit::Fits(_)));
            let rank = (fit, wheel.build.as_ref().filter(|_| fits), place);
            if best.is_none_or(|best| (rank.0, rank.1) > (best.0, best.1)) {
                best = Some(rank);
            }
        }
        if let Some((Some(Fit::Fits(_)), _, place)) = best {
            return Choice::Wheel(place);
        }
        let source = release.sources.iter().position(usable);
        let may_build = !self.request.only_wheels.contains(name);
        match (source.filter(|_| may_build), best) {
            (Some(source), best) => Choice::Source(source, best.map(|(_, _, place)| place)),
            (None, Some((Some(fit), _, _))) => Choice::Unusable(Why::NoWheelFits(fit)),
            (None, None) if source.is_some() => Choice::Unusable(Why::OnlySource),
            (None, _) if !release.wheels.iter().chain(&release.sources).any(expected) => {
                Choice::Unusable(Why::OtherHashes)
            }
            (None, _) => {
                let reason = release.wheels.iter().chain(&release.sources).find_map(|file| file.yanked.clone());
                Choice::Unusable(Why::Yanked(reason.unwrap_or_default()))
            }
        }
    }

    /// What a usable version says of itself.
    pub fn metadata(&self, candidates: &Candidates, at: usize) -> Option<Result<Arc<Metadata>>> {
        let release = candidates.release(at);
        let file = match *self.choice(candidates, at) {
            Choice::Wheel(wheel) | Choice::Source(_, Some(wheel)) => &release.wheels[wheel],
            Choice::Source(source, None) => &release.sources[source],
            Choice::Unusable(_) => return None,
        };
        Some(self.index.metadata(&candidates.project, file))
    }

    /// What the index says of the Python that a usable version requires, if it is another than the target's.
    pub fn other_python<'c>(&self, candidates: &'c Candidates, at: usize) -> Option<&'c VersionSpecifiers> {
        let requires = self.file(candidates, at)?.requires_python.as_ref()?;
        (!self.request.target.allows(requires)).then_some(requires)
    }

    /// The file that is to be fetched for a usable version.
    pub fn file<'c>(&self, candidates: &'c Candidates, at: usize) -> Option<&'c Listed> {
        let release = candidates.release(at);
        match *self.choice(candidates, at) {
            Choice::Wheel(wheel) => release.wheels.get(wheel),
            Choice::Source(source, _) => release.sources.get(source),
            Choice::Unusable(_) => None,
        }
    }
}

impl Candidates {
    fn new(project: Arc<Project>) -> Self {
        let versions = project.versions().to_vec();
        Self {
            choices: versions.iter().map(|_| OnceLock::new()).collect(),
            any_local: versions.iter().any(Version::is_local),
            only_prereleases: versions.iter().all(Version::any_prerelease),
            project,
            versions,
        }
    }

    fn release(&self, at: usize) -> &Release {
        self.project.release(at)
    }
}

/// The version that specifiers pin.
fn pinned(specifiers: &VersionSpecifiers) -> Option<&Version> {
    let mut specifiers = specifiers.iter();
    match (specifiers.next(), specifiers.next()) {
        (Some(only), None) if matches!(only.operator(), Operator::Equal | Operator::ExactEqual) => Some(only.version()),
        _ => None,
    }
}

/// Excluding a pre-release does not ask for others.
fn names_prerelease(specifiers: &VersionSpecifiers) -> bool {
    let excludes = |operator: &Operator| matches!(operator, Operator::NotEqual | Operator::NotEqualStar);
    specifiers.iter().any(|specifier| !excludes(specifier.operator()) && specifier.any_prerelease())
}
