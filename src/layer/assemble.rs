//! Making a layer of parts: a copy and a hash, with no compression.
//!
//! A layer is the directories of its parts, each once, the parts' streams, and the end of the archive,
//! each in gzip members of its own (OCI image specification, layers). It knows parts, not whose they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Kind, Part};
use super::part::parents;
use super::pipeline::{self, Pending};
use super::{DIRECTORY_MTIME, gzip, tar};
use crate::digest::{Digest, Hasher};
use crate::error::{self, Context, Error, Result};
use crate::store::{BlobWriter, Store};
use crate::{FORMAT, canonical};

/// A layer in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Of the compressed blob.
    pub digest: Digest,
    /// Bytes of the compressed blob.
    pub size: u64,
    /// Of the plain tar stream: what the image's configuration names.
    pub diff_id: Digest,
    /// Bytes of the plain tar stream; 0 while it is not known.
    pub tar_size: u64,
    /// How it is stored: layers of other makers may be otherwise than kiln's.
    #[serde(default, skip_serializing_if = "Compression::is_gzip")]
    pub compression: Compression,
}

/// How a layer's tar stream is stored (OCI image specification, media types of layers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    #[default]
    Gzip,
    Zstd,
    None,
}

impl Compression {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_gzip(&self) -> bool {
        *self == Self::Gzip
    }
}

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    directories: &'a [Entry],
    parts: Vec<Digest>,
}

/// The layer of `directories` (in any order, each once) and `parts` (in this order). Made once: the
/// store keeps it under what it is made of.
///
/// Fails if a path is there twice, or an entry's parent is not among the directories.
pub fn assemble(store: &Store, directories: &[Entry], parts: &[&Part]) -> Result<Layer> {
    assemble_once(store, directories, parts).map(|(layer, _)| layer)
}

/// As [`assemble`]; also whether it was made just now.
pub fn assemble_once(store: &Store, directories: &[Entry], parts: &[&Part]) -> Result<(Layer, bool)> {
    let mut directories = directories.to_vec();
    directories.sort_by(|one, other| one.path.cmp(&other.path));
    for directory in &mut directories {
        directory.mtime = DIRECTORY_MTIME;
    }
    check_paths(&directories, parts)?;
    let parts_key = parts.iter().map(|part| part.content).collect();
    let key = Digest::of(&canonical::to_vec(&Key { format: FORMAT, directories: &directories, parts: parts_key })?);
    if let Some(layer) = store.keyed("layer", &key) {
        return Ok((layer, false));
    }
    let _lock = store.lock_key("layer", &key)?;
    if let Some(layer) = store.keyed("layer", &key) {
        return Ok((layer, false));
    }
    let layer = make(store, &directories, parts)?;
    store.put_keyed("layer", &key, &[layer.digest], &layer)?;
    Ok((layer, true))
}

/// No path twice, and nothing below what is not a directory: engines do not agree on what such a layer
/// means.
fn check_paths(directories: &[Entry], parts: &[&Part]) -> Result<()> {
    let mut kinds = BTreeMap::new();
    for directory in directories {
        if directory.kind != Kind::Directory {
            return Err(Error::new(format!("/{} is not a directory", directory.path)));
        }
        if kinds.insert(directory.path.as_str(), true).is_some() {
            return Err(Error::new(format!("the directory /{} is twice in one layer", directory.path)));
        }
    }
    for entry in parts.iter().flat_map(|part| &part.entries) {
        if kinds.insert(entry.path.as_str(), false).is_some() {
            return Err(Error::new(format!("/{} is twice in one layer", entry.path))
                .hint("two parts ship the same path: only one of them can keep it"));
        }
    }
    for &path in kinds.keys() {
        if let Some(parent) = parents(path).next()
            && kinds.get(parent) != Some(&true)
        {
            return Err(Error::new(format!("/{parent}, where /{path} is to be, is no directory of its layer")));
        }
    }
    Ok(())
}

