//! Layers out of parts, and an image out of layers.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::above::{self, Stack};
use super::base_image;
use super::bins::Bin;
use super::graph::Graph;
use super::languages;
use super::making::{Arriving, Ready};
use super::owners::{self, Trace};
use super::plan::{self, Folders, Planned};
use super::stages::{self, StageResult};
use super::{Baked, Observed};
use crate::digest::Digest;
use crate::ecosystem::debian::dpkg::{Files, Member};
use crate::ecosystem::debian::package;
use crate::error::{Error, Result};
use crate::image::{self, ContainerConfig, Image, ImageSpec, LayerInfo, write_image};
use crate::layer::{Layer, Part};
use crate::lock::{LayerOutput, PlatformLock};
use crate::sandbox::Extraction;
use crate::store::Store;
use crate::workspace::{Base, Healthcheck, Platform};

/// What the history says of a configured layer.
const SCRIPTS: &str = "what the packages' scripts changed";

/// Where an image carries the lock that it was made from.
pub const LOCK_PATH: &str = "usr/share/kiln/lock.json";
/// The annotation of the descriptor of the layer with that file alone.
pub const LOCK_ANNOTATION: &str = "dev.kiln.layer.lock";

/// By package, the paths that it does not contribute.
type LeaveOut = BTreeMap<String, BTreeSet<String>>;

/// Everything that an image is put together of.
struct Composition<'a> {
    ready: Vec<Ready<'a>>,
    /// The stages of packages and the scripts of steps, in order.
    stages: Vec<StageResult>,
    layers: Vec<Planned>,
    /// The lock that the image carries.
    lock: PlatformLock,
    epoch: u64,
}

/// Bakes the image.
pub fn image(graph: &Graph<'_>) -> Result<Baked> {
    let composition = composition(graph, true)?;
    let (finished, observed) = rayon::join(
        || finish(graph, &composition.layers, composition.epoch),
        || observed(graph, &composition.ready, &composition.stages),
    );
    let ((image, layers), observed) = (finished?, observed?);
    let lock = composition.lock;
    Ok(Baked { image, layers, lock: lock.digest()?, accounts: lock.accounts, observed })
}

/// The stages of the image, and what the scripts of its steps have changed, in order.
pub fn stages(graph: &Graph<'_>) -> Result<Vec<StageResult>> {
    Ok(composition(graph, false)?.stages)
}

/// What the image's tree is made of, in order.
pub fn tree(graph: &Graph<'_>) -> Result<Vec<Extraction>> {
    Ok(plan::extractions(&composition(graph, false)?.layers))
}

/// Whose a path of the image is.
pub fn trace(graph: &Graph<'_>, path: &str) -> Result<Trace> {
    let composition = composition(graph, false)?;
    owners::trace(&composition.layers, &composition.stages, path)
}

/// Makes everything that the image is put together of; with `layers`, they are put together while scripts run.
fn composition<'a>(graph: &Graph<'a>, layers: bool) -> Result<Composition<'a>> {
    let meanwhile = |ready: &[Ready<'a>]| {
        if layers {
            early_layers(graph, ready);
            languages::early(graph);
        }
    };
    let (ready, configured) = graph.prepare(|arriving| configure(graph, &arriving), meanwhile)?;
    let (mut stack, mut stages, lock) = match base_image::of(graph.bakery.store, &graph.lock.packages)? {
        Some(image) => (base_image::stack(graph, &image)?, Vec::new(), graph.lock.clone()),
        None => on_packages(graph, &ready, configured)?,
    };
    languages::python(graph, &mut stack)?;
    languages::npm(graph, &mut stack)?;
    above::steps(graph, &mut stack)?;
    stack.layers.push(lock_layer(graph, &lock, &stack.folders)?);
    stages.extend(stack.scripts);
    Ok(Composition { ready, stages, layers: stack.layers, lock, epoch: stack.epoch })
}

/// What scripts have changed.
#[derive(Default)]
struct Configured {
    base: Option<StageResult>,
    last: Option<StageResult>,
}

/// Runs the stages, each as soon as its packages are there. If these fail to come, who makes them says why.
fn configure<'a>(graph: &Graph<'a>, arriving: &Arriving<'a>) -> Result<Configured> {
    let mut configured = Configured::default();
    if base_image::package(&graph.lock.packages).is_some() {
        return Ok(configured);
    }
    if graph.lock.environment.debian.base != Base::None {
        // Trying what this machine allows takes a moment. If it allows nothing, the stage says so.
        let _ = (graph.bakery.executor)();
        let Some(packages) = arriving.base() else { return Ok(configured) };
        configured.base = Some(stages::base(graph, &packages)?);
    }
    let Some(packages) = arriving.all() else { return Ok(configured) };
    configured.last = last_stage(graph, &packages, configured.base.as_ref())?;
    Ok(configured)
}

