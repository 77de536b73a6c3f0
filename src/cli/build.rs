//! `kiln build`: baking environments into images, exactly as locked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use serde::Serialize;

use super::arguments::{Build, Format};
use super::context::Context;
use super::export::{Ahead, Target};
use super::kitchen::{Kitchen, fitting_lockfile};
use super::lock::{stale_error, write_lockfile};
use super::output::{bytes, count};
use super::pins;
use crate::bake::{self, Baked, Observed, Reuse};
use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};
use crate::image::Image;
use crate::lock::{Lockfile, Output, PlatformLock, Scripts};
use crate::workspace::{Platform, Workspace};

/// A line of the result.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    environment: String,
    platform: String,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<usize>,
    /// How many of the layers the store had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    reused: Option<usize>,
}

impl Row {
    fn index(name: &str, digest: &Digest) -> Self {
        Self {
            environment: name.to_owned(),
            platform: "index".to_owned(),
            digest: digest.oci(),
            state: None,
            size: None,
            layers: None,
            reused: None,
        }
    }
}

pub fn run(context: &Context, arguments: &Build) -> Result<u8> {
    let workspace = context.workspace()?;
    let names = workspace.select(&arguments.environments)?;
    build(context, &workspace, &names, arguments)
}

/// Bakes the environments `names`; the exit code.
pub fn build(context: &Context, workspace: &Workspace, names: &[String], arguments: &Build) -> Result<u8> {
    let asked = arguments.platforms.iter().map(|platform| platform.parse()).collect::<Result<Vec<Platform>>>()?;
    let targets =
        arguments.outputs.iter().map(|output| Target::parse(output, &context.directory)).collect::<Result<Vec<_>>>()?;
    if !targets.is_empty() && names.len() != 1 {
        return Err(Error::new(format!("`--output` takes one environment, {} were given", names.len()))
            .hint("name the environment: `kiln build NAME --output …`"));
    }
    let kitchen = Kitchen::new(context, workspace)?;
    let mut jobs = Vec::new();
    for name in names {
        let (lockfile, changed) = fitting_lockfile(context, workspace, name, Some(&kitchen.store))?;
        if arguments.locked && !changed.is_empty() {
            return Err(stale_error(&[(name, &changed)]));
        }
        let platforms = platforms(context, name, &lockfile, &asked)?;
        let locks = platforms.iter().map(|platform| PlatformLock::of(name, &lockfile, *platform)).collect();
        jobs.push(Job { name, lockfile, locks });
    }
    if arguments.print {
        return print_plans(context, &jobs);
    }
    if arguments.check {
        for job in &jobs {
            job.locks.iter().try_for_each(|lock| super::check::run(&kitchen, &job.lockfile, lock))?;
        }
    }
    let mut rows = Vec::new();
    let ahead = || Ahead::start(&targets, &names[0], &kitchen.store, &kitchen.ahead);
    let mut ahead = (!targets.is_empty()).then(ahead).transpose()?;
    bake_all(&kitchen, &jobs, |job, images| {
        let mut lockfile = job.lockfile.clone();
        for (lock, (image, reuse)) in job.locks.iter().zip(&images) {
            pin(&kitchen, job.name, &mut lockfile, lock, image, arguments.locked)?;
            rows.push(row(context, job.name, lock.platform.name(), image, *reuse)?);
        }
        let index = index(&kitchen, job.name, &lockfile)?;
        if let Some(index) = &index {
            if context.format != Format::Json {
                context.print(&format!("{} index {}", job.name, index.oci()))?;
            }
            rows.push(Row::index(job.name, index));
        }
        if targets.is_empty() {
            return Ok(());
        }
        let index = index.map(|_| write_index(&kitchen, job.name, &lockfile)).transpose()?.flatten();
        let baked: Vec<(Platform, Baked)> =
            job.locks.iter().zip(images).map(|(lock, (image, _))| (lock.platform, image)).collect();
        let ahead = ahead.take().map(Ahead::done).unwrap_or_default();
        targets.iter().try_for_each(|target| {
            super::export::write(&kitchen, job.name, &lockfile, &baked, index.as_ref(), target, &ahead)
        })
    })?;
    if context.format == Format::Json {
        context.report("build", &rows, Vec::new)?;
    }
    context.summarize(&summary(&rows))?;
    Ok(0)
}

/// The result as a table for the summary of a run.
fn summary(rows: &[Row]) -> String {
    let mut text =
        "### kiln build\n\n| environment | platform | digest | | size |\n|---|---|---|---|---:|\n".to_owned();
    for row in rows {
        let (state, size) = (row.state.unwrap_or_default(), row.size.map(bytes).unwrap_or_default());
        text += &format!("| {} | {} | `{}` | {state} | {size} |\n", row.environment, row.platform, row.digest);
    }
    text
}

/// An environment to bake, and for what.
struct Job<'a> {
    name: &'a str,
    lockfile: Lockfile,
    locks: Vec<PlatformLock>,
}

/// An image, and whether the store had it already.
type Finished = (Baked, Reuse);

