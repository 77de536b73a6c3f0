//! Mistakes in definitions and in what is typed: where they are, and what was probably meant.

use insta::assert_snapshot;

use crate::support::context::{TestContext, package};

fn locking(definition: &str) -> String {
    let context = TestContext::new(&[]);
    context.write("envs/api.toml", definition);
    context.kiln(&["lock"]).shown
}

#[test]
fn an_unknown_key() {
    assert_snapshot!(locking("[debian]\nsuite = \"trixie\"\npackges = [\"curl\"]\n"), @"");
}

#[test]
fn a_value_of_the_wrong_type() {
    assert_snapshot!(locking("[debian]\nsuite = \"trixie\"\npackages = \"curl\"\n"), @"");
}

#[test]
fn a_platform_that_does_not_exist() {
    assert_snapshot!(locking("platforms = [\"linux/amd46\"]\n[debian]\nsuite = \"trixie\"\n"), @"");
}

#[test]
fn a_suite_is_missing() {
    assert_snapshot!(locking("[debian]\npackages = [\"curl\"]\n"), @"");
}

#[test]
fn text_that_is_no_toml() {
    assert_snapshot!(locking("[debian\nsuite = \"trixie\"\n"), @"");
}

#[test]
fn a_user_that_cannot_be() {
    assert_snapshot!(locking("[debian]\nsuite = \"trixie\"\n[users.App]\nuid = 1000\n"), @"");
}

#[test]
fn definitions_that_extend_one_another_in_a_circle() {
    let context = TestContext::new(&[]);
    context.write("envs/a.toml", "extends = [\"b\"]\n");
    context.write("envs/b.toml", "extends = [\"a\"]\n");
    assert_snapshot!(context.kiln(&["lock", "a"]).shown, @"");
}

#[test]
fn a_definition_that_extends_none() {
    assert_snapshot!(locking("extends = [\"bse\"]\n"), @"");
}

#[test]
fn an_environment_that_does_not_exist() {
    let context = TestContext::new(&[package("a", "1")]);
    context.define("queue", &["a"]);
    assert_snapshot!(context.kiln(&["lock", "queu"]).shown, @"");
    assert_snapshot!(context.kiln(&["build", "something"]).shown, @"");
}

#[test]
fn no_workspace_and_no_environment() {
    let context = TestContext::new(&[]);
    assert_snapshot!(context.kiln(&["-C", "/", "lock"]).shown, @"");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    std::fs::remove_dir(context.workspace().join("envs")).unwrap();
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
}

#[test]
fn a_mistake_in_kiln_toml() {
    let context = TestContext::new(&[]);
    context.write("kiln.toml", "[orgins]\ndebian = \"https://example.org\"\n");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
}

#[test]
fn a_workspace_is_started_once() {
    let context = TestContext::new(&[]);
    assert_snapshot!(context.kiln(&["init", "demo"]).shown, @"");
    assert!(context.workspace().join("demo/envs/queue.toml").is_file());
    assert_snapshot!(context.kiln(&["init", "demo"]).shown, @"");
}

#[test]
fn usage() {
    let context = TestContext::new(&[]);
    for arguments in [&["bild"][..], &["build", "--platfrom", "x"], &[], &["lock", "--check", "--dry-run"], &["run"]] {
        let run = context.kiln(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", run.shown);
    }
    for arguments in [&["--help"][..], &["help", "build"], &["lock", "-h"], &["--version"]] {
        let run = context.kiln(arguments);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}: {}", run.shown);
        assert!(!run.stdout.contains('\u{1b}'));
    }
    assert_snapshot!(context.kiln(&["bild"]).shown, @"");
    assert_snapshot!(context.kiln(&["build", "--platfrom", "x"]).shown, @"");
}

#[test]
fn odd_values() {
    let mut context = TestContext::new(&[package("a", "1")]);
    context.define("api", &["a"]);
    context.ok(&["lock"]);
    for (name, value) in [("KILN_JOBS", "0"), ("KILN_JOBS", "many"), ("KILN_JOBS", "100000"), ("KILN_COLOR", "pink")] {
        context.set(name, value);
        let run = context.kiln(&["list"]);
        assert_eq!(run.code, Some(2), "{name}={value}: {}", run.shown);
        context.set("KILN_JOBS", "1");
        context.set("KILN_COLOR", "auto");
    }
    for value in ["1", "true", "yes"] {
        context.set("KILN_OFFLINE", value);
        let run = context.kiln(&["fetch"]);
        assert!(run.stderr.contains("offline"), "KILN_OFFLINE={value}: {}", run.shown);
    }
    for value in ["0", "false", "no"] {
        context.set("KILN_OFFLINE", value);
        context.ok(&["fetch"]);
    }
    context.set("KILN_HTTP_TIMEOUT", "soon");
    assert_snapshot!(context.kiln(&["list"]).shown, @"");
}
