//! `kiln update`: moving pins.

use std::collections::BTreeSet;

use super::arguments::Update;
use super::context::Context;
use super::lock::{read_lockfile, relock};
use crate::error::{Error, Result};
use crate::resolve::Moving;
use crate::workspace::nearest;

pub fn run(context: &Context, arguments: &Update) -> Result<u8> {
    let workspace = context.workspace()?;
    let mut names = workspace.select(&arguments.environments)?;
    let asked: Vec<String> = arguments.packages.iter().map(|package| plain(package).to_owned()).collect();
    let moving = match (&arguments.precise, asked.as_slice()) {
        (None, []) => Moving::Everything,
        (None, packages) => Moving::Named(packages.iter().cloned().collect()),
        (Some(version), [package]) => Moving::Precise { package: package.clone(), version: version.clone() },
        (Some(_), _) => {
            return Err(Error::new("`--precise` moves exactly one package")
                .hint("for example: `kiln update openssl --precise 3.5.1-1`"));
        }
    };
    if !asked.is_empty() {
        let mut known = BTreeSet::new();
        let mut holding = Vec::new();
        for name in names {
            let lockfile = read_lockfile(&workspace, &name)?
                .ok_or_else(|| Error::no(format!("`{name}` is not locked")).hint(format!("run `kiln lock {name}`")))?;
            let packages: BTreeSet<String> = lockfile.packages.into_iter().map(|package| package.name).collect();
            if asked.iter().any(|package| packages.contains(package)) {
                holding.push(name);
            }
            known.extend(packages);
        }
        if let Some(unknown) = asked.iter().find(|package| !known.contains(*package)) {
            let error = Error::no(format!("no lock holds a package `{unknown}`"));
            return Err(match nearest(unknown, known.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`kiln list` lists all packages"),
            });
        }
        names = holding;
    }
    relock(context, &workspace, &names, &moving, arguments.dry_run)
}

/// The name without its ecosystem, as the changes of a lock have it before names: `pypi:flask`.
fn plain(package: &str) -> &str {
    match package.split_once(':') {
        Some(("debian" | "npm" | "pypi", name)) => name,
        _ => package,
    }
}
