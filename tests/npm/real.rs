//! Second tier: what kiln resolves and unpacks is what this machine's npm installs.
//!
//! KILN_TEST_NPM_SETS names the sets to look at, with commas between them, or `all`; some that say much and take
//! little are looked at otherwise. KILN_TEST_STORE names a store to use.
#![allow(clippy::disallowed_methods, reason = "tests look at the machine they run on")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use kiln::Result;
use kiln::ecosystem::npm::bins;
use kiln::ecosystem::npm::index::Registry;
use kiln::ecosystem::npm::lockfile;
use kiln::ecosystem::npm::origin::Registries;
use kiln::ecosystem::npm::part::{Expected, NpmPart, Place, part};
use kiln::ecosystem::npm::platform::{Engines, Platform};
use kiln::ecosystem::npm::semver::Version;
use kiln::ecosystem::npm::tree::{Pin, Placed, Request, solve};
use kiln::ecosystem::origin::Machine;
use kiln::error::Kind;
use kiln::net::{Client, Settings};
use kiln::store::Store;
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::sets::sets;
use crate::tree::{Tree, of_parts, on_disk};

/// The sets of every day: peers, aliases, overrides, programs for one platform, packages in packages.
const EVERY_DAY: &str = "express,aliases,overrides-own,sharp,bundled,phantomjs,vite";

pub fn real(test: &str) -> bool {
    let real = std::env::var("KILN_TEST_REAL").is_ok_and(|value| value == "1");
    if !real {
        eprintln!("{test}: second tier, runs where KILN_TEST_REAL is 1");
    }
    real
}

