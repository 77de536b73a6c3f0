//! Getting a suite: its signed index, checked in every respect, then the package indexes that it names.
//!
//! What is fetched is kept in the store: the signed index (for working offline, and so that an older one is
//! noticed), and each package index unpacked, by the hash of its plain content. While the signed index has not
//! changed, nothing else is asked of the network, and nothing is unpacked twice. What the indexes say of
//! packages is none of this module's business.

mod artifacts;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::apt::is_absence;
use super::date;
use super::index_file::{self, Compression};
use super::release::{self, Release};
use super::signature::{Keyring, Policy};
use super::sources::{Class, Place, Sources, ways};
use crate::canonical;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::net::{Answer, Client, Download, Event, Request, Validators};
use crate::store::Store;
pub use artifacts::{artifact_candidates, artifact_places};

/// No archive's signed index is larger, in bytes.
const LARGEST_RELEASE: u64 = 16 << 20;
/// Clocks differ: an index may be from this many seconds later than now.
const CLOCKS_DIFFER: u64 = 24 * 3600;

/// What is needed to get anything from an archive.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    pub store: &'a Store,
    pub client: &'a Client,
    pub sources: &'a Sources,
    /// Seconds since 1970, for everything that expires.
    pub now: u64,
    /// What happens to the downloads of package indexes.
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

impl std::fmt::Debug for Access<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Access").field("now", &self.now).finish_non_exhaustive()
    }
}

/// Whose signatures are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Debian's, as shipped.
    Debian,
    /// The content of a key file.
    Given(Vec<u8>),
}

impl Keys {
    fn keyring(&self) -> Result<Keyring> {
        match self {
            Self::Debian => Keyring::debian(),
            Self::Given(bytes) => Keyring::from_bytes(bytes).context(|| "reading the given key"),
        }
    }
}

/// Which checks the definition waives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    /// `Valid-Until` may be over.
    pub allow_expired: bool,
    /// SHA-1 and short RSA keys are accepted in signatures.
    pub allow_weak: bool,
}

/// A suite to get.
#[derive(Clone, Debug)]
pub struct SuiteRequest {
    /// `debian`, `debian-security`, or one of the definition's own.
    pub origin: String,
    /// Its name below `dists/`.
    pub suite: String,
    pub components: Vec<String>,
    pub architectures: Vec<String>,
    pub keys: Keys,
    /// The point in time at which the snapshot archive is asked for it. What expires is judged as of then.
    pub snapshot: Option<String>,
    pub exceptions: Exceptions,
}

/// What the lockfile keeps of a signed index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// SHA-256 of the InRelease file (of the Release file where there is only that); the store has it.
    pub inrelease: Digest,
    /// Its `Date`, in seconds since 1970.
    pub date: u64,
    /// The keys with good signatures on it: upper-case hexadecimal, sorted.
    pub fingerprints: Vec<String>,
}

/// A suite, every check passed.
#[derive(Clone, Debug)]
pub struct Suite {
    pub release: Release,
    pub evidence: Evidence,
    /// In the order of the components and architectures asked for; an index of `all` follows each component's
    /// others where the archive keeps those packages apart. A package may then be in two of them.
    pub indexes: Vec<Index>,
    /// Where it is served from, and where that was learnt. `None` when it came from the store.
    pub place: Option<Place>,
}

/// A package index (`Packages`), plain.
#[derive(Clone, Debug)]
pub struct Index {
    pub component: String,
    /// May be `all`.
    pub architecture: String,
    /// SHA-256 of its content: a key for what is made of it.
    pub digest: Digest,
    held: Option<Vec<u8>>,
    key: Digest,
}

impl Index {
    /// Its content, from the store if it was there before.
    pub fn bytes(&self, store: &Store) -> Result<Cow<'_, [u8]>> {
        match &self.held {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => index_file::load(store, &self.key).map(Cow::Owned),
        }
    }
}

