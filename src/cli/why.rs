//! `kiln why`: why a package is in an environment.

use std::collections::BTreeSet;

use serde::Serialize;

use super::arguments::Why;
use super::context::Context;
use super::diff::words::plain;
use super::lock::locked;
use super::tree::unknown;
use crate::error::Result;
use crate::lock::Lockfile;
use crate::lock::needs::{Id, Needs};

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
    let lockfile = locked(&workspace, &arguments.environment)?;
    let found = reasons(&lockfile, &arguments.what)?;
    context.report("why", &found, || found.iter().flat_map(|one| lines(&arguments.environment, one)).collect())?;
    Ok(0)
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
