//! What differs between two lockfiles of an environment: two values in, a value out. Nothing here reads, prints or
//! knows a place; where the lockfiles come from and how the difference is shown is the command's business.
//!
//! Everything that a lockfile says is compared, so a difference is empty if and only if both say the same. Whether
//! it concerns what an image is made of is said by the classes ([`Class::is_content`]).

mod class;
mod packages;
mod pairs;
mod settings;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::model::{Evidence, Local, Lockfile, Output, Package};
use crate::ecosystem::debian::accounts::Ids;
use crate::workspace::{Platform, Step};
use pairs::Pairs;

pub use class::Class;
pub use steps::kind as step_kind;

/// One thing that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change<T> {
    /// Never empty.
    pub classes: BTreeSet<Class>,
    /// Where it is so, if not on all platforms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// The classes that hold on some of these platforms only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub only: BTreeMap<Class, Vec<Platform>>,
    /// As it was; nothing if it was not there.
    pub old: Option<T>,
    /// As it is; nothing if it is gone.
    pub new: Option<T>,
}

impl<T> Change<T> {
    /// A change of one class, everywhere.
    fn of(class: Class, old: Option<T>, new: Option<T>) -> Self {
        Self { classes: BTreeSet::from([class]), platforms: Vec::new(), only: BTreeMap::new(), old, new }
    }

    /// As it is, or was: one of them there is.
    pub fn any(&self) -> Option<&T> {
        self.new.as_ref().or(self.old.as_ref())
    }

    /// Whether a reader who trusts ordinary updates has to look at it.
    pub fn needs_attention(&self) -> bool {
        self.classes.iter().any(|class| class.needs_attention())
    }

    /// The same change seen from the other side.
    #[must_use]
    pub fn mirrored(self) -> Self {
        Self {
            classes: self.classes.into_iter().map(Class::mirrored).collect(),
            only: self.only.into_iter().map(|(class, on)| (class.mirrored(), on)).collect(),
            old: self.new,
            new: self.old,
            platforms: self.platforms,
        }
    }
}

/// A setting by its name in a definition, such as `image.user`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub key: String,
    pub value: serde_json::Value,
}

/// A step, and where among the others it stands, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlacedStep {
    pub index: usize,
    pub step: Step,
}

/// The id of a user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// `user` or `group`.
    pub kind: &'static str,
    pub name: String,
    pub id: u32,
}

/// Everything that differs. Lists are in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diff {
    /// Platforms that only one side has. What is locked for them alone is not listed besides.
    pub platforms: Vec<Change<Platform>>,
    pub packages: Vec<Change<Package>>,
    pub steps: Vec<Change<PlacedStep>>,
    pub files: Vec<Change<Local>>,
    pub settings: Vec<Change<Setting>>,
    pub accounts: Vec<Change<Account>>,
    pub indexes: Vec<Change<Evidence>>,
    pub outputs: Vec<Change<Output>>,
    /// How many packages, each version by itself, are what they were.
    pub unchanged: usize,
}

impl Diff {
    /// What differs between `old` and `new`.
    pub fn between(old: &Lockfile, new: &Lockfile) -> Self {
        let (platforms, common) = platforms(old, new);
        let (packages, unchanged) = packages::compare(old, new, &common);
        Self {
            platforms,
            packages,
            steps: steps::compare(old, new),
            files: steps::files(old, new),
            settings: settings::compare(old, new),
            accounts: accounts(old, new, &common),
            indexes: settings::indexes(old, new),
            outputs: outputs(old, new, &common),
            unchanged,
        }
    }

    /// How many changes there are of each class.
    pub fn counts(&self) -> BTreeMap<Class, usize> {
        let mut counts = BTreeMap::new();
        for class in self.classes() {
            *counts.entry(class).or_default() += 1;
        }
        counts
    }

    /// How many changes need a reader's attention.
    pub fn attention(&self) -> usize {
        self.changes().filter(|classes| classes.iter().any(|class| class.needs_attention())).count()
    }

    /// The classes of all changes.
    fn classes(&self) -> impl Iterator<Item = Class> {
        self.changes().flatten().copied()
    }

    /// Of each change, its classes.
    fn changes(&self) -> impl Iterator<Item = &BTreeSet<Class>> {
        fn of<T>(changes: &[Change<T>]) -> impl Iterator<Item = &BTreeSet<Class>> {
            changes.iter().map(|change| &change.classes)
        }
        of(&self.platforms)
            .chain(of(&self.packages))
            .chain(of(&self.steps))
            .chain(of(&self.files))
            .chain(of(&self.settings))
            .chain(of(&self.accounts))
            .chain(of(&self.indexes))
            .chain(of(&self.outputs))
    }

