//! Why a request cannot be satisfied, in words.
//!
//! First the request is made as small as it can be and still fail; then what is broken in the end is followed
//! down to a relation that nothing can satisfy, or to two packages that cannot be together.

use std::collections::{BTreeMap, BTreeSet};

use super::super::universe::{Dependency, Name, Version};
use super::Attempt;
use super::Basis;
use super::request::Wanted;
use super::state::{State, When, groups};
use crate::error::Error;

/// Above this many requests the smallest failing part is not looked for.
const MAX_REDUCED: usize = 64;
/// How many steps a chain of reasons may have.
const MAX_STEPS: usize = 40;

/// The error for a request that `basis` cannot satisfy.
pub(super) fn unsatisfiable(basis: &Basis<'_>, wanted: &[Wanted]) -> Error {
    let wanted = reduced(basis, wanted);
    let texts: Vec<String> = wanted.iter().map(|want| format!("`{}`", want.text)).collect();
    let headline = match texts.as_slice() {
        [one] => format!("{one} cannot be installed"),
        several => format!("{} cannot be installed together", several.join(", ")),
    };
    let error = Error::no(headline);
    let Ok(mut outcome) = Attempt::mark(basis, &wanted) else { return error };
    let mut explanation = Explanation {
        state: &mut outcome.state,
        base: &basis.base,
        requested: &outcome.requested,
        seen: BTreeSet::new(),
    };
    let mut reasons = Vec::new();
    // What was asked for comes first: the rest is broken because of it.
    let (first, rest): (Vec<Name>, Vec<Name>) =
        outcome.broken.iter().partition(|name| explanation.requested.contains_key(name));
    for name in first.into_iter().chain(rest) {
        if let Some(version) = explanation.state.node(name).install {
            reasons = explanation.of_broken(name, version);
        }
        if !reasons.is_empty() {
            break;
        }
    }
    match reasons.is_empty() {
        true => error,
        false => error.caused_by(Error::new(reasons.join(", "))),
    }
}

/// The request without what is not needed for it to fail.
fn reduced(basis: &Basis<'_>, wanted: &[Wanted]) -> Vec<Wanted> {
    let mut left = wanted.to_vec();
    let mut at = if left.len() > MAX_REDUCED { 0 } else { left.len() };
    while at > 0 {
        at -= 1;
        let mut fewer = left.clone();
        fewer.remove(at);
        if Attempt::mark(basis, &fewer).is_ok_and(|outcome| !outcome.broken.is_empty()) {
            left = fewer;
        }
    }
    left
}

struct Explanation<'s, 'u> {
    state: &'s mut State<'u>,
    base: &'s BTreeMap<Name, Version>,
    requested: &'s BTreeMap<Name, String>,
    seen: BTreeSet<Version>,
}

