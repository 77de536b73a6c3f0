//! The effective settings of an environment: its definition with everything it extends and all defaults
//! filled in. The lockfile holds them as they stand here, so a build needs no definition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::platform::Platform;

/// Everything that a definition decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Sorted.
    pub platforms: Vec<Platform>,
    pub debian: Debian,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<String, User>,
    #[serde(default, skip_serializing_if = "ImageSettings::is_default")]
    pub image: ImageSettings,
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
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ImageSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
