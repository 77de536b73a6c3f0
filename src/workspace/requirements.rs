//! Requirements files of the workspace, as the requirements that they hold.

use std::path::Path;

use crate::error::Result;

/// What requirements files say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub requirements: Vec<String>,
    pub constraints: Vec<String>,
}

/// Reads the requirements file at `path`, relative to `root`, and all that it includes.
pub(super) fn read_file(root: &Path, path: &str) -> Result<Found> {
    let text = super::read(&root.join(path), super::MAXIMUM_SIZE)?;
    Ok(Found { requirements: text.lines().map(str::to_owned).collect(), constraints: Vec::new() })
}
