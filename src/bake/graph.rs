//! One image being baked: who waits for whom.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::bins::Bin;
use super::{Bakery, Progress};
use crate::digest::Digest;
use crate::ecosystem::debian::exclusions::Exclusions;
use crate::ecosystem::debian::package::{self, Locked};
use crate::ecosystem::debian::part::DebPart;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::Part;
use crate::lock::{LayerOutput, Lockfile, PlatformLock, PlatformPackage};
use crate::net::Download;
use crate::sandbox::Session;
use crate::workspace::Base;

/// One image being baked.
pub struct Graph<'a> {
    pub bakery: &'a Bakery<'a>,
    pub lockfile: &'a Lockfile,
    pub lock: &'a PlatformLock,
    pub exclusions: Exclusions,
    /// Debian's packages in the order in which they are unpacked: the base first.
    pub order: Vec<&'a PlatformPackage>,
    /// The other ecosystems' packages.
    others: Vec<&'a PlatformPackage>,
    /// The layers that were put together for this image, and were not in the store before.
    made: Mutex<BTreeSet<Digest>>,
    /// Sandboxes that are being cleared away while other work goes on.
    ending: Mutex<Vec<JoinHandle<()>>>,
}

/// A package that has become a part.
#[derive(Clone, Debug)]
pub struct Ready<'a> {
    pub package: &'a PlatformPackage,
    /// Shared: it lists thousands of files, and everyone gets one.
    pub deb: Arc<DebPart>,
}

impl<'a> Graph<'a> {
    pub fn new(bakery: &'a Bakery<'a>, lockfile: &'a Lockfile, lock: &'a PlatformLock) -> Result<Self> {
        let exclusions = Exclusions::new(&lock.environment.debian.exclude)?;
        let mut order: Vec<&PlatformPackage> =
            lock.packages.iter().filter(|package| package.ecosystem == "debian").collect();
        // base-files brings the folders and links that everything else stands in.
        order.sort_by_key(|package| (!package.base, package.name != "base-files", package.name.as_str()));
        let others = lock.packages.iter().filter(|package| package.ecosystem != "debian").collect();
        Ok(Self { bakery, lockfile, lock, exclusions, order, others, made: Mutex::default(), ending: Mutex::default() })
    }

    /// Fetches what the store lacks. `done` is told the index of each of Debian's packages as it is there.
    pub fn fetch(&self, done: &(dyn Fn(usize) + Sync)) -> Result<()> {
        let store = self.bakery.store;
        let mut downloads = self.downloads()?;
        // The base is waited for first. The largest take longest, and are not left for the end.
        downloads.sort_by_key(|(base, index, download)| (!base, Reverse(download.size), *index));
        let (indices, downloads): (Vec<usize>, Vec<Download>) =
            downloads.into_iter().map(|(_, index, download)| (index, download)).unzip();
        let missing: Vec<u64> = downloads
            .iter()
            .filter(|download| !store.contains(&download.digest))
            .map(|download| download.size.unwrap_or_default())
            .collect();
        if !missing.is_empty() {
            (self.bakery.progress)(Progress::Fetching { count: missing.len(), bytes: missing.iter().sum() });
        }
        self.require_reachable(&downloads)?;
        let progress = |event| (self.bakery.progress)(Progress::Download(event));
        let done = |position: usize| {
            let index = indices[position];
            if index < self.order.len() {
                done(index);
            }
        };
        self.bakery.client.download_all(store, &downloads, &progress, &done)?;
        (self.bakery.progress)(Progress::Fetched);
        Ok(())
    }

    /// What an image is made of: whether it is of the base, the index of its package among all, and where it is.
    fn downloads(&self) -> Result<Vec<(bool, usize, Download)>> {
        let store = self.bakery.store;
        let mut origins = BTreeMap::new();
        for package in &self.lockfile.packages {
            if let Some(artifact) = package.artifacts.get(&self.lock.platform) {
                origins.insert(artifact.sha256, (package, artifact));
            }
        }
        let mut downloads = Vec::new();
        for (index, package) in self.order.iter().chain(&self.others).enumerate() {
            let (locked, artifact) = origins[&package.sha256];
            let candidates =
                if store.contains(&package.sha256) { Vec::new() } else { (self.bakery.candidates)(locked, artifact)? };
            let download = Download {
                label: format!("{} {}", package.name, package.version),
                digest: package.sha256,
                size: Some(artifact.size).filter(|size| *size > 0),
                candidates,
            };
            downloads.push((package.base, index, download));
        }
        for (package, artifact) in origins.values() {
            for blob in &artifact.blobs {
                let there = store.contains(&blob.sha256);
                let candidates = if there { Vec::new() } else { (self.bakery.blob_candidates)(package, blob)? };
                let label = format!("the blob {} of {}", blob.sha256.oci(), package.name);
                let download = Download { label, digest: blob.sha256, size: Some(blob.size), candidates };
                downloads.push((false, usize::MAX, download));
            }
        }
        Ok(downloads)
    }

