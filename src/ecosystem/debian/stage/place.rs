//! Unpacking: how a stage's packages get into its tree, with what other packages replace or divert of them, and what
//! goes through links.

use std::collections::BTreeSet;

use super::Runner;
use crate::ecosystem::debian::package::StagePackage;
use crate::ecosystem::debian::{dpkg, overlap};
use crate::error::{Context, Result};
use crate::layer::{Entry, Kind, Part};
use crate::sandbox::Extraction;

/// How the parts of packages unpacked together are placed: each with the paths that it leaves out.
///
/// Folders in `known` are there already and stay as they are. Parts that leave nothing out share nothing but folders,
/// so they are placed in parallel.
pub fn placement<'p>(
    known: impl Iterator<Item = &'p str>,
    parts: impl Iterator<Item = (&'p Part, Option<&'p BTreeSet<String>>)>,
) -> Vec<Extraction> {
    let mut together = Extraction::default();
    let mut alone = Vec::new();
    let mut known: BTreeSet<&str> = known.collect();
    for (part, leave_out) in parts {
        // The first package to ship a folder decides its mode and owner.
        let wanted = part.directories.iter().filter(|entry| leave_out.is_none_or(|paths| !paths.contains(&entry.path)));
        together.directories.extend(wanted.filter(|directory| known.insert(&directory.path)).cloned());
        match leave_out.filter(|paths| !paths.is_empty()) {
            None => together.parts.push(part.clone()),
            Some(paths) => {
                alone.push(Extraction { parts: vec![part.clone()], skip: paths.clone(), ..Extraction::default() })
            }
        }
    }
    together.directories.sort_by(|a: &Entry, b: &Entry| a.path.cmp(&b.path));
    let mut all = vec![together];
    all.extend(alone);
    all
}

impl<'a> Runner<'a> {
    /// Places the files of `now`, except what another package replaces or diverts; the paths placed.
    pub(super) fn place(&mut self, now: &[&'a StagePackage]) -> Result<Vec<String>> {
        let text = self.session.read("var/lib/dpkg/diversions")?.unwrap_or_default();
        let diversions = dpkg::diversions(&String::from_utf8_lossy(&text));
        self.unpacked.extend(now);
        let configured: Vec<&StagePackage> = self.stage.configured.iter().collect();
        self.placed = overlap::place(&configured, &self.unpacked, &diversions, &self.links())?;
        let known = self.known_folders(now)?;
        self.place_diverted(now)?;
        let parts = now.iter().map(|package| (&package.part, self.placed.leave_out.get(&package.unpacked.name)));
        let placement = placement(known.iter().map(String::as_str), parts);
        self.extract(&placement).context(|| "unpacking the stage's packages")?;
        self.place_through(now)?;
        let paths = |layer: &Extraction| -> Vec<String> {
            let entries = layer.parts.iter().flat_map(|part| &part.entries);
            let entries = entries.filter(|entry| !layer.skip.contains(&entry.path));
            layer.directories.iter().chain(entries).map(|entry| entry.path.clone()).collect()
        };
        Ok(placement.iter().flat_map(paths).collect())
    }

    /// The symbolic links in the tree below.
    fn links(&self) -> BTreeSet<&'a str> {
        let entries = self.stage.below.iter().flat_map(|layer| &layer.parts).flat_map(|part| &part.entries);
        entries.filter(|entry| matches!(entry.kind, Kind::Symlink { .. })).map(|entry| entry.path.as_str()).collect()
    }

    /// The folders that are there: dpkg does not touch what it finds, whoever made it.
    fn known_folders(&mut self, now: &[&'a StagePackage]) -> Result<BTreeSet<String>> {
        let mut known: BTreeSet<String> = self.folders.iter().map(|path| (*path).to_owned()).collect();
        let wanted: BTreeSet<&'a str> =
            now.iter().flat_map(|package| &package.part.directories).map(|entry| entry.path.as_str()).collect();
        let unknown = wanted.iter().filter(|path| !known.contains(**path)).map(|path| (*path).to_owned()).collect();
        known.extend(self.session.existing(unknown)?);
        self.folders.extend(wanted);
        Ok(known)
    }

    /// Places diverted files where their diversions say. They are in no package's part of the image: they
    /// become part of what the stage changed.
    fn place_diverted(&mut self, now: &[&StagePackage]) -> Result<()> {
        const KEPT: &str = "var/lib/dpkg/kiln-kept";
        for package in now {
            let Some(diverted) = self.placed.diverted.get(&package.unpacked.name) else { continue };
            for (from, to) in diverted {
                let others = package.part.entries.iter().map(|entry| &entry.path).filter(|path| *path != from);
                let mut only = Extraction {
                    directories: Vec::new(),
                    parts: vec![package.part.clone()],
                    skip: others.cloned().collect(),
                };
                for folder in &package.part.directories {
                    if from.strip_prefix(folder.path.as_str()).is_some_and(|rest| rest.starts_with('/'))
                        && !self.session.exists(&folder.path)?
                    {
                        only.directories.push(folder.clone());
                    }
                }
                // The file of the package that diverts may be there already.
                let taken = self.session.exists(from)?;
                if taken {
                    self.session.rename(from, KEPT)?;
                }
                self.session
                    .extract(&[only])
                    .and_then(|_| self.session.rename(from, to))
                    .context(|| format!("placing the diverted file /{from} of `{}`", package.unpacked.name))?;
                if taken {
                    self.session.rename(KEPT, from)?;
                }
            }
        }
        Ok(())
    }

    /// Places what goes through a link into another folder. It too becomes part of what the stage changed.
    fn place_through(&mut self, now: &[&StagePackage]) -> Result<()> {
        for package in now {
            let Some(through) = self.placed.through.get(&package.unpacked.name) else { continue };
            let part = &package.part;
            let others = part.entries.iter().map(|entry| &entry.path).filter(|path| !through.contains(*path));
            let only = Extraction {
                directories: part.directories.iter().filter(|entry| through.contains(&entry.path)).cloned().collect(),
                parts: vec![part.clone()],
                skip: others.cloned().collect(),
            };
            self.session
                .extract(&[only])
                .context(|| format!("placing the files of `{}` in folders that are links", package.unpacked.name))?;
        }
        Ok(())
    }
}