pub fn ask(words: &[&str]) -> Option<String> {
    let output = Command::new(words[0]).args(&words[1..]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn machine() -> Machine {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    Machine { variables: std::env::vars().collect(), home, ask }
}

pub fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("npm").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// What is said of an npm that did not end in time.
pub const ENDLESS: &str = "npm did not end in time";

/// Runs npm; what it says if it fails.
pub fn npm(folder: &Path, seconds: u32, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("timeout")
        .current_dir(folder)
        .args([seconds.to_string().as_str(), "npm"])
        .args(arguments)
        .args(["--ignore-scripts", "--no-audit", "--no-fund", "--cache"])
        .arg(scratch("cache"))
        .output()
        .unwrap();
    // Addresses of this machine's registries belong into no log.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = said.lines().filter(|line| line.starts_with("npm error") && !line.contains("://"));
    let said = said.take(6).collect::<Vec<_>>().join(" ").replace("npm error ", "");
    match output.status.code() {
        Some(0) => Ok(()),
        Some(124) => Err(ENDLESS.into()),
        _ => Err(said),
    }
}

fn engines() -> Engines {
    let version = |program: &str| Version::parse(&ask(&[program, "--version"]).unwrap());
    Engines { node: version("node"), npm: version("npm") }
}

pub fn request(dependencies: &Value, overrides: &Value) -> Request {
    let specs = dependencies.as_object().unwrap().iter();
    Request {
        dependencies: specs.map(|(name, spec)| (name.clone(), spec.as_str().unwrap().to_owned())).collect(),
        overrides: overrides.as_object().unwrap().clone(),
        platform: Platform::linux(if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" }),
        engines: engines(),
        preferred: BTreeMap::new(),
        moving: BTreeSet::new(),
    }
}

/// Path, name and version of what a lockfile of npm's says is installed.
fn locked(file: &Path) -> BTreeMap<String, String> {
    let lock: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let packages = lock["packages"].as_object().unwrap().iter().filter(|(path, _)| !path.is_empty());
    packages
        .map(|(path, package)| {
            let folder = path.rsplit_once("node_modules/").unwrap().1;
            let name = package["name"].as_str().unwrap_or(folder);
            (path.clone(), format!("{name} {}", package["version"].as_str().unwrap()))
        })
        .collect()
}

pub fn ours(placed: &[Placed]) -> BTreeMap<String, String> {
    placed.iter().map(|one| (one.path.clone(), format!("{} {}", one.name, one.version))).collect()
}

/// What differs, a line each.
pub fn differences(ours: &BTreeMap<String, String>, npms: &BTreeMap<String, String>) -> Vec<String> {
    let paths: BTreeSet<&String> = ours.keys().chain(npms.keys()).collect();
    let shown = |tree: &BTreeMap<String, String>, path: &String| tree.get(path).cloned().unwrap_or("nothing".into());
    let differ = paths.into_iter().filter(|path| ours.get(*path) != npms.get(*path));
    differ.map(|path| format!("{path}: kiln {}, npm {}", shown(ours, path), shown(npms, path))).collect()
}

fn parts(registry: &Registry<'_>, store: &Store, placed: &[Placed]) -> Result<BTreeMap<String, NpmPart>> {
    let programs = bins::programs(placed, &bins::links(placed));
    let outer: Vec<&Placed> = placed.iter().filter(|one| !one.bundled).collect();
    let make = |one: &&Placed| {
        let artifact = registry.artifact(one)?;
        let place = Place { path: one.path.clone(), programs: programs.get(&one.path).cloned().unwrap_or_default() };
        let expected = Expected { name: one.name.clone(), version: one.version.clone() };
        Ok((one.path.clone(), part(store, &artifact.sha256, &expected, &[place])?))
    };
    outer.par_iter().map(make).collect()
}

#[test]
fn what_npm_installs_is_what_kiln_makes() {
    if !real("what_npm_installs_is_what_kiln_makes") {
        return;
    }
    let machine = machine();
    let named = std::env::var("KILN_TEST_NPM_SETS").unwrap_or_else(|_| EVERY_DAY.to_owned());
    let wanted = |name: &str| named == "all" || named.split(',').any(|one| one == name);
    let store = std::env::var_os("KILN_TEST_STORE").map_or_else(|| scratch("store"), PathBuf::from);
    let store = Store::open(&store).unwrap();
    let client = Client::new(&Settings::default()).unwrap();
    let mut wrong = Vec::new();
    let mut counts = (0, 0, 0);
    for (name, dependencies, overrides) in sets().into_iter().filter(|(name, ..)| wanted(name)) {
        let folder = tempfile::Builder::new().prefix(name).tempdir_in(scratch("work")).unwrap();
        let project =
            json!({"name": "project", "version": "1.0.0", "dependencies": dependencies, "overrides": overrides});
        fs::write(folder.path().join("package.json"), project.to_string()).unwrap();
        let started = Instant::now();
        let npms_answer = npm(folder.path(), 900, &["install", "--package-lock-only"]);
        let resolved = started.elapsed();
        if npms_answer.is_ok() {
            // npm finds some of its own lockfiles out of step, where peers are optional.
            if let Err(said) = npm(folder.path(), 900, &["ci"]) {
                eprintln!("{name}: `npm ci` refuses npm's own lockfile, `npm install` is asked: {said}");
                npm(folder.path(), 900, &["install"]).unwrap();
            }
        }
        let mut request = request(&dependencies, &overrides);
        let registry =
            Registry::new(&store, &client, Registries::find(None, &machine).unwrap(), request.engines.clone());
        let started = Instant::now();
        let placed = match (solve(&registry, &request), npms_answer) {
            (Ok(placed), Ok(())) => placed,
            (Err(error), Err(said)) if error.what() == Kind::No => {
                eprintln!("{name}: both refuse: {error}\n{said}");
                continue;
            }
            (Ok(_), Err(said)) => {
                wrong.push(format!("{name}: kiln resolves it, npm says {said}"));
                continue;
            }
            (Err(error), _) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        let npms = locked(&folder.path().join("node_modules/.package-lock.json"));
        let first = started.elapsed();
        let started = Instant::now();
        request.preferred = placed
            .iter()
            .filter(|one| !one.bundled)
            .map(|one| (one.path.clone(), Pin { name: one.name.clone(), version: one.version.clone() }))
            .collect();
        let again = solve(&registry, &request).unwrap();
        eprintln!(
            "{name}: {} packages; npm resolved in {resolved:.1?}, kiln in {first:.1?}, again from memory in {:.1?}",
            npms.len(),
            started.elapsed()
        );
        let mut found = differences(&ours(&placed), &npms);
        let lock = fs::read_to_string(folder.path().join("package-lock.json")).unwrap();
        match lockfile::read(&lock, &request.platform, &request.engines) {
            Ok(read) => {
                found.extend(differences(&ours(&read), &npms).into_iter().map(|line| format!("its lockfile: {line}")))
            }
            Err(error) => found.push(format!("its lockfile: {error}")),
        }
        if again != placed {
            found.push("locking again gave another tree".into());
            found.extend(
                differences(&ours(&again), &ours(&placed)).into_iter().map(|line| line.replace("npm ", "before ")),
            );
        }
        if found.is_empty() {
            match parts(&registry, &store, &placed) {
                Ok(parts) => {
                    let files: (Tree, Tree) = (of_parts(&placed, &parts), on_disk(folder.path()));
                    found.extend(differences(&files.0, &files.1));
                    counts.2 += files.1.len();
                }
                Err(error) => found.push(error.to_string()),
            }
        }
        counts = (counts.0 + 1, counts.1 + npms.len(), counts.2);
        let more = found.len().saturating_sub(30);
        wrong.extend(found.into_iter().take(30).map(|line| format!("{name}: {line}")));
        if more > 0 {
            wrong.push(format!("{name}: and {more} more"));
        }
    }
    eprintln!("{} sets, {} packages, {} paths compared", counts.0, counts.1, counts.2);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counts.0 > 0, "no set was looked at");
}