/// Bakes all `jobs`, several at once. `done` gets each with its images, in their order; none after one that failed.
fn bake_all<'j>(
    kitchen: &Kitchen<'_>,
    jobs: &'j [Job<'_>],
    mut done: impl FnMut(&'j Job<'_>, Vec<Finished>) -> Result<()>,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..jobs.len().min(rayon::current_num_threads()) {
            let (next, sender) = (&next, sender.clone());
            threads.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let images: Result<Vec<Finished>> =
                        job.locks.iter().map(|lock| bake_one(kitchen, job, lock)).collect();
                    if images.is_err() {
                        next.store(jobs.len(), Ordering::Relaxed);
                    }
                    if sender.send((job.name, images)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut finished = BTreeMap::new();
        for job in jobs {
            while !finished.contains_key(job.name) {
                let (name, images) = receiver.recv().context(|| format!("baking `{}` ended unexpectedly", job.name))?;
                finished.insert(name, images);
            }
            let images = finished.remove(job.name).transpose()?.unwrap_or_default();
            done(job, images).inspect_err(|_| next.store(jobs.len(), Ordering::Relaxed))?;
        }
        Ok(())
    })
}

fn bake_one(kitchen: &Kitchen<'_>, job: &Job<'_>, lock: &PlatformLock) -> Result<Finished> {
    let (name, platform) = (job.name, lock.platform);
    let started = Instant::now();
    let (image, reuse) = kitchen
        .with_bakery(name, &job.lockfile, |bakery| bake::bake(bakery, &job.lockfile, lock))
        .context(|| format!("baking `{name}` for {platform}"))?;
    let (verb, reused) = match reuse {
        Reuse::Image => ("Cached", String::new()),
        Reuse::Layers(0) => ("Baked", String::new()),
        Reuse::Layers(reused) => ("Baked", format!(" ({reused} reused)")),
    };
    let layers = count(image.layers.len(), "layer");
    let what = format!("{verb} {name} for {platform}: {layers}{reused}, {}", bytes(image.size()));
    kitchen.context.progress.phase(&what, started);
    Ok((image, reuse))
}

/// An error if something else is asked for than what the lockfile is for.
pub fn require_locked(name: &str, lockfile: &Lockfile, asked: &[Platform]) -> Result<()> {
    match asked.iter().find(|platform| !lockfile.environment.platforms.contains(platform)) {
        None => Ok(()),
        Some(platform) => Err(Error::new(format!("`{name}` is not locked for {platform}"))
            .hint("add it to `platforms` in the definition, then run `kiln lock`")),
    }
}

/// Which platforms to bake: those asked for, or all of the lock's that this machine can.
fn platforms(context: &Context, name: &str, lockfile: &Lockfile, asked: &[Platform]) -> Result<Vec<Platform>> {
    let locked = &lockfile.environment.platforms;
    let here = Platform::of_this_machine();
    // Scripts are programs of the image's own architecture.
    let can = |platform: &Platform| Some(*platform) == here;
    let why = |platform: &Platform| {
        format!("`{name}` was not baked for {platform}: its packages' scripts cannot run on this machine")
    };
    require_locked(name, lockfile, asked)?;
    for platform in asked {
        if !can(platform) {
            return Err(
                Error::new(why(platform)).hint("bake it on a machine of that architecture: the lock is the same")
            );
        }
    }
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let (possible, impossible): (Vec<Platform>, Vec<Platform>) = locked.iter().partition(|platform| can(platform));
    for platform in &impossible {
        context.say(&why(platform));
    }
    if possible.is_empty() {
        return Err(Error::new(format!("this machine can bake `{name}` for none of its platforms"))
            .hint("bake it on a machine of one of these architectures"));
    }
    Ok(possible)
}

fn row(context: &Context, name: &str, platform: &str, image: &Baked, reuse: Reuse) -> Result<Row> {
    let layers = image.layers.len();
    let (state, reused) = match reuse {
        Reuse::Image => ("cached", layers),
        Reuse::Layers(reused) => ("baked", reused),
    };
    if context.format != Format::Json {
        context.print(&format!("{name} {platform} {}", image.image.manifest.oci()))?;
    }
    Ok(Row {
        environment: name.to_owned(),
        platform: platform.to_owned(),
        digest: image.image.manifest.oci(),
        state: Some(state),
        size: Some(image.size()),
        layers: Some(layers),
        reused: Some(reused),
    })
}

