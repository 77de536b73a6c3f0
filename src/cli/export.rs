//! `kiln build --output`: an image where other tools find it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::kitchen::Kitchen;
use crate::bake::{self, Baked, oci_platform};
use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};
use crate::image::{Image, Platform as OciPlatform, Root, archive, layout};
use crate::lock::{Lockfile, PlatformLock};
use crate::sandbox::Session;
use crate::store::Store;
use crate::workspace::Platform;

/// Where an image goes.
#[derive(Clone, Debug)]
pub struct Target {
    kind: Kind,
    path: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Oci,
    OciArchive,
    DockerArchive,
    Rootfs,
    Tar,
}

const KINDS: [(&str, Kind); 5] = [
    ("oci", Kind::Oci),
    ("oci-archive", Kind::OciArchive),
    ("docker-archive", Kind::DockerArchive),
    ("rootfs", Kind::Rootfs),
    ("tar", Kind::Tar),
];

impl Target {
    /// `KIND:PATH`, the path relative to `directory`.
    pub fn parse(text: &str, directory: &Path) -> Result<Self> {
        let known = || KINDS.map(|(name, _)| format!("{name}:PATH")).join(", ");
        let (kind, path) = text.split_once(':').filter(|(_, path)| !path.is_empty()).ok_or_else(|| {
            Error::new(format!("`{text}` is not an output")).hint(format!("outputs are given as {}", known()))
        })?;
        let (_, kind) = KINDS.into_iter().find(|(name, _)| *name == kind).ok_or_else(|| {
            Error::new(format!("`{kind}` is not a kind of output")).hint(format!("there are: {}", known()))
        })?;
        Ok(Self { kind, path: directory.join(path) })
    }
}

/// What is done for layouts while scripts run, one after another, and a processor has nothing else to do.
pub struct Ahead {
    /// Set when that begins.
    begin: Arc<OnceLock<Vec<Digest>>>,
    /// Whether it is needed now.
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Done>,
}

/// By layout, what was done ahead.
pub type Done = BTreeMap<PathBuf, layout::Ahead>;

impl Ahead {
    /// Waits for `begin`, which brings layers of the image `name`.
    pub fn start(targets: &[Target], name: &str, store: &Store, begin: &Arc<OnceLock<Vec<Digest>>>) -> Result<Self> {
        let layouts = targets.iter().filter(|target| target.kind == Kind::Oci).map(|target| target.path.clone());
        let (layouts, name): (Vec<PathBuf>, String) = (layouts.collect(), name.to_owned());
        let enough = Arc::new(AtomicBool::new(false));
        let (seen, begun, store) = (Arc::clone(&enough), Arc::clone(begin), Store::open(store.root())?);
        let thread = std::thread::spawn(move || {
            let layers = begun.wait();
            let _ = rustix::process::setpriority_process(None, 19);
            let ahead = |layout: PathBuf| {
                let ahead = layout::Ahead::new(&store, &layout, &name, layers, &seen);
                (layout, ahead)
            };
            layouts.into_iter().map(ahead).collect()
        });
        Ok(Self { begin: Arc::clone(begin), enough, thread })
    }

    /// What was done up to now.
    pub fn done(self) -> Done {
        self.enough.store(true, Ordering::Relaxed);
        let _ = self.begin.set(Vec::new());
        self.thread.join().unwrap_or_default()
    }
}

/// An index in the store, with its images.
pub type Index = (Digest, Vec<(OciPlatform, Image)>);

/// Writes what was baked of the environment `name`; some of it was done `ahead` ([`Ahead`]).
pub fn write(
    kitchen: &Kitchen<'_>,
    name: &str,
    lockfile: &Lockfile,
    baked: &[(Platform, Baked)],
    index: Option<&Index>,
    target: &Target,
    ahead: &Done,
) -> Result<()> {
    let what = || format!("writing `{name}` to {}", target.path.display());
    let store = &kitchen.store;
    let root = match (index, baked) {
        (_, [(platform, baked)]) => Root::image(name, &oci_platform(*platform), &baked.image),
        (Some((digest, images)), _) => Root::index(store, name, digest, images)?,
        (None, _) => {
            return Err(
                Error::new("several platforms were baked and not all are pinned").hint("name one with `--platform`")
            )
            .context(what);
        }
    };
    let one = || match baked {
        [(platform, baked)] => Ok((*platform, baked)),
        _ => Err(Error::new("this kind of output holds one platform").hint("name it with `--platform`")),
    };
    match target.kind {
        Kind::Oci => {
            let none = layout::Ahead::default();
            layout::write(store, &root, &target.path, ahead.get(&target.path).unwrap_or(&none))
        }
        Kind::OciArchive => archive::write_oci(store, &root, &target.path),
        Kind::DockerArchive => archive::write_docker(store, name, &one()?.1.image, &target.path),
        Kind::Tar => archive::write_root(store, &one()?.1.image.layers, &target.path),
        Kind::Rootfs => {
            let (platform, _) = one()?;
            rootfs(kitchen, &PlatformLock::of(name, lockfile, platform), lockfile, &target.path)
        }
    }
    .context(what)
}

/// Puts the tree together in an empty folder, by whoever may own its files.
fn rootfs(kitchen: &Kitchen<'_>, lock: &PlatformLock, lockfile: &Lockfile, path: &Path) -> Result<()> {
    if path.exists() {
        return Err(Error::new("it exists already").hint("name a folder that does not exist"));
    }
    let tree = kitchen.with_bakery(&lock.name, lockfile, |bakery| bake::tree(bakery, lockfile, lock))?;
    let folder = path.parent().unwrap_or(path);
    let scratch = tempfile::Builder::new()
        .prefix(".kiln-")
        .tempdir_in(folder)
        .context(|| format!("making a folder in {}", folder.display()))?;
    let mut session = Session::start(
        kitchen.context.executor(&kitchen.store)?,
        scratch.path(),
        &kitchen.context.sandbox(&kitchen.store),
    )?;
    session.extract(&tree)?;
    session.keep()?;
    Ok(std::fs::rename(scratch.path().join("root"), path)?)
}
