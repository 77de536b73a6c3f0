//! Making a part of a layer that another tool has written, for trees to be put together from: the layer itself stays
//! what it is.
//!
//! The stream comes from outside: its hash is checked, and it has limits.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read};

use serde::{Deserialize, Serialize};

use super::assemble::{Layer, unpack_plain};
use super::entry::{Entry, Kind, Part, WHITEOUT, normalize};
use super::part::{PartBuilder, parents};
use super::tar::Reader;
use crate::digest::{Digest, HashingReader};
use crate::error::{self, Context, Error, Result};
use crate::store::Store;
use crate::{FORMAT, canonical};

/// Names in one layer.
const LIMIT_ENTRIES: usize = 2_000_000;
/// Bytes of one layer, unpacked.
const LIMIT_BYTES: u64 = 64 << 30;

/// A layer as a part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Imported {
    pub part: Part,
    /// The folders that the layer itself holds: of the others among the part's, it says nothing.
    pub folders: Vec<Entry>,
    /// The newest time of an entry, in seconds since 1970.
    pub newest: u64,
}

/// The part that has the content of `layer`. Made once: the store keeps it.
///
/// [`error::Kind::Corrupt`] if its plain stream is not what its `diff_id` says.
pub fn import(store: &Store, layer: &Layer) -> Result<Imported> {
    let key = Digest::of(&canonical::to_vec(&(FORMAT, layer.diff_id))?);
    if let Some(imported) = store.keyed("imported", &key) {
        return Ok(imported);
    }
    let _lock = store.lock_key("imported", &key)?;
    if let Some(imported) = store.keyed("imported", &key) {
        return Ok(imported);
    }
    let imported = read(store, layer).context(|| format!("reading the layer {}", layer.digest))?;
    store.put_keyed("imported", &key, &[imported.part.content], &imported)?;
    Ok(imported)
}

fn read(store: &Store, layer: &Layer) -> Result<Imported> {
    let plain = unpack_plain(store, layer)?.into_inner().take(LIMIT_BYTES);
    let mut reader = Reader::new(HashingReader::new(BufReader::with_capacity(1 << 18, plain)));
    let mut builder = PartBuilder::plain(store)?;
    let (mut folders, mut newest, mut count) = (Vec::new(), 0, 0);
    let (mut seen, mut others, mut whiteouts) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    while let Some(item) = reader.next_item()? {
        count += 1;
        if count > LIMIT_ENTRIES {
            return Err(Error::new(format!("it has more than {LIMIT_ENTRIES} entries")));
        }
        // Its content is hashed as the part is written.
        let mut entry = item.to_entry(Digest::of(b""))?;
        entry.path = path(&entry.path)?;
        newest = newest.max(entry.mtime);
        match &mut entry.kind {
            Kind::Directory => {
                builder.directory(entry.clone());
                if seen.insert(entry.path.clone()) {
                    folders.push(entry);
                }
                continue;
            }
            Kind::HardLink { target } => *target = path(target)?,
            _ => {}
        }
        if entry.path.rsplit('/').next().is_some_and(|name| name.starts_with(WHITEOUT)) {
            whiteouts.push(entry);
            continue;
        }
        others.insert(entry.path.clone());
        match entry.kind {
            Kind::File { .. } => drop(builder.new_file(entry, &mut reader)?),
            _ => builder.entry(&entry, &mut io::empty())?,
        }
    }
    // What was in a folder that is something else now is gone with it; some tools name it nevertheless.
    whiteouts.retain(|entry| !parents(&entry.path).any(|parent| others.contains(parent)));
    for entry in whiteouts {
        builder.entry(&Entry { kind: Kind::File { size: 0, sha256: Digest::of(b"") }, ..entry }, &mut io::empty())?;
    }
    let mut rest = reader.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    let found = rest.finish().0;
    if found != layer.diff_id {
        let message = format!("its plain stream has sha256 {found}, expected {}", layer.diff_id);
        return Err(Error::new(message).kind(error::Kind::Corrupt));
    }
    Ok(Imported { part: builder.finish()?, folders, newest })
}

/// A path in its one spelling; the last name may be one that removes something.
fn path(text: &str) -> Result<String> {
    let (folder, name) = text.rsplit_once('/').unwrap_or(("", text));
    if !name.starts_with(WHITEOUT) || name.len() == WHITEOUT.len() || name.contains('\0') {
        return normalize(text);
    }
    let folder = normalize(folder)?;
    Ok(if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") })
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths_have_one_spelling_and_stay_inside() {
        assert_eq!(path("./a//b").unwrap(), "a/b");
        assert_eq!(path("/a/.wh.b").unwrap(), "a/.wh.b");
        assert_eq!(path(".wh..wh..opq").unwrap(), ".wh..wh..opq");
        for wrong in ["../a", "a/../../b", ".wh.a/b", "a/../.wh.b", ".wh."] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }
}
