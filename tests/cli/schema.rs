//! `kiln schema`: what it prints describes what kiln takes and what it prints, no more and no less.
//!
//! Every report in JSON that any of these tests asks for, and every workspace that one of them locks, is checked as well
//! (`support/context.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::context::{TestContext, package};
use crate::support::schema::{Schema, check_workspace, json as of_toml};

/// A key that no table has, and that is like none.
const NONE: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";

/// Every table that a schema knows: how to get there, and the keys that it has.
fn tables(schema: &Value, at: &Value, path: &[String], found: &mut Vec<(Vec<String>, BTreeSet<String>)>) {
    if let Some(name) = at["$ref"].as_str() {
        return tables(schema, schema.pointer(name.trim_start_matches('#')).unwrap(), path, found);
    }
    let below = |step: &str| [path, &[step.to_owned()]].concat();
    if let Some(properties) = at["properties"].as_object() {
        assert_eq!(at["additionalProperties"], json!(false), "{path:?} takes any key");
        found.push((path.to_vec(), properties.keys().cloned().collect()));
        properties.iter().for_each(|(key, at)| tables(schema, at, &below(key), found));
    } else if at["additionalProperties"].is_object() {
        // Names are the user's; `api` may be one of anything.
        tables(schema, &at["additionalProperties"], &below("api"), found);
    }
    if at["items"].is_object() {
        tables(schema, &at["items"], &below("[]"), found);
    }
    at["anyOf"].as_array().into_iter().flatten().for_each(|at| tables(schema, at, path, found));
}

/// A document that has `key` at this place.
fn document(path: &[String], key: &str, value: Value) -> Value {
    path.iter().rev().fold(json!({ key: value }), |inner, step| match step.as_str() {
        "[]" => json!([inner]),
        step => json!({ step: inner }),
    })
}

/// The keys that the parser knows at a place, by its own words; none if it has no words for them.
fn known(context: &TestContext, file: &str, path: &[String]) -> Option<BTreeSet<String>> {
    let text = toml::to_string(&document(path, NONE, json!(1))).unwrap();
    context.write(file, &text);
    let run = context.kiln(&["lock", "--format", "json"]);
    assert_eq!(run.code, Some(2), "{path:?} takes any key: {}", run.shown);
    let error: Value = serde_json::from_str(&run.stderr).unwrap();
    let list = error["hints"][0].as_str()?.strip_prefix("known here: ")?.to_owned();
    assert!(error["error"].as_str().unwrap().contains(NONE), "{}", run.shown);
    Some(list.split(", ").map(str::to_owned).collect())
}

#[test]
fn the_parser_and_the_schema_know_the_same_keys() {
    for (name, file) in [("definition", "envs/api.toml"), ("kiln.toml", "kiln.toml")] {
        let context = TestContext::new(&[]);
        context.write("envs/api.toml", "");
        let schema = Schema::of(name);
        let mut all = Vec::new();
        tables(&schema.value, &schema.value, &[], &mut all);
        assert!(all.len() > 1, "only {} tables in {name}", all.len());
        for (path, keys) in all {
            assert!(schema.complaint(&document(&path, NONE, json!(1))).is_some(), "{path:?} takes any key");
            match known(&context, file, &path) {
                Some(known) => assert_eq!(known, keys, "{path:?}"),
                // Where a text or a table may stand, the parser only says that it is neither.
                None => assert_eq!(path, ["debian", "suites", "[]"], "the parser does not say which keys there are"),
            }
        }
    }
}

#[test]
fn a_suite_takes_the_keys_that_the_schema_has() {
    let context = TestContext::new(&[package("a", "1")]);
    let schema = Schema::of("definition");
    let keys = schema.value["$defs"]["suite"]["properties"].as_object().unwrap();
    assert_eq!(keys.len(), 5);
    for (key, at) in keys {
        let value = if at["type"] == "boolean" {
            "true"
        } else if at["type"] == "array" {
            "[\"main\"]"
        } else {
            "\"x\""
        };
        let name = if key == "name" { "" } else { "name = \"stable\", " };
        let text = format!("[debian]\nsuites = [{{ {name}{key} = {value} }}]\n");
        schema.check(key, &of_toml(&text));
        context.write("envs/api.toml", &text);
        // It is read, and then there is no lock.
        let run = context.kiln(&["lock", "--check"]);
        assert_eq!(run.code, Some(1), "{key}: {}", run.shown);
    }
}

