//! What is printed where: data on stdout, the rest on stderr, and nothing that a program could stumble over.

use std::io::Read;
use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::context::{TestContext, package, package_with};

fn locked() -> TestContext {
    let context =
        TestContext::new(&[package_with("web", "1.0", &[("Depends", "lib")], |deb| deb), package("lib", "1.2")]);
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    context
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_report_is_json_with_its_schema() {
    let context = locked();
    for (arguments, name) in [
        (&["lock"][..], "lock"),
        (&["lock", "--check"], "lock"),
        (&["update", "--dry-run"], "lock"),
        (&["fetch"], "fetch"),
        (&["build"], "build"),
        (&["build", "--print"], "plan"),
        (&["list"], "list"),
        (&["tree"], "tree"),
        (&["why", "api", "web"], "why"),
        (&["outdated"], "outdated"),
        (&["diff", "api", "api"], "diff"),
        (&["rules"], "rules"),
        (&["store", "path"], "path"),
        (&["store", "usage"], "usage"),
        (&["store", "origins"], "origins"),
        (&["store", "verify"], "verify"),
        (&["gc", "--dry-run"], "gc"),
    ] {
        let run = context.ok(&[&["--format", "json"], arguments].concat());
        let document = json(&run.stdout);
        assert_eq!(document["schema"]["name"], format!("kiln/{name}"), "{arguments:?}");
        assert_eq!(document["schema"]["version"], 1);
        assert!(!document[name].is_null(), "{arguments:?}: {}", run.stdout);
    }
}

#[test]
fn an_error_is_json_too() {
    let context = locked();
    context.define("api", &["web", "nothing"]);
    let run = context.kiln(&["--format", "json", "--progress", "quiet", "lock", "--check"]);
    assert_eq!(run.code, Some(1));
    assert_eq!(json(&run.stdout)["lock"][0]["reasons"][0]["reason"], "requirement-added");
    let error = json(&run.stderr);
    assert_eq!((&error["schema"]["name"], &error["exit-code"]), (&Value::from("kiln/error"), &Value::from(1)));
    assert!(error["hints"][0].as_str().unwrap().contains("kiln lock api"));
}

#[test]
fn lists() {
    let context = locked();
    assert_snapshot!(context.kiln(&["list"]).shown, @"
    exit 0
    --- stdout
    api . debian  lib  1.2  664 B  test/stable
    api * debian  web  1.0  676 B  test/stable
    ");
    assert_snapshot!(context.kiln(&["list", "--requested"]).shown, @"
    exit 0
    --- stdout
    api * debian  web  1.0  676 B  test/stable
    ");
    context.define("second", &["lib"]);
    assert_snapshot!(context.kiln(&["list"]).shown, @"
    exit 1
    --- stderr
    error: `second` is not locked

    hint: run `kiln lock second`
    ");
}

#[test]
fn rules_say_what_they_are_for() {
    let run = TestContext::new(&[]).ok(&["rules"]);
    assert!(run.stdout.lines().count() > 20 && run.stderr.is_empty(), "{}", run.shown);
}

#[test]
fn quiet_leaves_results_and_errors() {
    let context = locked();
    let run = context.ok(&["build", "--quiet"]);
    assert!(run.stderr.is_empty() && run.stdout.starts_with("api "), "{}", run.shown);
    context.define("api", &["web", "lib"]);
    let run = context.ok(&["-q", "lock"]);
    assert!(run.stderr.is_empty() && run.stdout.is_empty(), "{}", run.shown);
    context.define("api", &["nothing"]);
    assert!(context.kiln(&["-q", "lock"]).stderr.starts_with("error: "));
}

#[test]
fn colours_only_when_asked_for() {
    let mut context = TestContext::new(&[]);
    let escaped = |context: &TestContext, arguments: &[&str]| context.kiln(arguments).stderr.contains('\u{1b}');
    assert!(!escaped(&context, &["lock"]), "not a terminal");
    assert!(escaped(&context, &["lock", "--color", "always"]));
    context.set("NO_COLOR", "1");
    assert!(!escaped(&context, &["lock"]));
    assert!(escaped(&context, &["lock", "--color", "always"]), "what is typed goes before a variable");
    context.set("NO_COLOR", "");
    context.set("CLICOLOR_FORCE", "1");
    assert!(escaped(&context, &["lock"]));
    assert!(!escaped(&context, &["lock", "--color", "never"]));
    context.set("NO_COLOR", "1");
    assert!(!escaped(&context, &["lock"]), "NO_COLOR is stronger than the variable that forces");
}

#[test]
fn a_line_a_phase_where_there_is_no_terminal() {
    let context = locked();
    let run = context.ok(&["build"]);
    let phases: Vec<&str> = run.stderr.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(phases, ["Fetched", "Baked"], "{}", run.shown);
    assert!(!run.stderr.contains(['\r', '\u{1b}']), "{}", run.shown);
    let context = locked();
    for line in context.ok(&["--progress", "json", "build"]).stderr.lines() {
        json(line);
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let context = locked();
    for arguments in [&["rules"][..], &["list", "--format", "json"], &["--help"]] {
        let mut child = context.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn text_from_outside_cannot_steer_the_terminal() {
    let context = TestContext::new(&[]);
    context.write("envs/api.toml", "[debian]\nsuite = \"trixie\"\n\"\\u001b[31mred\" = 1\n");
    let run = context.kiln(&["lock"]);
    assert!(!run.stderr.contains('\u{1b}'), "{:?}", run.stderr);
}
