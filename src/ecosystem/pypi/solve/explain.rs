//! Why a request cannot be satisfied, in words.
//!
//! PubGrub proves it with a tree; people want the facts at its leaves: who asks for what, what there is, and what
//! is out for which reason. Facts that differ in versions only are told together, those asked for come first.

use std::collections::BTreeSet;
use std::ops::Bound;

use pep440_rs::Version;
use pubgrub::External;

use super::Prereleases;
use super::package::Package;
use super::reason::{Reason, Tree};
use super::universe::{Universe, Why};
use crate::ecosystem::pypi::name::Name;
use crate::ecosystem::pypi::ranges::{self, Range};
use crate::error::Error;

/// More facts than these nobody reads.
const MOST_FACTS: usize = 20;
/// So many versions are listed by themselves.
const FEW: usize = 3;

/// One thing that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fact {
    /// Somebody asks for these versions of a project, with the words used.
    Asked(Name, String),
    /// Versions of a project require versions of another.
    Requires(Name, Option<Name>, Range, Name, Range),
    /// Versions of a project need versions of Python.
    NeedsPython(Name, Range, Range),
    /// There is no version in a range.
    Missing(Name, Range),
    /// Versions are out.
    Out(Name, Range, Reason),
}

/// The error for a request that this tree proves impossible.
pub(super) fn explain(universe: &Universe<'_>, tree: &Tree) -> Error {
    let mut facts = Vec::new();
    collect(universe, tree, &mut facts, &mut BTreeSet::new());
    facts.sort_by_key(Fact::order);
    let error =
        Error::no(format!("no set of Python packages satisfies what is asked for, for {}", universe.request.target));
    let mut lines: Vec<String> = Vec::new();
    for line in facts.iter().filter_map(|fact| fact.line(universe)) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let more = lines.len().saturating_sub(MOST_FACTS);
    lines.truncate(MOST_FACTS);
    if more > 0 {
        lines.push(format!("and {more} facts more"));
    }
    let error = lines.into_iter().fold(error, |error, line| error.caused_by(Error::new(line)));
    let mut hints: Vec<String> = Vec::new();
    for hint in facts.iter().filter_map(|fact| fact.hint(universe)) {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    }
    if hints.is_empty() {
        hints.push("ask for other versions, or for fewer packages in one environment".to_owned());
    }
    hints.into_iter().take(MOST_FACTS).fold(error, Error::hint)
}

/// Gathers the facts at a tree's leaves. Shared branches are looked at once.
fn collect(universe: &Universe<'_>, tree: &Tree, facts: &mut Vec<Fact>, seen: &mut BTreeSet<usize>) {
    let mut open = vec![tree];
    while let Some(tree) = open.pop() {
        match tree {
            Tree::External(external) => {
                for fact in known(universe, external) {
                    merge(facts, fact);
                }
            }
            Tree::Derived(derived) => {
                if derived.shared_id.is_none_or(|id| seen.insert(id)) {
                    open.extend([&*derived.cause2, &*derived.cause1]);
                }
            }
        }
    }
}

fn known(universe: &Universe<'_>, external: &External<Package, Range, Reason>) -> Vec<Fact> {
    match external {
        External::NotRoot(..) => Vec::new(),
        External::NoVersions(package, range) => {
            package.name().map(|name| Fact::Missing(name.clone(), range.clone())).into_iter().collect()
        }
        External::Custom(Package::Root, _, Reason::Impossible(requirement)) => {
            let name = universe.request.requirements.iter().find(|known| known.text() == requirement);
            name.map(|known| Fact::Asked(known.name.clone(), requirement.clone())).into_iter().collect()
        }
        External::Custom(package, range, reason) => {
            package.name().map(|name| Fact::Out(name.clone(), range.clone(), reason.clone())).into_iter().collect()
        }
        External::FromDependencyOf(from, versions, to, range) => match (from, to.name()) {
            (Package::Root, Some(name)) => asked(universe, name, range),
            // Stand-ins and what they stand for say nothing.
            (Package::Extra { .. } | Package::Conditional { .. }, _) => Vec::new(),
            (Package::Project { name, extra, .. }, Some(to)) => {
                vec![Fact::Requires(name.clone(), extra.clone(), versions.clone(), to.clone(), range.clone())]
            }
            (Package::Project { name, .. }, None) => {
                vec![Fact::NeedsPython(name.clone(), versions.clone(), range.clone())]
            }
            (Package::Root | Package::Python, _) => Vec::new(),
        },
    }
}

