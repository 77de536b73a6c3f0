//! Settings, and the evidence about indexes. Settings are compared by what they are written as, so none that is
//! added to definitions later can be forgotten here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::pairs::Pairs;
use super::{Change, Class, Setting};
use crate::lock::model::{Evidence, Lockfile};

/// Settings that decide what is locked, and that no image is made of: what is asked for, and where it is looked for.
const WORDS: [&str; 6] =
    ["description", "debian.packages", "debian.local", "debian.suites", "debian.source", "debian.snapshot"];

/// The settings that differ, in the order of their names; platforms and steps apart.
pub fn compare(old: &Lockfile, new: &Lockfile) -> Vec<Change<Setting>> {
    let (before, after) = (leaves(old), leaves(new));
    before
        .keys()
        .chain(after.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| {
            let of = |side: &BTreeMap<String, Value>| {
                side.get(key).map(|value| Setting { key: key.clone(), value: value.clone() })
            };
            // Of a table that only one side has, each setting counts.
            let table = format!("{}.", key.split('.').next().unwrap_or_default());
            let has = |side: &BTreeMap<String, Value>| side.keys().any(|key| key.starts_with(&table));
            let language = ["python.", "npm."].contains(&table.as_str());
            let class = if language && has(&before) != has(&after) { Class::Settings } else { class(key) };
            Change::of(class, of(&before), of(&after))
        })
        .collect()
}

fn class(key: &str) -> Class {
    let shapes_python = ["python.interpreter", "python.compile"].contains(&key);
    let shapes_npm = ["npm.prefix", "npm.scripts"].contains(&key);
    let resolves = key == "base.image"
        || (key.starts_with("python.") && !shapes_python)
        || (key.starts_with("npm.") && !shapes_npm);
    if resolves || WORDS.contains(&key) || key.starts_with("lockfile.") {
        Class::Words
    } else if key.starts_with("image.") {
        Class::Image
    } else if key == "debian.base" {
        Class::Base
    } else {
        Class::Settings
    }
}

/// All settings, each with its full name.
fn leaves(lockfile: &Lockfile) -> BTreeMap<String, Value> {
    let mut settings = serde_json::to_value(&lockfile.environment).unwrap_or_default();
    if let Some(table) = settings.as_object_mut() {
        table.remove("platforms");
        table.remove("step");
    }
    let mut leaves = BTreeMap::new();
    collect(String::new(), settings, &mut leaves);
    for (key, number) in
        [("lockfile.version", lockfile.version), ("lockfile.revision", lockfile.revision), ("format", lockfile.format)]
    {
        leaves.insert(key.to_owned(), number.into());
    }
    leaves
}

fn collect(key: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
    let Value::Object(table) = value else {
        leaves.insert(key, value);
        return;
    };
    for (name, value) in table {
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let name = if !name.is_empty() && name.bytes().all(bare) { name } else { Value::String(name).to_string() };
        collect(if key.is_empty() { name } else { format!("{key}.{name}") }, value, leaves);
    }
}

/// The signed indexes that differ.
pub fn indexes(old: &Lockfile, new: &Lockfile) -> Vec<Change<Evidence>> {
    let pairs = Pairs::new(old.origins.clone(), new.origins.clone())
        .by(|evidence| Some(evidence.clone()))
        .by(|evidence| Some((evidence.name.clone(), evidence.suite.clone())))
        .finish();
    let knows = |lockfile: &Lockfile, name: &str| lockfile.origins.iter().any(|evidence| evidence.name == name);
    let mut changes: Vec<Change<Evidence>> = pairs
        .into_iter()
        .filter(|(old, new)| old != new)
        .map(|(before, after)| {
            let mut classes = BTreeSet::new();
            match (&before, &after) {
                (Some(before), Some(after)) => {
                    if (&before.keys, &before.exceptions) != (&after.keys, &after.exceptions) {
                        classes.insert(Class::Signature);
                    }
                    if (&before.date, before.signed_index) != (&after.date, after.signed_index) {
                        classes.insert(Class::Index);
                    }
                }
                (Some(one), None) | (None, Some(one)) => {
                    let known = knows(old, &one.name) && knows(new, &one.name);
                    classes.insert(if known { Class::Index } else { Class::Origin });
                }
                (None, None) => {}
            }
            let nothing = Change::of(Class::Index, before, after);
            Change { classes, ..nothing }
        })
        .collect();
    changes.sort_by(|a, b| key(a).cmp(&key(b)));
    return changes;

    fn key(change: &Change<Evidence>) -> Option<(&str, &str, [Option<&str>; 2])> {
        let mut dates = [&change.old, &change.new].map(|side| side.as_ref().map(|evidence| evidence.date.as_str()));
        dates.sort_unstable();
        change.any().map(|evidence| (evidence.name.as_str(), evidence.suite.as_str(), dates))
    }
}
