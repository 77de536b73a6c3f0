//! The stages of an image, each run once per set of inputs: the base, shared by every environment that
//! stands on it, then the rest.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::graph::Graph;
use super::ground::{Coming, Ground, in_memory};
use super::making::Ready;
use super::stage_result::StageResult;
use super::{Progress, accounts};
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::ecosystem::debian::dpkg::{self, Existing, Files, Member, State};
use crate::ecosystem::debian::package::{self, StagePackage};
use crate::ecosystem::debian::stage::{self, Configured, Stage};
use crate::error::{Context, Error, Result};
use crate::layer::part::parents;
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::lock::PlatformPackage;
use crate::sandbox::Executor;
use crate::{FORMAT, canonical};

/// Where dpkg inside the image is told what was left out.
const EXCLUSIONS: &str = "etc/dpkg/dpkg.cfg.d/kiln";

/// Whether a package has programs that only work where `/proc` is mounted, and whose scripts take a failure of
/// theirs for nothing (`systemd-tmpfiles` makes no folders then, postinst scripts end it with `|| true`) or say little
/// of it (Java).
fn needs_proc(package: &str) -> bool {
    let java = |name: &str| name.strip_prefix("openjdk-").is_some_and(|rest| rest.contains("-jre-headless"));
    matches!(package, "systemd" | "systemd-standalone-tmpfiles" | "flatpak" | "ghc") || java(package)
}

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    stage: &'a str,
    below: Option<Digest>,
    packages: &'a [&'a Digest],
    exclude: &'a [String],
    preseed: &'a BTreeMap<String, String>,
    accounts: &'a BTreeMap<String, String>,
    /// Left out where there are none: it does not matter then.
    #[serde(skip_serializing_if = "Ids::is_empty")]
    kept: &'a Ids,
}

/// The base: the Essential set, configured.
///
/// If it has to run, it takes the sandbox that is on its way, as [`rest`] does.
pub fn base(graph: &Graph<'_>, packages: &[Ready<'_>], ground: &mut Option<Coming<'_>>) -> Result<StageResult> {
    run(graph, &Inputs::base(graph, &Ids::default()), &[], packages, ground)
}

/// The base's stage, if the store has it already.
pub fn known_base(graph: &Graph<'_>) -> Option<StageResult> {
    Inputs::base(graph, &Ids::default()).known(graph)
}

/// Everything else, on top of the base; the base may be placed in the sandbox that is on its way.
pub fn rest(
    graph: &Graph<'_>,
    below: &StageResult,
    configured: &[Ready<'_>],
    packages: &[Ready<'_>],
    ground: &mut Option<Coming<'_>>,
) -> Result<StageResult> {
    run(graph, &Inputs::rest(graph, below), configured, packages, ground)
}

/// Whether there is anything on top of the base that has to be configured.
pub fn has_rest(graph: &Graph<'_>) -> bool {
    graph.order.iter().any(|package| !package.base) || !graph.lock.environment.users.is_empty()
}

/// The packages in whose tree scripts will run first, if the base is `known`; `None` if the store has all that they
/// would give.
pub fn first_tree<'a>(graph: &Graph<'a>, known: Option<&StageResult>) -> Option<Vec<&'a PlatformPackage>> {
    match known {
        None => Some(graph.order.iter().copied().filter(|package| package.base).collect()),
        Some(base) => (has_rest(graph) && !is_rest_known(graph, base)).then(|| graph.order.clone()),
    }
}

/// Whether the store has the stage on top of the base already.
pub fn is_rest_known(graph: &Graph<'_>, below: &StageResult) -> bool {
    Inputs::rest(graph, below).known(graph).is_some()
}

/// All that a stage's result depends on.
struct Inputs<'a> {
    stage: &'static str,
    below: Option<&'a StageResult>,
    /// The digests of its packages' artifacts, in the order in which they are unpacked.
    artifacts: Vec<&'a Digest>,
    preseed: BTreeMap<String, String>,
    accounts: BTreeMap<String, String>,
    kept: &'a Ids,
}

