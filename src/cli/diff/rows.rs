//! The rows of a report for people: what is the same in several environments is one row;
//! how rows become lines or a table is not decided here.

use std::collections::{BTreeMap, BTreeSet};

use super::packages;
use super::report::{Environment, Report, Status};
use super::row::{Row, Section, letter, section};
use super::words::{arrow, delta, is_secret, short, values};
use crate::cli::output::{bytes, count};
use crate::lock::Output;
use crate::lock::diff::{Change, Class, PlacedStep, Setting, step_kind};
use crate::workspace::{Platform, Step};

/// All rows, in their order.
pub fn rows(report: &Report) -> Vec<Row> {
    let several = report.environments.len() > 1;
    let mut found: BTreeMap<Row, BTreeSet<String>> = BTreeMap::new();
    for environment in &report.environments {
        for row in of(environment) {
            found.entry(row).or_default().insert(environment.name.clone());
        }
    }
    let merged = found.into_iter().map(|(mut row, on)| {
        // Where it is said already, or there is but one, it is not said again.
        if several && row.kind != "environment" && !on.contains(&row.kind) {
            row.environments = if on.len() == report.environments.len() {
                vec!["all environments".to_owned()]
            } else {
                on.into_iter().collect()
            };
        }
        row
    });
    merged.collect()
}

fn of(environment: &Environment) -> Vec<Row> {
    let name = environment.name.as_str();
    let Some(diff) = &environment.diff else {
        let letter = if environment.status == Status::Added { 'A' } else { 'R' };
        let mut row = Row::new(Section::Environments, letter, "environment", name);
        row.what = count(environment.locked, "package");
        return vec![row];
    };
    let mut rows = Vec::new();
    for change in &diff.platforms {
        let platform = change.any().map_or("", |platform| platform.name());
        rows.push(Row::new(Section::Environments, letter(change), "platform", platform));
    }
    rows.extend(diff.packages.iter().filter_map(packages::row));
    rows.extend(packages::observed(&diff.packages));
    rows.extend(diff.steps.iter().map(step));
    for change in &diff.files {
        let from = change.any().map_or("", |local| local.from.as_str());
        let mut row = Row::new(section(change, Section::Steps), letter(change), "files", from);
        let files =
            |local: &crate::lock::Local| format!("{}, {}", count(local.files as usize, "file"), short(&local.sha256));
        row.what = arrow(change.old.as_ref().map(files), change.new.as_ref().map(files));
        if let (Some(old), Some(new)) = (&change.old, &change.new) {
            row.size = delta(old.size, new.size);
        }
        rows.push(row);
    }
    rows.extend(diff.settings.iter().map(setting));
    for change in &diff.accounts {
        let Some(account) = change.any() else { continue };
        let mut row = Row::new(section(change, Section::Settings), letter(change), account.kind, &account.name);
        row.what =
            arrow(change.old.as_ref().map(|one| one.id.to_string()), change.new.as_ref().map(|one| one.id.to_string()));
        row.platforms.clone_from(&change.platforms);
        if change.classes.contains(&Class::Renumbered) {
            row.notes.push("another number: volumes are owned by numbers".to_owned());
        }
        rows.push(row);
    }
    rows.extend(diff.indexes.iter().map(index));
    rows.extend(diff.outputs.iter().map(|change| output(name, change)));
    // Which images stay is worth knowing where others do not.
    rows.extend(environment.kept.iter().map(|output| {
        let mut row = image(name, '=', output.platform);
        row.what = format!("unchanged sha256:{}", short(&output.image));
        row
    }));
    rows
}

