//! `package-lock.json` (npm's documentation, "package-lock.json", versions 2 and 3): the tree that `npm ci` would
//! place from it for a platform, without asking a registry.
//!
//! A lockfile is a file of the user's, but made elsewhere: its paths are checked like any stranger's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::integrity::Integrity;
use super::packument::Manifest;
use super::platform::{Engines, Platform};
use super::spec::check_name;
use super::tree::{Locked, Placed, from_lock};
use crate::error::{Context, Error, Kind, Result};

/// No lockfile is larger, in bytes.
const LARGEST: usize = 256 << 20;
/// Packages in one lockfile.
const MOST: usize = 200_000;
/// Folders called `node_modules` in one path.
const DEEPEST: usize = 64;

/// Reads a lockfile. What only developing needs is left out, and what is optional and does not fit.
///
/// Packages without an address or a hash in the lockfile are without them in the result. Fails with
/// [`Kind::No`] on what cannot be had from a registry (links, workspaces, git repositories) and where a package
/// that is needed is not for the platform; with [`Kind::Corrupt`] on what is no lockfile.
pub fn read(text: &str, platform: &Platform, engines: &Engines) -> Result<Vec<Placed>> {
    if text.len() > LARGEST {
        return Err(Error::new(format!("it has {} bytes, more than {LARGEST}", text.len())).kind(Kind::Corrupt));
    }
    let lock: Value = serde_json::from_slice(super::packument::strip_mark(text.as_bytes()))
        .map_err(|error| Error::new("it is not JSON").kind(Kind::Corrupt).caused_by(error))?;
    let version = lock.get("lockfileVersion").and_then(Value::as_u64);
    if !matches!(version, Some(2 | 3)) {
        let found = version.map_or("none".into(), |version| version.to_string());
        return Err(Error::new(format!("its lockfileVersion is {found}, expected 2 or 3"))
            .kind(Kind::Corrupt)
            .hint("`npm install --package-lock-only` with npm 7 or later writes it anew"));
    }
    let packages = lock.get("packages").and_then(Value::as_object).context(|| "it has no table of `packages`")?;
    if packages.len() > MOST {
        return Err(Error::new(format!("it has more than {MOST} packages")).kind(Kind::Corrupt));
    }
    let empty = Map::new();
    let project = packages.get("").and_then(Value::as_object).unwrap_or(&empty);
    let mut locked = Vec::new();
    for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
        let what = || format!("reading its package {:?}", path.chars().take(200).collect::<String>());
        let package = package.as_object().context(|| "it is no table").context(what)?;
        locked.push(one(path, package).map_err(|error| Error::new(what()).kind(error.what()).caused_by(error))?);
    }
    check_parents(&locked)?;
    locked.sort_by(|one, other| (one.names.len(), &one.names).cmp(&(other.names.len(), &other.names)));
    let project = Manifest {
        dependencies: specifiers(project, "dependencies"),
        optional_dependencies: specifiers(project, "optionalDependencies"),
        peer_dependencies: specifiers(project, "peerDependencies"),
        ..Manifest::default()
    };
    from_lock(project, locked, platform, engines)
}

fn specifiers(package: &Map<String, Value>, kind: &str) -> Vec<(String, String)> {
    let table = package.get(kind).and_then(Value::as_object).into_iter().flatten();
    table.filter_map(|(name, spec)| Some((name.clone(), spec.as_str()?.to_owned()))).collect()
}

