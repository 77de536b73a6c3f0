//! Source distributions, built into wheels in the image's own tree.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use pep440_rs::Version;

use serde::{Deserialize, Serialize};

use super::Progress;
use super::above::{Stack, in_tree};
use super::graph::Graph;
use super::plan::extractions;
use crate::digest::Digest;
use crate::ecosystem::debian::stage;
use crate::ecosystem::fetch;
use crate::ecosystem::placing::Placing;
use crate::ecosystem::pypi::built::unmet;
use crate::ecosystem::pypi::source::{self, BuildSystem, SOURCE};
use crate::ecosystem::pypi::target::Target;
use crate::ecosystem::pypi::wheel::{self, Layout, Locked};
use crate::error::{Context, Error, Result};
use crate::layer::{Part, content_of};
use crate::lock::PlatformPackage;
use crate::sandbox::Extraction;
use crate::{FORMAT, canonical};

/// The earliest time that zip archives, which wheels are, can say: 1980-01-01.
const EARLIEST: u64 = 315_532_800;

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    below: &'a Digest,
    source: &'a Digest,
    with: Vec<&'a Digest>,
}

/// What the store keeps of a build.
#[derive(Serialize, Deserialize)]
struct Built {
    wheel: Digest,
}

/// The wheel of a source distribution, built on top of `stack` with what the lock has for it. Built once: the store
/// keeps it under everything that it was made from.
pub fn wheel(graph: &Graph<'_>, stack: &Stack, package: &PlatformPackage, layout: &Layout) -> Result<Digest> {
    let store = graph.bakery.store;
    let with: Vec<&PlatformPackage> = graph
        .lock
        .packages
        .iter()
        .filter(|other| other.ecosystem == "pypi" && other.build_for.contains(&package.name))
        .collect();
    let key = Key {
        format: FORMAT,
        below: &stack.key,
        source: &package.sha256,
        with: with.iter().map(|package| &package.sha256).collect(),
    };
    let key = Digest::of(&canonical::to_vec(&key)?);
    if let Some(Built { wheel }) = store.keyed("built", &key) {
        return Ok(wheel);
    }
    let _lock = store.lock_key("built", &key)?;
    if let Some(Built { wheel }) = store.keyed("built", &key) {
        return Ok(wheel);
    }
    let step = format!("the build of {} {}", package.name, package.version);
    (graph.bakery.progress)(Progress::Running { step: step.clone() });
    let (wheel, took) = build(graph, stack, package, &with, layout).context(|| format!("running {step}"))?;
    (graph.bakery.progress)(Progress::Ran { step, took: Duration::from_nanos(took) });
    let wheel = store.put(&wheel)?;
    store.put_keyed("built", &key, &[wheel], &Built { wheel })?;
    Ok(wheel)
}

/// Checks that the lock has what a package needs that was built from its source: until then, nobody can be sure of it.
pub fn check_needs(graph: &Graph<'_>, package: &PlatformPackage, part: &Part, python: &str) -> Result<()> {
    let what = || format!("looking at what {} {} needs", package.name, package.version);
    let metadata = part.entries.iter().find(|entry| entry.path.ends_with(".dist-info/METADATA"));
    let Some(metadata) = metadata else { return Ok(()) };
    let metadata = content_of(graph.bakery.store, part, &metadata.path)?.unwrap_or_default();
    let target = Target::new(python, graph.lock.platform.architecture(), (2, 0)).context(what)?;
    let installed = graph.lock.packages.iter().filter(|other| other.ecosystem == "pypi" && other.build_for.is_empty());
    let mut locked = BTreeMap::new();
    for other in installed {
        locked.insert(other.name.parse()?, Version::from_str(&other.version)?);
    }
    let unmet = unmet(&metadata, &target, &locked).context(what)?;
    let Some((requirement, found)) = unmet.first() else { return Ok(()) };
    let found = found.as_ref().map_or_else(|| "nothing of it".to_owned(), |version| format!("version {version}"));
    Err(Error::no(format!(
        "{} {}, now that it is built, says that it needs `{requirement}`; the lock has {found}",
        package.name, package.version
    ))
    .hint(format!(
        "its source distribution said otherwise: add `{requirement}` to `packages` in `[python]`, then run `kiln lock`"
    )))
}

fn build(
    graph: &Graph<'_>,
    stack: &Stack,
    package: &PlatformPackage,
    with: &[&PlatformPackage],
    layout: &Layout,
) -> Result<(Vec<u8>, u64)> {
    let store = graph.bakery.store;
    let file = package.file.as_deref().unwrap_or_default();
    let system = BuildSystem::read(store, &package.sha256, file)?;
    let mut layers = extractions(&stack.layers);
    let place = source::layout(&layout.interpreter);
    for dependency in with {
        let locked = Locked { name: &dependency.name, version: &dependency.version, sha256: dependency.sha256 };
        layers.push(extraction(stack, wheel::part(store, &locked, &place, &BTreeSet::new())?.part));
    }
    let placing = Placing::new(SOURCE, None)?;
    let options = fetch::Options { name: file, unpack: true, strip: 1, select: &[], placing: &placing };
    layers.push(extraction(stack, fetch::part(store, &package.sha256, &options)?.part));
    let environment = stage::environment(stack.epoch.max(EARLIEST));
    in_tree(graph, &layers, |session| {
        session.extract(&layers).context(|| "putting the tree below together")?;
        source::build(session, &system, &layout.interpreter, environment)
    })
}

/// A part, in folders of its own where the tree has none.
fn extraction(stack: &Stack, part: Part) -> Extraction {
    let news = part.directories.iter().filter(|folder| stack.folders.get(&folder.path).is_none());
    Extraction { directories: news.cloned().collect(), parts: vec![part], ..Extraction::default() }
}
