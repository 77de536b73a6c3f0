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

/// What a lock pins of one package on one platform: npm has several versions of one side by side.
type Pins = BTreeSet<(String, Digest)>;

/// What moved, by name; platforms are told apart only where they differ.
pub fn changes(old: Option<&Lockfile>, new: &Lockfile) -> Vec<Change> {
    let (old, new) = (old.map(pins).unwrap_or_default(), pins(new));
    let platforms: BTreeSet<Platform> = old.keys().chain(new.keys()).copied().collect();
    let nothing = BTreeMap::new();
    let mut found: BTreeMap<(String, Option<String>, Option<String>), Vec<Platform>> = BTreeMap::new();
    for platform in &platforms {
        let (before, after) = (old.get(platform).unwrap_or(&nothing), new.get(platform).unwrap_or(&nothing));
        for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            for (before, after) in moved(before.get(name), after.get(name)) {
                found.entry((name.clone(), before, after)).or_default().push(*platform);
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

/// By platform, what each name stands for. Names of other ecosystems than Debian's have it before them.
fn pins(lockfile: &Lockfile) -> BTreeMap<Platform, BTreeMap<String, Pins>> {
    let mut pins: BTreeMap<Platform, BTreeMap<String, Pins>> = BTreeMap::new();
    for package in &lockfile.packages {
        let name = match package.ecosystem.as_str() {
            "debian" => package.name.clone(),
            ecosystem => format!("{ecosystem}:{}", package.name),
        };
        for (platform, artifact) in &package.artifacts {
            let known = pins.entry(*platform).or_default().entry(name.clone()).or_default();
            known.insert((package.version.clone(), artifact.sha256));
        }
    }
    for local in &lockfile.local {
        for platform in &lockfile.environment.platforms {
            let known = pins.entry(*platform).or_default().entry(format!("copy:{}", local.from)).or_default();
            known.insert((local.sha256.to_string()[..12].to_owned(), local.sha256));
        }
    }
    pins
}

/// The versions that came and went, in pairs as far as there are.
fn moved(before: Option<&Pins>, after: Option<&Pins>) -> Vec<(Option<String>, Option<String>)> {
    let nothing = Pins::new();
    let (before, after) = (before.unwrap_or(&nothing), after.unwrap_or(&nothing));
    let mut gone = before.difference(after).map(|(version, _)| version.clone());
    let mut come = after.difference(before).map(|(version, _)| version.clone());
    let mut pairs = Vec::new();
    loop {
        match (gone.next(), come.next()) {
            (None, None) => return pairs,
            pair => pairs.push(pair),
        }
    }
}
