//! The stages of an image, each run once per set of inputs: the base, shared by every environment that
//! stands on it, then the rest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::graph::Graph;
use super::making::Ready;
use super::{Progress, accounts};
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::ecosystem::debian::dpkg::{self, Existing, Files, Member, State};
use crate::ecosystem::debian::package::{self, StagePackage};
use crate::ecosystem::debian::stage::{self, Configured, Stage};
use crate::error::{Context, Error, Result};
use crate::layer::part::parents;
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::sandbox::{Executor, Extraction, Options, Session, memory};
use crate::{FORMAT, canonical};

/// Where dpkg inside the image is told what was left out.
const EXCLUSIONS: &str = "etc/dpkg/dpkg.cfg.d/kiln";

/// What a stage gave, as the store keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageResult {
    /// The hash of the stage's inputs.
    pub key: Digest,
    /// What the scripts changed.
    pub part: Part,
    /// By package, the paths that it does not contribute.
    pub leave_out: BTreeMap<String, BTreeSet<String>>,
    /// By path, the script that wrote it last.
    pub writers: BTreeMap<String, String>,
    /// The newest time of an artifact in it or below, in seconds since 1970.
    pub epoch: u64,
    /// The ids of the users and groups that its scripts have made.
    pub ids: Ids,
    /// By package, the files that it diverts.
    pub diversions: BTreeMap<String, BTreeSet<String>>,
}

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
    packages: Vec<&'a Digest>,
    exclude: &'a [String],
    preseed: BTreeMap<String, String>,
    accounts: BTreeMap<String, String>,
    /// Left out where there are none: it does not matter then.
    #[serde(skip_serializing_if = "Ids::is_empty")]
    kept: &'a Ids,
}

/// The base: the Essential set, configured.
pub fn base(graph: &Graph<'_>, packages: &[Ready<'_>]) -> Result<StageResult> {
    run(graph, &base_inputs(graph, packages, &Ids::default()))
}

/// The base's stage, if the store has it already.
pub fn known_base(graph: &Graph<'_>, packages: &[Ready<'_>]) -> Option<StageResult> {
    let none = Ids::default();
    let key = key(graph, &base_inputs(graph, packages, &none), &none).ok()?;
    graph.bakery.store.keyed("stage", &key)
}

fn base_inputs<'a>(graph: &Graph<'_>, packages: &'a [Ready<'a>], kept: &'a Ids) -> Inputs<'a> {
    let names: BTreeSet<&str> = packages.iter().map(|ready| ready.package.name.as_str()).collect();
    let preseed = graph.lock.environment.debian.preseed.clone();
    let preseed = preseed.into_iter().filter(|(question, _)| owned(question, &names)).collect();
    Inputs { stage: "base", below: None, packages, configured: &[], preseed, accounts: BTreeMap::new(), kept }
}

/// Everything else, on top of the base.
pub fn rest(
    graph: &Graph<'_>,
    below: &StageResult,
    configured: &[Ready<'_>],
    packages: &[Ready<'_>],
) -> Result<StageResult> {
    let names: BTreeSet<&str> = configured.iter().map(|ready| ready.package.name.as_str()).collect();
    let preseed = graph
        .lock
        .environment
        .debian
        .preseed
        .clone()
        .into_iter()
        .filter(|(question, _)| !owned(question, &names))
        .collect();
    let accounts = accounts::lines(&graph.lock.environment.users);
    let kept = &graph.lock.accounts;
    run(graph, &Inputs { stage: "packages", below: Some(below), packages, configured, preseed, accounts, kept })
}

/// Whether the package that asks a debconf question is among `names`.
fn owned(question: &str, names: &BTreeSet<&str>) -> bool {
    names.contains(question.split('/').next().unwrap_or_default())
}

struct Inputs<'a> {
    stage: &'static str,
    below: Option<&'a StageResult>,
    packages: &'a [Ready<'a>],
    configured: &'a [Ready<'a>],
    preseed: BTreeMap<String, String>,
    accounts: BTreeMap<String, String>,
    kept: &'a Ids,
}

fn run(graph: &Graph<'_>, inputs: &Inputs<'_>) -> Result<StageResult> {
    let store = graph.bakery.store;
    let key = key(graph, inputs, inputs.kept)?;
    if let Some(result) = store.keyed("stage", &key) {
        return Ok(result);
    }
    let _lock = store.lock_key("stage", &key)?;
    if let Some(result) = store.keyed("stage", &key) {
        return Ok(result);
    }
    (graph.bakery.progress)(Progress::Configuring { stage: inputs.stage, packages: inputs.packages.len() });
    let epoch = epoch(inputs);
    let configured = configure(graph, inputs, epoch)
        .context(|| format!("configuring the {} of `{}` for {}", inputs.stage, graph.lock.name, graph.lock.platform))?;
    let Configured { part, leave_out, writers, ids, diversions, scripts } = configured;
    (graph.bakery.progress)(Progress::Configured { stage: inputs.stage, scripts });
    let mut result = StageResult { key, part, leave_out, writers, epoch, ids, diversions };
    store.put_keyed("stage", &key, &[result.part.content], &result)?;
    // With the ids that it has given, it would have given the same: the lock will hold them from now on.
    let settled = self::key(graph, inputs, &inputs.kept.with(&result.ids))?;
    if settled != key {
        result.key = settled;
        store.put_keyed("stage", &settled, &[result.part.content], &result)?;
    }
    Ok(result)
}

