//! Machines that fail: full disks, read-only places, kills and interruptions at any moment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::archive::Package;
use crate::support::context::{TestContext, definition, here, noise, not_run, package, package_with};

/// The start of a command line for a program that sees `folder` read-only; `None`, said, if this user
/// cannot have that.
pub fn read_only(folder: &Path) -> Option<Vec<String>> {
    let folder = folder.display();
    in_namespace(&format!("mount --bind {folder} {folder} && mount -o remount,ro,bind {folder}"))
}

/// The same for a program that sees a file system of so many KiB at `folder`.
fn small_disk(folder: &Path, size: u32) -> Option<Vec<String>> {
    in_namespace(&format!("mount -t tmpfs -o size={size}k none {}", folder.display()))
}

fn in_namespace(mount: &str) -> Option<Vec<String>> {
    let wrapper = |script: &str| ["unshare", "--mount", "sh", "-c", script, "sh"].map(str::to_owned).to_vec();
    let words = wrapper(&format!("{mount} && exec \"$@\""));
    let tried = Command::new(&words[0]).args(&words[1..]).arg("true").output();
    if tried.is_ok_and(|output| output.status.success()) {
        return Some(words);
    }
    not_run(&format!("this user cannot mount: {mount}"));
    None
}

fn noisy() -> Vec<Package> {
    let one = |number: u64| {
        let name = format!("noise{number}");
        package_with(&name, "1", &[], |deb| deb.file(&format!("./usr/share/{name}/noise"), &noise(number + 1, 400_000)))
    };
    (0..6).map(one).collect()
}

fn large() -> TestContext {
    let context = TestContext::new(&noisy());
    context.define("api", &["noise0", "noise1", "noise2", "noise3", "noise4", "noise5"]);
    context.ok(&["lock"]);
    context
}