/// The layers of Debian's packages and what their scripts have changed, the stages, and the lock as it is then.
fn on_packages(
    graph: &Graph<'_>,
    ready: &[Ready<'_>],
    Configured { base, last }: Configured,
) -> Result<(Stack, Vec<StageResult>, PlatformLock)> {
    let (base_ready, rest_ready): (Vec<Ready<'_>>, Vec<Ready<'_>>) =
        ready.iter().cloned().partition(|ready| ready.package.base);
    let mut folders = Folders::default();
    let mut planned = Vec::new();
    if let Some(stage) = &base {
        planned.extend(bins(graph, &base_ready, &stage.leave_out, &mut folders)?);
        folders.replace(&stage.part.directories);
        planned.push(Planned::changed("base-configured", SCRIPTS, stage));
    }
    if let Some(stage) = &last {
        let packages = if base.is_none() { ready } else { &rest_ready };
        planned.extend(bins(graph, packages, &stage.leave_out, &mut folders)?);
        let name = if graph.lock.environment.debian.base == Base::None { "dpkg-database" } else { "configured" };
        // What kiln writes without a base are its own files, in folders that are the packages'.
        match base {
            None => folders.add(&stage.part.directories),
            Some(_) => folders.replace(&stage.part.directories),
        }
        planned.push(Planned::changed(name, SCRIPTS, stage));
    }
    let lock = settled_lock(graph, last.as_ref());
    let top = last.as_ref().or(base.as_ref());
    let key = top.map_or_else(|| Digest::of(b""), |stage| stage.key);
    let epoch = top.map_or(0, |stage| stage.epoch);
    let stack = Stack { layers: planned, folders, key, epoch, scripts: Vec::new() };
    Ok((stack, base.into_iter().chain(last).collect(), lock))
}

/// The lock with the ids that the last stage has given. It is what the image carries: whoever bakes from it, and
/// whatever else is in it by then, gets the same ids.
fn settled_lock(graph: &Graph<'_>, last: Option<&StageResult>) -> PlatformLock {
    let mut lock = graph.lock.clone();
    if let Some(last) = last {
        lock.accounts = lock.accounts.with(&last.ids);
    }
    lock
}

/// Puts the layers of packages together while scripts run, as they will be unless a package replaces or diverts a file
/// of another.
fn early_layers(graph: &Graph<'_>, ready: &[Ready<'_>]) {
    let (base, rest): (Vec<Ready<'_>>, Vec<Ready<'_>>) = ready.iter().cloned().partition(|ready| ready.package.base);
    let known = stages::known_base(graph, &base);
    let mut folders = Folders::default();
    let leave_out = known.as_ref().map(|stage| stage.leave_out.clone()).unwrap_or_default();
    for (packages, leave_out) in [(base, leave_out), (rest, LeaveOut::new())] {
        // What fails here fails again where it is needed, and is told there.
        if let Ok(planned) = bins(graph, &packages, &leave_out, &mut folders) {
            planned.par_iter().for_each(|planned| {
                let _ = planned.assembled(graph);
            });
        }
        if let Some(stage) = &known {
            folders.replace(&stage.part.directories);
        }
    }
}

/// The stage on top of the base, if there is anything to configure in it.
fn last_stage(graph: &Graph<'_>, ready: &[Ready<'_>], base: Option<&StageResult>) -> Result<Option<StageResult>> {
    let Some(base) = base else { return stages::without_base(graph, ready).map(Some) };
    let (below, rest): (Vec<Ready<'_>>, Vec<Ready<'_>>) = ready.iter().cloned().partition(|ready| ready.package.base);
    if rest.is_empty() && graph.lock.environment.users.is_empty() {
        return Ok(None);
    }
    stages::rest(graph, base, &below, &rest).map(Some)
}

