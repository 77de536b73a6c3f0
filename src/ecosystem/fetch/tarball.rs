//! Tar archives, in every compression.

use std::fs::File;
use std::io::{self, BufReader, Read};

use super::{Compression, Unpack, limit};
use crate::error::{Context, Error, Result};
use crate::layer::{Kind, gzip, tar};

/// Memory that an xz stream may ask for, in bytes; `xz -9` asks for 65 MiB.
const LIMIT_MEMORY: u64 = 1 << 30;

/// Reads no more than an honest archive holds.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("the archive grows beyond every measure as it is decompressed"))?;
        Ok(count)
    }
}

/// The plain archive in a file of `size` bytes.
pub(super) fn decoder(compression: Compression, file: File, size: u64) -> Result<Box<dyn Read>> {
    let file = BufReader::with_capacity(1 << 18, file);
    let plain: Box<dyn Read> = match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(gzip::reader(file)),
        Compression::Bzip2 => Box::new(bzip2::read::MultiBzDecoder::new(file)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(LIMIT_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::read::XzDecoder::new_stream(file, stream))
        }
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
    };
    Ok(Box::new(Limited { inner: plain, left: limit(size) }))
}

impl Unpack<'_> {
    /// Places everything that is wanted of a tar archive.
    pub(super) fn tar(&mut self, archive: impl Read) -> Result<()> {
        let mut reader = tar::Reader::new(archive);
        while let Some(item) = reader.next_item()? {
            let what = || format!("its entry {:?}", item.path.chars().take(200).collect::<String>());
            self.item(&item, &mut reader).context(what)?;
        }
        if !reader.ended() && self.entries == 0 {
            return Err(Error::new("it is empty, or no tar archive").hint(
                "its name says that it is one: look at what the address serves, or keep it as it is with `unpack = false`",
            ));
        }
        Ok(())
    }

    fn item(&mut self, item: &tar::Item, content: &mut dyn Read) -> Result<()> {
        let Some(relative) = self.wanted(&item.path)? else { return Ok(()) };
        let own = crate::layer::entry::normalize(&item.path)?;
        match item.typeflag {
            b'0' => self.file(&relative, item.mode & 0o7777, item.mtime, item.size, content)?,
            b'1' => {
                let target = crate::layer::entry::normalize(&item.link)?;
                let Some(kept) = self.wanted(&target)?.filter(|_| self.placed.contains(&target)) else {
                    return Err(Error::new(format!("it is a hard link to {target:?}, which is not placed before it"))
                        .hint("`select` both names, or neither"));
                };
                let target = self.options.placing.path(&kept)?;
                let mode = self.options.placing.mode.unwrap_or(item.mode & 0o7777);
                let entry = self.entry(&relative, Kind::HardLink { target }, mode, item.mtime)?;
                self.builder.entry(&entry, &mut io::empty())?;
            }
            b'2' => self.symlink(&relative, &item.link, item.mtime)?,
            b'5' => self.options.placing.directory(&mut self.builder, &relative, item.mode & 0o7777)?,
            _ => {
                return Err(Error::new("it is a device or a pipe, which no archive brings into an image")
                    .hint("`select` what is wanted of the archive, and leave it out"));
            }
        }
        self.placed.insert(own);
        Ok(())
    }
}
