//! An index on servers: its answers are remembered while the client lives, and kept in the store.
//!
//! A page is asked for once; what the store has of it is used while the server said it stays good, and otherwise
//! confirmed. What a file says of itself never changes: once known, it is not asked for again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use url::Url;

use super::fetch::Remote;
use super::filename::Filename;
use super::index::{Direct, File, FileKind, Index, Project};
use super::listing::Listing;
use super::metadata::{Metadata, Stored};
use super::name::Name;
use super::page::{self, Announced, Listed};
use crate::canonical;
use crate::digest::Digest;
use crate::ecosystem::origin::Place;
use crate::error::{Context, Error, Kind, Result};
use crate::net::{self, Address, Credentials, PageAnswer, Request, Validators};
use crate::store::Store;

const PAGE: &str = "pypi-page";
const METADATA: &str = "pypi-metadata";

/// See the module's documentation.
pub struct Client<'a> {
    net: &'a net::Client,
    store: &'a Store,
    origins: BTreeMap<String, Origin>,
    /// Seconds since 1970, for what expires.
    now: u64,
    projects: Mutex<BTreeMap<(String, Name), Cell<Project>>>,
    metadata: Mutex<BTreeMap<String, Cell<Metadata>>>,
}

type Cell<T> = Arc<OnceLock<Result<Arc<T>>>>;

struct Origin {
    places: Vec<Place>,
    /// Whether it gives wheels' metadata by itself although its pages do not say so: see `SILENT`.
    silent: AtomicU8,
}

/// Not known yet.
const SILENT: u8 = 0;
/// It does.
const GIVES: u8 = 1;
/// It does not.
const REFUSES: u8 = 2;

/// What the store keeps of a page.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Its listing, packed.
    packed: Digest,
    /// Of the listing, in bytes.
    size: u64,
    validators: Validators,
    /// When it was confirmed, in seconds since 1970.
    asked: u64,
    /// For so many seconds it then was good.
    fresh: u64,
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("origins", &self.origins.keys()).finish_non_exhaustive()
    }
}

impl<'a> Client<'a> {
    /// A client of origins that are at these places, the best place first. `now` is in seconds since 1970.
    pub fn new(net: &'a net::Client, store: &'a Store, origins: BTreeMap<String, Vec<Place>>, now: u64) -> Self {
        let origin = |places| Origin { places, silent: AtomicU8::new(SILENT) };
        Self {
            net,
            store,
            origins: origins.into_iter().map(|(name, places)| (name, origin(places))).collect(),
            now,
            projects: Mutex::default(),
            metadata: Mutex::default(),
        }
    }

    /// What a project's page at one place lists.
    fn listing(&self, place: &Place, name: &Name) -> Result<Listing> {
        let address = place.address.below(name.as_str())?.as_folder();
        let key = Digest::of(&canonical::to_vec(&(PAGE, address.as_str()))?);
        let kept: Option<Kept> = self.store.keyed(PAGE, &key);
        if let Some(kept) = &kept {
            let good = self.now >= kept.asked && self.now - kept.asked < kept.fresh;
            if (good || self.net.is_offline())
                && let Ok(listing) = self.unpacked(kept)
            {
                return Ok(listing);
            }
        }
        let request = Request {
            address,
            maximum: page::LARGEST,
            credentials: place.credentials.clone(),
            gentle: None,
            accept: None,
        };
        let accept = format!("{}, {};q=0.2, text/html;q=0.1", page::JSON, page::HTML);
        let known = kept.as_ref().map(|kept| kept.validators.clone()).unwrap_or_default();
        let answer = match (self.net.page(&request, &accept, &known)?, kept) {
            (PageAnswer::Unchanged { fresh }, Some(kept)) => match self.unpacked(&kept) {
                Ok(listing) => {
                    self.keep(&key, &Kept { asked: self.now, fresh, ..kept })?;
                    return Ok(listing);
                }
                // The store's copy is damaged.
                Err(_) => self.net.page(&request, &accept, &Validators::default())?,
            },
            (answer, _) => answer,
        };
        let PageAnswer::Content(page) = answer else {
            return Err(Error::new(format!(
                "{}: the server answered 304 to an unconditional request",
                request.address
            ))
            .kind(Kind::Network));
        };
        let from = Url::parse(page.address.as_str())?;
        let listing = Listing::of(&page::parse(&page.content, page.media_type.as_deref(), &from, name)?);
        if self.store.is_writable() {
            let packed = self.store.put(&zstd::bulk::compress(listing.text().as_bytes(), 1)?)?;
            let size = listing.text().len() as u64;
            let kept = Kept { packed, size, validators: page.validators, asked: self.now, fresh: page.fresh };
            self.keep(&key, &kept)?;
        }
        Ok(listing)
    }

