//! npm's packages: the tree that npm would place, per platform.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::python::{debian_version, upstream};
use super::{Moving, Resolver, of};
use crate::digest::Digest;
use crate::ecosystem::npm::bins;
use crate::ecosystem::npm::index::Registry;
use crate::ecosystem::npm::lockfile;
use crate::ecosystem::npm::platform::{Engines, Platform as NodePlatform};
use crate::ecosystem::npm::semver::Version;
use crate::ecosystem::npm::tree::{self, Pin, Placed, Request};
use crate::error::{Context, Error, Result};
use crate::lock::{Artifact, Lockfile, Package, Scripts};
use crate::workspace::{Npm, Platform, Settings};

const ECOSYSTEM: &str = "npm";

impl Resolver<'_> {
    /// Resolves what the definition asks of npm. What is the same as in `kept` is taken from there.
    pub(super) fn npm(
        &self,
        settings: &Settings,
        debian: &[Package],
        old: Option<&Lockfile>,
        kept: Option<&Lockfile>,
        moving: &Moving,
    ) -> Result<Vec<Package>> {
        let Some(npm) = &settings.npm else { return Ok(Vec::new()) };
        let all_engines = |packages: &[Package]| -> Vec<Engines> {
            settings.platforms.iter().map(|platform| engines(packages, *platform)).collect()
        };
        let same = |old: &&Lockfile| {
            old.environment.npm.as_ref() == Some(npm) && all_engines(&old.packages) == all_engines(debian)
        };
        if let Some(old) = kept.filter(same) {
            return Ok(of(old, ECOSYSTEM));
        }
        let mut trees = BTreeMap::new();
        for platform in &settings.platforms {
            let engines = engines(debian, *platform);
            let registry = self.languages.npm(engines.clone())?;
            let placed = self
                .placed(npm, &registry, engines, old, *platform, moving)
                .context(|| format!("resolving npm packages for {platform}"))?;
            trees.insert(*platform, (placed, registry));
        }
        let mut packages: BTreeMap<(String, String), Package> = BTreeMap::new();
        for (platform, (placed, registry)) in trees {
            add(&mut packages, npm, platform, &placed, &registry)?;
        }
        Ok(packages.into_values().collect())
    }

    fn placed(
        &self,
        npm: &Npm,
        registry: &Registry<'_>,
        engines: Engines,
        old: Option<&Lockfile>,
        platform: Platform,
        moving: &Moving,
    ) -> Result<Vec<Placed>> {
        let node = NodePlatform::linux(if platform == Platform::Arm64 { "arm64" } else { "x64" });
        if let Some(lock) = &npm.lock {
            let text =
                std::fs::read_to_string(self.root.join(&lock.path)).context(|| format!("reading `{}`", lock.path))?;
            if Digest::of(text.as_bytes()) != lock.sha256 {
                return Err(Error::new(format!("`{}` has changed while it was read", lock.path)));
            }
            let mut placed = lockfile::read(&text, &node, &engines).context(|| format!("reading `{}`", lock.path))?;
            registry.complete(&mut placed)?;
            return Ok(placed);
        }
        let mut request = Request {
            dependencies: npm.dependencies.clone(),
            overrides: npm.overrides.iter().map(|(name, wanted)| (name.clone(), wanted.as_str().into())).collect(),
            platform: node,
            engines,
            preferred: BTreeMap::new(),
            moving: BTreeSet::new(),
        };
        if *moving != Moving::Everything {
            request.preferred = preferred(old, platform);
        }
        match moving {
            Moving::Named(names) => request.moving = names.clone(),
            Moving::Precise { package, version } if is_locked(old, package) => {
                request.overrides.insert(package.clone(), version.as_str().into());
            }
            _ => {}
        }
        tree::solve(registry, &request)
    }
}

fn is_locked(old: Option<&Lockfile>, name: &str) -> bool {
    old.is_some_and(|old| old.packages.iter().any(|known| known.ecosystem == ECOSYSTEM && known.name == name))
}