fn one(path: &str, package: &Map<String, Value>) -> Result<Locked> {
    let names = names(path)?;
    let folder = names.last().context(|| "it names no package")?;
    let flag = |key: &str| package.get(key) == Some(&Value::Bool(true));
    let text = |key: &str| package.get(key).and_then(Value::as_str);
    if flag("link") {
        return Err(Error::no(format!("it is a link to {:?}, a folder of the project", text("resolved").unwrap_or("?")))
            .hint("workspaces and `file:` dependencies are no packages of a registry: copy them into the image with `[[copy]]`"));
    }
    let bundled = flag("inBundle");
    let tarball = text("resolved").unwrap_or_default();
    let served = tarball.starts_with("http://") || tarball.starts_with("https://");
    if !bundled && !tarball.is_empty() && !served {
        return Err(Error::no(format!("it comes from {tarball:?}, and not from a registry"))
            .hint("only packages of a registry can be locked"));
    }
    let name = text("name").unwrap_or(folder);
    check_name(name)?;
    let integrity = text("integrity").map(Integrity::parse).transpose()?;
    let mut manifest = Manifest::of_lock(name, package)?;
    manifest.dist.tarball = if bundled { String::new() } else { tarball.to_owned() };
    manifest.dist.integrity = integrity;
    Ok(Locked { names, manifest, bundled, only_for_development: flag("dev") })
}

/// The names in a path: `node_modules/a/node_modules/@s/b` has two.
fn names(path: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for part in path.split("node_modules/").skip(1) {
        names.push(part.strip_suffix('/').unwrap_or(part).to_owned());
    }
    let again: Vec<String> = names.iter().map(|name| format!("node_modules/{name}")).collect();
    if names.is_empty() || again.join("/") != path {
        return Err(Error::no("it is not in a `node_modules` folder of the project")
            .hint("workspaces cannot be locked: point at the lockfile of one project"));
    }
    if names.len() > DEEPEST {
        return Err(Error::new(format!("it is more than {DEEPEST} packages deep")).kind(Kind::Corrupt));
    }
    names.iter().try_for_each(|name| check_name(name))?;
    Ok(names)
}

