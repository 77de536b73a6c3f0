//! Many artifacts into the store at once: each resumed, checked against its hash, asked for at one address
//! after the other.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use reqwest::{Response, StatusCode, header};

use super::exchange::{Conditions, Failure};
use super::{Client, Request, body};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::store::Store;

/// Attempts at one address, however much progress each makes.
const MOST_TRIES: u32 = 30;

/// An artifact to have in the store.
#[derive(Clone, Debug)]
pub struct Download {
    /// What people call it: a package with its version, an index.
    pub label: String,
    /// What its content must hash to.
    pub digest: Digest,
    /// Its size in bytes, if known beforehand; nothing larger or smaller is accepted.
    pub size: Option<u64>,
    /// Where to ask, in this order.
    pub candidates: Vec<Request>,
}

/// What happens during [`Client::download_all`]. `index` counts the downloads from 0.
#[derive(Clone, Debug)]
pub enum Event {
    /// The first address is about to be asked; `have` bytes are there from an earlier run.
    Started { index: usize, size: Option<u64>, have: u64 },
    /// So many more bytes have arrived.
    Progress { index: usize, bytes: u64 },
    /// What had arrived was no good: so many bytes less are there.
    Discarded { index: usize, bytes: u64 },
    /// An attempt failed and another one follows.
    Retry { index: usize, reason: String },
    /// It is in the store.
    Done { index: usize },
}