fn step(change: &Change<PlacedStep>) -> Row {
    let name = |step: &Step| match step {
        Step::Fetch(fetch) => format!("{} to {}", fetch.name(), fetch.to),
        Step::Copy(copy) => format!("{} to {}", copy.from, copy.to),
        Step::Run(run) => run.script.trim().lines().next().unwrap_or_default().to_owned(),
    };
    let kind = change.any().map_or("", |placed| step_kind(&placed.step));
    let shown = change.any().map(|placed| name(&placed.step)).unwrap_or_default();
    let mut row = Row::new(section(change, Section::Steps), letter(change), kind, &shown);
    let (Some(old), Some(new)) = (&change.old, &change.new) else { return row };
    if old.step == new.step {
        row.what = format!("step {} -> step {}", old.index + 1, new.index + 1);
        return row;
    }
    let (before, after) = (serde_json::to_value(&old.step).ok(), serde_json::to_value(&new.step).ok());
    let (Some(before), Some(after)) =
        (before.as_ref().and_then(|step| step.as_object()), after.as_ref().and_then(|step| step.as_object()))
    else {
        return row;
    };
    for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (one, other) = (before.get(key), after.get(key));
        if one == other {
            continue;
        }
        let lines = |step: &Step| if let Step::Run(run) = step { run.script.trim().lines().count() } else { 0 };
        row.notes.push(match key.as_str() {
            "script" => {
                format!("script changed: {} -> {}", count(lines(&old.step), "line"), count(lines(&new.step), "line"))
            }
            _ if is_secret(&format!("{key} {one:?} {other:?}")) && key == "env" => {
                "env changed (values hidden)".to_owned()
            }
            key => format!("{key} {}", values(one, other)),
        });
    }
    row
}

fn setting(change: &Change<Setting>) -> Row {
    let key = change.any().map_or("", |setting| setting.key.as_str());
    let mut row = Row::new(section(change, Section::Settings), letter(change), "setting", key);
    let of = |side: &Option<Setting>| side.as_ref().map(|setting| setting.value.clone());
    row.what = if is_secret(key) {
        "(the value is hidden)".to_owned()
    } else {
        values(of(&change.old).as_ref(), of(&change.new).as_ref())
    };
    row
}

fn index(change: &Change<crate::lock::Evidence>) -> Row {
    let name = change.any().map(|index| format!("{}/{}", index.name, index.suite)).unwrap_or_default();
    let mut row = Row::new(section(change, Section::Beside), letter(change), "index", &name);
    row.what = arrow(change.old.as_ref().map(|one| one.date.clone()), change.new.as_ref().map(|one| one.date.clone()));
    if let (Some(old), Some(new)) = (&change.old, &change.new) {
        if old.keys != new.keys {
            row.notes.push(format!("signed by {}", super::words::members(&old.keys, &new.keys)));
        }
        if old.exceptions != new.exceptions {
            row.notes.push(format!("exceptions {}", super::words::members(&old.exceptions, &new.exceptions)));
        }
    } else if change.classes.contains(&Class::Origin) {
        row.notes.push(
            if change.new.is_some() { "another archive is trusted" } else { "this archive is used no longer" }
                .to_owned(),
        );
    }
    row
}

fn image(environment: &str, letter: char, platform: Platform) -> Row {
    let mut row = Row::new(Section::Images, letter, environment, platform.name());
    row.implied = letter == '=';
    row
}

fn output(environment: &str, change: &Change<Output>) -> Row {
    let platform = change.any().map_or(Platform::Amd64, |output| output.platform);
    let mut row = image(environment, letter(change), platform);
    let digest = |output: &Output| format!("sha256:{}", short(&output.image));
    let size = |output: &Output| output.layers.iter().map(|layer| layer.size).sum::<u64>();
    row.what = arrow(change.old.as_ref().map(digest), change.new.as_ref().map(digest));
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => {
            let known: BTreeSet<_> = old.layers.iter().map(|layer| layer.diff_id).collect();
            let changed = new.layers.iter().filter(|layer| !known.contains(&layer.diff_id)).count();
            row.notes.push(format!("{changed} of {} changed", count(new.layers.len(), "layer")));
            row.size = delta(size(old), size(new));
        }
        (None, Some(new)) => {
            row.notes.push(format!("baked: {}, {}", count(new.layers.len(), "layer"), bytes(size(new))))
        }
        _ => row.notes.push("not baked since".to_owned()),
    }
    if change.classes.contains(&Class::Drift) {
        row.section = Section::Attention;
        row.notes.insert(0, "the same lock gave another image (drift)".to_owned());
    }
    row
}
