//! `.deb` → part: what a package contributes to a file system, without unpacking it anywhere.
//!
//! A part is a pure function of the package's bytes, the options and the format. It follows dpkg's rules
//! for unpacking (dpkg(1), deb(5)); which options to ask for, and what the scripts do, is decided
//! elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};

use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

use super::exclusions::Exclusions;
use super::{copyright, deb, owners};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::layer::entry::normalize;
use crate::layer::{Entry, Kind, Part, PartBuilder, tar};
use crate::store::Store;
use crate::{FORMAT, canonical};

/// What the store calls the result of [`deb_part`], and that of [`plain_deb_part`].
const COMPRESSED: &str = "deb";
const PLAIN: &str = "plain-deb";

/// Entries in one package. The largest in Debian have some hundred thousand.
const LIMIT_ENTRIES: usize = 2_000_000;

/// The largest time that the formats around here can say (11 octal digits), in the year 2242.
const LIMIT_TIME: u64 = 0o777_7777_7777;

/// The directories that a merged `/usr` has as links at the top (file-hierarchy(7), usrmerge).
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"];

/// What is done with a package's files.
#[derive(Clone, Copy, Debug)]
pub struct PartOptions<'a> {
    /// What is left out by its path in the package.
    pub exclusions: &'a Exclusions,
    /// Whether `/bin`, `/lib` and the like are links into `/usr`.
    pub merged_usr: bool,
    /// Files that this package does not get to place: another one replaces or diverts them. Paths as in
    /// [`Entry::path`], in the merged spelling.
    pub leave_out: &'a BTreeSet<String>,
}

/// What a package contributes, and what dpkg's database says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebPart {
    pub part: Part,
    /// The blob with the plain control archive ([`deb::Control::read`]).
    pub control: Digest,
    /// What the package ships, as `info/NAME.list` has it: `/.` first, in the archive's order and
    /// spelling, what was left out included.
    pub paths: Vec<String>,
    /// The configuration files, in the package's order.
    pub conffiles: Vec<Conffile>,
    /// The newest modification time in the data archive, in seconds since 1970.
    pub newest_mtime: u64,
    /// The licences that its copyright file names, if that is written for machines.
    pub licences: BTreeSet<String>,
    /// Folders that it ships, in whose place the part has the links of a merged `/usr`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub merged: BTreeSet<String>,
}

/// A configuration file of a package (Debian Policy, 10.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conffile {
    /// Absolute, as the package spells it.
    pub path: String,
    /// MD5 of the shipped content in hexadecimal, for the status file. None if the package does not ship
    /// the file, or it was excluded or left out.
    pub md5: Option<String>,
    /// Declared only to be removed by an upgrade.
    pub remove_on_upgrade: bool,
}

#[derive(Serialize)]
struct Key<'a> {
    format: u32,
    deb: &'a Digest,
    exclusions: String,
    merged_usr: bool,
    leave_out: &'a BTreeSet<String>,
}

/// The part of the package in the blob `deb`. Made once: the store keeps it under its inputs.
pub fn deb_part(store: &Store, deb: &Digest, options: &PartOptions<'_>) -> Result<DebPart> {
    made_once(store, COMPRESSED, deb, options, || make(store, deb, options, PartBuilder::new))
}

/// The same, but not yet compressed unless the store has it: enough to put a tree together.
pub fn plain_deb_part(store: &Store, deb: &Digest, options: &PartOptions<'_>) -> Result<DebPart> {
    match store.keyed(COMPRESSED, &key(deb, options)?) {
        Some(part) => Ok(part),
        None => made_once(store, PLAIN, deb, options, || make(store, deb, options, PartBuilder::plain)),
    }
}

/// What [`plain_deb_part`] has begun, compressed. It keeps its plain stream.
pub fn compressed_deb_part(store: &Store, deb: &Digest, options: &PartOptions<'_>, begun: DebPart) -> Result<DebPart> {
    made_once(store, COMPRESSED, deb, options, || Ok(DebPart { part: begun.part.compressed(store)?, ..begun }))
}

fn key(deb: &Digest, options: &PartOptions<'_>) -> Result<Digest> {
    let key = Key {
        format: FORMAT,
        deb,
        exclusions: options.exclusions.dpkg_configuration(),
        merged_usr: options.merged_usr,
        leave_out: options.leave_out,
    };
    Ok(Digest::of(&canonical::to_vec(&key)?))
}

