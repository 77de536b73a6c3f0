//! npm: tarballs, registries' documents, versions and ranges, `package-lock.json`, and solving.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln::ecosystem::npm::integrity::Integrity;
use kiln::ecosystem::npm::packument::{Manifest, Packument};
use kiln::ecosystem::npm::part::{Expected, Place, part};
use kiln::ecosystem::npm::pick::pick;
use kiln::ecosystem::npm::platform::{Engines, Platform};
use kiln::ecosystem::npm::range::Range;
use kiln::ecosystem::npm::semver::Version;
use kiln::ecosystem::npm::spec::{Spec, check_name};
use kiln::ecosystem::npm::tree::{Bundled, Index, Request, solve};
use kiln::ecosystem::npm::{bins, lockfile, tarball};
use serde_json::Value;

use super::{Outcome, Target, printable, same, text};
use crate::mend;
use crate::world::World;

const DOCUMENT: &[&str] = &[
    "\"name\": \"a\"",
    "\"version\": \"1.0.0\"",
    "\"versions\": {",
    "\"dist-tags\": {\"latest\": \"1.0.0\"}",
    "\"dependencies\": {",
    "\"peerDependencies\": {",
    "\"optionalDependencies\": {",
    "\"bundleDependencies\": ",
    "\"bin\": ",
    "\"engines\": ",
    "\"os\": [\"!linux\"]",
    "\"dist\": {",
    "\"integrity\": \"sha512-",
    "true",
    "null",
    "\"b\": \"^1.0.0\"",
    "{}",
    "[]",
    "*",
];
const PACKAGES: &[&str] = &[
    "\"node_modules/a\": {",
    "node_modules/",
    "\"lockfileVersion\": 3",
    "\"packages\": {",
    "\"link\": true",
    "\"resolved\": ",
    "\"dev\": true",
    "\"optional\": true",
    "\"peer\": true",
    "\"inBundle\": true",
    "\"version\": \"1.0.0\"",
    "@scope/",
];

fn list() -> Vec<Target> {
    let target = |name, words, run| Target { name, words, mend: mend::nothing, run };
    vec![
        Target {
            name: "npm-tarball",
            words: &["package/", "package.json", "node_modules/", ".gitignore", "#!/bin/sh\r\n", "../"],
            mend: mend::tar,
            run: npm_tarball,
        },
        target("npm-compressed", &[], npm_compressed),
        target("packument", DOCUMENT, packument),
        target("npm-range", &["||", "-", "^", "~", ">=", "<", "x", "*", "v", "=", ".", "-rc.1", "+b", " - "], range),
        target("package-lock", PACKAGES, package_lock),
        target("npm-solver", DOCUMENT, npm_solver),
    ]
}

pub const TARGETS: fn() -> Vec<Target> = list;

fn npm_tarball(world: &World, bytes: &[u8]) -> Outcome {
    let artifact = world.put(bytes);
    let version = Version::parse("1.0.0").ok_or("a version")?;
    let expected = Expected { name: "a".into(), version };
    let place = |path: &str| Place { path: path.into(), programs: ["bin/a".to_owned()].into() };
    let places = [place("srv/node_modules/a"), place("srv/node_modules/b/node_modules/a")];
    if let Some(part) = printable(part(&world.store, &artifact, &expected, &places)) {
        for entry in &part.part.entries {
            if !entry.path.starts_with("srv/node_modules/") || entry.path.split('/').any(|name| name == "..") {
                return Err(format!("a path leads out: {:?}", entry.path));
            }
        }
    }
    let _ = printable(tarball::bundled(bytes, bytes.len() as u64));
    let integrity = Integrity::from_sha1_hex("da39a3ee5e6b4b0d3255bfef95601890afd80709").map_err(|e| e.to_string())?;
    let _ = printable(integrity.check(&mut &bytes[..]));
    Ok(())
}

/// The same with bytes that are compressed: most of them wrongly.
fn npm_compressed(world: &World, bytes: &[u8]) -> Outcome {
    npm_tarball(world, bytes)
}