    /// Offline, what the store lacks and no file of this machine has cannot be had.
    fn require_reachable(&self, downloads: &[Download]) -> Result<()> {
        if !self.bakery.client.is_offline() {
            return Ok(());
        }
        let is_out_of_reach = |download: &&Download| {
            !self.bakery.store.contains(&download.digest)
                && download.candidates.iter().all(|request| request.address.file_path().is_none())
        };
        let lacking: Vec<&str> =
            downloads.iter().filter(is_out_of_reach).map(|download| download.label.as_str()).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Error::new(format!(
            "kiln was told to work offline, and the store lacks {} of {} artifacts",
            lacking.len(),
            downloads.len()
        ))
        .kind(Kind::Network)
        .detail(lacking.join("\n"))
        .hint(format!("`kiln fetch {}` gets them where there is a network", self.lock.name)))
    }

    pub fn locked(package: &PlatformPackage) -> Locked<'_> {
        Locked {
            name: &package.name,
            version: &package.version,
            architecture: &package.architecture,
            sha256: package.sha256,
        }
    }

    fn ready(&self, package: &'a PlatformPackage, leave_out: &BTreeSet<String>) -> Result<Ready<'a>> {
        let deb = package::part(self.bakery.store, &Self::locked(package), &self.exclusions, leave_out)?;
        Ok(Ready { package, deb: Arc::new(deb) })
    }

    /// A package as a part; one of the base is not compressed yet: its scripts need not wait for that.
    fn first_part(&self, package: &'a PlatformPackage) -> Result<Ready<'a>> {
        if !package.base {
            return self.ready(package, &BTreeSet::new());
        }
        let deb = package::plain_part(self.bakery.store, &Self::locked(package), &self.exclusions)?;
        Ok(Ready { package, deb: Arc::new(deb) })
    }

    fn compressed(&self, begun: Ready<'a>) -> Result<Ready<'a>> {
        if begun.deb.part.is_compressed() {
            return Ok(begun);
        }
        let locked = Self::locked(begun.package);
        let deb =
            package::compressed_part(self.bakery.store, &locked, &self.exclusions, Arc::unwrap_or_clone(begun.deb))?;
        Ok(Ready { package: begun.package, deb: Arc::new(deb) })
    }

    /// Makes every package a part. `configure_base` is called with the base's as soon as they are there, though not
    /// compressed yet, beside the others' becoming parts; not without a base. While it goes on, `meanwhile` is called
    /// with all of them.
    pub fn prepare<T: Send>(
        &self,
        configure_base: impl FnOnce(&[Ready<'a>]) -> Result<T> + Send,
        meanwhile: impl FnOnce(&[Ready<'a>]),
    ) -> Result<(Vec<Ready<'a>>, Option<T>)> {
        let has_base = self.lock.environment.debian.base != Base::None;
        std::thread::scope(|threads| {
            // The base's stage waits on its own thread for its packages, then runs beside the others'.
            let (sender, receiver) = mpsc::channel::<Vec<Ready<'a>>>();
            let stage = threads.spawn(move || -> Result<Option<T>> {
                if has_base {
                    // Trying what this machine allows takes a moment. If it allows nothing, the stage says so.
                    let _ = (self.bakery.executor)();
                }
                receiver.recv().ok().filter(|_| has_base).map(|packages| configure_base(&packages)).transpose()
            });
            let ready = self.parts(sender);
            if let Ok(ready) = &ready {
                meanwhile(ready);
            }
            let stage = stage.join().map_err(|_| Error::new("the base's stage ended unexpectedly"))?;
            Ok((ready?, stage?))
        })
    }

    /// Every package as a part, in order; those of the base go to `base` before they are compressed. Parts are made
    /// as artifacts arrive.
    fn parts(&self, base: mpsc::Sender<Vec<Ready<'a>>>) -> Result<Vec<Ready<'a>>> {
        let _turn = self.bakery.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let (sender, receiver) = mpsc::channel::<Message<'a>>();
        let mut collected = Collected::new(&self.order, base);
        std::thread::scope(|threads| {
            let there = sender.clone();
            threads.spawn(move || {
                let there = Mutex::new(there);
                let tell = |message| {
                    let _ = there.lock().unwrap_or_else(PoisonError::into_inner).send(message);
                };
                tell(Message::Fetched(guarded(|| self.fetch(&|index| tell(Message::There(index))))));
            });
            rayon::in_place_scope(|scope| -> Result<()> {
                let start = |index: usize, begun: Option<Ready<'a>>| {
                    let (sender, package) = (sender.clone(), self.order[index]);
                    scope.spawn(move |_| {
                        let make = || begun.map_or_else(|| self.first_part(package), |begun| self.compressed(begun));
                        let _ = sender.send(Message::Part(index, guarded(make)));
                    });
                };
                let (mut fetching, mut under_way) = (true, 0);
                while fetching || under_way > 0 {
                    match receiver.recv().context(|| "a package did not become a part")? {
                        Message::There(index) => {
                            under_way += 1;
                            start(index, None);
                        }
                        Message::Fetched(result) => {
                            fetching = false;
                            collected.failed(result);
                        }
                        Message::Part(index, ready) => {
                            under_way -= 1;
                            for (index, ready) in collected.add(index, ready, self.bakery.progress) {
                                under_way += 1;
                                start(index, Some(ready));
                            }
                        }
                    }
                }
                Ok(())
            })
        })?;
        collected.finish()
    }

    /// The part of a package without what another one replaces or diverts.
    pub fn part_without(&self, ready: &Ready<'a>, leave_out: Option<&BTreeSet<String>>) -> Result<Part> {
        match leave_out {
            None => Ok(ready.deb.part.clone()),
            Some(paths) => Ok(Arc::unwrap_or_clone(self.ready(ready.package, paths)?.deb).part),
        }
    }

    /// Says that a layer was not in the store before.
    pub fn made(&self, layer: Digest) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(layer);
    }

    /// How many of these layers were in the store before.
    pub fn reused(&self, layers: &[LayerOutput]) -> usize {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        layers.iter().filter(|layer| !made.contains(&layer.digest)).count()
    }

    /// Clears a sandbox away beside other work: removing a tree takes as long as a layer.
    pub fn end(&self, session: Session, scratch: TempDir) {
        let clear = move || {
            // A tree that could not be removed is collected later; what was baked does not suffer from it.
            let _ = session.finish();
            drop(scratch);
        };
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).push(std::thread::spawn(clear));
    }

    /// The bin of a package.
    pub fn bin(ready: &Ready<'_>) -> Bin {
        Bin::of(ready.package.base, &ready.package.source, ready.deb.part.tar_size)
    }
}

impl Drop for Graph<'_> {
    fn drop(&mut self) {
        for ending in self.ending.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = ending.join();
        }
    }
}

/// What happens while packages become parts.
enum Message<'a> {
    /// The artifact of the package with this index is in the store.
    There(usize),
    /// No more will come.
    Fetched(Result<()>),
    /// A package has become a part.
    Part(usize, Result<Ready<'a>>),
}

/// Whoever waits for the result of a thread gets one.
fn guarded<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(make));
    made.unwrap_or_else(|_| Err(Error::new("making a part ended unexpectedly")))
}

