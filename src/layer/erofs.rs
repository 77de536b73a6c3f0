//! A tree as one file that Linux can mount (EROFS, Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of its
//! sources): nothing is compressed, so that what is read is read from where it is.
//!
//! Blocks have 4096 bytes. The first holds the superblock; the next ones inodes, each with the target of its link or the
//! names in its directory behind it if they fit into its block; then larger directories, and then the files' content.
//! It holds directories, symbolic links, and files with one name, all without extended attributes.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Read, Write};

use super::entry::{Entry, Kind, Part};
use super::part::parents;
use super::{gzip, tar};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::store::Store;

const BLOCK: usize = 4096;
/// Where the superblock is, and its magic number.
const SUPERBLOCK: usize = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
/// The size of an inode of the extended kind, which has room for all owners and times.
const INODE: usize = 64;
/// An inode's number is its place in units of this many bytes.
const SLOT: usize = 32;
/// The size of an entry of a directory without its name.
const DIRENT: usize = 12;
/// The longest name, in bytes, as everywhere in Linux.
const LONGEST_NAME: usize = 255;

/// How an inode says where its data is: bit 0 for the extended kind, then the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// In blocks of its own.
    Plain = 1,
    /// Behind the inode.
    Inline = 5,
}

/// The kinds of names in a directory.
const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
const SYMLINK: u8 = 7;

/// Whether an image can hold the entry; directories are there without their attributes.
pub fn holds(entry: &Entry) -> bool {
    match entry.kind {
        Kind::Directory => true,
        Kind::Symlink { .. } | Kind::File { .. } => entry.xattrs.is_empty(),
        _ => false,
    }
}

/// Writes the image of a tree into the store; its digest. `tree` has its entries by path, the root and all directories
/// among them, and nothing that an image cannot hold; every file among them is in one of `parts` as it is here.
pub fn write(store: &Store, tree: &BTreeMap<&str, &Entry>, parts: &[&Part]) -> Result<Digest> {
    let files = files(tree, parts);
    let mut out = BufWriter::with_capacity(1 << 18, store.writer()?);
    out.write_all(&head(tree, &files)?)?;
    for of_part in files.chunk_by(|(one, _), (other, _)| one == other) {
        let part = parts[of_part[0].0];
        read(store, part, &mut |stream| copy_files(stream, of_part, &mut out))
            .context(|| format!("reading part {}", part.content))?;
    }
    Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?.0)
}

/// The tree's files in the order in which the parts have their content, each with the number of its part.
fn files<'e>(tree: &BTreeMap<&str, &'e Entry>, parts: &[&'e Part]) -> Vec<(usize, &'e Entry)> {
    let mut left: BTreeMap<&str, &Entry> = tree
        .iter()
        .filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }))
        .map(|(path, entry)| (*path, *entry))
        .collect();
    let mut found = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        for entry in &part.entries {
            if left.get(entry.path.as_str()) == Some(&entry) {
                left.remove(entry.path.as_str());
                found.push((index, entry));
            }
        }
    }
    found
}

/// Gives the part's plain stream to `act`, checked.
fn read(store: &Store, part: &Part, act: &mut dyn FnMut(&mut dyn Read) -> Result<()>) -> Result<()> {
    match part.plain.filter(|plain| store.contains(plain)) {
        Some(plain) => store.read_through(&plain, act),
        None => act(&mut gzip::reader(store.open_checked(&part.content)?)),
    }
}

/// Copies the content of `files`, which the stream has in this order, each to a block's end.
fn copy_files(stream: &mut dyn Read, files: &[(usize, &Entry)], out: &mut dyn Write) -> Result<()> {
    let mut reader = tar::Reader::new(stream);
    for (_, entry) in files {
        let missing = || format!("/{} is listed in a part and is not in it", entry.path);
        let item = loop {
            let item = reader.next_item()?.context(missing)?;
            if item.path == entry.path {
                break item;
            }
        };
        let Kind::File { size, .. } = entry.kind else { return Err(Error::new(missing())) };
        if item.size != size || io::copy(&mut reader, out)? != size {
            return Err(Error::new(format!("/{} has not {size} bytes in its part", entry.path)));
        }
        let past = (size % BLOCK as u64) as usize;
        if past > 0 {
            out.write_all(&[0; BLOCK][past..])?;
        }
    }
    Ok(())
}

