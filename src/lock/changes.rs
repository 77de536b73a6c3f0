//! What moved between two lockfiles of one environment, as `lock` and `update` tell it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::model::Lockfile;
use crate::digest::Digest;
use crate::workspace::Platform;

/// One package that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Where it happened, if not on all platforms of both locks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
}

impl Change {
    /// A line for people: `Updated openssl 3.5.1 -> 3.5.2`.
    pub fn line(&self) -> String {
        let what = match (&self.before, &self.after) {
            (None, Some(after)) => format!("Added    {} {after}", self.name),
            (Some(before), None) => format!("Removed  {} {before}", self.name),
            (Some(before), Some(after)) if before == after => {
                format!("Rebuilt  {} {after} (same version, other bytes)", self.name)
            }
            (Some(before), Some(after)) => format!("Updated  {} {before} -> {after}", self.name),
            (None, None) => format!("Changed  {}", self.name),
        };
        if self.platforms.is_empty() {
            return what;
        }
        let platforms: Vec<&str> = self.platforms.iter().map(|platform| platform.name()).collect();
        format!("{what} ({})", platforms.join(", "))
    }
}

/// What moved, by name; platforms are told apart only where they differ.
pub fn changes(old: Option<&Lockfile>, new: &Lockfile) -> Vec<Change> {
    let pins = |lockfile: &Lockfile| {
        let mut pins: BTreeMap<Platform, BTreeMap<String, (String, Digest)>> = BTreeMap::new();
        for package in &lockfile.packages {
            for (platform, artifact) in &package.artifacts {
                pins.entry(*platform)
                    .or_default()
                    .insert(package.name.clone(), (package.version.clone(), artifact.sha256));
            }
        }
        pins
    };
    let (old, new) = (old.map(pins).unwrap_or_default(), pins(new));
    let platforms: BTreeSet<Platform> = old.keys().chain(new.keys()).copied().collect();
    let nothing = BTreeMap::new();
    let mut found: BTreeMap<(String, Option<String>, Option<String>), Vec<Platform>> = BTreeMap::new();
    for platform in &platforms {
        let (before, after) = (old.get(platform).unwrap_or(&nothing), new.get(platform).unwrap_or(&nothing));
        for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let (before, after) = (before.get(name), after.get(name));
            if before != after {
                let version = |pin: Option<&(String, Digest)>| pin.map(|(version, _)| version.clone());
                found.entry((name.clone(), version(before), version(after))).or_default().push(*platform);
            }
        }
    }
    found
        .into_iter()
        .map(|((name, before, after), on)| Change {
            name,
            before,
            after,
            platforms: if on.len() == platforms.len() { Vec::new() } else { on },
        })
        .collect()
}
