//! Blobs: files named by the SHA-256 of their content.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{Store, corrupt};
use crate::digest::{Digest, Hasher, HashingReader};
use crate::error::{Context, Error, Kind, Result};

/// A blob being written. Nothing is seen of it before [`BlobWriter::finish`].
#[derive(Debug)]
pub struct BlobWriter<'a> {
    store: &'a Store,
    writer: Hasher<NamedTempFile>,
}

impl Store {
    /// Where the blob is, if the store has it.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join("blobs/sha256").join(&name[..2]).join(name)
    }

    /// Whether the store has the blob. Its content is not looked at.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// The blob's size in bytes, if the store has it.
    pub fn size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.blob_path(digest)).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    /// Starts a blob whose digest is known when it is complete.
    pub fn writer(&self) -> Result<BlobWriter<'_>> {
        let file = self.temporary("blob-")?;
        Ok(BlobWriter { store: self, writer: Hasher::new(file) })
    }

    /// Stores `bytes`.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.size(&digest) == Some(bytes.len() as u64) {
            return Ok(digest);
        }
        let mut writer = self.writer()?;
        writer.write_all(bytes).context(|| format!("writing to the store at {}", self.root.display()))?;
        Ok(writer.finish()?.0)
    }

    /// Takes over a file that is already below the store (a finished download), after hashing it.
    pub fn adopt(&self, path: &Path, expected: &Digest) -> Result<()> {
        self.require_writable()?;
        let mut file = File::open(path).context(|| format!("reading {}", path.display()))?;
        let (found, _) = Digest::of_reader(&mut file).context(|| format!("reading {}", path.display()))?;
        if found != *expected {
            return Err(Error::new(format!("expected sha256 {expected}, found {found}")).kind(Kind::Corrupt));
        }
        let target = self.blob_path(expected);
        publish_folder(&target)?;
        fs::rename(path, &target).context(|| format!("writing {}", target.display()))
    }

    /// The whole blob, checked.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).map_err(|error| missing(error, &path, digest))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            self.set_aside(&path);
            return Err(corrupt(&path, digest, &found));
        }
        Ok(bytes)
    }

    /// The blob as it is: whoever reads it so must have it checked before anything comes of it.
    pub fn open_unchecked(&self, digest: &Digest) -> Result<impl Read> {
        let path = self.blob_path(digest);
        let file = File::open(&path).map_err(|error| missing(error, &path, digest))?;
        Ok(io::BufReader::with_capacity(1 << 17, file))
    }

    /// The blob as a file at its beginning, its content checked before.
    pub fn open_checked(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        let mut file = File::open(&path).map_err(|error| missing(error, &path, digest))?;
        let (found, _) = Digest::of_reader(&mut file).context(|| format!("reading {}", path.display()))?;
        if found != *digest {
            self.set_aside(&path);
            return Err(corrupt(&path, digest, &found));
        }
        io::Seek::rewind(&mut file)?;
        Ok(file)
    }

    /// Gives the blob's content to `act` as it is read. What that does with it is good only if this succeeds: whether the
    /// content is what it should be shows at its end.
    pub fn read_through<T>(&self, digest: &Digest, act: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
        let path = self.blob_path(digest);
        let file = File::open(&path).map_err(|error| missing(error, &path, digest))?;
        let mut reader = HashingReader::new(io::BufReader::with_capacity(1 << 17, file));
        let done = act(&mut reader);
        io::copy(&mut reader, &mut io::sink()).context(|| format!("reading {}", path.display()))?;
        let (found, _) = reader.finish();
        if found != *digest {
            self.set_aside(&path);
            return Err(corrupt(&path, digest, &found));
        }
        done
    }

    /// Copies the blob to `target` and checks it on the way: what `target` got is good only if this
    /// succeeds.
    pub fn copy_to(&self, digest: &Digest, target: &mut dyn Write) -> Result<u64> {
        let path = self.blob_path(digest);
        let mut file = File::open(&path).map_err(|error| missing(error, &path, digest))?;
        let mut hasher = Hasher::new(target);
        let mut buffer = vec![0; 1 << 18];
        loop {
            let count = file.read(&mut buffer).context(|| format!("reading {}", path.display()))?;
            if count == 0 {
                break;
            }
            hasher.write_all(&buffer[..count])?;
        }
        let (found, size, _) = hasher.finish();
        if found != *digest {
            self.set_aside(&path);
            return Err(corrupt(&path, digest, &found));
        }
        Ok(size)
    }

    /// Moves a file that failed its check out of the way, so that the next run makes it anew.
    pub(super) fn set_aside(&self, path: &Path) {
        if self.writable {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // A failure here only means that the next run finds it again.
            let _ = fs::rename(path, self.root.join("tmp").join(format!("corrupt-{name}")));
        }
    }
}

impl BlobWriter<'_> {
    /// Makes the blob visible under its digest; its digest and size in bytes.
    pub fn finish(self) -> Result<(Digest, u64)> {
        let (digest, size, mut file) = self.writer.finish();
        file.flush()?;
        let target = self.store.blob_path(&digest);
        publish_folder(&target)?;
        file.persist(&target).map_err(|error| error.error).context(|| format!("writing {}", target.display()))?;
        Ok((digest, size))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn publish_folder(target: &Path) -> Result<()> {
    let folder = target.parent().expect("a blob's path has a folder");
    fs::create_dir_all(folder).context(|| format!("making {}", folder.display()))
}

fn missing(error: io::Error, path: &Path, digest: &Digest) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        Error::new(format!("the store has no file with sha256 {digest}")).kind(Kind::NotFound)
    } else {
        Error::new(format!("reading {}", path.display())).caused_by(error)
    }
}
