//! Reading everything at once, for those who want to know now.

use std::fs;
use std::io;
use std::path::PathBuf;

use rayon::prelude::*;

use super::Store;
use super::collect::files;
use super::keyed::checked;
use crate::digest::Digest;
use crate::error::{Context, Kind, Result};

impl Store {
    /// Reads every blob and every result; how many are good, and those that were not and are set aside:
    /// paths relative to the store.
    pub fn verify(&self) -> Result<(usize, Vec<String>)> {
        let blobs = files(&self.root.join("blobs"))?;
        let results = files(&self.root.join("keyed"))?;
        let checks: Vec<(PathBuf, bool)> = blobs
            .into_par_iter()
            .map(|path| Ok((self.blob_is_good(&path)?, path)))
            .chain(results.into_par_iter().map(|path| Ok((self.result_is_good(&path)?, path))))
            .map(|checked: Result<(bool, PathBuf)>| checked.map(|(good, path)| (path, good)))
            .collect::<Result<_>>()?;
        let good = checks.iter().filter(|(_, good)| *good).count();
        let corrupt = checks
            .iter()
            .filter(|(_, good)| !good)
            .map(|(path, _)| path.strip_prefix(&self.root).unwrap_or(path).display().to_string())
            .collect();
        Ok((good, corrupt))
    }

    fn blob_is_good(&self, path: &std::path::Path) -> Result<bool> {
        let name: Option<Digest> = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let Some(digest) = name else {
            self.set_aside(path);
            return Ok(false);
        };
        match self.copy_to(&digest, &mut io::sink()) {
            Ok(_) => Ok(true),
            Err(error) if error.what() == Kind::Corrupt => Ok(false),
            // Another process has found it corrupt meanwhile.
            Err(error) if error.what() == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn result_is_good(&self, path: &std::path::Path) -> Result<bool> {
        let bytes = fs::read(path).context(|| format!("reading {}", path.display()))?;
        let good = checked(&bytes).is_some();
        if !good {
            self.set_aside(path);
        }
        Ok(good)
    }
}
