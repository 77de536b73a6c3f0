//! The languages' packages as layers on top of Debian's.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::Progress;
use super::above::{self, Stack};
use super::bins::LanguageBin;
use super::graph::Graph;
use super::plan::Planned;
use super::sources;
use crate::digest::Digest;
use crate::ecosystem::debian::script::Script;
use crate::ecosystem::npm;
use crate::ecosystem::npm::part::{NpmPart, Place};
use crate::ecosystem::npm::semver::Version;
use crate::ecosystem::pypi::wheel::{self, Layout, Locked, WheelPart};
use crate::error::{Error, Result};
use crate::layer::entry::normalize;
use crate::layer::part::default_directory;
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::lock::{PlatformLock, PlatformPackage};
use crate::{FORMAT, canonical};

/// The package that brings the interpreter unless the definition names another.
const INTERPRETER: &str = "python3";

/// The parts of languages' packages, made while scripts run: what fails fails again where it is needed.
pub fn early(graph: &Graph<'_>) {
    if let Ok(layout) = layout(graph.lock) {
        let ready = installed(graph).into_iter().filter(|package| !package.built);
        let _ = wheels(graph, &layout, ready.map(|package| (package, package.sha256)).collect(), &BTreeMap::new());
    }
}

/// Puts Python's packages on top.
pub fn python(graph: &Graph<'_>, stack: &mut Stack) -> Result<()> {
    let packages = installed(graph);
    if packages.is_empty() {
        return Ok(());
    }
    let layout = layout(graph.lock)?;
    let mut found = Vec::new();
    for package in packages {
        let sha256 = if package.built { sources::wheel(graph, stack, package, &layout)? } else { package.sha256 };
        found.push((package, sha256));
    }
    let mut made = wheels(graph, &layout, found.clone(), &BTreeMap::new())?;
    let taken = taken_twice(&made);
    if !taken.is_empty() {
        note_other_contents(graph, &made);
        made = wheels(graph, &layout, found, &taken)?;
    }
    for (package, wheel) in made.iter().filter(|(package, _)| package.built) {
        sources::check_needs(graph, package, &wheel.part, &interpreter(graph.lock)?.1)?;
    }
    stack.epoch = made.iter().map(|(_, wheel)| wheel.newest_mtime).fold(stack.epoch, u64::max);
    let parts = made.into_iter().map(|(package, wheel)| (package, wheel.part)).collect();
    push(stack, "python", parts)?;
    let compile = graph.lock.environment.python.as_ref().is_some_and(|python| python.compile);
    if compile { byte_code(graph, stack, &layout) } else { Ok(()) }
}

/// Puts npm's packages on top.
pub fn npm(graph: &Graph<'_>, stack: &mut Stack) -> Result<()> {
    let packages: Vec<&PlatformPackage> =
        graph.lock.packages.iter().filter(|package| package.ecosystem == "npm").collect();
    let Some(settings) = graph.lock.environment.npm.as_ref().filter(|_| !packages.is_empty()) else { return Ok(()) };
    let prefix = normalize(&settings.prefix)?;
    let below = |path: &str| if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") };
    let made: Vec<Vec<NpmPart>> =
        packages.par_iter().map(|package| npm_parts(graph, package, &below)).collect::<Result<_>>()?;
    let mut parts = Vec::new();
    let mut links = BTreeMap::new();
    for (package, made) in packages.iter().zip(made) {
        for (link, target) in &package.links {
            let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
            // npm makes no link to what is not there.
            if made.iter().any(|part| part.has(&below(&joined(folder, target)))) {
                links.insert(below(link), target.clone());
            }
        }
        for part in made {
            stack.epoch = stack.epoch.max(part.newest_mtime);
            parts.push((*package, part.part));
        }
    }
    push(stack, "npm", parts)?;
    if !links.is_empty() {
        stack.push(
            "npm-programs".to_owned(),
            "links to the programs of npm's packages".to_owned(),
            npm_links(graph, &links)?,
        )?;
    }
    npm_scripts(graph, stack, &settings.scripts, &below)
}

/// A package in each of its places, with the programs that links lead to.
fn npm_parts(graph: &Graph<'_>, package: &PlatformPackage, below: &dyn Fn(&str) -> String) -> Result<Vec<NpmPart>> {
    let expected = npm::part::Expected { name: package.name.clone(), version: version(&package.version)? };
    let programs: BTreeSet<String> = package
        .links
        .iter()
        .map(|(link, target)| joined(link.rsplit_once('/').map_or("", |(folder, _)| folder), target))
        .collect();
    let part = |place: &String| {
        let inside = format!("{place}/");
        let programs = programs.iter().filter_map(|program| program.strip_prefix(&inside)).map(str::to_owned).collect();
        npm::part::part(graph.bakery.store, &package.sha256, &expected, &[Place { path: below(place), programs }])
    };
    package.places.iter().map(part).collect()
}

fn version(text: &str) -> Result<Version> {
    Version::parse(text).ok_or_else(|| Error::new(format!("`{text}` is no version of npm's")))
}