/// The parts that are there.
struct Collected<'a> {
    slots: Vec<Option<Ready<'a>>>,
    /// Those of the base, until all are there; they come twice, read and then compressed.
    base: BTreeMap<usize, Ready<'a>>,
    /// How many of the base are not there yet.
    missing: usize,
    /// Who waits for the base's.
    waiting: mpsc::Sender<Vec<Ready<'a>>>,
    failed: Option<Error>,
}

impl<'a> Collected<'a> {
    fn new(order: &[&PlatformPackage], waiting: mpsc::Sender<Vec<Ready<'a>>>) -> Self {
        let missing = order.iter().filter(|package| package.base).count();
        Self { slots: order.iter().map(|_| None).collect(), base: BTreeMap::new(), missing, waiting, failed: None }
    }

    /// The first failure is the one that is told.
    fn failed<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }

    /// Takes a part in; those that are to be compressed now.
    fn add(
        &mut self,
        index: usize,
        ready: Result<Ready<'a>>,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> BTreeMap<usize, Ready<'a>> {
        let Some(ready) = self.failed(ready) else { return BTreeMap::new() };
        if !ready.package.base || self.missing == 0 {
            progress(Progress::Part { name: ready.package.name.clone(), total: self.slots.len() });
            self.slots[index] = Some(ready);
            return BTreeMap::new();
        }
        self.base.insert(index, ready);
        self.missing -= 1;
        if self.missing > 0 {
            return BTreeMap::new();
        }
        let _ = self.waiting.send(self.base.values().cloned().collect());
        std::mem::take(&mut self.base)
    }

    fn finish(self) -> Result<Vec<Ready<'a>>> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.slots.into_iter().collect::<Option<_>>().context(|| "a package did not become a part")
    }
}
