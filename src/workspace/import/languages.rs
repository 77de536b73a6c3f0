//! requirements.txt and package.json.

use serde_json::Value;

use super::words::split;
use super::{Exists, Imported};
use crate::ecosystem::npm::spec::Spec;
use crate::ecosystem::pypi::requirement::Requirement;

/// Whether a path leads to something below where it starts.
pub(super) fn is_below(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|name| name == "..")
}

/// Reads a requirements.txt. `whole` says that all of it is understood, so that it can be named as it is.
pub fn requirements(name: &str, text: &str, whole: bool) -> Imported {
    let mut imported = Imported::default();
    imported.debian.insert("python3".to_owned());
    if whole {
        imported.requirements.insert(name.to_owned());
        return imported;
    }
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut whole = line.to_owned();
        while let Some(start) = whole.strip_suffix('\\') {
            whole = format!("{start} {}", lines.next().map_or("", |(_, line)| line));
        }
        let code = whole.split(" #").next().unwrap_or_default().trim();
        if code.is_empty() || code.starts_with('#') {
            continue;
        }
        let (requirement, options) = code.split_at(code.find(" --").unwrap_or(code.len()));
        match requirement.parse::<Requirement>() {
            Ok(_) if options.is_empty() => {
                imported.python.insert(requirement.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            Ok(_) => {
                imported.leave(number + 1, code, "hashes are read from files named by `requirements` in `[python]`")
            }
            Err(_) if code.starts_with('-') => {
                imported.leave(number + 1, code, "where packages come from is an origin: `kiln store origins`");
            }
            Err(_) => imported.leave(number + 1, code, "requirements are written as in PEP 508"),
        }
    }
    imported
}

/// Reads a package.json; nothing if it is none.
pub fn package_json(text: &str, exists: Exists<'_>) -> Option<Imported> {
    let document: Value = serde_json::from_str(text).ok()?;
    let document = document.as_object()?;
    let mut imported = Imported::default();
    imported.debian.insert("nodejs".to_owned());
    let line = |key: &str| {
        let wanted = Value::from(key).to_string();
        text.lines().position(|line| line.contains(&wanted)).map_or(1, |number| number + 1)
    };
    if exists("package-lock.json") {
        imported.npm_lock = Some("package-lock.json".to_owned());
    }
    for (key, value) in document {
        match (key.as_str(), value) {
            ("dependencies", Value::Object(pairs)) if imported.npm_lock.is_none() => {
                for (name, range) in pairs {
                    match range.as_str().filter(|range| Spec::parse(name, range).is_ok()) {
                        Some(range) => drop(imported.npm.insert(name.clone(), range.to_owned())),
                        None => imported.leave(
                            line(name),
                            &format!("{name}: {range}"),
                            "only packages of a registry can be locked",
                        ),
                    }
                }
            }
            ("overrides", Value::Object(pairs)) if imported.npm_lock.is_none() => {
                for (name, range) in pairs {
                    match range.as_str().filter(|range| Spec::parse(name, range).is_ok()) {
                        Some(range) => drop(imported.overrides.insert(name.clone(), range.to_owned())),
                        None => imported.leave(
                            line(name),
                            &format!("{name}: {range}"),
                            "overrides are names with one version each",
                        ),
                    }
                }
            }
            ("devDependencies", Value::Object(_)) => {
                imported.leave(
                    line(key),
                    key,
                    "an image has what is needed at run time: what is needed there is a dependency",
                );
            }
            ("optionalDependencies" | "peerDependencies" | "bundleDependencies" | "workspaces", _)
                if imported.npm_lock.is_none() =>
            {
                imported.leave(line(key), key, "`dependencies` of `[npm]` names what is to be there");
            }
            ("engines", Value::Object(_)) => {
                imported.leave(
                    line(key),
                    &format!("engines: {value}"),
                    "the interpreter is Debian's `nodejs`, of the suite",
                );
            }
            ("scripts", Value::Object(scripts)) => start(&mut imported, scripts.get("start"), line("start")),
            _ => {}
        }
    }
    imported.leave(1, "the project's own files", "`[[copy]]` with `from` and `to` copies them");
    Some(imported)
}

/// Takes `npm start` as the entrypoint if it is one plain command.
fn start(imported: &mut Imported, command: Option<&Value>, line: usize) {
    let Some(command) = command.and_then(Value::as_str) else { return };
    match split(command)
        .filter(|words| !words.is_empty() && !command.contains(['|', '&', ';', '$', '<', '>', '`', '*']))
    {
        Some(words) => imported.image.entrypoint = words,
        None => imported.leave(line, &format!("start: {command}"), "`entrypoint` of `[image]` starts the service"),
    }
}
