//! Whose a path of an image is: the packages that ship it, the step that places it, the script that last wrote it.
//!
//! It reads what layers are planned to be put together of, and knows nothing of how they came to be.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::Planned;
use super::stage_result::StageResult;
use crate::error::Result;
use crate::layer::entry::{WHITEOUT, normalize};
use crate::layer::{Entry, Kind};

/// How many symbolic links are followed (as many as Linux does, path_resolution(7)).
const MOST_LINKS: usize = 40;

/// What became of a path, and who made it so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trace {
    /// The path in the image, from the root, with the slash; other than asked for if a link led there.
    pub path: String,
    /// Who touched it; the last, whose it is, first. Nobody if the image has no such path.
    pub touches: Vec<Touch>,
}

/// What one package, step or script did to a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Touch {
    /// The layer's name.
    pub layer: String,
    /// Who: a package with its version, a script such as `openssl postinst`, or what a step does.
    pub by: String,
    /// Whether that is a package.
    pub package: bool,
    /// Whether it is a folder: several packages may ship one, and the first decides its mode and owner.
    pub folder: bool,
    /// What is there since: a file, a link, a folder; nothing if it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// Finds out whose `path` is. Links in the folders above it are followed, as whoever opens it would.
pub fn trace(layers: &[Planned], stages: &[StageResult], path: &str) -> Result<Trace> {
    let path = resolved(layers, &normalize(path)?);
    let mut touches = Vec::new();
    for layer in layers.iter().rev() {
        touches.extend(touched(layer, stages, &path));
    }
    Ok(Trace { path: format!("/{path}"), touches })
}

/// The path with the links of the folders above it followed.
fn resolved(layers: &[Planned], path: &str) -> String {
    // Of several, the highest layer's counts.
    let mut links: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in layers.iter().flat_map(|layer| &layer.parts).flat_map(|part| &part.entries) {
        match &entry.kind {
            Kind::Symlink { target } => links.insert(&entry.path, target),
            _ => links.remove(entry.path.as_str()),
        };
    }
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let folders = path.match_indices('/').map(|(at, _)| at);
        let link = folders.filter_map(|at| Some((at, *links.get(&path[..at])?))).next();
        let Some((at, target)) = link else { break };
        let (folder, rest) = (path[..at].rsplit_once('/').map_or("", |(folder, _)| folder), &path[at + 1..]);
        let base = if target.starts_with('/') { "" } else { folder };
        path = joined(base, &format!("{target}/{rest}"));
    }
    path
}

