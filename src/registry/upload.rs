//! Putting blobs and manifests into a registry (OCI distribution specification, pushing).

use super::answer::{LARGEST, refused};
use super::client::Registry;
use super::reference::Reference;
use super::token::Access;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::net::{Address, Outbound, Outgoing, Reply};
use crate::store::Store;

/// Uploads of one blob that are begun before it is given up, each going on where the last one broke off if the
/// registry knows where that is.
const TRIES: u32 = 4;

/// How a blob has come to be in a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Uploaded {
    /// It was there.
    Existing,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

impl Registry<'_> {
    /// Makes sure that `reference`'s repository has a blob of the store. `elsewhere` is a repository of the same
    /// registry that may have it.
    pub fn upload(
        &self,
        store: &Store,
        reference: &Reference,
        digest: &Digest,
        elsewhere: Option<&str>,
    ) -> Result<Uploaded> {
        let what = || format!("pushing the blob {} to {}", digest.oci(), reference.name());
        self.upload_blob(store, reference, digest, elsewhere).context(what)
    }

    fn upload_blob(
        &self,
        store: &Store,
        reference: &Reference,
        digest: &Digest,
        elsewhere: Option<&str>,
    ) -> Result<Uploaded> {
        let blob = self.address(reference, &format!("blobs/{}", digest.oci()))?;
        let there = self.send(reference, Access::Push, Outgoing::new("HEAD", blob, LARGEST))?;
        if there.status == 200 {
            return Ok(Uploaded::Existing);
        }
        // A damaged blob is found out before a byte of it is sent.
        drop(store.open_checked(digest)?);
        let length = store.size(digest).context(|| "its size")?;
        let mut session = match self.begin(reference, digest, elsewhere)? {
            Begun::Mounted => return Ok(Uploaded::Mounted),
            Begun::Session(session) => session,
        };
        let mut from = 0;
        for attempt in 1.. {
            let content = Outbound::File { path: store.blob_path(digest), from, length };
            let error = match self.transfer(reference, &session, digest, content) {
                Ok(()) => return Ok(Uploaded::Sent),
                Err(error) => error,
            };
            // What a registry says of a continued upload may only mean that it has lost count.
            let network = error.what() == crate::error::Kind::Network;
            if attempt == TRIES || !(network || from > 0) {
                return Err(error);
            }
            match self.progress(reference, &session).filter(|_| network) {
                Some((address, at)) if at <= length => (session, from) = (address, at),
                _ => match self.begin(reference, digest, None)? {
                    Begun::Mounted => return Ok(Uploaded::Mounted),
                    Begun::Session(address) => (session, from) = (address, 0),
                },
            }
        }
        Err(Error::new("it was given up"))
    }

    /// Begins an upload, or has the registry take the blob from another repository.
    fn begin(&self, reference: &Reference, digest: &Digest, elsewhere: Option<&str>) -> Result<Begun> {
        let mut address = self.address(reference, "blobs/uploads")?.as_folder();
        if let Some(from) = elsewhere {
            address = address.with_query(&[("mount", &digest.oci()), ("from", from)]);
        }
        let reply = self.send(reference, Access::Push, Outgoing::new("POST", address.clone(), LARGEST))?;
        match reply.status {
            201 if elsewhere.is_some() => Ok(Begun::Mounted),
            202 => location(&address, &reply).map(Begun::Session),
            // Who may not read the other repository may still write to this one.
            401 | 403 | 404 | 405 if elsewhere.is_some() => self.begin(reference, digest, None),
            _ => Err(refused(&reply)),
        }
    }

    /// Sends what is left of a blob, and ends the upload.
    fn transfer(&self, reference: &Reference, session: &Address, digest: &Digest, content: Outbound) -> Result<()> {
        let octets = ("content-type", "application/octet-stream".to_owned());
        let Outbound::File { from, length, .. } = content else { return Err(Error::new("no file is to be sent")) };
        let mut end = session.clone();
        // All at once, unless a part is there already.
        let mut last = content;
        if from > 0 {
            if from < length {
                let mut patch = Outgoing::new("PATCH", session.clone(), LARGEST);
                let range = ("content-range", format!("{from}-{}", length - 1));
                patch = Outgoing { content: last, headers: vec![octets.clone(), range], repeatable: false, ..patch };
                let reply = self.send(reference, Access::Push, patch)?;
                if reply.status != 202 {
                    return Err(refused(&reply));
                }
                end = location(session, &reply)?;
            }
            last = Outbound::Nothing;
        }
        let put = Outgoing::new("PUT", end.with_query(&[("digest", &digest.oci())]), LARGEST);
        let put = Outgoing { content: last, headers: vec![octets], repeatable: false, ..put };
        let reply = self.send(reference, Access::Push, put)?;
        if reply.status == 201 { Ok(()) } else { Err(refused(&reply)) }
    }

    /// Where a broken upload goes on, and from which byte; `None` if the registry does not know.
    fn progress(&self, reference: &Reference, session: &Address) -> Option<(Address, u64)> {
        let reply = self.send(reference, Access::Push, Outgoing::new("GET", session.clone(), LARGEST)).ok()?;
        let last = reply.header("range")?.trim_start_matches("bytes=").strip_prefix("0-")?.parse::<u64>().ok()?;
        // `0-0` stands for nothing and for one byte: it is begun anew.
        (reply.status == 204 && last > 0).then_some((location(session, &reply).ok()?, last + 1))
    }

    /// Puts a manifest or an index into the repository, under its digest, or under `tag`.
    pub fn put_manifest(&self, reference: &Reference, media_type: &str, bytes: &[u8], tag: Option<&str>) -> Result<()> {
        let digest = Digest::of(bytes);
        let name = tag.map_or_else(|| digest.oci(), str::to_owned);
        let mut outgoing = Outgoing::new("PUT", self.address(reference, &format!("manifests/{name}"))?, LARGEST);
        outgoing.headers.push(("content-type", media_type.to_owned()));
        outgoing.content = Outbound::Bytes(bytes.to_vec());
        let what = || format!("pushing the manifest {} to {}", digest.oci(), reference.name());
        let reply = self.send(reference, Access::Push, outgoing).context(what)?;
        if reply.status != 201 {
            return Err(refused(&reply)).context(what);
        }
        match reply.header("docker-content-digest") {
            Some(found) if found != digest.oci() => {
                Err(Error::new(format!("the registry calls it {found}, expected {}", digest.oci()))).context(what)
            }
            _ => Ok(()),
        }
    }
}

/// What a registry answers to the wish to upload.
enum Begun {
    Mounted,
    /// Where to send it.
    Session(Address),
}

/// Where an upload goes on.
fn location(from: &Address, reply: &Reply) -> Result<Address> {
    let location = reply.header("location").context(|| "the registry does not say where to send it")?;
    let to = from.redirected(location)?;
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(Error::new(format!("the registry wants it sent to {to}, which is not encrypted")));
    }
    Ok(to)
}