/// The pins of an old lock, by path.
fn preferred(old: Option<&Lockfile>, platform: Platform) -> BTreeMap<String, Pin> {
    let packages = old.into_iter().flat_map(|old| &old.packages).filter(|package| package.ecosystem == ECOSYSTEM);
    let mut pins = BTreeMap::new();
    for package in packages {
        // What an earlier kiln has written is read leniently: it is only preferred.
        let (Some(artifact), Some(version)) = (package.artifacts.get(&platform), Version::parse(&package.version))
        else {
            continue;
        };
        for place in &artifact.places {
            let pin = Pin { name: package.name.clone(), version: version.clone() };
            pins.insert(place.clone(), pin);
        }
    }
    pins
}

/// Adds a platform's tree to the packages.
fn add(
    packages: &mut BTreeMap<(String, String), Package>,
    npm: &Npm,
    platform: Platform,
    placed: &[Placed],
    registry: &Registry<'_>,
) -> Result<()> {
    let names: BTreeMap<&str, &str> =
        placed.iter().map(|placed| (placed.path.as_str(), placed.name.as_str())).collect();
    let links = bins::links(placed);
    let outer: Vec<&Placed> = placed.iter().filter(|placed| !placed.bundled).collect();
    let paths: BTreeSet<&str> = outer.iter().map(|placed| placed.path.as_str()).collect();
    let artifacts = outer.par_iter().map(|placed| registry.artifact(placed)).collect::<Result<Vec<_>>>()?;
    for (placed, found) in outer.into_iter().zip(artifacts) {
        let version = placed.version.to_string();
        let package = packages.entry((placed.name.clone(), version.clone())).or_insert_with(|| Package {
            ecosystem: ECOSYSTEM.to_owned(),
            name: placed.name.clone(),
            version: version.clone(),
            source: placed.name.clone(),
            source_version: version,
            origin: ECOSYSTEM.to_owned(),
            base: false,
            requested: None,
            required_by: Vec::new(),
            build_for: Vec::new(),
            artifacts: BTreeMap::new(),
        });
        let requiring = placed.required_by.iter().filter(|path| !path.is_empty());
        package.required_by.extend(requiring.filter_map(|path| names.get(path.as_str())).map(|&name| name.to_owned()));
        package.requested = package.requested.take().or_else(|| placed.requested.clone());
        let path = registry.path(&placed.name, &placed.tarball);
        let artifact = package.artifacts.entry(platform).or_insert_with(|| {
            let scripts = match (placed.has_install_script, npm.scripts.contains(&placed.name)) {
                (false, _) => Scripts::None,
                (true, true) => Scripts::Sandbox,
                (true, false) => Scripts::Unrun,
            };
            Artifact { size: found.size, scripts: Some(scripts), ..Artifact::new(&path, found.sha256) }
        });
        if artifact.sha256 != found.sha256 {
            return Err(Error::no(format!("two tarballs are called `{}` {}", placed.name, placed.version)));
        }
        artifact.places.push(placed.path.clone());
        artifact.places.sort();
        let is_own = |link: &&bins::Bin| owner(&link.package, &paths) == Some(placed.path.as_str());
        artifact.links.extend(links.iter().filter(is_own).map(|link| (link.path.clone(), link.target.clone())));
    }
    Ok(())
}

/// The package with a tarball of its own that `path` is in.
fn owner<'p>(path: &'p str, outer: &BTreeSet<&str>) -> Option<&'p str> {
    let mut above = Some(path);
    while let Some(path) = above {
        if outer.contains(path) {
            return Some(path);
        }
        above = path.rsplit_once("/node_modules/").map(|(path, _)| path);
    }
    None
}

/// The Node.js that the image has.
fn engines(packages: &[Package], platform: Platform) -> Engines {
    let node = debian_version(packages, platform, "nodejs").and_then(|version| Version::parse(&upstream(&version)));
    Engines { node, npm: None }
}
