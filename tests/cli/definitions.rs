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
    assert_snapshot!(locking("[debian]\nsuite = \"trixie\"\npackges = [\"curl\"]\n"), @r#"
    exit 2
    --- stderr
    error: envs/api.toml:3:1: unknown key `packges`
          |
        3 | packges = ["curl"]
          | ^^^^^^^

    hint: did you mean `packages`?
    "#);
}

#[test]
fn a_value_of_the_wrong_type() {
    assert_snapshot!(locking("[debian]\nsuite = \"trixie\"\npackages = \"curl\"\n"), @r#"
    exit 2
    --- stderr
    error: envs/api.toml:3:12: expected a list, found the string "curl"
          |
        3 | packages = "curl"
          |            ^^^^^^
    "#);
}

#[test]
fn a_platform_that_does_not_exist() {
    assert_snapshot!(locking("platforms = [\"linux/amd46\"]\n[debian]\nsuite = \"trixie\"\n"), @r#"
    exit 2
    --- stderr
    error: envs/api.toml:1:14: `linux/amd46` is not a platform that kiln knows
          |
        1 | platforms = ["linux/amd46"]
          |              ^^^^^^^^^^^^^

    hint: there are: [PLATFORM], linux/arm64
    "#);
}

#[test]
fn a_suite_is_missing() {
    assert_snapshot!(locking("[debian]\npackages = [\"curl\"]\n"), @r#"
    exit 2
    --- stderr
    error: reading the definition of `api`
      caused by: no Debian suite is named

    hint: say which in the definition: `[debian]` with `suite = "trixie"`
    "#);
}

#[test]
fn text_that_is_no_toml() {
    assert_snapshot!(locking("[debian\nsuite = \"trixie\"\n"), @"
    exit 2
    --- stderr
    error: envs/api.toml:1:8: unclosed table, expected `]`
          |
        1 | [debian
          |        ^
    ");
}

#[test]
fn a_user_that_cannot_be() {
    assert_snapshot!(locking("[debian]\nsuite = \"trixie\"\n[users.App]\nuid = 1000\n"), @"
    exit 2
    --- stderr
    error: envs/api.toml:3:8: `App` is not a user's name
          |
        3 | [users.App]
          |        ^^^

    hint: lower-case letters, digits, `-` and `_`, starting with a letter
    ");
}

#[test]
fn definitions_that_extend_one_another_in_a_circle() {
    let context = TestContext::new(&[]);
    context.write("envs/a.toml", "extends = [\"b\"]\n");
    context.write("envs/b.toml", "extends = [\"a\"]\n");
    assert_snapshot!(context.kiln(&["lock", "a"]).shown, @r#"
    exit 2
    --- stderr
    error: envs/b.toml:1:12: definitions extend one another in a circle: a -> b -> a
          |
        1 | extends = ["a"]
          |            ^^^

    hint: put what they share into one that extends none of them: `envs/_NAME.toml` is no environment
    "#);
}

#[test]
fn a_definition_that_extends_none() {
    assert_snapshot!(locking("extends = [\"bse\"]\n"), @r#"
    exit 2
    --- stderr
    error: envs/api.toml:1:12: there is no definition `envs/bse.toml`
          |
        1 | extends = ["bse"]
          |            ^^^^^
    "#);
}

#[test]
fn an_environment_that_does_not_exist() {
    let context = TestContext::new(&[package("a", "1")]);
    context.define("queue", &["a"]);
    assert_snapshot!(context.kiln(&["lock", "queu"]).shown, @"
    exit 2
    --- stderr
    error: no environment `queu` in [WORKSPACE]/envs

    hint: did you mean `queue`?
    ");
    assert_snapshot!(context.kiln(&["build", "something"]).shown, @"
    exit 2
    --- stderr
    error: no environment `something` in [WORKSPACE]/envs

    hint: there are: queue
    ");
}

#[test]
fn no_workspace_and_no_environment() {
    let context = TestContext::new(&[]);
    assert_snapshot!(context.kiln(&["-C", "/", "lock"]).shown, @"
    exit 2
    --- stderr
    error: / is in no workspace: neither it nor a folder above it has a `kiln.toml`

    hint: `kiln init` starts a workspace here; `-C DIR` uses the one in DIR
    ");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: the workspace at [WORKSPACE] has no environment

    hint: an environment is a file `envs/NAME.toml`; `kiln init` writes a first one
    ");
    std::fs::remove_dir(context.workspace().join("envs")).unwrap();
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: the workspace at [WORKSPACE] has no environment

    hint: an environment is a file `envs/NAME.toml`; `kiln init` writes a first one
    ");
}

#[test]
fn a_mistake_in_kiln_toml() {
    let context = TestContext::new(&[]);
    context.write("kiln.toml", "[orgins]\ndebian = \"https://example.org\"\n");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: kiln.toml:1:2: unknown key `orgins`
          |
        1 | [orgins]
          |  ^^^^^^

    hint: did you mean `origins`?
    ");
}

#[test]
fn a_workspace_is_started_once() {
    let context = TestContext::new(&[]);
    assert_snapshot!(context.kiln(&["init", "demo"]).shown, @"
    exit 0
    --- stderr
    Started a workspace in `demo` with the environment `queue`
    Next: `kiln lock`, then `kiln build`
    ");
    assert!(context.workspace().join("demo/envs/queue.toml").is_file());
    assert_snapshot!(context.kiln(&["init", "demo"]).shown, @"
    exit 2
    --- stderr
    error: [WORKSPACE]/demo/kiln.toml is there already

    hint: `kiln lock` and `kiln build` work in it as it is
    ");
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
    assert_snapshot!(context.kiln(&["bild"]).shown, @"
    exit 2
    --- stderr
    error: unrecognized subcommand 'bild'

      tip: a similar subcommand exists: 'build'

    Usage: kiln [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    assert_snapshot!(context.kiln(&["build", "--platfrom", "x"]).shown, @"
    exit 2
    --- stderr
    error: unexpected argument '--platfrom' found

      tip: a similar argument exists: '--platform'

    Usage: kiln build --platform <PLATFORM> [ENV]...

    For more information, try '--help'.
    ");
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
    assert_snapshot!(context.kiln(&["list"]).shown, @"
    exit 2
    --- stderr
    error: KILN_HTTP_TIMEOUT is `soon`, a whole number from 1 to 86400 was expected

    hint: unset KILN_HTTP_TIMEOUT, or write the number alone
    ");
}

#[test]
fn words_for_kinds_of_values() {
    let table = locking("image = \"x\"\n");
    assert!(table.contains("expected a table, found the string \"x\""), "{table}");
    let number = locking("[users.app]\nuid = \"1000\"\n");
    assert!(number.contains("expected a whole number, found the string \"1000\""), "{number}");
    let base = locking("[debian]\nsuite = \"trixie\"\nbase = \"esential\"\n");
    assert!(base.contains("unknown value `esential`") && base.contains("did you mean `essential`?"), "{base}");
    let port = locking("[debian]\nsuite = \"trixie\"\n[image]\nports = [\"http\"]\n");
    assert!(port.contains("`http` is not a port"), "{port}");
}
