//! Getting a file's metadata with as few bytes as the server allows: by itself (PEP 658), from the end of a wheel,
//! or from the whole file.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use super::filename::{Filename, Wheel};
use super::inside;
use super::metadata::{self, Stored};
use super::page::Announced;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::net::{Address, Client, Credentials, Download, Part, Request};
use crate::store::Store;

/// The end of a wheel that is asked for first: mostly its list of files and its metadata.
const END: u64 = 32 << 10;
/// What is asked for at once after that, at least.
const STEP: u64 = 16 << 10;
/// Of a wheel in parts no more is asked for, in bytes.
const MOST_IN_PARTS: u64 = 64 << 20;
/// No file is larger, in bytes.
const LARGEST: u64 = 8 << 30;
/// A file of which no hash is known goes through memory: no such one is larger, in bytes.
const LARGEST_UNKNOWN: u64 = 1 << 30;

/// A file on a server.
#[derive(Clone, Debug)]
pub(super) struct Remote<'a> {
    pub client: &'a Client,
    pub store: &'a Store,
    pub address: Address,
    pub credentials: Option<Credentials>,
    pub filename: &'a Filename,
    /// Its name, for people.
    pub name: &'a str,
    pub sha256: Option<Digest>,
    pub size: Option<u64>,
}

impl Remote<'_> {
    fn request(&self, address: Address, maximum: u64) -> Request {
        Request { address, maximum, credentials: self.credentials.clone(), gentle: None, accept: None }
    }

    /// Its metadata, from the wheel or source distribution itself.
    pub fn metadata(&self) -> Result<Stored> {
        match self.filename {
            Filename::Wheel(wheel) => match self.of_parts(wheel)? {
                Some(stored) => Ok(stored),
                None => inside::of_wheel(wheel, self.whole()?),
            },
            Filename::Source(source) => inside::of_source(source, self.whole()?),
        }
        .map_err(|error| {
            Error::new(format!("reading the metadata in {}", self.name)).kind(error.what()).caused_by(error)
        })
    }

    /// Its metadata as a file of its own, checked against the hash that was announced.
    pub fn separate_metadata(&self, announced: Announced) -> Result<Stored> {
        let what = || format!("getting the metadata of {}", self.name);
        let (address, _) = Address::parse(&format!("{}.metadata", self.address.as_str())).context(what)?;
        let bytes = self
            .client
            .get(&self.request(address, metadata::LARGEST))
            .map_err(|error| Error::new(what()).kind(error.what()).caused_by(error))?;
        let found = Digest::of(&bytes);
        if let Announced::Yes(Some(expected)) = announced
            && expected != found
        {
            // Not of the kind that rules a version out: somebody may want just that.
            return Err(Error::new(what())
                .caused_by(Error::new(format!("expected sha256 {expected}, found {found}")))
                .hint("the index or something before it gives wrong files: use another address of the origin"));
        }
        Ok(Stored::parse(&bytes).map_err(|error| Error::new(what()).kind(error.what()).caused_by(error))?.0)
    }

    /// The metadata of a wheel of which only parts are asked for; `None` if the server does not give parts.
    fn of_parts(&self, wheel: &Wheel) -> Result<Option<Stored>> {
        if self.address.file_path().is_some() {
            return Ok(None);
        }
        let request = self.request(self.address.clone(), MOST_IN_PARTS);
        let end = match self.client.part(&request, Part::Last(END)) {
            Ok(Some(end)) => end,
            // Some servers refuse what they do not know.
            Ok(None) => return Ok(None),
            Err(error) if matches!(error.what(), Kind::Network | Kind::NotFound) => return Err(error),
            Err(_) => return Ok(None),
        };
        let fetch = |start: u64, end: u64| match self.client.part(&request, Part::Between(start, end)) {
            Ok(Some(piece)) => Ok(piece.content),
            Ok(None) => Err(io::Error::other("the server gave a part, and then none")),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        let file = InParts {
            fetch: &fetch,
            size: end.total,
            fetched: end.content.len() as u64,
            pieces: BTreeMap::from([(end.start, end.content)]),
            position: 0,
        };
        match inside::of_wheel(wheel, file) {
            Ok(stored) => Ok(Some(stored)),
            // Whether the wheel is damaged or the server's parts are, the whole tells.
            Err(_) => Ok(None),
        }
    }

    /// The whole file, which the store keeps: whoever is chosen is fetched anyway.
    fn whole(&self) -> Result<Box<dyn ReadSeek>> {
        let Some(digest) = self.sha256 else {
            let bytes = self.client.get(&self.request(self.address.clone(), LARGEST_UNKNOWN))?;
            return Ok(Box::new(Cursor::new(bytes)));
        };
        if !self.store.contains(&digest) && !self.store.is_writable() {
            let bytes = self.client.get(&self.request(self.address.clone(), LARGEST_UNKNOWN))?;
            let found = Digest::of(&bytes);
            if found != digest {
                return Err(Error::new(format!("expected sha256 {digest}, found {found}")));
            }
            return Ok(Box::new(Cursor::new(bytes)));
        }
        let download = Download {
            label: self.name.to_owned(),
            digest,
            size: self.size,
            candidates: vec![self.request(self.address.clone(), LARGEST)],
        };
        self.client.download_all(self.store, &[download], &|_| {}, &|_| {}).map_err(|error| match error.what() {
            // A file that is not what its page says: no version is to be passed over for that.
            Kind::Corrupt => Error::new("downloading it").caused_by(error),
            _ => error,
        })?;
        Ok(Box::new(self.store.open_checked(&digest)?))
    }
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// A file of which parts are fetched when they are read.
struct InParts<'a> {
    fetch: &'a dyn Fn(u64, u64) -> io::Result<Vec<u8>>,
    size: u64,
    fetched: u64,
    /// By where they begin.
    pieces: BTreeMap<u64, Vec<u8>>,
    position: u64,
}

impl Read for InParts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some((start, piece)) = self.pieces.range(..=self.position).next_back() {
                let offset = usize::try_from(self.position - start).unwrap_or(usize::MAX);
                if let Some(rest) = piece.get(offset..).filter(|rest| !rest.is_empty()) {
                    let count = rest.len().min(buffer.len());
                    buffer[..count].copy_from_slice(&rest[..count]);
                    self.position += count as u64;
                    return Ok(count);
                }
            }
            let next = self.pieces.range(self.position..).next().map_or(self.size, |(start, _)| *start);
            let wanted = (buffer.len() as u64).max(STEP);
            let end = self.position.saturating_add(wanted).min(next).min(self.size);
            self.fetched = self.fetched.saturating_add(end - self.position);
            if self.fetched > MOST_IN_PARTS {
                return Err(io::Error::other(format!("its metadata needs more than {MOST_IN_PARTS} bytes of it")));
            }
            let piece = (self.fetch)(self.position, end)?;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.pieces.insert(self.position, piece);
        }
    }
}

impl Seek for InParts<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
