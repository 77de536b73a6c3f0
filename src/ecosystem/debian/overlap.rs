//! Which package's file stands at a path that several ship.
//!
//! A file shipped twice belongs to the package that `Replaces` the other (Debian Policy 7.6.1); a file
//! of another package at a diverted path goes to where the diversion says (`dpkg-divert(1)`); what lies in
//! a folder that is a link elsewhere goes through the link (dpkg keeps a link to a directory where a
//! package has the directory); any other overlap is an error that names both packages.

use std::collections::{BTreeMap, BTreeSet};

use super::dpkg::Diversion;
use super::package::StagePackage;
use crate::error::{Error, Result};
use crate::layer::{Entry, Kind};

/// Where the files of a stage's packages go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// By package, the paths that it does not contribute itself.
    pub leave_out: BTreeMap<String, BTreeSet<String>>,
    /// By package, where its diverted files go.
    pub diverted: BTreeMap<String, BTreeMap<String, String>>,
    /// By package, the paths that another package has taken over.
    pub replaced: BTreeMap<String, BTreeSet<String>>,
    /// By package, the paths at or below what is a link in the tree, folders included.
    pub through: BTreeMap<String, BTreeSet<String>>,
}

/// Decides for the files of `packages`, on top of those of `configured`. `links` are the paths of symbolic
/// links that are in the tree below.
pub fn place(
    configured: &[&StagePackage],
    packages: &[&StagePackage],
    diversions: &[Diversion],
    links: &BTreeSet<&str>,
) -> Result<Placed> {
    let diversions = diversions.iter().map(|diversion| (diversion.from.as_str(), diversion)).collect();
    let mut decision = Decision { diversions, owners: BTreeMap::new(), placed: Placed::default() };
    for package in configured {
        decision.add(package, false)?;
    }
    for package in packages {
        decision.add(package, true)?;
    }
    decision.find_links(packages, links)?;
    Ok(decision.placed)
}

struct Decision<'a> {
    diversions: BTreeMap<&'a str, &'a Diversion>,
    /// By path, whose entry stands there, and whether that package belongs to the stage.
    owners: BTreeMap<&'a str, (&'a StagePackage, &'a Entry, bool)>,
    placed: Placed,
}

impl<'a> Decision<'a> {
    /// Adds what a package ships; `new` if it belongs to the stage.
    fn add(&mut self, package: &'a StagePackage, new: bool) -> Result<()> {
        let name = &package.unpacked.name;
        for entry in &package.part.entries {
            let path = entry.path.as_str();
            if let Some(diversion) = self.diversions.get(path).filter(|diversion| diversion.package != *name) {
                if new {
                    self.placed.leave_out.entry(name.clone()).or_default().insert(path.to_owned());
                    let diverted = self.placed.diverted.entry(name.clone()).or_default();
                    diverted.insert(path.to_owned(), diversion.to.clone());
                }
                continue;
            }
            let Some(&(other, _, other_new)) = self.owners.get(path) else {
                self.owners.insert(path, (package, entry, new));
                continue;
            };
            if replaces(package, other) {
                self.owners.insert(path, (package, entry, new));
                self.take_over(other, other_new, path);
            } else if replaces(other, package) {
                self.take_over(package, new, path);
            } else if new {
                return Err(both_ship(path, other, package));
            }
        }
        Ok(())
    }

    /// Notes that `package` has lost `path`. What is configured below stays in its layer: the other
    /// package's file covers it.
    fn take_over(&mut self, package: &StagePackage, new: bool, path: &str) {
        let name = &package.unpacked.name;
        self.placed.replaced.entry(name.clone()).or_default().insert(path.to_owned());
        if new {
            self.placed.leave_out.entry(name.clone()).or_default().insert(path.to_owned());
        }
    }

    /// Finds folders of packages that are links in the tree.
    fn find_links(&mut self, packages: &[&StagePackage], links: &BTreeSet<&str>) -> Result<()> {
        for package in packages {
            let mut linked: Vec<&str> = Vec::new();
            for directory in &package.part.directories {
                let path = directory.path.as_str();
                match self.owners.get(path) {
                    Some((_, Entry { kind: Kind::Symlink { .. }, .. }, _)) => linked.push(path),
                    Some(&(other, _, _)) => return Err(both_ship(path, other, package)),
                    None if links.contains(path) => linked.push(path),
                    None => {}
                }
            }
            if linked.is_empty() {
                continue;
            }
            let name = &package.unpacked.name;
            let below = |path: &str| linked.iter().any(|link| is_at_or_below(path, link));
            let entries = package.part.directories.iter().chain(&package.part.entries);
            for entry in entries.filter(|entry| below(&entry.path)) {
                let leave_out = self.placed.leave_out.entry(name.clone()).or_default();
                // What another package replaces or diverts is decided already.
                if leave_out.insert(entry.path.clone()) {
                    self.placed.through.entry(name.clone()).or_default().insert(entry.path.clone());
                }
            }
        }
        Ok(())
    }
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn both_ship(path: &str, one: &StagePackage, other: &StagePackage) -> Error {
    Error::no(format!(
        "`/{path}` is shipped by both `{}` {} and `{}` {}, and neither replaces the other",
        one.unpacked.name, one.unpacked.version, other.unpacked.name, other.unpacked.version
    ))
    .hint("dpkg would refuse to install these two together: ask for one of them")
}

/// Whether `package` declares that it replaces the version of `other` at hand.
fn replaces(package: &StagePackage, other: &StagePackage) -> bool {
    let Some(relations) = field(&package.unpacked.paragraph, "Replaces") else { return false };
    relations.split(',').any(|relation| {
        let (name, constraint) = match relation.split_once('(') {
            Some((name, constraint)) => (name, Some(constraint.trim_end().trim_end_matches(')'))),
            None => (relation, None),
        };
        if name.trim().split(':').next() != Some(other.unpacked.name.as_str()) {
            return false;
        }
        constraint.is_none_or(|constraint| satisfies(&other.unpacked.version, constraint))
    })
}

/// Whether a version fits a constraint such as `<< 1.2-3`.
fn satisfies(version: &str, constraint: &str) -> bool {
    let constraint = constraint.trim();
    let split = constraint.find(|c| !"<>=".contains(c)).unwrap_or(constraint.len());
    let order = super::version::compare(version, constraint[split..].trim());
    match &constraint[..split] {
        "<<" => order.is_lt(),
        "<=" | "<" => order.is_le(),
        "=" => order.is_eq(),
        ">=" | ">" => order.is_ge(),
        ">>" => order.is_gt(),
        _ => false,
    }
}

/// A field of a control paragraph, continuation lines joined.
pub fn field(paragraph: &str, name: &str) -> Option<String> {
    let mut lines = paragraph.lines();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once(':') else { continue };
        if !line.starts_with([' ', '\t']) && key.eq_ignore_ascii_case(name) {
            let more: Vec<&str> = lines.take_while(|line| line.starts_with([' ', '\t'])).collect();
            return Some(format!(
                "{}{}",
                value.trim(),
                more.iter().map(|line| format!(" {}", line.trim())).collect::<String>()
            ));
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests;
