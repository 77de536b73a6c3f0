//! The image that an environment stands on: its layers as they are, below everything, and its configuration.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::above::Stack;
use super::accounts;
use super::graph::Graph;
use super::plan::{Below, Folders, Planned};
use crate::digest::Digest;
use crate::error::{self, Context, Error, Result};
use crate::image::read::{self, Configuration, Document, Manifest};
use crate::layer::part::default_directory;
use crate::layer::{Entry, Imported, Kind, Layer, Part, PartBuilder, import};
use crate::lock::{PlatformLock, PlatformPackage};
use crate::store::Store;

/// A base image whose documents are in the store.
#[derive(Debug)]
pub struct BaseImage {
    pub manifest: Digest,
    pub configuration: Configuration,
    layers: Vec<Layer>,
}

/// The package that is a base image, if there is one among these.
pub fn package(packages: &[PlatformPackage]) -> Option<&PlatformPackage> {
    packages.iter().find(|package| package.ecosystem == "image")
}

/// The base image of a lock, if it has one. Its blobs must have been fetched.
pub fn of(store: &Store, packages: &[PlatformPackage]) -> Result<Option<BaseImage>> {
    let Some(package) = package(packages) else { return Ok(None) };
    read_image(store, package).context(|| format!("reading the base image `{}`", package.name)).map(Some)
}

fn read_image(store: &Store, package: &PlatformPackage) -> Result<BaseImage> {
    let Document::Manifest(manifest) = read::document(&store.read(&package.sha256)?)? else {
        return Err(Error::new("what is locked is an index of images, not one image").kind(error::Kind::Corrupt));
    };
    let named: Vec<Digest> =
        std::iter::once(manifest.config).chain(manifest.layers.iter().map(|layer| layer.digest)).collect();
    if named != package.blobs {
        return Err(Error::new("its manifest names other blobs than the lockfile")
            .kind(error::Kind::Corrupt)
            .hint("the lockfile has been changed by hand: take it from git again, or remove it and run `kiln lock`"));
    }
    let configuration = read::configuration(&store.read(&manifest.config)?, manifest.layers.len())?;
    let layers = layers(&manifest, &configuration);
    Ok(BaseImage { manifest: package.sha256, configuration, layers })
}

fn layers(manifest: &Manifest, configuration: &Configuration) -> Vec<Layer> {
    let with_ids = manifest.layers.iter().zip(&configuration.diff_ids);
    with_ids
        .map(|(blob, diff_id)| Layer {
            digest: blob.digest,
            size: blob.size,
            diff_id: *diff_id,
            tar_size: 0,
            compression: blob.compression,
        })
        .collect()
}

/// The annotation that says which image another stands on (OCI image specification, annotations).
pub fn annotations(lock: &PlatformLock) -> BTreeMap<String, String> {
    let base = package(&lock.packages);
    base.map(|base| ("org.opencontainers.image.base.digest".to_owned(), base.sha256.oci())).into_iter().collect()
}

/// The image's layers, and the definition's users on top of them. Each layer is read once, for the trees that scripts
/// run in, and checked by that.
pub fn stack(graph: &Graph<'_>, image: &BaseImage) -> Result<Stack> {
    let store = graph.bakery.store;
    let mut stack =
        Stack { layers: Vec::new(), folders: Folders::default(), key: image.manifest, epoch: 0, scripts: Vec::new() };
    let imported: Vec<Imported> = image.layers.par_iter().map(|layer| import(store, layer)).collect::<Result<_>>()?;
    for (index, (layer, imported)) in image.layers.iter().zip(imported).enumerate() {
        stack.epoch = stack.epoch.max(imported.newest);
        // Of folders that it does not hold, a layer changes nothing.
        stack.folders.replace(&imported.folders);
        stack.folders.add(&imported.part.directories);
        let parts = vec![imported.part];
        let directories = stack.folders.of(&parts);
        let note = image.configuration.created_by.get(index).cloned().unwrap_or_default();
        let (name, foreign) = (format!("base-{}", index + 1), Some(layer.clone()));
        stack.layers.push(Planned { name, note, directories, parts, owners: Vec::new(), disjoint: false, foreign });
    }
    if !graph.lock.environment.users.is_empty() {
        let part = users(graph, &stack).context(|| "adding the definition's users")?;
        stack.push("users".to_owned(), "the definition's users".to_owned(), part)?;
    }
    Ok(stack)
}

/// The image's lists of users and groups with those of the definition. A list of passwords is made by nobody.
fn users(graph: &Graph<'_>, stack: &Stack) -> Result<Part> {
    let below = Below::new(&stack.layers);
    let mut builder = PartBuilder::new(graph.bakery.store)?;
    builder.directory(default_directory(""));
    builder.directory(stack.folders.get("etc").cloned().unwrap_or_else(|| default_directory("etc")));
    for (path, lines) in accounts::lines(&graph.lock.environment.users) {
        let known = below.entry(&path);
        if known.is_none() && path.ends_with("shadow") {
            continue;
        }
        let mut content = below.read(graph, &path)?.unwrap_or_default();
        if !content.is_empty() && !content.ends_with(b"\n") {
            content.push(b'\n');
        }
        for line in lines.lines() {
            let name = line.split(':').next().unwrap_or_default();
            if content
                .split(|byte| *byte == b'\n')
                .any(|known| known.split(|byte| *byte == b':').next() == Some(name.as_bytes()))
            {
                return Err(Error::new(format!("the base image has `{name}` in /{path} already"))
                    .hint("give the definition's user another name, or use the image's"));
            }
        }
        content.extend(lines.as_bytes());
        let entry = Entry {
            kind: Kind::File { size: content.len() as u64, sha256: Digest::of(&content) },
            mtime: stack.epoch,
            mode: known.map_or(0o644, |known| known.mode),
            uid: known.map_or(0, |known| known.uid),
            gid: known.map_or(0, |known| known.gid),
            ..default_directory(&path)
        };
        builder.entry(&entry, &mut content.as_slice())?;
    }
    builder.finish()
}