    fn keep(&self, key: &Digest, kept: &Kept) -> Result<()> {
        if !self.store.is_writable() {
            return Ok(());
        }
        self.store.put_keyed(PAGE, key, &[kept.packed], kept)
    }

    fn unpacked(&self, kept: &Kept) -> Result<Listing> {
        let size = usize::try_from(kept.size.min(2 * page::LARGEST))?;
        let text = zstd::bulk::decompress(&self.store.read(&kept.packed)?, size)?;
        Listing::read(String::from_utf8(text)?)
    }

    /// What a file says of itself, from the store if it was known before.
    fn stored(&self, remote: &Remote<'_>, get: impl FnOnce() -> Result<Stored>) -> Result<Stored> {
        // The hash names the content wherever it is; without one, the address has to do.
        let name = match remote.sha256 {
            Some(digest) => digest.to_string(),
            None => remote.address.as_str().to_owned(),
        };
        let key = Digest::of(&canonical::to_vec(&(METADATA, 1, name))?);
        if let Some(stored) = self.store.keyed::<Stored>(METADATA, &key) {
            return Ok(stored);
        }
        let stored = get()?;
        if self.store.is_writable() {
            self.store.put_keyed(METADATA, &key, &[], &stored)?;
        }
        Ok(stored)
    }

    fn ask_metadata(&self, project: &Project, listed: &Listed) -> Result<Metadata> {
        let url = project.address(listed)?;
        let (address, own) = Address::parse(url.as_str())?;
        let origin = self.origins.get(&project.origin);
        let remote = Remote {
            client: self.net,
            store: self.store,
            credentials: own.or_else(|| origin.and_then(|origin| credentials(&origin.places, &address))),
            address,
            filename: &listed.filename,
            name: &listed.name,
            sha256: listed.sha256,
            size: listed.size,
        };
        let get = || match (listed.metadata, &listed.filename, origin) {
            (announced @ Announced::Yes(_), Filename::Wheel(_), _) => match remote.separate_metadata(announced) {
                // It was promised and is not there: the wheel has it.
                Err(error) if error.what() == Kind::NotFound => remote.metadata(),
                other => other,
            },
            (Announced::No, Filename::Wheel(_), Some(origin)) => silent(origin, &remote),
            _ => remote.metadata(),
        };
        let metadata = self.stored(&remote, get)?.read()?;
        check(&metadata, &project.name, &listed.filename, &listed.name)?;
        Ok(metadata)
    }

    fn ask_direct(&self, name: &Name, url: &Url) -> Result<Direct> {
        let what = || format!("getting {name} from its address");
        let last = net::percent_decoded(url.path().rsplit('/').next().unwrap_or_default());
        let filename = Filename::parse(&last, name).ok_or_else(|| {
            Error::no(format!("the address of {name} ends in `{}`, which is no file of it", last.escape_debug()))
                .hint("an address has to end in the name of a wheel, `.tar.gz` or `.zip`")
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::no(format!("the address of {name} is a `{}:` address: http or https is", url.scheme())));
        }
        let (address, credentials) = Address::parse(url.as_str()).context(what)?;
        let hash = url.fragment().unwrap_or_default().split('&').find_map(|part| part.strip_prefix("sha256="));
        let sha256 = hash.map(|hash| hash.to_ascii_lowercase().parse()).transpose().context(what)?;
        let places = self.origins.values().flat_map(|origin| &origin.places).cloned().collect::<Vec<_>>();
        let credentials = credentials.or_else(|| self::credentials(&places, &address));
        let remote = Remote {
            client: self.net,
            store: self.store,
            credentials,
            filename: &filename,
            name: &last,
            sha256,
            size: None,
            address,
        };
        let metadata = self.stored(&remote, || remote.metadata()).and_then(|stored| stored.read()).context(what)?;
        check(&metadata, name, &filename, &last)?;
        let url = remote.address.as_str().to_owned();
        let kind = FileKind::of(&filename);
        let file = File { filename: last.clone(), url, sha256, size: None, origin: None, kind };
        Ok(Direct { file, metadata: Arc::new(metadata), filename })
    }

