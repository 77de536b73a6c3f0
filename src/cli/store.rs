//! `kiln store`: what the store holds, and where artifacts come from.

use serde::Serialize;

use super::arguments::{StoreArguments, StoreCommand};
use super::context::Context;
use super::output::bytes;
use crate::error::{Error, Kind, Result};

#[derive(Serialize)]
struct Origin {
    origin: String,
    address: String,
    learnt: String,
}

#[derive(Serialize)]
struct Verified {
    blobs: usize,
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
                    .map(|row| format!("{:<10} {:>8} files {:>12}", row.kind, row.files, bytes(row.bytes)))
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
    let mut names = vec!["debian".to_owned(), "debian-security".to_owned()];
    names.extend(workspace.iter().flat_map(|workspace| workspace.origins.keys().cloned()));
    names.sort();
    names.dedup();
    let mut rows = Vec::new();
    for origin in names {
        let mut places = sources.places(&origin, &client)?;
        places.extend(sources.snapshot(&origin, context.now)?);
        rows.extend(places.into_iter().map(|place| Origin {
            origin: origin.clone(),
            address: place.address.to_string(),
            learnt: place.learnt,
        }));
    }
    context.report("origins", &rows, || {
        rows.iter().map(|row| format!("{:<16} {}  ({})", row.origin, row.address, row.learnt)).collect()
    })
}

fn verify(context: &Context) -> Result<u8> {
    let store = context.store()?;
    context.progress.start("Verifying", None, false);
    let result = store.verify();
    context.progress.end("Verifying");
    let (blobs, corrupt) = result?;
    let report = Verified { blobs, corrupt: corrupt.iter().map(ToString::to_string).collect() };
    context.report("verify", &report, || vec![format!("{blobs} files are what their names say")])?;
    if corrupt.is_empty() {
        return Ok(0);
    }
    Err(Error::no(format!("{} files of the store were corrupt and have been set aside", corrupt.len()))
        .detail(report.corrupt.join("\n"))
        .kind(Kind::No)
        .hint("the next `kiln build` fetches or makes them anew"))
}
