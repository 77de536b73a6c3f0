//! Everything that can be had: several indexes seen as one, as apt's package cache sees them.
//!
//! Packages are numbered by the first mention of their name, versions of a package stand highest first,
//! providers of a name last read first: all as apt has it, since its answers depend on these orders.
//! Knows nothing of what is wanted.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::index::{Field, Index, MultiArch, Package, Priority, Span, Stanza};
use super::names::Names;
use super::relation::{self, Operator};
use super::version;
use crate::error::{Error, Result};

/// A package's name by number.
pub(super) type Name = u32;
/// A version of a package by number.
pub(super) type Version = u32;

/// How many versions of one package are taken: they stand in a list.
const MAX_VERSIONS: usize = 2_000;

const END: u32 = u32::MAX;
/// The name that no package has: what a relation to an unknown name points at.
pub(super) const NOBODY: Name = 0;

/// See the module's documentation. Made once per platform.
#[derive(Debug)]
pub struct Universe {
    architecture: String,
    indexes: Vec<Index>,
    names: Names,
    /// By name.
    packages: Vec<Entry>,
    versions: Vec<Record>,
    provides: Vec<Provided>,
    /// Indexes that have a version too, besides the one it is taken from.
    also_in: BTreeMap<Version, Vec<u16>>,
    /// Packages of other architectures, by name.
    foreign: BTreeMap<String, Vec<String>>,
    /// The candidate of every package in an empty root, once `policy` was asked.
    pub(super) candidates: OnceLock<Vec<Option<Version>>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    first_version: u32,
    first_provided: u32,
    essential: bool,
    protected: bool,
}

/// A version of a package.
#[derive(Clone, Copy, Debug)]
struct Record {
    name: Name,
    index: u16,
    chunk: u16,
    stanza: u32,
    priority: Priority,
    multi_arch: MultiArch,
    version: Span,
    next: u32,
    provides_from: u32,
    provides_to: u32,
}

#[derive(Clone, Copy, Debug)]
struct Provided {
    name: Name,
    by: Version,
    /// In the version's index; empty for none.
    version: Span,
    next: u32,
}

/// What kind of relation a [`Dependency`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    PreDepends,
    Depends,
    Conflicts,
    Breaks,
    Recommends,
    Suggests,
}

impl Kind {
    /// Whether a package is broken if this does not hold.
    pub fn is_critical(self) -> bool {
        !matches!(self, Self::Recommends | Self::Suggests)
    }

    /// Whether it says what may not be there.
    pub fn is_negative(self) -> bool {
        matches!(self, Self::Conflicts | Self::Breaks)
    }

    /// As people say it: `a needs b`.
    pub fn verb(self) -> &'static str {
        match self {
            Self::PreDepends => "needs beforehand",
            Self::Depends => "needs",
            Self::Conflicts => "conflicts with",
            Self::Breaks => "breaks",
            Self::Recommends => "recommends",
            Self::Suggests => "suggests",
        }
    }
}

/// One alternative of a relation of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dependency<'u> {
    pub target: Name,
    pub version: Option<(Operator, &'u str)>,
    pub kind: Kind,
    /// Whether another alternative follows.
    pub or: bool,
    /// As written, with its qualifier.
    pub text: &'u str,
}

impl Dependency<'_> {
    /// Whether a package (or a provided name) of this version satisfies it. A name provided without a
    /// version satisfies no relation with one (Debian Policy 7.5).
    pub fn accepts(&self, version: &str) -> bool {
        match self.version {
            None => true,
            Some((operator, wanted)) => !version.is_empty() && operator.holds(version, wanted),
        }
    }

    /// `name (>= version)`.
    pub fn display(&self) -> String {
        match self.version {
            None => self.text.to_owned(),
            Some((operator, version)) => format!("{} ({} {version})", self.text, operator.as_str()),
        }
    }
}

