//! `kiln why`: why a package is in an environment, and whose a path of its image is.

use std::collections::BTreeSet;

use serde::Serialize;

use super::arguments::Why;
use super::context::Context;
use super::diff::words::plain;
use super::kitchen::Kitchen;
use super::lock::locked;
use super::output::count;
use super::tree::unknown;
use crate::bake::{self, Touch, Trace};
use crate::error::{Context as _, Error, Result};
use crate::lock::needs::{Id, Needs};
use crate::lock::{Artifact, Lockfile, Package, PlatformLock};
use crate::workspace::{Platform, Workspace};

/// The most chains that are shown as text.
const SHOWN: usize = 20;

/// One package of a chain.
#[derive(Debug, Serialize)]
struct Link {
    name: String,
    versions: Vec<String>,
}

/// Why one package is there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Reasons {
    ecosystem: String,
    name: String,
    versions: Vec<String>,
    /// The definition's words that ask for it: another name than its own is one that it provides.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<String>,
    /// Whether it belongs to Debian's Essential set, which the environment stands on.
    base: bool,
    /// The packages that it is only there to build.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    build_for: BTreeSet<String>,
    chains: Vec<Chain>,
}

/// A way from what is asked for to the package.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Chain {
    /// The definition's words that ask for the first; nothing if it belongs to the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<String>,
    links: Vec<Link>,
}

pub fn run(context: &Context, arguments: &Why) -> Result<u8> {
    let workspace = context.workspace()?;
    workspace.select(std::slice::from_ref(&arguments.environment))?;
    if arguments.what.starts_with('/') {
        return path(context, &workspace, arguments);
    }
    let lockfile = locked(&workspace, &arguments.environment)?;
    let found = reasons(&lockfile, &arguments.what)?;
    context.report("why", &found, || found.iter().flat_map(|one| lines(&arguments.environment, one)).collect())?;
    Ok(0)
}

/// Whose a path is, with the artifact that it came in.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Owned {
    environment: String,
    platform: Platform,
    #[serde(flatten)]
    trace: Trace,
    /// The artifact of the package that the path is of, if a package's it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact: Option<Artifact>,
}

/// Says whose a path of the baked image is.
fn path(context: &Context, workspace: &Workspace, arguments: &Why) -> Result<u8> {
    let (name, what) = (&arguments.environment, &arguments.what);
    let kitchen = Kitchen::new(context, workspace)?;
    let lockfile = kitchen.lockfile(name)?;
    let here = Platform::of_this_machine().filter(|platform| lockfile.environment.platforms.contains(platform));
    let platform = here.or(lockfile.environment.platforms.first().copied()).context(|| "no platform is locked")?;
    let lock = PlatformLock::of(name, &lockfile, platform);
    if bake::cached(&kitchen.store, &lock.digest()?).is_none() {
        return Err(Error::no(format!(
            "the image of `{name}` for {platform} is not in the store, so it is not known whose {what} is"
        ))
        .hint(format!("`kiln build {name}` bakes it; then ask again")));
    }
    let trace = kitchen.with_bakery(name, &lockfile, |bakery| bake::trace(bakery, &lockfile, &lock, what))?;
    let Some(last) = trace.touches.first() else {
        return Err(Error::no(format!("the image of `{name}` for {platform} has no {}", plain(&trace.path)))
            .hint("paths are those of the image; what starts a container may add files of its own"));
    };
    let named = |package: &&Package| last.package && format!("{} {}", package.name, package.version) == last.by;
    let artifact = lockfile.packages.iter().filter(named).find_map(|package| package.artifacts.get(&platform)).cloned();
    let owned = Owned { environment: name.clone(), platform, trace, artifact };
    context.report("why", &owned, || owner_lines(what, &owned))?;
    Ok(0)
}