impl Client {
    /// Brings every artifact into the store.
    ///
    /// `on_done(index)` is called as each arrives (at once for those the store has already), from the thread
    /// that brought it. All are attempted; the error at the end lists, for each one that is missing, every
    /// address asked with what came of it. It is [`Kind::NotFound`] if all addresses said so, and
    /// [`Kind::Network`] if only the network was at fault.
    pub fn download_all(
        &self,
        store: &Store,
        downloads: &[Download],
        on_event: &(dyn Fn(Event) + Sync),
        on_done: &(dyn Fn(usize) + Sync),
    ) -> Result<()> {
        let mut missing = Vec::new();
        for (index, download) in downloads.iter().enumerate() {
            if store.contains(&download.digest) {
                on_event(Event::Done { index });
                on_done(index);
            } else {
                missing.push(index);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        // Says what is wrong with a store that cannot be written to, before anything is asked.
        drop(store.writer()?);
        let next = AtomicUsize::new(0);
        let failures: Mutex<Vec<(usize, Error)>> = Mutex::new(Vec::new());
        let work = || {
            while let Some(&index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.download(store, &downloads[index], index, on_event) {
                    Ok(()) => {
                        on_event(Event::Done { index });
                        on_done(index);
                    }
                    Err(error) => failures.lock().unwrap_or_else(PoisonError::into_inner).push((index, error)),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.settings.concurrency.clamp(1, missing.len()) {
                scope.spawn(work);
            }
        });
        let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by_key(|(index, _)| *index);
        combined(failures.into_iter().map(|(_, error)| error).collect())
    }

    /// Brings what is at an address into the store, its hash unknown before; its digest and size in bytes. Without a
    /// hash nothing can be resumed safely: each attempt takes all of it.
    pub fn download_unknown(&self, store: &Store, request: &Request) -> Result<(Digest, u64)> {
        let what = || format!("downloading {}", request.address);
        if let Some(path) = request.address.file_path() {
            let mut writer = store.writer()?;
            let mut file = body::open_file(&path)?.take(request.maximum.saturating_add(1));
            let size = std::io::copy(&mut file, &mut writer).context(what)?;
            if size > request.maximum {
                return Err(body::too_much(size, request.maximum)).context(what);
            }
            return writer.finish();
        }
        self.require_online(&request.address)?;
        let engine = self.engine()?;
        engine
            .runtime
            .block_on(async {
                let mut tries = 0;
                loop {
                    tries += 1;
                    match self.download_unknown_once(&engine.http, store, request).await {
                        Ok(found) => return Ok::<_, Error>(found),
                        Err(failure) => self.pause_before_retry(failure, tries).await?,
                    }
                }
            })
            .context(what)
    }

    async fn download_unknown_once(
        &self,
        http: &reqwest::Client,
        store: &Store,
        request: &Request,
    ) -> Result<(Digest, u64), Failure> {
        let _place = self.place(request).await;
        let mut response = self.exchange(http, request, &Conditions::default()).await?;
        if let Some(length) = response.content_length().filter(|length| *length > request.maximum) {
            return Err(Failure::lasting(body::too_much(length, request.maximum)));
        }
        let mut writer = store.writer().map_err(Failure::lasting)?;
        let mut size = 0;
        while let Some(chunk) = body::next_chunk(self, &mut response).await? {
            size += chunk.len() as u64;
            if size > request.maximum {
                return Err(Failure::lasting(body::too_much(size, request.maximum)));
            }
            writer.write_all(&chunk).context(|| "writing to the store").map_err(Failure::lasting)?;
        }
        writer.finish().map_err(Failure::lasting)
    }

    fn download(
        &self,
        store: &Store,
        download: &Download,
        index: usize,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<()> {
        // Only one process or thread fetches an artifact; the others find it when it is there.
        let _lock = store.lock_key("download", &download.digest)?;
        if store.contains(&download.digest) {
            return Ok(());
        }
        let partial = store.partial(&download.digest);
        let have = fs::metadata(&partial).map_or(0, |metadata| metadata.len());
        on_event(Event::Started { index, size: download.size, have });
        let transfer = Transfer { client: self, store, download, index, on_event, partial: &partial };
        let mut reasons = Vec::new();
        for request in &download.candidates {
            match transfer.candidate(request) {
                Ok(()) => return Ok(()),
                Err(error) => reasons.push((request, error)),
            }
        }
        Err(tried(download, reasons))
    }
}

/// One artifact's way into the store.
struct Transfer<'a> {
    client: &'a Client,
    store: &'a Store,
    download: &'a Download,
    index: usize,
    on_event: &'a (dyn Fn(Event) + Sync),
    partial: &'a Path,
}

impl Transfer<'_> {
    /// Everything that is done at one address.
    fn candidate(&self, request: &Request) -> Result<()> {
        if let Some(path) = request.address.file_path() {
            return self.copy(&path);
        }
        self.client.require_online(&request.address)?;
        let resumed = self.run(request)?;
        match self.adopt() {
            // What was there before may have been the part that was wrong.
            Err(error) if error.what() == Kind::Corrupt && resumed => {
                (self.on_event)(Event::Retry { index: self.index, reason: error.to_string() });
                self.run(request)?;
                self.adopt()
            }
            other => other,
        }
    }

    /// Attempts until the file is complete; whether it began with bytes from before.
    fn run(&self, request: &Request) -> Result<bool> {
        let engine = self.client.engine()?;
        engine.runtime.block_on(async {
            let mut resumed = false;
            let (mut fruitless, mut tries) = (0, 0);
            loop {
                tries += 1;
                let before = self.have();
                resumed |= before > 0 && tries == 1;
                let Err(failure) = self.attempt(&engine.http, request).await else { return Ok(resumed) };
                fruitless = if self.have() > before { 1 } else { fruitless + 1 };
                let count = if tries >= MOST_TRIES { self.client.settings.tries } else { fruitless };
                let reason = failure.error.to_string();
                self.client.pause_before_retry(failure, count).await?;
                (self.on_event)(Event::Retry { index: self.index, reason });
            }
        })
    }

    async fn attempt(&self, http: &reqwest::Client, request: &Request) -> Result<(), Failure> {
        let have = self.have();
        if self.download.size == Some(have) && have > 0 {
            return Ok(());
        }
        let _place = self.client.place(request).await;
        let conditions = Conditions { from: have, ..Conditions::default() };
        let mut response = match self.client.exchange(http, request, &conditions).await {
            Ok(response) => response,
            // 416: what is there is longer than the server's file, or as long.
            Err(failure) if have > 0 && failure.error.message().contains("answered 416") => {
                self.discard().map_err(Failure::lasting)?;
                return Err(Failure::passing("the server has no more bytes than were there, starting again"));
            }
            Err(failure) => return Err(failure),
        };
        let start = self.start(&response, have)?;
        let limit = self.download.size.unwrap_or(request.maximum);
        self.check_length(&response, start, limit)?;
        let mut file = self.open(start).map_err(Failure::lasting)?;
        let mut size = start;
        while let Some(chunk) = body::next_chunk(self.client, &mut response).await? {
            size += chunk.len() as u64;
            if size > limit {
                self.discard().map_err(Failure::lasting)?;
                return Err(Failure::lasting(Error::new(format!(
                    "the file goes on after {limit} bytes, where it should end"
                ))));
            }
            file.write_all(&chunk)
                .context(|| format!("writing {}", self.partial.display()))
                .map_err(Failure::lasting)?;
            (self.on_event)(Event::Progress { index: self.index, bytes: chunk.len() as u64 });
        }
        match self.download.size {
            Some(expected) if size < expected => {
                Err(Failure::passing(format!("the transfer ended after {size} of {expected} bytes")))
            }
            _ => Ok(()),
        }
    }

    /// The byte at which the answer's content begins.
    fn start(&self, response: &Response, have: u64) -> Result<u64, Failure> {
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(0);
        }
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
        match range.and_then(content_range) {
            Some((first, total)) if first == have && total.is_none_or(|total| self.fits(total)) => Ok(first),
            _ => {
                self.discard().map_err(Failure::lasting)?;
                Err(Failure::passing(format!(
                    "asked for the bytes from {have} on, the server sent `{}`, starting again",
                    range.unwrap_or("no range")
                )))
            }
        }
    }

    fn fits(&self, total: u64) -> bool {
        self.download.size.is_none_or(|size| size == total)
    }

    /// A wrong size is refused before a byte of it is taken.
    fn check_length(&self, response: &Response, start: u64, limit: u64) -> Result<(), Failure> {
        let Some(total) = response.content_length().map(|length| length.saturating_add(start)) else { return Ok(()) };
        if self.download.size.is_some_and(|size| size != total) {
            return Err(Failure::lasting(Error::new(format!(
                "the server's file has {total} bytes, {limit} were expected"
            ))));
        }
        if total > limit {
            return Err(Failure::lasting(body::too_much(total, limit)));
        }
        Ok(())
    }

    /// The partial file, to be continued at `start`.
    fn open(&self, start: u64) -> Result<File> {
        let context = || format!("writing {}", self.partial.display());
        let mut file = File::options().create(true).truncate(false).write(true).open(self.partial).context(context)?;
        let length = file.metadata().context(context)?.len();
        if length > start {
            (self.on_event)(Event::Discarded { index: self.index, bytes: length - start });
        }
        file.set_len(start).context(context)?;
        file.seek(SeekFrom::Start(start)).context(context)?;
        Ok(file)
    }

    fn have(&self) -> u64 {
        fs::metadata(self.partial).map_or(0, |metadata| metadata.len())
    }

    fn discard(&self) -> Result<()> {
        let bytes = self.have();
        match fs::remove_file(self.partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::new(format!("removing {}", self.partial.display())).caused_by(error))
            }
            _ => {
                (self.on_event)(Event::Discarded { index: self.index, bytes });
                Ok(())
            }
        }
    }

    /// Gives the complete file to the store, which hashes it; a wrong one is thrown away.
    fn adopt(&self) -> Result<()> {
        let result = self.store.adopt(self.partial, &self.download.digest);
        if result.as_ref().is_err_and(|error| error.what() == Kind::Corrupt) {
            self.discard()?;
        }
        result
    }

    /// A file of this machine (or mounted on it).
    fn copy(&self, path: &Path) -> Result<()> {
        let mut from = body::open_file(path)?;
        let size = from.metadata().context(|| format!("reading {}", path.display()))?.len();
        if !self.fits(size) {
            return Err(Error::new(format!(
                "the file has {size} bytes, {} were expected",
                self.download.size.unwrap_or_default()
            )));
        }
        let mut to = self.open(0)?;
        io::copy(&mut from, &mut to).context(|| format!("copying {}", path.display()))?;
        drop(to);
        (self.on_event)(Event::Progress { index: self.index, bytes: size });
        self.adopt()
    }
}

