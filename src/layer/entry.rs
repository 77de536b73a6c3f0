//! What a file system holds, as values: entries, and the parts that are made of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// Prefix of the names by which a layer removes what a layer below holds (OCI image specification,
/// layers, whiteouts). No artifact may ship such a name.
pub const WHITEOUT: &str = ".wh.";

/// One name in a file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Entry {
    /// Relative to the root, without a slash at either end; empty for the root itself.
    pub path: String,
    #[serde(flatten)]
    pub kind: Kind,
    /// Permissions with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: u64,
    /// Extended attributes, such as `security.capability`; values in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Kind {
    Directory,
    File {
        size: u64,
        sha256: Digest,
    },
    Symlink {
        target: String,
    },
    /// Another name of the file at `target` (a path like [`Entry::path`]), which comes before it.
    HardLink {
        target: String,
    },
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// An [`Entry`] as it is written: an object with the fields of its kind among its own. A list has thousands of them, and
/// serde reads such an object twice unless it is told of all its fields at once.
#[derive(Deserialize)]
struct Written {
    path: String,
    #[serde(rename = "type")]
    kind: WrittenKind,
    size: Option<u64>,
    sha256: Option<Digest>,
    target: Option<String>,
    major: Option<u32>,
    minor: Option<u32>,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
    #[serde(default)]
    xattrs: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenKind {
    Directory,
    File,
    Symlink,
    HardLink,
    CharacterDevice,
    BlockDevice,
    Fifo,
}

impl TryFrom<Written> for Entry {
    type Error = &'static str;

    fn try_from(written: Written) -> std::result::Result<Self, Self::Error> {
        let Written { path, kind, size, sha256, target, major, minor, mode, uid, gid, mtime, xattrs } = written;
        let target = || target.ok_or("a link has no target");
        let device = || major.zip(minor).ok_or("a device has no number");
        let kind = match kind {
            WrittenKind::Directory => Kind::Directory,
            WrittenKind::File => {
                let (size, sha256) = size.zip(sha256).ok_or("a file has no size, or no digest")?;
                Kind::File { size, sha256 }
            }
            WrittenKind::Symlink => Kind::Symlink { target: target()? },
            WrittenKind::HardLink => Kind::HardLink { target: target()? },
            WrittenKind::CharacterDevice => device().map(|(major, minor)| Kind::CharacterDevice { major, minor })?,
            WrittenKind::BlockDevice => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
            WrittenKind::Fifo => Kind::Fifo,
        };
        Ok(Self { path, kind, mode, uid, gid, mtime, xattrs })
    }
}

/// What one artifact, or one stage's scripts, contributes to the file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The directories it wants, sorted by path, parents included. They are no part of `content`: a
    /// layer writes the union of its parts' directories once.
    pub directories: Vec<Entry>,
    /// Everything else, in the order of `content`.
    pub entries: Vec<Entry>,
    /// The blob with the entries as a canonical tar stream without its end, in gzip members.
    pub content: Digest,
    /// Bytes of `content`.
    pub size: u64,
    /// Bytes of the tar stream inside it.
    pub tar_size: u64,
    /// The members of `content`, in order: compressed and plain bytes of each.
    pub members: Vec<(u32, u32)>,
    /// The blob with the tar stream itself, kept for parts that many trees are made of: reading it takes half the
    /// time of decompressing `content`. Until the part is compressed, it is `content` as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain: Option<Digest>,
}

/// Checks a path from outside and gives it its one spelling: `./usr//bin/` becomes `usr/bin`.
///
/// Refuses `..`, NUL, and names that a layer would take for whiteouts.
pub fn normalize(path: &str) -> Result<String> {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => return Err(Error::new(format!("the path {path:?} leaves its folder"))),
            name if name.contains('\0') => return Err(Error::new(format!("the path {path:?} holds a NUL"))),
            name if name.starts_with(WHITEOUT) => {
                return Err(Error::new(format!("the path {path:?} has a name that layers use to remove files")));
            }
            name => names.push(name),
        }
    }
    if names.len() > 128 || path.len() > 4096 {
        return Err(Error::new(format!(
            "the path {:?}… is too long or too deep",
            &path.chars().take(80).collect::<String>()
        )));
    }
    Ok(names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn paths_have_one_spelling_and_cannot_escape() {
        assert_eq!(normalize("./usr//bin/").unwrap(), "usr/bin");
        assert_eq!(normalize("./").unwrap(), "");
        assert_eq!(normalize("/etc/passwd").unwrap(), "etc/passwd");
        for hostile in ["../x", "a/../../x", "a\0b", "a/.wh.b", ".wh..wh..opq"] {
            assert!(normalize(hostile).is_err(), "{hostile:?}");
        }
    }
}
