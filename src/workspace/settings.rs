//! The effective settings of an environment: its definition with everything it extends and all defaults
//! filled in. The lockfile holds them as they stand here, so a build needs no definition.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::platform::Platform;
use super::steps::Step;
use crate::digest::Digest;

/// Everything that a definition decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Sorted.
    pub platforms: Vec<Platform>,
    /// The image that everything else is on top of, instead of Debian's packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseImage>,
    pub debian: Debian,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Python>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub npm: Option<Npm>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, User>,
    /// What comes on top of the packages, in the order of the definition.
    #[serde(default, rename = "step", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "ImageSettings::is_default")]
    pub image: ImageSettings,
}

/// What [`BaseImage::image`] begins with if it is a layout in the workspace.
pub const LAYOUT: &str = "oci:";

/// `[base]`: an image that another tool may have made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BaseImage {
    /// `REGISTRY/NAME:TAG`, `REGISTRY/NAME@sha256:…`, or `oci:FOLDER[:NAME]`: an OCI image layout in the workspace.
    pub image: String,
}

/// `[debian]`: which packages, from where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Debian {
    /// The suites of Debian's own archives, in the order of the definition.
    pub suites: Vec<Suite>,
    /// Resolve against the archive as it was then: `2026-07-11T00:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// What is asked for, in apt's syntax, sorted.
    pub packages: Vec<String>,
    /// Names of exclusion sets, sorted: see `ecosystem::debian::part`.
    pub exclude: Vec<String>,
    pub base: Base,
    /// Packages whose scripts may be left unrun when `base` is `none`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept_unconfigured: Vec<String>,
    /// debconf answers: `package/question` to value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub preseed: BTreeMap<String, String>,
    /// Third-party archives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<Source>,
    /// Local `.deb` files, relative to the workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local: Vec<String>,
}

/// A suite of an archive of Debian's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Suite {
    /// `debian` or `debian-security`.
    pub origin: String,
    /// `trixie`, `trixie-security`, …
    pub name: String,
    pub components: Vec<String>,
    /// Take an index whose `Valid-Until` has passed, as those of archived suites have.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_expired: bool,
    /// Take signatures that rest on SHA-1 or on short RSA keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_weak: bool,
}

/// `[[debian.source]]`: an archive with its own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// The name under which its address is looked up.
    pub origin: String,
    pub suite: String,
    #[serde(default = "main")]
    pub components: Vec<String>,
    /// The file with its OpenPGP keys, relative to the workspace.
    pub key: String,
    /// As in `apt_preferences(5)`; 500 unless its release file says `NotAutomatic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_expired: bool,
    /// Take signatures that rest on SHA-1 or on short RSA keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_weak: bool,
}

/// `main`, the component of an archive that names none.
pub(super) fn main() -> Vec<String> {
    vec!["main".to_owned()]
}

/// What an environment stands on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// Debian's Essential set, configured.
    #[default]
    Essential,
    /// Nothing: no script can run.
    None,
}

/// `[python]`: packages of the Python Package Index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Python {
    /// What is asked for (PEP 508), sorted; what requirements files say is among it.
    pub packages: Vec<String>,
    /// What must hold for packages that are needed anyhow, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// By name, the only files that requirements files allow.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hashes: BTreeMap<String, BTreeSet<Digest>>,
    /// A lockfile of another tool, whose pins are taken as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<ForeignLock>,
    /// The origin of packages.
    #[serde(default = "pypi", skip_serializing_if = "is_pypi")]
    pub index: String,
    /// Other origins, each with the names that come from it and from nowhere else.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Vec<String>>,
    /// The interpreter: the Debian package that brings it, `python3` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// Whether modules are compiled to byte-code.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compile: bool,
}

fn pypi() -> String {
    "pypi".to_owned()
}

fn is_pypi(origin: &str) -> bool {
    origin == "pypi"
}

/// `[npm]`: packages of the npm registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Npm {
    /// The folder that gets `node_modules`.
    pub prefix: String,
    /// Names to ranges, tags or aliases, as in `package.json`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dependencies: BTreeMap<String, String>,
    /// Names to the versions that everyone gets, as in `package.json`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, String>,
    /// A `package-lock.json`, whose pins are taken as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<ForeignLock>,
    /// Packages whose install scripts run, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<String>,
}

/// A lockfile that another tool has written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ForeignLock {
    /// Relative to the workspace.
    pub path: String,
    pub sha256: Digest,
}

/// `[users.NAME]`: a user that the image has besides those its packages make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    pub uid: u32,
    /// The id of the group of the same name; the user's own id unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    #[serde(default = "no_home")]
    pub home: String,
    #[serde(default = "no_shell")]
    pub shell: String,
}

fn no_home() -> String {
    "/nonexistent".to_owned()
}

fn no_shell() -> String {
    "/usr/sbin/nologin".to_owned()
}

/// `[image]`: how the image starts (OCI image specification, image configuration).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ImageSettings {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `[image.healthcheck]`: how an engine finds out whether the service is well. No part of the OCI specification;
/// engines read it from where Docker's image specification has it (`config.Healthcheck`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Healthcheck {
    /// A program and its arguments; 0 means well.
    pub command: Vec<String>,
    /// Between two checks, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// For how long after its start failures do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<String>,
    /// How many failures in a row make it unwell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

impl Healthcheck {
    /// A duration such as `1m30s` or `500ms`, in nanoseconds.
    pub fn nanoseconds(text: &str) -> Option<u64> {
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, after) = after.split_at(letters);
            let scale = match unit {
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return None,
            };
            total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(scale)?)?;
            rest = after;
        }
        (total > 0).then_some(total)
    }
}

impl ImageSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
