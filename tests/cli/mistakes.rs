//! What people get wrong in steps, settings and files: each error names what it is about and says what helps.

use std::os::unix::fs::symlink;
use std::process::Command;

use insta::assert_snapshot;

use crate::support::archive::Files;
use crate::support::context::{TestContext, definition, here, package};
use crate::support::registry::Registry;
use crate::support::server::{Fault, Server};

/// A workspace whose environment `api` has the package `lib`, no base, and `more`.
fn context(more: &str) -> TestContext {
    let context = TestContext::new(&[package("lib", "1.2"), package("python3", "3.13.5-1")]);
    define(&context, "lib", more);
    context
}

fn define(context: &TestContext, package: &str, more: &str) {
    let definition = definition(&[package], &[here().name()], "");
    context.write("envs/api.toml", format!("{definition}\n{more}"));
}

fn locking(more: &str) -> String {
    context(more).kiln(&["lock"]).shown
}

#[test]
fn a_copy_from_outside_the_workspace() {
    assert_snapshot!(locking("[[copy]]\nfrom = \"../api\"\nto = \"/app\"\n"), @"
    exit 2
    --- stderr
    error: envs/api.toml:13:1: `from` is `../api`, a path below the workspace's folder was expected
           |
        13 | [[copy]]
           | ^^^^^^^^

    hint: what a lock holds is the workspace's own: put the file there, or `[[fetch]]` it by its `url`
    ");
}

#[test]
fn a_place_that_is_not_in_the_image() {
    assert_snapshot!(locking("[[copy]]\nfrom = \"app\"\nto = \"app\"\n"), @"
    exit 2
    --- stderr
    error: envs/api.toml:13:1: `to` is `app`, an absolute path in the image was expected
           |
        13 | [[copy]]
           | ^^^^^^^^

    hint: paths in an image are written from its root and without `..`, as in `/opt/tool`
    ");
}

#[test]
fn a_step_that_runs_nothing() {
    assert_snapshot!(locking("[[run]]\nscript = \" \"\n"), @"
    exit 2
    --- stderr
    error: envs/api.toml:13:1: its `script` is empty
           |
        13 | [[run]]
           | ^^^^^^^

    hint: say what it runs, or leave the step out
    ");
}

#[test]
fn an_archive_that_is_kept_and_stripped() {
    let more = "[[fetch]]\nurl = \"https://h.example/a.tar\"\nto = \"/a\"\nunpack = false\nstrip = 1\n";
    assert_snapshot!(locking(more), @"
    exit 2
    --- stderr
    error: envs/api.toml:13:1: `strip` and `select` are for archives, and `unpack` is false
           |
        13 | [[fetch]]
           | ^^^^^^^^^

    hint: leave `unpack` out to have the archive unpacked, or leave those two out to keep it as it is
    ");
}

#[test]
fn a_home_that_is_no_path() {
    assert_snapshot!(locking("[users.app]\nuid = 1000\nhome = \"app\"\n"), @r#"
    exit 2
    --- stderr
    error: envs/api.toml:13:8: the home of user `app`, "app", is not an absolute path
           |
        13 | [users.app]
           |        ^^^

    hint: as in `home = "/srv/app"`, without a `:`
    "#);
}

#[test]
fn a_link_out_of_the_workspace() {
    let context = context("[[copy]]\nfrom = \"app\"\nto = \"/app\"\n");
    symlink("/etc", context.workspace().join("app")).unwrap();
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: reading the local files `app`
      caused by: `app` is a link that leads out of the workspace

    hint: another machine has something else there: copy what it leads to into the workspace
    ");
}

#[test]
fn a_pipe_among_the_files() {
    let context = context("[[copy]]\nfrom = \"app\"\nto = \"/app\"\n");
    context.write("app/main", "x");
    let made = Command::new("mkfifo").arg(context.workspace().join("app/pipe")).status().unwrap();
    assert!(made.success());
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: reading the local files `app`
      caused by: [WORKSPACE]/app/pipe is neither a file, a folder nor a link

    hint: sockets and pipes are made when a program runs: leave it out with `ignore = [...]`
    ");
}

#[test]
fn a_name_that_is_no_text() {
    use std::os::unix::ffi::OsStrExt as _;
    let context = context("[[copy]]\nfrom = \"app\"\nto = \"/app\"\n");
    context.write("app/main", "x");
    std::fs::write(context.workspace().join("app").join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: reading the local files `app`
      caused by: the name [WORKSPACE]/app/caf� is not UTF-8

    hint: rename it, or leave it out with `ignore = [...]`
    ");
}

#[test]
fn a_suite_that_its_archive_calls_otherwise() {
    let context = context("");
    let renamed = definition(&["lib"], &[here().name()], "").replace("\"stable\"", "\"testing\"");
    context.write("envs/api.toml", renamed);
    let stable = context.server.url("/test/dists/stable/InRelease");
    context.server.always("/test/dists/testing/InRelease", Fault::Redirect(stable));
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: getting the suite `testing` of the origin `test`
      caused by: http://[SERVER]/test/dists/testing/InRelease
      caused by: its signed index is of `stable`, not of `testing`

    hint: ask for the suite by the name that its archive gives it, or for another address
    ");
}

#[test]
fn an_archive_that_nobody_signed() {
    let context = context("");
    context.server.replace(Files::from([("/test/dists/stable/Release".to_owned(), b"Date: x\n".to_vec())]));
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: getting the suite `stable` of the origin `test`
      caused by: http://[SERVER]/test/dists/stable/InRelease
      caused by: it is not signed: there is neither InRelease nor Release.gpg

    hint: nothing vouches for what an unsigned archive serves: its maintainers have to sign it
    ");
}

#[test]
fn a_pin_that_is_in_the_way_of_others() {
    let context = TestContext::new(&[package("lib", "1"), package("lib", "2")]);
    context.define("api", &["lib=1"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["update", "lib", "--precise", "2"]).shown, @"
    exit 1
    --- stderr
    error: locking `api`
      caused by: resolving for [PLATFORM]
      caused by: `lib` cannot be 2 together with everything else that is asked for

    hint: ask for `lib=2` in the definition, and `kiln lock` says what is in its way
    ");
}

#[test]
fn an_update_of_what_nothing_holds() {
    let context = context("");
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["update", "postgresql"]).shown, @"
    exit 1
    --- stderr
    error: no lock holds a package `postgresql`

    hint: `kiln list` lists all packages
    ");
}

#[test]
fn python_without_a_c_library() {
    let context = context("");
    define(&context, "python3", "[python]\npackages = [\"flask\"]\n");
    assert_snapshot!(context.kiln(&["lock"]).shown, @r#"
    exit 1
    --- stderr
    error: locking `api`
      caused by: for [PLATFORM]
      caused by: the image has no `libc6`, and Python's packages are made for one

    hint: add `libc6` to `packages` in `[debian]`, or leave `base = "none"` out
    "#);
}

#[test]
fn an_override_of_what_is_not_asked_for() {
    let more = "[npm]\nprefix = \"/srv\"\ndependencies = { a = \"1\" }\noverrides = { b = \"$c\" }\n";
    assert_snapshot!(locking(more), @"
    exit 1
    --- stderr
    error: locking `api`
      caused by: resolving npm packages for [PLATFORM]
      caused by: the override of `b` refers to `c`, which is no dependency of the project

    hint: `$name` stands for what `dependencies` ask of `name`: add it there, or write a version
    ");
}

#[test]
fn an_override_that_is_no_specifier() {
    let more = "[npm]\nprefix = \"/srv\"\ndependencies = { a = \"1\" }\noverrides = { b = [\"1\"] }\n";
    assert_snapshot!(locking(more), @r#"
    exit 2
    --- stderr
    error: envs/api.toml:16:19: expected a string, found a list
           |
        16 | overrides = { b = ["1"] }
           |                   ^^^^^
    "#);
}

#[test]
fn a_specifier_that_npm_does_not_know() {
    assert_snapshot!(locking("[npm]\nprefix = \"/srv\"\ndependencies = { a = \"one or two\" }\n"), @"
    exit 1
    --- stderr
    error: locking `api`
      caused by: resolving npm packages for [PLATFORM]
      caused by: the definition asks for `a` `one or two`
      caused by: `one or two` is neither a version of `a`, nor a range of them, nor a tag

    hint: as in `1.2.3`, `^1.2`, `>=1 <3`, `latest`
    ");
}

/// A workspace that fetches a file of this name and content; what baking it says.
fn fetching(name: &str, content: &[u8]) -> String {
    let server = Server::start(Files::from([(format!("/{name}"), content.to_vec())]));
    let context = context(&format!("[[fetch]]\nurl = \"{}\"\nto = \"/opt\"\n", server.url(&format!("/{name}"))));
    context.ok(&["lock"]);
    context.kiln(&["build"]).shown
}

#[test]
fn a_page_in_place_of_an_archive() {
    assert_snapshot!(fetching("tool.zip", b"<html>not found</html>"), @"
    exit 2
    --- stderr
    Fetched 1 artifact for api (664 B) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: fetching `tool.zip` to /opt
      caused by: unpacking `tool.zip`
      caused by: it is no zip archive
      caused by: invalid Zip archive: Could not find EOCD

    hint: its name says that it is one: look at what the address serves, or keep it with `unpack = false`
    ");
}

#[test]
fn nothing_in_place_of_an_archive() {
    assert_snapshot!(fetching("tool.tar", b""), @"
    exit 2
    --- stderr
    Fetched 1 artifact for api (664 B) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: fetching `tool.tar` to /opt
      caused by: unpacking `tool.tar`
      caused by: it is empty, or no tar archive

    hint: its name says that it is one: look at what the address serves, or keep it as it is with `unpack = false`
    ");
}

/// A tar archive of one entry that is no file.
fn entry(kind: tar::EntryType, link: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path("a/b").unwrap();
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_size(0);
    header.set_mode(0o644);
    header.set_device_major(1).unwrap();
    header.set_device_minor(3).unwrap();
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, std::io::empty()).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn a_device_in_an_archive() {
    assert_snapshot!(fetching("tool.tar", &entry(tar::EntryType::Char, "")), @r#"
    exit 2
    --- stderr
    Fetched 1 artifact for api (664 B) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: fetching `tool.tar` to /opt
      caused by: unpacking `tool.tar`
      caused by: its entry "a/b"
      caused by: it is a device or a pipe, which no archive brings into an image

    hint: `select` what is wanted of the archive, and leave it out
    "#);
}

#[test]
fn half_of_a_hard_link_in_an_archive() {
    assert_snapshot!(fetching("tool.tar", &entry(tar::EntryType::Link, "a/c")), @r#"
    exit 2
    --- stderr
    Fetched 1 artifact for api (664 B) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: fetching `tool.tar` to /opt
      caused by: unpacking `tool.tar`
      caused by: its entry "a/b"
      caused by: it is a hard link to "a/c", which is not placed before it

    hint: `select` both names, or neither
    "#);
}

#[test]
fn a_file_that_is_no_lockfile() {
    let context = context("");
    context.write("lockfiles/api.lock", "{}\n");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: reading the lockfile [WORKSPACE]/lockfiles/api.lock
      caused by: it has no `version`, so it is no lockfile of kiln's
        TOML parse error at line 1, column 1
          |
        1 | {}
          | ^
        invalid key-value pair, expected key

    hint: take it from git again (`git checkout -- FILE`), or remove it and run `kiln lock`
    ");
}

#[test]
fn brackets_that_nobody_closes() {
    assert_snapshot!(locking(&"h={c=\"\n[i]\n".repeat(3000)), @"
    exit 2
    --- stderr
    error: envs/api.toml:172:1: lists and tables are more than 80 deep within each other, or not closed
            |
        172 | [i]
            | ^
    ");
}

#[test]
fn logins_that_are_no_json() {
    let (mut context, registry) = (context(""), Registry::start());
    context.ok(&["lock"]);
    context.ok(&["build"]);
    registry.require("me:secret");
    context.set("DOCKER_AUTH_CONFIG", "me:secret");
    let run = context.kiln(&["push", "api", &format!("{}/api", registry.host())]);
    assert_snapshot!(run.shown.replace(&registry.host(), "[REGISTRY]"), @"
    exit 2
    --- stderr
    error: pushing `api` to [REGISTRY]/api
      caused by: asking [REGISTRY] for [REGISTRY]/api:latest
      caused by: logging in to [REGISTRY]
      caused by: DOCKER_AUTH_CONFIG is not JSON of logins (line 1)

    hint: it is written by `docker login` and `podman login`: mend it, or log in again
    ");
}
