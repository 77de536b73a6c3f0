//! Reading the documents of images that others have made: indexes, manifests and configurations, in OCI's media types
//! and in Docker's, which say the same (OCI image specification; Docker image manifest V2, schema 2).
//!
//! Bytes in, values out; everything in them comes from outside.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::config::{ContainerConfig, Healthcheck, Platform};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::Compression;

/// The annotation of a descriptor in a layout's `index.json` that holds its name.
pub const NAME: &str = "org.opencontainers.image.ref.name";
/// The largest index or manifest that is taken, in bytes.
pub const LARGEST: u64 = 4 << 20;
/// Engines refuse images of more layers; some of them are kiln's to add.
const LIMIT_LAYERS: usize = 120;
/// Images in one index.
const LIMIT_MANIFESTS: usize = 1024;

/// A document that names others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// An image for each platform, with the sizes of their manifests in bytes.
    Index(Vec<(Platform, Digest, u64)>),
    Manifest(Manifest),
}

/// An image by its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub config: Digest,
    /// Bytes of the configuration.
    pub config_size: u64,
    /// The lowest first.
    pub layers: Vec<Blob>,
}

/// A layer as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub compression: Compression,
}

/// What an image's configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub platform: Platform,
    /// Of each layer, uncompressed, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// What made each layer, as far as it is said.
    pub created_by: Vec<String>,
    pub container: ContainerConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    schema_version: u32,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// What the `index.json` of a layout has under `name`; without one, the only thing that is there.
pub fn named(bytes: &[u8], name: Option<&str>) -> Result<Digest> {
    let file: File = serde_json::from_slice(bytes).context(|| "this is no index of a layout")?;
    fn name_of(descriptor: &Descriptor) -> &str {
        descriptor.annotations.get(NAME).map(String::as_str).unwrap_or_default()
    }
    let mut found = file.manifests.iter().filter(|found| name.is_none_or(|name| name_of(found) == name));
    match (found.next(), found.next()) {
        (Some(one), None) => digest(&one.digest),
        (None, _) if file.manifests.is_empty() => Err(Error::new("the layout is empty")
            .kind(Kind::NotFound)
            .hint("`kiln build ENV --output oci:DIR` writes an image into it")),
        _ => {
            let names: BTreeSet<&str> = file.manifests.iter().map(name_of).collect();
            let names: Vec<String> = names.iter().take(20).map(|name| format!("`{}`", name.escape_debug())).collect();
            let message = match name {
                Some(name) => format!("the layout has no image `{name}`"),
                None => "the layout has several images".to_owned(),
            };
            Err(Error::new(message).kind(Kind::NotFound).hint(format!("it has {}", names.join(", "))))
        }
    }
}

/// Reads an index or a manifest.
pub fn document(bytes: &[u8]) -> Result<Document> {
    let file: File = serde_json::from_slice(bytes).context(|| "this is no manifest of an image")?;
    if file.schema_version != 2 {
        return Err(Error::new(format!("a manifest of schema {} is not supported", file.schema_version))
            .hint("images of the last years have schema 2: pull and push it with a current tool"));
    }
    let Some(config) = file.config else {
        if file.manifests.len() > LIMIT_MANIFESTS {
            return Err(Error::new(format!("an index of {} images is not read", file.manifests.len())));
        }
        let known = file.manifests.into_iter().filter_map(|descriptor| {
            // What is attached to images (provenance) stands beside them, for an unknown platform.
            let platform = descriptor.platform.clone().filter(|platform| platform.os != "unknown")?;
            Some(digest(&descriptor.digest).map(|digest| (platform, digest, descriptor.size)))
        });
        return Ok(Document::Index(known.collect::<Result<_>>()?));
    };
    if file.layers.len() > LIMIT_LAYERS {
        return Err(Error::new(format!("it has {} layers, at most {LIMIT_LAYERS} are taken", file.layers.len())));
    }
    let layers = file.layers.iter().map(|layer| {
        let compression = compression(&layer.media_type)?;
        Ok(Blob { digest: digest(&layer.digest)?, size: layer.size, compression })
    });
    Ok(Document::Manifest(Manifest {
        config: digest(&config.digest)?,
        config_size: config.size,
        layers: layers.collect::<Result<_>>()?,
    }))
}

fn digest(text: &str) -> Result<Digest> {
    let hex = text.strip_prefix("sha256:");
    let hex = hex.ok_or_else(|| Error::new(format!("the digest {:?} is not one of sha256", cut(text))))?;
    hex.parse().context(|| format!("reading the digest {:?}", cut(text)))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

fn compression(media_type: &str) -> Result<Compression> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Ok(Compression::Gzip)
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" => Ok(Compression::Zstd),
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(Compression::None)
        }
        other => Err(Error::new(format!("a layer has the media type {:?}, which is not supported", cut(other)))
            .hint("layers of files are: tar, alone or compressed with gzip or zstd")),
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    config: Option<Config>,
    rootfs: RootFs,
    #[serde(default)]
    history: Option<Vec<History>>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

