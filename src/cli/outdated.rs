//! `kiln outdated`: what `kiln update` would move, and what the definition's own words hold back.

use std::collections::BTreeMap;

use serde::Serialize;

use super::arguments::Outdated;
use super::context::Context;
use super::diff::words::plain;
use super::lock::{Comparison, Ground, compare};
use super::output::count;
use crate::error::{Error, Result};
use crate::lock::Lockfile;
use crate::lock::diff::{Class, Diff};
use crate::resolve::Moving;
use crate::workspace::{Platform, Settings};

/// A package that could be another version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    environment: String,
    ecosystem: String,
    name: String,
    locked: String,
    /// What `kiln update` would move it to; nothing if it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    update: Option<String>,
    /// What there is, whatever the definition says.
    available: String,
    /// The definition's words that do not take what is available.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_back_by: Option<String>,
    /// Where it is so, if not on all platforms.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platforms: Vec<Platform>,
}

pub fn run(context: &Context, arguments: &Outdated) -> Result<u8> {
    let workspace = context.workspace()?;
    let names = workspace.select(&arguments.environments)?;
    let mut compared = Vec::new();
    for name in &names {
        let Comparison { settings, lockfile, .. } = compare(&workspace, name, None)?;
        let lockfile = lockfile
            .ok_or_else(|| Error::no(format!("`{name}` is not locked")).hint(format!("run `kiln lock {name}`")))?;
        compared.push((name, settings, lockfile));
    }
    let ground = Ground::new(context, &workspace)?;
    let registry = ground.registry(context);
    let resolver = ground.resolver(context, &workspace, &registry)?;
    let mut rows = Vec::new();
    for (name, settings, old) in &compared {
        let resolve = |settings: &Settings| {
            context.progress.start(&format!("Resolving {name}"), None, false);
            let resolved = resolver.lock(name, settings, Some(old), &Moving::Everything, false);
            context.progress.end(&format!("Resolving {name}"));
            resolved
        };
        let updated = resolve(settings)?;
        let loose = loosened(settings);
        let free = if loose == *settings { None } else { Some(resolve(&loose)) };
        let free = match free {
            Some(Ok(free)) => Some(free),
            Some(Err(error)) => {
                context.say(&format!("{name}: not known what its definition holds back: {error}"));
                None
            }
            None => None,
        };
        rows.extend(outdated(name, old, &updated, free.as_ref()));
    }
    context.report("outdated", &rows, || lines(&rows))?;
    if rows.is_empty() {
        context.say(&format!("Nothing is outdated in {}", count(names.len(), "environment")));
    }
    Ok(u8::from(arguments.exit_code && rows.iter().any(|row| row.update.is_some())))
}

/// The rows of one environment: what moves, and what could if the definition's words were others.
fn outdated(environment: &str, old: &Lockfile, updated: &Lockfile, free: Option<&Lockfile>) -> Vec<Row> {
    let mut rows = moves(environment, old, updated);
    for (key, mut row) in free.map(|free| moves(environment, old, free)).unwrap_or_default() {
        let words = words(old, &row).filter(|_| rows.get(&key).is_none_or(|known| known.available != row.available));
        let Some(words) = words else { continue };
        row.update = rows.get(&key).and_then(|known| known.update.clone());
        row.held_back_by = Some(words);
        rows.insert(key, row);
    }
    rows.into_values().collect()
}

/// Ecosystem, name, locked version, and where.
type Key = (String, String, String, Vec<Platform>);

/// The packages that are at other versions, or other bytes, in `new`.
fn moves(environment: &str, old: &Lockfile, new: &Lockfile) -> BTreeMap<Key, Row> {
    let moved = [Class::Upgraded, Class::Downgraded, Class::Version, Class::Rebuilt];
    let mut rows = BTreeMap::new();
    for change in Diff::between(old, new).packages {
        let (Some(before), Some(after)) = (change.old, change.new) else { continue };
        if !moved.iter().any(|class| change.classes.contains(class)) {
            continue;
        }
        let key = (before.ecosystem.clone(), before.name.clone(), before.version.clone(), change.platforms.clone());
        let row = Row {
            environment: environment.to_owned(),
            ecosystem: before.ecosystem,
            name: before.name,
            locked: before.version,
            update: Some(after.version.clone()),
            available: after.version,
            held_back_by: None,
            platforms: change.platforms,
        };
        rows.insert(key, row);
    }
    rows
}