fn made_once(
    store: &Store,
    kind: &str,
    deb: &Digest,
    options: &PartOptions<'_>,
    make: impl FnOnce() -> Result<DebPart>,
) -> Result<DebPart> {
    let key = key(deb, options)?;
    if let Some(part) = store.keyed(kind, &key) {
        return Ok(part);
    }
    let _lock = store.lock_key(kind, &key)?;
    if let Some(part) = store.keyed(kind, &key) {
        return Ok(part);
    }
    let part = make()?;
    let blobs: Vec<Digest> = part.part.blobs().into_iter().chain([part.control]).collect();
    store.put_keyed(kind, &key, &blobs, &part)?;
    Ok(part)
}

fn make<'a>(
    store: &'a Store,
    deb: &Digest,
    options: &PartOptions<'_>,
    builder: fn(&'a Store) -> Result<PartBuilder<'a>>,
) -> Result<DebPart> {
    let mut promoted = BTreeMap::new();
    loop {
        let file = store.open_checked(deb)?;
        let package = deb::read(BufReader::with_capacity(1 << 18, file))?;
        let what = || format!("reading the files of {}", package.control.field("Package").unwrap_or("a package"));
        let conffiles = package.control.conffiles().context(what)?;
        let mut unpack = Unpack::new(builder(store)?, options, &conffiles, promoted)?;
        unpack.run(package.data).context(what)?;
        if unpack.again {
            promoted = unpack.promoted;
            continue;
        }
        if package.control.field("Package") == Some("base-files") {
            unpack.merge_usr(package.control.field("Architecture").unwrap_or_default()).context(what)?;
        }
        return unpack.finish(store.put(&package.control_tar)?, conffiles).context(what);
    }
}

/// What was shipped at a path, as far as another one at the same path must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shipped {
    File(Digest),
    Symlink(String),
    Other(u8, (u32, u32)),
}

/// The state of one walk through a data archive.
struct Unpack<'a> {
    options: &'a PartOptions<'a>,
    builder: PartBuilder<'a>,
    conffiles: BTreeMap<String, Option<String>>,
    paths: Vec<String>,
    newest_mtime: u64,
    licences: BTreeSet<String>,
    shipped: BTreeMap<String, Shipped>,
    /// Files and links that were not placed; what a link among them is a link to.
    skipped: BTreeMap<String, Option<String>>,
    /// Files that are not placed but have a hard link that is: by the name of that link, which gets the
    /// content. Found out only when the content has gone by, so that a second walk is needed.
    promoted: BTreeMap<String, String>,
    again: bool,
    /// Folders at the top that a merged `/usr` has links for, with their times.
    unmerged: BTreeMap<String, u64>,
    merged: BTreeSet<String>,
}

impl<'a> Unpack<'a> {
    fn new(
        builder: PartBuilder<'a>,
        options: &'a PartOptions<'a>,
        conffiles: &[deb::ConffileLine],
        promoted: BTreeMap<String, String>,
    ) -> Result<Self> {
        let shipped = conffiles.iter().filter(|line| !line.remove_on_upgrade);
        let conffiles = shipped.map(|line| Ok((normalize(&line.path)?, None))).collect::<Result<BTreeMap<_, _>>>()?;
        Ok(Self {
            options,
            builder,
            conffiles,
            paths: Vec::new(),
            newest_mtime: 0,
            licences: BTreeSet::new(),
            shipped: BTreeMap::new(),
            skipped: BTreeMap::new(),
            promoted,
            again: false,
            unmerged: BTreeMap::new(),
            merged: BTreeSet::new(),
        })
    }

    fn run(&mut self, data: impl Read) -> Result<()> {
        let mut reader = tar::Reader::new(data);
        while let Some(item) = reader.next_item()? {
            self.item(&item, &mut reader).context(|| format!("unpacking {:?}", item.path))?;
            if self.paths.len() > LIMIT_ENTRIES {
                return Err(Error::new(format!("there are more than {LIMIT_ENTRIES} files")));
            }
        }
        // The decompressor sees damage at its end only when read to there.
        io::copy(&mut reader.into_inner(), &mut io::sink())?;
        Ok(())
    }

