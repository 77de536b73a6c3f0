//! `kiln store`: what the store holds, and where artifacts come from.

use std::collections::BTreeSet;

use serde::Serialize;

use super::arguments::{StoreArguments, StoreCommand};
use super::context::Context;
use super::output::{bytes, count};
use crate::ecosystem::origin::Place;
use crate::error::{Error, Result};
use crate::workspace::{self, Workspace};

#[derive(Serialize)]
struct Origin {
    origin: String,
    /// None if no address is known.
    address: Option<String>,
    learnt: Option<String>,
}

#[derive(Serialize)]
struct Verified {
    /// How many are good.
    files: usize,
    corrupt: Vec<String>,
}

pub fn run(context: &Context, arguments: &StoreArguments) -> Result<u8> {
    match arguments.command {
        StoreCommand::Path => {
            context.report("path", &context.store_path, || vec![context.store_path.display().to_string()])?
        }
        StoreCommand::Usage => {
            let usage = context.store()?.usage()?;
            context.report("usage", &usage, || {
                usage
                    .iter()
                    .map(|row| format!("{:<14} {:>8} files {:>12}", row.kind, row.files, bytes(row.bytes)))
                    .collect()
            })?;
        }
        StoreCommand::Origins => origins(context)?,
        StoreCommand::Verify => return verify(context),
    }
    Ok(0)
}

fn origins(context: &Context) -> Result<()> {
    let workspace = context.workspace().ok();
    let sources = context.sources(workspace.as_ref())?;
    let client = context.client(&sources)?;
    let mut rows = Vec::new();
    let languages = context.language_origins(workspace.as_ref())?;
    for (origin, places) in [("npm", languages.npm()), ("pypi", languages.pypi("pypi"))] {
        // That nobody knows an address is no mistake here.
        rows.extend(of_language(origin, places.unwrap_or_default()));
    }
    for origin in names(context, workspace.as_ref()) {
        let mut places = sources.places(&origin, &client)?;
        places.extend(sources.snapshot(&origin, context.now)?);
        if places.is_empty() {
            rows.push(Origin { origin: origin.clone(), address: None, learnt: None });
        }
        rows.extend(places.into_iter().map(|place| Origin {
            origin: origin.clone(),
            address: Some(place.address.to_string()),
            learnt: Some(place.learnt),
        }));
    }
    rows.sort_by(|one, other| one.origin.cmp(&other.origin));
    let width = rows.iter().map(|row| row.origin.len()).max().unwrap_or(0);
    context.report("origins", &rows, || {
        rows.iter()
            .map(|row| match (&row.address, &row.learnt) {
                (Some(address), Some(learnt)) => format!("{:<width$}  {address}  ({learnt})", row.origin),
                _ => format!("{:<width$}  no address is known", row.origin),
            })
            .collect()
    })
}

/// The rows of an origin of a language's packages.
fn of_language(origin: &str, places: Vec<Place>) -> Vec<Origin> {
    let row = |address: Option<String>, learnt: Option<String>| Origin { origin: origin.to_owned(), address, learnt };
    if places.is_empty() {
        return vec![row(None, None)];
    }
    places.into_iter().map(|place| row(Some(place.address.to_string()), Some(place.learnt))).collect()
}

/// Debian's own origins, those that an address is set for, and those that definitions use.
fn names(context: &Context, workspace: Option<&Workspace>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["debian", "debian-security"].map(str::to_owned).into();
    names.extend(context.origins().map(str::to_owned));
    if let Some(workspace) = workspace {
        names.extend(workspace.origins.keys().cloned());
        for environment in workspace.environments().unwrap_or_default() {
            // A definition with a mistake in it says so where it is used.
            let Ok(settings) = workspace::load(workspace, &environment) else { continue };
            names.extend(settings.debian.suites.into_iter().map(|suite| suite.origin));
            names.extend(settings.debian.source.into_iter().map(|source| source.origin));
        }
    }
    // Where it is shows with the origins that it stands in for.
    names.remove("snapshot");
    for language in ["npm", "pypi"] {
        names.remove(language);
    }
    names
}

fn verify(context: &Context) -> Result<u8> {
    let store = context.store()?;
    context.progress.start("Verifying", None, false);
    let result = store.verify();
    context.progress.end("Verifying");
    let (files, corrupt) = result?;
    let report = Verified { files, corrupt };
    context.report("verify", &report, || vec![format!("Good: {}", count(files, "file"))])?;
    if report.corrupt.is_empty() {
        return Ok(0);
    }
    let corrupt = count(report.corrupt.len(), "corrupt file");
    Err(Error::no(format!("the store at {} had {corrupt}, set aside now", context.store_path.display()))
        .detail(report.corrupt.join("\n"))
        .hint("the next `kiln build` fetches or makes them anew"))
}
