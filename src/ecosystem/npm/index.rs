//! Asking registries: documents of packages, kept in the store and asked for again only if they changed, many
//! at once; and tarballs, whose SHA-256 the registry does not say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::BufReader;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use super::integrity::Integrity;
use super::origin::Registries;
use super::packument::{Manifest, Packument};
use super::pick::pick;
use super::platform::Engines;
use super::spec::Spec;
use super::tarball;
use super::tree::{Bundled, Index, Placed};
use crate::canonical;
use crate::digest::Digest;
use crate::ecosystem::origin::Place;
use crate::error::{Context, Error, Kind, Result};
use crate::net::{Address, Answer, Client, Request, Validators};
use crate::store::Store;

/// No document of a package is larger, in bytes; the largest known have some 50 MB.
const LARGEST_DOCUMENT: u64 = 512 << 20;
/// No tarball is larger, in bytes.
pub const LARGEST_TARBALL: u64 = 2 << 30;
/// Documents under way at once.
const AT_ONCE: usize = 16;
/// The short form of documents, for clients that install; the long one where there is no other.
const ACCEPT: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*";
/// Documents read ahead, beyond which dependencies are asked for when they come up.
const MOST_AHEAD: usize = 20_000;

const DOCUMENT: &str = "npm-packument";
const ARTIFACT: &str = "npm-artifact";
/// Changes when [`Packument`] does: what is stored otherwise is not read.
const LAYOUT: u32 = 1;

/// What came of asking for a package.
type Document = Result<Arc<Packument>>;

/// What the store remembers of a package's document.
#[derive(Serialize, Deserialize)]
struct Seen {
    /// Of the document as it came.
    body: Digest,
    /// The blob with what is used of it, as JSON in zstd.
    compact: Digest,
    /// Of that JSON, in bytes.
    size: u64,
    validators: Validators,
}

/// A tarball in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub sha256: Digest,
    /// In bytes.
    pub size: u64,
}

/// The registries of this machine, and what is known of their packages. Documents stay in memory.
#[derive(Debug)]
pub struct Registry<'a> {
    store: &'a Store,
    client: &'a Client,
    registries: Registries,
    /// What versions are guessed for when documents are read ahead.
    engines: Engines,
    documents: Mutex<BTreeMap<String, Arc<OnceLock<Document>>>>,
    ahead: Mutex<BTreeSet<(String, String)>>,
}

impl<'a> Registry<'a> {
    /// Asks nothing yet.
    pub fn new(store: &'a Store, client: &'a Client, registries: Registries, engines: Engines) -> Self {
        Self { store, client, registries, engines, documents: Mutex::default(), ahead: Mutex::default() }
    }

    fn fetch(&self, name: &str) -> Result<Arc<Packument>> {
        let what = || format!("asking for the versions of `{name}`");
        let mut reasons = Vec::new();
        for place in self.registries.of(name) {
            match self.fetch_from(place, name) {
                Ok(packument) => return Ok(Arc::new(packument)),
                Err(error) => reasons.push(error),
            }
        }
        let kind = common_kind(&reasons);
        let error = Error::new(what()).kind(kind);
        let error = reasons.into_iter().fold(error, |error, reason| error.caused_by(reason));
        Err(if kind == Kind::NotFound {
            error.hint(format!("is `{name}` spelled right, and does the registry that is asked have it?"))
        } else {
            error
        })
    }

    fn fetch_from(&self, place: &Place, name: &str) -> Result<Packument> {
        let base = place.address.as_str().trim_end_matches('/');
        let url = format!("{base}/{}", name.replace('/', "%2f"));
        let key = Digest::of(&canonical::to_vec(&(DOCUMENT, LAYOUT, &url))?);
        let seen: Option<Seen> = self.store.keyed(DOCUMENT, &key);
        if self.client.is_offline() && place.address.file_path().is_none() {
            let seen = seen.ok_or_else(|| {
                Error::new(format!(
                    "the store has never seen {}/{name}, and kiln was told to work offline",
                    place.address
                ))
                .kind(Kind::Network)
                .hint("run the command once without `--offline`")
            })?;
            return self.load(&seen);
        }
        let request =
            Request::new(&url, LARGEST_DOCUMENT)?.with_credentials(place.credentials.clone()).accepting(ACCEPT);
        let known = seen.as_ref().map(|seen| seen.validators.clone()).unwrap_or_default();
        let from = |error: Error| {
            let kind = error.what();
            Error::new(request.address.to_string()).kind(kind).caused_by(error)
        };
        match self.client.get_if_changed(&request, &known).map_err(from)? {
            Answer::Unchanged => {
                if let Some(packument) = seen.as_ref().and_then(|seen| self.load(seen).ok()) {
                    return Ok(packument);
                }
                // The store's copy is damaged.
                let body = self.client.get(&request).map_err(from)?;
                self.keep(&key, name, &body, Validators::default())
            }
            Answer::Content(body, validators) => {
                let same = seen.filter(|seen| seen.validators == validators && seen.body == Digest::of(&body));
                match same.and_then(|seen| self.load(&seen).ok()) {
                    Some(packument) => Ok(packument),
                    None => self.keep(&key, name, &body, validators),
                }
            }
        }
    }