/// An inode and its place.
struct Node<'e> {
    entry: &'e Entry,
    place: usize,
    layout: Layout,
    /// Of its data, in bytes.
    size: u64,
    /// The first block of its data, if that is [`Layout::Plain`].
    block: u32,
    links: u32,
}

impl Node<'_> {
    fn number(&self) -> u64 {
        (self.place / SLOT) as u64
    }

    /// Gives it the next blocks for its data.
    fn take(&mut self, blocks: &mut u64) -> Result<()> {
        self.block = u32::try_from(*blocks).context(|| "the tree is too large for an image")?;
        *blocks += self.size.div_ceil(BLOCK as u64);
        Ok(())
    }

    fn kind(&self) -> u8 {
        match self.entry.kind {
            Kind::Directory => DIRECTORY,
            Kind::Symlink { .. } => SYMLINK,
            _ => FILE,
        }
    }
}

/// What comes before the content of `files`.
fn head<'e>(tree: &BTreeMap<&str, &'e Entry>, files: &[(usize, &'e Entry)]) -> Result<Vec<u8>> {
    let names = names(tree)?;
    let mut nodes: BTreeMap<&str, Node<'_>> = BTreeMap::new();
    // The root has the first inode: its number must be a small one.
    let mut end = BLOCK;
    for (path, entry) in tree {
        nodes.insert(path, node(entry, names.get(path).map_or(&[], Vec::as_slice), &mut end)?);
    }
    count_links(&mut nodes);
    let mut blocks = end.div_ceil(BLOCK) as u64;
    for node in nodes.values_mut().filter(|node| node.kind() != FILE && node.layout == Layout::Plain) {
        node.take(&mut blocks)?;
    }
    let content = usize::try_from(blocks)? * BLOCK;
    for (_, file) in files {
        nodes
            .get_mut(file.path.as_str())
            .context(|| format!("/{} is not in the tree", file.path))?
            .take(&mut blocks)?;
    }
    if nodes.values().filter(|node| node.kind() == FILE).count() != files.len() {
        return Err(Error::new("a file of the tree is in no part"));
    }
    let mut head = vec![0; content];
    superblock(&mut head, &nodes[""], nodes.len() as u64, blocks)?;
    for (path, node) in &nodes {
        inode(&mut head[node.place..node.place + INODE], node);
        let data = match &node.entry.kind {
            Kind::Directory => directory(&dirents(path, &names[path], &nodes)),
            Kind::Symlink { target } => target.clone().into_bytes(),
            _ => continue,
        };
        let at = if node.layout == Layout::Inline { node.place + INODE } else { node.block as usize * BLOCK };
        head[at..at + data.len()].copy_from_slice(&data);
    }
    Ok(head)
}

/// A directory has a link in each directory in it: programs look for no more than these.
fn count_links(nodes: &mut BTreeMap<&str, Node<'_>>) {
    let directories = nodes.iter().filter(|(path, node)| node.kind() == DIRECTORY && !path.is_empty());
    let above: Vec<&str> = directories.map(|(path, _)| parents(path).next().unwrap_or("")).collect();
    for path in above {
        if let Some(node) = nodes.get_mut(path) {
            node.links += 1;
        }
    }
}

/// Of each directory, the names in it.
fn names<'t>(tree: &BTreeMap<&'t str, &Entry>) -> Result<BTreeMap<&'t str, Vec<&'t str>>> {
    let directories = tree.iter().filter(|(_, entry)| entry.kind == Kind::Directory);
    let mut names: BTreeMap<&str, Vec<&str>> = directories.map(|(path, _)| (*path, Vec::new())).collect();
    for path in tree.keys().filter(|path| !path.is_empty()) {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.len() > LONGEST_NAME {
            return Err(Error::new(format!("an image cannot hold /{path}: a name has at most {LONGEST_NAME} bytes")));
        }
        names.get_mut(parent).context(|| format!("/{path} is in no directory"))?.push(name);
    }
    match names.contains_key("") {
        true => Ok(names),
        false => Err(Error::new("the tree has no root")),
    }
}

