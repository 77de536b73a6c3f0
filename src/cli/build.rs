//! `kiln build`: baking environments into images, exactly as locked.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::arguments::{Build, Format};
use super::context::{Context, program};
use super::export::Target;
use super::lock::{compare, stale_error, write_lockfile};
use super::output::{bytes, count};
use crate::bake::{self, Baked, Bakery, Progress};
use crate::digest::Digest;
use crate::ecosystem::debian::sources::Sources;
use crate::error::{Context as _, Error, Result};
use crate::image::Image;
use crate::lock::{Lockfile, Output, PlatformLock, Scripts};
use crate::net::{Client, Event};
use crate::resolve::Locator;
use crate::store::Store;
use crate::workspace::{Platform, Workspace};

/// What commands that read locks and bake have in common.
#[derive(Debug)]
pub struct Kitchen<'a> {
    pub context: &'a Context,
    pub workspace: &'a Workspace,
    pub store: Store,
    pub sources: Sources,
    pub client: Client,
}

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
        }
    }
}

impl<'a> Kitchen<'a> {
    pub fn new(context: &'a Context, workspace: &'a Workspace) -> Result<Self> {
        let sources = context.sources(Some(workspace))?;
        let client = context.client(&sources)?;
        Ok(Self { context, workspace, store: context.store()?, sources, client })
    }

    /// The lockfile of an environment; an error that says why if it is missing or stale.
    pub fn lockfile(&self, name: &str) -> Result<Lockfile> {
        fitting_lockfile(self.workspace, name)
    }