impl Universe {
    /// The packages of `architecture` (and `all`) in `indexes`, which are in the order in which apt
    /// would have them in its sources.
    pub fn new(architecture: &str, indexes: Vec<Index>) -> Result<Self> {
        if indexes.len() > 1000 {
            return Err(Error::new(format!("{} indexes are more than the 1000 allowed", indexes.len())));
        }
        let mut universe = Self {
            architecture: architecture.to_owned(),
            indexes,
            names: Names::default(),
            packages: Vec::new(),
            versions: Vec::new(),
            provides: Vec::new(),
            also_in: BTreeMap::new(),
            foreign: BTreeMap::new(),
            candidates: OnceLock::new(),
        };
        universe.name_number(b"");
        for number in 0..universe.indexes.len() {
            let index = universe.indexes[number].clone();
            universe.add(number as u16, &index)?;
        }
        Ok(universe)
    }

    /// The architecture whose packages these are.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The indexes, in the order given.
    pub fn indexes(&self) -> &[Index] {
        &self.indexes
    }

    /// The versions of a package, highest first; none for an unknown name.
    pub fn versions_of(&self, package: &str) -> Vec<&str> {
        self.find(package)
            .map(|name| self.versions(name).map(|version| self.version(version)).collect())
            .unwrap_or_default()
    }