    fn ask_project(&self, name: &Name, origin: &str) -> Result<Project> {
        let what = || format!("asking the origin `{origin}` for {name}");
        let places = self.origins.get(origin).map(|known| known.places.as_slice()).unwrap_or_default();
        if places.is_empty() {
            return Err(super::origin::unknown(origin));
        }
        let mut reasons = Vec::new();
        for place in places {
            match self.listing(place, name) {
                Ok(listing) => return Project::new(name.clone(), origin.to_owned(), listing),
                Err(error) => reasons.push(error),
            }
        }
        // One that could not be asked may know what the others do not.
        reasons.sort_by_key(|error| error.what() == Kind::NotFound);
        let kind = reasons[0].what();
        Err(reasons.into_iter().fold(Error::new(what()).kind(kind), Error::caused_by))
    }
}

impl Client<'_> {
    /// Where to ask for the file with this name of a project, as its origin lists it; no more than `maximum` bytes.
    pub fn requests(&self, name: &Name, origin: &str, filename: &str, maximum: u64) -> Result<Vec<Request>> {
        let project = self.project(name, origin)?;
        let releases = (0..project.versions().len()).map(|at| project.release(at));
        let mut files = releases.flat_map(|release| release.wheels.iter().chain(&release.sources));
        let listed = files.find(|listed| listed.name == filename).ok_or_else(|| {
            Error::new(format!("the origin `{origin}` lists no `{filename}` of `{name}`")).kind(Kind::NotFound)
        })?;
        let mut request = Request::new(project.address(listed)?.as_str(), maximum)?;
        let places = self.origins.get(origin).map(|origin| origin.places.as_slice()).unwrap_or_default();
        request.credentials = request.credentials.or_else(|| credentials(places, &request.address));
        Ok(vec![request])
    }
}

/// The metadata of a wheel whose page says nothing of it: many servers give it all the same.
fn silent(origin: &Origin, remote: &Remote<'_>) -> Result<Stored> {
    if origin.silent.load(Ordering::Relaxed) != REFUSES {
        match remote.separate_metadata(Announced::No) {
            Ok(stored) => {
                origin.silent.store(GIVES, Ordering::Relaxed);
                return Ok(stored);
            }
            // One wheel without does not speak for the others.
            Err(_) if origin.silent.load(Ordering::Relaxed) == GIVES => {}
            Err(_) => origin.silent.store(REFUSES, Ordering::Relaxed),
        }
    }
    remote.metadata()
}

/// What a file says must be what its name says.
fn check(metadata: &Metadata, project: &Name, filename: &Filename, shown: &str) -> Result<()> {
    if metadata.name == *project && metadata.version == *filename.version() {
        return Ok(());
    }
    // Wheels of local versions built from a public one keep its number inside.
    let public = |version: &pep440_rs::Version| version.clone().without_local();
    if metadata.name == *project && public(&metadata.version) == public(filename.version()) {
        return Ok(());
    }
    Err(Error::new(format!("{shown} says of itself that it is {} {}", metadata.name, metadata.version))
        .kind(Kind::Corrupt))
}

/// What to show to a server: what a place on it wants.
fn credentials(places: &[Place], address: &Address) -> Option<Credentials> {
    let server = |address: &Address| (address.scheme().to_owned(), address.host().to_owned(), address.port());
    let own = server(address);
    places.iter().find(|place| server(&place.address) == own).and_then(|place| place.credentials.clone())
}

/// The one answer to a question, whoever asks first.
fn once<K: Ord, T>(cells: &Mutex<BTreeMap<K, Cell<T>>>, key: K, ask: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
    let cell = Arc::clone(cells.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
    cell.get_or_init(|| ask().map(Arc::new)).clone()
}

impl Index for Client<'_> {
    fn project(&self, name: &Name, origin: &str) -> Result<Arc<Project>> {
        once(&self.projects, (origin.to_owned(), name.clone()), || self.ask_project(name, origin))
    }

    fn metadata(&self, project: &Project, file: &Listed) -> Result<Arc<Metadata>> {
        let key = format!("{} {} {}", project.origin, project.name, file.name);
        once(&self.metadata, key, || self.ask_metadata(project, file))
    }

    fn direct(&self, name: &Name, url: &Url) -> Result<Arc<Direct>> {
        self.ask_direct(name, url).map(Arc::new)
    }
}