    /// Calls `act` with what baking from `lockfile` needs.
    pub fn with_bakery<T>(&self, lockfile: &Lockfile, act: impl FnOnce(&Bakery<'_>) -> Result<T>) -> Result<T> {
        let locator =
            Locator::new(self.workspace, &self.store, &self.client, &self.sources, self.context.now, lockfile);
        let candidates = |origin: &str, path: &str, size: u64| locator.candidates(origin, path, size);
        let executor = || self.context.executor(&self.store);
        let progress = |progress: Progress| show(self.context, progress);
        act(&Bakery {
            store: &self.store,
            client: &self.client,
            candidates: &candidates,
            executor: &executor,
            program: program(),
            progress: &progress,
        })
    }
}

/// The lockfile of an environment; an error that says why if it is missing or stale.
pub fn fitting_lockfile(workspace: &Workspace, name: &str) -> Result<Lockfile> {
    let (_, lockfile, reasons) = compare(workspace, name)?;
    match lockfile {
        Some(lockfile) if reasons.is_empty() => Ok(lockfile),
        _ => Err(stale_error(&[(name, &reasons)])),
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
    let mut rows = Vec::new();
    let mut plans = Vec::new();
    for name in names {
        let mut lockfile = kitchen.lockfile(name)?;
        let platforms = platforms(context, name, &lockfile, &asked)?;
        if arguments.print {
            plans.extend(plan(name, &lockfile, &platforms)?);
            continue;
        }
        let mut baked = Vec::new();
        for platform in &platforms {
            let lock = PlatformLock::of(name, &lockfile, *platform);
            if arguments.check {
                super::check::run(&kitchen, &lockfile, &lock)?;
            }
            let started = Instant::now();
            let (image, cached) = kitchen
                .with_bakery(&lockfile, |bakery| bake::bake(bakery, &lockfile, &lock))
                .context(|| format!("baking `{name}` for {platform}"))?;
            if !cached {
                let layers = count(image.layers.len(), "layer");
                let size = bytes(image.size());
                context.progress.phase(&format!("Baked {name} for {platform}: {layers}, {size}"), started);
            }
            pin(&kitchen, name, &mut lockfile, &lock, &image, arguments.locked)?;
            rows.push(row(context, name, platform.name(), &image, cached)?);
            baked.push((*platform, image));
        }
        let index = index(&kitchen, name, &lockfile)?;
        if let Some(index) = &index {
            if context.format == Format::Text {
                context.print(&format!("{name} index {}", index.oci()))?;
            }
            rows.push(Row::index(name, index));
        }
        if !targets.is_empty() {
            let index = index.map(|_| write_index(&kitchen, name, &lockfile)).transpose()?.flatten();
            for target in &targets {
                super::export::write(&kitchen, name, &lockfile, &baked, index.as_ref(), target)?;
            }
        }
    }
    if arguments.print {
        return print_plans(context, &plans);
    }
    if context.format == Format::Json {
        context.report("build", &rows, Vec::new)?;
    }
    Ok(0)
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
    for platform in asked {
        if !locked.contains(platform) {
            return Err(Error::new(format!("`{name}` is not locked for {platform}"))
                .hint("add it to `platforms` in the definition, then run `kiln lock`"));
        }
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

fn row(context: &Context, name: &str, platform: &str, image: &Baked, cached: bool) -> Result<Row> {
    let state = if cached { "cached" } else { "baked" };
    if context.format == Format::Text {
        context.print(&format!("{name} {platform} {}", image.image.manifest.oci()))?;
    }
    Ok(Row {
        environment: name.to_owned(),
        platform: platform.to_owned(),
        digest: image.image.manifest.oci(),
        state: Some(state),
        size: Some(image.size()),
        layers: Some(image.layers.len()),
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
    let digest = lock.digest()?;
    let output = Output {
        platform: lock.platform,
        platform_lock: digest,
        image: image.image.manifest,
        manifest_size: Some(image.image.manifest_size),
        layers: image.layers.clone(),
    };
    if let Some(pinned) = lockfile.output(lock.platform, &digest) {
        return if pinned.image == output.image {
            Ok(())
        } else {
            Err(super::drift::error(name, pinned, &output, &digest))
        };
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
    observe(lockfile, lock, &image.scripts);
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

/// Notes what was seen of each package's scripts.
fn observe(lockfile: &mut Lockfile, lock: &PlatformLock, scripts: &[Option<Digest>]) {
    let seen: BTreeMap<Digest, Option<Digest>> =
        lock.packages.iter().map(|package| package.sha256).zip(scripts.iter().copied()).collect();
    let accepted = &lockfile.environment.debian.accept_unconfigured;
    for package in &mut lockfile.packages {
        let Some(artifact) = package.artifacts.get_mut(&lock.platform) else { continue };
        let Some(digest) = seen.get(&artifact.sha256) else { continue };
        artifact.scripts_sha256 = *digest;
        artifact.scripts = Some(match digest {
            None => Scripts::None,
            Some(_) if accepted.contains(&package.name) => Scripts::Unrun,
            Some(_) => Scripts::Sandbox,
        });
    }
}

/// The digest of the index of all platforms, when there are several and all are pinned: whichever of them
/// this machine bakes.
fn index(kitchen: &Kitchen<'_>, name: &str, lockfile: &Lockfile) -> Result<Option<Digest>> {
    let platforms = &lockfile.environment.platforms;
    let mut manifests = Vec::new();
    for output in valid_outputs(name, lockfile)? {
        let known = || bake::cached(&kitchen.store, &output.platform_lock).map(|baked| baked.image.manifest_size);
        let Some(size) = output.manifest_size.or_else(known) else { return Ok(None) };
        manifests.push((bake::oci_platform(output.platform), output.image, size));
    }
    if platforms.len() < 2 || manifests.len() < platforms.len() {
        return Ok(None);
    }
    crate::image::index_digest(&manifests).map(Some)
}

/// The outputs that were made from what the lock says now.
fn valid_outputs<'l>(name: &str, lockfile: &'l Lockfile) -> Result<Vec<&'l Output>> {
    let mut valid = Vec::new();
    for platform in &lockfile.environment.platforms {
        valid.extend(lockfile.output(*platform, &PlatformLock::of(name, lockfile, *platform).digest()?));
    }
    Ok(valid)
}

/// The same index in the store, with its images, if the store has them all.
fn write_index(kitchen: &Kitchen<'_>, name: &str, lockfile: &Lockfile) -> Result<Option<super::export::Index>> {
    let cached = |output: &Output| {
        let baked = bake::cached(&kitchen.store, &output.platform_lock)?;
        Some((bake::oci_platform(output.platform), baked.image))
    };
    let outputs = valid_outputs(name, lockfile)?;
    let Some(images) = outputs.into_iter().map(cached).collect::<Option<Vec<(crate::image::Platform, Image)>>>() else {
        return Ok(None);
    };
    Ok(Some((crate::image::write_index(&kitchen.store, &images)?, images)))
}

/// What baking a platform would be made from.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Plan {
    environment: String,
    platform: Platform,
    platform_lock: Digest,
    lock: PlatformLock,
}

fn plan(name: &str, lockfile: &Lockfile, platforms: &[Platform]) -> Result<Vec<Plan>> {
    platforms
        .iter()
        .map(|platform| {
            let lock = PlatformLock::of(name, lockfile, *platform);
            Ok(Plan { environment: name.to_owned(), platform: *platform, platform_lock: lock.digest()?, lock })
        })
        .collect()
}

/// Plans are for programs to read, whatever the format.
fn print_plans(context: &Context, plans: &[Plan]) -> Result<u8> {
    let document = serde_json::json!({ "schema": { "name": "kiln/plan", "version": 1 }, "plan": plans });
    context.print(&serde_json::to_string_pretty(&document)?)?;
    Ok(0)
}

fn show(context: &Context, progress: Progress) {
    let bars = &context.progress;
    match progress {
        Progress::Fetching { count, bytes } => bars.start(&format!("Fetching {count} artifacts"), Some(bytes), true),
        Progress::Download(event) => {
            if let Event::Progress { bytes, .. } = event {
                bars.advance_first("Fetching", bytes);
            }
        }
        Progress::Part { name, total } => {
            bars.end_first("Fetching");
            bars.start_once("Unpacking", total as u64);
            bars.advance("Unpacking", 1, &name);
        }
        Progress::Configuring { stage, packages } => {
            bars.start(&format!("Configuring the {stage} ({packages})"), None, false)
        }
        Progress::Configured { stage } => bars.end_first(&format!("Configuring the {stage}")),
        Progress::Layer { name } => bars.advance("Layers", 1, &name),
    }
}