/// The layers of packages: each bin's parts, in the order of the packages.
fn bins(
    graph: &Graph<'_>,
    packages: &[Ready<'_>],
    leave_out: &LeaveOut,
    folders: &mut Folders,
) -> Result<Vec<Planned>> {
    let mut bins: BTreeMap<Bin, (Vec<Part>, Vec<String>)> = BTreeMap::new();
    for ready in packages {
        folders.add(&ready.deb.part.directories);
        let part = graph.part_without(ready, leave_out.get(&ready.package.name))?;
        let (parts, names) = bins.entry(Graph::bin(ready)).or_default();
        parts.push(part);
        names.push(format!("{} {}", ready.package.name, ready.package.version));
    }
    Ok(bins
        .into_iter()
        .map(|(bin, (parts, names))| Planned {
            name: bin.name(),
            note: names.join(", "),
            directories: folders.of(&parts),
            parts,
            owners: names,
            disjoint: true,
            foreign: None,
        })
        .collect())
}

/// The file that carries the platform lock.
fn lock_part(graph: &Graph<'_>, lock: &PlatformLock) -> Result<Part> {
    let member = Member { mode: 0o644, mtime: 0, content: lock.to_bytes()? };
    stages::part_of_files(graph, &Files::from([(LOCK_PATH.to_owned(), member)]))
}

/// The platform lock, the only file of the last layer.
fn lock_layer(graph: &Graph<'_>, lock: &PlatformLock, folders: &Folders) -> Result<Planned> {
    let part = lock_part(graph, lock)?;
    let directories = part.directories.iter().map(|entry| folders.get(&entry.path).unwrap_or(entry).clone()).collect();
    Ok(Planned {
        name: "lock".to_owned(),
        note: "the lock that this image was made from".to_owned(),
        directories,
        parts: vec![part],
        owners: Vec::new(),
        disjoint: false,
        foreign: None,
    })
}

/// The image of the layers.
fn finish(graph: &Graph<'_>, planned: &[Planned], epoch: u64) -> Result<(Image, Vec<LayerOutput>)> {
    let layers: Vec<Layer> = planned.par_iter().map(|planned| planned.assembled(graph)).collect::<Result<_>>()?;
    let infos = planned.iter().map(|planned| LayerInfo {
        created_by: match planned.foreign {
            Some(_) => planned.note.clone(),
            None => format!("kiln: {}: {}", planned.name, planned.note),
        },
        annotations: if planned.name == "lock" {
            BTreeMap::from([(LOCK_ANNOTATION.to_owned(), "true".to_owned())])
        } else {
            BTreeMap::new()
        },
    });
    let spec = ImageSpec {
        platform: platform(graph.lock.platform),
        epoch,
        config: container_config(graph.bakery.store, graph.lock)?,
        layers: layers.iter().cloned().zip(infos).collect(),
        annotations: base_image::annotations(graph.lock),
    };
    let image = write_image(graph.bakery.store, &spec)?;
    let outputs = planned
        .iter()
        .zip(&layers)
        .map(|(planned, layer)| LayerOutput {
            name: planned.name.clone(),
            diff_id: layer.diff_id,
            digest: layer.digest,
            size: layer.size,
        })
        .collect();
    Ok((image, outputs))
}

/// What was seen of each package, in the order of the platform lock.
fn observed(graph: &Graph<'_>, ready: &[Ready<'_>], stages: &[StageResult]) -> Result<Vec<Observed>> {
    graph
        .lock
        .packages
        .par_iter()
        .map(|package| {
            let size = graph.bakery.store.size(&package.sha256).unwrap_or(0);
            if package.ecosystem != "debian" {
                return Ok(Observed { size, ..Observed::default() });
            }
            let ready = ready
                .iter()
                .find(|ready| ready.package.sha256 == package.sha256)
                .ok_or_else(|| Error::new(format!("`{}` did not become a part", package.name)))?;
            Ok(Observed {
                size,
                scripts: package::scripts(graph.bakery.store, &Graph::locked(package), &ready.deb)?,
                licences: ready.deb.licences.clone(),
                diversions: stages
                    .iter()
                    .filter_map(|stage| stage.diversions.get(&package.name))
                    .flatten()
                    .cloned()
                    .collect(),
            })
        })
        .collect()
}

/// What the configuration says of containers: what the definition says, on top of what a base image says.
pub fn container_config(store: &Store, lock: &PlatformLock) -> Result<ContainerConfig> {
    let image = &lock.environment.image;
    let below = base_image::of(store, &lock.packages)?.map(|base| base.configuration.container).unwrap_or_default();
    let mut config = below;
    // A new entrypoint without a command of its own does not want the one of another program.
    if !image.entrypoint.is_empty() {
        config.entrypoint = image.entrypoint.clone();
        config.cmd.clear();
    }
    if !image.command.is_empty() {
        config.cmd = image.command.clone();
    }
    config.user = image.user.clone().or(config.user);
    config.working_dir = image.workdir.clone().or(config.working_dir);
    config.stop_signal = image.stop_signal.clone().or(config.stop_signal);
    config.healthcheck = image.healthcheck.as_ref().map(healthcheck).or(config.healthcheck);
    config.env.extend(image.env.clone());
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    config.env.entry("PATH".to_owned()).or_insert_with(|| path.to_owned());
    config.exposed_ports.extend(image.ports.iter().cloned());
    config.volumes.extend(image.volumes.iter().cloned());
    config.labels.extend(image.labels.clone());
    Ok(config)
}

fn healthcheck(check: &Healthcheck) -> image::Healthcheck {
    let time = |text: &Option<String>| text.as_deref().and_then(Healthcheck::nanoseconds);
    image::Healthcheck {
        test: std::iter::once("CMD".to_owned()).chain(check.command.iter().cloned()).collect(),
        interval: time(&check.interval),
        timeout: time(&check.timeout),
        start_period: time(&check.start_period),
        retries: check.retries,
    }
}

/// A platform as OCI documents have it.
pub fn platform(platform: Platform) -> image::Platform {
    image::Platform {
        os: "linux".to_owned(),
        architecture: platform.architecture().to_owned(),
        variant: platform.variant().map(str::to_owned),
    }
}
