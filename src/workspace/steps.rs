//! The steps of a definition that come on top of its packages, in the order of the file: `[[fetch]]`, `[[copy]]` and
//! `[[run]]`. What they say is checked here; what they name is looked for elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Platform;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Step {
    Fetch(Fetch),
    Copy(Copy),
    Run(Run),
}

/// `[[fetch]]`: an archive or a file from elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fetch {
    /// Where it is: exactly one of this, `path`, and `origin` with `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A file of the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The origin that has it, such as `pypi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Its name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it must hash to; found out and locked if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// The folder that an archive is unpacked in; the name of a file, or with a slash at its end the file's folder.
    #[serde(default = "root", skip_serializing_if = "is_root")]
    pub to: String,
    /// How many leading names of the archive's paths are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strip: u32,
    /// Patterns of the archive's paths that are unpacked, before stripping; all if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub select: Vec<String>,
    /// Whether it is unpacked: archives are, unless this is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpack: Option<bool>,
    /// The permissions of files, in octal; by the executable bit, 0755 or 0644, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `USER`, `USER:GROUP` or numbers; root's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// For which platforms; all if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
}

/// `[[copy]]`: files of the workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Copy {
    /// A file or folder, relative to the workspace.
    pub from: String,
    /// The folder that a folder's content goes to; for a file as in [`Fetch::to`].
    pub to: String,
    /// Patterns of what stays out, as in `.gitignore`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// The permissions of files, in octal; by the executable bit, 0755 or 0644, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `USER`, `USER:GROUP` or numbers; root's unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// For which platforms; all if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
}

/// `[[run]]`: a script that is run while baking, without a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Run {
    /// For `/bin/sh -eu`.
    pub script: String,
    /// Variables besides those that every script sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
}

fn root() -> String {
    "/".to_owned()
}

fn is_root(path: &str) -> bool {
    path == "/"
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Step {
    /// Whether the step is there on `platform`.
    pub fn is_for(&self, platform: Platform) -> bool {
        let platforms = match self {
            Self::Fetch(fetch) => &fetch.platforms,
            Self::Copy(copy) => &copy.platforms,
            Self::Run(run) => &run.platforms,
        };
        platforms.is_empty() || platforms.contains(&platform)
    }

    /// Says what is wrong with it in itself.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Fetch(fetch) => fetch.check(),
            Self::Copy(copy) => {
                inside("from", &copy.from)?;
                absolute("to", &copy.to)?;
                check_placing(copy.mode.as_deref(), copy.owner.as_deref())
            }
            Self::Run(run) => {
                if run.script.trim().is_empty() {
                    return Err(Error::new("its `script` is empty").hint("say what it runs, or leave the step out"));
                }
                if run.script.contains('\0') {
                    return Err(Error::new("its `script` holds a NUL"));
                }
                run.workdir.as_ref().map_or(Ok(()), |workdir| absolute("workdir", workdir))
            }
        }
    }
}

impl Fetch {
    /// What people call it: the name of the file.
    pub fn name(&self) -> &str {
        let place = self.url.as_deref().or(self.path.as_deref()).or(self.file.as_deref()).unwrap_or_default();
        let place = place.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        place.rsplit('/').next().unwrap_or_default()
    }

    /// Which origin has it, and where there.
    pub fn place(&self) -> (&str, &str) {
        match (&self.url, &self.path, &self.origin, &self.file) {
            (Some(url), ..) => ("url", url),
            (None, Some(path), ..) => ("local", path),
            (None, None, Some(origin), Some(file)) => (origin, file),
            _ => ("", ""),
        }
    }

