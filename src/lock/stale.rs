//! Why a lockfile no longer fits its definition: every reason has a name, and all are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::model::Lockfile;
use crate::FORMAT;
use crate::workspace::{Python, Settings, Step};

/// One reason why a lockfile is stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// There is no lockfile.
    Missing,
    /// Git could not merge it.
    Conflicted,
    /// It was made for another format of images.
    Format { locked: u32, known: u32 },
    /// The definition asks for something that the lock does not hold.
    RequirementAdded { requirement: String },
    /// The lock holds something that the definition no longer asks for.
    RequirementRemoved { requirement: String },
    /// The definition has a platform that the lock does not hold.
    PlatformAdded { platform: String },
    /// The lock has a platform that the definition no longer has.
    PlatformRemoved { platform: String },
    /// A local package is not the file that it was.
    LocalChanged { path: String },
    /// Files of the workspace are not what they were.
    CopyChanged { path: String },
    /// A setting that decides where packages come from or which are taken.
    SourcesChanged { setting: String },
    /// A setting that shapes the image without moving a pin.
    SettingChanged { setting: String },
}

impl Reason {
    /// Whether indexes are needed to mend it.
    pub fn needs_resolution(&self) -> bool {
        !matches!(self, Self::Format { .. } | Self::SettingChanged { .. } | Self::PlatformRemoved { .. })
    }

