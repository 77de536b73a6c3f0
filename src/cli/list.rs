//! `kiln list`: what environments are made of.

use serde::Serialize;

use super::arguments::List;
use super::context::Context;
use super::lock::read_lockfile;
use crate::error::{Error, Result};
use crate::lock::Scripts;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    environment: String,
    ecosystem: String,
    name: String,
    version: String,
    source: String,
    origin: String,
    base: bool,
    requested: bool,
    platforms: Vec<&'static str>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scripts: Option<Scripts>,
}

pub fn run(context: &Context, arguments: &List) -> Result<u8> {
    let workspace = context.workspace()?;
    let mut rows = Vec::new();
    for environment in workspace.select(&arguments.environments)? {
        let lockfile = read_lockfile(&workspace, &environment)?.ok_or_else(|| {
            Error::no(format!("`{environment}` is not locked")).hint(format!("run `kiln lock {environment}`"))
        })?;
        for package in lockfile.packages {
            if arguments.requested && package.requested.is_none() {
                continue;
            }
            rows.push(Row {
                environment: environment.clone(),
                ecosystem: package.ecosystem,
                name: package.name,
                version: package.version,
                source: package.source,
                origin: package.origin,
                base: package.base,
                requested: package.requested.is_some(),
                platforms: package.artifacts.keys().map(|platform| platform.name()).collect(),
                size: package.artifacts.values().map(|artifact| artifact.size).max().unwrap_or(0),
                scripts: package.artifacts.values().filter_map(|artifact| artifact.scripts).max(),
            });
        }
    }
    context.report("list", &rows, || {
        let name = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let version = rows.iter().map(|row| row.version.len()).max().unwrap_or(0);
        rows.iter()
            .map(|row| {
                let mark = if row.requested { '*' } else { '.' };
                format!("{} {mark} {:name$}  {:version$}  {}", row.environment, row.name, row.version, row.origin)
            })
            .collect()
    })?;
    Ok(0)
}
