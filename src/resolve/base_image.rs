//! `[base] image`: which image of a registry, or of a layout in the workspace, its name stands for, per platform.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Moving, Resolver, of};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::image::read::{self, Document};
use crate::image::{Platform as OciPlatform, layout};
use crate::lock::{Artifact, Blob, Lockfile, Package};
use crate::net::{Download, Request};
use crate::registry::{Reference, Registry};
use crate::workspace::{LAYOUT, Platform, Settings};

pub(super) const ECOSYSTEM: &str = "image";

/// The largest configuration of an image that is taken, in bytes.
const LARGEST_CONFIG: u64 = 8 << 20;

/// Where an image is.
#[derive(Debug)]
pub(super) enum Place<'a> {
    Registry(&'a Registry<'a>, Reference),
    /// A folder, and the name in it.
    Layout(PathBuf, Option<String>),
}

impl<'a> Place<'a> {
    /// Reads `REGISTRY/NAME:TAG`, or `oci:FOLDER[:NAME]` below `root`.
    pub(super) fn parse(registry: &'a Registry<'a>, root: &std::path::Path, text: &str) -> Result<Self> {
        let Some(path) = text.strip_prefix(LAYOUT) else {
            return Ok(Self::Registry(registry, Reference::parse(text)?));
        };
        let (folder, name) = path.split_once(':').map_or((path, None), |(folder, name)| (folder, Some(name)));
        Ok(Self::Layout(root.join(folder), name.map(str::to_owned)))
    }

    /// The document that the name stands for.
    fn document(&self) -> Result<Vec<u8>> {
        match self {
            Self::Registry(registry, reference) => Ok(registry.manifest(reference)?.bytes),
            Self::Layout(folder, name) => {
                let digest = layout::named(folder, name.as_deref())?;
                layout::blob(folder, &digest, read::LARGEST)
            }
        }
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        match self {
            Self::Registry(registry, reference) => Ok(registry.manifest(&reference.with_digest(*digest))?.bytes),
            Self::Layout(folder, _) => layout::blob(folder, digest, read::LARGEST),
        }
    }

    /// How to get one of the image's blobs of at most `maximum` bytes; `manifest` says whether it is its manifest.
    pub(super) fn request(&self, digest: &Digest, manifest: bool, maximum: u64) -> Result<Request> {
        match self {
            Self::Registry(registry, reference) if manifest => registry.document(reference, digest),
            Self::Registry(registry, reference) => registry.blob(reference, digest, maximum),
            Self::Layout(folder, _) => {
                let path = folder.join("blobs/sha256").join(digest.to_string());
                let address = url::Url::from_file_path(&path)
                    .map_err(|()| Error::new(format!("{} is no absolute path", path.display())))?;
                Request::new(address.as_str(), maximum)
            }
        }
    }
}

impl Resolver<'_> {
    /// The row of the image that `settings` stand on. A pin stays until it is to move, or another image is named.
    pub(super) fn base_image(
        &self,
        settings: &Settings,
        old: Option<&Lockfile>,
        moving: &Moving,
    ) -> Result<Vec<Package>> {
        let Some(base) = &settings.base else { return Ok(Vec::new()) };
        let known = old.map(|old| of(old, ECOSYSTEM)).unwrap_or_default();
        let fits = |package: &Package| {
            package.requested.as_deref() == Some(base.image.as_str())
                && settings.platforms.iter().all(|platform| package.artifacts.contains_key(platform))
        };
        let moves = |package: &Package| match moving {
            Moving::Nothing | Moving::Precise { .. } => false,
            Moving::Named(names) => names.contains(&package.name) || names.contains(ECOSYSTEM),
            Moving::Everything => true,
        };
        if known.iter().any(|package| fits(package) && !moves(package)) {
            let mut known = known;
            for package in &mut known {
                package.artifacts.retain(|platform, _| settings.platforms.contains(platform));
            }
            return Ok(known);
        }
        let what = || format!("looking for the base image `{}`", base.image);
        let place = Place::parse(self.registry, self.root, &base.image).context(what)?;
        self.image(settings, &base.image, &place).context(what).map(|package| vec![package])
    }

    fn image(&self, settings: &Settings, text: &str, place: &Place<'_>) -> Result<Package> {
        let document = place.document()?;
        let whole = Digest::of(&document);
        let images = match read::document(&document)? {
            Document::Manifest(_) => None,
            Document::Index(images) => Some(images),
        };
        let mut artifacts = BTreeMap::new();
        for &platform in &settings.platforms {
            let manifest = match &images {
                None => document.clone(),
                Some(images) => {
                    let (_, digest, _) =
                        images.iter().find(|(other, ..)| is_same(other, platform)).ok_or_else(|| {
                            let known: Vec<String> = images.iter().map(|(platform, ..)| platform.to_string()).collect();
                            Error::no(format!("it has no image for {platform}"))
                                .hint(format!("it has some for {}", known.join(", ")))
                        })?;
                    place.manifest(digest)?
                }
            };
            artifacts.insert(platform, self.pinned(place, platform, &manifest)?);
        }
        let (name, origin) = match place {
            Place::Registry(_, reference) => (reference.name(), reference.registry.clone()),
            Place::Layout(..) => (text.to_owned(), super::LOCAL.to_owned()),
        };
        Ok(Package {
            ecosystem: ECOSYSTEM.to_owned(),
            source: name.clone(),
            name,
            version: whole.to_string()[..12].to_owned(),
            source_version: whole.oci(),
            origin,
            base: false,
            requested: Some(text.to_owned()),
            required_by: Vec::new(),
            build_for: Vec::new(),
            artifacts,
        })
    }

    /// What one image's manifest names; manifest and configuration are in the store afterwards.
    fn pinned(&self, place: &Place<'_>, platform: Platform, manifest: &[u8]) -> Result<Artifact> {
        let Document::Manifest(image) = read::document(manifest)? else {
            return Err(Error::new("an index of indexes is not supported"));
        };
        let digest = self.store.put(manifest)?;
        if image.config_size > LARGEST_CONFIG {
            return Err(Error::new(format!("its configuration has {} bytes", image.config_size)));
        }
        let download = Download {
            label: "the configuration of the base image".to_owned(),
            digest: image.config,
            size: Some(image.config_size),
            candidates: vec![place.request(&image.config, false, image.config_size)?],
        };
        self.client.download_all(self.store, &[download], &|_| {}, &|_| {})?;
        let configuration = read::configuration(&self.store.read(&image.config)?, image.layers.len())?;
        if !is_same(&configuration.platform, platform) {
            return Err(Error::no(format!("it is an image for {}, not for {platform}", configuration.platform))
                .kind(Kind::No)
                .hint("`platforms` in the definition says what is wanted"));
        }
        let mut blobs = vec![Blob { sha256: image.config, size: image.config_size }];
        blobs.extend(image.layers.iter().map(|layer| Blob { sha256: layer.digest, size: layer.size }));
        let architecture = platform.architecture().to_owned();
        let size = manifest.len() as u64;
        Ok(Artifact { size, architecture, blobs, ..Artifact::new(&digest.oci(), digest) })
    }
}

/// Whether an image for `found` is one for `platform`. A variant that a platform does not name may be any.
fn is_same(found: &OciPlatform, platform: Platform) -> bool {
    found.os == "linux"
        && found.architecture == platform.architecture()
        && platform.variant().is_none_or(|variant| found.variant.as_deref() == Some(variant))
}
