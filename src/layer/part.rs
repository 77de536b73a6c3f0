//! A stand-in for the part builder until the real one is merged.

use std::io::Read;

use crate::error::Result;
use crate::layer::{Entry, Kind, Part};
use crate::store::Store;

/// Builds a part.
#[allow(missing_debug_implementations)]
pub struct PartBuilder<'a> {
    store: &'a Store,
    directories: Vec<Entry>,
    entries: Vec<Entry>,
    tar: tar::Builder<Vec<u8>>,
}

impl<'a> PartBuilder<'a> {
    /// An empty part.
    pub fn new(store: &'a Store) -> Result<Self> {
        Ok(Self { store, directories: Vec::new(), entries: Vec::new(), tar: tar::Builder::new(Vec::new()) })
    }

    /// Adds a directory.
    pub fn directory(&mut self, entry: Entry) {
        self.directories.push(entry);
    }

    /// Adds anything else.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(entry.mtime);
        header.set_size(0);
        match &entry.kind {
            Kind::File { size, .. } => {
                header.set_size(*size);
                header.set_entry_type(tar::EntryType::Regular);
                self.tar.append_data(&mut header, &entry.path, content)?;
            }
            Kind::Symlink { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                self.tar.append_link(&mut header, &entry.path, target)?;
            }
            Kind::HardLink { target } => {
                header.set_entry_type(tar::EntryType::Link);
                self.tar.append_link(&mut header, &entry.path, target)?;
            }
            kind => {
                header.set_entry_type(match kind {
                    Kind::CharacterDevice { .. } => tar::EntryType::Char,
                    Kind::BlockDevice { .. } => tar::EntryType::Block,
                    _ => tar::EntryType::Fifo,
                });
                if let Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } = kind {
                    header.set_device_major(*major)?;
                    header.set_device_minor(*minor)?;
                }
                self.tar.append_data(&mut header, &entry.path, std::io::empty())?;
            }
        }
        self.entries.push(entry.clone());
        Ok(())
    }

    /// Compresses and stores it.
    pub fn finish(mut self) -> Result<Part> {
        let tar = std::mem::take(self.tar.get_mut());
        let mut content = Vec::new();
        let mut members = Vec::new();
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        for block in tar.chunks(1 << 20) {
            let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
            let length = compressor.gzip_compress(block, &mut member)?;
            content.extend_from_slice(&member[..length]);
            members.push((length as u32, block.len() as u32));
        }
        self.directories.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Part {
            directories: self.directories,
            entries: self.entries,
            content: self.store.put(&content)?,
            size: content.len() as u64,
            tar_size: tar.len() as u64,
            members,
        })
    }
}
