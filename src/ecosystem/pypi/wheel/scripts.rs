//! Programs: those that a wheel brings, with the interpreter's path, and those that its entry points stand for.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// A script whose first line asks for some Python, with the one that it gets; `None` for anything else (PEP 427,
/// "Recommended installer features").
pub(super) fn with_interpreter(content: &[u8], interpreter: &str) -> Option<Vec<u8>> {
    let rest = content.strip_prefix(b"#!python")?;
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let mut script = format!("#!{interpreter}").into_bytes();
    script.extend(&rest[end..]);
    Some(script)
}

/// The programs of `entry_points.txt`, by name (Entry points specification).
pub(super) fn of(text: &str, interpreter: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut scripts = BTreeMap::new();
    let mut wanted = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            wanted = matches!(section.trim(), "console_scripts" | "gui_scripts");
            continue;
        }
        let Some((name, object)) = line.split_once('=').filter(|_| wanted) else { continue };
        let (name, object) = (name.trim(), object.split('[').next().unwrap_or_default().trim());
        if name.is_empty() || name.contains(['/', '\\', '\0']) || matches!(name, "." | "..") {
            return Err(Error::new(format!("its entry point {name:?} is no name of a program")));
        }
        scripts.insert(name.to_owned(), script(name, object, interpreter)?);
    }
    Ok(scripts)
}

/// A program that calls the object `module:attribute.attribute`.
fn script(name: &str, object: &str, interpreter: &str) -> Result<Vec<u8>> {
    let dotted = |text: &str| {
        !text.is_empty()
            && text.split('.').all(|part| {
                part.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
                    && part.chars().all(|c| c.is_alphanumeric() || c == '_')
            })
    };
    let object = object.split_once(':').map(|(module, attribute)| (module.trim(), attribute.trim()));
    let Some((module, attribute)) = object.filter(|(module, attribute)| dotted(module) && dotted(attribute)) else {
        return Err(Error::new(format!("its entry point `{name}` names no object of a module")));
    };
    let first = attribute.split('.').next().unwrap_or_default();
    Ok(format!(
        "#!{interpreter}\n# -*- coding: utf-8 -*-\nimport sys\n\nfrom {module} import {first}\n\n\
         if __name__ == \"__main__\":\n    sys.exit({attribute}())\n"
    )
    .into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_get_the_images_interpreter() {
        let with = |content: &[u8]| with_interpreter(content, "/usr/bin/python3");
        assert_eq!(with(b"#!python\nprint(1)\n").unwrap(), b"#!/usr/bin/python3\nprint(1)\n");
        assert_eq!(with(b"#!pythonw -x\nprint(1)\n").unwrap(), b"#!/usr/bin/python3\nprint(1)\n");
        assert_eq!(with(b"#!/bin/sh\n"), None);
        assert_eq!(with(b"\x7fELF"), None);
    }

    #[test]
    fn entry_points_become_programs() {
        let text = "[console_scripts]\nflask = flask.cli:main\nx = a.b:C.run [extra]\n\n[other]\ny = z:w\n";
        let scripts = of(text, "/usr/bin/python3").unwrap();
        assert_eq!(scripts.keys().collect::<Vec<_>>(), ["flask", "x"]);
        let x = String::from_utf8(scripts["x"].clone()).unwrap();
        assert!(x.contains("from a.b import C\n") && x.contains("sys.exit(C.run())"), "{x}");
        for hostile in ["../x = a:b", "x = a:b; import os", "x = a", "x = a:b()", ". = a:b"] {
            assert!(of(&format!("[console_scripts]\n{hostile}\n"), "p").is_err(), "{hostile}");
        }
    }
}