/// The words with which a range was asked for.
fn asked(universe: &Universe<'_>, name: &Name, range: &Range) -> Vec<Fact> {
    let request = universe.request;
    let words = |constraint: bool| if constraint { " (a constraint)" } else { "" };
    let all = request.requirements.iter().map(|requirement| (requirement, false));
    all.chain(request.constraints.iter().map(|requirement| (requirement, true)))
        .filter(|(requirement, _)| requirement.name == *name && requirement.range() == *range)
        .map(|(requirement, constraint)| Fact::Asked(name.clone(), format!("{requirement}{}", words(constraint))))
        .collect()
}

/// Adds a fact, to one that says the same of other versions if there is one.
fn merge(facts: &mut Vec<Fact>, fact: Fact) {
    for known in facts.iter_mut() {
        match (known, &fact) {
            (Fact::Requires(name, extra, versions, to, range), Fact::Requires(other, with, more, onto, wanted))
                if name == other && extra == with && to == onto && range == wanted =>
            {
                *versions = versions.union(more);
                return;
            }
            (Fact::NeedsPython(name, versions, range), Fact::NeedsPython(other, more, wanted))
                if name == other && range == wanted =>
            {
                *versions = versions.union(more);
                return;
            }
            (Fact::Out(name, versions, reason), Fact::Out(other, more, because))
                if name == other && reason == because =>
            {
                *versions = versions.union(more);
                return;
            }
            _ => {}
        }
    }
    if !facts.contains(&fact) {
        facts.push(fact);
    }
}

impl Fact {
    fn order(&self) -> usize {
        match self {
            Self::Asked(..) => 0,
            Self::Requires(..) => 1,
            Self::NeedsPython(..) => 2,
            Self::Out(..) => 3,
            Self::Missing(..) => 4,
        }
    }

    /// The fact as a sentence; `None` if it is about versions that do not exist.
    fn line(&self, universe: &Universe<'_>) -> Option<String> {
        Some(match self {
            Self::Asked(_, words) => format!("`{words}` is asked for"),
            Self::Requires(name, extra, versions, to, range) => {
                let extra = extra.as_ref().map(|extra| format!("[{extra}]")).unwrap_or_default();
                let versions = shown(universe, name, versions)?;
                format!("{name}{extra}{versions} requires {to}{}", specifiers(range))
            }
            Self::NeedsPython(name, versions, range) => {
                format!("{name}{} needs Python {}", shown(universe, name, versions)?, specifiers(range))
            }
            Self::Out(name, _, Reason::Unknown) => format!("{name} is not in the index"),
            Self::Out(name, versions, reason) => format!("{name}{} {reason}", shown(universe, name, versions)?),
            Self::Missing(name, range) => {
                let there = existing(universe, name);
                let (Some(oldest), Some(newest)) = (there.first(), there.last()) else {
                    return Some(format!("there is no version of {name} that can be used"));
                };
                let bounds = specifiers(range);
                match there.len() {
                    1 => format!("there is no version of {name}{bounds} that can be used: the only one is {newest}"),
                    count => format!(
                        "there is no version of {name}{bounds} that can be used: there are {count}, from {oldest} to {newest}"
                    ),
                }
            }
        })
    }

    /// What to do about it.
    fn hint(&self, universe: &Universe<'_>) -> Option<String> {
        match self {
            Self::Out(name, _, Reason::Unknown) => {
                Some(format!("check how {name} is written, and whether it is in another origin"))
            }
            Self::Out(name, versions, Reason::Unusable(Why::Yanked(_))) => {
                let newest = within(universe, name, versions).last()?.clone();
                Some(format!("a version that was yanked is used only if it is asked for exactly: `{name}=={newest}`"))
            }
            Self::Out(name, _, Reason::Unusable(Why::NoWheelFits(_))) => {
                Some(format!("{name} has no source distribution to build from; try other versions or another platform"))
            }
            Self::NeedsPython(name, ..) | Self::Out(name, _, Reason::OtherPython(_)) => {
                Some(format!("{name} may have older versions for Python {}", universe.request.target.python()))
            }
            Self::Missing(name, range) => {
                let hidden = match universe.request.prereleases {
                    Prereleases::Allow | Prereleases::IfNecessary => return None,
                    Prereleases::Disallow | Prereleases::IfNecessaryOrExplicit => within(universe, name, range),
                };
                let newest = hidden.iter().rev().find(|version| version.any_prerelease())?;
                Some(format!("{name} has the pre-release {newest}; ask for it by name to use it: `{name}>={newest}`"))
            }
            Self::Asked(..) | Self::Requires(..) | Self::Out(..) => None,
        }
    }
}

