//! One image being baked: who waits for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tempfile::TempDir;

use super::bins::Bin;
use super::{Bakery, Progress};
use crate::ecosystem::debian::exclusions::Exclusions;
use crate::ecosystem::debian::package::{self, Locked};
use crate::ecosystem::debian::part::DebPart;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::Part;
use crate::lock::{Lockfile, PlatformLock, PlatformPackage};
use crate::net::Download;
use crate::sandbox::Session;
use crate::workspace::Base;

/// One image being baked.
pub struct Graph<'a> {
    pub bakery: &'a Bakery<'a>,
    pub lockfile: &'a Lockfile,
    pub lock: &'a PlatformLock,
    pub exclusions: Exclusions,
    /// The packages in the order in which they are unpacked: the base first.
    pub order: Vec<&'a PlatformPackage>,
    /// Sandboxes that are being cleared away while other work goes on.
    ending: Mutex<Vec<JoinHandle<()>>>,
}

/// A package that has become a part.
#[derive(Clone, Debug)]
pub struct Ready<'a> {
    pub package: &'a PlatformPackage,
    pub deb: DebPart,
}

impl<'a> Graph<'a> {
    pub fn new(bakery: &'a Bakery<'a>, lockfile: &'a Lockfile, lock: &'a PlatformLock) -> Result<Self> {
        let exclusions = Exclusions::new(&lock.environment.debian.exclude)?;
        let mut order: Vec<&PlatformPackage> = lock.packages.iter().collect();
        // base-files brings the folders and links that everything else stands in.
        order.sort_by_key(|package| (!package.base, package.name != "base-files", package.name.as_str()));
        Ok(Self { bakery, lockfile, lock, exclusions, order, ending: Mutex::default() })
    }

    /// Fetches what the store lacks. `done` is told each package's index as it is there.
    pub fn fetch(&self, done: &(dyn Fn(usize) + Sync)) -> Result<()> {
        let store = self.bakery.store;
        let mut origins = BTreeMap::new();
        for package in &self.lockfile.packages {
            if let Some(artifact) = package.artifacts.get(&self.lock.platform) {
                origins.insert(artifact.sha256, (package.origin.as_str(), artifact.path.as_str()));
            }
        }
        let mut downloads = Vec::new();
        for package in &self.order {
            let (origin, path) = origins[&package.sha256];
            let candidates = if store.contains(&package.sha256) {
                Vec::new()
            } else {
                (self.bakery.candidates)(origin, path, package.size)?
            };
            downloads.push(Download {
                label: format!("{} {}", package.name, package.version),
                digest: package.sha256,
                size: Some(package.size),
                candidates,
            });
        }
        let missing: Vec<&PlatformPackage> =
            self.order.iter().copied().filter(|package| !store.contains(&package.sha256)).collect();
        if !missing.is_empty() {
            let bytes = missing.iter().map(|package| package.size).sum();
            (self.bakery.progress)(Progress::Fetching { count: missing.len(), bytes });
        }
        self.require_reachable(&downloads)?;
        let progress = |event| (self.bakery.progress)(Progress::Download(event));
        self.bakery.client.download_all(store, &downloads, &progress, done)
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
        Ok(Ready { package, deb })
    }

    /// A package of the base, not compressed yet: its scripts need not wait for that.
    fn begun(&self, package: &'a PlatformPackage) -> Result<Ready<'a>> {
        let deb = package::plain_part(self.bakery.store, &Self::locked(package), &self.exclusions)?;
        Ok(Ready { package, deb })
    }

    fn compressed(&self, begun: Ready<'a>) -> Result<Ready<'a>> {
        if begun.deb.part.is_compressed() {
            return Ok(begun);
        }
        let locked = Self::locked(begun.package);
        let deb = package::compressed_part(self.bakery.store, &locked, &self.exclusions, begun.deb)?;
        Ok(Ready { package: begun.package, deb })
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

    /// Every package as a part, in order; those of the base go to `base` before they are compressed.
    fn parts(&self, base: mpsc::Sender<Vec<Ready<'a>>>) -> Result<Vec<Ready<'a>>> {
        let _turn = self.bakery.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots: Vec<Option<Ready<'a>>> = self.order.iter().map(|_| None).collect();
        let mut begun: BTreeMap<usize, Ready<'a>> = BTreeMap::new();
        let mut missing = self.order.iter().filter(|package| package.base).count();
        let (sender, receiver) = mpsc::channel::<(usize, Result<Ready<'a>>)>();
        let mut failed = None;
        rayon::in_place_scope(|scope| {
            let spawn = |index: usize| {
                let (sender, package) = (sender.clone(), self.order[index]);
                scope.spawn(move |_| {
                    let ready = if package.base { self.begun(package) } else { self.ready(package, &BTreeSet::new()) };
                    let _ = sender.send((index, ready));
                });
            };
            self.fetch_and(&spawn)?;
            let mut expected = self.order.len();
            while expected > 0 {
                let (index, ready) = receiver.recv().context(|| "a package did not become a part")?;
                expected -= 1;
                let ready = match ready {
                    Ok(ready) => ready,
                    Err(error) => {
                        failed = failed.take().or(Some(error));
                        continue;
                    }
                };
                // A package of the base comes twice: read, and compressed.
                if ready.package.base && missing > 0 {
                    begun.insert(index, ready);
                    missing -= 1;
                    if missing > 0 {
                        continue;
                    }
                    let _ = base.send(begun.values().cloned().collect());
                    for (index, ready) in std::mem::take(&mut begun) {
                        expected += 1;
                        let sender = sender.clone();
                        let compress = move || {
                            let _ = sender.send((index, self.compressed(ready)));
                        };
                        scope.spawn(|_| compress());
                    }
                    continue;
                }
                let (name, total) = (ready.package.name.clone(), self.order.len());
                (self.bakery.progress)(Progress::Part { name, total });
                slots[index] = Some(ready);
            }
            failed.map_or(Ok(()), Err)
        })?;
        slots.into_iter().collect::<Option<_>>().context(|| "a package did not become a part")
    }

    /// Like [`Graph::fetch`], for a callback that is not shared between threads.
    fn fetch_and(&self, spawn: &dyn Fn(usize)) -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        let sender = Mutex::new(sender);
        std::thread::scope(|threads| {
            let fetching = threads.spawn(|| {
                let result = self.fetch(&|index| {
                    let _ = sender.lock().expect("sending does not panic").send(Some(index));
                });
                let _ = sender.lock().expect("sending does not panic").send(None);
                result
            });
            for index in receiver.iter().map_while(|message| message) {
                spawn(index);
            }
            fetching.join().map_err(|_| Error::new("fetching ended unexpectedly"))?
        })
    }

    /// The part of a package without what another one replaces or diverts.
    pub fn part_without(&self, ready: &Ready<'a>, leave_out: Option<&BTreeSet<String>>) -> Result<Part> {
        match leave_out {
            None => Ok(ready.deb.part.clone()),
            Some(paths) => Ok(self.ready(ready.package, paths)?.deb.part),
        }
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
