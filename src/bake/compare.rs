//! What differs between two bakes of one lock, path by path, and which script wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::stage_result::StageResult;
use crate::layer::{Entry, Kind};

/// A path that two runs of one stage left in different states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// From the root, with the slash.
    pub path: String,
    /// What differs, in words.
    pub what: String,
    /// The script that wrote it last: `package postinst`.
    pub writer: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} (written by {})", self.path, self.what, self.writer)
    }
}

/// The paths that differ between two runs of a stage.
pub fn compare(one: &StageResult, other: &StageResult) -> Vec<Difference> {
    let (a, b) = (entries(one), entries(other));
    let paths: BTreeSet<&str> = a.keys().chain(b.keys()).copied().collect();
    let mut differences = Vec::new();
    for path in paths {
        let what = match (a.get(path), b.get(path)) {
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => difference(a, b),
            (Some(_), None) => "changed in the first bake only".to_owned(),
            (None, _) => "changed in the second bake only".to_owned(),
        };
        let writer = one.writers.get(path).or_else(|| other.writers.get(path));
        let writer = writer.map_or_else(|| "kiln".to_owned(), Clone::clone);
        differences.push(Difference { path: format!("/{path}"), what, writer });
    }
    differences
}

fn entries(stage: &StageResult) -> BTreeMap<&str, &Entry> {
    stage.part.directories.iter().chain(&stage.part.entries).map(|entry| (entry.path.as_str(), entry)).collect()
}

fn difference(a: &Entry, b: &Entry) -> String {
    let mut what = Vec::new();
    if a.kind != b.kind {
        what.push(match (&a.kind, &b.kind) {
            (Kind::File { size: a, .. }, Kind::File { size: b, .. }) if a != b => {
                format!("content of {a} and {b} bytes")
            }
            (Kind::File { .. }, Kind::File { .. }) => "content".to_owned(),
            (Kind::Symlink { target: a }, Kind::Symlink { target: b }) => format!("a link to `{a}` and to `{b}`"),
            (a, b) => format!("{} and {}", noun(a), noun(b)),
        });
    }
    if a.mode != b.mode {
        what.push(format!("mode {:04o} and {:04o}", a.mode, b.mode));
    }
    for (name, a, b) in [
        ("owner", u64::from(a.uid), u64::from(b.uid)),
        ("group", u64::from(a.gid), u64::from(b.gid)),
        ("time", a.mtime, b.mtime),
    ] {
        if a != b {
            what.push(format!("{name} {a} and {b}"));
        }
    }
    if a.xattrs != b.xattrs {
        what.push("extended attributes".to_owned());
    }
    what.join(", ")
}

fn noun(kind: &Kind) -> &'static str {
    match kind {
        Kind::Directory => "a directory",
        Kind::File { .. } => "a file",
        Kind::HardLink { .. } => "a hard link",
        Kind::Symlink { .. } => "a symbolic link",
        Kind::Fifo => "a named pipe",
        Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } => "a device",
    }
}
