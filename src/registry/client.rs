//! Asking registries: with the right proof, without encryption where that is the custom, by tag or digest.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::answer::refused;
use super::credentials::Logins;
use super::reference::Reference;
use super::token::{self, Access};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::net::{Address, Client, Credentials, Outgoing, Reply, Request};

/// The largest manifest that is taken, in bytes: registries have to take those of 4 MiB.
const LARGEST_MANIFEST: u64 = 4 << 20;

/// The media types of manifests and indexes that are understood, as asked for.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json";

/// The registries that images are had from and put into.
#[derive(Debug)]
pub struct Registry<'a> {
    client: &'a Client,
    logins: Logins,
    /// Registries that are asked without encryption, besides those of this machine: `HOST` or `HOST:PORT`.
    plain: Vec<String>,
    /// What was found to be sent, by registry, repository and what it is for.
    proofs: Mutex<BTreeMap<(String, String, Access), Option<Credentials>>>,
}

/// A manifest as a registry keeps it.
#[derive(Clone, Debug)]
pub struct Document {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl<'a> Registry<'a> {
    pub fn new(client: &'a Client, logins: Logins, plain: Vec<String>) -> Self {
        Self { client, logins, plain, proofs: Mutex::default() }
    }

    /// The manifest or index that `reference` names. By digest, it is what the digest says.
    ///
    /// [`Kind::NotFound`] if the registry says that there is none.
    pub fn manifest(&self, reference: &Reference) -> Result<Document> {
        let path = format!("manifests/{}", reference.manifest());
        let what = || format!("asking {} for {reference}", reference.host());
        let mut outgoing = Outgoing::new("GET", self.address(reference, &path)?, LARGEST_MANIFEST);
        outgoing.headers.push(("accept", MANIFESTS.to_owned()));
        let reply = self.send(reference, Access::Pull, outgoing).context(what)?;
        match reply.status {
            200 => {}
            404 => {
                return Err(Error::new(format!("there is no {reference}"))
                    .kind(Kind::NotFound)
                    .hint("are the repository and the tag spelled so?"));
            }
            _ => return Err(refused(&reply)).context(what),
        }
        let digest = Digest::of(&reply.content);
        if let Some(expected) = reference.digest.filter(|expected| *expected != digest) {
            let message = format!("{reference}: expected sha256 {expected}, the registry sent {digest}");
            return Err(Error::new(message).kind(Kind::Corrupt));
        }
        let media_type = reply.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        Ok(Document { digest, media_type: media_type.trim().to_owned(), bytes: reply.content })
    }

    /// The digest that the registry has under `reference`'s tag or digest, if there is anything.
    pub fn digest(&self, reference: &Reference) -> Result<Option<Digest>> {
        match self.manifest(reference) {
            Ok(document) => Ok(Some(document.digest)),
            Err(error) if error.what() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How to download a blob of at most `maximum` bytes from `reference`'s repository.
    pub fn blob(&self, reference: &Reference, digest: &Digest, maximum: u64) -> Result<Request> {
        self.content(reference, &format!("blobs/{}", digest.oci()), maximum)
    }

    /// How to download a manifest by its digest.
    pub fn document(&self, reference: &Reference, digest: &Digest) -> Result<Request> {
        Ok(self.content(reference, &format!("manifests/{}", digest.oci()), LARGEST_MANIFEST)?.accepting(MANIFESTS))
    }

    fn content(&self, reference: &Reference, path: &str, maximum: u64) -> Result<Request> {
        let proof = self.proof(reference, Access::Pull)?;
        let request = Request::new(self.address(reference, path)?.as_str(), maximum)?;
        Ok(request.with_credentials(proof))
    }

    pub(super) fn address(&self, reference: &Reference, path: &str) -> Result<Address> {
        let host = reference.host();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
        // As every client has it: what is on this machine needs no certificate.
        let here = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let plain = here || self.plain.iter().any(|known| known == host || known == name);
        let scheme = if plain { "http" } else { "https" };
        Ok(Address::parse(&format!("{scheme}://{host}/v2/{}/{path}", reference.repository))?.0)
    }

    /// Sends a request with what proves who asks; if the registry wants other proof, that is found first.
    pub(super) fn send(&self, reference: &Reference, access: Access, mut outgoing: Outgoing) -> Result<Reply> {
        // Some registries have uploads sent to another server, which is told all it needs in the address.
        if !outgoing.address.same_server(&self.address(reference, "x")?) {
            return self.client.send(&outgoing);
        }
        let known = self.known_proof(reference, access);
        outgoing.credentials = match &known {
            Some(proof) => proof.clone(),
            None => self.proof(reference, access)?,
        };
        let reply = self.client.send(&outgoing)?;
        if reply.status != 401 || known.is_none() {
            return token::checked(&self.logins, reference, reply);
        }
        // A token that was good may have run out.
        self.forget(reference, access);
        outgoing.credentials = self.proof(reference, access)?;
        let reply = self.client.send(&outgoing)?;
        token::checked(&self.logins, reference, reply)
    }

    fn known_proof(&self, reference: &Reference, access: Access) -> Option<Option<Credentials>> {
        let proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.get(&Self::key(reference, access)).cloned()
    }

    fn forget(&self, reference: &Reference, access: Access) {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).remove(&Self::key(reference, access));
    }

    fn key(reference: &Reference, access: Access) -> (String, String, Access) {
        (reference.registry.clone(), reference.repository.clone(), access)
    }

    /// What proves who asks, as the registry wants it; found out once.
    fn proof(&self, reference: &Reference, access: Access) -> Result<Option<Credentials>> {
        if let Some(known) = self.known_proof(reference, access) {
            return Ok(known);
        }
        let what = || format!("logging in to {}", reference.registry);
        let proof = token::obtain(self.client, &self.logins, reference, access, &self.address(reference, "x")?)
            .context(what)?;
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(Self::key(reference, access), proof.clone());
        Ok(proof)
    }
}
