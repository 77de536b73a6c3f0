//! `[[copy]]`: what the workspace's files are now, as the lock has it.

use std::path::Path;

use crate::ecosystem::local;
use crate::error::Result;
use crate::lock::Local;
use crate::store::Store;
use crate::workspace::{Settings, Step};

/// The rows of all that `settings` copy. With a store, the files are in it afterwards.
pub fn copies(root: &Path, store: Option<&Store>, settings: &Settings) -> Result<Vec<Local>> {
    let mut rows = Vec::new();
    for step in &settings.steps {
        let Step::Copy(copy) = step else { continue };
        let listing = local::import(root, store, &copy.from, &copy.ignore)?;
        let (files, size) = listing.totals();
        let (from, ignore) = (copy.from.clone(), copy.ignore.clone());
        rows.push(Local { from, ignore, sha256: listing.digest()?, files, size });
    }
    rows.sort();
    rows.dedup();
    Ok(rows)
}
