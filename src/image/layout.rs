//! The output `oci:DIR`: an OCI image layout (OCI image specification, image-layout).
//!
//! A layout that is there already gets the image added; one under the same name is replaced in the
//! layout's index. What others wrote into it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde_json::Value;

use super::manifest::{Root, layout_index};
use super::output::Written;
use super::read::{self, NAME};
use crate::canonical;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::store::Store;

/// The folder of a layout with its blobs.
const BLOBS: &str = "blobs/sha256";

/// The content of the file `oci-layout`.
pub(super) const MARKER: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";

/// The digest of what the layout at `folder` has under `name`; without one, of the only thing that is there.
pub fn named(folder: &Path, name: Option<&str>) -> Result<Digest> {
    let path = folder.join("index.json");
    let what = || format!("reading the OCI image layout {}", folder.display());
    let index = read_limited(&path, read::LARGEST)
        .context(what)
        .map_err(|error| error.hint("`kiln build ENV --output oci:DIR`, or `skopeo copy … oci:DIR`, writes one"))?;
    read::named(&index, name).context(what)
}

/// A blob of the layout at `folder`, of at most `maximum` bytes, checked against its digest.
pub fn blob(folder: &Path, digest: &Digest, maximum: u64) -> Result<Vec<u8>> {
    let path = folder.join(BLOBS).join(digest.to_string());
    let content = read_limited(&path, maximum)?;
    match Digest::of(&content) {
        found if found == *digest => Ok(content),
        found => {
            Err(Error::new(format!("{}: expected sha256 {digest}, found {found}", path.display())).kind(Kind::Corrupt))
        }
    }
}

fn read_limited(path: &Path, maximum: u64) -> Result<Vec<u8>> {
    let what = || format!("reading {}", path.display());
    let mut content = Vec::new();
    fs::File::open(path).context(what)?.take(maximum + 1).read_to_end(&mut content).context(what)?;
    if content.len() as u64 > maximum {
        return Err(Error::new(format!("{} has more than the {maximum} bytes that are allowed", path.display())));
    }
    Ok(content)
}

/// Writes `root` into the layout at `folder`, which is made if it does not exist. The index is replaced
/// last: until then, and if this fails, the layout is what it was.
///
/// What was done `ahead` is not done again.
///
/// Fails on a folder that holds something else.
pub fn write(store: &Store, root: &Root, folder: &Path, ahead: &Ahead) -> Result<()> {
    let others = existing(folder, &root.name)?;
    let blobs = folder.join(BLOBS);
    fs::create_dir_all(&blobs).context(|| format!("making {}", blobs.display()))?;
    let has =
        |path: &Path, content: &[u8]| read_limited(path, content.len() as u64).is_ok_and(|found| found == content);
    let index = index(root, others)?;
    let synced: Vec<Written> = std::thread::scope(|threads| {
        // A disk takes as long for several files at once as for one.
        let sync = |written: Written| threads.spawn(|| written.sync().map(|()| written));
        let mut syncing: Vec<_> = root
            .blobs
            .par_iter()
            .map(|(digest, size)| -> Result<_> {
                let path = blobs.join(digest.to_string());
                let there =
                    if ahead.good.contains(digest) { is_there(&path, *size) } else { holds(&path, digest, *size) };
                if there || ahead.begun.get(digest).is_some_and(|file| publish(file, &path)) {
                    return Ok(None);
                }
                Ok(Some(sync(Written::new(path, |file| store.copy_to(digest, file).map(drop))?)))
            })
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;
        // The index last: it names the others.
        for (path, content) in [(folder.join("oci-layout"), MARKER), (folder.join("index.json"), index.as_slice())] {
            if !has(&path, content) {
                syncing.push(sync(Written::new(path, |file| Ok(file.write_all(content)?))?));
            }
        }
        let finish = |thread: ScopedJoinHandle<'_, Result<Written>>| {
            thread.join().map_err(|_| Error::new("writing the layout ended unexpectedly"))?
        };
        syncing.into_iter().map(finish).collect::<Result<_>>()
    })?;
    synced.into_iter().try_for_each(Written::publish)
}

/// What was done for a layout before all that is to be written into it was known.
#[derive(Debug, Default)]
pub struct Ahead {
    /// The layers in it that are what their names say.
    good: BTreeSet<Digest>,
    /// Layers that are written and checked, and have no names in it yet. Without being given names, they vanish.
    begun: BTreeMap<Digest, fs::File>,
}

