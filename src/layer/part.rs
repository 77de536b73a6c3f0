//! Making a part: entries in, a blob of compressed canonical tar out.
//!
//! It does not know where entries come from. What it refuses (a path twice, content that is not what its
//! digest says) is refused whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Read, Write};

use super::entry::{Entry, Kind, Part};
use super::gzip::{self, Encoder};
use super::{DIRECTORY_MTIME, tar};
use crate::digest::{Digest, Hasher};
use crate::error::{self, Context, Error, Result};
use crate::store::{BlobWriter, Store};

/// Where a part's tar stream goes.
enum Content<'a> {
    Compressed(Encoder<BlobWriter<'a>>),
    Plain(BufWriter<BlobWriter<'a>>),
}

impl std::fmt::Debug for Content<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if matches!(self, Self::Plain(_)) { "Plain" } else { "Compressed" })
    }
}

/// Collects the entries of one part and streams their content into the store.
///
/// The part's blob depends on the entries and their order alone.
#[derive(Debug)]
pub struct PartBuilder<'a> {
    content: Content<'a>,
    directories: BTreeMap<String, Entry>,
    entries: Vec<Entry>,
    paths: BTreeSet<String>,
    tar_size: u64,
}

impl<'a> PartBuilder<'a> {
    /// Starts a part whose blob goes into `store`.
    pub fn new(store: &'a Store) -> Result<Self> {
        Ok(Self::with(Content::Compressed(Encoder::new(store.writer()?))))
    }

    /// Starts a part whose plain tar stream goes into `store`, to be compressed later ([`Part::compressed`]).
    pub fn plain(store: &'a Store) -> Result<Self> {
        Ok(Self::with(Content::Plain(BufWriter::with_capacity(1 << 18, store.writer()?))))
    }

    fn with(content: Content<'a>) -> Self {
        Self { content, directories: BTreeMap::new(), entries: Vec::new(), paths: BTreeSet::new(), tar_size: 0 }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.content {
            Content::Compressed(encoder) => encoder.write(bytes),
            Content::Plain(writer) => writer.write_all(bytes).context(|| "writing plain bytes to the store"),
        }
    }

    /// Adds a directory that the part wants. Of several with one path the first counts; the time is the
    /// format's.
    pub fn directory(&mut self, mut entry: Entry) {
        entry.kind = Kind::Directory;
        entry.mtime = DIRECTORY_MTIME;
        self.directories.entry(entry.path.clone()).or_insert(entry);
    }