fn make(store: &Store, directories: &[Entry], parts: &[&Part]) -> Result<Layer> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(pipeline::width());
        let plain = scope.spawn(move || hash_plain(&receiver));
        let compressed = write_compressed(store, directories, parts, sender);
        let plain = plain.join().map_err(|_| Error::new("the thread that hashes a layer ended early"))?;
        match (compressed, plain) {
            // A damaged member ends the hashing too; what the store says of its file explains more.
            (Err(error), _) if error.what() == error::Kind::Corrupt => Err(error),
            (_, Err(error)) | (Err(error), _) => Err(error),
            (Ok(writer), Ok((diff_id, tar_size))) => {
                let (digest, size) = writer.finish()?;
                Ok(Layer { digest, size, diff_id, tar_size, compression: Compression::Gzip })
            }
        }
    })
}

type Plain = Pending<Result<Vec<u8>>>;

/// Hashes what the members hold, in their order.
fn hash_plain(members: &Receiver<Plain>) -> Result<(Digest, u64)> {
    let mut hasher = Hasher::new(io::sink());
    for member in members {
        hasher.write_all(&member.wait()??)?;
    }
    let (digest, size, _) = hasher.finish();
    Ok((digest, size))
}

/// Writes the layer's members and sends each on to be inflated and hashed.
fn write_compressed<'a>(
    store: &'a Store,
    directories: &[Entry],
    parts: &[&Part],
    plain: SyncSender<Plain>,
) -> Result<BlobWriter<'a>> {
    let mut writer = store.writer()?;
    let mut headers = Vec::new();
    for directory in directories {
        tar::write_header(directory, &mut headers)?;
    }
    for block in headers.chunks(gzip::BLOCK) {
        write_member(&mut writer, &plain, gzip::member(block)?, u32::try_from(block.len())?)?;
    }
    for part in parts {
        copy_part(store, part, &mut writer, &plain)?;
    }
    write_member(&mut writer, &plain, gzip::member(&tar::END)?, u32::try_from(tar::END.len())?)?;
    Ok(writer)
}

fn write_member(writer: &mut BlobWriter<'_>, plain: &SyncSender<Plain>, member: Vec<u8>, size: u32) -> Result<()> {
    writer.write_all(&member).context(|| "writing a layer")?;
    let job = Pending::start(move || gzip::decode_member(&member, size))?;
    plain.send(job).map_err(|_| Error::new("a layer's content could not be hashed"))
}

/// Copies a part's members, and checks that they are what the part's digest says.
fn copy_part(store: &Store, part: &Part, writer: &mut BlobWriter<'_>, plain: &SyncSender<Plain>) -> Result<()> {
    let copied = copy_members(store, part, writer, plain);
    if matches!(copied, Ok(found) if found == part.content) {
        return Ok(());
    }
    // The store says what is wrong with its file, and sets it aside if it is corrupt.
    store.open_checked(&part.content)?;
    copied?;
    Err(Error::new(format!("the part {} has other members than its record says", part.content)))
}

fn copy_members(store: &Store, part: &Part, writer: &mut BlobWriter<'_>, plain: &SyncSender<Plain>) -> Result<Digest> {
    let mut file = File::open(store.blob_path(&part.content)).context(|| "opening a part")?;
    let mut hasher = Hasher::new(io::sink());
    for &(compressed, size) in &part.members {
        if compressed as usize > 2 * gzip::BLOCK {
            return Err(Error::new(format!("a part has a member of {compressed} bytes")));
        }
        let mut member = vec![0; compressed as usize];
        file.read_exact(&mut member).context(|| "reading a part")?;
        hasher.write_all(&member)?;
        write_member(writer, plain, member, size)?;
    }
    Ok(hasher.finish().0)
}

/// The layer's plain stream, entry by entry. The blob is checked against its digest before.
pub fn unpack_plain(store: &Store, layer: &Layer) -> Result<tar::Reader<Box<dyn Read>>> {
    let what = || format!("reading the layer {}", layer.digest);
    let file = store.open_checked(&layer.digest).context(what)?;
    let plain: Box<dyn Read> = match layer.compression {
        Compression::Gzip => Box::new(gzip::reader(file)),
        Compression::Zstd => Box::new(zstd::Decoder::new(file).context(what)?),
        Compression::None => Box::new(file),
    };
    Ok(tar::Reader::new(plain))
}

#[cfg(test)]
mod tests;