/// The definition's words for a package, as its lock has them.
fn words(lockfile: &Lockfile, row: &Row) -> Option<String> {
    let named = |package: &&crate::lock::Package| package.ecosystem == row.ecosystem && package.name == row.name;
    lockfile.packages.iter().filter(named).find_map(|package| package.requested.clone())
}

/// The same definition without the versions that it names. What another tool has pinned stays as it is.
fn loosened(settings: &Settings) -> Settings {
    let mut loose = settings.clone();
    for words in &mut loose.debian.packages {
        *words = words.split('|').map(|name| without_version(name.trim())).collect::<Vec<_>>().join(" | ");
    }
    if let Some(python) = loose.python.as_mut().filter(|python| python.lock.is_none() && python.hashes.is_empty()) {
        python.constraints.clear();
        python.packages.iter_mut().for_each(|words| *words = without_specifiers(words));
    }
    if let Some(npm) = loose.npm.as_mut().filter(|npm| npm.lock.is_none()) {
        npm.dependencies.values_mut().for_each(|range| *range = latest(range));
    }
    loose
}

/// apt's `name=version` without the version.
fn without_version(words: &str) -> &str {
    words.split('=').next().unwrap_or(words)
}

/// `name[extras]>=1 ; marker` (PEP 508) without the versions; an address stays.
fn without_specifiers(words: &str) -> String {
    let (requirement, marker) = words.split_once(';').map_or((words, None), |(words, marker)| (words, Some(marker)));
    if requirement.contains('@') {
        return words.to_owned();
    }
    let end = requirement.find(['=', '<', '>', '!', '~', '(']).unwrap_or(requirement.len());
    let name = requirement[..end].trim();
    marker.map_or_else(|| name.to_owned(), |marker| format!("{name} ; {}", marker.trim()))
}

/// npm's newest, of an alias as well; tags stay.
fn latest(range: &str) -> String {
    if let Some(alias) = range.strip_prefix("npm:") {
        let name = alias.rfind('@').filter(|at| *at > 0).map_or(alias, |at| &alias[..at]);
        return format!("npm:{name}@latest");
    }
    let version = |c: char| c.is_ascii_digit() || "^~<>=*xX".contains(c);
    if range.trim().is_empty() || range.trim().starts_with(version) { "latest".to_owned() } else { range.to_owned() }
}

fn lines(rows: &[Row]) -> Vec<String> {
    let cells: Vec<[String; 4]> = rows
        .iter()
        .map(|row| {
            let moved = row.update.as_ref().map_or_else(|| row.locked.clone(), |to| format!("{} -> {to}", row.locked));
            [row.environment.clone(), row.ecosystem.clone(), plain(&row.name), plain(&moved)]
        })
        .collect();
    let [environment, ecosystem, name, moved] = std::array::from_fn(|column| {
        cells.iter().map(|cells: &[String; 4]| cells[column].chars().count()).max().unwrap_or(0)
    });
    let line = |(row, cells): (&Row, &[String; 4])| {
        let held = row
            .held_back_by
            .as_ref()
            .map(|words| format!("  {} is available; held back by `{}`", plain(&row.available), plain(words)));
        let on: Vec<&str> = row.platforms.iter().map(|platform| platform.name()).collect();
        let on = if on.is_empty() { String::new() } else { format!("  {}", on.join(", ")) };
        let line = format!(
            "{:environment$}  {:ecosystem$}  {:name$}  {:moved$}{}{on}",
            cells[0],
            cells[1],
            cells[2],
            cells[3],
            held.unwrap_or_default()
        );
        line.trim_end().to_owned()
    };
    rows.iter().zip(&cells).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{latest, without_specifiers, without_version};

    #[test]
    fn versions_are_left_out_and_nothing_else() {
        assert_eq!(without_version("redis-server=5:8.0"), "redis-server");
        assert_eq!(without_version("nginx/trixie-backports"), "nginx/trixie-backports");
        for (words, expected) in [
            ("flask>=3,<4", "flask"),
            ("celery[redis] ~= 5.0", "celery[redis]"),
            ("a (>=1) ; python_version >= '3'", "a ; python_version >= '3'"),
            ("a @ https://example.org/a.whl", "a @ https://example.org/a.whl"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_specifiers(words), expected);
        }
        for (range, expected) in [
            ("^5", "latest"),
            ("", "latest"),
            ("next", "next"),
            ("npm:@a/b@1", "npm:@a/b@latest"),
            ("npm:a", "npm:a@latest"),
        ] {
            assert_eq!(latest(range), expected);
        }
    }
}