    /// Every package of the universe, in the order of the indexes.
    pub fn packages(&self) -> impl Iterator<Item = Result<Package>> + '_ {
        (0..self.versions.len() as Version).map(|version| self.package(version))
    }

    fn name_number(&mut self, name: &[u8]) -> Name {
        let number = self.names.add(name);
        if number as usize == self.packages.len() {
            let entry = Entry { first_version: END, first_provided: END, essential: false, protected: false };
            self.packages.push(entry);
        }
        number
    }

    fn add(&mut self, number: u16, index: &Index) -> Result<()> {
        let own = format!(":{}", self.architecture);
        for (chunk_number, chunk) in index.chunks().iter().enumerate() {
            let numbers: Vec<Name> = (0..chunk.names.len() as u32)
                .map(|name| self.name_number(native(chunk.names.get(name), &own).as_bytes()))
                .collect();
            let mut provides = chunk.provides.as_slice();
            for (position, stanza) in chunk.stanzas.iter().enumerate() {
                let count = provides.iter().take_while(|provide| provide.stanza as usize == position).count();
                let (mine, rest) = provides.split_at(count);
                provides = rest;
                let architecture = index.text(stanza.architecture);
                if architecture != self.architecture && architecture != "all" {
                    let name = chunk.names.get(stanza.name).to_owned();
                    self.foreign.entry(name).or_default().push(architecture.to_owned());
                    continue;
                }
                let name = numbers[stanza.name as usize];
                self.note_flags(name, stanza);
                let place = (number, chunk_number as u16, position as u32);
                let Some(version) = self.insert(index, name, place, stanza)? else { continue };
                for provide in mine {
                    let text = chunk.names.get(provide.name);
                    self.provide(version, text, numbers[provide.name as usize], provide.version);
                }
                if stanza.multi_arch == MultiArch::Allowed {
                    let any = format!("{}:any", chunk.names.get(stanza.name));
                    let any = self.name_number(any.as_bytes());
                    self.push_provided(any, version, stanza.version);
                }
                self.versions[version as usize].provides_to = self.provides.len() as u32;
            }
        }
        Ok(())
    }

    /// The last index that says something about it is right, as with apt.
    fn note_flags(&mut self, name: Name, stanza: &Stanza) {
        let entry = &mut self.packages[name as usize];
        entry.essential = stanza.essential.unwrap_or(entry.essential);
        entry.protected = stanza.protected.unwrap_or(entry.protected);
    }

    /// Puts a version in its place; if it is there already, only notes that this index has it too.
    fn insert(
        &mut self,
        index: &Index,
        name: Name,
        place: (u16, u16, u32),
        stanza: &Stanza,
    ) -> Result<Option<Version>> {
        let text = index.text(stanza.version);
        let (number, chunk, position) = place;
        let mut before = END;
        let mut at = self.packages[name as usize].first_version;
        let mut passed = 0;
        while at != END {
            match version::compare(text, self.version(at)) {
                Ordering::Greater => break,
                Ordering::Equal if self.is_same(index, stanza, at) => {
                    if number != self.versions[at as usize].index {
                        self.also_in.entry(at).or_default().push(number);
                    }
                    return Ok(None);
                }
                _ => {}
            }
            passed += 1;
            if passed > MAX_VERSIONS {
                let name = self.name(name);
                let label = index.label();
                return Err(Error::new(format!(
                    "index {label} has more than {MAX_VERSIONS} versions of package {name}"
                )));
            }
            before = at;
            at = self.versions[at as usize].next;
        }
        let version = self.versions.len() as u32;
        let all = index.text(stanza.architecture) == "all";
        let provides = self.provides.len() as u32;
        self.versions.push(Record {
            name,
            index: number,
            chunk,
            stanza: position,
            priority: stanza.priority,
            multi_arch: if all && stanza.multi_arch == MultiArch::Same { MultiArch::No } else { stanza.multi_arch },
            version: stanza.version,
            next: at,
            provides_from: provides,
            provides_to: provides,
        });
        match before {
            END => self.packages[name as usize].first_version = version,
            before => self.versions[before as usize].next = version,
        }
        Ok(Some(version))
    }

    /// Whether a stanza with the same version describes the same package: apt compares the relations
    /// that matter, without white space, and the sizes.
    fn is_same(&self, index: &Index, stanza: &Stanza, version: Version) -> bool {
        if index.text(stanza.version) != self.version(version) {
            return false;
        }
        let (other_index, other) = self.stanza(version);
        let squeeze = |text: String| text.replace([' ', '=', '\n', '\t'], "");
        stanza.multi_arch == other.multi_arch
            && ["size", "installed-size", "depends", "pre-depends", "conflicts", "breaks", "replaces"]
                .iter()
                .all(|key| squeeze(index.field(stanza, key)) == squeeze(other_index.field(other, key)))
    }

    fn provide(&mut self, by: Version, text: &str, name: Name, version: Span) {
        let record = self.versions[by as usize];
        // A package that provides its own name in its own version says nothing new.
        let index = &self.indexes[record.index as usize];
        let provided = index.text(version);
        if name == record.name && (provided.is_empty() || provided == self.version(by)) {
            return;
        }
        if record.multi_arch == MultiArch::Allowed && !text.contains(':') {
            let any = self.name_number(format!("{text}:any").as_bytes());
            self.push_provided(any, by, version);
        }
        self.push_provided(name, by, version);
    }

    fn push_provided(&mut self, name: Name, by: Version, version: Span) {
        let number = self.provides.len() as u32;
        let next = std::mem::replace(&mut self.packages[name as usize].first_provided, number);
        self.provides.push(Provided { name, by, version, next });
    }

    fn stanza(&self, version: Version) -> (&Index, &Stanza) {
        let record = &self.versions[version as usize];
        let index = &self.indexes[record.index as usize];
        (index, &index.chunks()[record.chunk as usize].stanzas[record.stanza as usize])
    }
}

/// What the solver asks.
impl Universe {
    pub(super) fn find(&self, name: &str) -> Option<Name> {
        let own = format!(":{}", self.architecture);
        self.names.find(native(name, &own).as_bytes())
    }

    pub(super) fn name(&self, name: Name) -> &str {
        self.names.get(name)
    }

    /// How many names there are: names are 0 to this.
    pub(super) fn name_count(&self) -> usize {
        self.names.len()
    }