impl<'a> Inputs<'a> {
    fn base(graph: &'a Graph<'_>, kept: &'a Ids) -> Self {
        let accounts = BTreeMap::new();
        Self {
            stage: "base",
            below: None,
            artifacts: artifacts(graph, true),
            preseed: preseed(graph, true),
            accounts,
            kept,
        }
    }

    fn rest(graph: &'a Graph<'_>, below: &'a StageResult) -> Self {
        Self {
            stage: "packages",
            below: Some(below),
            artifacts: artifacts(graph, false),
            preseed: preseed(graph, false),
            accounts: accounts::lines(&graph.lock.environment.users),
            kept: &graph.lock.accounts,
        }
    }

    fn known(&self, graph: &Graph<'_>) -> Option<StageResult> {
        graph.bakery.store.keyed("stage", &self.key(graph, self.kept).ok()?)
    }

    fn key(&self, graph: &Graph<'_>, kept: &Ids) -> Result<Digest> {
        let key = canonical::to_vec(&Key {
            format: FORMAT,
            stage: self.stage,
            below: self.below.map(|below| below.key),
            packages: &self.artifacts,
            exclude: &graph.lock.environment.debian.exclude,
            preseed: &self.preseed,
            accounts: &self.accounts,
            kept,
        })?;
        Ok(Digest::of(&key))
    }
}

fn artifacts<'a>(graph: &'a Graph<'_>, of_base: bool) -> Vec<&'a Digest> {
    graph.order.iter().filter(|package| package.base == of_base).map(|package| &package.sha256).collect()
}

/// The answers to questions of the base's packages, or of all others.
fn preseed(graph: &Graph<'_>, of_base: bool) -> BTreeMap<String, String> {
    let base = graph.order.iter().filter(|package| package.base);
    let base: BTreeSet<&str> = base.map(|package| package.name.as_str()).collect();
    let all = &graph.lock.environment.debian.preseed;
    let asked = |question: &str| base.contains(question.split('/').next().unwrap_or_default()) == of_base;
    all.iter()
        .filter(|(question, _)| asked(question))
        .map(|(question, value)| (question.clone(), value.clone()))
        .collect()
}

