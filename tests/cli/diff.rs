//! `kiln diff`: what is compared with what, and how it ends. What a change looks like is in `changes.rs`.

use std::process::Command;

use insta::assert_snapshot;

use crate::support::archive::Package;
use crate::support::context::{Run, TestContext, package, package_with};
use crate::support::keys::NOW;

pub fn shop() -> Vec<Package> {
    vec![
        package_with("web", "1.0~rc1", &[("Depends", "lib (= 1.0)")], |deb| deb),
        package("lib", "1.0"),
        package("curl", "8"),
    ]
}

pub fn later() -> Vec<Package> {
    let mut packages = shop();
    packages.extend([
        package_with("web", "1.0", &[("Depends", "lib (>= 1.0), more")], |deb| deb),
        package("lib", "1:0.9"),
        package("more", "1"),
    ]);
    packages
}

/// git in the workspace, with nobody's configuration.
pub fn git(context: &TestContext, arguments: &[&str]) {
    let identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"];
    let output = Command::new("git")
        .args(identity)
        .args(arguments)
        .current_dir(context.workspace())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", context.folder().join("home"))
        .output()
        .expect("git is there");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn commit(context: &TestContext) {
    git(context, &["init", "-q"]);
    git(context, &["add", "."]);
    git(context, &["commit", "-q", "-m", "as it was"]);
}

/// A diff, with commits by a name of one length.
pub fn diff(context: &TestContext, arguments: &[&str]) -> String {
    let run = context.kiln(&[&["diff"], arguments].concat());
    shown(context, &run)
}

fn shown(context: &TestContext, run: &Run) -> String {
    let mut commits: Vec<String> = Vec::new();
    for revision in ["HEAD", "HEAD~1"] {
        let output = Command::new("git")
            .args(["rev-parse", "--verify", "-q", revision])
            .current_dir(context.workspace())
            .output()
            .expect("git is there");
        commits.extend(String::from_utf8(output.stdout).map(|text| text.trim().to_owned()));
    }
    let mut text = run.shown.clone();
    for commit in commits.iter().filter(|commit| commit.len() >= 40) {
        text = text.replace(commit.as_str(), "[COMMIT]").replace(&commit[..12], "[COMMIT]");
    }
    // The beginnings of hashes.
    let mut out = String::new();
    for word in text.split_inclusive([' ', '\n', ':', ';']) {
        let hex = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match word.split_once('…') {
            Some((start, rest)) if hex(start) => out.push_str(&format!("[HASH]{rest}")),
            _ => out.push_str(word),
        }
    }
    out
}

/// Locked and committed; then the archive has moved on, and so have the pins.
fn moved() -> TestContext {
    let context = TestContext::new(&shop());
    context.define("api", &["web", "curl"]);
    context.define("queue", &["web"]);
    context.ok(&["lock"]);
    commit(&context);
    context.archive_dated(&later(), NOW - 3600);
    context.define("api", &["web"]);
    context.ok(&["update"]);
    context
}

#[test]
fn since_the_last_commit() {
    let context = moved();
    assert_snapshot!(diff(&context, &[]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  2 environments
    >>> lockfiles  2 environments

    Packages
    [R*] deb  curl  8               -664 B  api
    [U*] deb  web   1.0~rc1 -> 1.0          all environments
    [U.] deb  lib   1.0 -> 1:0.9      +4 B  all environments
    [A.] deb  more  1               +664 B  via web  all environments

    Not in the images
    [C ] index    test/stable      2026-09-21T12:13:20Z -> 2026-09-21T13:13:20Z    all environments
    [C ] setting  debian.packages  -curl                                           api

    4 upgraded, 2 added, 1 removed, 1 change of words, 2 indexes; 0 packages unchanged
    ");
    assert_snapshot!(diff(&context, &["--env", "queue"]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  queue  sha256:[HASH]  dated 2026-09-21T12:13:20Z
    >>> lockfiles  queue  sha256:[HASH]  dated 2026-09-21T13:13:20Z

    Packages
    [U*] deb  web   1.0~rc1 -> 1.0
    [U.] deb  lib   1.0 -> 1:0.9      +4 B
    [A.] deb  more  1               +664 B  via web

    Not in the images
    [C ] index  test/stable  2026-09-21T12:13:20Z -> 2026-09-21T13:13:20Z

    2 upgraded, 1 added, 1 index; 0 packages unchanged
    ");
    assert_eq!(diff(&context, &["queue"]), diff(&context, &["--env", "queue"]));
    git(&context, &["add", "."]);
    git(&context, &["commit", "-q", "-m", "moved"]);
    assert_snapshot!(diff(&context, &[]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  2 environments
    >>> lockfiles  2 environments

    No differences: both sides lock the same 6 packages in 2 environments.
    ");
    assert_snapshot!(diff(&context, &["git:HEAD", "git:HEAD~1", "-e", "queue"]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  queue  sha256:[HASH]  dated 2026-09-21T13:13:20Z
    >>> git:HEAD~1 ([COMMIT])  queue  sha256:[HASH]  dated 2026-09-21T12:13:20Z

    Attention
    [D*] deb  web  1.0 -> 1.0~rc1        downgraded
    [D.] deb  lib  1:0.9 -> 1.0    -4 B  downgraded

    Packages
    [R.] deb  more  1  -664 B  via web

    Not in the images
    [C ] index  test/stable  2026-09-21T13:13:20Z -> 2026-09-21T12:13:20Z

    2 need attention, 2 downgraded, 1 removed, 1 index; 0 packages unchanged
    ");
}

#[test]
fn environments_come_and_go() {
    let context = moved();
    git(&context, &["add", "."]);
    git(&context, &["commit", "-q", "-m", "moved"]);
    std::fs::remove_file(context.workspace().join("lockfiles/queue.lock")).unwrap();
    context.define("other", &["lib"]);
    context.ok(&["lock", "other"]);
    assert_snapshot!(diff(&context, &[]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  2 environments
    >>> lockfiles  2 environments

    Environments and platforms
    [A ] environment  other  1 package
    [R ] environment  queue  3 packages

    2 environments; 3 packages unchanged, 1 environment unchanged
    ");
    assert_snapshot!(diff(&context, &["git:HEAD", "lockfiles", "--format", "json", "-e", "queue"]), @r#"
    exit 0
    --- stdout
    {
      "diff": {
        "environments": [
          {
            "locked": 3,
            "name": "queue",
            "new": null,
            "old": {
              "dated": "2026-09-21T13:13:20Z",
              "place": "git:[COMMIT]:lockfiles/queue.lock",
              "sha256": "[HASH]"
            },
            "status": "removed"
          }
        ],
        "new": {
          "operand": "lockfiles"
        },
        "old": {
          "operand": "git:HEAD ([COMMIT])"
        },
        "summary": {
          "attention": 0,
          "classes": {
            "environment": 1
          },
          "same": false,
          "same-content": false,
          "unchanged": 0
        }
      },
      "schema": {
        "name": "kiln/diff",
        "version": 1
      }
    }
    "#);
}

#[test]
fn two_lockfiles_whatever_they_are_called() {
    let context = moved();
    assert_snapshot!(diff(&context, &["queue", "lockfiles/api.lock"]), @"
    exit 0
    --- stdout
    <<< queue  api  sha256:[HASH]  dated 2026-09-21T13:13:20Z
    >>> lockfiles/api.lock  api  sha256:[HASH]  dated 2026-09-21T13:13:20Z

    No differences: both sides lock the same 3 packages.
    ");
    // The paths are git's: from the top of the repository.
    let by_path = diff(&context, &["git:HEAD:lockfiles/api.lock", "queue"]);
    assert!(by_path.contains("<<< git:HEAD:lockfiles/api.lock ([COMMIT])  queue"), "{by_path}");
    let by_folder = diff(&context, &["git:HEAD:lockfiles", "lockfiles"]);
    assert_eq!(by_folder.lines().skip(3).collect::<Vec<_>>(), diff(&context, &[]).lines().skip(3).collect::<Vec<_>>());
    // One among several is found by its name.
    let found = diff(&context, &["git:HEAD", "lockfiles/api.lock"]);
    assert!(found.contains(">>> lockfiles/api.lock  api"), "{found}");
}

#[test]
fn a_workspace_below_the_top_of_its_repository() {
    let context = TestContext::new(&shop());
    context.define("api", &["curl"]);
    context.ok(&["lock"]);
    git(&context, &["init", "-q", ".."]);
    git(&context, &["add", "."]);
    git(&context, &["commit", "-q", "-m", "as it was"]);
    for arguments in [&["diff"][..], &["diff", "git:HEAD:work/lockfiles"], &["-C", "lockfiles", "diff"]] {
        let run = context.ok(arguments);
        assert!(run.stdout.contains("No differences: both sides lock the same 1 package."), "{}", run.shown);
    }
}

#[test]
fn a_lockfile_from_standard_input() {
    let context = moved();
    let mut command = context.command(&["diff", "-", "api"]);
    let file = std::fs::File::open(context.workspace().join("lockfiles/api.lock")).unwrap();
    let output = command.stdin(file).output().unwrap();
    assert_snapshot!(shown(&context, &context.run(&output)), @"
    exit 0
    --- stdout
    <<< standard input  api  sha256:[HASH]  dated 2026-09-21T13:13:20Z
    >>> api  api  sha256:[HASH]  dated 2026-09-21T13:13:20Z

    No differences: both sides lock the same 3 packages.
    ");
}

#[test]
fn operands_that_are_nothing() {
    let context = moved();
    assert_snapshot!(diff(&context, &["apo"]), @"
    exit 2
    --- stderr
    error: `apo` is no environment, and there is no such file

    hint: did you mean `api`?
    ");
    assert_snapshot!(diff(&context, &["git:nowhere"]), @"
    exit 2
    --- stderr
    error: git knows no commit `nowhere`

    hint: a branch, a tag or a commit is named, such as `git:HEAD~1`; before the first commit there is none, and a clone that is not complete lacks the earlier ones
    ");
    assert_snapshot!(diff(&context, &["git:--upload-pack=x"]), @"
    exit 2
    --- stderr
    error: `--upload-pack=x` cannot be a revision of git

    hint: for example: `git:HEAD`, `git:HEAD~3`, `git:main`, `git:v1.2`
    ");
    assert_snapshot!(diff(&context, &["git:HEAD:nothing"]), @"
    exit 2
    --- stderr
    error: there is no `nothing` in git at `HEAD`

    hint: the path is from the top of the repository; `git ls-tree -r --name-only HEAD` lists all
    ");
    assert_snapshot!(diff(&context, &["-", "-"]), @"
    exit 2
    --- stderr
    error: both sides are `-`, and standard input can be read once

    hint: name a file on one side: `kiln diff - lockfiles/api.lock`
    ");
    assert_snapshot!(diff(&context, &["--env", "apj"]), @"
    exit 2
    --- stderr
    error: neither side has a lockfile of `apj`

    hint: did you mean `api`?
    ");
    context.write("damaged.lock", "version = 1\n");
    assert_eq!(context.kiln(&["diff", "damaged.lock", "api"]).code, Some(2));
    std::fs::remove_dir_all(context.workspace().join(".git")).unwrap();
    assert_snapshot!(diff(&context, &[]), @"
    exit 2
    --- stderr
    error: [WORKSPACE] is in no repository of git that can be read
      caused by: running `git rev-parse --git-dir` in [WORKSPACE]
      caused by: fatal: not a git repository (or any of the parent directories): .git

    hint: name two lockfiles or folders of lockfiles instead: `kiln diff OLD NEW`
    ");
}

#[test]
fn git_is_asked_for_nothing_that_could_run() {
    let context = moved();
    git(&context, &["config", "core.fsmonitor", "touch ran"]);
    git(&context, &["config", "diff.external", "touch ran"]);
    git(&context, &["config", "core.pager", "touch ran"]);
    git(&context, &["config", "filter.x.smudge", "touch ran"]);
    git(&context, &["config", "diff.x.textconv", "touch ran"]);
    context.write(".gitattributes", "*.lock filter=x diff=x\n");
    assert_eq!(context.kiln(&["diff"]).code, Some(0));
    assert!(!context.workspace().join("ran").exists());
}

#[test]
fn exit_codes() {
    let context = moved();
    for (arguments, code) in [
        (vec![], 0),
        (vec!["--exit-code"], 1),
        (vec!["--fail-on", "downgraded,rebuilt"], 0),
        (vec!["--fail-on", "rebuilt,added"], 1),
        (vec!["--fail-on", "any"], 1),
        (vec!["--fail-on", "attention"], 0),
        (vec!["api", "lockfiles/api.lock", "--exit-code", "--fail-on", "any"], 0),
        (vec!["git:HEAD", "--exit-code", "--format", "json"], 1),
        (vec!["--exit-code", "--max-bytes", "10"], 2),
    ] {
        let run = context.kiln(&[&["diff"], arguments.as_slice()].concat());
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.shown);
    }
    assert_snapshot!(diff(&context, &["--fail-on", "rebuild"]), @"
    exit 2
    --- stderr
    error: `rebuild` is no class of changes

    hint: did you mean `rebuilt`?
    ");
    assert_snapshot!(context.kiln(&["list", "--format", "markdown"]).shown, @"
    exit 2
    --- stderr
    error: only `kiln diff` writes Markdown

    hint: use `--format text` or `--format json`
    ");
}