/// Compares what was baked with what is pinned, and pins it if nothing is.
fn pin(
    kitchen: &Kitchen<'_>,
    name: &str,
    lockfile: &mut Lockfile,
    lock: &PlatformLock,
    image: &Baked,
    locked: bool,
) -> Result<()> {
    let digest = image.lock;
    let output = Output {
        platform: lock.platform,
        platform_lock: digest,
        image: image.image.manifest,
        manifest_size: Some(image.image.manifest_size),
        layers: image.layers.clone(),
    };
    if let Some(pinned) = lockfile.output(lock.platform, &digest) {
        if pinned.image != output.image {
            return Err(super::drift::error(name, pinned, &output, &digest));
        }
        // A lock that an earlier kiln has written may lack what this one has seen.
        let known = lockfile.clone();
        observe(lockfile, lock, image);
        if locked || *lockfile == known {
            return Ok(());
        }
        return write_lockfile(kitchen.workspace, name, lockfile);
    }
    if locked {
        return Err(Error::no(format!(
            "the lockfile of `{name}` does not hold its output for {}, and `--locked` writes nothing",
            lock.platform
        ))
        .hint(format!("run `kiln build {name}` without `--locked`, and commit the lockfile")));
    }
    lockfile.outputs.retain(|output| output.platform != lock.platform);
    lockfile.outputs.push(output);
    observe(lockfile, lock, image);
    lockfile.normalize();
    write_lockfile(kitchen.workspace, name, lockfile)
        .context(|| {
            let digest = image.image.manifest.oci();
            format!("`{name}` is baked for {} as {digest}, and cannot be pinned", lock.platform)
        })
        .map_err(|error| {
            error.hint("on a checkout that cannot be written to, build what is pinned already, with `--locked`")
        })
}

/// Notes what was seen of each package, and the ids that users and groups have.
fn observe(lockfile: &mut Lockfile, lock: &PlatformLock, image: &Baked) {
    let seen: BTreeMap<Digest, &Observed> =
        lock.packages.iter().map(|package| package.sha256).zip(&image.observed).collect();
    let npm_scripts: Vec<String> = lockfile.environment.npm.as_ref().map(|npm| npm.scripts.clone()).unwrap_or_default();
    let accepted = &lockfile.environment.debian.accept_unconfigured;
    for package in &mut lockfile.packages {
        let Some(artifact) = package.artifacts.get_mut(&lock.platform) else { continue };
        let Some(observed) = seen.get(&artifact.sha256) else { continue };
        if observed.size > 0 {
            artifact.size = observed.size;
        }
        if package.ecosystem == "npm" {
            // That it has some, the registry has said.
            let run = npm_scripts.contains(&package.name);
            artifact.scripts = artifact.scripts.map(|known| match (known, run) {
                (Scripts::None, _) => Scripts::None,
                (_, true) => Scripts::Sandbox,
                (_, false) => Scripts::Unrun,
            });
            artifact.licences.clone_from(&observed.licences);
            continue;
        }
        artifact.scripts_sha256 = observed.scripts;
        artifact.scripts = Some(match observed.scripts {
            // Building it runs what it brings.
            None if artifact.built => Scripts::Sandbox,
            None => Scripts::None,
            Some(_) if accepted.contains(&package.name) => Scripts::Unrun,
            Some(_) => Scripts::Sandbox,
        });
        artifact.licences.clone_from(&observed.licences);
        artifact.diversions.clone_from(&observed.diversions);
    }
    if image.accounts.is_empty() {
        lockfile.accounts.remove(&lock.platform);
    } else {
        lockfile.accounts.insert(lock.platform, image.accounts.clone());
    }
}

/// The digest of the index of all platforms; the store knows sizes that locks of earlier kilns lack.
fn index(kitchen: &Kitchen<'_>, name: &str, lockfile: &Lockfile) -> Result<Option<Digest>> {
    let known =
        |output: &Output| bake::cached(&kitchen.store, &output.platform_lock).map(|baked| baked.image.manifest_size);
    pins::index(name, lockfile, known)
}

/// The same index in the store, with its images, if the store has them all.
fn write_index(kitchen: &Kitchen<'_>, name: &str, lockfile: &Lockfile) -> Result<Option<super::export::Index>> {
    let cached = |output: &Output| {
        let baked = bake::cached(&kitchen.store, &output.platform_lock)?;
        Some((bake::oci_platform(output.platform), baked.image))
    };
    let outputs = pins::valid(name, lockfile)?;
    let Some(images) = outputs.into_iter().map(cached).collect::<Option<Vec<(crate::image::Platform, Image)>>>() else {
        return Ok(None);
    };
    Ok(Some((crate::image::write_index(&kitchen.store, &images)?, images)))
}

/// What baking a platform would be made from.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Plan<'a> {
    environment: &'a str,
    platform: Platform,
    platform_lock: Digest,
    lock: &'a PlatformLock,
}

/// Plans are for programs to read, whatever the format.
fn print_plans(context: &Context, jobs: &[Job<'_>]) -> Result<u8> {
    let mut plans = Vec::new();
    for (job, lock) in jobs.iter().flat_map(|job| job.locks.iter().map(move |lock| (job, lock))) {
        let (platform, platform_lock) = (lock.platform, lock.digest()?);
        plans.push(Plan { environment: job.name, platform, platform_lock, lock });
    }
    let document = serde_json::json!({ "schema": { "name": "kiln/plan", "version": 1 }, "plan": plans });
    context.print(&serde_json::to_string_pretty(&document)?)?;
    Ok(0)
}
