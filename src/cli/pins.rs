//! What a lockfile pins of what was made from it. Nothing here bakes, or needs a store.

use crate::bake;
use crate::digest::Digest;
use crate::error::Result;
use crate::lock::{Lockfile, Output, PlatformLock};

/// The outputs that were made from what the lock of the environment `name` says now, in the order of its platforms.
pub fn valid<'l>(name: &str, lockfile: &'l Lockfile) -> Result<Vec<&'l Output>> {
    let mut valid = Vec::new();
    for platform in &lockfile.environment.platforms {
        valid.extend(lockfile.output(*platform, &PlatformLock::of(name, lockfile, *platform).digest()?));
    }
    Ok(valid)
}

/// The digest of the index of all platforms: see [`document`].
pub fn index(name: &str, lockfile: &Lockfile, known: impl Fn(&Output) -> Option<u64>) -> Result<Option<Digest>> {
    Ok(document(name, lockfile, known)?.map(|bytes| Digest::of(&bytes)))
}

/// The index of all platforms, when there are several and all are pinned: whichever of them
/// this machine bakes. `known` says how many bytes a manifest has whose lock does not.
pub fn document(name: &str, lockfile: &Lockfile, known: impl Fn(&Output) -> Option<u64>) -> Result<Option<Vec<u8>>> {
    let platforms = &lockfile.environment.platforms;
    let mut manifests = Vec::new();
    for output in valid(name, lockfile)? {
        let Some(size) = output.manifest_size.or_else(|| known(output)) else { return Ok(None) };
        manifests.push((bake::oci_platform(output.platform), output.image, size));
    }
    if platforms.len() < 2 || manifests.len() < platforms.len() {
        return Ok(None);
    }
    crate::image::index_document(&manifests).map(Some)
}
