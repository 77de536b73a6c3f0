//! `kiln fetch`: every locked artifact, for later `--offline`.

use serde::Serialize;

use super::arguments::Fetch;
use super::build::require_locked;
use super::context::Context;
use super::kitchen::Kitchen;
use crate::bake;
use crate::error::{Context as _, Result};
use crate::lock::PlatformLock;
use crate::workspace::Platform;

#[derive(Serialize)]
struct Fetched {
    environment: String,
    platform: String,
    fetched: usize,
    artifacts: usize,
}

pub fn run(context: &Context, arguments: &Fetch) -> Result<u8> {
    let workspace = context.workspace()?;
    let kitchen = Kitchen::new(context, &workspace)?;
    let asked = arguments.platforms.iter().map(|platform| platform.parse()).collect::<Result<Vec<Platform>>>()?;
    let mut rows = Vec::new();
    for name in workspace.select(&arguments.environments)? {
        let lockfile = kitchen.lockfile(&name)?;
        require_locked(&name, &lockfile, &asked)?;
        let platforms = if asked.is_empty() { &lockfile.environment.platforms } else { &asked };
        for platform in platforms {
            let lock = PlatformLock::of(&name, &lockfile, *platform);
            let fetched = kitchen
                .with_bakery(&name, &lockfile, |bakery| bake::fetch(bakery, &lockfile, &lock))
                .context(|| format!("fetching `{name}` for {platform}"))?;
            rows.push(Fetched {
                environment: name.clone(),
                platform: platform.to_string(),
                fetched,
                artifacts: lock.packages.len(),
            });
        }
    }
    context.report("fetch", &rows, || {
        rows.iter()
            .map(|row| {
                format!("{} {} {} fetched, {} in all", row.environment, row.platform, row.fetched, row.artifacts)
            })
            .collect()
    })?;
    Ok(0)
}