    /// Whether both lockfiles say the same.
    pub fn is_empty(&self) -> bool {
        self.classes().next().is_none()
    }

    /// Whether what images are a function of, or what was seen of packages, differs.
    pub fn is_content(&self) -> bool {
        self.classes().any(Class::is_content)
    }

    /// The same difference seen from the other side.
    #[must_use]
    pub fn mirrored(self) -> Self {
        fn all<T>(changes: Vec<Change<T>>) -> Vec<Change<T>> {
            changes.into_iter().map(Change::mirrored).collect()
        }
        Self {
            platforms: all(self.platforms),
            packages: all(self.packages),
            steps: all(self.steps),
            files: all(self.files),
            settings: all(self.settings),
            accounts: all(self.accounts),
            indexes: all(self.indexes),
            outputs: all(self.outputs),
            unchanged: self.unchanged,
        }
    }
}

/// The platforms that one side has, and those that both have or speak of all the same.
fn platforms(old: &Lockfile, new: &Lockfile) -> (Vec<Change<Platform>>, Vec<Platform>) {
    let mut changes = Vec::new();
    let mut common = Vec::new();
    for platform in Platform::ALL {
        let there = |lockfile: &Lockfile| lockfile.environment.platforms.contains(&platform).then_some(platform);
        match (there(old), there(new)) {
            (None, Some(_)) | (Some(_), None) => {
                changes.push(Change::of(Class::Platform, there(old), there(new)));
            }
            _ => common.push(platform),
        }
    }
    (changes, common)
}

/// Puts together what is the same on several of the platforms that both sides have.
fn everywhere(on: Vec<Platform>, common: &[Platform], old: &Lockfile) -> Vec<Platform> {
    let all = common.iter().filter(|platform| old.environment.platforms.contains(platform));
    if all.into_iter().all(|platform| on.contains(platform)) { Vec::new() } else { on }
}

fn accounts<'l>(old: &'l Lockfile, new: &'l Lockfile, common: &[Platform]) -> Vec<Change<Account>> {
    /// Kind, name, and the number on either side.
    type Key<'l> = (&'static str, &'l str, Option<u32>, Option<u32>);
    let nobody = Ids::default();
    let mut found: BTreeMap<Key<'_>, Vec<Platform>> = BTreeMap::new();
    for platform in common {
        let ids = |lockfile: &'l Lockfile| lockfile.accounts.get(platform);
        let (before, after) = (ids(old).unwrap_or(&nobody), ids(new).unwrap_or(&nobody));
        for (kind, before, after) in [("user", &before.users, &after.users), ("group", &before.groups, &after.groups)] {
            for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                let pair = (before.get(name).copied(), after.get(name).copied());
                if pair.0 != pair.1 {
                    found.entry((kind, name.as_str(), pair.0, pair.1)).or_default().push(*platform);
                }
            }
        }
    }
    let changes = found.into_iter().map(|((kind, name, before, after), on)| {
        let account = |id: u32| Account { kind, name: name.to_owned(), id };
        let class = if before.is_some() && after.is_some() { Class::Renumbered } else { Class::Accounts };
        let platforms = everywhere(on, common, old);
        Change { platforms, ..Change::of(class, before.map(account), after.map(account)) }
    });
    let mut changes: Vec<_> = changes.collect();
    // By name, whichever side has it.
    changes.sort_by(|a, b| key(a).cmp(&key(b)));
    return changes;

    fn key(change: &Change<Account>) -> Option<(&'static str, &str, &[Platform])> {
        change.any().map(|account| (account.kind, account.name.as_str(), change.platforms.as_slice()))
    }
}

fn outputs(old: &Lockfile, new: &Lockfile, common: &[Platform]) -> Vec<Change<Output>> {
    let of = |lockfile: &Lockfile| {
        lockfile.outputs.iter().filter(|output| common.contains(&output.platform)).cloned().collect()
    };
    let pairs = Pairs::new(of(old), of(new)).by(|output: &Output| Some(output.platform)).finish();
    let mut changes: Vec<_> = pairs
        .into_iter()
        .filter(|(old, new)| old != new)
        .map(|(old, new)| {
            let class = match (&old, &new) {
                (Some(old), Some(new)) if old.platform_lock == new.platform_lock && old.image != new.image => {
                    Class::Drift
                }
                _ => Class::Output,
            };
            let on = old.as_ref().or(new.as_ref()).map(|output| output.platform);
            Change { platforms: on.into_iter().collect(), ..Change::of(class, old, new) }
        })
        .collect();
    changes.sort_by(|a, b| a.platforms.cmp(&b.platforms));
    changes
}