fn packument(_: &World, bytes: &[u8]) -> Outcome {
    let _ = printable(Manifest::parse(bytes));
    let Some(packument) = printable(Packument::parse("a", bytes)) else { return Ok(()) };
    let written = serde_json::to_vec(&packument).map_err(|error| error.to_string())?;
    let again: Packument = serde_json::from_slice(&written).map_err(|error| format!("a kept document: {error}"))?;
    same("a document", &packument, &again)?;
    let engines = Engines { node: Version::parse("20.19.2"), npm: Version::parse("9.2.0") };
    for wanted in ["", "*", "latest", "^1.0.0", "1.0.0", ">=1 <2 || 3"] {
        let Some(spec) = printable(Spec::parse("a", wanted)) else { continue };
        if let Some(manifest) = printable(pick(&packument, &spec.wanted, &engines)) {
            let _ = Platform::linux("x64").fits(manifest);
            for (name, text) in manifest.dependencies.iter().chain(&manifest.peer_dependencies) {
                let _ = printable(Spec::parse(name, text));
            }
        }
    }
    Ok(())
}

fn range(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    let (first, second) = text.split_once('\n').unwrap_or((&text, "1.2.3"));
    if let Some(version) = Version::parse(second) {
        same("a version", &Some(version.clone()), &Version::parse(&version.to_string()))?;
        for range in [Range::parse(first), Range::parse_with_prereleases(first)].into_iter().flatten() {
            let _ = (range.contains(&version), range.contains_prerelease(&version));
            same("whether a range meets itself", &range.intersects(&range.clone()), &range.intersects(&range))?;
        }
    }
    if let (Some(one), Some(other)) = (Range::parse(first), Range::parse(second)) {
        same("whether ranges meet", &one.intersects(&other), &other.intersects(&one))?;
    }
    let _ = (printable(Spec::parse("a", &text)), printable(check_name(&text)));
    if let Some(integrity) = printable(Integrity::parse(&text)) {
        let again = Integrity::parse(&integrity.to_string()).map_err(|error| format!("{integrity}: {error}"))?;
        same("an integrity", &integrity, &again)?;
    }
    Ok(())
}

fn package_lock(_: &World, bytes: &[u8]) -> Outcome {
    let engines = Engines { node: Version::parse("20.19.2"), npm: None };
    let Some(placed) = printable(lockfile::read(&text(bytes), &Platform::linux("x64"), &engines)) else {
        return Ok(());
    };
    for one in &placed {
        let inside = one.path.starts_with("node_modules/") && !one.path.split('/').any(|name| name == "..");
        if !inside {
            return Err(format!("a path leads out: {:?}", one.path));
        }
    }
    let links = bins::links(&placed);
    let _ = bins::programs(&placed, &links);
    Ok(())
}

/// A registry out of one document: packages' documents by name.
struct Registry(BTreeMap<String, Arc<Packument>>);

impl Index for Registry {
    fn packument(&self, name: &str) -> kiln::Result<Arc<Packument>> {
        self.0.get(name).cloned().ok_or_else(|| kiln::Error::new("no such package").kind(kiln::error::Kind::NotFound))
    }

    fn bundled(&self, _: &Manifest) -> kiln::Result<Vec<Bundled>> {
        Ok(Vec::new())
    }

    fn prefetch(&self, _: &[(String, String)]) {}
}

fn npm_solver(_: &World, bytes: &[u8]) -> Outcome {
    let Ok(Value::Object(documents)) = serde_json::from_slice(bytes) else { return Ok(()) };
    let packages = documents.iter().filter(|(name, _)| *name != "overrides").filter_map(|(name, document)| {
        let packument = printable(Packument::parse(name, document.to_string().as_bytes()))?;
        Some((name.clone(), Arc::new(packument)))
    });
    let registry = Registry(packages.collect());
    let overrides = documents.get("overrides").and_then(Value::as_object).cloned().unwrap_or_default();
    let request = Request {
        dependencies: registry.0.keys().take(3).map(|name| (name.clone(), "*".to_owned())).collect(),
        overrides,
        platform: Platform::linux("x64"),
        engines: Engines::default(),
        preferred: BTreeMap::new(),
        moving: Default::default(),
    };
    let Some(placed) = printable(solve(&registry, &request)) else { return Ok(()) };
    let again = solve(&registry, &request).map_err(|error| format!("the second time: {error}"))?;
    same("a tree", &placed, &again)
}