    fn check(&self) -> Result<()> {
        let ways = [self.url.is_some(), self.path.is_some(), self.origin.is_some() || self.file.is_some()];
        let pair = self.origin.is_some() == self.file.is_some();
        if ways.iter().filter(|given| **given).count() != 1 || !pair {
            return Err(Error::new("it does not say what is fetched")
                .hint("give a `url`, a `path` in the workspace, or an `origin` with the name of a `file` there"));
        }
        if let Some(path) = &self.path {
            inside("path", path)?;
        }
        if self.name().is_empty() {
            return Err(Error::new("what it fetches has no name").hint("a `url` ends in the name of a file"));
        }
        absolute("to", &self.to)?;
        if self.unpack == Some(false) && (self.strip > 0 || !self.select.is_empty()) {
            return Err(Error::new("`strip` and `select` are for archives, and `unpack` is false")
                .hint("leave `unpack` out to have the archive unpacked, or leave those two out to keep it as it is"));
        }
        check_placing(self.mode.as_deref(), self.owner.as_deref())
    }
}

/// The permissions that `mode` says, in octal.
pub fn permissions(mode: &str) -> Result<u32> {
    let digits = (3..=4).contains(&mode.len()) && mode.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(mode, 8) {
        Ok(mode) if digits => Ok(mode),
        _ => Err(Error::new(format!("`mode` is `{mode}`, four octal digits such as `0755` were expected"))),
    }
}

fn check_placing(mode: Option<&str>, owner: Option<&str>) -> Result<()> {
    mode.map_or(Ok(0), permissions)?;
    let good = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    match owner {
        Some(owner) if !owner.split(':').all(good) || owner.split(':').count() > 2 => {
            Err(Error::new(format!("`owner` is `{owner}`, `USER` or `USER:GROUP` was expected")))
        }
        _ => Ok(()),
    }
}

fn absolute(key: &str, path: &str) -> Result<()> {
    if path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|name| name == "..") {
        return Ok(());
    }
    Err(Error::new(format!("`{key}` is `{path}`, an absolute path in the image was expected"))
        .hint("paths in an image are written from its root and without `..`, as in `/opt/tool`"))
}

fn inside(key: &str, path: &str) -> Result<()> {
    if path.is_empty() || path.starts_with('/') || path.contains('\0') || path.split('/').any(|name| name == "..") {
        return Err(Error::new(format!("`{key}` is `{path}`, a path below the workspace's folder was expected"))
            .hint("what a lock holds is the workspace's own: put the file there, or `[[fetch]]` it by its `url`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(url: &str) -> Fetch {
        Fetch { url: Some(url.into()), to: "/".into(), ..Fetch::default() }
    }

    #[test]
    fn a_fetched_file_is_called_by_its_name() {
        assert_eq!(fetch("https://example.org/a/tool-1.2.tar.gz?x=y#z").name(), "tool-1.2.tar.gz");
        assert_eq!(fetch("https://example.org/tool/").name(), "tool");
        assert!(Step::Fetch(fetch("https://example.org/tool")).check().is_ok());
        assert!(Step::Fetch(Fetch::default()).check().is_err());
        let both = Fetch { path: Some("x".into()), ..fetch("https://example.org/tool") };
        assert!(Step::Fetch(both).check().is_err());
        let half = Fetch { origin: Some("pypi".into()), to: "/".into(), ..Fetch::default() };
        assert!(Step::Fetch(half).check().is_err());
    }

    #[test]
    fn modes_are_octal_and_owners_are_names() {
        assert_eq!(permissions("0750").unwrap(), 0o750);
        assert_eq!(permissions("4755").unwrap(), 0o4755);
        for mode in ["", "755x", "0o755", "00755", "789", "+755"] {
            assert!(check_placing(Some(mode), None).is_err(), "{mode}");
        }
        assert!(check_placing(Some("0644"), Some("1000:1000")).is_ok());
        for owner in ["", ":", "a:", "a:b:c", "a b", "a\n"] {
            assert!(check_placing(None, Some(owner)).is_err(), "{owner:?}");
        }
    }

    #[test]
    fn copies_stay_in_the_workspace() {
        let copy = |from: &str, to: &str| Step::Copy(Copy { from: from.into(), to: to.into(), ..Copy::default() });
        assert!(copy("app", "/app").check().is_ok());
        for (from, to) in [("/etc", "/app"), ("../x", "/app"), ("app", "app"), ("app", "/a/../../b"), ("", "/a")] {
            assert!(copy(from, to).check().is_err(), "{from} {to}");
        }
    }
}