/// A path relative to a folder; above the root is the root.
fn joined(folder: &str, path: &str) -> String {
    let mut names: Vec<&str> = folder.split('/').filter(|name| !name.is_empty()).collect();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

/// What a layer does to a path.
fn touched(layer: &Planned, stages: &[StageResult], path: &str) -> Vec<Touch> {
    let mut touches = Vec::new();
    for (index, part) in layer.parts.iter().enumerate() {
        let stage = stages.iter().find(|stage| stage.part.content == part.content && layer.owners.is_empty());
        let package = layer.owners.get(index);
        let touch = |entry: Option<&Entry>| {
            let writer = stage.and_then(|stage| stage.writers.get(path));
            let by = package.or(writer).cloned().unwrap_or_else(|| layer.note.clone());
            let folder = entry.is_some_and(|entry| entry.kind == Kind::Directory);
            Touch { layer: layer.name.clone(), by, package: package.is_some(), folder, left: entry.map(described) }
        };
        if let Some(entry) = part.entries.iter().find(|entry| entry.path == path) {
            touches.push(touch(Some(entry)));
        } else if part.entries.iter().any(|entry| removes(&entry.path, path)) {
            touches.push(touch(None));
        } else if let Some(entry) = part.directories.iter().find(|entry| entry.path == path) {
            // Every layer repeats the folders above what it holds; only those who ship it, or write it, are named.
            let written = stage.is_some_and(|stage| stage.writers.contains_key(path));
            if package.is_some() || written {
                touches.push(touch(Some(entry)));
            }
        }
    }
    touches
}

/// Whether a whiteout removes a path, or a folder above it.
fn removes(whiteout: &str, path: &str) -> bool {
    let (folder, name) = whiteout.rsplit_once('/').unwrap_or(("", whiteout));
    let Some(name) = name.strip_prefix(WHITEOUT) else { return false };
    let below = |folder: &str| folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    if name == ".wh..opq" {
        return below(folder);
    }
    let removed = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    path == removed || below(&removed)
}

fn described(entry: &Entry) -> String {
    let mode = entry.mode;
    match &entry.kind {
        Kind::Directory => format!("a folder, mode {mode:04o}"),
        Kind::File { size, sha256 } => format!("a file of {size} bytes, mode {mode:04o}, sha256 {sha256}"),
        Kind::HardLink { target } => format!("another name of /{target}"),
        Kind::Symlink { target } => format!("a link to {target}"),
        Kind::Fifo => "a named pipe".to_owned(),
        Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } => "a device".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::layer::Part;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: path.to_owned(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
    }

    fn file(path: &str) -> Entry {
        entry(path, Kind::File { size: 1, sha256: Digest::of(b"x") })
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, Kind::Symlink { target: target.to_owned() })
    }

    fn layer(name: &str, owners: &[&str], parts: Vec<Vec<Entry>>) -> Planned {
        let part = |entries: Vec<Entry>| Part {
            directories: Vec::new(),
            content: Digest::of(format!("{name} {entries:?}").as_bytes()),
            entries,
            size: 0,
            tar_size: 0,
            members: Vec::new(),
            plain: None,
        };
        Planned {
            name: name.to_owned(),
            note: format!("note of {name}"),
            directories: Vec::new(),
            parts: parts.into_iter().map(part).collect(),
            owners: owners.iter().map(|&owner| owner.to_owned()).collect(),
            disjoint: false,
            foreign: None,
        }
    }

    fn whose(layers: &[Planned], path: &str) -> (String, Vec<(String, bool)>) {
        let trace = trace(layers, &[], path).unwrap();
        (trace.path, trace.touches.into_iter().map(|touch| (touch.by, touch.left.is_some())).collect())
    }

    #[test]
    fn the_last_to_write_comes_first() {
        let layers = [
            layer(
                "packages",
                &["a 1", "b 2"],
                vec![vec![link("bin", "usr/bin"), file("usr/bin/a")], vec![file("usr/bin/b")]],
            ),
            layer("copy-1", &[], vec![vec![file("usr/bin/a")]]),
        ];
        let expected = [("note of copy-1".to_owned(), true), ("a 1".to_owned(), true)];
        assert_eq!(whose(&layers, "/bin/a"), ("/usr/bin/a".to_owned(), expected.into()));
        assert_eq!(whose(&layers, "usr//bin/b").1, [("b 2".to_owned(), true)]);
        assert!(whose(&layers, "/usr/bin/c").1.is_empty());
        assert!(trace(&layers, &[], "/../etc").is_err());
    }

    #[test]
    fn what_was_removed_says_by_whom() {
        let removing = |whiteout: &str| {
            let layers =
                [layer("p", &["a 1"], vec![vec![file("etc/x/y")]]), layer("run-1", &[], vec![vec![file(whiteout)]])];
            whose(&layers, "/etc/x/y").1.into_iter().map(|(_, left)| left).collect::<Vec<_>>()
        };
        for whiteout in
            ["etc/x/.wh.y", "etc/.wh.x", ".wh.etc", "etc/x/.wh..wh..opq", "etc/.wh..wh..opq", ".wh..wh..opq"]
        {
            assert_eq!(removing(whiteout), [false, true], "{whiteout}");
        }
        for whiteout in ["etc/x/.wh.z", "etc/.wh.xx", "et/.wh..wh..opq"] {
            assert_eq!(removing(whiteout), [true], "{whiteout}");
        }
    }

    #[test]
    fn links_in_a_circle_end() {
        let layers = [layer("p", &["a 1"], vec![vec![link("a", "b"), link("b", "/a")]])];
        assert!(whose(&layers, "/a/x").1.is_empty());
    }
}
