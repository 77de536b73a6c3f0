//! `Packages` indexes: bytes to stanzas, and one stanza to a [`Package`].
//!
//! Knows neither where an index comes from nor what a package is wanted for. An index is tens of
//! megabytes, so parsing notes where things stand and copies nothing: a whole [`Package`] is only made
//! of the few stanzas that a resolution ends with. Chunks are parsed in parallel.

use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr, memmem};
use rayon::prelude::*;

use super::names::Names;
use super::relation;
use super::version;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// The largest index that is read: bookworm's `main` has 50 MB.
const MAX_INDEX: usize = 1 << 30;
/// The largest stanza: the largest of bookworm has 60 kB.
const MAX_STANZA: usize = 4 << 20;
/// What is parsed at once by one thread.
const CHUNK: usize = 2 << 20;

/// What is known of the release that an index belongs to: what apt_preferences(5) can choose by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// kiln's name for the origin: `debian`, `debian-security`, or the user's own.
    pub origin: String,
    /// `Suite` (apt's "archive"): `stable`, `stable-security`.
    pub suite: String,
    /// `Codename`: `trixie`, `trixie-security`.
    pub codename: String,
    /// `Label`.
    pub label: String,
    /// The release file's own `Origin` field: `Debian`.
    pub vendor: String,
    /// `Version`: `13.1`; often empty.
    pub version: String,
    /// The component: `main`.
    pub component: String,
    /// `NotAutomatic: yes`.
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades: yes`.
    pub but_automatic_upgrades: bool,
    /// The user's priority for this source, in place of the default one.
    pub priority: Option<i32>,
}

/// How important a package is (Debian Policy 2.5). The numbers are the order in which apt prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// No `Priority` field.
    #[default]
    Unset,
    /// `required`
    Required,
    /// `important`
    Important,
    /// `standard`
    Standard,
    /// `optional`
    Optional,
    /// `extra`, and whatever else is written
    Extra,
}

/// How a package behaves across architectures (the Multiarch specification).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultiArch {
    /// `no`, or no such field
    #[default]
    No,
    /// `same`
    Same,
    /// `foreign`
    Foreign,
    /// `allowed`: others may depend on it as `name:any`
    Allowed,
}

/// One package of an index, in full. Relation fields are as written, continuation lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// `Package`
    pub name: String,
    /// `Version`
    pub version: String,
    /// `Architecture`: the index's, or `all`
    pub architecture: String,
    /// The source package's name: `Source`, or the package's own.
    pub source: String,
    /// The source package's version: from `Source: name (version)`, or the package's own.
    pub source_version: String,
    /// `Essential: yes` (Debian Policy 3.8)
    pub essential: bool,
    /// `Protected: yes` or `Important: yes`
    pub protected: bool,
    /// `Priority`
    pub priority: Priority,
    /// `Multi-Arch`
    pub multi_arch: MultiArch,
    /// `Section`
    pub section: String,
    /// `Depends`
    pub depends: String,
    /// `Pre-Depends`
    pub pre_depends: String,
    /// `Conflicts`
    pub conflicts: String,
    /// `Breaks`
    pub breaks: String,
    /// `Provides`
    pub provides: String,
    /// `Replaces`
    pub replaces: String,
    /// `Filename`: the path below the origin's address; relative, without `..`
    pub filename: String,
    /// `Size`: of the `.deb`, in bytes
    pub size: u64,
    /// `Installed-Size`, in KiB
    pub installed_size: u64,
    /// `SHA256`: of the `.deb`
    pub sha256: Digest,
}

/// A place in an index.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    length: u32,
}

/// What is noted of a stanza.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stanza {
    at: Span,
    /// The package's own name; first a number of the chunk's names, later of the index's.
    pub name: u32,
    pub version: Span,
    pub architecture: Span,
    pub priority: Priority,
    pub multi_arch: MultiArch,
    /// `None` if the stanza does not say.
    pub essential: Option<bool>,
    pub protected: Option<bool>,
    /// By [`Field`].
    relations: [Span; Field::COUNT],
}

/// The fields with relations, in the order in which apt reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    PreDepends,
    Depends,
    Conflicts,
    Breaks,
    Recommends,
    Suggests,
    Replaces,
    Enhances,
    Provides,
}

impl Field {
    const COUNT: usize = 9;
    const ALL: [Self; Self::COUNT] = [
        Self::PreDepends,
        Self::Depends,
        Self::Conflicts,
        Self::Breaks,
        Self::Recommends,
        Self::Suggests,
        Self::Replaces,
        Self::Enhances,
        Self::Provides,
    ];
}

/// A parsed index. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Index {
    label: String,
    release: Release,
    bytes: Arc<Vec<u8>>,
    chunks: Arc<[Chunk]>,
}

/// What one thread made of its part of an index.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub stanzas: Vec<Stanza>,
    /// Every name in the chunk, packages' and relations', in the order of first mention: apt numbers
    /// packages so, and breaks ties between providers by that number.
    pub names: Names,
    pub provides: Vec<Provide>,
}

/// A `Provides` of a stanza.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provide {
    /// Which stanza of the chunk.
    pub stanza: u32,
    /// Which name of the chunk.
    pub name: u32,
    /// The version provided; empty for none.
    pub version: Span,
}

impl Index {
    /// Reads a whole, uncompressed `Packages` file of the release described; `label` names it in errors.
    ///
    /// Fails, naming package and index, on carriage returns, a stanza without name, version,
    /// architecture or SHA-256, a `Filename` that leaves the archive, and a malformed relation.
    pub fn parse(label: impl Into<String>, release: Release, bytes: Vec<u8>) -> Result<Self> {
        let label = label.into();
        let bytes = Arc::new(bytes);
        if bytes.len() > MAX_INDEX {
            return Err(Error::new(format!(
                "index {label} has {} bytes, more than the {MAX_INDEX} allowed",
                bytes.len()
            )));
        }
        let chunks: Vec<Chunk> = split(&bytes)
            .into_par_iter()
            .map(|range| parse_chunk(&bytes, range))
            .collect::<Result<_>>()
            .context(|| format!("reading index {label}"))?;
        Ok(Self { label, release, bytes, chunks: chunks.into() })
    }

    /// What errors call this index.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The release it belongs to.
    pub fn release(&self) -> &Release {
        &self.release
    }

    pub(super) fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    pub(super) fn text(&self, span: Span) -> &str {
        text(&self.bytes, span)
    }

    /// A relation field as written.
    pub(super) fn relations(&self, stanza: &Stanza, field: Field) -> &str {
        self.text(stanza.relations[field as usize])
    }

    /// A field of the stanza by its name in lower case; empty if it has none. Of several by one name it is the last,
    /// the one that was checked.
    pub(super) fn field(&self, stanza: &Stanza, key: &str) -> String {
        fields(&self.bytes, stanza.at.range())
            .filter(|(name, _)| name.eq_ignore_ascii_case(key.as_bytes()))
            .last()
            .map(|(_, value)| unfold(text(&self.bytes, value)))
            .unwrap_or_default()
    }

    /// The stanza as it stands in the index.
    pub fn stanza_text(&self, package: &Package) -> Option<&str> {
        let found = self.chunks.iter().find_map(|chunk| {
            let name = chunk.names.find(package.name.as_bytes())?;
            chunk.stanzas.iter().find(|stanza| stanza.name == name && self.text(stanza.version) == package.version)
        })?;
        Some(self.text(found.at))
    }

    /// The package that a stanza describes, in full.
    pub(super) fn package(&self, stanza: &Stanza) -> Result<Package> {
        let get = |key: &str| self.field(stanza, key);
        let name = get("package").to_ascii_lowercase();
        let doing = || format!("reading package {name} of index {}", self.label);
        let number = |key: &str| -> Result<u64> {
            let value = get(key);
            if value.is_empty() {
                return Ok(0);
            }
            value.parse().map_err(|_| Error::new(format!("`{key}: {value}` is not a number"))).context(doing)
        };
        let version = get("version");
        let (source, source_version) = source_of(&get("source"), &name, &version);
        Ok(Package {
            source,
            source_version,
            architecture: get("architecture"),
            essential: stanza.essential == Some(true),
            protected: stanza.protected == Some(true),
            priority: stanza.priority,
            multi_arch: stanza.multi_arch,
            section: get("section"),
            depends: get("depends"),
            pre_depends: get("pre-depends"),
            conflicts: get("conflicts"),
            breaks: get("breaks"),
            provides: get("provides"),
            replaces: get("replaces"),
            filename: get("filename"),
            size: number("size")?,
            installed_size: number("installed-size")?,
            sha256: get("sha256").parse().context(doing)?,
            name,
            version,
        })
    }
}

/// `Source: name (version)`, both of which default to the package's own.
pub(super) fn source_of(field: &str, name: &str, version: &str) -> (String, String) {
    let (source, rest) = field.split_once(' ').unwrap_or((field, ""));
    let inside = rest.split_once('(').and_then(|(_, after)| after.split_once(')')).map(|(inside, _)| inside.trim());
    let source = if source.is_empty() { name } else { source };
    (source.to_owned(), inside.unwrap_or(version).to_owned())
}

impl Span {
    fn new(range: Range<usize>) -> Self {
        // MAX_INDEX is below 4 GiB.
        Self { start: range.start as u32, length: range.len() as u32 }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

/// Text is ASCII but for descriptions and people's names; where it is not, nothing is found in it.
fn text(bytes: &[u8], span: Span) -> &str {
    str::from_utf8(&bytes[span.range()]).unwrap_or_default()
}

/// Joins continuation lines with a space each.
fn unfold(value: &str) -> String {
    if !value.contains('\n') {
        return value.to_owned();
    }
    value.lines().map(str::trim_ascii).collect::<Vec<_>>().join(" ")
}

/// Parts of about [`CHUNK`] bytes that end at an empty line.
fn split(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let from = (start + CHUNK).min(bytes.len());
        let end = memmem::find(&bytes[from..], b"\n\n").map_or(bytes.len(), |at| from + at + 2);
        ranges.push(start..end);
        start = end;
    }
    ranges
}

fn parse_chunk(bytes: &[u8], range: Range<usize>) -> Result<Chunk> {
    if let Some(at) = memchr(b'\r', &bytes[range.clone()]) {
        let line = memchr::memchr_iter(b'\n', &bytes[..range.start + at]).count() + 1;
        return Err(Error::new(format!("line {line} has a carriage return, and an index has none"))
            .hint("the file was converted to the line ends of another system on its way"));
    }
    let mut chunk = Chunk::default();
    let mut at = range.start;
    while at < range.end {
        if bytes[at] == b'\n' {
            at += 1;
            continue;
        }
        let end = memmem::find(&bytes[at..range.end], b"\n\n").map_or(range.end, |found| at + found + 1);
        if end - at > MAX_STANZA {
            return Err(Error::new(format!("the stanza at byte {at} has more than {MAX_STANZA} bytes")));
        }
        parse_stanza(bytes, at..end, &mut chunk)?;
        at = end;
    }
    Ok(chunk)
}

/// The fields of a stanza: key, and the value without the white space around it.
fn fields(bytes: &[u8], range: Range<usize>) -> impl Iterator<Item = (&[u8], Span)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        while at < range.end {
            let start = at;
            let mut end = line_end(bytes, at, range.end);
            at = end + 1;
            // Continuation lines start with white space.
            while at < range.end && matches!(bytes[at], b' ' | b'\t') {
                end = line_end(bytes, at, range.end);
                at = end + 1;
            }
            if let Some(colon) = memchr(b':', &bytes[start..end]) {
                let value = trim(bytes, start + colon + 1..end);
                return Some((&bytes[start..start + colon], Span::new(value)));
            }
        }
        None
    })
}

fn line_end(bytes: &[u8], at: usize, limit: usize) -> usize {
    memchr(b'\n', &bytes[at..limit]).map_or(limit, |found| at + found)
}

fn trim(bytes: &[u8], mut range: Range<usize>) -> Range<usize> {
    while range.start < range.end && bytes[range.start].is_ascii_whitespace() {
        range.start += 1;
    }
    while range.start < range.end && bytes[range.end - 1].is_ascii_whitespace() {
        range.end -= 1;
    }
    range
}

fn parse_stanza(bytes: &[u8], range: Range<usize>, chunk: &mut Chunk) -> Result<()> {
    let mut stanza = Stanza { at: Span::new(range.clone()), ..Stanza::default() };
    let mut name = Span::default();
    let mut filename = Span::default();
    let mut sha256 = Span::default();
    for (key, value) in fields(bytes, range.clone()) {
        let Some(key) = known(key) else { continue };
        match key {
            Key::Package => name = value,
            Key::Version => stanza.version = value,
            Key::Architecture => stanza.architecture = value,
            Key::Filename => filename = value,
            Key::Sha256 => sha256 = value,
            Key::Essential => stanza.essential = yes_or_no(text(bytes, value)),
            Key::Protected => stanza.protected = yes_or_no(text(bytes, value)),
            Key::Priority => stanza.priority = priority_of(text(bytes, value)),
            Key::MultiArch => stanza.multi_arch = multi_arch_of(text(bytes, value)),
            Key::Relation(field) => stanza.relations[field as usize] = value,
        }
    }
    let name = text(bytes, name);
    check(bytes, name, &stanza, filename, sha256).context(|| match name {
        "" => format!("reading the stanza at byte {}", range.start),
        name => format!("reading package {}", name.escape_debug()),
    })?;
    stanza.name = chunk.names.add(name.to_ascii_lowercase().as_bytes());
    note_names(bytes, &stanza, chunk).context(|| format!("reading package {name}"))?;
    chunk.stanzas.push(stanza);
    Ok(())
}

/// What a stanza must have, whether or not its package is ever wanted.
fn check(bytes: &[u8], name: &str, stanza: &Stanza, filename: Span, sha256: Span) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(plain) {
        return Err(Error::new(format!("`Package: {}` is not a package's name", name.escape_debug())));
    }
    let version = text(bytes, stanza.version);
    if !version::is_valid(version) {
        return Err(Error::new(format!("`Version: {}` is not a version number", version.escape_debug())));
    }
    if text(bytes, stanza.architecture).is_empty() {
        return Err(Error::new("it has no `Architecture`"));
    }
    let filename = text(bytes, filename);
    let leaves = filename.split('/').any(|part| part == "..") || filename.starts_with('/') || filename.contains('\\');
    if filename.is_empty() || leaves || filename.chars().any(|character| character.is_control()) {
        return Err(Error::new(format!("`Filename: {}` is not a path below the archive", filename.escape_debug())));
    }
    let sha256 = text(bytes, sha256);
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::new(format!("`SHA256: {}` is not a SHA-256 digest", sha256.escape_debug())).hint(
            "without the SHA-256 of its packages an index proves nothing about them: ask its maintainers for it",
        ));
    }
    Ok(())
}

fn note_names(bytes: &[u8], stanza: &Stanza, chunk: &mut Chunk) -> Result<()> {
    let number = chunk.stanzas.len() as u32;
    for field in Field::ALL {
        let span = stanza.relations[field as usize];
        for item in relation::parse(text(bytes, span)) {
            let item = item.map_err(Error::new)?;
            let name = chunk.names.add(item.name.as_bytes());
            if field == Field::Provides {
                let version = match item.version {
                    None => Span::default(),
                    Some((relation::Operator::Equal, version)) => place(bytes, version),
                    // Nothing can be provided but one version (Debian Policy 7.5).
                    Some(_) => continue,
                };
                chunk.provides.push(Provide { stanza: number, name, version });
            }
        }
    }
    Ok(())
}

/// Where `part`, a part of `bytes`, stands in it.
fn place(bytes: &[u8], part: &str) -> Span {
    let start = part.as_ptr().addr() - bytes.as_ptr().addr();
    Span::new(start..start + part.len())
}

#[derive(Clone, Copy)]
enum Key {
    Package,
    Version,
    Architecture,
    Filename,
    Sha256,
    Essential,
    Protected,
    Priority,
    MultiArch,
    Relation(Field),
}

/// The keys that are needed, in any case of letters; by length first, since most lines are not wanted.
fn known(key: &[u8]) -> Option<Key> {
    let candidates: &[(&str, Key)] = match key.len() {
        6 => const { &[("breaks", Key::Relation(Field::Breaks)), ("sha256", Key::Sha256)] },
        7 => {
            const { &[("package", Key::Package), ("version", Key::Version), ("depends", Key::Relation(Field::Depends))] }
        }
        8 => {
            const {
                &[
                    ("filename", Key::Filename),
                    ("priority", Key::Priority),
                    ("provides", Key::Relation(Field::Provides)),
                    ("replaces", Key::Relation(Field::Replaces)),
                    ("suggests", Key::Relation(Field::Suggests)),
                    ("enhances", Key::Relation(Field::Enhances)),
                ]
            }
        }
        9 => {
            const {
                &[
                    ("conflicts", Key::Relation(Field::Conflicts)),
                    ("essential", Key::Essential),
                    ("protected", Key::Protected),
                    ("important", Key::Protected),
                ]
            }
        }
        10 => const { &[("multi-arch", Key::MultiArch), ("recommends", Key::Relation(Field::Recommends))] },
        11 => const { &[("pre-depends", Key::Relation(Field::PreDepends))] },
        12 => const { &[("architecture", Key::Architecture)] },
        _ => return None,
    };
    candidates.iter().find(|(name, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, found)| *found)
}

fn yes_or_no(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "on" | "enable" | "with" => Some(true),
        "no" | "false" | "0" | "off" | "disable" | "without" => Some(false),
        _ => None,
    }
}

fn priority_of(value: &str) -> Priority {
    match value.to_ascii_lowercase().as_str() {
        "required" => Priority::Required,
        "important" => Priority::Important,
        "standard" => Priority::Standard,
        "optional" => Priority::Optional,
        _ => Priority::Extra,
    }
}

fn multi_arch_of(value: &str) -> MultiArch {
    match value {
        "same" => MultiArch::Same,
        "foreign" => MultiArch::Foreign,
        "allowed" => MultiArch::Allowed,
        _ => MultiArch::No,
    }
}

#[cfg(test)]
mod tests;