/// Gets one suite. See [`fetch_suites`].
pub fn fetch_suite(access: &Access<'_>, request: &SuiteRequest) -> Result<Suite> {
    let mut suites = fetch_suites(access, std::slice::from_ref(request))?;
    suites.pop().context(|| "one suite was asked for")
}

/// Gets several suites with their package indexes at once, in the order of the requests.
///
/// Checked are: a good signature, the suite's name, `Valid-Until`, that the index is no older than one seen
/// before, that components and architectures exist, and the hash and size of each package index. The error
/// names every address that was asked, with what came of it.
pub fn fetch_suites(access: &Access<'_>, requests: &[SuiteRequest]) -> Result<Vec<Suite>> {
    let heads: Vec<Result<Head>> = std::thread::scope(|scope| {
        let threads: Vec<_> = requests.iter().map(|request| scope.spawn(|| head(access, request))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Error::new("reading a signed index panicked"))))
            .collect()
    });
    let heads: Vec<Head> = heads.into_iter().collect::<Result<_>>()?;
    let mut wanted = Vec::new();
    for (number, (request, head)) in requests.iter().zip(&heads).enumerate() {
        wanted.extend(wanted_indexes(number, request, head)?);
    }
    let mut contents = unpack_missing(access, requests, &heads, &wanted)?;
    let mut suites: Vec<Suite> = heads.into_iter().map(Head::without_indexes).collect();
    for (number, wanted) in wanted.into_iter().enumerate() {
        suites[wanted.suite].indexes.push(Index {
            digest: wanted.key,
            key: wanted.key,
            component: wanted.component,
            architecture: wanted.architecture,
            held: contents.remove(&number),
        });
    }
    Ok(suites)
}

/// A signed index that passed its checks.
struct Head {
    release: Release,
    evidence: Evidence,
    place: Option<Place>,
}

impl Head {
    fn without_indexes(self) -> Suite {
        Suite { release: self.release, evidence: self.evidence, indexes: Vec::new(), place: self.place }
    }
}

/// A signed index as it was received.
struct Signed {
    /// `InRelease`, or `Release`.
    bytes: Vec<u8>,
    /// `Release.gpg`.
    detached: Option<Vec<u8>>,
    validators: Validators,
}

/// What the store remembers of the last good index of a suite.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    inrelease: Digest,
    detached: Option<Digest>,
    date: u64,
    address: String,
    validators: Validators,
}

const SEEN: &str = "debian-release";
const CONFIRMED: &str = "debian-place";

fn seen_key(request: &SuiteRequest, time: Option<u64>) -> Result<Digest> {
    Ok(Digest::of(&canonical::to_vec(&(SEEN, &request.origin, &request.suite, time))?))
}

fn confirmed_key(origin: &str, place: &Place) -> Result<Digest> {
    Ok(Digest::of(&canonical::to_vec(&(CONFIRMED, origin, place.address.as_str()))?))
}

/// Finds the suite's signed index.
fn head(access: &Access<'_>, request: &SuiteRequest) -> Result<Head> {
    let what = || format!("getting the suite `{}` of the origin `{}`", request.suite, request.origin);
    let names = request.components.iter().chain(&request.architectures).chain([&request.suite, &request.origin]);
    if let Some(wrong) = names.into_iter().find(|name| !release::is_plain_path(name)) {
        return Err(Error::new(format!("`{wrong}` is no name of a suite, component or architecture")));
    }
    let time = request.snapshot.as_deref().map(date::parse_snapshot).transpose().context(what)?;
    let key = seen_key(request, time)?;
    let seen: Option<Seen> = access.store.keyed(SEEN, &key);
    let keyring = request.keys.keyring().context(what)?;
    let search = Search { access, request, keyring, time, key, seen };
    search.run().map_err(|error| Error::new(what()).kind(error.what()).caused_by(error))
}

