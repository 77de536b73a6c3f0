//! The zip archive that a wheel is, with everything refused that a wheel cannot hold.

use std::io::{Read, Seek};

use crate::ecosystem::fetch;
use crate::error::{Context, Error, Result};
use crate::layer::entry::normalize;

/// Names in one wheel.
const LIMIT_ENTRIES: usize = 500_000;
/// A text file among the metadata, in bytes.
const LIMIT_TEXT: u64 = 64 << 20;

/// No byte of a deflate stream becomes more bytes (RFC 1951, 3.2.5: 258 of them out of two bits).
const DEFLATE_RATIO: u64 = 1032;

/// A file in a wheel.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub path: String,
    /// In seconds since 1970.
    pub mtime: u64,
    pub executable: bool,
    /// Its index in the archive.
    index: usize,
    size: u64,
}

/// An open wheel.
pub(super) struct Archive<R> {
    zip: zip::ZipArchive<R>,
    /// By position in [`Archive::members`], the index in the archive and the size.
    places: Vec<(usize, u64)>,
    limit: u64,
    /// The most bytes that can be in it, decompressed.
    plain_size: u64,
}

impl<R: Read + Seek> Archive<R> {
    /// Opens a wheel of `size` bytes.
    pub fn open(mut reader: R, size: u64) -> Result<Self> {
        let announced = fetch::entry_count(&mut reader, size)?;
        let zip = zip::ZipArchive::new(reader).context(|| "it is no zip archive")?;
        if zip.len() as u64 != announced {
            return Err(Error::new("the same path is in it twice"));
        }
        if zip.len() > LIMIT_ENTRIES {
            return Err(Error::new(format!("it holds more than {LIMIT_ENTRIES} names")));
        }
        Ok(Self { zip, places: Vec::new(), limit: fetch::limit(size), plain_size: size.saturating_mul(DEFLATE_RATIO) })
    }

    /// All files, in the order of the archive.
    pub fn members(&mut self) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        let mut left = self.limit;
        for index in 0..self.zip.len() {
            let file = self.zip.by_index_raw(index)?;
            let name = file.name().context(|| format!("the name of its member {index}"))?.into_owned();
            let what = || format!("its member {:?}", name.chars().take(200).collect::<String>());
            left = left
                .checked_sub(file.size())
                .ok_or_else(|| Error::new("it grows beyond every measure as it is decompressed"))?;
            if file.is_dir() {
                continue;
            }
            if name.starts_with('/') || name.contains('\\') {
                return Err(Error::new("its path is no plain relative path")).context(what);
            }
            let mode = file.unix_mode().unwrap_or(0);
            if mode & 0o170_000 == 0o120_000 {
                return Err(Error::new("it is a symbolic link, which wheels cannot hold")).context(what);
            }
            let path = normalize(&name).context(what)?;
            members.push(Member {
                path,
                mtime: fetch::modified(&file),
                executable: mode & 0o111 != 0,
                index,
                size: file.size(),
            });
        }
        self.places = members.iter().map(|member| (member.index, member.size)).collect();
        Ok(members)
    }

    /// The content of the member at `position` of [`Archive::members`].
    pub fn read(&mut self, position: usize) -> Result<Vec<u8>> {
        let (index, size) = self.places[position];
        let file = self.zip.by_index(index)?;
        // What the archive says may be a lie: no more is set aside than its own bytes can become.
        let most = self.plain_size.min(size);
        let mut content = Vec::with_capacity(usize::try_from(most)?);
        file.take(size + 1).read_to_end(&mut content).context(|| format!("decompressing its member {index}"))?;
        if content.len() as u64 != size {
            return Err(Error::new(format!("its member {index} has another size than the {size} bytes announced")));
        }
        Ok(content)
    }

    /// A text file by its path.
    pub fn text(&mut self, members: &[Member], path: &str) -> Result<String> {
        let position = members.iter().position(|member| member.path == path);
        let position = position.ok_or_else(|| Error::new(format!("it has no `{path}`")))?;
        if members[position].size > LIMIT_TEXT {
            return Err(Error::new(format!("its `{path}` is too large")));
        }
        Ok(String::from_utf8_lossy(&self.read(position)?).into_owned())
    }
}