#[derive(Deserialize)]
struct History {
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    empty_layer: bool,
}

/// As Go writes it: what is empty may be `null`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    user: Option<String>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    healthcheck: Option<HealthcheckFile>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HealthcheckFile {
    test: Option<Vec<String>>,
    interval: Option<u64>,
    timeout: Option<u64>,
    start_period: Option<u64>,
    retries: Option<u32>,
}

/// Reads the configuration of an image of `layers` layers.
pub fn configuration(bytes: &[u8], layers: usize) -> Result<Configuration> {
    let file: ConfigFile = serde_json::from_slice(bytes).context(|| "this is no configuration of an image")?;
    let diff_ids: Vec<Digest> = file.rootfs.diff_ids.iter().map(|text| digest(text)).collect::<Result<_>>()?;
    if diff_ids.len() != layers {
        return Err(Error::new(format!("its configuration has {} layers, its manifest {layers}", diff_ids.len())));
    }
    let history = file.history.unwrap_or_default();
    let created_by = history.into_iter().filter(|entry| !entry.empty_layer).map(|entry| entry.created_by).collect();
    let config = file.config.unwrap_or_default();
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let names =
        |set: Option<BTreeMap<String, _>>| -> BTreeSet<String> { set.unwrap_or_default().into_keys().collect() };
    let pair = |text: String| {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        (name.to_owned(), value.to_owned())
    };
    Ok(Configuration {
        platform: file.platform,
        diff_ids,
        created_by,
        container: ContainerConfig {
            user: text(config.user),
            exposed_ports: names(config.exposed_ports),
            env: config.env.unwrap_or_default().into_iter().map(pair).collect(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            volumes: names(config.volumes),
            working_dir: text(config.working_dir),
            labels: config.labels.unwrap_or_default(),
            stop_signal: text(config.stop_signal),
            healthcheck: config.healthcheck.and_then(HealthcheckFile::read),
        },
    })
}

impl HealthcheckFile {
    fn read(self) -> Option<Healthcheck> {
        let test = self.test.filter(|test| !test.is_empty())?;
        let time = |time: Option<u64>| time.filter(|time| *time > 0);
        Some(Healthcheck {
            test,
            interval: time(self.interval),
            timeout: time(self.timeout),
            start_period: time(self.start_period),
            retries: self.retries.filter(|retries| *retries > 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn dockers_documents_are_read_too() {
        let manifest = format!(
            r#"{{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {{"mediaType": "application/vnd.docker.container.image.v1+json", "size": 7, "digest": "sha256:{HEX}"}},
            "layers": [{{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 9, "digest": "sha256:{HEX}"}}]}}"#
        );
        let Document::Manifest(manifest) = document(manifest.as_bytes()).unwrap() else { panic!("not a manifest") };
        assert_eq!((manifest.config_size, manifest.layers[0].size), (7, 9));
        let index = format!(
            r#"{{"schemaVersion": 2, "manifests": [
            {{"digest": "sha256:{HEX}", "size": 5, "platform": {{"os": "linux", "architecture": "arm", "variant": "v7"}}}},
            {{"digest": "sha256:{HEX}", "size": 5, "platform": {{"os": "unknown", "architecture": "unknown"}}}}]}}"#
        );
        let Document::Index(images) = document(index.as_bytes()).unwrap() else { panic!("not an index") };
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].0.to_string(), "linux/arm/v7");
        let config = format!(
            r#"{{"os": "linux", "architecture": "amd64", "created": "2026-01-01T00:00:00Z",
            "config": {{"Env": ["A=b=c", "D"], "Cmd": null, "Entrypoint": ["x"], "ExposedPorts": {{"80/tcp": {{}}}},
            "WorkingDir": "", "Healthcheck": {{"Test": ["CMD", "y"], "Interval": 5000000000}}}},
            "rootfs": {{"type": "layers", "diff_ids": ["sha256:{HEX}"]}},
            "history": [{{"created_by": "a"}}, {{"created_by": "b", "empty_layer": true}}]}}"#
        );
        let config = configuration(config.as_bytes(), 1).unwrap();
        assert_eq!(config.created_by, ["a"]);
        assert_eq!(config.container.env["A"], "b=c");
        assert_eq!(config.container.working_dir, None);
        assert_eq!(config.container.healthcheck.unwrap().interval, Some(5_000_000_000));
        assert!(configuration(b"{}", 1).is_err());
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for wrong in [
            r#"{"schemaVersion": 1}"#.to_owned(),
            "[]".to_owned(),
            format!(r#"{{"schemaVersion": 2, "config": {{"digest": "sha512:{HEX}", "size": 1}}}}"#),
            format!(
                r#"{{"schemaVersion": 2, "config": {{"digest": "sha256:{HEX}", "size": 1}},
                "layers": [{{"mediaType": "application/x", "digest": "sha256:{HEX}", "size": 1}}]}}"#
            ),
        ] {
            assert!(document(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_document_is_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = document(&bytes);
            let _ = configuration(&bytes, 1);
        }
    }
}
