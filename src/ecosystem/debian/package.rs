//! A package as a stage needs it: its part, and what dpkg is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use md5::{Digest as _, Md5};

use super::deb::Control;
use super::dpkg::{self, Member, Unpacked};
use super::exclusions::Exclusions;
use super::part::{DebPart, PartOptions, compressed_deb_part, deb_part, plain_deb_part};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::layer::{Kind, Part, gzip, tar};
use crate::store::Store;

/// Bytes of one member of a control archive.
const LIMIT_MEMBER: u64 = 64 << 20;

/// A package of a stage: what dpkg is told, and what it contributes.
#[derive(Clone, Debug)]
pub struct StagePackage {
    pub unpacked: Unpacked,
    pub part: Part,
}

/// What the lock says about a package.
#[derive(Clone, Debug)]
pub struct Locked<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub architecture: &'a str,
    pub sha256: Digest,
}

impl Locked<'_> {
    fn reading(&self) -> String {
        format!("reading `{}` {}", self.name, self.version)
    }
}

/// The part of a locked package, all of it but the excluded files and those in `leave_out`.
pub fn part(
    store: &Store,
    locked: &Locked<'_>,
    exclusions: &Exclusions,
    leave_out: &BTreeSet<String>,
) -> Result<DebPart> {
    let options = PartOptions { exclusions, merged_usr: true, leave_out };
    deb_part(store, &locked.sha256, &options).context(|| locked.reading())
}

/// The whole part of a locked package, to be compressed later.
pub fn plain_part(store: &Store, locked: &Locked<'_>, exclusions: &Exclusions) -> Result<DebPart> {
    let options = PartOptions { exclusions, merged_usr: true, leave_out: &BTreeSet::new() };
    plain_deb_part(store, &locked.sha256, &options).context(|| locked.reading())
}

/// What [`plain_part`] has given, compressed.
pub fn compressed_part(store: &Store, locked: &Locked<'_>, exclusions: &Exclusions, begun: DebPart) -> Result<DebPart> {
    let options = PartOptions { exclusions, merged_usr: true, leave_out: &BTreeSet::new() };
    compressed_deb_part(store, &locked.sha256, &options, begun).context(|| locked.reading())
}

/// The package with what dpkg is told of it. The archive must say of itself what the lock says of it.
pub fn stage_package(store: &Store, locked: &Locked<'_>, deb: &DebPart) -> Result<StagePackage> {
    let what = || format!("reading the control archive of `{}` {}", locked.name, locked.version);
    let (control, mut members) = control(store, deb).context(what)?;
    control.check_identity(locked.name, locked.version, locked.architecture)?;
    let paragraph = members.remove("control").ok_or_else(|| Error::new("it has no `control` file")).context(what)?;
    let conffiles = deb.conffiles.iter().filter_map(|conffile| {
        // What is to be removed by upgrades is noted as dpkg notes it when there was nothing before.
        let noted = || conffile.remove_on_upgrade.then(|| "newconffile remove-on-upgrade".to_owned());
        Some((conffile.path.clone(), conffile.md5.clone().or_else(noted)?))
    });
    let conffiles = conffiles.collect();
    let generated_md5sums = match members.contains_key("md5sums") {
        true => None,
        false => Some(md5sums(store, deb).context(what)?),
    };
    Ok(StagePackage {
        unpacked: Unpacked {
            name: locked.name.to_owned(),
            version: locked.version.to_owned(),
            architecture: locked.architecture.to_owned(),
            multi_arch_same: control.field("Multi-Arch") == Some("same"),
            paragraph: String::from_utf8(paragraph.content)
                .map_err(|_| Error::new("its `control` file is not UTF-8"))
                .context(what)?,
            members,
            paths: listed(deb),
            conffiles,
            generated_md5sums,
        },
        part: deb.part.clone(),
    })
}

/// What the package's control archive says, and its members.
fn control(store: &Store, deb: &DebPart) -> Result<(Control, BTreeMap<String, Member>)> {
    let bytes = store.read(&deb.control)?;
    let control = Control::read(&bytes)?;
    Ok((control, members(&bytes)?))
}

/// What the package ships, in the order of dpkg's list: it makes symbolic links last.
fn listed(deb: &DebPart) -> Vec<String> {
    let links = deb.part.entries.iter().filter(|entry| matches!(entry.kind, Kind::Symlink { .. }));
    let links: BTreeSet<&str> =
        links.map(|entry| entry.path.as_str()).filter(|path| !deb.merged.contains(*path)).collect();
    let is_link = |path: &String| {
        let path = path.trim_start_matches('/');
        links.contains(path) || links.contains(format!("usr/{path}").as_str())
    };
    let (last, mut paths): (Vec<String>, Vec<String>) = deb.paths.iter().cloned().partition(is_link);
    paths.extend(last);
    paths
}

/// The `md5sums` that dpkg makes for a package that ships none: of its files in place, in the package's order
/// and spelling (dpkg(1), `info/*.md5sums`).
fn md5sums(store: &Store, deb: &DebPart) -> Result<String> {
    if deb.part.entries.is_empty() {
        return Ok(String::new());
    }
    let content: Box<dyn Read> = match deb.part.plain.map(|plain| store.open_checked(&plain)) {
        Some(Ok(plain)) => Box::new(plain),
        Some(Err(error)) if !deb.part.is_compressed() => return Err(error),
        _ => Box::new(gzip::reader(store.open_checked(&deb.part.content)?)),
    };
    let mut reader = tar::Reader::new(content);
    let mut sums: BTreeMap<String, String> = BTreeMap::new();
    while let Some(item) = reader.next_item()? {
        let sum = match item.typeflag {
            b'0' => {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes)?;
                Some(hex::encode(Md5::digest(&bytes)))
            }
            b'1' => sums.get(&item.link).cloned(),
            _ => None,
        };
        if let Some(sum) = sum {
            sums.insert(item.path, sum);
        }
    }
    let listed = deb.paths.iter().filter_map(|path| {
        let path = path.trim_start_matches('/');
        let sum = sums.get(path).or_else(|| sums.get(&format!("usr/{path}")))?;
        Some(format!("{sum}  {path}\n"))
    });
    Ok(listed.collect())
}

/// The SHA-256 over a package's scripts, each with its name and length before it; none if it has none
/// that would run when it is installed.
pub fn scripts(store: &Store, locked: &Locked<'_>, deb: &DebPart) -> Result<Option<Digest>> {
    let (_, members) = control(store, deb).context(|| locked.reading())?;
    if !dpkg::has_scripts(&members) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    for name in ["config", "postinst", "preinst", "triggers"] {
        if let Some(member) = members.get(name) {
            bytes.extend(format!("{name} {}\n", member.content.len()).bytes());
            bytes.extend(&member.content);
        }
    }
    Ok(Some(Digest::of(&bytes)))
}

/// The members of a plain control archive, with their times. [`Control::read`] has checked it.
fn members(control_tar: &[u8]) -> Result<BTreeMap<String, Member>> {
    let mut members = BTreeMap::new();
    for entry in ::tar::Archive::new(control_tar).entries()? {
        let entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = path.trim_start_matches("./").to_owned();
        if name.contains('/') {
            continue;
        }
        let (mode, mtime) = (entry.header().mode()? & 0o7777, entry.header().mtime()?);
        let mut content = Vec::new();
        entry.take(LIMIT_MEMBER).read_to_end(&mut content)?;
        members.insert(name, Member { mode, mtime, content });
    }
    Ok(members)
}
