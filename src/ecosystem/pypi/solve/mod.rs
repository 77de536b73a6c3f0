//! Resolution: from requirements to one version and one file of each project, as `uv pip compile` answers.
//!
//! PubGrub does the reasoning. What makes the answer uv's is around it: the order in which packages are decided
//! (`priority.rs`), which version is tried first (`universe.rs`), stand-ins for extras and conditions
//! (`package.rs`), and what is done after conflicts (`search.rs`). Reads nothing but the index it is given.

mod ahead;
mod answer;
mod explain;
mod package;
mod priority;
mod reason;
mod search;
mod universe;

use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::Version;

use super::index::{File, Index};
use super::metadata::Basis;
use super::name::Name;
use super::requirement::Requirement;
use super::target::Target;
use crate::digest::Digest;
use crate::error::Result;
use ahead::{Ahead, Ending, THREADS};
use search::Search;
use universe::Universe;

/// What to resolve.
#[derive(Clone, Debug)]
pub struct Request {
    pub target: Target,
    /// What is asked for.
    pub requirements: Vec<Requirement>,
    /// What holds for a project if anything asks for it.
    pub constraints: Vec<Requirement>,
    /// Versions of an earlier lock: kept where they are still allowed, even if they were taken back since.
    pub preferred: BTreeMap<Name, Version>,
    /// Projects whose earlier versions do not count.
    pub moving: BTreeSet<Name>,
    /// Where a project comes from, and from nowhere else; `pypi` for those that are not named.
    pub sources: BTreeMap<Name, String>,
    pub prereleases: Prereleases,
    /// For projects that have any: the only files that may be used, where the index gives hashes.
    pub hashes: BTreeMap<Name, BTreeSet<Digest>>,
    /// Projects whose source distributions may not be used.
    pub only_wheels: BTreeSet<Name>,
}

impl Request {
    /// A request for these requirements and nothing else.
    pub fn new(target: Target, requirements: Vec<Requirement>) -> Self {
        Self {
            target,
            requirements,
            constraints: Vec::new(),
            preferred: BTreeMap::new(),
            moving: BTreeSet::new(),
            sources: BTreeMap::new(),
            prereleases: Prereleases::default(),
            hashes: BTreeMap::new(),
            only_wheels: BTreeSet::new(),
        }
    }
}

/// Whether pre-releases may be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prereleases {
    Disallow,
    Allow,
    /// Where a range has no usable release. This is what pip and, since 2026, uv do.
    #[default]
    IfNecessary,
    /// For projects that have nothing else, and those of which a requirement names one: what uv did before.
    IfNecessaryOrExplicit,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Solution {
    pub packages: BTreeMap<Name, Pin>,
    /// What people may want to know of it, a sentence each.
    pub notes: Vec<String>,
}

/// One project's version and file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    pub name: Name,
    pub version: Version,
    /// The extras that something asks for.
    pub extras: BTreeSet<Name>,
    /// The requirements of the request that ask for it, as they were written; none if only others need it.
    pub asked: Vec<String>,
    /// The projects that need it.
    pub required_by: BTreeSet<Name>,
    pub file: File,
    /// How sure its own requirements are.
    pub basis: Basis,
    /// Why it was taken back, if it was.
    pub yanked: Option<String>,
}

/// Resolves a request. That it cannot be satisfied is [`crate::error::Kind::No`], with the reasons in words;
/// other errors are the index's.
pub fn solve(index: &dyn Index, request: &Request) -> Result<Solution> {
    let universe = Universe::new(index, request);
    let ahead = Ahead::default();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| ahead.work(&universe));
        }
        let _ending = Ending(&ahead);
        let mut search = Search::new(&universe, &ahead)?;
        match search.run()? {
            Ok(chosen) => answer::answer(&search, &chosen),
            Err(tree) => Err(explain::explain(&universe, &tree)),
        }
    })
}
