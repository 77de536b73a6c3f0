//! One image being baked: who waits for whom.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::bins::Bin;
use super::making::{Arriving, Making, Message, Ready, Step, Waiting};
use super::{Bakery, Progress};
use crate::digest::Digest;
use crate::ecosystem::debian::exclusions::Exclusions;
use crate::ecosystem::debian::package::{self, Locked};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::{Entry, Layer, Part, assemble_once};
use crate::lock::{LayerOutput, Lockfile, PlatformLock, PlatformPackage};
use crate::net::Download;

/// Layers by their parts, each with its folders.
type Layers = BTreeMap<Vec<Digest>, (Vec<Entry>, Layer)>;

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
    /// Those that were put together or found.
    layers: Mutex<Layers>,
    /// Set when a stage is unpacked, or none will be.
    pub unpacked: OnceLock<()>,
}

impl<'a> Graph<'a> {
    pub fn new(bakery: &'a Bakery<'a>, lockfile: &'a Lockfile, lock: &'a PlatformLock) -> Result<Self> {
        let exclusions = Exclusions::new(&lock.environment.debian.exclude)?;
        let mut order: Vec<&PlatformPackage> =
            lock.packages.iter().filter(|package| package.ecosystem == "debian").collect();
        // base-files brings the folders and links that everything else stands in.
        order.sort_by_key(|package| (!package.base, package.name != "base-files", package.name.as_str()));
        let others = lock.packages.iter().filter(|package| package.ecosystem != "debian").collect();
        Ok(Self {
            bakery,
            lockfile,
            lock,
            exclusions,
            order,
            others,
            made: Mutex::default(),
            layers: Mutex::default(),
            unpacked: OnceLock::new(),
        })
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

    /// A package as a part that is not compressed yet: neither a tree nor scripts need wait for that.
    fn plain(&self, package: &'a PlatformPackage) -> Result<Ready<'a>> {
        let deb = package::plain_part(self.bakery.store, &Self::locked(package), &self.exclusions)?;
        Ok(Ready { package, deb: Arc::new(deb) })
    }

    fn compressed(&self, begun: &Ready<'a>) -> Result<Ready<'a>> {
        let (locked, deb) = (Self::locked(begun.package), (*begun.deb).clone());
        let deb = package::compressed_part(self.bakery.store, &locked, &self.exclusions, deb)?;
        Ok(Ready { package: begun.package, deb: Arc::new(deb) })
    }

    /// Makes every package a part. `configure` runs beside that, on what has arrived, though it is not compressed yet.
    /// Once all are compressed, `meanwhile` is called with them; `configure` may still be running, but has something
    /// unpacked: until then, every processor is needed for that. If it fails, nothing more is begun. If it is
    /// `held`, nothing is compressed either from when all is read until then.
    pub fn prepare<T: Send, M>(
        &self,
        held: bool,
        configure: impl FnOnce(Arriving<'a>) -> Result<T> + Send,
        meanwhile: impl FnOnce(&[Ready<'a>]) -> M,
    ) -> Result<(Vec<Ready<'a>>, T, M)> {
        std::thread::scope(|threads| {
            let (base, all) = (mpsc::channel(), mpsc::channel());
            let arriving = Arriving { base: base.1, all: all.1 };
            let (sender, receiver) = mpsc::channel();
            let teller = sender.clone();
            let configure = threads.spawn(move || {
                let configured = guarded(|| configure(arriving));
                let _ = self.unpacked.set(());
                if configured.is_err() {
                    let _ = teller.send(Message::Stop);
                }
                configured
            });
            let teller = sender.clone();
            threads.spawn(move || {
                self.unpacked.wait();
                let _ = teller.send(Message::Unpacked);
            });
            let making = Making::new(&self.order, Waiting { base: base.0, all: all.0 }, held);
            let ready = self.parts(making, &sender, &receiver);
            let ready = ready.map(|ready| {
                self.unpacked.wait();
                let meanwhile = meanwhile(&ready);
                (ready, meanwhile)
            });
            let configured = configure.join().map_err(|_| Error::new("configuring packages ended unexpectedly"))?;
            // A failure of this one stops the other: it is the one to be told.
            let configured = configured?;
            let (ready, meanwhile) = ready?;
            Ok((ready, configured, meanwhile))
        })
    }

    /// Every package as a part, in order. Parts are made as artifacts arrive; whoever waits gets them before they are
    /// compressed.
    fn parts(
        &self,
        mut making: Making<'a>,
        sender: &Sender<Message<'a>>,
        receiver: &Receiver<Message<'a>>,
    ) -> Result<Vec<Ready<'a>>> {
        let turns = self.bakery.turns;
        let (mut reading, mut compressing) = (Some(turns.reading()), None);
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
                while !making.is_done() {
                    let message = receiver.recv().context(|| "a package did not become a part")?;
                    if let Some(ready) = making.take(message) {
                        let (name, total) = (ready.package.name.clone(), self.order.len());
                        (self.bakery.progress)(Progress::Part { name, total });
                    }
                    if making.has_read_all() && compressing.is_none() {
                        reading = None;
                        compressing = Some(turns.compressing());
                    }
                    while let Some((index, step)) = making.next() {
                        let (sender, package) = (sender.clone(), self.order[index]);
                        scope.spawn(move |_| {
                            let _ = sender.send(match step {
                                Step::Read => Message::Plain(index, guarded(|| self.plain(package))),
                                Step::Compress(begun) => Message::Part(index, guarded(|| self.compressed(&begun))),
                            });
                        });
                    }
                }
                Ok(())
            })
        })?;
        drop((reading, compressing));
        making.finish()
    }

    /// The part of a package without what another one replaces or diverts.
    pub fn part_without(&self, ready: &Ready<'a>, leave_out: Option<&BTreeSet<String>>) -> Result<Part> {
        match leave_out {
            None => Ok(ready.deb.part.clone()),
            Some(paths) => {
                let locked = Self::locked(ready.package);
                Ok(package::part(self.bakery.store, &locked, &self.exclusions, paths)?.part)
            }
        }
    }

    /// The layer of these folders and parts, put together if this was not done before.
    pub fn layer(&self, directories: &[Entry], parts: &[Part]) -> Result<Layer> {
        let key: Vec<Digest> = parts.iter().map(|part| part.content).collect();
        let known = self.layers.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((_, layer)) = known.filter(|(known, _)| known == directories) {
            return Ok(layer);
        }
        let parts: Vec<&Part> = parts.iter().collect();
        let (layer, made) = assemble_once(self.bakery.store, directories, &parts)?;
        if made {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.digest);
        }
        let known = (directories.to_vec(), layer.clone());
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).insert(key, known);
        Ok(layer)
    }

    /// How many of these layers were in the store before.
    pub fn reused(&self, layers: &[LayerOutput]) -> usize {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        layers.iter().filter(|layer| !made.contains(&layer.digest)).count()
    }

    /// The bin of a package.
    pub fn bin(ready: &Ready<'_>) -> Bin {
        Bin::of(ready.package.base, &ready.package.source, ready.deb.part.tar_size)
    }
}

/// Whoever waits for the result of a thread gets one.
fn guarded<T>(make: impl FnOnce() -> Result<T>) -> Result<T> {
    let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(make));
    made.unwrap_or_else(|_| Err(Error::new("what a thread was to make ended unexpectedly")))
}