/// The first byte and, if known, the whole file's size in a `Content-Range` (RFC 9110, 14.4).
pub(super) fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

/// The error of an artifact that none of its addresses gave.
fn tried(download: &Download, reasons: Vec<(&Request, Error)>) -> Error {
    let error = Error::new(format!("{} could not be had", download.label))
        .kind(common_kind(reasons.iter().map(|(_, error)| error.what())));
    if reasons.is_empty() {
        return error.caused_by(Error::new(format!("no address is known for it (sha256 {})", download.digest)));
    }
    let kind = error.what();
    let error = reasons.into_iter().fold(error, |error, (request, reason)| {
        let text = format!("{}: {reason}", request.address);
        reason.hints().iter().cloned().fold(error.caused_by(Error::new(text)), Error::hint)
    });
    match kind {
        _ if !error.hints().is_empty() => error,
        Kind::NotFound => {
            error.hint("archives remove what they have replaced: `kiln update` moves pins to what is there")
        }
        Kind::Corrupt => {
            error.hint("a mirror or a proxy on the way serves something else under this name: try another")
        }
        Kind::Network => error.hint("run the command again when the address answers: what is there already is kept"),
        _ => error,
    }
}

/// `NotFound` or `Network` if all are; a `Network` among them means that a later run may do better.
pub(crate) fn common_kind(kinds: impl Iterator<Item = Kind>) -> Kind {
    let kinds: Vec<Kind> = kinds.collect();
    match kinds.first() {
        Some(first) if kinds.iter().all(|kind| kind == first) => *first,
        Some(_) if kinds.contains(&Kind::Network) => Kind::Network,
        _ => Kind::Trouble,
    }
}

fn combined(mut errors: Vec<Error>) -> Result<()> {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        count => {
            let kind = common_kind(errors.iter().map(Error::what));
            Err(errors
                .into_iter()
                .fold(Error::new(format!("{count} artifacts could not be had")).kind(kind), Error::caused_by))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::content_range;

    #[test]
    fn content_ranges_are_read_strictly() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["bytes */10", "bytes 9-5/10", "bytes 5-10/10", "5-9/10", "bytes 5-9", "bytes a-9/10"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
