//! Wheel → part: what installing a wheel puts into a file system, without running Python.
//!
//! The binary distribution format (PEP 427) says what is in a wheel, "Recording installed projects" what is beside it
//! once it is installed. A part is a pure function of the wheel's bytes, the layout, and the format.

mod archive;
mod record;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use serde::{Deserialize, Serialize};

use super::name::Name;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::layer::entry::normalize;
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::store::Store;
use crate::{FORMAT, canonical};

use archive::{Archive, Member};

/// What `INSTALLER` says.
const INSTALLER: &[u8] = b"kiln\n";

/// Where an interpreter looks for what is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The folder of modules, as in [`Entry::path`].
    pub site: String,
    /// The folder of programs.
    pub scripts: String,
    /// The folder of header files.
    pub headers: String,
    /// The folder that data files are relative to.
    pub data: String,
    /// The interpreter's path in the image.
    pub interpreter: String,
}

impl Layout {
    /// Where Debian's interpreter of the version `major.minor`, called `interpreter`, looks for what is installed by
    /// hand (Debian Python Policy, 2.5 and 4.1).
    pub fn debian(interpreter: &str, version: &str) -> Self {
        Self {
            site: format!("usr/local/lib/python{version}/dist-packages"),
            scripts: "usr/local/bin".to_owned(),
            headers: format!("usr/local/include/python{version}"),
            data: "usr/local".to_owned(),
            interpreter: format!("/usr/bin/{interpreter}"),
        }
    }
}

/// What a wheel contributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WheelPart {
    pub part: Part,
    /// The newest modification time in the wheel, in seconds since 1970.
    pub newest_mtime: u64,
    /// The licences that its metadata name.
    pub licences: BTreeSet<String>,
}

/// What the lock says of a wheel.
#[derive(Clone, Copy, Debug)]
pub struct Locked<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub sha256: Digest,
}

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    wheel: &'a Digest,
    layout: &'a Layout,
    leave_out: &'a BTreeSet<String>,
}

/// The part of a locked wheel, all of it but the files in `leave_out`. Made once: the store keeps it.
pub fn part(store: &Store, locked: &Locked<'_>, layout: &Layout, leave_out: &BTreeSet<String>) -> Result<WheelPart> {
    let key = Key { format: FORMAT, wheel: &locked.sha256, layout, leave_out };
    let key = Digest::of(&canonical::to_vec(&key)?);
    if let Some(part) = store.keyed("wheel", &key) {
        return Ok(part);
    }
    let _lock = store.lock_key("wheel", &key)?;
    if let Some(part) = store.keyed("wheel", &key) {
        return Ok(part);
    }
    let what = || format!("unpacking the wheel of `{}` {}", locked.name, locked.version);
    let part = make(store, locked, layout, leave_out).context(what)?;
    store.put_keyed("wheel", &key, &[part.part.content], &part)?;
    Ok(part)
}

/// One file as it is installed.
enum Source {
    /// A member of the archive.
    Member(usize),
    /// Bytes that are made here.
    Made(Vec<u8>),
}

struct Installed {
    source: Source,
    executable: bool,
    mtime: u64,
}

fn make(store: &Store, locked: &Locked<'_>, layout: &Layout, leave_out: &BTreeSet<String>) -> Result<WheelPart> {
    let bytes = store.read(&locked.sha256)?;
    let mut archive = Archive::open(Cursor::new(bytes.as_slice()), bytes.len() as u64)?;
    let members = archive.members()?;
    let info = dist_info(&members)?;
    let metadata = archive.text(&members, &format!("{info}/METADATA"))?;
    check_identity(&metadata, locked)?;
    let wheel = archive.text(&members, &format!("{info}/WHEEL"))?;
    check_wheel(&wheel)?;
    let listed = record::parse(&archive.text(&members, &format!("{info}/RECORD"))?)?;
    record::check_names(&members, &listed, &info)?;

    let newest_mtime = members.iter().map(|member| member.mtime).max().unwrap_or(0);
    let mut files = placed(&mut archive, &members, &info, layout, &metadata)?;
    let entry_points = format!("{info}/entry_points.txt");
    if members.iter().any(|member| member.path == entry_points) {
        let text = archive.text(&members, &entry_points)?;
        for (name, content) in scripts::of(&text, &layout.interpreter)? {
            let source = Source::Made(content);
            // What the wheel brings itself under the same name is the same script.
            let path = normalize(&format!("{}/{name}", layout.scripts))?;
            files.entry(path).or_insert(Installed { source, executable: true, mtime: newest_mtime });
        }
    }
    let made =
        |content: &[u8]| Installed { source: Source::Made(content.to_vec()), executable: false, mtime: newest_mtime };
    files.insert(format!("{}/{info}/INSTALLER", layout.site), made(INSTALLER));
    let part = build(store, &mut archive, &members, &listed, files, layout, &info, newest_mtime, leave_out)?;
    Ok(WheelPart { part, newest_mtime, licences: licences(&metadata) })
}

