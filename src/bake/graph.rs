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
        // Every environment's tree stands on the base.
        let keep_plain = package.base;
        let deb = package::part(self.bakery.store, &Self::locked(package), &self.exclusions, leave_out, keep_plain)?;
        Ok(Ready { package, deb })
    }

    /// Makes every package a part. `configure_base` is called with the base's as soon as they are there, beside the
    /// others' becoming parts; not without a base.
    pub fn prepare<T: Send>(
        &self,
        configure_base: impl FnOnce(&[Ready<'a>]) -> Result<T> + Send,
    ) -> Result<(Vec<Ready<'a>>, Option<T>)> {
        let base_count = self.order.iter().filter(|package| package.base).count();
        let slots: Vec<Mutex<Option<Ready<'a>>>> = self.order.iter().map(|_| Mutex::new(None)).collect();
        let (sender, receiver) = mpsc::channel::<(usize, Result<Ready<'a>>)>();
        let base = std::thread::scope(|threads| -> Result<Option<T>> {
            // The base's stage waits on its own thread for its packages, then runs beside the others'.
            let (base_sender, base_receiver) = mpsc::channel::<Ready<'a>>();
            let stage = threads.spawn(move || -> Result<Option<T>> {
                if self.lock.environment.debian.base != Base::None {
                    // Trying what this machine allows takes a moment. If it allows nothing, the stage that needs it says so.
                    let _ = (self.bakery.executor)();
                }
                let mut packages: Vec<Ready<'a>> = base_receiver.iter().take(base_count).collect();
                if packages.len() < base_count || self.lock.environment.debian.base == Base::None {
                    return Ok(None);
                }
                packages
                    .sort_by_key(|ready| self.order.iter().position(|package| package.sha256 == ready.package.sha256));
                configure_base(&packages).map(Some)
            });
            let turn = self.bakery.parts.lock().unwrap_or_else(PoisonError::into_inner);
            let fetched = rayon::in_place_scope(|scope| {
                let spawn = |index: usize| {
                    let sender = sender.clone();
                    let package = self.order[index];
                    scope.spawn(move |_| {
                        let _ = sender.send((index, self.ready(package, &BTreeSet::new())));
                    });
                };
                self.fetch_and(&spawn)?;
                drop(sender);
                let mut failed = None;
                for (index, ready) in receiver {
                    match ready {
                        Ok(ready) => {
                            (self.bakery.progress)(Progress::Part {
                                name: ready.package.name.clone(),
                                total: self.order.len(),
                            });
                            if ready.package.base {
                                let _ = base_sender.send(ready.clone());
                            }
                            *slots[index].lock().expect("no thread panics while it holds a slot") = Some(ready);
                        }
                        Err(error) => failed = failed.or(Some(error)),
                    }
                }
                drop(base_sender);
                failed.map_or(Ok(()), Err)
            });
            drop(turn);
            let stage = stage.join().map_err(|_| Error::new("the base's stage ended unexpectedly"))?;
            fetched?;
            stage
        })?;
        let ready: Vec<Ready<'a>> = slots
            .into_iter()
            .map(|slot| slot.into_inner().expect("no thread panics while it holds a slot"))
            .collect::<Option<_>>()
            .context(|| "a package did not become a part")?;
        Ok((ready, base))
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
