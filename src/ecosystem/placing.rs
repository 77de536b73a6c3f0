//! Where the files of an archive or a folder go in an image, and with which owner and mode. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::layer::entry::normalize;
use crate::layer::part::default_directory;
use crate::layer::{Entry, PartBuilder};

/// The largest time that the formats around here can say (11 octal digits), in the year 2242.
pub const LIMIT_TIME: u64 = 0o777_7777_7777;

/// How files are placed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Placing {
    /// The folder, or for a single file its name, as in [`Entry::path`].
    pub to: String,
    /// The permissions of files, instead of those that they bring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    pub uid: u32,
    pub gid: u32,
    /// Folders that are links in the tree below, with the folders that they lead to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub through: BTreeMap<String, String>,
}

impl Placing {
    /// Reads `to` as a definition has it: a single file keeps its `name` in a folder, which ends in a slash.
    pub fn new(to: &str, single: Option<&str>) -> Result<Self> {
        let folder = normalize(to)?;
        let to = match single {
            Some(name) if to.ends_with('/') => normalize(&format!("{folder}/{name}"))?,
            Some(_) if folder.is_empty() => return Err(Error::new("a file cannot be the root")),
            _ => folder,
        };
        Ok(Self { to, ..Self::default() })
    }

    /// Where what has the path `relative` inside goes; empty for the folder itself.
    pub fn path(&self, relative: &str) -> Result<String> {
        let relative = normalize(relative)?;
        let joined = match (self.to.is_empty(), relative.is_empty()) {
            (true, _) => relative,
            (_, true) => self.to.clone(),
            _ => format!("{}/{relative}", self.to),
        };
        Ok(self.redirected(joined))
    }

    /// The path where the tree below has links instead of its folders.
    fn redirected(&self, mut path: String) -> String {
        // Each link leads to a place without links, so one round is enough.
        let folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        let mut links = folders.filter_map(|folder| Some((folder.len(), self.through.get(folder)?)));
        if let Some((length, target)) = links.next_back() {
            path = format!("{target}{}", &path[length..]).trim_start_matches('/').to_owned();
        }
        path
    }

    /// Adds the folder `relative`, with this owner.
    pub fn directory(&self, builder: &mut PartBuilder<'_>, relative: &str, mode: u32) -> Result<()> {
        let path = self.path(relative)?;
        if !path.is_empty() && !self.through.contains_key(&path) {
            builder.directory(Entry { mode, uid: self.uid, gid: self.gid, ..default_directory(&path) });
        }
        Ok(())
    }

    /// Whether a link at `path` (in the image) with this target stays in the folder that everything is placed in.
    pub fn holds(&self, path: &str, target: &str) -> bool {
        if self.to.is_empty() {
            return true;
        }
        if target.starts_with('/') {
            return normalize(target)
                .is_ok_and(|target| target == self.to || target.starts_with(&format!("{}/", self.to)));
        }
        let own = path.strip_prefix(&self.to).map_or(path, |rest| rest.trim_start_matches('/'));
        let mut depth = own.matches('/').count();
        for name in target.split('/') {
            match name {
                "" | "." => {}
                ".." if depth == 0 => return false,
                ".." => depth -= 1,
                _ => depth += 1,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name_in_a_folder() {
        assert_eq!(Placing::new("/opt/tool", None).unwrap().to, "opt/tool");
        assert_eq!(Placing::new("/opt/", Some("a.bin")).unwrap().to, "opt/a.bin");
        assert_eq!(Placing::new("/opt/b", Some("a.bin")).unwrap().to, "opt/b");
        assert!(Placing::new("/", Some("..")).is_err());
    }

    #[test]
    fn links_below_are_followed() {
        let through =
            BTreeMap::from([("lib".to_owned(), "usr/lib".to_owned()), ("var/run".to_owned(), "run".to_owned())]);
        let placing = Placing { through, ..Placing::default() };
        assert_eq!(placing.path("lib/x/y").unwrap(), "usr/lib/x/y");
        assert_eq!(placing.path("var/run/x").unwrap(), "run/x");
        assert_eq!(placing.path("library/x").unwrap(), "library/x");
        assert!(placing.path("../x").is_err());
    }

    #[test]
    fn links_stay_inside() {
        let placing = Placing::new("/opt/tool", None).unwrap();
        assert!(placing.holds("opt/tool/bin/x", "../lib/x"));
        assert!(placing.holds("opt/tool/x", "y"));
        assert!(placing.holds("opt/tool/x", "/opt/tool/y"));
        for (path, target) in [
            ("opt/tool/x", "../y"),
            ("opt/tool/a/b", "../../c"),
            ("opt/tool/x", "/etc/passwd"),
            ("opt/tool/x", "a/../../b"),
        ] {
            assert!(!placing.holds(path, target), "{path} {target}");
        }
    }
}