/// A package is inside one that is there, and no folder is two packages'.
fn check_parents(locked: &[Locked]) -> Result<()> {
    let folded = |names: &[String]| names.join("/").to_lowercase();
    let mut all: BTreeMap<String, &Locked> = BTreeMap::new();
    for one in locked {
        if all.insert(folded(&one.names), one).is_some() {
            return Err(
                Error::new(format!("it has `{}` twice, in different cases", one.names.join("/"))).kind(Kind::Corrupt)
            );
        }
    }
    let known: BTreeSet<&[String]> = locked.iter().map(|one| one.names.as_slice()).collect();
    for one in locked.iter().filter(|one| one.names.len() > 1) {
        let parent = &one.names[..one.names.len() - 1];
        if !known.contains(parent) {
            return Err(Error::new(format!(
                "its package `{}` is inside `{}`, which it does not have",
                one.names.join(" > "),
                parent.join(" > ")
            ))
            .kind(Kind::Corrupt));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HASH: &str =
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";

    fn lock(packages: Value) -> String {
        json!({"lockfileVersion": 3, "packages": packages}).to_string()
    }

    fn placed(packages: Value) -> Result<Vec<Placed>> {
        read(&lock(packages), &Platform::linux("x64"), &Engines::default())
    }

    #[test]
    fn what_npm_ci_would_place_is_placed() {
        let all = placed(json!({
            "": {"dependencies": {"a": "^1", "alias": "npm:real@2"}, "devDependencies": {"d": "1"}},
            "node_modules/a": {"version": "1.2.0", "resolved": "https://h.example/a/-/a-1.2.0.tgz", "integrity": HASH,
                "dependencies": {"b": "1"}, "optionalDependencies": {"mac": "1", "lin": "1"}, "bin": {"a": "cli.js"}},
            "node_modules/a/node_modules/b": {"version": "1.0.0"},
            "node_modules/alias": {"name": "real", "version": "2.0.0", "hasInstallScript": true},
            "node_modules/d": {"version": "1.0.0", "dev": true},
            "node_modules/mac": {"version": "1.0.0", "optional": true, "os": ["darwin"], "dependencies": {"only-mac": "1"}},
            "node_modules/only-mac": {"version": "1.0.0", "optional": true},
            "node_modules/lin": {"version": "1.0.0", "optional": true, "os": ["linux"], "cpu": ["x64"], "libc": ["glibc"]},
        }))
        .unwrap();
        let paths: Vec<&str> = all.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(
            paths,
            ["node_modules/a", "node_modules/a/node_modules/b", "node_modules/alias", "node_modules/lin"]
        );
        assert_eq!((all[0].file_name(), all[0].requested.as_deref()), ("a-1.2.0.tgz", Some("^1")));
        assert_eq!(all[0].integrity.as_ref().unwrap().to_string(), HASH);
        assert_eq!(
            (all[1].required_by.clone(), all[1].integrity.clone(), all[1].tarball.as_str()),
            (vec!["node_modules/a".into()], None, "")
        );
        assert_eq!((all[2].name.as_str(), all[2].has_install_script), ("real", true));
        assert!(all[3].optional && !all[0].optional);
        assert_eq!(all[0].bin["a"], "cli.js");
    }

    #[test]
    fn hostile_and_foreign_packages_are_refused() {
        let version = json!({"version": "1.0.0"});
        for (path, package, words) in [
            ("../x", version.clone(), "not in a `node_modules` folder"),
            ("packages/a", version.clone(), "not in a `node_modules` folder"),
            ("node_modules/../../etc", version.clone(), "is not the name"),
            ("node_modules/a/../b", version.clone(), "is not the name"),
            ("node_modules/.bin", version.clone(), "is not the name"),
            ("/node_modules/a", version.clone(), "not in a `node_modules` folder"),
            ("node_modules/a/node_modules/b", version.clone(), "which it does not have"),
            ("node_modules/a", json!({"link": true, "resolved": "packages/a"}), "a link to \"packages/a\""),
            ("node_modules/a", json!({"version": "1.0.0", "resolved": "git+ssh://git@h/x.git"}), "not from a registry"),
            ("node_modules/a", json!({"version": "1.0.0", "resolved": "file:../x.tgz"}), "not from a registry"),
            ("node_modules/a", json!({"version": "1.0.0", "integrity": "md5-x"}), "no hash that is known"),
            ("node_modules/a", json!({"version": "1.0.0", "name": "../b"}), "is not the name"),
            ("node_modules/a", json!({}), "its version"),
            ("node_modules/a", json!("x"), "no table"),
        ] {
            let error = placed(json!({ path: package })).unwrap_err();
            assert!(error.to_string().contains(words), "{path}: {error}");
        }
        let twice = placed(json!({"node_modules/A": version, "node_modules/a": version})).unwrap_err();
        assert!(twice.to_string().contains("twice"), "{twice}");
        let needed =
            json!({"": {"dependencies": {"a": "1"}}, "node_modules/a": {"version": "1.0.0", "os": ["darwin"]}});
        assert_eq!(placed(needed).unwrap_err().what(), Kind::No);
        for (text, words) in [
            ("", "not JSON"),
            ("{}", "lockfileVersion is none"),
            (r#"{"lockfileVersion": 1, "dependencies": {}}"#, "lockfileVersion is 1"),
            (r#"{"lockfileVersion": 3}"#, "no table"),
        ] {
            let error = read(text, &Platform::linux("x64"), &Engines::default()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn cut_off_and_changed_lockfiles_are_no_panic(at in 0..2000_usize, byte in 32..126_u8, path in "[a-z/._]{0,40}") {
            let mut text = lock(json!({"": {"dependencies": {"a": "1"}}, "node_modules/a": {"version": "1.0.0",
                "dependencies": {"b": "1"}, "integrity": HASH}, "node_modules/a/node_modules/b": {"version": "2.0.0"}})).into_bytes();
            let at = at % text.len();
            let platform = Platform::linux("x64");
            let _ = read(std::str::from_utf8(&text[..at]).unwrap(), &platform, &Engines::default());
            text[at] = byte;
            let _ = read(std::str::from_utf8(&text).unwrap(), &platform, &Engines::default());
            for one in placed(json!({ format!("node_modules/{path}"): {"version": "1.0.0"} })).unwrap_or_default() {
                prop_assert!(!one.path.split('/').any(|part| matches!(part, "" | "." | "..")));
            }
        }
    }
}