/// Places the inode of an entry at the next place with room for it; `end` is where the last one ended.
fn node<'e>(entry: &'e Entry, names: &[&str], end: &mut usize) -> Result<Node<'e>> {
    let (size, links) = match &entry.kind {
        Kind::Directory => (directory_size(names), 2),
        Kind::Symlink { target } => (target.len() as u64, 1),
        Kind::File { size, .. } => (*size, 1),
        _ => return Err(Error::new(format!("an image cannot hold /{}", entry.path))),
    };
    // A byte more than the data: the last name of a directory ends where the next byte is zero.
    let inline = !matches!(entry.kind, Kind::File { .. }) && INODE as u64 + size < BLOCK as u64;
    let length = if inline { INODE + size as usize + 1 } else { INODE };
    let mut place = end.next_multiple_of(SLOT);
    if place / BLOCK != (place + length - 1) / BLOCK {
        place = place.next_multiple_of(BLOCK);
    }
    *end = place + length;
    let layout = if inline { Layout::Inline } else { Layout::Plain };
    Ok(Node { entry, place, layout, size, block: 0, links })
}

/// The name, number and kind of each entry of a directory, sorted by name: itself and the one above it are among them.
fn dirents<'n>(path: &str, names: &[&'n str], nodes: &BTreeMap<&str, Node<'_>>) -> Vec<(&'n str, u64, u8)> {
    let above = parents(path).next().unwrap_or("");
    let mut all: Vec<(&str, u64, u8)> =
        vec![(".", nodes[path].number(), DIRECTORY), ("..", nodes[above].number(), DIRECTORY)];
    for name in names {
        let node = if path.is_empty() { &nodes[name] } else { &nodes[format!("{path}/{name}").as_str()] };
        all.push((name, node.number(), node.kind()));
    }
    all.sort_unstable_by_key(|(name, _, _)| *name);
    all
}

/// A directory's data: in each block entries, then their names.
fn directory(dirents: &[(&str, u64, u8)]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut left = dirents;
    while !left.is_empty() {
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        let (block, rest) = left.split_at(fitting(left.iter().map(|(name, _, _)| name.len())));
        let mut offset = block.len() * DIRENT;
        for (name, number, kind) in block {
            data.extend(number.to_le_bytes());
            data.extend((offset as u16).to_le_bytes());
            data.extend([*kind, 0]);
            offset += name.len();
        }
        data.extend(block.iter().flat_map(|(name, _, _)| name.bytes()));
        left = rest;
    }
    data
}

/// How many of the first names fit into a block.
fn fitting(lengths: impl Iterator<Item = usize>) -> usize {
    let sizes = lengths.scan(0, |size, length| {
        *size += DIRENT + length;
        Some(*size)
    });
    sizes.take_while(|size| *size <= BLOCK).count()
}

/// The size of [`directory`] with these names in it.
fn directory_size(names: &[&str]) -> u64 {
    let mut all: Vec<(&str, u64, u8)> = names.iter().chain(&[".", ".."]).map(|name| (*name, 0, 0)).collect();
    all.sort_unstable();
    directory(&all).len() as u64
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// `struct erofs_super_block`; what is not set is zero, features among it.
fn superblock(head: &mut [u8], root: &Node<'_>, inodes: u64, blocks: u64) -> Result<()> {
    let superblock = &mut head[SUPERBLOCK..];
    put(superblock, 0, &MAGIC.to_le_bytes());
    put(superblock, 12, &[BLOCK.ilog2() as u8]);
    put(superblock, 14, &u16::try_from(root.number())?.to_le_bytes());
    put(superblock, 16, &inodes.to_le_bytes());
    put(superblock, 36, &u32::try_from(blocks).context(|| "the tree is too large for an image")?.to_le_bytes());
    Ok(())
}

/// `struct erofs_inode_extended`.
fn inode(bytes: &mut [u8], node: &Node<'_>) {
    let entry = node.entry;
    let file_type: u16 = match node.kind() {
        DIRECTORY => 0o040_000,
        SYMLINK => 0o120_000,
        _ => 0o100_000,
    };
    // Linux shows every symbolic link with all permissions.
    let mode = if node.kind() == SYMLINK { 0o777 } else { (entry.mode & 0o7777) as u16 };
    put(bytes, 0, &(node.layout as u16).to_le_bytes());
    put(bytes, 4, &(file_type | mode).to_le_bytes());
    put(bytes, 8, &node.size.to_le_bytes());
    put(bytes, 16, &node.block.to_le_bytes());
    put(bytes, 20, &(node.number() as u32).to_le_bytes());
    put(bytes, 24, &entry.uid.to_le_bytes());
    put(bytes, 28, &entry.gid.to_le_bytes());
    put(bytes, 32, &entry.mtime.to_le_bytes());
    put(bytes, 44, &node.links.to_le_bytes());
}

#[cfg(test)]
mod tests;