    fn load(&self, seen: &Seen) -> Result<Packument> {
        let packed = self.store.read(&seen.compact)?;
        let size = usize::try_from(seen.size).unwrap_or(usize::MAX);
        let bytes = zstd::bulk::decompress(&packed, size).context(|| "unpacking what the store has of a document")?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn keep(&self, key: &Digest, name: &str, body: &[u8], validators: Validators) -> Result<Packument> {
        let packument = Packument::parse(name, body)?;
        if self.store.is_writable() {
            let bytes = serde_json::to_vec(&packument)?;
            let compact = self.store.put(&zstd::bulk::compress(&bytes, 1)?)?;
            let seen = Seen { body: Digest::of(body), compact, size: bytes.len() as u64, validators };
            self.store.put_keyed(DOCUMENT, key, &[compact], &seen)?;
        }
        Ok(packument)
    }

    /// Brings a package's tarball into the store, checked against what the registry says that it hashes to.
    /// The store remembers which tarball had that hash, so it is fetched once.
    pub fn artifact(&self, placed: &Placed) -> Result<Artifact> {
        self.tarball(&placed.name, &placed.version.to_string(), &placed.tarball, placed.integrity.as_ref())
    }

    fn tarball(&self, name: &str, version: &str, url: &str, integrity: Option<&Integrity>) -> Result<Artifact> {
        let key = Digest::of(&canonical::to_vec(&(ARTIFACT, name, version, integrity))?);
        if let Some(artifact) = integrity.and_then(|_| self.store.keyed(ARTIFACT, &key)) {
            return Ok(artifact);
        }
        let mut reasons = Vec::new();
        for request in self.candidates(name, url)? {
            match self.tarball_from(&request, integrity) {
                Ok(artifact) => {
                    self.store.put_keyed(ARTIFACT, &key, &[artifact.sha256], &artifact)?;
                    return Ok(artifact);
                }
                Err(error) => reasons.push(error),
            }
        }
        let kind = common_kind(&reasons);
        let error = Error::new(format!("{name} {version} could not be had")).kind(kind);
        Err(reasons.into_iter().fold(error, Error::caused_by))
    }

    fn tarball_from(&self, request: &Request, integrity: Option<&Integrity>) -> Result<Artifact> {
        let (sha256, size) = self.client.download_unknown(self.store, request)?;
        if let Some(integrity) = integrity {
            let mut file = self.store.open_checked(&sha256)?;
            integrity
                .check(&mut file)
                .map_err(|error| Error::new(request.address.to_string()).kind(error.what()).caused_by(error))?;
        }
        Ok(Artifact { sha256, size })
    }

    /// Where a tarball may be, best first: at its address, if that is at one of this machine's registries;
    /// at the same place of those registries; at its address wherever that is.
    pub fn candidates(&self, name: &str, url: &str) -> Result<Vec<Request>> {
        let own =
            Request::new(url, LARGEST_TARBALL).context(|| format!("reading the tarball's address of `{name}`"))?;
        let places = self.registries.of(name);
        let host = |address: &Address| (address.scheme().to_owned(), address.host().to_owned(), address.port());
        let at_home = places.iter().find(|place| host(&place.address) == host(&own.address));
        let mut requests = Vec::new();
        if let Some(place) = at_home {
            requests.push(own.clone().with_credentials(place.credentials.clone()));
        }
        let file = url.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        for place in places {
            let Ok(address) = place.address.below(&format!("{name}/-/{file}")) else { continue };
            let request = Request {
                address,
                maximum: LARGEST_TARBALL,
                credentials: place.credentials.clone(),
                gentle: None,
                accept: None,
            };
            if requests.iter().all(|other| other.address != request.address) {
                requests.push(request);
            }
        }
        if requests.iter().all(|other| other.address != own.address) {
            requests.push(own);
        }
        Ok(requests)
    }

    /// Where a tarball is below its registry: what a lock says of it, as it names no host.
    pub fn path(&self, name: &str, url: &str) -> String {
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let places = self.registries.of(name);
        let below = places.iter().find_map(|place| url.strip_prefix(place.address.as_str().trim_end_matches('/')));
        match below.and_then(|rest| rest.strip_prefix('/')) {
            Some(path) => path.to_owned(),
            None => format!("{name}/-/{}", url.rsplit('/').next().unwrap_or_default()),
        }
    }

    /// Where a tarball is that a lock has this path of.
    pub fn located(&self, name: &str, path: &str, maximum: u64) -> Result<Vec<Request>> {
        let at = |place: &&Place| -> Result<Request> {
            let url = format!("{}/{path}", place.address.as_str().trim_end_matches('/'));
            Ok(Request::new(&url, maximum)?.with_credentials(place.credentials.clone()))
        };
        self.registries.of(name).iter().map(at).collect()
    }

    /// Fills in what a lockfile of npm left out: addresses and hashes that the registry knows.
    pub fn complete(&self, placed: &mut [Placed]) -> Result<()> {
        let lacking = |placed: &Placed| !placed.bundled && (placed.tarball.is_empty() || placed.integrity.is_none());
        let wanted: Vec<(String, String)> =
            placed.iter().filter(|placed| lacking(placed)).map(|p| (p.name.clone(), String::new())).collect();
        self.read_ahead(&wanted, false);
        for package in placed.iter_mut().filter(|placed| lacking(placed)) {
            let packument = self.packument(&package.name)?;
            let manifest = packument.versions.values().find(|one| one.version == package.version).ok_or_else(|| {
                Error::no(format!("the registry has no {} {}", package.name, package.version))
                    .hint("it was taken back, or the package-lock.json was made with another registry: make it anew")
            })?;
            if package.tarball.is_empty() {
                package.tarball.clone_from(&manifest.dist.tarball);
            }
            package.integrity = package.integrity.take().or_else(|| manifest.dist.integrity.clone());
        }
        Ok(())
    }

    /// Reads documents in parallel: of these packages and, guessing versions, of what they depend on.
    fn read_ahead(&self, wanted: &[(String, String)], further: bool) {
        let mut queue = VecDeque::new();
        self.wait_for(wanted.iter().cloned(), &mut queue);
        if queue.is_empty() {
            return;
        }
        let state = Mutex::new((queue, 0_usize));
        let changed = Condvar::new();
        let work = || {
            let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let Some((name, spec)) = guard.0.pop_front() else {
                    if guard.1 == 0 {
                        changed.notify_all();
                        return;
                    }
                    guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
                    continue;
                };
                guard.1 += 1;
                drop(guard);
                let found = self.dependencies(&name, &spec);
                guard = state.lock().unwrap_or_else(PoisonError::into_inner);
                guard.1 -= 1;
                if further {
                    self.wait_for(found.into_iter(), &mut guard.0);
                }
                changed.notify_all();
            }
        };
        std::thread::scope(|scope| (0..AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    }

    /// Puts what was not read before into the queue.
    fn wait_for(&self, wanted: impl Iterator<Item = (String, String)>, queue: &mut VecDeque<(String, String)>) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        for pair in wanted {
            if ahead.len() < MOST_AHEAD && ahead.insert(pair.clone()) {
                queue.push_back(pair);
            }
        }
    }

    /// What the version depends on that will likely be taken. What fails here fails again where it matters.
    fn dependencies(&self, name: &str, spec: &str) -> Vec<(String, String)> {
        let Ok(spec) = Spec::parse(name, spec) else { return Vec::new() };
        let Ok(packument) = self.packument(&spec.name) else { return Vec::new() };
        let Ok(manifest) = pick(&packument, &spec.wanted, &self.engines) else { return Vec::new() };
        let peers = manifest.peer_dependencies.iter().filter(|(name, _)| !manifest.optional_peers.contains(name));
        manifest.dependencies.iter().chain(&manifest.optional_dependencies).chain(peers).cloned().collect()
    }
}

/// That something does not exist is known only if everybody says so.
fn common_kind(reasons: &[Error]) -> Kind {
    reasons.iter().map(Error::what).find(|kind| *kind != Kind::NotFound).unwrap_or(Kind::NotFound)
}

impl Index for Registry<'_> {
    fn packument(&self, name: &str) -> Result<Arc<Packument>> {
        let cell = {
            let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(documents.entry(name.to_owned()).or_default())
        };
        cell.get_or_init(|| self.fetch(name)).clone()
    }

    fn bundled(&self, manifest: &Manifest) -> Result<Vec<Bundled>> {
        let dist = &manifest.dist;
        let artifact =
            self.tarball(&manifest.name, &manifest.version.to_string(), &dist.tarball, dist.integrity.as_ref())?;
        let file = BufReader::with_capacity(1 << 18, self.store.open_checked(&artifact.sha256)?);
        tarball::bundled(file, artifact.size)
    }

    fn prefetch(&self, wanted: &[(String, String)]) {
        self.read_ahead(wanted, true);
    }
}
