//! The outputs that are one file: `oci-archive:F`, `docker-archive:F` and `tar:F`. Canonical tar, so that
//! the same image gives the same file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use super::layout;
use super::manifest::{Image, Root};
use super::output::write_file;
use crate::canonical;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::part::default_directory;
use crate::layer::{Entry, Kind, Layer, flatten, tar};
use crate::store::Store;

/// Writes an OCI image layout as one tar archive.
pub fn write_oci(store: &Store, root: &Root, path: &Path) -> Result<()> {
    let index = layout::index(root, Vec::new())?;
    write_file(path, |out| {
        write_bytes(out, "oci-layout", layout::MARKER)?;
        write_bytes(out, "index.json", &index)?;
        write_entry(out, &default_directory("blobs"))?;
        write_entry(out, &default_directory("blobs/sha256"))?;
        for (digest, size) in &root.blobs {
            write_blob(store, out, &format!("blobs/sha256/{digest}"), digest, *size)?;
        }
        Ok(out.write_all(&tar::END)?)
    })
}

/// Writes what `docker load` and `podman load` take: the image under the name `NAME:latest`.
pub fn write_docker(store: &Store, name: &str, image: &Image, path: &Path) -> Result<()> {
    let layer_name = |layer: &Layer| format!("{}.tar.gz", layer.digest);
    let layers: Vec<String> = image.layers.iter().map(layer_name).collect();
    let config = format!("{}.json", image.config);
    let manifest = canonical::to_vec(&serde_json::json!([{
        "Config": config,
        "RepoTags": [format!("{name}:latest")],
        "Layers": layers,
    }]))?;
    write_file(path, |out| {
        write_bytes(out, "manifest.json", &manifest)?;
        write_blob(store, out, &config, &image.config, image.config_size)?;
        // A layer may be there twice; a name in an archive may not.
        let mut written = BTreeSet::new();
        for layer in image.layers.iter().filter(|layer| written.insert(layer.digest)) {
            write_blob(store, out, &layer_name(layer), &layer.digest, layer.size)?;
        }
        Ok(out.write_all(&tar::END)?)
    })
}

/// Writes the root file system that the layers give, sorted by path.
pub fn write_root(store: &Store, layers: &[Layer], path: &Path) -> Result<()> {
    let flattened = flatten(store, layers)?;
    write_file(path, |out| {
        for entry in &flattened.entries {
            write_entry(out, entry)?;
            if let Kind::File { size, .. } = entry.kind {
                copy(&mut flattened.content(entry)?, out, size)?;
            }
        }
        Ok(out.write_all(&tar::END)?)
    })
}

fn write_entry(out: &mut dyn Write, entry: &Entry) -> Result<()> {
    let mut header = Vec::new();
    tar::write_header(entry, &mut header)?;
    Ok(out.write_all(&header)?)
}

fn copy(content: &mut dyn io::Read, out: &mut dyn Write, size: u64) -> Result<()> {
    let found = io::copy(content, out)?;
    pad(out, size, found)
}

fn pad(out: &mut dyn Write, size: u64, found: u64) -> Result<()> {
    if found != size {
        return Err(Error::new(format!("{found} bytes were read, expected {size}")));
    }
    Ok(out.write_all(&tar::END[..tar::padding(size)])?)
}

fn file(name: &str, size: u64, sha256: Digest) -> Entry {
    let kind = Kind::File { size, sha256 };
    Entry { path: name.to_owned(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
}

fn write_bytes(out: &mut dyn Write, name: &str, bytes: &[u8]) -> Result<()> {
    write_entry(out, &file(name, bytes.len() as u64, Digest::of(bytes)))?;
    copy(&mut &bytes[..], out, bytes.len() as u64)
}

fn write_blob(store: &Store, out: &mut dyn Write, name: &str, digest: &Digest, size: u64) -> Result<()> {
    write_entry(out, &file(name, size, *digest))?;
    let found = store.copy_to(digest, out)?;
    pad(out, size, found)
}
