//! Which package is decided next. The order is uv's: those by address, those with one version, those that were
//! in conflicts, the others; among equals the one met first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::package::Package;
use crate::ecosystem::pypi::name::Name;
use crate::ecosystem::pypi::ranges::{self, Range};

/// A project's place; the greater, the earlier. Within a class, the one met first goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    class: Class,
    met: Reverse<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Other,
    /// Its versions made others impossible again and again.
    Culprit,
    /// Its versions were rejected again and again.
    Affected,
    /// One version is allowed.
    Single,
    ByAddress,
    Fixed,
}

/// What packages are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Priority(Place, Reverse<usize>);

/// The places of all projects met so far, and the order in which their packages were met.
#[derive(Clone, Debug, Default)]
pub(super) struct Priorities {
    places: BTreeMap<Name, Place>,
    met: BTreeMap<Package, usize>,
}

impl Priorities {
    /// Notes that a package is required in a range of versions.
    pub fn meet(&mut self, package: &Package, range: &Range, by_address: &BTreeSet<Name>) {
        let count = self.met.len();
        self.met.entry(package.clone()).or_insert(count);
        let Some(name) = package.name() else { return };
        let class = match () {
            () if by_address.contains(name) => Class::ByAddress,
            () if ranges::is_single(range) => Class::Single,
            () => Class::Other,
        };
        let count = self.places.len();
        let place = self.places.entry(name.clone()).or_insert(Place { class, met: Reverse(count) });
        place.class = place.class.max(class);
    }

    /// The priority of a package.
    pub fn of(&self, package: &Package) -> Priority {
        let fixed = |place| Priority(Place { class: Class::Fixed, met: Reverse(0) }, Reverse(place));
        let name = match package {
            Package::Root => return fixed(0),
            Package::Python => return fixed(1),
            Package::Project { name, .. } | Package::Extra { name, .. } | Package::Conditional { name, .. } => name,
        };
        let last = Place { class: Class::Other, met: Reverse(usize::MAX) };
        let place = self.places.get(name).copied().unwrap_or(last);
        Priority(place, Reverse(self.met.get(package).copied().unwrap_or(usize::MAX)))
    }

    /// Puts a project that is rejected too often among the first.
    pub fn is_affected(&mut self, package: &Package) {
        if let Some(name) = package.name() {
            self.set(name, Class::Affected);
        }
    }

    /// Puts a project that rejects others too often after those; whether that changes its place.
    pub fn is_culprit(&mut self, package: &Package) -> bool {
        let Some(name) = package.name() else { return false };
        let class = self.places.get(name).map(|place| place.class);
        let changes = !matches!(class, Some(Class::Culprit | Class::Affected));
        if changes {
            self.set(name, Class::Culprit);
        }
        changes
    }

    fn set(&mut self, name: &Name, class: Class) {
        let count = self.places.len();
        self.places.entry(name.clone()).or_insert(Place { class, met: Reverse(count) }).class = class;
    }
}