fn signal(child: &std::process::Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_full_disk() {
    let context = large();
    let Some(wrapper) = small_disk(&context.folder().join("cache"), 1500) else { return };
    let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let run = context.run(&context.wrapped(&words, &["build"]).output().unwrap());
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{}", run.shown);
    assert!(run.stderr.contains("No space left on device") && run.stderr.contains("baking `api`"), "{}", run.shown);
}

#[test]
fn a_store_that_can_only_be_read() {
    let context = TestContext::new(&[package("a", "1"), package("b", "1")]);
    context.define("api", &["a"]);
    context.ok(&["lock"]);
    let expected = context.ok(&["build"]).stdout;
    let Some(wrapper) = read_only(&context.store()) else { return };
    let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let run = |arguments: &[&str]| context.run(&context.wrapped(&words, arguments).output().unwrap());
    let built = run(&["build", "--output", "oci:image"]);
    assert_eq!((built.code, &built.stdout), (Some(0), &expected), "{}", built.shown);
    assert_eq!(run(&["update", "--dry-run"]).code, Some(0));
    assert_eq!(run(&["store", "verify"]).code, Some(0));
    assert_snapshot!(run(&["gc"]).shown, @"
    exit 2
    --- stderr
    error: the store at [STORE] can only be read

    hint: what is missing from it can be made in another one: `--store DIR` or KILN_STORE
    ");
    context.define("other", &["b"]);
    context.ok(&["lock"]);
    assert_snapshot!(run(&["build", "other"]).shown, @"
    exit 2
    --- stderr
    error: baking `other` for [PLATFORM]
      caused by: the store at [STORE] can only be read

    hint: what is missing from it can be made in another one: `--store DIR` or KILN_STORE
    ");
}

#[test]
fn kills_at_any_moment_do_no_harm() {
    let context = large();
    let expected = {
        let other = large();
        other.ok(&["build"]).stdout
    };
    for milliseconds in [3, 20, 40, 60, 90, 130, 170, 220, 300, 400] {
        let mut child = context.spawn(&["build"]);
        std::thread::sleep(Duration::from_millis(milliseconds));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert_eq!(context.ok(&["build"]).stdout, expected);
    assert_eq!(context.ok(&["store", "verify"]).code, Some(0));
    context.ok(&["gc"]);
    for folder in ["tmp", "partial"] {
        assert_eq!(fs::read_dir(context.store().join(folder)).unwrap().count(), 0, "{folder}");
    }
    assert_eq!(context.ok(&["build", "--offline", "--output", "oci:image"]).stdout, expected);
}

#[test]
fn what_a_killed_run_left_the_next_one_removes() {
    let context = large();
    context.server.delay(Duration::from_secs(3));
    let mut child = context.spawn(&["build"]);
    let tmp = context.store().join("tmp");
    let folders = || fs::read_dir(&tmp).map_or(0, Iterator::count);
    while folders() == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(folders(), 1);
    context.server.delay(Duration::ZERO);
    context.ok(&["build"]);
    assert_eq!(folders(), 0);
}

#[test]
fn an_interrupted_build_leaves_nothing_half_done() {
    for (which, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let context = large();
        context.server.delay(Duration::from_secs(20));
        context.server.log();
        let child = context.spawn(&["build"]);
        context.server.wait_for_request();
        signal(&child, which);
        let run = context.finish(child);
        assert_eq!(run.code, Some(code), "{}", run.shown);
        assert_eq!(run.stdout, "");
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.shown);
        assert_eq!(fs::read_dir(context.store().join("tmp")).unwrap().count(), 0);
        context.server.delay(Duration::ZERO);
        context.ok(&["build"]);
    }
}

#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let context = large();
    context.server.delay(Duration::from_millis(600));
    context.server.log();
    let words = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"];
    let mut command = context.wrapped(&words, &["build"]);
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    context.server.wait_for_request();
    signal(&child, Signal::INT);
    assert_eq!(context.finish(child).code, Some(0));
}

/// As a user with no rights to namespaces, and no ranges of ids.
#[test]
fn scripts_where_nothing_can_run_them() {
    let mut context = TestContext::new(&[package_with("tiny", "1", &[("Essential", "yes")], |deb| {
        deb.member("postinst", 0o755, "#!/bin/sh\n")
    })]);
    context.write("envs/api.toml", definition(&[], &[here().name()], "").replace("base = \"none\"\n", ""));
    context.set("KILN_STORE", context.folder().join("open").display().to_string());
    context.ok(&["lock"]);
    let nobody = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"];
    if !Command::new(nobody[0]).args(&nobody[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        not_run("this user cannot become another");
        return;
    }
    for folder in [context.folder().to_owned(), context.workspace().join("lockfiles")] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let opened = Command::new("chmod").args(["-R", "a+rwX"]).arg(context.folder().join("open")).status().unwrap();
    assert!(opened.success());
    let run = context.run(&context.wrapped(&nobody, &["build"]).output().unwrap());
    assert_snapshot!(run.shown, @"
    exit 2
    --- stderr
    Fetched 1 artifact for api (716 B) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: configuring the base of `api` for [PLATFORM]
      caused by: packages' scripts cannot be run in isolation here; tried user-namespace: /etc/subuid has no range of at least 65535 ids for user 65533; root-namespaces: only root can use it, and this is user 65533; chroot: only root can use it, and this is user 65533

    hint: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 65533` as root (another range if that is taken)
    ");
    context.set("KILN_EXECUTOR", "podman");
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    error: invalid value 'podman' for '--executor <EXECUTOR>'
      [possible values: user-namespace, root-namespaces, chroot]

    For more information, try '--help'.
    ");
}

#[test]
fn no_home_and_no_store() {
    let context = large();
    let output = context.command(&["build"]).env_remove("HOME").env_remove("XDG_CACHE_HOME").output().unwrap();
    assert!(output.status.signal().is_none());
    assert_snapshot!(context.run(&output).shown, @"
    exit 2
    --- stderr
    error: there is no place for the store: neither XDG_CACHE_HOME nor HOME is set

    hint: say where with `--store DIR` or KILN_STORE
    ");
}