impl<'u> Explanation<'_, 'u> {
    fn name(&self, name: Name) -> &'u str {
        self.state.universe.name(name)
    }

    /// Why a version that would be installed is broken: sentences, outermost first.
    fn of_broken(&mut self, name: Name, version: Version) -> Vec<String> {
        let dependencies = self.state.dependencies(version);
        for range in groups(&dependencies) {
            let group = &dependencies[range];
            let kind = group[0].kind;
            if !kind.is_critical() || self.state.group_holds(group, name, When::Then) {
                continue;
            }
            let mut reasons = self.path_to(name);
            let subject = match reasons.is_empty() {
                true => format!("`{}`{}", self.name(name), self.presence_after(name)),
                false => format!("`{}`", self.name(name)),
            };
            if !kind.is_negative() {
                reasons.extend(self.of_group(&subject, name, group));
                return reasons;
            }
            let met = self.state.all_targets(&group[0], name);
            let there = met.into_iter().map(|version| (self.state.universe.name_of(version), version));
            for (other, version) in there {
                if self.state.node(other).install == Some(version) {
                    let object = self.object(&group[0], other);
                    reasons.push(format!("{subject} {} {object}{}", kind.verb(), self.presence(other)));
                    return reasons;
                }
            }
        }
        Vec::new()
    }

    /// How something that was not asked for came to be there, from a request on: who needs what.
    fn path_to(&self, name: Name) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut at = name;
        let mut seen = BTreeSet::from([name]);
        while !self.requested.contains_key(&at) && !self.base.contains_key(&at) {
            let Some((by, dependency)) = self.needed_by(at).filter(|(by, _)| seen.insert(*by)) else { break };
            reasons.push(format!("`{}`{} needs `{dependency}`", self.name(by), self.presence_at_start(by)));
            at = by;
        }
        reasons.reverse();
        reasons
    }

    /// Why none of the alternatives of a dependency can be had.
    fn of_group(&mut self, subject: &str, parent: Name, group: &[Dependency<'u>]) -> Vec<String> {
        let alternatives: Vec<String> = group.iter().map(|one| format!("`{}`", one.display())).collect();
        let need = format!("{subject} {} {}", group[0].kind.verb(), alternatives.join(" or "));
        let targets: Vec<Version> = group.iter().flat_map(|one| self.state.all_targets(one, parent)).collect();
        if targets.is_empty() {
            return vec![need, format!("but {}", self.of_missing(&group[0]))];
        }
        for version in targets {
            let reasons = self.of_absent(version);
            if !reasons.is_empty() {
                let mut all = vec![need];
                all.extend(reasons);
                return all;
            }
        }
        vec![need, "but that would not fit the rest".to_owned()]
    }

    fn of_missing(&self, dependency: &Dependency<'_>) -> String {
        let universe = self.state.universe;
        let versions: Vec<&str> =
            universe.versions(dependency.target).map(|version| universe.version(version)).collect();
        match versions.as_slice() {
            [] => format!("there is no `{}`", dependency.text),
            versions => format!("there is only {} {}", dependency.text, versions.join(", ")),
        }
    }

    /// Why a version could not be installed.
    fn of_absent(&mut self, version: Version) -> Vec<String> {
        if !self.seen.insert(version) || self.seen.len() > MAX_STEPS {
            return Vec::new();
        }
        let universe = self.state.universe;
        let name = universe.name_of(version);
        let subject = format!("`{}`", self.name(name));
        let node = *self.state.node(name);
        let default = super::super::policy::candidate(universe, name, node.current);
        if default.is_some_and(|other| other != version) {
            let taken = default.map(|other| universe.version(other)).unwrap_or_default();
            return vec![format!("but of {subject} only {taken} may be taken, not {}", universe.version(version))];
        }
        if let Some(other) = node.install.filter(|&other| other != version) {
            let (wanted, there) = (universe.version(version), universe.version(other));
            return vec![format!("but that means {subject} {wanted} and not {there}{}", self.presence(name))];
        }
        let dependencies = self.state.dependencies(version);
        for range in groups(&dependencies) {
            let group = &dependencies[range];
            let kind = group[0].kind;
            if kind.is_negative()
                && !self.state.holds(&group[0], name, When::Then)
                && let Some(other) = self.installed_target(&group[0], name)
            {
                let object = self.object(&group[0], other);
                return vec![format!("but {subject} {} {object}{}", kind.verb(), self.presence(other))];
            }
        }
        if let Some(reason) = self.of_opponent(name, version) {
            return vec![reason];
        }
        for range in groups(&dependencies) {
            let group = &dependencies[range];
            let kind = group[0].kind;
            if kind.is_critical() && !kind.is_negative() && !self.state.group_holds(group, name, When::Then) {
                let reasons = self.of_group(&format!("but {subject}"), name, group);
                let found = reasons.len() > 1 && !reasons.last().is_some_and(|last| last.ends_with("the rest"));
                if found {
                    return reasons;
                }
            }
        }
        Vec::new()
    }

    fn installed_target(&self, dependency: &Dependency<'_>, parent: Name) -> Option<Name> {
        let targets = self.state.targets(dependency, parent, When::Then);
        targets.first().map(|&version| self.state.universe.name_of(version))
    }

    /// Something that will be there and does not go with `version`.
    fn of_opponent(&mut self, name: Name, version: Version) -> Option<String> {
        let universe = self.state.universe;
        for other in self.state.installed.clone() {
            let Some(installed) = self.state.node(other).install.filter(|_| other != name) else { continue };
            let dependencies = self.state.dependencies(installed);
            let against = dependencies.iter().find(|one| {
                let real = one.target == name && one.accepts(universe.version(version));
                let provided =
                    || universe.providers(one.target).any(|(by, provided)| by == version && one.accepts(provided));
                one.kind.is_negative() && (real || provided())
            });
            if let Some(one) = against {
                let (subject, verb, object) = (self.name(other), one.kind.verb(), self.object(one, name));
                return Some(format!("but `{subject}`{} {verb} {object}", self.presence_after(other)));
            }
        }
        None
    }

    /// The other side of a conflict: `b (<< 2)`, or `c` for the name it provides.
    fn object(&self, dependency: &Dependency<'_>, other: Name) -> String {
        let name = self.name(other);
        if dependency.target == other {
            return format!("`{}`", dependency.display());
        }
        format!("`{}`, which `{name}` provides", dependency.display())
    }

    /// Why a package is there, as the end of a sentence.
    fn presence(&self, name: Name) -> String {
        self.presence_text(name).map(|text| format!(", {text}")).unwrap_or_default()
    }

    /// The same in its middle.
    fn presence_after(&self, name: Name) -> String {
        self.presence_text(name).map(|text| format!(", {text},")).unwrap_or_default()
    }

    fn presence_text(&self, name: Name) -> Option<String> {
        if self.requested.contains_key(&name) {
            return Some("which you asked for".to_owned());
        }
        if self.base.contains_key(&name) {
            return Some("which is part of the base".to_owned());
        }
        let (by, _) = self.needed_by(name)?;
        Some(format!("which `{}` needs", self.name(by)))
    }

    /// As [`Self::presence_after`], but says nothing of what needs it.
    fn presence_at_start(&self, name: Name) -> String {
        let known = self.requested.contains_key(&name) || self.base.contains_key(&name);
        if known { self.presence_after(name) } else { String::new() }
    }

    /// Something that will be there and has a dependency that this package satisfies, and that dependency.
    fn needed_by(&self, name: Name) -> Option<(Name, String)> {
        let universe = self.state.universe;
        let dependency_of = |other: Name| {
            let version = self.state.node(other).install?;
            let dependencies = universe.dependencies(version);
            let found = dependencies.iter().find(|one| {
                one.kind.is_critical()
                    && !one.kind.is_negative()
                    && self.state.targets(one, other, When::Then).iter().any(|&by| universe.name_of(by) == name)
            })?;
            Some((other, found.display()))
        };
        self.state.installed.iter().filter(|other| **other != name).find_map(|&other| dependency_of(other))
    }
}
