//! The file system that a stack of layers gives, as one sorted list with the content at hand.
//!
//! Layers are applied as the OCI image specification says (layers, whiteouts, opaque whiteouts). It knows
//! layers only; whether a tar archive or a folder is made of the result is decided elsewhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use super::assemble::{Layer, unpack_plain};
use super::entry::{Entry, Kind, WHITEOUT};
use super::part::{default_directory, parents};
use crate::digest::Hasher;
use crate::error::{self, Context, Error, Result};
use crate::store::Store;

/// Beside a directory's new children: nothing of what lower layers have below the directory stays.
const OPAQUE: &str = ".wh..wh..opq";

/// A file system, flattened.
#[derive(Debug)]
pub struct Flattened {
    /// Sorted by path, so that parents come before what is in them. Of a file's names the first is the
    /// file, the others are hard links to it.
    pub entries: Vec<Entry>,
    /// Where each file's content is in `plain`, by its path.
    content: BTreeMap<String, u64>,
    /// All files' content, one after the other; has no name any more.
    plain: File,
}

impl Flattened {
    /// The content of the file at `path`: one of [`Flattened::entries`] of the kind file. Checked against
    /// the layers' digests when they were read.
    pub fn content(&self, entry: &Entry) -> Result<Content> {
        let Kind::File { size, .. } = entry.kind else {
            return Err(Error::new(format!("/{} is not a file", entry.path)));
        };
        let offset = *self.content.get(&entry.path).context(|| format!("there is no file /{}", entry.path))?;
        Ok(Content { file: self.plain.try_clone()?, offset, left: size })
    }
}

/// One name in the tree.
struct Node {
    entry: Entry,
    /// The same for all names of one file, and for nothing else.
    file: u64,
    /// Where a file's content is.
    offset: u64,
}

/// The content of one file of a [`Flattened`]. Several can be read at once.
#[derive(Debug)]
pub struct Content {
    file: File,
    offset: u64,
    left: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// What the next entry gets.
struct Position {
    file: u64,
    offset: u64,
}

type Tree = BTreeMap<String, Node>;

/// Applies `layers`, the lowest first. The content is unpacked into the store's work space meanwhile.
pub fn flatten(store: &Store, layers: &[Layer]) -> Result<Flattened> {
    let scratch = store.scratch()?;
    let path = scratch.path().join("content");
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    let mut plain = BufWriter::with_capacity(1 << 18, file);
    let mut tree = Tree::new();
    let mut position = Position { file: 1, offset: 0 };
    for layer in layers {
        apply(store, layer, &mut tree, &mut plain, &mut position)
            .context(|| format!("reading the layer {}", layer.digest))?;
    }
    let plain = plain.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(settle(tree, plain))
}

fn apply(
    store: &Store,
    layer: &Layer,
    tree: &mut Tree,
    plain: &mut BufWriter<File>,
    position: &mut Position,
) -> Result<()> {
    let mut stream = Hasher::new(io::sink());
    let tee =
        Tee { reader: BufReader::with_capacity(1 << 18, unpack_plain(store, layer)?.into_inner()), to: &mut stream };
    let mut reader = super::tar::Reader::new(tee);
    let mut upper = Tree::new();
    let mut removed = Vec::new();
    while let Some(item) = reader.next_item()? {
        let mut hasher = Hasher::new(&mut *plain);
        io::copy(&mut reader, &mut hasher).context(|| format!("unpacking {:?}", item.path))?;
        let (sha256, size, _) = hasher.finish();
        let entry = item.to_entry(sha256)?;
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        if name.starts_with(WHITEOUT) {
            removed.push(entry.path);
            continue;
        }
        let node = Node { entry, file: position.file, offset: position.offset };
        position.file += 1;
        position.offset += size;
        upper.insert(node.entry.path.clone(), node);
    }
    // The compressed blob was checked; that it is the layer of this diff_id is checked here.
    io::copy(&mut reader.into_inner(), &mut io::sink())?;
    let found = stream.finish().0;
    if found != layer.diff_id {
        let message = format!("its plain stream has sha256 {found}, expected {}", layer.diff_id);
        return Err(Error::new(message).kind(error::Kind::Corrupt));
    }
    for path in removed {
        remove(tree, &path);
    }
    for (path, node) in upper_in_order(upper) {
        place(tree, path, node)?;
    }
    Ok(())
}

/// Hard links last: what they lead to must be there.
fn upper_in_order(upper: Tree) -> impl Iterator<Item = (String, Node)> {
    let (links, others): (Vec<_>, Vec<_>) =
        upper.into_iter().partition(|(_, node)| matches!(node.entry.kind, Kind::HardLink { .. }));
    others.into_iter().chain(links)
}

/// Whiteouts concern what lower layers have, never what is in the same layer.
fn remove(tree: &mut Tree, whiteout: &str) {
    let (folder, name) = whiteout.rsplit_once('/').unwrap_or(("", whiteout));
    if name == OPAQUE {
        remove_below(tree, folder);
    } else if let Some(name) = name.strip_prefix(WHITEOUT) {
        let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        remove_below(tree, &path);
        tree.remove(&path);
    }
}

fn remove_below(tree: &mut Tree, path: &str) {
    if path.is_empty() {
        tree.retain(|path, _| path.is_empty());
        return;
    }
    let prefix = format!("{path}/");
    let below: Vec<String> = tree
        .range(prefix.clone()..)
        .take_while(|(path, _)| path.starts_with(&prefix))
        .map(|(path, _)| path.clone())
        .collect();
    for path in below {
        tree.remove(&path);
    }
}

fn place(tree: &mut Tree, path: String, mut node: Node) -> Result<()> {
    for parent in parents(&path) {
        match tree.get(parent) {
            Some(Node { entry: Entry { kind: Kind::Directory, .. }, .. }) => {}
            Some(_) => return Err(Error::new(format!("/{path} is below /{parent}, which is no directory"))),
            None => {
                let entry = default_directory(parent);
                tree.insert(parent.to_owned(), Node { entry, file: 0, offset: 0 });
            }
        }
    }
    if let Kind::HardLink { target } = &node.entry.kind {
        let target = tree.get(target).context(|| format!("/{path} is a hard link to /{target}, which is not there"))?;
        if target.entry.kind == Kind::Directory {
            return Err(Error::new(format!("/{path} is a hard link to a directory")));
        }
        // All names of a file have its metadata.
        let entry = Entry { path: path.clone(), ..target.entry.clone() };
        node = Node { entry, ..*target };
    }
    if node.entry.kind != Kind::Directory {
        remove_below(tree, &path);
    }
    tree.insert(path, node);
    Ok(())
}

/// Decides for every file which of its names is the file: the first.
fn settle(tree: Tree, plain: File) -> Flattened {
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let mut content = BTreeMap::new();
    let mut entries = Vec::with_capacity(tree.len());
    for (path, Node { mut entry, file, offset }) in tree {
        if entry.kind != Kind::Directory {
            if let Some(target) = first.get(&file) {
                entry.kind = Kind::HardLink { target: target.clone() };
            } else {
                first.insert(file, path.clone());
                content.insert(path, offset);
            }
        }
        entries.push(entry);
    }
    Flattened { entries, content, plain }
}

/// Passes on what is read, and writes it elsewhere too.
struct Tee<R, W> {
    reader: R,
    to: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.to.write_all(&buffer[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
