//! Files that appear complete or not at all.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Context, Result};

/// Writes the file at `path` by way of a temporary one beside it, which takes its place when `write` has
/// succeeded. Its permissions are those that the user's mask leaves.
pub(super) fn write_file(path: &Path, write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> Result<()>) -> Result<()> {
    let written = Written::new(path.to_owned(), write)?;
    written.sync()?;
    written.publish()
}

/// A file that is written, but not under its name yet, and on the disk for certain only after [`Written::sync`].
pub(super) struct Written {
    file: NamedTempFile,
    path: PathBuf,
}

impl Written {
    pub fn new(path: PathBuf, write: impl FnOnce(&mut BufWriter<NamedTempFile>) -> Result<()>) -> Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let what = || format!("writing {}", path.display());
        let permissions = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
        let file =
            tempfile::Builder::new().prefix(".kiln-").permissions(permissions).tempfile_in(folder).context(what)?;
        let mut writer = BufWriter::with_capacity(1 << 18, file);
        write(&mut writer).context(what)?;
        writer.flush().context(what)?;
        let file = writer.into_inner().map_err(std::io::IntoInnerError::into_error).context(what)?;
        Ok(Self { file, path })
    }

    /// Waits until the disk has it.
    pub fn sync(&self) -> Result<()> {
        self.file.as_file().sync_all().context(|| format!("writing {}", self.path.display()))
    }

    /// Gives it its name.
    pub fn publish(self) -> Result<()> {
        let persisted = self.file.persist(&self.path).map_err(|error| error.error);
        persisted.map(drop).context(|| format!("writing {}", self.path.display()))
    }
}