    /// The versions of a package, highest first.
    pub(super) fn versions(&self, name: Name) -> impl Iterator<Item = Version> + '_ {
        let mut at = self.packages[name as usize].first_version;
        std::iter::from_fn(move || {
            let version = (at != END).then_some(at)?;
            at = self.versions[at as usize].next;
            Some(version)
        })
    }

    /// Who provides a name, and as which version (empty: none); last read first.
    pub(super) fn providers(&self, name: Name) -> impl Iterator<Item = (Version, &str)> + '_ {
        let mut at = self.packages[name as usize].first_provided;
        std::iter::from_fn(move || {
            let provided = self.provides.get(at as usize)?;
            at = provided.next;
            let index = &self.indexes[self.versions[provided.by as usize].index as usize];
            Some((provided.by, index.text(provided.version)))
        })
    }

    /// The names that a version provides.
    pub(super) fn provided_by(&self, version: Version) -> impl Iterator<Item = Name> + '_ {
        let record = &self.versions[version as usize];
        self.provides[record.provides_from as usize..record.provides_to as usize].iter().map(|provided| provided.name)
    }

    pub(super) fn name_of(&self, version: Version) -> Name {
        self.versions[version as usize].name
    }

    pub(super) fn version(&self, version: Version) -> &str {
        let record = &self.versions[version as usize];
        self.indexes[record.index as usize].text(record.version)
    }

    pub(super) fn priority(&self, version: Version) -> Priority {
        self.versions[version as usize].priority
    }

    pub(super) fn is_multi_arch_same(&self, version: Version) -> bool {
        self.versions[version as usize].multi_arch == MultiArch::Same
    }

    pub(super) fn is_essential(&self, name: Name) -> bool {
        self.packages[name as usize].essential
    }

    pub(super) fn is_protected(&self, name: Name) -> bool {
        self.packages[name as usize].protected
    }

    /// Source package and its version.
    pub(super) fn source(&self, version: Version) -> (String, String) {
        let (index, stanza) = self.stanza(version);
        let name = self.name(self.name_of(version));
        super::index::source_of(&index.field(stanza, "source"), name, self.version(version))
    }

    /// The index that a version is taken from, then the others that have it.
    pub(super) fn indexes_of(&self, version: Version) -> impl Iterator<Item = &Index> + '_ {
        let first = self.versions[version as usize].index;
        let others = self.also_in.get(&version).map(Vec::as_slice).unwrap_or_default();
        std::iter::once(first).chain(others.iter().copied()).map(|index| &self.indexes[index as usize])
    }

    /// The package in full.
    pub(super) fn package(&self, version: Version) -> Result<Package> {
        let (index, stanza) = self.stanza(version);
        index.package(stanza)
    }

    /// The architectures that a package exists in, when not in this one.
    pub(super) fn foreign_architectures(&self, name: &str) -> &[String] {
        self.foreign.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The relations of a version, in apt's order.
    pub(super) fn dependencies(&self, version: Version) -> Vec<Dependency<'_>> {
        let own = format!(":{}", self.architecture);
        let (index, stanza) = self.stanza(version);
        let kinds = [
            (Field::PreDepends, Kind::PreDepends),
            (Field::Depends, Kind::Depends),
            (Field::Conflicts, Kind::Conflicts),
            (Field::Breaks, Kind::Breaks),
            (Field::Recommends, Kind::Recommends),
            (Field::Suggests, Kind::Suggests),
        ];
        let mut dependencies = Vec::new();
        for (field, kind) in kinds {
            // Malformed relations were refused when the index was parsed.
            for relation in relation::parse(index.relations(stanza, field)).flatten() {
                let target = self.names.find(native(relation.name, &own).as_bytes()).unwrap_or(NOBODY);
                let or = relation.or && !kind.is_negative();
                dependencies.push(Dependency { target, version: relation.version, kind, or, text: relation.name });
            }
        }
        dependencies
    }
}

/// `name:native` and `name:<own architecture>` are `name`, as all packages here are native.
fn native<'n>(name: &'n str, own: &str) -> &'n str {
    if !name.contains(':') {
        return name;
    }
    name.strip_suffix(":native").or_else(|| name.strip_suffix(own)).unwrap_or(name)
}