    /// Whether no part of the lock can be taken over unseen.
    pub fn concerns_everything(&self) -> bool {
        matches!(self, Self::Missing | Self::Conflicted | Self::LocalChanged { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(formatter, "missing: there is no lockfile"),
            Self::Conflicted => write!(formatter, "conflicted: it has git's conflict markers"),
            Self::Format { locked, known } => {
                write!(formatter, "format: locked for format {locked}, this kiln makes format {known}")
            }
            Self::RequirementAdded { requirement } => {
                write!(formatter, "requirement-added: `{requirement}` is asked for and not locked")
            }
            Self::RequirementRemoved { requirement } => {
                write!(formatter, "requirement-removed: `{requirement}` is locked and no longer asked for")
            }
            Self::PlatformAdded { platform } => write!(formatter, "platform-added: {platform} is not locked"),
            Self::PlatformRemoved { platform } => {
                write!(formatter, "platform-removed: {platform} is locked and no longer wanted")
            }
            Self::LocalChanged { path } => {
                write!(formatter, "local-changed: `{path}` is not the file that was locked")
            }
            Self::CopyChanged { path } => {
                write!(formatter, "copy-changed: the files of `{path}` are not what was locked")
            }
            Self::SourcesChanged { setting } => {
                write!(formatter, "sources-changed: `{setting}` is not what it was when locked")
            }
            Self::SettingChanged { setting } => {
                write!(formatter, "setting-changed: `{setting}` is not what it was when locked")
            }
        }
    }
}

/// Every reason why `lockfile` does not fit `settings`; none if it does.
pub fn reasons(lockfile: Option<&Lockfile>, settings: &Settings) -> Vec<Reason> {
    let Some(lockfile) = lockfile else { return vec![Reason::Missing] };
    let locked = &lockfile.environment;
    let mut reasons = Vec::new();
    if lockfile.format != FORMAT {
        reasons.push(Reason::Format { locked: lockfile.format, known: FORMAT });
    }
    let (old, new) = (requirements(locked), requirements(settings));
    reasons.extend(new.difference(&old).map(|added| Reason::RequirementAdded { requirement: added.clone() }));
    reasons.extend(old.difference(&new).map(|removed| Reason::RequirementRemoved { requirement: removed.clone() }));
    for platform in &settings.platforms {
        if !locked.platforms.contains(platform) {
            reasons.push(Reason::PlatformAdded { platform: platform.to_string() });
        }
    }
    for platform in &locked.platforms {
        if !settings.platforms.contains(platform) {
            reasons.push(Reason::PlatformRemoved { platform: platform.to_string() });
        }
    }
    let sources =
        |changed: bool, setting: &str| changed.then(|| Reason::SourcesChanged { setting: setting.to_owned() });
    let other = |changed: bool, setting: &str| changed.then(|| Reason::SettingChanged { setting: setting.to_owned() });
    let (a, b) = (&locked.debian, &settings.debian);
    reasons.extend(
        [
            sources(locked.base != settings.base, "base.image"),
            sources(a.suites != b.suites, "debian.suites"),
            sources(a.snapshot != b.snapshot, "debian.snapshot"),
            sources(a.source != b.source, "debian.source"),
            sources(a.base != b.base, "debian.base"),
            other(a.exclude != b.exclude, "debian.exclude"),
            other(a.accept_unconfigured != b.accept_unconfigured, "debian.accept-unconfigured"),
            other(a.preseed != b.preseed, "debian.preseed"),
            sources(python_sources(locked) != python_sources(settings), "python"),
            other(python_shape(locked) != python_shape(settings), "python"),
            sources(npm_overrides(locked) != npm_overrides(settings), "npm.overrides"),
            other(npm_shape(locked) != npm_shape(settings), "npm"),
            other(locked.users != settings.users, "users"),
            other(locked.steps != settings.steps, "steps"),
            other(locked.image != settings.image, "image"),
            other(locked.description != settings.description, "description"),
        ]
        .into_iter()
        .flatten(),
    );
    reasons
}

/// Where Python's packages come from, and which interpreter they are for.
fn python_sources(settings: &Settings) -> Option<Python> {
    let python = settings.python.clone()?;
    Some(Python { packages: Vec::new(), constraints: Vec::new(), lock: None, compile: false, ..python })
}

fn python_shape(settings: &Settings) -> Option<bool> {
    settings.python.as_ref().map(|python| python.compile)
}

fn npm_overrides(settings: &Settings) -> Option<&BTreeMap<String, String>> {
    settings.npm.as_ref().map(|npm| &npm.overrides)
}

fn npm_shape(settings: &Settings) -> Option<(&str, &[String])> {
    settings.npm.as_ref().map(|npm| (npm.prefix.as_str(), npm.scripts.as_slice()))
}

/// Everything that is asked for, each with its ecosystem before it.
fn requirements(settings: &Settings) -> BTreeSet<String> {
    let debian = &settings.debian;
    let mut all: BTreeSet<String> =
        debian.packages.iter().chain(&debian.local).map(|requirement| format!("debian:{requirement}")).collect();
    if let Some(python) = &settings.python {
        all.extend(python.packages.iter().map(|requirement| format!("pypi:{requirement}")));
        all.extend(python.constraints.iter().map(|constraint| format!("pypi constraint:{constraint}")));
        all.extend(python.lock.iter().map(|lock| format!("pypi lock:{} ({})", lock.path, lock.sha256)));
    }
    if let Some(npm) = &settings.npm {
        all.extend(npm.dependencies.iter().map(|(name, range)| format!("npm:{name}@{range}")));
        all.extend(npm.lock.iter().map(|lock| format!("npm lock:{} ({})", lock.path, lock.sha256)));
    }
    for step in &settings.steps {
        match step {
            Step::Fetch(fetch) => {
                let (origin, path) = fetch.place();
                let hash = fetch.sha256.map(|sha256| format!("#sha256={sha256}")).unwrap_or_default();
                let on: Vec<&str> = fetch.platforms.iter().map(|platform| platform.name()).collect();
                let on = if on.is_empty() { String::new() } else { format!(" ({})", on.join(", ")) };
                all.insert(format!("fetch:{origin}:{path}{hash}{on}"));
            }
            Step::Copy(copy) => {
                let ignore = copy.ignore.iter().map(|pattern| format!(" !{pattern}"));
                all.insert(format!("copy:{}{}", copy.from, ignore.collect::<String>()));
            }
            Step::Run(_) => {}
        }
    }
    all
}
