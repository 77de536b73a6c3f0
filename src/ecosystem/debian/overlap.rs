//! Which package's file stands at a path that several ship.
//!
//! A file shipped twice belongs to the package that `Replaces` the other (Debian Policy 7.6.1); a file
//! of another package at a diverted path goes to where the diversion says (`dpkg-divert(1)`); any other
//! overlap is an error that names both packages.

use std::collections::{BTreeMap, BTreeSet};

use super::dpkg::Diversion;
use super::stage::StagePackage;
use crate::error::{Error, Result};
use crate::layer::Kind;

/// Where the files of a stage's packages go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// By package, the paths that it does not contribute itself.
    pub leave_out: BTreeMap<String, BTreeSet<String>>,
    /// By package, where its diverted files go.
    pub diverted: BTreeMap<String, BTreeMap<String, String>>,
    /// By package, the paths that another package has taken over.
    pub replaced: BTreeMap<String, BTreeSet<String>>,
}

/// Decides for the files of `packages`, on top of those of `configured`.
pub fn place(configured: &[StagePackage], packages: &[StagePackage], diversions: &[Diversion]) -> Result<Placed> {
    let mut placed = Placed::default();
    let by_path: BTreeMap<&str, &Diversion> =
        diversions.iter().map(|diversion| (diversion.from.as_str(), diversion)).collect();
    let mut owners: BTreeMap<&str, &StagePackage> = BTreeMap::new();
    for (package, new) in
        configured.iter().map(|package| (package, false)).chain(packages.iter().map(|package| (package, true)))
    {
        let name = &package.unpacked.name;
        for entry in package.part.entries.iter().filter(|entry| entry.kind != Kind::Directory) {
            let path = entry.path.as_str();
            if let Some(diversion) = by_path.get(path).filter(|diversion| diversion.package != *name) {
                if new {
                    placed.leave_out.entry(name.clone()).or_default().insert(path.to_owned());
                    placed.diverted.entry(name.clone()).or_default().insert(path.to_owned(), diversion.to.clone());
                }
                continue;
            }
            let Some(&other) = owners.get(path) else {
                owners.insert(path, package);
                continue;
            };
            let other_name = &other.unpacked.name;
            if replaces(package, other) {
                owners.insert(path, package);
                // What is configured below stays in its layer; the new file covers it.
                if packages.iter().any(|package| package.unpacked.name == *other_name) {
                    placed.leave_out.entry(other_name.clone()).or_default().insert(path.to_owned());
                }
                placed.replaced.entry(other_name.clone()).or_default().insert(path.to_owned());
            } else if replaces(other, package) {
                placed.leave_out.entry(name.clone()).or_default().insert(path.to_owned());
                placed.replaced.entry(name.clone()).or_default().insert(path.to_owned());
            } else if new {
                return Err(Error::no(format!(
                    "`/{path}` is shipped by both `{other_name}` {} and `{name}` {}, and neither replaces the other",
                    other.unpacked.version, package.unpacked.version
                ))
                .hint("dpkg would refuse to install these two together: ask for one of them"));
            }
        }
    }
    Ok(placed)
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
