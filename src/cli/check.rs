//! `kiln build --check`: baking twice under different conditions, and naming every path that differs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::build::Kitchen;
use super::context::program;
use crate::bake::{self, Bakery, StageResult};
use crate::error::{Context as _, Error, Result};
use crate::layer::Entry;
use crate::lock::{Lockfile, PlatformLock};
use crate::sandbox::Executor;
use crate::store::Store;

/// Bakes once in the store and once beside it: another place, nothing cached but the artifacts, another
/// executor where this machine has one, later by the clock.
pub fn run(kitchen: &Kitchen<'_>, lockfile: &Lockfile, lock: &PlatformLock) -> Result<()> {
    kitchen.context.progress.start("Checking", None, false);
    let result = twice(kitchen, lockfile, lock);
    kitchen.context.progress.end("Checking");
    let (first, second) = result?;
    let mut differences = Vec::new();
    for (one, other) in first.iter().zip(&second) {
        differences.extend(compare(one, other));
    }
    if differences.is_empty() {
        kitchen.context.say(&format!("{} {}: two bakes under different conditions agree", lock.name, lock.platform));
        return Ok(());
    }
    let count = differences.len();
    differences.truncate(50);
    Err(Error::no(format!(
        "`{}` for {} is not reproducible: {count} paths differ between two bakes",
        lock.name, lock.platform
    ))
    .detail(differences.join("\n"))
    .hint("the script named beside each path wrote it; `kiln rules` lists what is taken care of already"))
}

fn twice(
    kitchen: &Kitchen<'_>,
    lockfile: &Lockfile,
    lock: &PlatformLock,
) -> Result<(Vec<StageResult>, Vec<StageResult>)> {
    let first = kitchen.with_bakery(lockfile, |bakery| bake::stages(bakery, lockfile, lock))?;
    let scratch = kitchen.store.scratch()?;
    let other = Store::open(&scratch.path().join("another/place"))?;
    for package in &lock.packages {
        let target = other.blob_path(&package.sha256);
        fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        fs::hard_link(kitchen.store.blob_path(&package.sha256), &target)
            .context(|| format!("linking {}", target.display()))?;
    }
    let executor = || another_executor(kitchen.context.executor(&kitchen.store)?);
    let second = kitchen.with_bakery(lockfile, |bakery| {
        let bakery = Bakery {
            store: &other,
            client: bakery.client,
            candidates: bakery.candidates,
            executor: &executor,
            program: program(),
            progress: &|_| {},
        };
        bake::stages(&bakery, lockfile, lock)
    })?;
    Ok((first, second))
}

/// The chroot in place of namespaces, where both are possible.
fn another_executor(usual: Executor) -> Result<Executor> {
    if usual == Executor::RootNamespaces { Executor::from_name("chroot").or(Ok(usual)) } else { Ok(usual) }
}

/// The paths that differ between two runs of a stage, with what differs and who wrote them.
pub fn compare(one: &StageResult, other: &StageResult) -> Vec<String> {
    let entries = |stage: &StageResult| -> BTreeMap<String, Entry> {
        stage
            .part
            .directories
            .iter()
            .chain(&stage.part.entries)
            .map(|entry| (entry.path.clone(), entry.clone()))
            .collect()
    };
    let (a, b) = (entries(one), entries(other));
    let mut lines = Vec::new();
    let paths: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for path in paths {
        let what = match (a.get(path), b.get(path)) {
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => difference(a, b),
            (Some(_), None) => "only in the first".to_owned(),
            (None, _) => "only in the second".to_owned(),
        };
        let writer = one.writers.get(path).or_else(|| other.writers.get(path)).map_or("unknown", String::as_str);
        lines.push(format!("/{path}: {what} (written by {writer})"));
    }
    lines
}

fn difference(a: &Entry, b: &Entry) -> String {
    let mut what = Vec::new();
    if a.kind != b.kind {
        what.push("content".to_owned());
    }
    for (name, a, b) in [
        ("mode", u64::from(a.mode), u64::from(b.mode)),
        ("owner", u64::from(a.uid), u64::from(b.uid)),
        ("group", u64::from(a.gid), u64::from(b.gid)),
        ("time", a.mtime, b.mtime),
    ] {
        if a != b {
            what.push(if name == "mode" { format!("mode {a:o} and {b:o}") } else { format!("{name} {a} and {b}") });
        }
    }
    if a.xattrs != b.xattrs {
        what.push("extended attributes".to_owned());
    }
    what.join(", ")
}