/// The versions that a project has; none if that cannot be known.
fn existing(universe: &Universe<'_>, name: &Name) -> Vec<Version> {
    let candidates = universe.candidates(name).ok().flatten();
    candidates.map(|candidates| candidates.versions.clone()).unwrap_or_default()
}

fn within(universe: &Universe<'_>, name: &Name, range: &Range) -> Vec<Version> {
    existing(universe, name).into_iter().filter(|version| range.contains(version)).collect()
}

/// The existing versions of a range, after a space; `None` if there is none.
fn shown(universe: &Universe<'_>, name: &Name, range: &Range) -> Option<String> {
    let all = existing(universe, name);
    let versions: Vec<&Version> = all.iter().filter(|version| range.contains(version)).collect();
    match &versions[..] {
        // One by address is in no index.
        [] if all.is_empty() => Some(String::new()),
        [] => None,
        [only] => Some(format!(" {only}")),
        _ if versions.len() == all.len() => Some(format!(" (each of {} versions)", all.len())),
        [first @ .., last] if versions.len() <= FEW => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            Some(format!(" {} and {last}", first.join(", ")))
        }
        [first, .., last] => Some(format!(" {first} to {last} ({} versions)", versions.len())),
    }
}

/// A range in the words of specifiers, `or` between its parts; nothing for all versions.
fn specifiers(range: &Range) -> String {
    if *range == Range::full() {
        return String::new();
    }
    // Where one public version is all that is between two parts, they are one part without it.
    let mut joined: Vec<(Bound<&Version>, Bound<&Version>, Vec<&Version>)> = Vec::new();
    for (least, end) in range.iter() {
        match joined.last_mut() {
            Some((_, last, without)) if let Some(hole) = hole(*last, least) => {
                without.push(hole);
                *last = end;
            }
            _ => joined.push((least, end, Vec::new())),
        }
    }
    let parts: Vec<String> = joined
        .into_iter()
        .map(|(least, end, without)| {
            let without = without.into_iter().map(|version| format!("!={version}"));
            let bounds = std::iter::once(part(least, end)).filter(|bounds| !bounds.is_empty());
            bounds.chain(without).collect::<Vec<_>>().join(",")
        })
        .collect();
    match parts.len() {
        0 => " in no version".to_owned(),
        1..=4 => parts.join(" or "),
        count => format!("{} or {} parts more", parts[..3].join(" or "), count - 3),
    }
}

/// The one public version between the end of a part and the beginning of the next.
fn hole<'v>(end: Bound<&'v Version>, least: Bound<&Version>) -> Option<&'v Version> {
    match (end, least) {
        (Bound::Excluded(hole), Bound::Included(least)) if ranges::after_locals(hole.clone()) == *least => Some(hole),
        _ => None,
    }
}

fn part(least: Bound<&Version>, end: Bound<&Version>) -> String {
    if let (Bound::Included(least), Bound::Included(end)) = (least, end)
        && least == end
    {
        return format!("=={least}");
    }
    let least = match least {
        Bound::Unbounded => None,
        Bound::Included(version) => Some(format!(">={}", plain(version))),
        Bound::Excluded(version) => Some(format!(">{}", plain(version))),
    };
    let end = match end {
        Bound::Unbounded => None,
        // The bound that takes in a version's local ones.
        Bound::Excluded(version) if version.post() == Some(0) && version.dev() == Some(0) => {
            Some(format!("<={}", version.clone().with_post(None).with_dev(None)))
        }
        Bound::Excluded(version) => Some(format!("<{}", plain(version))),
        Bound::Included(version) => Some(format!("<={}", plain(version))),
    };
    match (least, end) {
        (Some(least), Some(end)) if least.strip_prefix(">=") == end.strip_prefix("<=") => least.replacen('>', "=", 1),
        (Some(least), Some(end)) => format!("{least},{end}"),
        (least, end) => least.or(end).unwrap_or_default(),
    }
}

/// A bound as somebody would write it: `3` for `3.dev0`, which only says that pre-releases of 3 are above it.
fn plain(version: &Version) -> Version {
    match (version.dev(), version.max()) {
        (Some(0), _) => version.clone().with_dev(None),
        (_, Some(_)) => version.clone().with_max(None),
        _ => version.clone(),
    }
}
