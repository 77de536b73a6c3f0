//! The languages' packages as layers on top of Debian's.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::above::Stack;
use super::bins::LanguageBin;
use super::graph::Graph;
use super::plan::Planned;
use crate::digest::Digest;
use crate::ecosystem::pypi::wheel::{self, Layout, Locked, WheelPart};
use crate::error::{Error, Result};
use crate::layer::Part;
use crate::lock::{PlatformLock, PlatformPackage};
use crate::{FORMAT, canonical};

/// The package that brings the interpreter unless the definition names another.
const INTERPRETER: &str = "python3";

/// The parts of languages' packages, made while scripts run: what fails fails again where it is needed.
pub fn early(graph: &Graph<'_>) {
    if let Ok(layout) = layout(graph.lock) {
        let _ = wheels(graph, &layout, &BTreeMap::new());
    }
}

/// Puts Python's packages on top.
pub fn python(graph: &Graph<'_>, stack: &mut Stack) -> Result<()> {
    if packages(graph, "pypi").is_empty() {
        return Ok(());
    }
    let layout = layout(graph.lock)?;
    let mut made = wheels(graph, &layout, &BTreeMap::new())?;
    let taken = taken_twice(&made);
    if !taken.is_empty() {
        made = wheels(graph, &layout, &taken)?;
    }
    stack.epoch = made.iter().map(|(_, wheel)| wheel.newest_mtime).fold(stack.epoch, u64::max);
    let parts = made.into_iter().map(|(package, wheel)| (package, wheel.part)).collect();
    push(stack, "python", parts)
}

fn packages<'a>(graph: &Graph<'a>, ecosystem: &str) -> Vec<&'a PlatformPackage> {
    graph.lock.packages.iter().filter(|package| package.ecosystem == ecosystem).collect()
}

type Wheels<'a> = Vec<(&'a PlatformPackage, WheelPart)>;

fn wheels<'a>(graph: &Graph<'a>, layout: &Layout, leave_out: &BTreeMap<&str, BTreeSet<String>>) -> Result<Wheels<'a>> {
    let nothing = BTreeSet::new();
    packages(graph, "pypi")
        .into_par_iter()
        .map(|package| {
            let locked = Locked { name: &package.name, version: &package.version, sha256: package.sha256 };
            let leave_out = leave_out.get(package.name.as_str()).unwrap_or(&nothing);
            Ok((package, wheel::part(graph.bakery.store, &locked, layout, leave_out)?))
        })
        .collect()
}

/// By package, the files that one before it, by name, has as well. Installers leave those of whoever comes last, which
/// differs from run to run; here the first has them.
fn taken_twice<'a>(wheels: &Wheels<'a>) -> BTreeMap<&'a str, BTreeSet<String>> {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let mut twice: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (package, wheel) in wheels {
        for entry in &wheel.part.entries {
            if !taken.insert(&entry.path) {
                twice.entry(package.name.as_str()).or_default().insert(entry.path.clone());
            }
        }
    }
    twice
}

/// Where the image's interpreter looks for packages.
fn layout(lock: &PlatformLock) -> Result<Layout> {
    let asked = lock.environment.python.as_ref().and_then(|python| python.interpreter.as_deref());
    let name = asked.unwrap_or(INTERPRETER);
    let package = lock.packages.iter().find(|package| package.ecosystem == "debian" && package.name == name);
    let package = package.ok_or_else(|| no_interpreter(name))?;
    // `python3` stands for a version, `python2.7` is one.
    let version = match name.strip_prefix("python").filter(|version| version.contains('.')) {
        Some(version) => version.to_owned(),
        None => package.version.split(['.', '-']).take(2).collect::<Vec<_>>().join("."),
    };
    Ok(Layout::debian(name, &version))
}

fn no_interpreter(name: &str) -> Error {
    Error::no(format!("there are Python packages, and no interpreter: `{name}` is not among Debian's packages"))
        .hint(format!("add `{name}` to `packages` in `[debian]`, or name another `interpreter` in `[python]`"))
}

/// Puts packages on top, each in its bin's layer.
fn push(stack: &mut Stack, language: &'static str, parts: Vec<(&PlatformPackage, Part)>) -> Result<()> {
    let mut bins: BTreeMap<LanguageBin, (Vec<Part>, Vec<String>)> = BTreeMap::new();
    let mut contents = Vec::new();
    for (package, part) in parts {
        stack.folders.add(&part.directories);
        contents.push(part.content);
        let bin = LanguageBin::of(language, &package.name, part.tar_size);
        let (parts, names) = bins.entry(bin).or_default();
        parts.push(part);
        names.push(format!("{} {}", package.name, package.version));
    }
    stack.key = Digest::of(&canonical::to_vec(&(FORMAT, stack.key, language, contents))?);
    for (bin, (parts, names)) in bins {
        let directories = stack.folders.of(&parts);
        stack.layers.push(Planned { name: bin.name(), note: names.join(", "), directories, parts, disjoint: true });
    }
    Ok(())
}
