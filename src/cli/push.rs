//! `kiln push`: a baked image into a registry, by digest.

use std::time::Instant;

use serde::Serialize;

use super::arguments::Push;
use super::context::Context;
use super::kitchen::Kitchen;
use super::output::{bytes, count};
use super::pins;
use crate::bake;
use crate::digest::Digest;
use crate::error::{Context as _, Error, Kind, Result};
use crate::image::{MEDIA_INDEX, MEDIA_MANIFEST, Pushed, push};
use crate::lock::{Lockfile, Output};
use crate::registry::{Reference, Registry};
use crate::workspace::{Platform, Workspace};

/// What was pushed.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    environment: String,
    /// `REGISTRY/REPOSITORY@sha256:…`.
    reference: String,
    tag: String,
    digest: String,
    /// What the tag stood for before.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    platforms: Vec<Platform>,
    blobs: Pushed,
}

pub fn run(context: &Context, arguments: &Push) -> Result<u8> {
    let workspace = context.workspace()?;
    let name = &workspace.select(std::slice::from_ref(&arguments.environment))?[0];
    let reference = reference(&workspace, name, arguments)?;
    let kitchen = Kitchen::new(context, &workspace)?;
    let lockfile = kitchen.lockfile(name)?;
    let started = Instant::now();
    let report = send(&kitchen, name, &lockfile, &reference, arguments)
        .context(|| format!("pushing `{name}` to {}", reference.name()))?;
    let (sent, rest) = (report.blobs.sent, report.blobs.existing + report.blobs.mounted);
    let summary = format!(
        "Pushed {} ({}), {} there already",
        count(sent, "blob"),
        bytes(report.blobs.bytes),
        if rest == 0 { "none".to_owned() } else { rest.to_string() }
    );
    context.progress.phase(&summary, started);
    if let Some(previous) = &report.previous {
        context.say(&format!("{}:{} moved: {previous} -> {}", reference.name(), report.tag, report.digest));
    }
    let line = report.reference.clone();
    context.report("push", &report, || vec![line])?;
    Ok(0)
}

/// Where it goes: what was typed, or the environment's name in the target's repository.
fn reference(workspace: &Workspace, name: &str, arguments: &Push) -> Result<Reference> {
    let text = match (&arguments.reference, &arguments.target) {
        (Some(reference), _) => reference.clone(),
        (None, Some(target)) => {
            let repository = workspace.target(target)?.repository.as_ref().ok_or_else(|| {
                Error::new(format!("the target `{target}` says no place for images"))
                    .hint(format!("`repository = \"registry.example/team\"` in `[targets.{target}]` of kiln.toml does"))
            })?;
            format!("{repository}/{name}")
        }
        (None, None) => {
            return Err(Error::new("it is not said where to push to").hint(format!(
                "`kiln push {name} REGISTRY/REPOSITORY[:TAG]`, or `--target NAME` with a `repository` in kiln.toml"
            )));
        }
    };
    let reference = Reference::parse(&text)?;
    match reference.digest {
        Some(_) => Err(Error::new(format!("`{text}` is the name of an image by its digest"))
            .hint("an image is pushed to a repository and a tag; which digest it has is not to be chosen")),
        None => Ok(reference),
    }
}

fn send(
    kitchen: &Kitchen<'_>,
    name: &str,
    lockfile: &Lockfile,
    reference: &Reference,
    arguments: &Push,
) -> Result<Report> {
    let (context, store) = (kitchen.context, &kitchen.store);
    let asked = arguments.platforms.iter().map(|platform| platform.parse()).collect::<Result<Vec<Platform>>>()?;
    let pinned = pins::valid(name, lockfile)?;
    let wanted: Vec<&Output> =
        pinned.iter().copied().filter(|output| asked.is_empty() || asked.contains(&output.platform)).collect();
    let build = || format!("`kiln build {name}` bakes what is locked, and pins it in the lockfile");
    if wanted.is_empty() {
        return Err(Error::no("no image is pinned for it in the lockfile").hint(build()));
    }
    let registry = context.registry(&kitchen.client);
    let whole = if asked.is_empty() { pins::document(name, lockfile, |_| None)? } else { None };
    let (digest, media_type, document) = match (&whole, wanted.as_slice()) {
        (Some(document), _) => (Digest::of(document), MEDIA_INDEX, Some(document.clone())),
        (None, [one]) => (one.image, MEDIA_MANIFEST, None),
        (None, _) => {
            let all: Vec<&str> = lockfile.environment.platforms.iter().map(|platform| platform.name()).collect();
            return Err(Error::no(format!("not all of its platforms are pinned: {}", all.join(", "))).hint(format!(
                "bake the others where they can be, or push one of them with `--platform {}`",
                wanted[0].platform
            )));
        }
    };
    let tag = reference.tag.clone().unwrap_or_else(|| "latest".to_owned());
    let tagged = Reference { tag: Some(tag.clone()), ..reference.clone() };
    let previous = registry.digest(&tagged)?.filter(|previous| *previous != digest);
    if let Some(previous) = previous.filter(|_| arguments.immutable) {
        return Err(Error::no(format!("{tagged} is {} already, not {}", previous.oci(), digest.oci()))
            .hint("push under another tag, or without `--immutable`"));
    }
    let mut blobs = Pushed::default();
    for output in &wanted {
        blobs += one(kitchen, &registry, &tagged, output, whole.is_some())
            .map_err(|error| if error.what() == Kind::No { error.hint(build()) } else { error })?;
    }
    let document = match document {
        Some(document) => document,
        None => store.read(&digest)?,
    };
    registry.put_manifest(&tagged, media_type, &document, Some(&tag))?;
    Ok(Report {
        environment: name.to_owned(),
        reference: reference.with_digest(digest).to_string(),
        tag,
        digest: digest.oci(),
        previous: previous.map(|previous| previous.oci()),
        platforms: wanted.iter().map(|output| output.platform).collect(),
        blobs,
    })
}

/// Pushes the image of one platform. Of an index's images, some may have been baked and pushed elsewhere.
fn one(
    kitchen: &Kitchen<'_>,
    registry: &Registry<'_>,
    reference: &Reference,
    output: &Output,
    elsewhere: bool,
) -> Result<Pushed> {
    let (context, store) = (kitchen.context, &kitchen.store);
    let baked = bake::cached(store, &output.platform_lock).filter(|baked| baked.image.manifest == output.image);
    let Some(baked) = baked else {
        if elsewhere && registry.digest(&reference.with_digest(output.image))?.is_some() {
            return Ok(Pushed { existing: 1, ..Pushed::default() });
        }
        let message = format!("the image for {} is neither in the store nor in the repository", output.platform);
        return Err(Error::no(message));
    };
    let bar = format!("Pushing {}", output.platform);
    context.progress.start(&bar, Some(baked.size()), true);
    let pushed = push(store, registry, reference, &baked.image, &|bytes| context.progress.advance(&bar, bytes, ""));
    context.progress.end(&bar);
    pushed
}