    fn item(&mut self, item: &tar::Item, content: &mut dyn Read) -> Result<()> {
        let original = normalize(&item.path)?;
        if original.contains('\n') {
            return Err(Error::new("there is a line break in the name"));
        }
        if !item.xattrs.is_empty() {
            return Err(Error::new("it has extended attributes, which dpkg does not know in packages"));
        }
        if item.mtime > LIMIT_TIME {
            return Err(Error::new(format!("its time of modification is {}, before 1970 or after 2242", item.mtime)));
        }
        self.newest_mtime = self.newest_mtime.max(item.mtime);
        self.paths.push(if original.is_empty() { "/.".to_owned() } else { format!("/{original}") });
        // The root is there before any package, and dpkg does not change a directory that is there.
        if original.is_empty() {
            return if item.typeflag == b'5' { Ok(()) } else { Err(Error::new("the root is not a directory")) };
        }
        let Some(path) = self.place(&original, item)? else {
            self.unmerged.insert(original, item.mtime);
            return Ok(());
        };
        let plain = matches!(item.typeflag, b'2' | b'5');
        if self.options.exclusions.skips(&format!("/{original}"), plain) || self.options.leave_out.contains(&path) {
            return self.skip(path, item, content);
        }
        match item.typeflag {
            b'0' => self.file(path, &original, item, content),
            b'1' => self.hard_link(path, item),
            b'5' => {
                self.builder.directory(entry(path, item, Kind::Directory)?);
                Ok(())
            }
            _ => self.other(path, item),
        }
    }

    /// Where a path goes, if anywhere: with a merged `/usr`, a directory `/lib` goes nowhere, what is below
    /// it into `/usr/lib`.
    fn place(&self, original: &str, item: &tar::Item) -> Result<Option<String>> {
        if !self.options.merged_usr || !MERGED.contains(&original) {
            return Ok(Some(self.merged(original)));
        }
        match item.typeflag {
            b'5' => Ok(None),
            b'2' if item.link.trim_matches('/') == format!("usr/{original}") => Ok(Some(original.to_owned())),
            _ => Err(Error::new(format!("it would replace the link from /{original} to /usr/{original}"))),
        }
    }

    /// Adds the links of a merged `/usr` to a `base-files` that ships folders instead, as those before trixie's do:
    /// there, debootstrap makes them before anything is unpacked. No package has `/lib64` as a folder of its own.
    fn merge_usr(&mut self, architecture: &str) -> Result<()> {
        let mut folders = std::mem::take(&mut self.unmerged);
        if let Some(mtime) = folders.get("lib").copied().filter(|_| architecture == "amd64") {
            folders.entry("lib64".to_owned()).or_insert(mtime);
        }
        for (folder, mtime) in folders {
            let target = format!("usr/{folder}");
            self.builder.directory(crate::layer::part::default_directory(&target));
            if self.shipped.contains_key(&folder) {
                continue;
            }
            let kind = Kind::Symlink { target };
            let (path, xattrs) = (folder.clone(), BTreeMap::new());
            let link = Entry { path, kind, mode: 0o777, uid: 0, gid: 0, mtime, xattrs };
            self.builder.entry(&link, &mut io::empty())?;
            self.merged.insert(link.path);
        }
        Ok(())
    }

    fn merged(&self, path: &str) -> String {
        let top = path.split_once('/').map(|(top, _)| top);
        let moved = self.options.merged_usr && top.is_some_and(|top| MERGED.contains(&top));
        if moved { format!("usr/{path}") } else { path.to_owned() }
    }

    /// Notes what is not placed. A file whose content a placed hard link needs is placed under that name.
    fn skip(&mut self, path: String, item: &tar::Item, content: &mut dyn Read) -> Result<()> {
        match item.typeflag {
            b'0' => {
                if let Some(name) = self.promoted.get(&path).cloned() {
                    let sha256 = self.new_file(&name, "", item, content)?;
                    self.shipped.insert(name, Shipped::File(sha256));
                }
                self.skipped.insert(path, None);
            }
            b'1' => {
                let target = self.link_target(item)?;
                self.skipped.insert(path, Some(target));
            }
            _ => {}
        }
        Ok(())
    }

    fn file(&mut self, path: String, original: &str, item: &tar::Item, content: &mut dyn Read) -> Result<()> {
        if self.shipped.contains_key(&path) {
            let (sha256, _) = Digest::of_reader(content)?;
            return self.again_equal(&path, &Shipped::File(sha256));
        }
        let sha256 = self.new_file(&path, original, item, content)?;
        self.shipped.insert(path, Shipped::File(sha256));
        Ok(())
    }