struct Search<'a> {
    access: &'a Access<'a>,
    request: &'a SuiteRequest,
    keyring: Keyring,
    /// The snapshot's time.
    time: Option<u64>,
    key: Digest,
    seen: Option<Seen>,
}

impl Search<'_> {
    fn run(&self) -> Result<Head> {
        let (access, request) = (self.access, self.request);
        if access.client.is_offline() {
            let seen = self.seen.as_ref().ok_or_else(|| {
                Error::new("the store has never seen its signed index, and kiln was told to work offline")
                    .kind(Kind::Network)
                    .hint("run the command once without `--offline`")
            })?;
            return self.judge(&self.stored(seen)?, None, "the signed index last seen in this store");
        }
        if let Some(time) = self.time {
            let place = access.sources.snapshot(&request.origin, time)?.ok_or_else(|| {
                Error::new(format!("the snapshot archive does not hold the origin `{}`", request.origin))
                    .hint("leave out `snapshot`, or use the origins `debian` and `debian-security`")
            })?;
            return self.ask(&place);
        }
        let places = access.sources.places(&request.origin, access.client)?;
        let mut reasons = Vec::new();
        for place in &places {
            match self.ask(place) {
                Ok(head) => return Ok(head),
                Err(error) => reasons.push((place.class, error)),
            }
        }
        // The snapshot archive stands in for places that do not serve the suite, not for those that serve a
        // wrong one; what apt's other addresses serve under this name is no matter.
        let stands_in = reasons.iter().all(|(_, error)| is_absence(error.what()));
        if stands_in && let Some(place) = access.sources.snapshot(&request.origin, access.now)? {
            match self.ask(&place) {
                Ok(head) => return Ok(head),
                Err(error) => reasons.push((place.class, error)),
            }
        }
        Err(self.combined(reasons))
    }

    fn combined(&self, mut reasons: Vec<(Class, Error)>) -> Error {
        if reasons.is_empty() {
            return self.access.sources.unknown(&self.request.origin);
        }
        if reasons.len() == 1 {
            let (class, error) = reasons.remove(0);
            // Nobody said where it is.
            let unsaid = class == Class::Snapshot && is_absence(error.what());
            return match is_absence(error.what()) && error.hints().is_empty() {
                _ if unsaid => error.hint(ways(&self.request.origin)),
                true => error.hint(
                    "`kiln store origins` says where this address was learnt; `[origins]` in kiln.toml gives another",
                ),
                false => error,
            };
        }
        // One that serves it wrongly says more than those that do not serve it at all.
        reasons.sort_by_key(|(_, error)| is_absence(error.what()));
        let kind = reasons[0].1.what();
        let none = reasons.iter().all(|(_, error)| is_absence(error.what()));
        let error = Error::new("no address gave a signed index that can be used").kind(kind);
        let error = reasons.into_iter().fold(error, |error, (_, reason)| {
            let text = Error::new(reason.to_string());
            reason.hints().iter().cloned().fold(error.caused_by(text), Error::hint)
        });
        if none { error.hint(ways(&self.request.origin)) } else { error }
    }

    /// Asks one place and judges what it gives.
    fn ask(&self, place: &Place) -> Result<Head> {
        let address = place.address.below(&format!("dists/{}/InRelease", self.request.suite))?;
        let source = address.to_string();
        // What a point in time looked like does not change.
        if let Some(seen) = self.seen.as_ref().filter(|_| self.time.is_some()) {
            return self.judge(&self.stored(seen)?, Some(place), &source);
        }
        let signed = self.download(place).map_err(|error| {
            // Without its cause's kind, whoever asks further could not tell.
            Error::new(source.clone()).kind(error.what()).caused_by(error)
        })?;
        let head = self.judge(&signed, Some(place), &source)?;
        if let Some(seen) = self.seen.as_ref().filter(|seen| self.time.is_none() && seen.date > head.release.date) {
            return Err(Error::new(format!(
                "{source}: its signed index is of {}, older than the one of {} that was seen before: somebody may be \
                 replaying an old one",
                date::display(head.release.date),
                date::display(seen.date)
            ))
            .kind(Kind::Corrupt)
            .hint("a mirror that lags behind catches up: try again later, or name another address of the origin"));
        }
        self.remember(place, &signed, &head)?;
        Ok(head)
    }

    fn download(&self, place: &Place) -> Result<Signed> {
        let request = |name: &str| place.request(&format!("dists/{}/{name}", self.request.suite), LARGEST_RELEASE);
        let inrelease = request("InRelease")?;
        let seen = self.seen.as_ref().filter(|seen| seen.address == inrelease.address.as_str());
        let known = seen.map(|seen| seen.validators.clone()).unwrap_or_default();
        match (self.access.client.get_if_changed(&inrelease, &known), seen) {
            (Ok(Answer::Content(bytes, validators)), _) => Ok(Signed { bytes, detached: None, validators }),
            (Ok(Answer::Unchanged), Some(seen)) => match self.stored(seen) {
                Ok(signed) => Ok(signed),
                // The store's copy is damaged.
                Err(_) => self.plain(&inrelease),
            },
            (Ok(Answer::Unchanged), None) => self.plain(&inrelease),
            (Err(error), _) if error.what() == Kind::NotFound => {
                // Archives made with old tools have the signature beside the file.
                let client = self.access.client;
                let Ok(bytes) = client.get(&request("Release")?) else { return Err(error) };
                let detached =
                    client.get(&request("Release.gpg")?).map_err(|cause| match cause.what() == Kind::NotFound {
                        true => Error::new("it is not signed: there is neither InRelease nor Release.gpg")
                            .kind(Kind::Corrupt)
                            .hint(
                                "nothing vouches for what an unsigned archive serves: its maintainers have to sign it",
                            ),
                        false => cause,
                    })?;
                Ok(Signed { bytes, detached: Some(detached), validators: Validators::default() })
            }
            (Err(error), _) => Err(error),
        }
    }

    fn plain(&self, request: &Request) -> Result<Signed> {
        let bytes = self.access.client.get(request)?;
        Ok(Signed { bytes, detached: None, validators: Validators::default() })
    }

    fn stored(&self, seen: &Seen) -> Result<Signed> {
        let store = self.access.store;
        Ok(Signed {
            bytes: store.read(&seen.inrelease)?,
            detached: seen.detached.as_ref().map(|digest| store.read(digest)).transpose()?,
            validators: seen.validators.clone(),
        })
    }

    /// Everything that a signed index must be by itself.
    fn judge(&self, signed: &Signed, place: Option<&Place>, source: &str) -> Result<Head> {
        let (release, fingerprints) = self.verified(signed).context(|| source)?;
        let refuse = |message: String| Error::new(format!("{source}: {message}")).kind(Kind::Corrupt);
        if place.is_some_and(|place| place.class == Class::Apt) {
            is_origin(&self.request.origin, &release).map_err(|message| refuse(message).kind(Kind::NotFound))?;
        }
        let now = self.time.map_or(self.access.now, |time| time.min(self.access.now));
        if release.date > now.saturating_add(CLOCKS_DIFFER) {
            return Err(refuse(format!("its date, {}, is in the future", date::display(release.date)))
                .hint("check this machine's clock"));
        }
        if let Some(until) = release.valid_until.filter(|until| *until < now && !self.request.exceptions.allow_expired)
        {
            return Err(refuse(format!(
                "its signed index expired on {}: the mirror no longer follows the archive, or somebody holds back updates",
                date::display(until)
            ))
            .hint("name an address of the origin that is current, resolve as of a `snapshot`, or let the definition allow expired indexes"));
        }
        let evidence = Evidence { inrelease: Digest::of(&signed.bytes), date: release.date, fingerprints };
        Ok(Head { release, evidence, place: place.cloned() })
    }

    /// Signature and name.
    fn verified(&self, signed: &Signed) -> Result<(Release, Vec<String>)> {
        let now = self.time.map_or(self.access.now, |time| time.min(self.access.now));
        let policy = Policy { now, allow_weak: self.request.exceptions.allow_weak };
        let verified = match &signed.detached {
            None => self.keyring.verify_cleartext(&signed.bytes, &policy),
            Some(detached) => self.keyring.verify_detached(&signed.bytes, detached, &policy),
        }?;
        let release = Release::parse(&verified.text).context(|| "reading the signed index")?;
        if !release.is_called(&self.request.suite) {
            return Err(Error::new(format!(
                "its signed index is of {}, not of `{}`",
                release.names(),
                self.request.suite
            ))
            .kind(Kind::Corrupt)
            .hint("ask for the suite by the name that its archive gives it, or for another address"));
        }
        Ok((release, verified.fingerprints))
    }

    /// Keeps the signed index for offline work and for noticing older ones.
    fn remember(&self, place: &Place, signed: &Signed, head: &Head) -> Result<()> {
        let store = self.access.store;
        if !store.is_writable() {
            return Ok(());
        }
        let _lock = store.lock_key(SEEN, &self.key)?;
        let before: Option<Seen> = store.keyed(SEEN, &self.key);
        if before.is_some_and(|before| before.date > head.release.date) {
            return Ok(());
        }
        let inrelease = store.put(&signed.bytes)?;
        let detached = signed.detached.as_ref().map(|bytes| store.put(bytes)).transpose()?;
        let address = place.address.below(&format!("dists/{}/InRelease", self.request.suite))?;
        let seen = Seen {
            inrelease,
            detached,
            date: head.release.date,
            address: address.as_str().to_owned(),
            validators: signed.validators.clone(),
        };
        let blobs: Vec<Digest> = [inrelease].into_iter().chain(detached).collect();
        store.put_keyed(SEEN, &self.key, &blobs, &seen)?;
        let confirmed = confirmed_key(&self.request.origin, place)?;
        if place.class == Class::Apt && store.keyed::<bool>(CONFIRMED, &confirmed).is_none() {
            store.put_keyed(CONFIRMED, &confirmed, &[], &true)?;
        }
        Ok(())
    }
}

