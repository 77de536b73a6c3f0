//! What a stage's scripts changed: found, cleaned by the rules, attributed, and made into layer entries.

use std::collections::{BTreeMap, BTreeSet};

use super::accounts::Renumbering;
use super::package::StagePackage;
use super::rules::{Action, RULES, matches, shadow_day};
use super::{alias_database, file_listing, info_directory, keystore, rules};
use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::layer::entry::WHITEOUT;
use crate::layer::{Entry, Kind};
use crate::sandbox::{Change, Extraction, Session};

/// Seconds in a day.
const DAY: u64 = 24 * 60 * 60;

/// The tree as the parts make it, before any script has run.
#[derive(Debug, Default)]
pub struct Before {
    /// By path.
    pub entries: BTreeMap<String, Entry>,
}

impl Before {
    /// Applies layers in order, then the packages.
    pub fn new(
        below: &[Extraction],
        packages: &[StagePackage],
        leave_out: &BTreeMap<String, BTreeSet<String>>,
    ) -> Self {
        let mut before = Self::default();
        for layer in below {
            // Whiteouts concern what was there before, never what comes with them.
            for entry in layer.parts.iter().flat_map(|part| &part.entries) {
                if let Some(removed) = removed_by(&entry.path).filter(|_| !layer.skip.contains(&entry.path)) {
                    before.remove(&removed);
                }
            }
            before.add_directories(layer.directories.iter(), true);
            for part in &layer.parts {
                before.add(&part.entries, &layer.skip);
            }
        }
        let nothing = BTreeSet::new();
        for package in packages {
            let skip = leave_out.get(&package.unpacked.name).unwrap_or(&nothing);
            let directories = package.part.directories.iter().filter(|entry| !skip.contains(&entry.path));
            before.add_directories(directories, false);
            before.add(&package.part.entries, skip);
        }
        before
    }

    /// The first package to ship a folder decides; a layer (`replace`) says what it became.
    fn add_directories<'e>(&mut self, directories: impl Iterator<Item = &'e Entry>, replace: bool) {
        for directory in directories {
            if replace || !self.entries.contains_key(&directory.path) {
                self.entries.insert(directory.path.clone(), directory.clone());
            }
        }
    }

    fn add(&mut self, entries: &[Entry], skip: &BTreeSet<String>) {
        for entry in entries.iter().filter(|entry| !skip.contains(&entry.path) && removed_by(&entry.path).is_none()) {
            if self.entries.get(&entry.path).is_some_and(|known| known.kind == Kind::Directory) {
                self.remove(&entry.path);
            }
            self.entries.insert(entry.path.clone(), entry.clone());
        }
    }

    fn remove(&mut self, path: &str) {
        self.entries.remove(path);
        let prefix = format!("{path}/");
        let range = self.entries.range(prefix.clone()..).map(|(path, _)| path);
        let below: Vec<String> = range.take_while(|path| path.starts_with(&prefix)).cloned().collect();
        for path in below {
            self.entries.remove(&path);
        }
    }
}

/// The path that a whiteout's path removes.
fn removed_by(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let removed = name.strip_prefix(WHITEOUT)?;
    Some(if folder.is_empty() { removed.to_owned() } else { format!("{folder}/{removed}") })
}

/// The changes that count.
#[derive(Debug)]
pub struct Changed {
    /// By path: what is there now (`None`: removed), and when it was changed.
    entries: BTreeMap<String, (Option<Entry>, u64)>,
    /// What the files were that rules took away, for their other names.
    dropped: BTreeMap<String, Kind>,
}

impl Changed {
    /// Keeps of what was found what differs from before once times are clamped to `epoch`.
    pub fn compare(before: &Before, found: Vec<Change>, epoch: u64) -> Self {
        let mut entries = BTreeMap::new();
        let mut same = BTreeMap::new();
        for mut change in found {
            if let Some(entry) = &mut change.entry {
                entry.mtime = if entry.kind == Kind::Directory { 0 } else { entry.mtime.min(epoch) };
            }
            let known = before.entries.get(&change.path);
            let differs = match (&change.entry, known) {
                (None, known) => known.is_some(),
                (Some(entry), Some(known)) if entry.kind == Kind::Directory => {
                    (entry.mode, entry.uid, entry.gid, &entry.xattrs)
                        != (known.mode, known.uid, known.gid, &known.xattrs)
                        || known.kind != Kind::Directory
                }
                (Some(entry), known) => known != Some(entry),
            };
            let kept = if differs { &mut entries } else { &mut same };
            kept.insert(change.path, (change.entry, change.ctime));
        }
        // A file with several names changes under all of them, or a reader of one layer loses a name.
        loop {
            let target_of = |entry: &Option<Entry>| match entry {
                Some(Entry { kind: Kind::HardLink { target }, .. }) => Some(target.clone()),
                _ => None,
            };
            let targets: BTreeSet<String> = entries.values().filter_map(|(entry, _)| target_of(entry)).collect();
            let joining: Vec<String> = same
                .iter()
                .filter(|(path, (entry, _))| {
                    targets.contains(*path)
                        || target_of(entry)
                            .is_some_and(|target| entries.contains_key(&target) || targets.contains(&target))
                })
                .map(|(path, _)| path.clone())
                .collect();
            if joining.is_empty() {
                break;
            }
            for path in joining {
                let change = same.remove(&path).expect("listed just before");
                entries.insert(path, change);
            }
        }
        Self { entries, dropped: BTreeMap::new() }
    }

