//! One file's content, out of a part.

use std::io::Read;

use super::entry::{Kind, Part};
use super::{gzip, tar};
use crate::error::{Context, Error, Result};
use crate::store::Store;

/// The largest file that is read whole, in bytes.
const LIMIT: u64 = 64 << 20;

/// The content of the file at `path`, if it is in `part`.
pub fn content_of(store: &Store, part: &Part, path: &str) -> Result<Option<Vec<u8>>> {
    let Some(Kind::File { size, .. }) = part.entries.iter().find(|entry| entry.path == path).map(|entry| &entry.kind)
    else {
        return Ok(None);
    };
    if *size > LIMIT {
        return Err(Error::new(format!("/{path} has {size} bytes, more than are read whole")));
    }
    let content: Box<dyn Read> = match part.plain {
        Some(plain) => Box::new(store.open_checked(&plain)?),
        None => Box::new(gzip::reader(store.open_checked(&part.content)?)),
    };
    let mut reader = tar::Reader::new(content);
    while let Some(item) = reader.next_item()? {
        if item.path == path {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).context(|| format!("reading /{path}"))?;
            return Ok(Some(bytes));
        }
    }
    Err(Error::new(format!("/{path} is listed in a part and is not in it")))
}
