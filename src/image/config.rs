//! The image configuration: what to run, and which layers make the file system (OCI image specification,
//! config). Pure: values in, bytes out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::error::{Error, Result};
use crate::layer::Layer;

/// What an image runs on, in the words of Go (`GOOS`, `GOARCH`): `linux/arm64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(formatter, "/{variant}"))
    }
}

impl std::str::FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match names[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(Error::new(format!("`{text}` is not a platform")).hint("platforms look like linux/amd64")),
        };
        if names.iter().any(|name| name.is_empty()) {
            return Err(Error::new(format!("`{text}` is not a platform")).hint("platforms look like linux/amd64"));
        }
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: variant.map(Into::into) })
    }
}

/// What a container of the image runs, and how. What is empty is left out of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// `user`, `uid`, `user:group` or `uid:gid`.
    pub user: Option<String>,
    /// `5000/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// In the order of their names.
    pub env: BTreeMap<String, String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub volumes: BTreeSet<String>,
    pub working_dir: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`.
    pub stop_signal: Option<String>,
    pub healthcheck: Option<Healthcheck>,
}

/// How an engine finds out whether the container is well (Docker image specification, `Healthcheck`). Times in
/// nanoseconds; what is `None` is the engine's to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `CMD` and a program with its arguments.
    pub test: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    platform: &'a Platform,
    created: String,
    config: Config<'a>,
    rootfs: RootFs,
    history: Vec<History<'a>>,
}

/// A set is an object with empty objects, in JSON as Go writes it.
type Set<'a> = BTreeMap<&'a str, BTreeMap<String, String>>;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: &'a Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: Set<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    entrypoint: &'a Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmd: &'a Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: Set<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: &'a Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: &'a Option<Healthcheck>,
}

#[derive(Serialize)]
struct RootFs {
    r#type: &'static str,
    diff_ids: Vec<String>,
}

#[derive(Serialize)]
struct History<'a> {
    created: String,
    created_by: &'a str,
}

/// Everything that decides an image's bytes.
#[derive(Clone, Debug)]
pub struct ImageSpec {
    pub platform: Platform,
    /// When the image says it was made, in seconds since 1970: of the format or the lock, never the clock.
    pub epoch: u64,
    pub config: ContainerConfig,
    /// The lowest first.
    pub layers: Vec<(Layer, LayerInfo)>,
    /// Of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// What an image says of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerInfo {
    /// What made it, one line, for the configuration's history.
    pub created_by: String,
    /// Of its descriptor in the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// The canonical configuration of `spec`.
pub fn document(spec: &ImageSpec) -> Result<Vec<u8>> {
    let created = rfc3339(spec.epoch)?;
    let document = Document {
        platform: &spec.platform,
        config: Config {
            user: &spec.config.user,
            exposed_ports: as_set(&spec.config.exposed_ports),
            env: spec.config.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            entrypoint: &spec.config.entrypoint,
            cmd: &spec.config.cmd,
            volumes: as_set(&spec.config.volumes),
            working_dir: &spec.config.working_dir,
            labels: &spec.config.labels,
            stop_signal: &spec.config.stop_signal,
            healthcheck: &spec.config.healthcheck,
        },
        rootfs: RootFs {
            r#type: "layers",
            diff_ids: spec.layers.iter().map(|(layer, _)| layer.diff_id.oci()).collect(),
        },
        history: spec
            .layers
            .iter()
            .map(|(_, info)| History { created: created.clone(), created_by: &info.created_by })
            .collect(),
        created,
    };
    canonical::to_vec(&document)
}

fn as_set(names: &BTreeSet<String>) -> Set<'_> {
    names.iter().map(|name| (name.as_str(), BTreeMap::new())).collect()
}

/// Seconds since 1970 as RFC 3339 has them, in UTC: `2026-07-11T00:00:00Z`. Years up to 9999.
pub fn rfc3339(seconds: u64) -> Result<String> {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
        if year > 9999 {
            return Err(Error::new(format!("{seconds} seconds since 1970 is after the year 9999")));
        }
    }
    let mut month = 1;
    for length in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    Ok(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1))
}

fn leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::{Platform, rfc3339};

    #[test]
    fn times_are_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds).unwrap(), text);
        }
        assert!(rfc3339(253_402_300_800).is_err());
        assert!(rfc3339(u64::MAX).is_err());
    }

    #[test]
    fn platforms_are_read_and_written() {
        for text in ["linux/amd64", "linux/arm/v7"] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), text);
        }
        for wrong in ["linux", "linux/", "a/b/c/d", ""] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong:?}");
        }
    }
}