fn key(graph: &Graph<'_>, inputs: &Inputs<'_>, kept: &Ids) -> Result<Digest> {
    let key = canonical::to_vec(&Key {
        format: FORMAT,
        stage: inputs.stage,
        below: inputs.below.map(|below| below.key),
        packages: inputs.packages.iter().map(|ready| &ready.package.sha256).collect(),
        exclude: &graph.lock.environment.debian.exclude,
        preseed: inputs.preseed.clone(),
        accounts: inputs.accounts.clone(),
        kept,
    })?;
    Ok(Digest::of(&key))
}

/// The newest time among a stage's artifacts and those below.
fn epoch(inputs: &Inputs<'_>) -> u64 {
    let own = inputs.packages.iter().map(|ready| ready.deb.newest_mtime).max().unwrap_or(0);
    own.max(inputs.below.map_or(0, |below| below.epoch))
}

fn configure(graph: &Graph<'_>, inputs: &Inputs<'_>, epoch: u64) -> Result<Configured> {
    let executor = (graph.bakery.executor)()?;
    refuse_without_proc(executor, inputs)?;
    // Starting a worker takes as long as reading what dpkg is told.
    let (session, packages, configured) = std::thread::scope(|threads| {
        let session = threads.spawn(|| start(graph, inputs, executor));
        let packages = stage_packages(graph, inputs.packages);
        let configured = stage_packages(graph, inputs.configured);
        (session.join(), packages, configured)
    });
    let mut session = Some(session.map_err(|_| Error::new("starting a sandbox ended unexpectedly"))??);
    let (packages, configured) = (packages?, configured?);
    let below = match inputs.below {
        None => Vec::new(),
        Some(below) => {
            extractions(&[], configured.iter().map(|package| (package.unpacked.name.as_str(), &package.part)), below)
        }
    };
    let files = if inputs.below.is_none() { exclusion_files(graph, epoch) } else { Files::new() };
    let mut stage = Stage {
        below: &below,
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
        let (mut session, scratch) = session.take().map_or_else(|| start(graph, inputs, executor), Ok)?;
        let configured = stage::configure(&mut session, &stage, &unpacked);
        graph.bakery.endings.end(session, scratch);
        if let Some(configured) = configured? {
            return Ok(configured);
        }
        // What is not right is found as it is placed then, and something else is placed.
        stage.ahead = false;
    }
}

/// A session for a stage, and the place where it is, which must outlive it.
fn start(graph: &Graph<'_>, inputs: &Inputs<'_>, executor: Executor) -> Result<(Session, TempDir)> {
    let bakery = graph.bakery;
    let parts = inputs.configured.iter().chain(inputs.packages).map(|ready| &ready.deb.part);
    let options = Options {
        program: bakery.program.clone(),
        store: bakery.store.root().to_owned(),
        network: false,
        binds: Vec::new(),
        jobs: rayon::current_num_threads(),
        in_memory: in_memory(bakery.tree_memory, parts.chain(inputs.below.map(|below| &below.part))),
    };
    let scratch = bakery.store.scratch()?;
    let session = Session::start(executor, scratch.path(), &options)?;
    Ok((session, scratch))
}

/// Whether the tree fits into memory, with plenty left for everything else. Making and removing thousands of files
/// takes longer on a disk than some packages' scripts run.
pub fn in_memory<'p>(limit: u64, parts: impl Iterator<Item = &'p Part>) -> bool {
    let size: u64 = parts.map(|part| part.tar_size).sum();
    // As many bakes as there are threads may ask this at once.
    size <= limit && memory::has(2 * size * (1 + rayon::current_num_threads() as u64))
}

/// A plain chroot has no `/proc`: better no image than another one.
fn refuse_without_proc(executor: Executor, inputs: &Inputs<'_>) -> Result<()> {
    let mut all = inputs.configured.iter().chain(inputs.packages).map(|ready| ready.package.name.as_str());
    match all.find(|name| executor == Executor::Chroot && needs_proc(name)) {
        None => Ok(()),
        Some(name) => Err(Error::new(format!(
            "the scripts of `{name}` need /proc, which the executor `{executor}` has not: the image would be another one"
        ))
        .hint("allow namespaces: run kiln as an ordinary user with subordinate ids, or as root with CAP_SYS_ADMIN")),
    }
}

/// Packages by name, and what configuring them changed, as a tree is made of them on top of `below`.
pub fn extractions<'p>(
    below: &[Extraction],
    packages: impl Iterator<Item = (&'p str, &'p Part)>,
    result: &StageResult,
) -> Vec<Extraction> {
    let known = below.iter().flat_map(|extraction| &extraction.directories).map(|directory| directory.path.as_str());
    let mut all = stage::placement(known, packages.map(|(name, part)| (part, result.leave_out.get(name))));
    all.push(Extraction {
        directories: result.part.directories.clone(),
        parts: vec![result.part.clone()],
        ..Extraction::default()
    });
    all
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