/// Whether an archive found among apt's is the one meant. Others than Debian's are told by their key.
fn is_origin(origin: &str, release: &Release) -> Result<(), String> {
    let label = match origin {
        "debian" => "Debian",
        "debian-security" => "Debian-Security",
        _ => return Ok(()),
    };
    if release.origin.as_deref() == Some("Debian") && release.label.as_deref() == Some(label) {
        return Ok(());
    }
    Err(format!(
        "it is not the origin `{origin}`: its signed index says Origin `{}`, Label `{}`",
        release.origin.as_deref().unwrap_or_default(),
        release.label.as_deref().unwrap_or_default()
    ))
}

/// A package index that a suite must have.
struct Wanted {
    /// Which request it is for.
    suite: usize,
    component: String,
    architecture: String,
    /// The hash of its plain content; of the compressed file where the plain one's is not listed.
    key: Digest,
    /// The file to get.
    path: String,
    file: release::File,
    compression: Compression,
    /// Hash and size of the plain content, if listed.
    plain: Option<release::File>,
}

fn wanted_indexes(suite: usize, request: &SuiteRequest, head: &Head) -> Result<Vec<Wanted>> {
    let release = &head.release;
    let name = format!("the suite `{}` of the origin `{}`", request.suite, request.origin);
    let missing = |kind: &str, asked: &str, known: &[String]| {
        Error::new(format!("{name} has no {kind} `{asked}`"))
            .kind(Kind::NotFound)
            .hint(format!("it has: {}", known.join(", ")))
    };
    let mut wanted = Vec::new();
    for component in &request.components {
        if !release.components.contains(component) {
            return Err(missing("component", component, &release.components));
        }
        for architecture in &request.architectures {
            if !release.architectures.contains(architecture) {
                return Err(missing("architecture", architecture, &release.architectures));
            }
            let found = choose(release, suite, component, architecture).ok_or_else(|| {
                Error::new(format!("{name} lists no package index of {component} for {architecture}"))
                    .kind(Kind::NotFound)
            })?;
            wanted.push(found);
        }
        // Security archives list an index of `all` that they do not keep up; apt leaves it alone as well, since
        // `all` is not among the architectures there.
        let offered = !release.all_is_in_each_architecture && release.architectures.iter().any(|name| name == "all");
        let apart = offered && !request.architectures.iter().any(|name| name == "all");
        if apart {
            wanted.extend(choose(release, suite, component, "all"));
        }
    }
    Ok(wanted)
}

