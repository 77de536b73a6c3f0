//! Both sides compared, environment by environment. It serializes as what `--format json` prints.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::operands::{Identity, Lock, Side};
use crate::lock::diff::{Class, Diff};
use crate::lock::{Lockfile, Output};

/// See the module's documentation.
#[derive(Debug, Serialize)]
pub struct Report {
    pub old: Operand,
    pub new: Operand,
    pub summary: Summary,
    /// Sorted by name.
    pub environments: Vec<Environment>,
}

/// What one side was called.
#[derive(Debug, Serialize)]
pub struct Operand {
    pub operand: String,
}

/// What there is in all.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Whether both sides say the same.
    pub same: bool,
    /// Whether what images are a function of, and what was seen of packages, is the same.
    pub same_content: bool,
    /// How many changes need attention.
    pub attention: usize,
    /// How many changes are of each class; one may be of several.
    pub classes: BTreeMap<Class, usize>,
    /// Packages that are what they were.
    pub unchanged: usize,
}

/// What became of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Added,
    Removed,
    Changed,
    Unchanged,
}

/// One environment.
#[derive(Debug, Serialize)]
pub struct Environment {
    pub name: String,
    pub status: Status,
    pub old: Option<Identity>,
    pub new: Option<Identity>,
    /// How many packages it has, or had.
    pub locked: usize,
    /// What differs, if it is on both sides.
    #[serde(flatten)]
    pub diff: Option<Diff>,
    /// The outputs that are what they were.
    #[serde(skip)]
    pub kept: Vec<Output>,
}

impl Report {
    pub fn new(mut old: Side, mut new: Side) -> Self {
        let names: BTreeSet<String> = old.locks.keys().chain(new.locks.keys()).cloned().collect();
        let environments: Vec<Environment> = names
            .into_iter()
            .map(|name| {
                let (before, after) = (old.locks.remove(&name), new.locks.remove(&name));
                environment(name, before, after)
            })
            .collect();
        let summary = Summary::of(&environments);
        Self { old: Operand { operand: old.label }, new: Operand { operand: new.label }, summary, environments }
    }
}

fn environment(name: String, old: Option<Lock>, new: Option<Lock>) -> Environment {
    let diff = match (&old, &new) {
        (Some(old), Some(new)) => Some(Diff::between(&old.lockfile, &new.lockfile)),
        _ => None,
    };
    let status = match (&old, &diff) {
        (_, Some(diff)) if diff.is_empty() => Status::Unchanged,
        (_, Some(_)) => Status::Changed,
        (None, None) => Status::Added,
        (Some(_), None) => Status::Removed,
    };
    let locked = new.as_ref().or(old.as_ref()).map_or(0, |lock| count(&lock.lockfile));
    let kept = match (&old, &new) {
        (Some(old), Some(new)) => {
            new.lockfile.outputs.iter().filter(|output| old.lockfile.outputs.contains(output)).cloned().collect()
        }
        _ => Vec::new(),
    };
    let identity = |lock: Option<Lock>| lock.map(|lock| lock.identity);
    Environment { name, status, old: identity(old), new: identity(new), locked, diff, kept }
}

/// How many packages a lockfile has, each version by itself.
fn count(lockfile: &Lockfile) -> usize {
    let packages = lockfile.packages.iter();
    packages.map(|package| (&package.ecosystem, &package.name, &package.version)).collect::<BTreeSet<_>>().len()
}

impl Summary {
    fn of(environments: &[Environment]) -> Self {
        let mut classes: BTreeMap<Class, usize> = BTreeMap::new();
        let (mut attention, mut unchanged, mut same_content) = (0, 0, true);
        for environment in environments {
            let Some(diff) = &environment.diff else {
                *classes.entry(Class::Environment).or_default() += 1;
                same_content = false;
                continue;
            };
            for (class, count) in diff.counts() {
                *classes.entry(class).or_default() += count;
            }
            attention += diff.attention();
            unchanged += diff.unchanged;
            same_content &= !diff.is_content();
        }
        Self { same: classes.is_empty(), same_content, attention, classes, unchanged }
    }
}
