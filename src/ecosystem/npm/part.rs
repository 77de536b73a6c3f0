//! Tarball → part: what a package contributes to a file system.
//!
//! A part is a pure function of the tarball, where it goes and the format. What goes where is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};

use serde::{Deserialize, Serialize};

use super::packument::Manifest;
use super::semver::Version;
use super::tarball::{self, Contents, Member};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind as ErrorKind, Result};
use crate::layer::entry::normalize;
use crate::layer::part::default_directory;
use crate::layer::{Entry, Kind, Part, PartBuilder};
use crate::store::Store;
use crate::{FORMAT, canonical};

/// The latest modification time that is taken over: what tar can say in its header, in the year 2242.
const LATEST: u64 = 0o777_7777_7777;

/// Where a package goes, and what npm does to its files there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The package's folder, relative to the root of the file system.
    pub path: String,
    /// Files below it that links in `.bin` lead to: they are made programs.
    pub programs: BTreeSet<String>,
}

/// What a tarball must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The name in the registry.
    pub name: String,
    pub version: Version,
}

/// What a package contributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NpmPart {
    pub part: Part,
    /// The newest modification time in the tarball, in seconds since 1970.
    pub newest_mtime: u64,
    /// What `package.json` says of the licence.
    pub licence: Option<String>,
}

impl NpmPart {
    /// Whether there is anything at a path, relative to the root of the file system.
    pub fn has(&self, path: &str) -> bool {
        let parts = self.part.entries.iter().chain(&self.part.directories);
        parts.into_iter().any(|entry| entry.path == path)
    }
}

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    kind: &'static str,
    artifact: &'a Digest,
    name: &'a str,
    version: String,
    places: &'a [Place],
}

/// The part of the tarball in the blob `artifact`. Made once: the store keeps it under its inputs.
///
/// Fails with [`ErrorKind::Corrupt`] if the tarball is another package's or version's, leads out of its folder,
/// holds a file twice with different content, or unpacks to more than is sane. `places` may be in any order;
/// none may be inside another's.
pub fn part(store: &Store, artifact: &Digest, expected: &Expected, places: &[Place]) -> Result<NpmPart> {
    let mut places = places.to_vec();
    places.sort();
    let (name, version) = (&expected.name, expected.version.to_string());
    let key = Key { format: FORMAT, kind: "npm", artifact, name, version, places: &places };
    let key = Digest::of(&canonical::to_vec(&key)?);
    if let Some(part) = store.keyed("npm", &key) {
        return Ok(part);
    }
    let _lock = store.lock_key("npm", &key)?;
    if let Some(part) = store.keyed("npm", &key) {
        return Ok(part);
    }
    let what = || format!("unpacking {} {}", expected.name, expected.version);
    let part: NpmPart = make(store, artifact, expected, &places)
        .map_err(|error| Error::new(what()).kind(error.what()).caused_by(error))?;
    store.put_keyed("npm", &key, &[part.part.content], &part)?;
    Ok(part)
}

fn make(store: &Store, artifact: &Digest, expected: &Expected, places: &[Place]) -> Result<NpmPart> {
    let size = store.size(artifact).context(|| format!("the store has no file with sha256 {artifact}"))?;
    let open = || Ok::<_, Error>(BufReader::with_capacity(1 << 18, store.open_checked(artifact)?));
    let contents = tarball::contents(open()?, size)?;
    check_manifest(&contents, expected)?;
    let by_number: BTreeMap<usize, &str> =
        contents.members.iter().map(|(path, member)| (member.number, path.as_str())).collect();
    let mut builder = PartBuilder::new(store)?;
    for place in places {
        let base = normalize(&place.path)?;
        builder.directory(default_directory(&base));
        let mut reader = tarball::open(open()?, size)?;
        let mut number = 0;
        while let Some(_item) = reader.next_item()? {
            if let Some(path) = by_number.get(&number) {
                let member = &contents.members[*path];
                add(&mut builder, &contents, place, &base, path, member, &mut reader)
                    .context(|| format!("placing {path:?}"))?;
            }
            number += 1;
        }
    }
    let newest_mtime = contents.members.values().map(|member| member.mtime.min(LATEST)).max().unwrap_or(0);
    Ok(NpmPart { part: builder.finish()?, newest_mtime, licence: licence(&contents.manifest) })
}

fn check_manifest(contents: &Contents, expected: &Expected) -> Result<()> {
    if contents.manifest.is_empty() {
        return Err(Error::new("there is no package.json in it").kind(ErrorKind::Corrupt));
    }
    let found = Manifest::parse(&contents.manifest)?;
    if found.name != expected.name || found.version != expected.version {
        return Err(Error::new(format!(
            "its package.json says that it is {} {}, expected {} {}",
            found.name, found.version, expected.name, expected.version
        ))
        .kind(ErrorKind::Corrupt)
        .hint("the registry gave a tarball that belongs to something else: tell whoever runs it"));
    }
    Ok(())
}

fn add(
    builder: &mut PartBuilder<'_>,
    contents: &Contents,
    place: &Place,
    base: &str,
    path: &str,
    member: &Member,
    content: &mut dyn Read,
) -> Result<()> {
    let whole = if path.is_empty() { base.to_owned() } else { format!("{base}/{path}") };
    if member.directory {
        builder.directory(default_directory(&whole));
        return Ok(());
    }
    let program = place.programs.contains(path);
    let mode = if program { 0o755 } else { (member.mode | 0o644) & 0o755 };
    let mut entry = Entry {
        path: whole,
        kind: Kind::File { size: member.size, sha256: Digest::of(b"") },
        mode,
        uid: 0,
        gid: 0,
        mtime: member.mtime.min(LATEST),
        xattrs: BTreeMap::new(),
    };
    if program && contents.foreign_scripts.contains(path) {
        let mended = tarball::mended(content)?;
        entry.kind = Kind::File { size: mended.len() as u64, sha256: Digest::of(&mended) };
        return builder.entry(&entry, &mut mended.as_slice());
    }
    builder.new_file(entry, content)?;
    io::copy(content, &mut io::sink())?;
    Ok(())
}

/// `license` as SPDX has it, or the forms of old.
fn licence(manifest: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(super::packument::strip_mark(manifest)).ok()?;
    let one = |value: &serde_json::Value| {
        value
            .as_str()
            .or_else(|| value.get("type")?.as_str())
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    one(&value["license"]).or_else(|| {
        let all: Vec<String> = value["licenses"].as_array()?.iter().filter_map(one).collect();
        (!all.is_empty()).then(|| all.join(" OR "))
    })
}
