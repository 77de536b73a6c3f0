//! Layers out of parts, and an image out of layers.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::above::{self, Stack};
use super::base_image;
use super::bins::Bin;
use super::graph::Graph;
use super::ground::{self, Coming};
use super::kept_tree;
use super::languages;
use super::making::{Arriving, Ready};
use super::owners::{self, Trace};
use super::plan::{self, Folders, Planned};
use super::stage_result::StageResult;
use super::stages;
use super::{Baked, Observed, Progress};
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
struct Composition {
    /// The stages of packages and the scripts of steps, in order.
    stages: Vec<StageResult>,
    layers: Vec<Planned>,
    /// The lock that the image carries.
    lock: PlatformLock,
    epoch: u64,
}

/// Bakes the image.
pub fn image(graph: &Graph<'_>) -> Result<Baked> {
    let base = stages::known_base(graph);
    let meanwhile = |ready: &[Ready<'_>]| {
        let layers = early_layers(graph, ready);
        languages::early(graph);
        let observed = observed(graph, ready);
        (graph.bakery.progress)(Progress::Ahead { layers });
        keep_tree(graph, base.as_ref(), ready);
        observed
    };
    let (composition, observed) = composition(graph, meanwhile)?;
    let (image, layers) = finish(graph, &composition.layers, composition.epoch)?;
    let (lock, mut observed) = (composition.lock, observed?);
    let all = lock.packages.iter().zip(&mut observed);
    for (package, observed) in all.filter(|(package, _)| package.ecosystem == "debian") {
        let diversions = composition.stages.iter().filter_map(|stage| stage.diversions.get(&package.name));
        observed.diversions = diversions.flatten().cloned().collect();
    }
    Ok(Baked { image, layers, lock: lock.digest()?, accounts: lock.accounts, observed })
}

/// The stages of the image, and what the scripts of its steps have changed, in order.
pub fn stage_results(graph: &Graph<'_>) -> Result<Vec<StageResult>> {
    Ok(composition(graph, |_| ())?.0.stages)
}

/// What the image's tree is made of, in order.
pub fn tree(graph: &Graph<'_>) -> Result<Vec<Extraction>> {
    Ok(plan::extractions(&composition(graph, |_| ())?.0.layers))
}

/// Whose a path of the image is.
pub fn trace(graph: &Graph<'_>, path: &str) -> Result<Trace> {
    let (composition, ()) = composition(graph, |_| ())?;
    owners::trace(&composition.layers, &composition.stages, path)
}

/// Makes everything that the image is put together of. `meanwhile` is called while scripts run ([`Graph::prepare`]).
fn composition<'a, M>(graph: &Graph<'a>, meanwhile: impl FnOnce(&[Ready<'a>]) -> M) -> Result<(Composition, M)> {
    let base = stages::known_base(graph);
    let (held, configure) = (base.is_some(), |arriving| configure(graph, &arriving, base));
    let (ready, configured, meanwhile) = graph.prepare(held, configure, meanwhile)?;
    let (mut stack, mut stages, lock) = match base_image::of(graph.bakery.store, &graph.lock.packages)? {
        Some(image) => (base_image::stack(graph, &image)?, Vec::new(), graph.lock.clone()),
        None => on_packages(graph, &ready, configured)?,
    };
    languages::python(graph, &mut stack)?;
    languages::npm(graph, &mut stack)?;
    above::steps(graph, &mut stack)?;
    stack.layers.push(lock_layer(graph, &lock, &stack.folders)?);
    stages.extend(stack.scripts);
    Ok((Composition { stages, layers: stack.layers, lock, epoch: stack.epoch }, meanwhile))
}

/// What scripts have changed.
#[derive(Default)]
struct Configured {
    base: Option<StageResult>,
    last: Option<StageResult>,
}

/// Runs the stages, each as soon as its packages are there; `base` if that is not known. If packages fail to come, who
/// makes them says why.
fn configure<'a>(graph: &Graph<'a>, arriving: &Arriving<'a>, base: Option<StageResult>) -> Result<Configured> {
    if base_image::package(&graph.lock.packages).is_some() {
        return Ok(Configured::default());
    }
    if graph.lock.environment.debian.base == Base::None {
        let Some(packages) = arriving.all() else { return Ok(Configured::default()) };
        return Ok(Configured { base: None, last: Some(stages::without_base(graph, &packages)?) });
    }
    let first = stages::first_tree(graph, base.as_ref());
    std::thread::scope(|threads| {
        // Starting a sandbox, and trying what this machine allows, takes as long as reading the base.
        let mut empty = first.map(|tree| threads.spawn(move || ground::early(graph, &tree)));
        let Some(packages) = arriving.base() else { return Ok(Configured::default()) };
        let base = base.map_or_else(|| stages::base(graph, &packages, &mut empty), Ok)?;
        let last = if stages::has_rest(graph) { last_stage(graph, arriving, &packages, &base, empty)? } else { None };
        Ok(Configured { base: Some(base), last })
    })
}

/// The stage on top of the base. While its packages are still being read, the tree that they come upon is put together.
fn last_stage<'a>(
    graph: &Graph<'a>,
    arriving: &Arriving<'a>,
    packages: &[Ready<'a>],
    base: &StageResult,
    empty: Option<Coming<'_>>,
) -> Result<Option<StageResult>> {
    std::thread::scope(|threads| {
        let ground = (!stages::is_rest_known(graph, base))
            .then(|| threads.spawn(move || ground::on_base(graph, base, packages, empty)));
        let Some(all) = arriving.all() else { return Ok(None) };
        let rest: Vec<Ready<'_>> = all.into_iter().filter(|ready| !ready.package.base).collect();
        stages::rest(graph, base, packages, &rest, &mut { ground }).map(Some)
    })
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
/// of another; their digests.
fn early_layers(graph: &Graph<'_>, ready: &[Ready<'_>]) -> Vec<Digest> {
    let (base, rest): (Vec<Ready<'_>>, Vec<Ready<'_>>) = ready.iter().cloned().partition(|ready| ready.package.base);
    let known = stages::known_base(graph);
    let mut folders = Folders::default();
    let leave_out = known.as_ref().map(|stage| stage.leave_out.clone()).unwrap_or_default();
    let mut layers = Vec::new();
    for (packages, leave_out) in [(base, leave_out), (rest, LeaveOut::new())] {
        // What fails here fails again where it is needed, and is told there.
        if let Ok(planned) = bins(graph, &packages, &leave_out, &mut folders) {
            let made = planned.par_iter().filter_map(|planned| planned.assembled(graph).ok());
            layers.par_extend(made.map(|layer| layer.digest));
        }
        if let Some(stage) = &known {
            folders.replace(&stage.part.directories);
        }
    }
    layers
}

/// Keeps the tree of a base that this image is not the first to stand on: there will be others. What goes wrong with that
/// does not matter to this one.
fn keep_tree(graph: &Graph<'_>, base: Option<&StageResult>, ready: &[Ready<'_>]) {
    let Some(base) = base.filter(|_| stages::has_rest(graph)) else { return };
    let packages: Vec<Ready<'_>> = ready.iter().filter(|ready| ready.package.base).cloned().collect();
    let _ = kept_tree::keep(graph.bakery.store, base, &packages);
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

/// What can be seen of each package without its scripts, in the order of the platform lock.
fn observed(graph: &Graph<'_>, ready: &[Ready<'_>]) -> Result<Vec<Observed>> {
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
                diversions: BTreeSet::new(),
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