/// Where each member goes (PEP 427, "Installing a wheel").
fn placed<R: std::io::Read + std::io::Seek>(
    archive: &mut Archive<R>,
    members: &[Member],
    info: &str,
    layout: &Layout,
    metadata: &str,
) -> Result<BTreeMap<String, Installed>> {
    let data = format!("{}.data/", info.trim_end_matches(".dist-info"));
    let name = header(metadata, "Name").unwrap_or_default();
    let mut files = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        if is_record(&member.path, info) || member.path == format!("{info}/INSTALLER") {
            continue;
        }
        let mut source = Source::Member(index);
        let mut executable = member.executable;
        let path = match member.path.strip_prefix(&data).and_then(|rest| rest.split_once('/')) {
            None if member.path.starts_with(&data) => {
                return Err(Error::new(format!("{:?} has no place", member.path)));
            }
            None => format!("{}/{}", layout.site, member.path),
            Some(("purelib" | "platlib", rest)) => format!("{}/{rest}", layout.site),
            Some(("data", rest)) => format!("{}/{rest}", layout.data),
            Some(("headers", rest)) => format!("{}/{name}/{rest}", layout.headers),
            Some(("scripts", rest)) => {
                executable = true;
                if let Some(content) = scripts::with_interpreter(&archive.read(index)?, &layout.interpreter) {
                    source = Source::Made(content);
                }
                format!("{}/{rest}", layout.scripts)
            }
            Some((other, _)) => return Err(Error::new(format!("it has data of the unknown kind `{other}`"))),
        };
        let installed = Installed { source, executable, mtime: member.mtime };
        if files.insert(normalize(&path)?, installed).is_some() {
            return Err(Error::new(format!("two of its files would be installed as /{path}")));
        }
    }
    Ok(files)
}

#[expect(clippy::too_many_arguments, reason = "one walk over all that is known of a wheel")]
fn build<R: std::io::Read + std::io::Seek>(
    store: &Store,
    archive: &mut Archive<R>,
    members: &[Member],
    listed: &BTreeMap<String, record::Row>,
    files: BTreeMap<String, Installed>,
    layout: &Layout,
    info: &str,
    mtime: u64,
    leave_out: &BTreeSet<String>,
) -> Result<Part> {
    let record_path = format!("{}/{info}/RECORD", layout.site);
    let mut builder = PartBuilder::new(store)?;
    let mut rows = record::Writer::new(&layout.site);
    let entry = |path: &str, size: u64, executable: bool, mtime: u64| Entry {
        path: path.to_owned(),
        kind: Kind::File { size, sha256: Digest::of(b"") },
        mode: if executable { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        mtime,
        xattrs: BTreeMap::new(),
    };
    for (path, file) in &files {
        let content = match &file.source {
            Source::Member(index) => {
                let member = &members[*index];
                let content = archive.read(*index)?;
                // What is in the archive must be what its list says, wherever it goes.
                listed[&member.path].check(&member.path, &content)?;
                content
            }
            Source::Made(content) => content.clone(),
        };
        rows.add(path, &content);
        if !leave_out.contains(path) {
            let entry = entry(path, content.len() as u64, file.executable, file.mtime);
            builder.new_file(entry, &mut content.as_slice())?;
        }
    }
    let content = rows.finish(&record_path);
    let entry = entry(&record_path, content.len() as u64, false, mtime);
    builder.new_file(entry, &mut content.as_slice())?;
    builder.finish()
}

/// The one folder with the wheel's metadata.
fn dist_info(members: &[Member]) -> Result<String> {
    let folders: BTreeSet<&str> = members
        .iter()
        .filter_map(|member| member.path.split_once('/'))
        .map(|(folder, _)| folder)
        .filter(|folder| folder.ends_with(".dist-info"))
        .collect();
    match folders.into_iter().collect::<Vec<_>>()[..] {
        [folder] => Ok(folder.to_owned()),
        [] => Err(Error::new("it has no `.dist-info` folder, so it is no wheel")),
        [one, other, ..] => Err(Error::new(format!("it has two `.dist-info` folders, `{one}` and `{other}`"))),
    }
}

fn is_record(path: &str, info: &str) -> bool {
    ["RECORD", "RECORD.jws", "RECORD.p7s"].iter().any(|name| path == format!("{info}/{name}"))
}

/// The first value of a field of a file like an e-mail's header.
fn header<'t>(text: &'t str, field: &str) -> Option<&'t str> {
    headers(text, field).next()
}

fn headers<'t>(text: &'t str, field: &str) -> impl Iterator<Item = &'t str> {
    let lines = text.lines().take_while(|line| !line.trim_end_matches('\r').is_empty());
    lines.filter_map(move |line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(field).then(|| value.trim())
    })
}

/// The wheel must say of itself what the lock says of it.
fn check_identity(metadata: &str, locked: &Locked<'_>) -> Result<()> {
    let name = header(metadata, "Name").unwrap_or_default();
    let version = header(metadata, "Version").unwrap_or_default();
    let same_version = match (version.parse::<pep440_rs::Version>(), locked.version.parse::<pep440_rs::Version>()) {
        (Ok(found), Ok(expected)) => found == expected,
        _ => version == locked.version,
    };
    let same_name =
        matches!((name.parse::<Name>(), locked.name.parse::<Name>()), (Ok(found), Ok(expected)) if found == expected);
    if same_name && same_version {
        return Ok(());
    }
    Err(Error::new(format!(
        "the wheel says that it is `{name}` {version}, expected was `{}` {}",
        locked.name, locked.version
    ))
    .kind(crate::error::Kind::Corrupt)
    .hint("the index serves another package under this file's name: nothing of it is used"))
}

fn check_wheel(text: &str) -> Result<()> {
    let version = header(text, "Wheel-Version").unwrap_or_default();
    match version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(Error::new(format!("its format is version `{version}`, only 1.x is known"))),
    }
}

/// What the metadata say of licences: an expression (PEP 639), or else classifiers.
fn licences(metadata: &str) -> BTreeSet<String> {
    if let Some(expression) = header(metadata, "License-Expression") {
        return BTreeSet::from([expression.to_owned()]);
    }
    let classifiers = headers(metadata, "Classifier").filter_map(|line| line.strip_prefix("License :: "));
    let named = classifiers.filter_map(|line| line.rsplit(" :: ").next()).map(str::to_owned);
    named.filter(|name| name != "OSI Approved").collect()
}

#[cfg(test)]
mod tests;
