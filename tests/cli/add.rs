//! `kiln add` and `kiln remove`: what becomes of the definition, of its lock, and of neither.

use std::fs;
use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::languages;
use crate::support::archive::Files;
use crate::support::context::{TestContext, package, package_with};
use crate::support::server::Server;

fn context() -> TestContext {
    let context = TestContext::new(&[
        package_with("web", "1.0", &[("Depends", "lib")], |deb| deb),
        package("lib", "1.2"),
        package("curl", "8.1-2"),
        package("zsh", "5"),
    ]);
    context.define("api", &["web"]);
    context
}

fn definition(context: &TestContext, name: &str) -> String {
    fs::read_to_string(context.workspace().join(format!("envs/{name}.toml"))).unwrap()
}

#[test]
fn packages_are_added_and_locked() {
    let context = context();
    context.ok(&["lock"]);
    let before = definition(&context, "api");
    assert_snapshot!(context.kiln(&["add", "api", "zsh", "debian:curl=8.1*"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: debian:zsh added, locked at 5
    envs/api.toml: debian:curl=8.1* added, locked at 8.1-2
    api: Added    curl 8.1-2
    api: Added    zsh 5
    Locked 4 packages in [TIME]
    ");
    assert_eq!(definition(&context, "api"), before.replace("[\"web\"]", "[\"curl=8.1*\", \"web\", \"zsh\"]"));
    context.ok(&["lock", "--check"]);
    // What is there is left alone, or asked for otherwise.
    let before = definition(&context, "api");
    assert_snapshot!(context.kiln(&["add", "api", "curl", "zsh"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: nothing to do, debian:curl=8.1* is asked for
    envs/api.toml: nothing to do, debian:zsh is asked for
    ");
    assert_eq!(definition(&context, "api"), before);
    assert_snapshot!(context.kiln(&["add", "api", "curl=8.1-2"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: debian:curl=8.1-2 in place of debian:curl=8.1*, locked at 8.1-2
    api: settings updated, no package moved
    Locked 4 packages in [TIME]
    ");
    assert_snapshot!(context.kiln(&["remove", "api", "curl", "zsh"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: debian:curl=8.1-2 removed
    envs/api.toml: debian:zsh removed
    api: Removed  curl 8.1-2
    api: Removed  zsh 5
    Locked 2 packages in [TIME]
    ");
    assert!(definition(&context, "api").contains("packages = [\"web\"]\n"));
    context.ok(&["lock", "--check"]);
}

#[test]
fn what_cannot_be_locked_is_not_written() {
    let context = context();
    context.ok(&["lock"]);
    let (before, lock) = (definition(&context, "api"), context.lockfile("api"));
    assert_snapshot!(context.kiln(&["add", "api", "crul"]).shown, @"
    exit 1
    --- stderr
    error: locking `api`
      caused by: resolving for [PLATFORM]
      caused by: no package is called `crul` in test/stable

    hint: did you mean `curl`?
    hint: envs/api.toml is left as it was; with `--no-lock` it is changed, and not locked
    ");
    assert_snapshot!(context.kiln(&["add", "api", "curl", "--dry-run"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: debian:curl added, locked at 8.1-2
    api: Added    curl 8.1-2
    api: not written, as `--dry-run` asks
    Resolved 3 packages in [TIME]
    ");
    assert_eq!((definition(&context, "api"), context.lockfile("api")), (before, lock));
    assert_snapshot!(context.kiln(&["add", "api", "crul", "--no-lock"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: debian:crul added
    ");
    assert!(definition(&context, "api").contains("[\"crul\", \"web\"]"));
    assert_eq!(context.kiln(&["lock", "--check"]).code, Some(1));
    assert_snapshot!(context.kiln(&["remove", "api", "crul"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: debian:crul removed
    api: up to date
    Locked 2 packages in [TIME]
    ");
}

#[test]
fn what_is_typed_wrongly_is_told() {
    let context = context();
    let before = definition(&context, "api");
    for (arguments, expected) in [
        (["add", "api", "pip:flask"], "did you mean `pypi:flask`?"),
        (["add", "api", "httpx>=1"], "for Python's package write `pypi:httpx>=1`"),
        (["add", "api", "bootstrap@5"], "for npm's `npm:NAME@RANGE`"),
        (["add", "api", "npm:a@git+ssh://x/y"], "from a git repository"),
        (["add", "apii", "curl"], "did you mean `api`?"),
        (["add", "api", "debian:"], "`` asks for no Debian package"),
    ] {
        let run = context.kiln(&arguments);
        assert!(run.code != Some(0) && run.stderr.contains(expected), "{}", run.shown);
    }
    assert_eq!(definition(&context, "api"), before);
}

#[test]
fn what_cannot_be_removed_is_explained() {
    let context = context();
    let own = "extends = [\"_base\"]\n\n[debian]\npackages = [\"web\", \"lib | zsh\"]\n\n[npm]\ndependencies = { web = \"1\" }\n";
    let base = definition(&context, "api").replace("[\"web\"]", "[\"curl=8*\"]");
    context.write("envs/_base.toml", base);
    context.write("envs/api.toml", own);
    for (what, expected) in [
        ("curl", "`debian:curl=8*` comes from envs/_base.toml, which `api` extends"),
        ("wb", "did you mean `web`?"),
        ("lib", "`kiln remove api 'lib | zsh'`"),
        ("debian:web=1", "it asks for `debian:web`: `kiln remove api web`"),
        ("web", "`web` may be `debian:web` or `npm:web`"),
        ("nothing", "`kiln list api --requested` lists what it asks for"),
    ] {
        let run = context.kiln(&["remove", "api", what]);
        assert!(run.code != Some(0) && run.stderr.contains(expected), "{}", run.shown);
    }
    assert_eq!(definition(&context, "api"), own);
    assert_snapshot!(context.kiln(&["add", "api", "curl"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: nothing to do, debian:curl=8* is asked for by envs/_base.toml, which it extends
    ");
    context.ok(&["add", "api", "curl", "--format", "json"]);
    context.ok(&["remove", "api", "npm:web", "--no-lock"]);
    context.ok(&["remove", "api", "lib | zsh"]);
    assert!(definition(&context, "api").contains("packages = [\"web\"]"));
    assert_snapshot!(context.kiln(&["remove", "api", "lib"]).shown, @"
    exit 1
    --- stderr
    error: envs/api.toml does not ask for `lib`

    hint: it is there because `web` needs it
    ");
}

#[test]
fn languages_get_the_bound_that_their_users_expect() {
    let server = Server::start(Files::new());
    let packages = [(json!({ "name": "app", "version": "1.2.3" }), vec![("index.js", "")])];
    let mut files = languages::registry(&packages, &server.url(""));
    files.extend(languages::shop());
    server.replace(files);
    let context = languages::context(&server, "# Who runs it.\n[users.app]\nuid = 1000\n");
    assert_snapshot!(context.kiln(&["add", "api", "pypi:util", "npm:app"]).shown, @"
    exit 0
    --- stderr
    envs/api.toml: pypi:util>=2.5 added, locked at 2.5
    envs/api.toml: npm:app@^1.2.3 added, locked at 1.2.3
    api: 4 packages
    Locked 4 packages in [TIME]
    ");
    let text = definition(&context, "api");
    assert!(text.contains("[python]\npackages = [\"util>=2.5\"]\n"), "{text}");
    assert!(text.contains("[npm]\ndependencies = { app = \"^1.2.3\" }\n\n# Who runs it.\n[users.app]\n"), "{text}");
    let lock = context.lockfile("api");
    assert!(lock.contains("requested = \"util>=2.5\"") && lock.contains("requested = \"^1.2.3\""), "{lock}");
    context.ok(&["lock", "--check"]);
    // As locked at once.
    context.write("lockfiles/other.lock", &lock);
    fs::remove_file(context.workspace().join("lockfiles/api.lock")).unwrap();
    context.ok(&["lock", "api"]);
    assert_eq!(context.lockfile("api"), lock);
    context.ok(&["add", "api", "pypi:web<2"]);
    assert!(definition(&context, "api").contains("packages = [\"util>=2.5\", \"web<2\"]"));
    context.ok(&["remove", "api", "pypi:util", "web", "npm:app"]);
    let text = definition(&context, "api");
    assert!(!text.contains("[python]") && !text.contains("[npm]") && text.contains("# Who runs it.\n"), "{text}");
    assert!(!context.lockfile("api").contains("pypi"));
    let taken = context.kiln(&["add", "api", "util"]);
    assert!(taken.code == Some(1) && !taken.stderr.contains("pypi:"), "{}", taken.shown);
    context.ok(&["add", "api", "pypi:web", "--no-lock"]);
    let taken = context.kiln(&["add", "api", "util"]);
    assert!(taken.stderr.contains("`util` was taken for Debian's package; `pypi:util` is Python's"), "{}", taken.shown);
    context.ok(&["add", "api", "npm:app", "--no-lock"]);
    assert!(definition(&context, "api").contains("dependencies = { app = \"*\" }"));
}

#[test]
fn an_environment_of_one_ecosystem_needs_no_prefix() {
    let context = context();
    context.write("envs/site.toml", "[debian]\nsuites = []\nbase = \"none\"\n[npm]\n");
    context.ok(&["add", "site", "bootstrap@5", "--no-lock"]);
    assert!(definition(&context, "site").contains("dependencies = { bootstrap = \"5\" }"));
    context.write("envs/site.toml", "[debian]\nsuites = []\nbase = \"none\"\n");
    let run = context.kiln(&["add", "site", "bootstrap"]);
    assert!(run.code == Some(2) && run.stderr.contains("say whose packages they are"), "{}", run.shown);
}

#[test]
fn as_json() {
    let context = context();
    let run = context.ok(&["add", "api", "curl", "web", "--format", "json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["schema"], json!({ "name": "kiln/add", "version": 1 }));
    let add = &report["add"];
    assert_eq!((&add["written"], &add["definition"]), (&json!(true), &json!("envs/api.toml")));
    assert_eq!(
        add["asked"],
        json!([
            { "ecosystem": "debian", "name": "curl", "action": "added", "after": "curl", "version": "8.1-2" },
            { "ecosystem": "debian", "name": "web", "action": "unchanged", "after": "web", "version": "1.0" },
        ])
    );
    assert_eq!(add["lock"]["packages"], json!(3));
    let run = context.ok(&["remove", "api", "curl", "--dry-run", "--format", "json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&report["remove"]["written"], &report["remove"]["asked"][0]["action"]),
        (&json!(false), &json!("removed"))
    );
}

#[test]
fn a_definition_that_is_changed_meanwhile_is_left_alone() {
    let context = context();
    let text = definition(&context, "api");
    // The archive answers slowly, and the definition is changed while it does.
    context.server.delay(Duration::from_millis(500));
    let child = context.spawn(&["add", "api", "curl"]);
    context.server.wait_for_request();
    let changed = text.replace("web", "zsh");
    context.write("envs/api.toml", &changed);
    let run = context.finish(child);
    assert!(run.code == Some(2) && run.stderr.contains("changed meanwhile by someone else"), "{}", run.shown);
    assert_eq!(definition(&context, "api"), changed);
    assert!(!context.workspace().join("lockfiles/api.lock").exists());
}