/// Where a relative link in `folder` leads.
fn joined(folder: &str, target: &str) -> String {
    let mut names: Vec<&str> = folder.split('/').filter(|name| !name.is_empty()).collect();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

fn npm_links(graph: &Graph<'_>, links: &BTreeMap<String, String>) -> Result<Part> {
    /// When npm says that its packages' files were made, 1985-10-26T08:15:00Z.
    const MTIME: u64 = 499_162_500;
    let mut builder = PartBuilder::new(graph.bakery.store)?;
    for (path, target) in links {
        let kind = Kind::Symlink { target: target.clone() };
        let link = Entry { kind, mode: 0o777, mtime: MTIME, ..default_directory(path) };
        builder.entry(&link, &mut std::io::empty())?;
    }
    builder.finish()
}

/// Runs the install scripts of the packages that the definition names, in the order of their places.
fn npm_scripts(graph: &Graph<'_>, stack: &mut Stack, names: &[String], below: &dyn Fn(&str) -> String) -> Result<()> {
    const HOOKS: &str = r#"
    for hook in preinstall install postinstall; do
        command=$(node -p "(require('./package.json').scripts || {})['$hook'] || ''")
        [ -z "$command" ] || npm_lifecycle_event=$hook PATH="$PWD/node_modules/.bin:$PREFIX/node_modules/.bin:$PATH" sh -c "$command"
    done
"#;
    let named =
        graph.lock.packages.iter().filter(|package| package.ecosystem == "npm" && names.contains(&package.name));
    let places: BTreeSet<String> = named.flat_map(|package| &package.places).map(|place| below(place)).collect();
    if places.is_empty() {
        return Ok(());
    }
    let folders: Vec<String> = places.iter().map(|place| format!("'/{}'", place.replace('\'', "'\\''"))).collect();
    let text = format!("for folder in {}; do\n    cd \"$folder\"{HOOKS}done\n", folders.join(" "));
    let env = BTreeMap::from([("PREFIX".to_owned(), format!("/{}", below("").trim_end_matches('/')))]);
    let script = Script { text: &text, env: &env, workdir: None };
    above::run_on_top(graph, stack, "npm-scripts", "what install scripts of npm's packages changed", &script)
}

/// Compiles all modules. The byte-code names the content of its source, not its time (PEP 552).
fn byte_code(graph: &Graph<'_>, stack: &mut Stack, layout: &Layout) -> Result<()> {
    let mode = if layout.site.contains("python2") { "" } else { "--invalidation-mode unchecked-hash" };
    // What cannot be compiled is for other versions, and nobody imports it.
    let text = format!("{} -m compileall -q {mode} '/{}' || true", layout.interpreter, layout.site);
    let script = Script { text: &text, env: &BTreeMap::new(), workdir: None };
    above::run_on_top(graph, stack, "python-byte-code", "Python's byte-code", &script)
}

/// Python's packages that are in the image.
fn installed<'a>(graph: &Graph<'a>) -> Vec<&'a PlatformPackage> {
    let packages = graph.lock.packages.iter();
    packages.filter(|package| package.ecosystem == "pypi" && package.build_for.is_empty()).collect()
}

type Wheels<'a> = Vec<(&'a PlatformPackage, WheelPart)>;

fn wheels<'a>(
    graph: &Graph<'a>,
    layout: &Layout,
    found: Vec<(&'a PlatformPackage, Digest)>,
    leave_out: &BTreeMap<&str, BTreeSet<String>>,
) -> Result<Wheels<'a>> {
    let nothing = BTreeSet::new();
    found
        .into_par_iter()
        .map(|(package, sha256)| {
            let locked = Locked { name: &package.name, version: &package.version, sha256 };
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

/// Says where the file of one package is left out for a different one of another.
fn note_other_contents(graph: &Graph<'_>, wheels: &Wheels<'_>) {
    let mut first: BTreeMap<&str, (&str, &Entry)> = BTreeMap::new();
    let mut differ: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (package, wheel) in wheels {
        for entry in &wheel.part.entries {
            let (owner, kept) = *first.entry(&entry.path).or_insert((&package.name, entry));
            if kept.kind != entry.kind {
                differ.entry((owner, &package.name)).or_default().push(&entry.path);
            }
        }
    }
    for ((owner, other), paths) in differ {
        let rest = if paths.len() > 1 { format!(" and {} more", paths.len() - 1) } else { String::new() };
        (graph.bakery.progress)(Progress::Note(format!(
            "`{owner}` and `{other}` both ship /{}{rest}, and not the same: the image has that of `{owner}`",
            paths[0]
        )));
    }
}

/// The Debian package that brings the image's interpreter: its name, and the interpreter's full version.
fn interpreter(lock: &PlatformLock) -> Result<(&str, String)> {
    let asked = lock.environment.python.as_ref().and_then(|python| python.interpreter.as_deref());
    let name = asked.unwrap_or(INTERPRETER);
    let package = lock.packages.iter().find(|package| package.ecosystem == "debian" && package.name == name);
    let package = package.ok_or_else(|| no_interpreter(name))?;
    let version: String = package.version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    Ok((name, version.trim_end_matches('.').to_owned()))
}

/// Where the image's interpreter looks for packages.
fn layout(lock: &PlatformLock) -> Result<Layout> {
    let (name, version) = interpreter(lock)?;
    // `python3` stands for a version, `python2.7` is one.
    let version = match name.strip_prefix("python").filter(|version| version.contains('.')) {
        Some(version) => version.to_owned(),
        None => version.split('.').take(2).collect::<Vec<_>>().join("."),
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
        let (name, note, owners) = (bin.name(), names.join(", "), names);
        stack.layers.push(Planned { name, note, directories, parts, owners, disjoint: true, foreign: None });
    }
    Ok(())
}