impl Ahead {
    /// Checks the layers that the layout at `folder` has, those of the image under `name` first, then writes those of
    /// `layers` that it lacks. For doing while something else goes on: what fails, or was not begun before there was
    /// `enough`, is simply left.
    pub fn new(store: &Store, folder: &Path, name: &str, layers: &[Digest], enough: &AtomicBool) -> Self {
        let good = layers_of(folder, name, enough);
        let blobs = folder.join(BLOBS);
        let write = |digest: &Digest| -> Result<fs::File> {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let mut file = fs::File::from(rustix::fs::open(&blobs, flags, Mode::from_raw_mode(0o666))?);
            store.copy_to(digest, &mut file)?;
            file.sync_all()?;
            Ok(file)
        };
        let missing = layers.iter().filter(|digest| !blobs.join(digest.to_string()).exists());
        let missing = missing.take_while(|_| !enough.load(Ordering::Relaxed));
        let begun = missing.filter_map(|digest| Some((*digest, write(digest).ok()?))).collect();
        Self { good, begun }
    }
}

/// Gives an unnamed file a name (open(2), `O_TMPFILE`); false if that is taken, or it cannot be.
fn publish(file: &fs::File, path: &Path) -> bool {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW).is_ok()
}

/// Which layers in the layout at `folder` are what their names say: of the image under `name`, then of the others, which
/// share layers with it.
fn layers_of(folder: &Path, name: &str, enough: &AtomicBool) -> BTreeSet<Digest> {
    let blobs = folder.join(BLOBS);
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok();
    let digest =
        |descriptor: &Value| -> Option<Digest> { descriptor["digest"].as_str()?.strip_prefix("sha256:")?.parse().ok() };
    let list = |document: &Value, field: &str| document[field].as_array().cloned().unwrap_or_default();
    let index = read(&folder.join("index.json")).unwrap_or_default();
    let mut manifests = list(&index, "manifests");
    manifests.sort_by_key(|manifest| manifest["annotations"][NAME] != *name);
    let manifests = manifests.iter().filter_map(|manifest| read(&blobs.join(digest(manifest)?.to_string())));
    let (mut seen, mut good) = (BTreeSet::new(), BTreeSet::new());
    for layer in manifests.flat_map(|manifest| list(&manifest, "layers")).filter_map(|layer| digest(&layer)) {
        if seen.insert(layer) && has_digest(&blobs.join(layer.to_string()), &layer, enough) {
            good.insert(layer);
        }
        if enough.load(Ordering::Relaxed) {
            break;
        }
    }
    good
}

/// Whether the file's content is what this digest says, as far as that is known before there was `enough`.
fn has_digest(path: &Path, digest: &Digest, enough: &AtomicBool) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let Ok(file) = fs::File::open(path) else { return false };
    Digest::of_reader(&mut Until { file, enough }).is_ok_and(|(found, _)| found == *digest)
}

/// A file that cannot be read on once there was enough.
struct Until<'a> {
    file: fs::File,
    enough: &'a AtomicBool,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.enough.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("nobody waits for it"));
        }
        self.file.read(buffer)
    }
}

/// Whether there is a file of this size.
fn is_there(path: &Path, size: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

/// Whether there is a file with this content already.
fn holds(path: &Path, digest: &Digest, size: u64) -> bool {
    is_there(path, size) && has_digest(path, digest, &AtomicBool::new(false))
}

/// The file `index.json` with `root` after `others`.
pub(super) fn index(root: &Root, mut others: Vec<Value>) -> Result<Vec<u8>> {
    others.push(serde_json::from_slice(&canonical::to_vec(&root.descriptor())?)?);
    layout_index(&others)
}

/// The descriptors of an existing layout but those under `name`; none if there is no layout yet.
fn existing(folder: &Path, name: &str) -> Result<Vec<Value>> {
    let index = folder.join("index.json");
    let taken = || {
        Error::new(format!("{} holds something else than an OCI image layout", folder.display()))
            .hint("name a folder that does not exist yet, or an OCI image layout")
    };
    let text = match fs::read(&index) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // What an interrupted run has left is a layout without its index.
            let known = |name: &std::ffi::OsStr| name == "blobs" || name == "oci-layout";
            return match fs::read_dir(folder) {
                Ok(files) => {
                    let foreign = files.flatten().any(|file| !known(&file.file_name()));
                    if foreign { Err(taken()) } else { Ok(Vec::new()) }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(Error::new(format!("reading {}", folder.display())).caused_by(error)),
            };
        }
        Err(error) => return Err(Error::new(format!("reading {}", index.display())).caused_by(error)),
    };
    if !folder.join("oci-layout").is_file() {
        return Err(taken());
    }
    // Read by the specification's own model first: what it does not take is no index.
    serde_json::from_slice::<oci_spec::image::ImageIndex>(&text).context(|| format!("reading {}", index.display()))?;
    let document: Value = serde_json::from_slice(&text).context(|| format!("reading {}", index.display()))?;
    let manifests = document["manifests"].as_array().cloned().unwrap_or_default();
    Ok(manifests.into_iter().filter(|manifest| manifest["annotations"][NAME] != *name).collect())
}
