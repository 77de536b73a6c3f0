//! Putting images of the store into a registry.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::manifest::{Image, MEDIA_MANIFEST};
use crate::canonical;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::registry::{Reference, Registry, Uploaded};
use crate::store::Store;

/// Uploads under way at once.
const UPLOADS: usize = 4;

/// What became of the blobs of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pushed {
    /// The repository had them.
    pub existing: usize,
    /// The registry took them from another of its repositories.
    pub mounted: usize,
    pub sent: usize,
    /// Bytes sent.
    pub bytes: u64,
}

impl std::ops::AddAssign for Pushed {
    fn add_assign(&mut self, other: Self) {
        self.existing += other.existing;
        self.mounted += other.mounted;
        self.sent += other.sent;
        self.bytes += other.bytes;
    }
}

/// Puts an image into `reference`'s repository, under its digest alone: blobs that are not there yet, the largest
/// first, then the manifest. `progress` is told the bytes of each blob as it is there.
pub fn push(
    store: &Store,
    registry: &Registry<'_>,
    reference: &Reference,
    image: &Image,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Pushed> {
    let mut blobs: Vec<(Digest, u64)> = image.blobs().into_iter().collect();
    blobs.retain(|(digest, _)| *digest != image.manifest);
    blobs.sort_by_key(|(digest, size)| (std::cmp::Reverse(*size), *digest));
    let (next, done) = (AtomicUsize::new(0), Mutex::new((Pushed::default(), Vec::<Error>::new())));
    let work = || {
        while let Some((digest, size)) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let uploaded = upload(store, registry, reference, digest);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match uploaded {
                Ok(Uploaded::Existing) => done.0.existing += 1,
                Ok(Uploaded::Mounted) => done.0.mounted += 1,
                Ok(Uploaded::Sent) => {
                    done.0.sent += 1;
                    done.0.bytes += size;
                }
                Err(error) => {
                    done.1.push(error);
                    // What one blob cannot, the others cannot either, or it is tried again in another run.
                    next.store(blobs.len(), Ordering::Relaxed);
                }
            }
            progress(*size);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..UPLOADS.min(blobs.len()) {
            scope.spawn(work);
        }
    });
    let (pushed, mut errors) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !errors.is_empty() {
        return Err(errors.swap_remove(0));
    }
    registry.put_manifest(reference, MEDIA_MANIFEST, &store.read(&image.manifest)?, None)?;
    Ok(pushed)
}

/// Uploads a blob, and remembers where it is: another repository of the same registry can have it from there.
fn upload(store: &Store, registry: &Registry<'_>, reference: &Reference, digest: &Digest) -> Result<Uploaded> {
    let key = Digest::of(&canonical::to_vec(&(&reference.registry, digest))?);
    let known: Option<String> = store.keyed("pushed", &key);
    let elsewhere = known.as_deref().filter(|repository| *repository != reference.repository);
    let uploaded = registry.upload(store, reference, digest, elsewhere)?;
    if known.as_deref() != Some(reference.repository.as_str()) {
        store.put_keyed("pushed", &key, &[*digest], &reference.repository)?;
    }
    Ok(uploaded)
}