fn run(
    graph: &Graph<'_>,
    inputs: &Inputs<'_>,
    below: &[Ready<'_>],
    packages: &[Ready<'_>],
    ground: &mut Option<Coming<'_>>,
) -> Result<StageResult> {
    let store = graph.bakery.store;
    let key = inputs.key(graph, inputs.kept)?;
    if let Some(result) = store.keyed("stage", &key) {
        return Ok(result);
    }
    let _lock = store.lock_key("stage", &key)?;
    if let Some(result) = store.keyed("stage", &key) {
        return Ok(result);
    }
    (graph.bakery.progress)(Progress::Configuring { stage: inputs.stage, packages: packages.len() });
    let newest = packages.iter().map(|ready| ready.deb.newest_mtime).max().unwrap_or(0);
    let epoch = newest.max(inputs.below.map_or(0, |below| below.epoch));
    let configured = configure(graph, inputs, below, packages, ground, epoch)
        .context(|| format!("configuring the {} of `{}` for {}", inputs.stage, graph.lock.name, graph.lock.platform))?;
    let Configured { part, leave_out, writers, ids, diversions, scripts } = configured;
    (graph.bakery.progress)(Progress::Configured { stage: inputs.stage, scripts });
    // Every image that stands on the base begins with placing it.
    let part = if inputs.below.is_none() { part.with_plain(store)? } else { part };
    let mut result = StageResult { key, part, leave_out, writers, epoch, ids, diversions };
    store.put_keyed("stage", &key, &result.part.blobs(), &result)?;
    // With the ids that it has given, it would have given the same: the lock will hold them from now on.
    let settled = inputs.key(graph, &inputs.kept.with(&result.ids))?;
    if settled != key {
        result.key = settled;
        store.put_keyed("stage", &settled, &result.part.blobs(), &result)?;
    }
    Ok(result)
}

fn configure(
    graph: &Graph<'_>,
    inputs: &Inputs<'_>,
    below: &[Ready<'_>],
    packages: &[Ready<'_>],
    ground: &mut Option<Coming<'_>>,
    epoch: u64,
) -> Result<Configured> {
    let parts = below.iter().chain(packages).map(|ready| &ready.deb.part);
    let in_memory = in_memory(graph.bakery.tree_memory, parts.chain(inputs.below.map(|below| &below.part)));
    let start = || (graph.bakery.start)(in_memory);
    let layers = inputs.below.map_or_else(Vec::new, |result| result.tree(below));
    // Starting a worker takes as long as reading what dpkg is told.
    let (ground, packages, configured) = std::thread::scope(|threads| {
        let coming = ground.take();
        let ground = threads.spawn(move || match coming.and_then(|coming| coming.join().ok()) {
            // How large the tree will be was a guess before all packages were read.
            Some(Ok(ground)) if ground.in_memory == in_memory => Ok(ground),
            _ => start(),
        });
        let (packages, configured) = (stage_packages(graph, packages), stage_packages(graph, below));
        (ground.join(), packages, configured)
    });
    let ground = ground.map_err(|_| Error::new("starting a sandbox ended unexpectedly"))??;
    let (packages, configured) = (packages?, configured?);
    let names = configured.iter().chain(&packages).map(|package| package.unpacked.name.as_str());
    refuse_without_proc(ground.executor, names)?;
    let mut ground = Some(ground);
    let files = if inputs.below.is_none() { exclusion_files(graph, epoch) } else { Files::new() };
    let mut stage = Stage {
        below: &layers,
        configured: &configured,
        packages: &packages,
        files: &files,
        preseed: &inputs.preseed,
        account_lines: &inputs.accounts,
        kept: inputs.kept,
        epoch,
        ahead: true,
    };
    let unpacked = || {
        let _ = graph.unpacked.set(());
    };
    loop {
        let Ground { mut session, place, is_placed, .. } = ground.take().map_or_else(start, Ok)?;
        let configured = stage::configure(&mut session, &stage, is_placed, &unpacked);
        graph.bakery.endings.end(session, place);
        if let Some(configured) = configured? {
            return Ok(configured);
        }
        // What is not right is found as it is placed then, and something else is placed.
        stage.ahead = false;
    }
}

/// A plain chroot has no `/proc`: better no image than another one.
fn refuse_without_proc<'n>(executor: Executor, mut names: impl Iterator<Item = &'n str>) -> Result<()> {
    match names.find(|name| executor == Executor::Chroot && needs_proc(name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(format!(
            "the scripts of `{name}` need /proc, which the executor `{executor}` has not: the image would be another one"
        ))
        .hint("allow namespaces: run kiln as an ordinary user with subordinate ids, or as root with CAP_SYS_ADMIN")),
    }
}

/// By threads of its own: what was handed to the common ones would wait for all the parts that they are making.
fn stage_packages(graph: &Graph<'_>, ready: &[Ready<'_>]) -> Result<Vec<StagePackage>> {
    let some = |ready: &[Ready<'_>]| -> Result<Vec<StagePackage>> {
        let one =
            |ready: &Ready<'_>| package::stage_package(graph.bakery.store, &Graph::locked(ready.package), &ready.deb);
        ready.iter().map(one).collect()
    };
    let share = ready.len().div_ceil(rayon::current_num_threads()).max(1);
    std::thread::scope(|threads| {
        let some = &some;
        let all: Vec<_> = ready.chunks(share).map(|chunk| threads.spawn(move || some(chunk))).collect();
        let mut packages = Vec::new();
        for thread in all {
            packages.extend(thread.join().map_err(|_| Error::new("reading packages ended unexpectedly"))??);
        }
        Ok(packages)
    })
}

fn exclusion_files(graph: &Graph<'_>, epoch: u64) -> Files {
    let content = graph.exclusions.dpkg_configuration();
    if content.is_empty() {
        return Files::new();
    }
    Files::from([(EXCLUSIONS.to_owned(), Member { mode: 0o644, mtime: epoch, content: content.into_bytes() })])
}

/// An environment on no base: no script runs, and dpkg's database says so.
pub fn without_base(graph: &Graph<'_>, packages: &[Ready<'_>]) -> Result<StageResult> {
    let store = graph.bakery.store;
    let debian = &graph.lock.environment.debian;
    let mut known = stage_packages(graph, packages)?;
    let epoch = packages.iter().map(|ready| ready.deb.newest_mtime).max().unwrap_or(0);
    let unaccepted: Vec<&str> = known
        .iter()
        .filter(|package| {
            package.unpacked.has_scripts() && !debian.accept_unconfigured.contains(&package.unpacked.name)
        })
        .map(|package| package.unpacked.name.as_str())
        .collect();
    if !unaccepted.is_empty() {
        return Err(Error::no(format!(
            "with `base = \"none\"` no script can run, and these packages have some: {}",
            unaccepted.join(", ")
        ))
        .hint("accept each by name with `accept-unconfigured = [...]` in `[debian]`, or use `base = \"essential\"`"));
    }
    let all: Vec<&StagePackage> = known.iter().collect();
    let placed = crate::ecosystem::debian::overlap::place(&[], &all, &[], &BTreeSet::new())?;
    if let Some((package, paths)) = placed.through.first_key_value() {
        return Err(Error::no(format!(
            "`{package}` has the folder `/{}`, which is a link in another package",
            paths.first().map_or("", String::as_str)
        ))
        .hint("this needs the tree of `base = \"essential\"`"));
    }
    let (unconfigured, installed): (Vec<_>, Vec<_>) =
        known.drain(..).map(|package| package.unpacked).partition(|package| package.has_scripts());
    let mut files = dpkg::database(&Existing::default(), &installed, State::Installed, epoch)?;
    let status = String::from_utf8_lossy(&files["var/lib/dpkg/status"].content).into_owned();
    let existing = Existing { status, ..Existing::default() };
    files.extend(dpkg::database(&existing, &unconfigured, State::Unpacked, epoch)?);
    files.extend(exclusion_files(graph, epoch));
    for (path, lines) in accounts::lines(&graph.lock.environment.users) {
        files.insert(path, Member { mode: 0o644, mtime: epoch, content: lines.into_bytes() });
    }
    let part = part_of_files(graph, &files)?;
    let key = Digest::of(&canonical::to_vec(&(FORMAT, "none", part.content))?);
    let result = StageResult {
        key,
        part,
        leave_out: placed.leave_out,
        writers: BTreeMap::new(),
        epoch,
        ids: Ids::default(),
        diversions: BTreeMap::new(),
    };
    store.put_keyed("stage", &key, &[result.part.content], &result)?;
    Ok(result)
}

/// A part of files that kiln writes itself.
pub fn part_of_files(graph: &Graph<'_>, files: &Files) -> Result<Part> {
    let mut builder = PartBuilder::new(graph.bakery.store)?;
    let directories: BTreeSet<&str> = files.keys().flat_map(|path| parents(path)).collect();
    for path in directories {
        builder.directory(crate::layer::part::default_directory(path));
    }
    for (path, member) in files {
        let entry = Entry {
            path: path.clone(),
            kind: Kind::File { size: member.content.len() as u64, sha256: Digest::of(&member.content) },
            mode: member.mode,
            uid: 0,
            gid: 0,
            mtime: member.mtime,
            xattrs: BTreeMap::new(),
        };
        builder.entry(&entry, &mut member.content.as_slice())?;
    }
    builder.finish()
}
