//! The volumes of images: their names, and where the workspace keeps them: `.kiln/volumes/ENV/NAME`.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::start::Volume;
use crate::error::{Context as _, Error, Result};
use crate::sandbox::Bind;

/// The volumes of one environment in the workspace, for one user at a time.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    _lock: File,
}

impl Kept {
    /// The volumes of `environment` in the workspace at `root`; an error if another process has them.
    pub fn open(root: &Path, environment: &str) -> Result<Self> {
        let own = root.join(".kiln");
        let folder = own.join("volumes").join(environment);
        let context = || format!("making a place for the volumes of `{environment}` in {}", own.display());
        for folder in [&folder, &own.join("locks")] {
            fs::create_dir_all(folder).context(context)?;
        }
        let ignored = own.join(".gitignore");
        if !ignored.exists() {
            fs::write(&ignored, "*\n").context(context)?;
        }
        let lock = own.join("locks").join(environment);
        let lock = File::options().create(true).truncate(false).write(true).open(&lock).context(context)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(format!("`{environment}` runs already: another `kiln up` has its volumes"))
                    .hint("stop that one first: programs would write over each other's data"))
            }
            Err(TryLockError::Error(error)) => Err(error).context(context),
        }
    }

    /// The volume that the image has at `path`, made on first use and owned by the image's user; emptied first if it is
    /// to be `fresh`.
    pub fn volume(&self, path: &str, fresh: bool) -> Result<Volume> {
        let source = self.folder.join(name(path));
        let context = || format!("making the volume {}", source.display());
        fs::create_dir_all(&source).context(context)?;
        let source = source.canonicalize().context(context)?;
        let bind = Bind { source, target: path.to_owned(), read_only: false };
        Ok(Volume { bind, owned: true, fresh })
    }
}

/// A path of an image as a single name of letters, digits, `-` and `_`: `/var/lib/redis` is `var-lib-redis`. A slash
/// is `-`, and every other byte that is neither a letter nor a digit is `_` and two hexadecimal digits.
pub fn name(path: &str) -> String {
    let mut name = String::new();
    for byte in path.trim_matches('/').bytes() {
        match byte {
            b'/' => name.push('-'),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            byte => name.push_str(&format!("_{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::name;

    #[test]
    fn no_two_paths_have_one_name() {
        assert_eq!(name("/var/lib/redis"), "var-lib-redis");
        assert_eq!(name("/srv/../x"), "srv-_2e_2e-x");
        let paths = ["/a/b", "/a-b", "/a_b", "/a_2db", "/a.b", "/a//b", "/ä", "/A/b"];
        let names: BTreeSet<String> = paths.iter().map(|path| name(path)).collect();
        assert_eq!(names.len(), paths.len(), "{names:?}");
    }
}
