//! The image manifest, the index of several images, and what a layout or archive is rooted in (OCI image
//! specification, manifest, image-index, descriptor).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::config::{self, ImageSpec, Platform};
use crate::canonical;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::layer::{Compression, Layer};
use crate::store::Store;

pub const MEDIA_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MEDIA_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const MEDIA_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What a layer is, as its descriptor says it.
pub fn layer_media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
    }
}

/// Engines refuse images of more layers (Docker's overlay depth).
const LIMIT_LAYERS: usize = 127;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image's digest.
    pub manifest: Digest,
    /// Bytes of the manifest.
    pub manifest_size: u64,
    pub config: Digest,
    /// Bytes of the configuration.
    pub config_size: u64,
    /// The lowest first.
    pub layers: Vec<Layer>,
}

/// A reference to content by its digest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor<'a> {
    pub media_type: &'a str,
    pub digest: String,
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<&'a Platform>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: Vec<Descriptor<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u32,
    media_type: &'a str,
    manifests: Vec<Descriptor<'a>>,
}

/// Writes the image's configuration and manifest into the store, and keeps its layers from being
/// collected as long as it is used.
pub fn write_image(store: &Store, spec: &ImageSpec) -> Result<Image> {
    if spec.layers.len() > LIMIT_LAYERS {
        return Err(Error::new(format!("the image has {} layers, engines take {LIMIT_LAYERS}", spec.layers.len())));
    }
    let config = config::document(spec)?;
    let (config_digest, config_size) = (store.put(&config)?, config.len() as u64);
    let descriptor = |media_type, digest: &Digest, size, annotations: &BTreeMap<String, String>| Descriptor {
        media_type,
        digest: digest.oci(),
        size,
        platform: None,
        annotations: annotations.clone(),
    };
    let manifest = canonical::to_vec(&Manifest {
        schema_version: 2,
        media_type: MEDIA_MANIFEST,
        config: descriptor(MEDIA_CONFIG, &config_digest, config_size, &BTreeMap::new()),
        layers: spec
            .layers
            .iter()
            .map(|(layer, info)| {
                descriptor(layer_media_type(layer.compression), &layer.digest, layer.size, &info.annotations)
            })
            .collect(),
        annotations: &spec.annotations,
    })?;
    let image = Image {
        manifest: store.put(&manifest)?,
        manifest_size: manifest.len() as u64,
        config: config_digest,
        config_size,
        layers: spec.layers.iter().map(|(layer, _)| layer.clone()).collect(),
    };
    let blobs: Vec<Digest> = image.blobs().into_keys().collect();
    store.put_keyed("image", &image.manifest, &blobs, &image)?;
    Ok(image)
}

impl Image {
    /// Everything the image needs, with sizes in bytes, the manifest included; each once, in their order.
    pub fn blobs(&self) -> BTreeMap<Digest, u64> {
        let layers = self.layers.iter().map(|layer| (layer.digest, layer.size));
        [(self.manifest, self.manifest_size), (self.config, self.config_size)].into_iter().chain(layers).collect()
    }
}

/// Writes the index of one image for each platform into the store; its digest. The order is that of the
/// platforms, whatever order they are given in.
pub fn write_index(store: &Store, images: &[(Platform, Image)]) -> Result<Digest> {
    let manifests: Vec<_> =
        images.iter().map(|(platform, image)| (platform.clone(), image.manifest, image.manifest_size)).collect();
    let digest = store.put(&index_document(&manifests)?)?;
    let mut blobs = vec![digest];
    blobs.extend(images.iter().flat_map(|(_, image)| image.blobs().into_keys()));
    blobs.sort();
    blobs.dedup();
    store.put_keyed("index", &digest, &blobs, &digest)?;
    Ok(digest)
}

/// The index that [`write_index`] writes, of images that need not be in any store: their manifests' digests and sizes
/// in bytes.
pub fn index_document(manifests: &[(Platform, Digest, u64)]) -> Result<Vec<u8>> {
    let sorted: BTreeMap<&Platform, (&Digest, u64)> =
        manifests.iter().map(|(platform, digest, size)| (platform, (digest, *size))).collect();
    if sorted.len() != manifests.len() {
        return Err(Error::new("an index has two images for one platform"));
    }
    let descriptor = |platform, digest: &Digest, size| Descriptor {
        media_type: MEDIA_MANIFEST,
        digest: digest.oci(),
        size,
        platform: Some(platform),
        annotations: BTreeMap::new(),
    };
    canonical::to_vec(&Index {
        schema_version: 2,
        media_type: MEDIA_INDEX,
        manifests: sorted.into_iter().map(|(platform, (digest, size))| descriptor(platform, digest, size)).collect(),
    })
}

/// What a layout or an archive is written of: an image, or an index of several, under a name.
#[derive(Clone, Debug)]
pub struct Root {
    /// The reference name (`org.opencontainers.image.ref.name`).
    pub name: String,
    media_type: &'static str,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
    /// Everything below it, itself included, with sizes in bytes.
    pub(super) blobs: BTreeMap<Digest, u64>,
}

impl Root {
    /// One image.
    pub fn image(name: &str, platform: &Platform, image: &Image) -> Self {
        Self {
            name: name.to_owned(),
            media_type: MEDIA_MANIFEST,
            digest: image.manifest,
            size: image.manifest_size,
            platform: Some(platform.clone()),
            blobs: image.blobs(),
        }
    }

    /// The index that [`write_index`] wrote of these images.
    pub fn index(store: &Store, name: &str, index: &Digest, images: &[(Platform, Image)]) -> Result<Self> {
        let size = store.size(index).context(|| format!("the store has no index {index}"))?;
        let mut blobs: BTreeMap<Digest, u64> = images.iter().flat_map(|(_, image)| image.blobs()).collect();
        blobs.insert(*index, size);
        Ok(Self { name: name.to_owned(), media_type: MEDIA_INDEX, digest: *index, size, platform: None, blobs })
    }

    pub(super) fn descriptor(&self) -> Descriptor<'_> {
        let name = ("org.opencontainers.image.ref.name".to_owned(), self.name.clone());
        Descriptor {
            media_type: self.media_type,
            digest: self.digest.oci(),
            size: self.size,
            platform: self.platform.as_ref(),
            annotations: [name].into(),
        }
    }
}

/// The file `index.json` of a layout with these descriptors.
pub(super) fn layout_index(manifests: &[serde_json::Value]) -> Result<Vec<u8>> {
    canonical::to_vec(&serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MEDIA_INDEX,
        "manifests": manifests,
    }))
}