    /// Adds an entry. `content` is read for files only, and must be what the entry's size and digest say.
    ///
    /// Fails on a path that is there already, a hard link to what does not come before it, and content of
    /// another size or digest.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let Kind::File { sha256: expected, .. } = entry.kind else { return self.without_content(entry) };
        let found = self.new_file(entry.clone(), content)?;
        if found != expected {
            return Err(Error::new(format!("/{}: expected sha256 {expected}, found {found}", entry.path))
                .kind(error::Kind::Corrupt));
        }
        Ok(())
    }

    /// Adds a file whose digest is not known before its content is read, and returns it. The digest in
    /// `entry` is replaced; its size must be right.
    pub fn new_file(&mut self, mut entry: Entry, content: &mut dyn Read) -> Result<Digest> {
        let Kind::File { size, .. } = entry.kind else {
            return Err(Error::new(format!("/{} is not a file", entry.path)));
        };
        self.header(&entry)?;
        let mut hasher = Hasher::new(io::sink());
        let mut buffer = vec![0; usize::try_from(size.clamp(1, 1 << 16)).unwrap_or(1 << 16)];
        let mut content = content.take(size.saturating_add(1));
        let mut found = 0;
        loop {
            let count = content.read(&mut buffer).context(|| format!("reading the content of /{}", entry.path))?;
            if count == 0 {
                break;
            }
            found += count as u64;
            if found > size {
                return Err(Error::new(format!("/{} has more than its {size} bytes", entry.path)));
            }
            hasher.write_all(&buffer[..count])?;
            self.write(&buffer[..count])?;
        }
        if found < size {
            return Err(Error::new(format!("/{} has {found} bytes, expected {size}", entry.path)));
        }
        let padding = tar::padding(size);
        self.write(&tar::END[..padding])?;
        self.tar_size += size + padding as u64;
        let (sha256, _, _) = hasher.finish();
        entry.kind = Kind::File { size, sha256 };
        self.entries.push(entry);
        Ok(sha256)
    }

    fn without_content(&mut self, entry: &Entry) -> Result<()> {
        match &entry.kind {
            Kind::Directory => {
                self.directory(entry.clone());
                return Ok(());
            }
            Kind::HardLink { target } if !self.paths.contains(target) => {
                return Err(Error::new(format!(
                    "the hard link /{} is to /{target}, which does not come before it",
                    entry.path
                )));
            }
            _ => {}
        }
        self.header(entry)?;
        self.entries.push(entry.clone());
        Ok(())
    }

    fn header(&mut self, entry: &Entry) -> Result<()> {
        check_path(&entry.path)?;
        if entry.path.is_empty() {
            return Err(Error::new("only a directory can be the root"));
        }
        if !self.paths.insert(entry.path.clone()) {
            return Err(Error::new(format!("/{} is there twice", entry.path)));
        }
        let mut header = Vec::new();
        tar::write_header(entry, &mut header)?;
        self.tar_size += header.len() as u64;
        self.write(&header)
    }

    /// Ends the part. Parents that were not given are root's, with mode 0755.
    pub fn finish(mut self) -> Result<Part> {
        let paths: Vec<String> = self.directories.keys().chain(&self.paths).cloned().collect();
        for path in &paths {
            check_path(path)?;
            for parent in parents(path) {
                self.directories.entry(parent.to_owned()).or_insert_with(|| default_directory(parent));
            }
        }
        if let Some(path) = self.directories.keys().find(|path| self.paths.contains(*path)) {
            return Err(Error::new(format!("/{path} is there as a directory and as something else")));
        }
        let (content, size, members, plain) = match self.content {
            Content::Compressed(encoder) => {
                let (writer, members) = encoder.finish()?;
                let (content, size) = writer.finish()?;
                (content, size, members, None)
            }
            Content::Plain(writer) => {
                let (plain, size) = writer.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
                (plain, size, Vec::new(), Some(plain))
            }
        };
        Ok(Part {
            directories: self.directories.into_values().collect(),
            entries: self.entries,
            content,
            size,
            tar_size: self.tar_size,
            members,
            plain,
        })
    }
}

impl Part {
    /// Whether `content` is what layers are made of, and not the plain stream.
    pub fn is_compressed(&self) -> bool {
        self.plain != Some(self.content)
    }

    /// Compresses a part that [`PartBuilder::plain`] has made; one that is compressed already stays as it is.
    pub fn compressed(self, store: &Store) -> Result<Self> {
        let Some(plain) = self.plain.filter(|_| !self.is_compressed()) else { return Ok(self) };
        let mut encoder = Encoder::new(store.writer()?);
        store.read_through(&plain, |stream| {
            let mut buffer = vec![0; 1 << 17];
            loop {
                match stream.read(&mut buffer).context(|| "reading what a part holds")? {
                    0 => return Ok(()),
                    count => encoder.write(&buffer[..count])?,
                }
            }
        })?;
        let (writer, members) = encoder.finish()?;
        let (content, size) = writer.finish()?;
        Ok(Self { content, size, members, ..self })
    }

    /// Keeps the plain stream of a compressed part as well: whatever is placed into many trees is not decompressed for
    /// each.
    pub fn with_plain(self, store: &Store) -> Result<Self> {
        let mut writer = store.writer()?;
        let mut stream = gzip::reader(store.open_checked(&self.content)?);
        io::copy(&mut stream, &mut writer).context(|| format!("decompressing part {}", self.content))?;
        Ok(Self { plain: Some(writer.finish()?.0), ..self })
    }

    /// The blobs that it needs.
    pub fn blobs(&self) -> Vec<Digest> {
        std::iter::once(self.content).chain(self.plain).collect()
    }
}

/// The directories above `path`, nearest first, the root not among them.
pub fn parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(path.rsplit_once('/').map(|(parent, _)| parent), |path| {
        path.rsplit_once('/').map(|(parent, _)| parent)
    })
}

/// The directory at `path` as it is where nobody says otherwise: root's, with mode 0755.
pub fn default_directory(path: &str) -> Entry {
    Entry {
        path: path.to_owned(),
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: DIRECTORY_MTIME,
        xattrs: BTreeMap::new(),
    }
}

/// Refuses a path that is not in its one spelling. Whiteouts are names like any other here.
fn check_path(path: &str) -> Result<()> {
    let wrong = |name: &str| name.is_empty() || name == "." || name == ".." || name.contains('\0');
    if !path.is_empty() && path.split('/').any(wrong) {
        return Err(Error::new(format!("{path:?} is not a path in a layer")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