    /// Applies every rule of [`RULES`] to what the scripts made. What a package ships stays as shipped.
    pub fn apply_rules(&mut self, session: &mut Session, before: &Before, epoch: u64) -> Result<()> {
        for rule in RULES {
            for pattern in rule.paths {
                let matching: Vec<String> =
                    self.entries.keys().filter(|path| matches(pattern, path)).cloned().collect();
                for path in matching {
                    self.apply(session, rule, &path, epoch)
                        .context(|| format!("applying the rule `{}` to /{path}", rule.name))?;
                }
                if rule.action == Action::Clear {
                    let below = format!("{pattern}/");
                    self.entries.retain(|path, _| !path.starts_with(&below) || before.entries.contains_key(path));
                }
            }
        }
        Ok(())
    }

    /// Gives what has changed the owners that accounts have with their new ids. The accounts themselves have them
    /// already, but not the copies that tools have made of their files.
    pub fn renumber(&mut self, session: &mut Session, renumbering: &Renumbering) -> Result<()> {
        if renumbering.is_empty() {
            return Ok(());
        }
        for entry in self.entries.values_mut().filter_map(|(entry, _)| entry.as_mut()) {
            entry.uid = *renumbering.uids.get(&entry.uid).unwrap_or(&entry.uid);
            entry.gid = *renumbering.gids.get(&entry.gid).unwrap_or(&entry.gid);
            for (_, value) in entry.xattrs.iter_mut().filter(|(name, _)| name.starts_with("system.posix_acl_")) {
                let mut bytes = hex::decode(&*value).context(|| format!("the access list of /{}", entry.path))?;
                renumbering.access_list(&mut bytes);
                *value = hex::encode(bytes);
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        self.rewrite(session, "etc/passwd-", &mut |bytes| Ok(renumbering.passwd(&text(bytes)).into_bytes()))?;
        self.rewrite(session, "etc/group-", &mut |bytes| Ok(renumbering.group(&text(bytes)).into_bytes()))
    }

    fn apply(&mut self, session: &mut Session, rule: &rules::Rule, path: &str, epoch: u64) -> Result<()> {
        match rule.action {
            Action::Clear => {}
            Action::Remove => self.drop_with_links(path),
            Action::Empty => self.rewrite(session, path, &mut |_| Ok(Vec::new()))?,
            Action::ShadowDay => {
                self.rewrite(session, path, &mut |bytes| {
                    Ok(shadow_day(&String::from_utf8_lossy(&bytes), epoch / DAY).into_bytes())
                })?;
            }
            Action::ListingOrder => self.rewrite(session, path, &mut |bytes| {
                Ok(file_listing::sorted(&String::from_utf8_lossy(&bytes)).into_bytes())
            })?,
            Action::InfoOrder => self.rewrite(session, path, &mut |bytes| {
                Ok(info_directory::sorted(&String::from_utf8_lossy(&bytes)).into_bytes())
            })?,
            Action::AliasTime => {
                self.rewrite(session, path, &mut |bytes| Ok(alias_database::with_time(bytes, epoch)))?;
            }
            Action::KeystoreTime => self.rewrite(session, path, &mut |bytes| keystore::with_time(bytes, epoch))?,
        }
        Ok(())
    }

    /// Forgets the change at `path` and below, and links that would be left pointing at it.
    fn drop_with_links(&mut self, path: &str) {
        let below = format!("{path}/");
        let name = path.rsplit('/').next().unwrap_or(path);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let dropped = &mut self.dropped;
        self.entries.retain(|other, (entry, _)| {
            let points_at_it = matches!(entry, Some(Entry { kind: Kind::Symlink { target }, .. })
                if target.trim_start_matches('/') == path
                    || (target == name && other.rsplit_once('/').map_or("", |(folder, _)| folder) == folder));
            let keep = other != path && !other.starts_with(&below) && !points_at_it;
            if let (false, Some(Entry { kind: kind @ Kind::File { .. }, .. })) = (keep, entry) {
                dropped.insert(other.clone(), kind.clone());
            }
            keep
        });
    }

    fn rewrite(
        &mut self,
        session: &mut Session,
        path: &str,
        edit: &mut dyn FnMut(Vec<u8>) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let Some((Some(entry), _)) = self.entries.get_mut(path) else { return Ok(()) };
        let Kind::File { size, sha256 } = &mut entry.kind else { return Ok(()) };
        let bytes = edit(session.read(path)?.unwrap_or_default())?;
        // Owner, mode and time are the entry's: only the content is taken from the tree.
        session.write(path, &bytes, 0o600)?;
        *size = bytes.len() as u64;
        *sha256 = Digest::of(&bytes);
        Ok(())
    }

    /// By path, the script that was running when it was last changed. `started` is sorted by time.
    pub fn writers(&self, started: &[(u64, String)]) -> BTreeMap<String, String> {
        let writer = |path: &str, time: u64| {
            if path.starts_with("var/lib/dpkg/") && !path.starts_with("var/lib/dpkg/alternatives/") {
                return "dpkg".to_owned();
            }
            let index = started.partition_point(|(start, _)| *start <= time);
            index.checked_sub(1).map_or_else(|| "kiln".to_owned(), |index| started[index].1.clone())
        };
        self.entries.iter().map(|(path, (_, time))| (path.clone(), writer(path, *time))).collect()
    }

    /// The directories and entries of the layer, parents with their effective owner and mode.
    pub fn into_entries(mut self, before: &Before) -> (Vec<Entry>, Vec<Entry>) {
        self.mend_links();
        let mut directories: BTreeMap<String, Entry> = BTreeMap::new();
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (path, (entry, _)) in &self.entries {
            match entry {
                Some(entry) if entry.kind == Kind::Directory => {
                    directories.insert(path.clone(), entry.clone());
                }
                Some(entry) => {
                    entries.insert(path.clone(), entry.clone());
                }
                // What takes away a folder takes away what is below it.
                None if parents(path).any(|folder| self.is_no_folder(folder)) => {}
                None => {
                    let whiteout = whiteout(path);
                    entries.insert(whiteout.path.clone(), whiteout);
                }
            }
        }
        let paths: Vec<String> = entries.keys().chain(directories.keys()).cloned().collect();
        for folder in paths.iter().flat_map(|path| parents(path)) {
            if !directories.contains_key(folder)
                && let Some(known) = before.entries.get(folder)
            {
                directories.insert(folder.to_owned(), known.clone());
            }
        }
        // A hard link comes after the file it names.
        let (links, mut ordered): (Vec<Entry>, Vec<Entry>) =
            entries.into_values().partition(|entry| matches!(entry.kind, Kind::HardLink { .. }));
        ordered.extend(links);
        (directories.into_values().collect(), ordered)
    }

    /// Whether the change at `path` is that there is no folder any more.
    fn is_no_folder(&self, path: &str) -> bool {
        self.entries
            .get(path)
            .is_some_and(|(entry, _)| entry.as_ref().is_none_or(|entry| entry.kind != Kind::Directory))
    }

    /// Where a rule took away the first name of a file, the next one becomes the file.
    fn mend_links(&mut self) {
        let gone = |entry: &Option<Entry>| match entry {
            Some(Entry { kind: Kind::HardLink { target }, .. }) if !self.entries.contains_key(target) => {
                Some(target.clone())
            }
            _ => None,
        };
        let orphans: Vec<(String, String)> =
            self.entries.iter().filter_map(|(path, (entry, _))| Some((path.clone(), gone(entry)?))).collect();
        let mut first_names: BTreeMap<String, String> = BTreeMap::new();
        for (path, target) in orphans {
            let Some((Some(entry), _)) = self.entries.get_mut(&path) else { continue };
            match (first_names.get(&target), self.dropped.get(&target)) {
                (Some(first), _) => entry.kind = Kind::HardLink { target: first.clone() },
                (None, Some(kind)) => {
                    entry.kind = kind.clone();
                    first_names.insert(target, path);
                }
                (None, None) => {}
            }
        }
    }
}

/// The folders that a path is in, the nearest last.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn whiteout(path: &str) -> Entry {
    let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
    let slash = if folder.is_empty() { "" } else { "/" };
    Entry {
        path: format!("{folder}{slash}{WHITEOUT}{name}"),
        kind: Kind::File { size: 0, sha256: Digest::of(b"") },
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests;