fn owner_lines(asked: &str, owned: &Owned) -> Vec<String> {
    let mut lines = Vec::new();
    if owned.trace.path != *asked {
        lines.push(format!("{} is {}", plain(asked), plain(&owned.trace.path)));
    }
    let shipped = |touch: &&Touch| touch.package && touch.folder;
    let shipping: Vec<String> = owned.trace.touches.iter().filter(shipped).map(|touch| plain(&touch.by)).collect();
    for (index, touch) in owned.trace.touches.iter().filter(|touch| !shipped(touch)).enumerate() {
        let kind = if touch.package { "the package " } else { "" };
        let by = plain(&touch.by);
        let did = touch.left.as_ref().map_or_else(|| "it is removed".to_owned(), |left| plain(left));
        let when = if index == 0 { "" } else { "before that, " };
        lines.push(format!("{when}{did}: by {kind}{by} (layer `{}`)", plain(&touch.layer)));
        if index == 0
            && touch.package
            && let Some(artifact) = &owned.artifact
        {
            lines.push(format!("  from {}, sha256 {}", plain(artifact.file_name()), artifact.sha256));
        }
    }
    if !shipping.is_empty() {
        let more = shipping.len().saturating_sub(SHOWN);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let named = shipping[..shipping.len().min(SHOWN)].join(", ");
        lines.push(format!("a folder of {}: {named}{more}", count(shipping.len(), "package")));
    }
    lines
}

fn reasons(lockfile: &Lockfile, name: &str) -> Result<Vec<Reasons>> {
    let needs = Needs::new(lockfile);
    let found = needs.named(name);
    if found.is_empty() {
        return Err(unknown(name, &needs.iter().map(|((_, name), _)| name.to_owned()).collect()));
    }
    let versions = |id: Id<'_>| -> Vec<String> {
        needs.get(id).map(|node| node.versions().into_iter().map(str::to_owned).collect()).unwrap_or_default()
    };
    let requested = |id: Id<'_>| needs.get(id).and_then(|node| node.requested()).map(str::to_owned);
    let chain = |chain: Vec<Id<'_>>| Chain {
        requested: requested(chain[0]),
        links: chain.iter().map(|id| Link { name: id.1.to_owned(), versions: versions(*id) }).collect(),
    };
    let reasons = |id: Id<'_>| Reasons {
        ecosystem: id.0.to_owned(),
        name: id.1.to_owned(),
        versions: versions(id),
        requested: requested(id),
        base: needs.get(id).is_some_and(|node| node.is_base()),
        build_for: needs
            .get(id)
            .map(|node| node.rows.iter().flat_map(|row| row.build_for.clone()).collect())
            .unwrap_or_default(),
        // That it leads to itself is said otherwise.
        chains: needs.chains(id).into_iter().filter(|chain| chain.len() > 1).map(chain).collect(),
    };
    Ok(found.into_iter().map(reasons).collect())
}

fn lines(environment: &str, found: &Reasons) -> Vec<String> {
    let versions = found.versions.iter().map(|version| plain(version)).collect::<Vec<_>>().join(", ");
    let name = plain(&found.name);
    let mut lines = vec![format!("{}:{name} {versions} is in `{environment}`", plain(&found.ecosystem))];
    if let Some(words) = &found.requested {
        lines.push(format!("  because the definition asks for it: `{}`", plain(words)));
    }
    if found.base {
        lines.push("  because Debian's Essential set, on which the environment stands, has it".to_owned());
    }
    if !found.build_for.is_empty() {
        let built: Vec<String> = found.build_for.iter().map(|name| plain(name)).collect();
        lines.push(format!("  to build {}: that is not in the image", built.join(", ")));
    }
    // What the base is made of holds together by itself.
    let chains: Vec<&Chain> = found.chains.iter().filter(|chain| !found.base || chain.requested.is_some()).collect();
    for chain in chains.iter().take(SHOWN) {
        let links: Vec<String> = chain.links.iter().map(|link| plain(&link.name)).collect();
        let first = match &chain.requested {
            Some(words) if *words != chain.links[0].name => format!(" (asked for as `{}`)", plain(words)),
            Some(_) => String::new(),
            None => " (base)".to_owned(),
        };
        lines.push(format!("  {}{first} -> {}", links[0], links[1..].join(" -> ")));
    }
    if chains.len() > SHOWN {
        lines.push(format!("  and {} more ways: `--format json` has them all", chains.len() - SHOWN));
    }
    if lines.len() == 1 {
        lines.push("  and the lock does not say what needs it".to_owned());
    }
    lines
}
