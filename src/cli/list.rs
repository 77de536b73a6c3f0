//! `kiln list`: what environments are made of.

use std::collections::BTreeSet;

use serde::Serialize;

use super::arguments::List;
use super::context::Context;
use super::diff::words::plain;
use super::lock::locked;
use super::output::bytes;
use crate::error::Result;
use crate::lock::{Artifact, Package, Scripts};
use crate::workspace::Platform;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    environment: String,
    ecosystem: String,
    name: String,
    version: String,
    source: String,
    source_version: String,
    origin: String,
    base: bool,
    requested: bool,
    /// The packages that it is only there to build: it is not in the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    build_for: Vec<String>,
    platforms: Vec<&'static str>,
    /// Bytes of the artifact, the largest of all platforms'; 0 while it is not known.
    size: u64,
    /// What its copyright file names, on any platform; none while it has not been looked into.
    licences: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scripts: Option<Scripts>,
}

pub fn run(context: &Context, arguments: &List) -> Result<u8> {
    let workspace = context.workspace()?;
    let platform = arguments.platform.as_deref().map(str::parse::<Platform>).transpose()?;
    let mut rows = Vec::new();
    for environment in workspace.select(&arguments.environments)? {
        for package in locked(&workspace, &environment)?.packages {
            let row = row(&environment, package, platform);
            rows.extend(row.filter(|row| is_wanted(row, arguments)));
        }
    }
    context.report("list", &rows, || lines(&rows))?;
    Ok(0)
}

/// A package as it is listed; nothing if it is not there on the platform that is asked for.
fn row(environment: &str, package: Package, platform: Option<Platform>) -> Option<Row> {
    let on = |artifacts: &Platform| platform.is_none_or(|platform| platform == *artifacts);
    let artifacts: Vec<(&Platform, &Artifact)> =
        package.artifacts.iter().filter(|(platform, _)| on(platform)).collect();
    if artifacts.is_empty() {
        return None;
    }
    let of_all = || artifacts.iter().map(|(_, artifact)| *artifact);
    Some(Row {
        environment: environment.to_owned(),
        base: package.base,
        // What builds others is asked for by these, and not by the definition.
        requested: package.requested.is_some() && package.build_for.is_empty(),
        build_for: package.build_for,
        platforms: artifacts.iter().map(|(platform, _)| platform.name()).collect(),
        size: of_all().map(|artifact| artifact.size).max().unwrap_or(0),
        licences: of_all().flat_map(|artifact| artifact.licences.iter().cloned()).collect(),
        scripts: of_all().filter_map(|artifact| artifact.scripts).max(),
        ecosystem: package.ecosystem,
        name: package.name,
        version: package.version,
        source: package.source,
        source_version: package.source_version,
        origin: package.origin,
    })
}

fn is_wanted(row: &Row, arguments: &List) -> bool {
    let licence = |text: &String| {
        let text = text.to_lowercase();
        row.licences.iter().any(|licence| licence.to_lowercase().contains(&text))
    };
    (!arguments.requested || row.requested)
        && (arguments.ecosystems.is_empty() || arguments.ecosystems.contains(&row.ecosystem))
        && (!arguments.scripts || row.scripts == Some(Scripts::Sandbox))
        && arguments.licence.as_ref().is_none_or(licence)
}

fn lines(rows: &[Row]) -> Vec<String> {
    let cells = |row: &Row| {
        let size = if row.size == 0 { String::new() } else { bytes(row.size) };
        [
            row.environment.clone(),
            row.ecosystem.clone(),
            plain(&row.name),
            plain(&row.version),
            size,
            plain(&row.origin),
        ]
    };
    let cells: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let width = |column: usize| cells.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
    let [environment, ecosystem, name, version, size, origin] = std::array::from_fn(width);
    let line = |(row, cells): (&Row, &[String; 6])| {
        let mark = if row.requested { '*' } else { '.' };
        let tool = match row.build_for.as_slice() {
            [] => String::new(),
            built => format!("(to build {}) ", plain(&built.join(", "))),
        };
        let licences = plain(&row.licences.iter().cloned().collect::<Vec<_>>().join(", "));
        let line = format!(
            "{:environment$} {mark} {:ecosystem$}  {:name$}  {:version$}  {:>size$}  {:origin$}  {tool}{licences}",
            cells[0], cells[1], cells[2], cells[3], cells[4], cells[5],
        );
        line.trim_end().to_owned()
    };
    rows.iter().zip(&cells).map(line).collect()
}