    fn new_file(&mut self, path: &str, original: &str, item: &tar::Item, content: &mut dyn Read) -> Result<Digest> {
        let kind = Kind::File { size: item.size, sha256: Digest::of(b"") };
        let entry = entry(path.to_owned(), item, kind)?;
        if item.size <= copyright::LIMIT && copyright::is_copyright(original) {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            self.licences.extend(copyright::licences(&bytes));
            return self.builder.new_file(entry, &mut bytes.as_slice());
        }
        let Some(md5) = self.conffiles.get_mut(original) else { return self.builder.new_file(entry, content) };
        let mut tee = Tee { reader: content, md5: Md5::new() };
        let sha256 = self.builder.new_file(entry, &mut tee)?;
        *md5 = Some(hex::encode(tee.md5.finalize()));
        Ok(sha256)
    }

    /// Where a hard link leads in the end, in the merged spelling.
    fn link_target(&self, item: &tar::Item) -> Result<String> {
        let mut target = self.merged(&normalize(&item.link).context(|| "reading the target of a hard link")?);
        // A link's target comes before it, so that this ends.
        while let Some(Some(next)) = self.skipped.get(&target) {
            target.clone_from(next);
        }
        Ok(target)
    }

    fn hard_link(&mut self, path: String, item: &tar::Item) -> Result<()> {
        let mut target = self.link_target(item)?;
        if self.skipped.contains_key(&target) {
            if let Some(name) = self.promoted.get(&target) {
                target.clone_from(name);
            } else {
                self.promoted.insert(target, path);
                self.again = true;
                return Ok(());
            }
        }
        let Some(shipped) = self.shipped.get(&target).cloned() else {
            // Only in the walk that will be repeated can a promoted file be missing.
            if self.again {
                return Ok(());
            }
            return Err(Error::new(format!("it is a hard link to /{target}, which does not come before it")));
        };
        if self.shipped.contains_key(&path) {
            return self.again_equal(&path, &shipped);
        }
        self.builder.entry(&entry(path.clone(), item, Kind::HardLink { target })?, &mut io::empty())?;
        self.shipped.insert(path, shipped);
        Ok(())
    }

    fn other(&mut self, path: String, item: &tar::Item) -> Result<()> {
        let (major, minor) = item.device;
        let kind = match item.typeflag {
            b'2' => Kind::Symlink { target: item.link.clone() },
            b'3' => Kind::CharacterDevice { major, minor },
            b'4' => Kind::BlockDevice { major, minor },
            _ => Kind::Fifo,
        };
        let shipped = match &kind {
            Kind::Symlink { target } => Shipped::Symlink(target.clone()),
            _ => Shipped::Other(item.typeflag, item.device),
        };
        if self.shipped.contains_key(&path) {
            return self.again_equal(&path, &shipped);
        }
        self.builder.entry(&entry(path.clone(), item, kind)?, &mut io::empty())?;
        self.shipped.insert(path, shipped);
        Ok(())
    }

    /// A path that comes twice (`/lib/x` and `/usr/lib/x`) must be the same thing both times.
    fn again_equal(&self, path: &str, again: &Shipped) -> Result<()> {
        if self.shipped.get(path) == Some(again) {
            return Ok(());
        }
        Err(Error::new(format!("/{path} is in the package twice, and not the same both times")))
    }

    fn finish(self, control: Digest, conffiles: Vec<deb::ConffileLine>) -> Result<DebPart> {
        let conffiles = conffiles
            .into_iter()
            .map(|deb::ConffileLine { path, remove_on_upgrade }| {
                let md5 = self.conffiles.get(&normalize(&path)?).cloned().flatten();
                Ok(Conffile { path, md5, remove_on_upgrade })
            })
            .collect::<Result<_>>()?;
        let part = self.builder.finish()?;
        Ok(DebPart {
            part,
            control,
            paths: self.paths,
            conffiles,
            newest_mtime: self.newest_mtime,
            licences: self.licences,
            merged: self.merged,
        })
    }
}

fn entry(path: String, item: &tar::Item, kind: Kind) -> Result<Entry> {
    let id = |known: Option<u32>, number: u64| match known {
        Some(id) => Ok(id),
        None => u32::try_from(number).context(|| format!("its owner has the number {number}")),
    };
    Ok(Entry {
        path,
        kind,
        mode: item.mode,
        uid: id(owners::user(&item.user), item.uid)?,
        gid: id(owners::group(&item.group), item.gid)?,
        mtime: item.mtime,
        xattrs: BTreeMap::new(),
    })
}

/// Passes content on and hashes it on the way.
struct Tee<'a> {
    reader: &'a mut dyn Read,
    md5: Md5,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.md5.update(&buffer[..count]);
        Ok(count)
    }
}