#[test]
fn what_the_parser_refuses_is_refused() {
    let schema = Schema::of("definition");
    for text in [
        "platforms = [\"linux/amd46\"]",
        "[debian]\npackages = \"curl\"",
        "[debian]\npackages = [\" \"]",
        "[debian]\nexclude = [\"doc\"]",
        "[debian]\nbase = \"esential\"",
        "[debian]\nsnapshot = \"2026-07-11\"",
        "[[debian.source]]\norigin = \"vendor\"",
        "[users.App]\nuid = 1",
        "[users.app]\nhome = \"/x\"",
        "[users.app]\nuid = -1",
        "[image]\nports = [\"http\"]",
        "[image.healthcheck]\ninterval = \"30s\"",
        "[image.healthcheck]\ncommand = [\"x\"]\ninterval = \"30\"",
        "[[copy]]\nfrom = \"a\"",
        "[[copy]]\nfrom = \"/a\"\nto = \"/a\"",
        "[[run]]\nscript = \" \"",
        "[[fetch]]\nto = \"/a\"",
        "[[fetch]]\nurl = \"https://example.org/a\"\npath = \"a\"",
        "[[fetch]]\norigin = \"pypi\"",
        "[[fetch]]\nurl = \"https://example.org/a\"\nmode = \"999\"",
        "[npm]\nprefix = \"srv\"",
        "[python]\ninterpreter = \"perl\"",
    ] {
        assert!(schema.complaint(&of_toml(text)).is_some(), "the schema takes {text}");
        let context = TestContext::new(&[]);
        let suite = if text.contains("[debian]\n") { "" } else { "\n[debian]\nsuite = \"trixie\"\n" };
        let text = text.replace("[debian]\n", "[debian]\nsuite = \"trixie\"\n") + suite;
        context.write("envs/api.toml", &text);
        let run = context.kiln(&["lock", "--check"]);
        assert_eq!(run.code, Some(2), "the parser takes {text}: {}", run.shown);
    }
}

#[test]
fn the_repositorys_own_files_fit() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(fs::read_dir(root.join("lockfiles")).unwrap().count() > 5);
    check_workspace(root);
}

#[test]
fn every_report_has_a_schema() {
    let context = TestContext::new(&[package("a", "1")]);
    let listed = context.ok(&["schema", "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let listed: BTreeSet<&str> =
        listed["schemas"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let mut reports = 0;
    let mut files = vec![folder];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        for (at, start) in text.match_indices(".report(\"") {
            let name = text[at + start.len()..].split('"').next().unwrap();
            assert!(
                listed.contains(name) || name == "schemas",
                "`kiln schema {name}` is missing in outputs.schema.json"
            );
            reports += 1;
        }
    }
    assert!(reports > 8, "only {reports} reports were found");
    // Each is printed by one of these, and checked where they are run.
    context.define("api", &["a"]);
    for arguments in [
        &["lock"][..],
        &["lock", "--check"],
        &["update", "a"],
        &["list"],
        &["fetch"],
        &["build"],
        &["build", "--print"],
        &["store", "path"],
        &["store", "usage"],
        &["store", "origins"],
        &["store", "verify"],
        &["gc", "--dry-run"],
        &["rules"],
    ] {
        let run = context.ok(&[arguments, &["--format", "json"]].concat());
        let value: Value = serde_json::from_str(&run.stdout).unwrap();
        let name = value["schema"]["name"].as_str().unwrap().strip_prefix("kiln/").unwrap();
        assert!(listed.contains(name) && value.get(name).is_some(), "{}", run.shown);
    }
    let error = context.kiln(&["schema", "lokcfile", "--format", "json"]);
    let error: Value = serde_json::from_str(&error.stderr).unwrap();
    assert_eq!(error["hints"], json!(["did you mean `lockfile`?"]));
    for name in listed {
        Schema::of(name);
    }
}