/// The best of the forms in which an index is offered.
fn choose(release: &Release, suite: usize, component: &str, architecture: &str) -> Option<Wanted> {
    let stem = format!("{component}/binary-{architecture}/Packages");
    let plain = release.files.get(&stem).copied();
    Compression::ALL.into_iter().find_map(|compression| {
        let path = format!("{stem}{}", compression.suffix());
        let file = *release.files.get(&path)?;
        Some(Wanted {
            suite,
            component: component.to_owned(),
            architecture: architecture.to_owned(),
            key: plain.unwrap_or(file).digest,
            path,
            file,
            compression,
            plain,
        })
    })
}

/// Fetches the indexes that the store does not have, and unpacks each as it arrives; by their place in `wanted`.
fn unpack_missing(
    access: &Access<'_>,
    requests: &[SuiteRequest],
    heads: &[Head],
    wanted: &[Wanted],
) -> Result<BTreeMap<usize, Vec<u8>>> {
    let mut downloads = Vec::new();
    let mut numbers = Vec::new();
    for (number, wanted) in wanted.iter().enumerate() {
        if index_file::is_stored(access.store, &wanted.key) {
            continue;
        }
        let request = &requests[wanted.suite];
        downloads.push(download(request, &heads[wanted.suite], wanted)?);
        numbers.push(number);
    }
    let unpacked = Mutex::new(BTreeMap::new());
    let failures = Mutex::new(BTreeMap::new());
    let unpack = |download: usize| {
        let number = numbers[download];
        let wanted = &wanted[number];
        let result =
            index_file::unpack(access.store, wanted.compression, &wanted.file.digest, wanted.plain, &wanted.key);
        match result.context(|| format!("unpacking {}", downloads[download].label)) {
            Ok(bytes) => drop(unpacked.lock().unwrap_or_else(PoisonError::into_inner).insert(number, bytes)),
            Err(error) => drop(failures.lock().unwrap_or_else(PoisonError::into_inner).insert(number, error)),
        }
    };
    // The network's threads hand over here to those that compute.
    rayon::in_place_scope(|scope| {
        let on_done = |download: usize| {
            let unpack = &unpack;
            scope.spawn(move |_| unpack(download));
        };
        access.client.download_all(access.store, &downloads, access.on_event, &on_done)
    })?;
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failures.into_values().next() {
        Some(error) => Err(error),
        None => Ok(unpacked.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

fn download(request: &SuiteRequest, head: &Head, wanted: &Wanted) -> Result<Download> {
    let label = format!("the package index of {} {} for {}", request.suite, wanted.component, wanted.architecture);
    let mut candidates = Vec::new();
    if let Some(place) = &head.place {
        let folder = format!("dists/{}", request.suite);
        if head.release.acquire_by_hash {
            let parent = wanted.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let path = format!("{folder}/{parent}/by-hash/SHA256/{}", wanted.file.digest);
            candidates.push(place.request(&path, wanted.file.size)?);
        }
        candidates.push(place.request(&format!("{folder}/{}", wanted.path), wanted.file.size)?);
    }
    Ok(Download { label, digest: wanted.file.digest, size: Some(wanted.file.size), candidates })
}
