//! `kiln diff`: what is compared with what, how each kind of change is shown, and what others' text cannot do.

use std::process::Command;

use insta::assert_snapshot;

use crate::support::archive::Package;
use crate::support::context::{Run, TestContext, definition, package, package_with};
use crate::support::keys::NOW;

fn shop() -> Vec<Package> {
    vec![
        package_with("web", "1.0~rc1", &[("Depends", "lib (= 1.0)")], |deb| deb),
        package("lib", "1.0"),
        package("curl", "8"),
    ]
}

fn later() -> Vec<Package> {
    let mut packages = shop();
    packages.extend([
        package_with("web", "1.0", &[("Depends", "lib (>= 1.0), more")], |deb| deb),
        package("lib", "1:0.9"),
        package("more", "1"),
    ]);
    packages
}

/// git in the workspace, with nobody's configuration.
fn git(context: &TestContext, arguments: &[&str]) {
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

fn commit(context: &TestContext) {
    git(context, &["init", "-q"]);
    git(context, &["add", "."]);
    git(context, &["commit", "-q", "-m", "as it was"]);
}

/// A diff, with commits by a name of one length.
fn diff(context: &TestContext, arguments: &[&str]) -> String {
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

/// A lockfile that says everything in another way than the one before it.
fn edited() -> TestContext {
    let context = TestContext::new(&later());
    let steps = "[[run]]\nscript = \"echo one\"\n[[copy]]\nfrom = \"app\"\nto = \"/app\"\n[image]\nuser = \"app\"\n\
                 entrypoint = [\"web\"]\nenv = { GREETING = \"hello\", API_TOKEN = \"abc\" }\n";
    context.write("app/main", "one");
    context.write("envs/api.toml", definition(&["web", "curl"], &["linux/amd64", "linux/arm64"], "") + steps);
    context.ok(&["lock"]);
    let seen = "architecture = \"all\", scripts = \"sandbox\", scripts-sha256 = \"1111111111111111111111111111111111111111111111111111111111111111\" }";
    context.edit_lockfile("api", |text| text.replace("architecture = \"all\" }", seen));
    commit(&context);
    context.edit_lockfile("api", |text| {
        let steps = "[[environment.step]]\nkind = \"copy\"\nfrom = \"app\"\nto = \"/srv/app\"\n\n[[environment.step]]\nkind = \"run\"\nscript = \"\"\"echo one\necho two\"\"\"\n";
        let start = text.find("[[environment.step]]").unwrap();
        let end = text.find("[environment.image]").unwrap();
        let text = format!("{}{steps}\n{}", &text[..start], &text[end..]);
        text.replace("hello", "good day")
            .replace("API_TOKEN = \"abc\"", "API_TOKEN = \"xyz\"")
            .replace("user = \"app\"", "user = \"root\"")
            .replace("date = \"2026-09-21T12:13:20Z\"", "date = \"2026-09-22T12:13:20Z\"")
            .replace("keys = [\"A6CF", "keys = [\"B6CF")
    });
    context
}

/// Changes what follows the row of a package.
fn edit_package(context: &TestContext, name: &str, change: impl FnOnce(&str) -> String) {
    context.edit_lockfile("api", |text| {
        let start = text.find(&format!("name = \"{name}\"\nversion")).unwrap();
        let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end);
        format!("{}{}{}", &text[..start], change(&text[start..end]), &text[end..])
    });
}

/// On one platform, other bytes and scripts; and so on, a package for each class.
fn each_class() -> TestContext {
    let context = edited();
    edit_package(&context, "curl", |text| {
        let at = text.find("artifacts.\"linux/arm64\"").unwrap();
        let hash = text[at..].find("sha256 = \"").unwrap() + at + 10;
        format!("{}{}{}", &text[..hash], "2".repeat(64), &text[hash + 64..])
    });
    edit_package(&context, "lib", |text| text.replace(&"1".repeat(64), &"3".repeat(64)));
    edit_package(&context, "more", |text| {
        text.replace("version = \"1\"", "version = \"1~beta\"").replace("test/stable", "other/stable")
    });
    edit_package(&context, "web", |text| text.replace("requested = \"web\"\n", "required-by = [\"more\"]\n"));
    context
}

#[test]
fn each_class_in_text() {
    let context = each_class();
    assert_snapshot!(diff(&context, &[]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z
    >>> lockfiles  api  sha256:[HASH]  dated 2026-09-22T12:13:20Z

    Attention
    [B*] deb    curl         8                                               same version, other bytes: sha256 [HASH] -> [HASH]  linux/arm64
    [K ] index  test/stable  2026-09-21T12:13:20Z -> 2026-09-22T12:13:20Z    signed by +B6CFF8FA06EE510DCAC2FA3D2028DED7F3854300 -A6CFF8FA06EE510DCAC2FA3D2028DED7F3854300
    [S.] deb    lib          1:0.9                                           scripts changed: sha256 [HASH] -> [HASH]
    [O.] deb    more         1 -> 1~beta                                     origin test/stable -> other/stable  downgraded

    Steps and files
    [C ] copy  app to /srv/app      to /app -> /srv/app
    [C ] run   echo one             script changed: 1 line -> 2 lines

    Settings
    [C ] setting  image.env.API_TOKEN  (the value is hidden)
    [C ] setting  image.env.GREETING   hello -> good day
    [C ] setting  image.user           app -> root

    Not in the images
    [C-] deb  web  1.0    asked for no longer  needed by +more

    4 need attention, 1 rebuilt, 1 script change, 1 origin change, 1 signature change, 1 downgraded, 1 selection change, 2 steps, 3 image settings, 1 change of words, 1 index; 0 packages unchanged
    ");
}

#[test]
fn each_class_in_markdown() {
    let context = each_class();
    assert_snapshot!(diff(&context, &["--format", "markdown"]), @"
    exit 0
    --- stdout
    <!-- kiln diff -->
    ### kiln diff

    <code>git&#58;HEAD ([COMMIT])</code> -> <code>lockfiles</code>

    4 need attention, 1 rebuilt, 1 script change, 1 origin change, 1 signature change, 1 downgraded, 1 selection change, 2 steps, 3 image settings, 1 change of words, 1 index; 0 packages unchanged

    #### Attention

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | rebuilt (asked for) | <code>deb</code> | <code>curl</code> | <code>8</code> |  | <code>same version, other bytes&#58; sha256 [HASH] -&#62; [HASH]  linux/arm64</code> |
    | keys | <code>index</code> | <code>test/stable</code> | <code>2026-09-21T12&#58;13&#58;20Z -&#62; 2026-09-22T12&#58;13&#58;20Z</code> |  | <code>signed by +B6CFF8FA06EE510DCAC2FA3D2028DED7F3854300 -A6CFF8FA06EE510DCAC2FA3D2028DED7F3854300</code> |
    | scripts | <code>deb</code> | <code>lib</code> | <code>1&#58;0.9</code> |  | <code>scripts changed&#58; sha256 [HASH] -&#62; [HASH]</code> |
    | origin | <code>deb</code> | <code>more</code> | <code>1 -&#62; 1&#126;beta</code> |  | <code>origin test/stable -&#62; other/stable  downgraded</code> |

    #### Steps and files

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed | <code>copy</code> | <code>app to /srv/app</code> |  |  | <code>to /app -&#62; /srv/app</code> |
    | changed | <code>run</code> | <code>echo one</code> |  |  | <code>script changed&#58; 1 line -&#62; 2 lines</code> |

    #### Settings

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed | <code>setting</code> | <code>image.env.API&#95;TOKEN</code> | <code>(the value is hidden)</code> |  |  |
    | changed | <code>setting</code> | <code>image.env.GREETING</code> | <code>hello -&#62; good day</code> |  |  |
    | changed | <code>setting</code> | <code>image.user</code> | <code>app -&#62; root</code> |  |  |

    #### Not in the images

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed (asked for no longer) | <code>deb</code> | <code>web</code> | <code>1.0</code> |  | <code>asked for no longer  needed by +more</code> |
    ");
}

/// The classes that the lockfiles above do not have between them.
fn the_others() -> TestContext {
    let context = TestContext::new(&later());
    let steps =
        "[[copy]]\nfrom = \"app\"\nto = \"/app\"\n[[run]]\nscript = \"echo one\"\n[[run]]\nscript = \"echo two\"\n";
    context.write("app/main", "one");
    context.write("envs/api.toml", definition(&["web", "curl"], &["linux/amd64", "linux/arm64"], "") + steps);
    context.ok(&["lock"]);
    let ending = |image: &str, uid: u32| {
        format!(
            "\n[accounts.\"linux/amd64\".users]\napp = {uid}\n\n[[output]]\nplatform = \"linux/amd64\"\nplatform-lock = \"{}\"\n\
             image = \"{}\"\nlayers = [\n    {{ name = \"base\", diff-id = \"{}\", digest = \"{}\", size = 1000 }},\n]\n",
            "5".repeat(64),
            image.repeat(64),
            image.repeat(64),
            image.repeat(64),
        )
    };
    edit_package(&context, "curl", |text| text.replace(" }", ", scripts = \"none\", licences = [\"MIT\"] }"));
    context.edit_lockfile("api", |text| format!("{text}{}", ending("6", 100)));
    commit(&context);
    context.edit_lockfile("api", |text| {
        let text = text.replace(&ending("6", 100), &ending("7", 101));
        let text = text
            .replace("platforms = [\n    \"linux/amd64\",\n    \"linux/arm64\",\n]", "platforms = [\"linux/amd64\"]");
        let local = text.find("[[local]]").unwrap();
        let hash = local + text[local..].find("sha256 = \"").unwrap() + 10;
        let text = format!("{}{}{}", &text[..hash], "8".repeat(64), &text[hash + 64..]);
        text.replace("echo one", "echo")
            .replace("echo two", "echo one")
            .replace("script = \"echo\"", "script = \"echo two\"")
    });
    let bytes = |text: &str| {
        let hash = text.find("sha256 = \"").unwrap() + 10;
        format!("{}{}{}", &text[..hash], "9".repeat(64), &text[hash + 64..]).replace("MIT", "GPL-3+")
    };
    edit_package(&context, "curl", |text| bytes(&text.replace("version = \"8\"", "version = \"8.0\"")));
    edit_package(&context, "lib", |text| text.replace("source = \"lib\"", "source = \"libs\""));
    edit_package(&context, "web", |text| text.replace("architecture = \"all\"", "architecture = \"amd64\""));
    edit_package(&context, "more", |text| text.replace(" }", ", scripts = \"none\" }"));
    context
}

#[test]
fn the_other_classes_in_text() {
    let context = the_others();
    assert_snapshot!(diff(&context, &[]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z
    >>> lockfiles  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z

    Attention
    [! ] api   [PLATFORM]  sha256:[HASH] -> sha256:[HASH]    the same lock gave another image (drift)  1 of 1 layer changed
    [C ] user  app          100 -> 101                                      another number: volumes are owned by numbers

    Environments and platforms
    [R ] platform  linux/arm64

    Packages
    [U*] deb  curl  8 -> 8.0    licences +GPL-3+ -MIT
    [C*] deb  web   1.0         differs in architecture
    [C.] deb  lib   1:0.9       source lib 1:0.9 -> libs 1:0.9

    Steps and files
    [C ] files  app       1 file, [HASH] -> 1 file, [HASH]
    [C ] run    echo one  step 2 -> step 3
    [C ] run    echo two  step 3 -> step 2

    Not in the images
    [C ] seen  1 package  what was seen in them (scripts, licences, sizes) is noted on one side only, or more of it

    2 need attention, 1 drift, 1 renumbered, 1 upgraded, 1 licence change, 1 source change, 1 placement change, 1 platform, 2 steps, 1 folder or file copied, 1 observed; 0 packages unchanged
    ");
    let names = "drift,renumbered,licence,source,placement,platform,step,files,observed";
    for name in names.split(',') {
        assert_eq!(context.kiln(&["diff", "--fail-on", name]).code, Some(1), "{name}");
    }
}

#[test]
fn the_other_classes_in_markdown() {
    let context = the_others();
    assert_snapshot!(diff(&context, &["--format", "markdown"]), @"
    exit 0
    --- stdout
    <!-- kiln diff -->
    ### kiln diff

    <code>git&#58;HEAD ([COMMIT])</code> -> <code>lockfiles</code>

    2 need attention, 1 drift, 1 renumbered, 1 upgraded, 1 licence change, 1 source change, 1 placement change, 1 platform, 2 steps, 1 folder or file copied, 1 observed; 0 packages unchanged

    #### Attention

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | drift | <code>api</code> | <code>[PLATFORM]</code> | <code>sha256&#58;[HASH] -&#62; sha256&#58;[HASH]</code> |  | <code>the same lock gave another image (drift)  1 of 1 layer changed</code> |
    | changed | <code>user</code> | <code>app</code> | <code>100 -&#62; 101</code> |  | <code>another number&#58; volumes are owned by numbers</code> |

    #### Environments and platforms

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | removed | <code>platform</code> | <code>linux/arm64</code> |  |  |  |

    #### Packages

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | upgraded (asked for) | <code>deb</code> | <code>curl</code> | <code>8 -&#62; 8.0</code> |  | <code>licences +GPL-3+ -MIT</code> |
    | changed (asked for) | <code>deb</code> | <code>web</code> | <code>1.0</code> |  | <code>differs in architecture</code> |
    | changed | <code>deb</code> | <code>lib</code> | <code>1&#58;0.9</code> |  | <code>source lib 1&#58;0.9 -&#62; libs 1&#58;0.9</code> |

    #### Steps and files

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed | <code>files</code> | <code>app</code> | <code>1 file, [HASH] -&#62; 1 file, [HASH]</code> |  |  |
    | changed | <code>run</code> | <code>echo one</code> | <code>step 2 -&#62; step 3</code> |  |  |
    | changed | <code>run</code> | <code>echo two</code> | <code>step 3 -&#62; step 2</code> |  |  |

    #### Not in the images

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed | <code>seen</code> | <code>1 package</code> | <code>what was seen in them (scripts, licences, sizes) is noted on one side only, or more of it</code> |  |  |
    ");
}

#[test]
fn a_change_in_json() {
    let context = each_class();
    let run = context.kiln(&["diff", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["schema"], serde_json::json!({ "name": "kiln/diff", "version": 1 }));
    assert_snapshot!(serde_json::to_string_pretty(&json["diff"]["summary"]).unwrap(), @r#"
    {
      "attention": 4,
      "classes": {
        "downgraded": 1,
        "image": 3,
        "index": 1,
        "origin": 1,
        "rebuilt": 1,
        "scripts": 1,
        "selection": 1,
        "signature": 1,
        "step": 2,
        "words": 1
      },
      "same": false,
      "same-content": false,
      "unchanged": 0
    }
    "#);
    let packages = &json["diff"]["environments"][0]["packages"];
    let curl = packages.as_array().unwrap().iter().find(|change| change["new"]["name"] == "curl").unwrap();
    assert_snapshot!(context.filter(&serde_json::to_string_pretty(curl).unwrap()), @r#"
    {
      "classes": [
        "rebuilt"
      ],
      "new": {
        "artifacts": {
          "linux/arm64": {
            "architecture": "all",
            "built": false,
            "diversions": [],
            "licences": [],
            "links": {},
            "path": "pool/main/curl_8_all.deb",
            "places": [],
            "scripts": "sandbox",
            "scripts-sha256": "[HASH]",
            "sha256": "[HASH]",
            "size": 664
          }
        },
        "base": false,
        "build-for": [],
        "ecosystem": "debian",
        "name": "curl",
        "origin": "test/stable",
        "requested": "curl",
        "required-by": [],
        "source": "curl",
        "source-version": "8",
        "version": "8"
      },
      "old": {
        "artifacts": {
          "linux/arm64": {
            "architecture": "all",
            "built": false,
            "diversions": [],
            "licences": [],
            "links": {},
            "path": "pool/main/curl_8_all.deb",
            "places": [],
            "scripts": "sandbox",
            "scripts-sha256": "[HASH]",
            "sha256": "[HASH]",
            "size": 664
          }
        },
        "base": false,
        "build-for": [],
        "ecosystem": "debian",
        "name": "curl",
        "origin": "test/stable",
        "requested": "curl",
        "required-by": [],
        "source": "curl",
        "source-version": "8",
        "version": "8"
      },
      "platforms": [
        "linux/arm64"
      ]
    }
    "#);
    assert_eq!(run.stdout, context.kiln(&["diff", "--format", "json"]).stdout, "the same question, the same answer");
}

/// Names and versions that would like to be more than that.
const HOSTILE: [&str; 6] = [
    "\\u001b[31mred\\u001b[0m",
    "a|b`c`@someone #1 <img src=x>",
    "[link](https://example.org) www.example.org",
    "one\\ntwo\\r\\n::error::three",
    "\\u202eesrever\\u2066\\u200b",
    "-->\\\\|</code></details>*_~$x$:smile:",
];

#[test]
fn hostile_names_are_text() {
    let context = TestContext::new(&shop());
    context.define("api", &["curl"]);
    context.ok(&["lock"]);
    commit(&context);
    context.edit_lockfile("api", |text| {
        let mut text = text.to_owned();
        for name in HOSTILE {
            text.push_str(&format!(
                "\n[[package]]\necosystem = \"npm\"\nname = \"{name}\"\nversion = \"{name}\"\nsource = \"x\"\nsource-version = \"1\"\n\
                 origin = \"npm\"\nartifacts.\"linux/amd64\" = {{ path = \"x\", sha256 = \"{}\", architecture = \"all\" }}\n\
                 artifacts.\"linux/arm64\" = {{ path = \"x\", sha256 = \"{}\", architecture = \"all\" }}\n",
                "1".repeat(64),
                "1".repeat(64),
            ));
        }
        text
    });
    let text = diff(&context, &[]);
    assert_snapshot!(text, @r"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z
    >>> lockfiles  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z

    Packages
    [A.] npm  �[31mred�[0m                              �[31mred�[0m
    [A.] npm  -->\|</code></details>*_~$x$:smile:       -->\|</code></details>*_~$x$:smile:
    [A.] npm  [link](https://example.org) www.example.org  [link](https://example.org) www.example.org
    [A.] npm  a|b`c`@someone #1 <img src=x>             a|b`c`@someone #1 <img src=x>
    [A.] npm  one�two��::error::three                   one�two��::error::three
    [A.] npm  �esrever��                                �esrever��

    6 added; 1 package unchanged
    ");
    assert!(!text.contains(['\u{1b}', '\r', '\u{202e}', '\u{200b}']));
    let markdown = diff(&context, &["--format", "markdown"]);
    assert_snapshot!(markdown, @"
    exit 0
    --- stdout
    <!-- kiln diff -->
    ### kiln diff

    <code>git&#58;HEAD ([COMMIT])</code> -> <code>lockfiles</code>

    6 added; 1 package unchanged

    #### Packages

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | added | <code>npm</code> | <code>�&#91;31mred�&#91;0m</code> | <code>�&#91;31mred�&#91;0m</code> |  |  |
    | added | <code>npm</code> | <code>--&#62;&#92;&#124;&#60;/code&#62;&#60;/details&#62;&#42;&#95;&#126;&#36;x&#36;&#58;smile&#58;</code> | <code>--&#62;&#92;&#124;&#60;/code&#62;&#60;/details&#62;&#42;&#95;&#126;&#36;x&#36;&#58;smile&#58;</code> |  |  |
    | added | <code>npm</code> | <code>&#91;link&#93;(https&#58;//example.org) www&#46;example.org</code> | <code>&#91;link&#93;(https&#58;//example.org) www&#46;example.org</code> |  |  |
    | added | <code>npm</code> | <code>a&#124;b&#96;c&#96;&#64;someone &#35;1 &#60;img src=x&#62;</code> | <code>a&#124;b&#96;c&#96;&#64;someone &#35;1 &#60;img src=x&#62;</code> |  |  |
    | added | <code>npm</code> | <code>one�two��&#58;&#58;error&#58;&#58;three</code> | <code>one�two��&#58;&#58;error&#58;&#58;three</code> |  |  |
    | added | <code>npm</code> | <code>�esrever��</code> | <code>�esrever��</code> |  |  |
    ");
}

#[test]
fn markdown_is_cut_off_and_says_by_how_much() {
    let context = TestContext::new(&shop());
    context.define("api", &["curl"]);
    context.ok(&["lock"]);
    commit(&context);
    context.edit_lockfile("api", |text| {
        let mut text = text.to_owned();
        for number in 0..300 {
            text.push_str(&format!(
                "\n[[package]]\necosystem = \"npm\"\nname = \"package-{number:03}\"\nversion = \"1.0.0\"\nsource = \"x\"\n\
                 source-version = \"1\"\norigin = \"npm\"\nartifacts.\"linux/amd64\" = {{ path = \"x\", sha256 = \"{0}\", \
                 architecture = \"all\" }}\nartifacts.\"linux/arm64\" = {{ path = \"x\", sha256 = \"{0}\", architecture = \"all\" }}\n",
                "1".repeat(64),
            ));
        }
        text
    });
    let whole = context.kiln(&["diff", "--format", "markdown"]).stdout;
    assert!(whole.contains("<details><summary>Packages (300)</summary>") && whole.contains("</details>"), "{whole}");
    assert!(!whole.contains("more rows"), "{whole}");
    for most in [1000, 1500, 4000, 20_000] {
        let cut = context.kiln(&["diff", "--format", "markdown", "--max-bytes", &most.to_string()]).stdout;
        assert!(cut.trim_end().len() <= most, "{} of {most}: {cut}", cut.len());
        let written = cut.matches("package-").count();
        assert!(cut.contains(&format!("… {} more rows", 300 - written)), "{cut}");
        assert_eq!(cut.matches("<details>").count(), cut.matches("</details>").count());
    }
}
