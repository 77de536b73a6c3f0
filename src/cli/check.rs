//! `kiln build --check`: baking twice under different conditions, and naming every path that differs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::kitchen::Kitchen;
use crate::bake::{self, Baked, Bakery, Difference, Ground, StageResult};
use crate::error::{Context as _, Error, Result};
use crate::lock::{Lockfile, PlatformLock};
use crate::sandbox::{Executor, Session};
use crate::store::Store;

/// How many differing paths are shown.
const SHOWN: usize = 50;

/// What a bake gave.
struct Outcome {
    baked: Baked,
    stages: Vec<StageResult>,
}

/// Bakes once in the store and once beside it: at another place, with nothing but the artifacts, by
/// another executor where this machine has one, with another number of jobs, under another umask, and
/// later by the clock.
pub fn run(kitchen: &Kitchen<'_>, lockfile: &Lockfile, lock: &PlatformLock) -> Result<()> {
    let usual = kitchen.context.executor(&kitchen.store)?;
    let other = another_executor(kitchen, usual)?;
    let first = kitchen.with_bakery(&lock.name, lockfile, |bakery| {
        // The artifacts must be there even where everything made from them is known already.
        bake::fetch(bakery, lockfile, lock)?;
        outcome(
            &Bakery { start: &|in_memory| start(kitchen, bakery.store, usual, in_memory), ..*bakery },
            lockfile,
            lock,
        )
    })?;
    kitchen.context.progress.start("Baking again to compare", None, false);
    let second = again(kitchen, lockfile, lock, other);
    // Some packages cannot be baked by every executor: then by the same one.
    let (second, other) = match second {
        Err(error) if other != usual => {
            kitchen.context.say(&format!("{} {}: not compared with {other}: {error}", lock.name, lock.platform));
            (again(kitchen, lockfile, lock, usual), usual)
        }
        second => (second, other),
    };
    kitchen.context.progress.end("Baking again to compare");
    let second = second.context(|| format!("baking `{}` a second time, with the executor {other}", lock.name))?;
    if first.baked == second.baked {
        let executors = if usual == other { format!("{usual} twice") } else { format!("{usual} and {other}") };
        kitchen.context.say(&format!(
            "{} {}: two bakes under different conditions agree (executors: {executors})",
            lock.name, lock.platform
        ));
        return Ok(());
    }
    Err(not_reproducible(lock, &first, &second))
}

fn not_reproducible(lock: &PlatformLock, first: &Outcome, second: &Outcome) -> Error {
    let differences: Vec<Difference> =
        first.stages.iter().zip(&second.stages).flat_map(|(one, other)| bake::compare(one, other)).collect();
    let count = differences.len();
    let mut lines: Vec<String> = differences.iter().take(SHOWN).map(Difference::to_string).collect();
    if count > SHOWN {
        lines.push(format!("and {} more", count - SHOWN));
    }
    let message = format!("`{}` for {} is not reproducible", lock.name, lock.platform);
    if lines.is_empty() {
        // Nothing but kiln itself is left to blame.
        lines = layers_that_differ(&first.baked, &second.baked);
        return Error::no(format!("{message}: the scripts left the same, and yet the images differ"))
            .detail(lines.join("\n"))
            .hint("this is a mistake in kiln: please report it with the lockfile");
    }
    let paths = if count == 1 { "1 path differs" } else { &format!("{count} paths differ") };
    Error::no(format!("{message}: {paths} between two bakes"))
        .detail(lines.join("\n"))
        .hint("the script named beside each path wrote it last; `kiln rules` lists what is mended already")
}

fn layers_that_differ(first: &Baked, second: &Baked) -> Vec<String> {
    let pairs = first.layers.iter().zip(&second.layers);
    let mut lines: Vec<String> = pairs
        .filter(|(one, other)| one != other)
        .map(|(one, other)| format!("layer `{}`: {} and {}", one.name, one.digest.oci(), other.digest.oci()))
        .collect();
    lines.push(format!("manifest: {} and {}", first.image.manifest.oci(), second.image.manifest.oci()));
    lines
}

fn outcome(bakery: &Bakery<'_>, lockfile: &Lockfile, lock: &PlatformLock) -> Result<Outcome> {
    let (baked, _) = bake::bake(bakery, lockfile, lock)?;
    Ok(Outcome { baked, stages: bake::stages(bakery, lockfile, lock)? })
}

/// The second bake.
fn again(kitchen: &Kitchen<'_>, lockfile: &Lockfile, lock: &PlatformLock, executor: Executor) -> Result<Outcome> {
    let scratch = kitchen.store.scratch()?;
    let store = Store::open(&scratch.path().join("another/place"))?;
    for digest in bake::inputs(&kitchen.store, lock)? {
        let target = store.blob_path(&digest);
        fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        let source = kitchen.store.blob_path(&digest);
        // File systems without hard links, and files of another user, are copied.
        fs::hard_link(&source, &target)
            .or_else(|_| fs::copy(&source, &target).map(drop))
            .context(|| format!("copying {} to {}", source.display(), target.display()))?;
    }
    let endings = bake::Endings::default();
    // What a script writes down of the time in seconds is to differ.
    std::thread::sleep(Duration::from_millis(1100));
    // One of them waits for the others: baking is started from a thread that does no work itself.
    let jobs = if rayon::current_num_threads() == 2 { 4 } else { 3 };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().context(|| "starting threads")?;
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let result = kitchen.with_bakery(&lock.name, lockfile, |bakery| {
        let bakery = Bakery {
            store: &store,
            client: bakery.client,
            candidates: bakery.candidates,
            blob_candidates: bakery.blob_candidates,
            start: &|in_memory| start(kitchen, &store, executor, in_memory),
            progress: &|_| {},
            // On another file system: what lists a folder finds another order.
            tree_memory: 0,
            turns: &bake::Turns::default(),
            endings: &endings,
        };
        pool.install(|| outcome(&bakery, lockfile, lock))
    });
    rustix::process::umask(umask);
    result
}

fn start(kitchen: &Kitchen<'_>, store: &Store, executor: Executor, in_memory: bool) -> Result<Ground> {
    kitchen.context.start(store, executor, in_memory, Session::start)
}

/// The first executor that works here and is not the usual one; the usual one if there is no other, or if
/// it was asked for by name.
fn another_executor(kitchen: &Kitchen<'_>, usual: Executor) -> Result<Executor> {
    if kitchen.context.executor.is_some() {
        return Ok(usual);
    }
    let scratch = kitchen.store.scratch()?;
    let options = kitchen.context.sandbox(&kitchen.store);
    let mut others = Executor::ALL.into_iter().filter(|other| *other != usual);
    Ok(others.find(|other| other.probe(scratch.path(), &options).is_ok()).unwrap_or(usual))
}
