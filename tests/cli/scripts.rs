//! Packages whose scripts run, on the smallest base there is (`support/tiny.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use kiln::sandbox::{Executor, can_lay};
use rustix::process::{Pid, Signal, kill_process};

use crate::store::files;
use crate::support::archive::Package;
use crate::support::context::{TestContext, definition, here, not_run, package_with};
use crate::support::tiny;

/// What a file of the base says.
const MOTTO: &[u8] = b"what is built twice is the same twice\n";

/// An environment `api` of the base and the package `daemon` with this `postinst`; `None`, said, where no
/// script can run.
fn daemon(postinst: &str) -> Option<TestContext> {
    daemon_beside(postinst, package_with("nothing", "1", &[], |deb| deb))
}

/// The same with another package to be had.
fn daemon_beside(postinst: &str, other: Package) -> Option<TestContext> {
    let script = format!("#!/bin/sh\nset -e\n{postinst}\n");
    let context = TestContext::new(&[
        tiny::essential()?,
        package_with("motto", "1", &[("Essential", "yes")], |deb| {
            deb.dir("./etc/", 0o755).file("./etc/motto", MOTTO).member("md5sums", 0o644, "")
        }),
        package_with("daemon", "1", &[], |deb| deb.member("postinst", 0o755, &script)),
        other,
    ]);
    context.write("envs/base.toml", define(&[]));
    context.write("envs/api.toml", define(&["daemon"]));
    context.ok(&["lock"]);
    let base = context.kiln(&["build", "base"]);
    if base.stderr.contains("cannot be run in isolation here") {
        not_run(&base.stderr);
        return None;
    }
    assert_eq!(base.code, Some(0), "{}", base.shown);
    Some(context)
}

pub fn define(packages: &[&str]) -> String {
    definition(packages, &[here().name()], "").replace("base = \"none\"\n", "")
}

/// What is in the store's `tmp`, once whoever still cleans up is done.
pub fn left(context: &TestContext) -> usize {
    let count = || fs::read_dir(context.store().join("tmp")).unwrap().count();
    let started = Instant::now();
    while count() > 0 && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
    count()
}

/// Whether a process of the machine has this word among its arguments.
pub fn is_running(word: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    })
}

#[test]
fn scripts_run_and_what_they_make_is_there() {
    let Some(context) = daemon("mkdir /var/lib/daemon; echo made >/var/lib/daemon/file") else { return };
    context.ok(&["build", "api"]);
    assert!(context.lockfile("api").contains("scripts = \"sandbox\""));
    assert_snapshot!(context.kiln(&["run", "api", "--", "cat", "/var/lib/daemon/file"]).shown, @"
    exit 0
    --- stdout
    made
    ");
    assert_eq!(left(&context), 0);
}

/// A sandbox is started by what a tree seems to take, before its packages are read.
#[test]
fn a_tree_that_is_larger_than_it_seemed_does_not_stay_in_memory() {
    const LENGTH: usize = 32 << 20;
    let zeros = package_with("zeros", "1", &[], |deb| deb.dir("./srv/", 0o755).file("./srv/zeros", &vec![0; LENGTH]));
    let Some(mut context) = daemon_beside("busybox stat -f -c %T / >/etc/where", zeros) else { return };
    if rustix::fs::statfs(context.folder()).unwrap().f_type == 0x0102_1994 {
        return not_run("the tests' own folders are in memory");
    }
    context.write("envs/api.toml", define(&["daemon", "zeros"]));
    context.ok(&["lock", "api"]);
    context.set("KILN_TREE_MEMORY", "24");
    context.ok(&["build", "api"]);
    assert_ne!(context.ok(&["run", "api", "--", "cat", "/etc/where"]).stdout, "tmpfs\n");
    assert_eq!(left(&context), 0);
}

/// What a tree is put together from is checked while scripts run: what these make of it then does not count.
#[test]
fn scripts_that_ran_on_damaged_files_run_again() {
    let Some(context) = daemon("cat /etc/motto >/etc/seen") else { return };
    let (store, aside) = (context.store(), context.store().with_extension("aside"));
    copy(&store, &aside);
    context.ok(&["build", "api"]);
    fs::remove_dir_all(&store).unwrap();
    copy(&aside, &store);
    let stream = damage(&store, |_| true);
    // Another image than before would be an error.
    context.ok(&["build", "api", "--locked"]);
    assert_eq!(context.ok(&["run", "api", "--", "cat", "/etc/seen"]).stdout.as_bytes(), MOTTO);
    assert!(!is_damaged(&stream), "it was not set aside");
}

/// From the second image on, trees lie on an image of the base's, where that can be.
#[test]
fn an_image_made_on_a_kept_tree_is_the_same() {
    const WHERE: &str = "#!/bin/sh\nbusybox stat -f -c %t / >/etc/where\n";
    let place = package_with("place", "1", &[], |deb| deb.member("postinst", 0o755, WHERE));
    let postinst =
        "cat /etc/motto >/etc/seen; echo more >>/etc/motto; mv /etc/motto /var; rm /bin/date; mv /root /moved";
    let Some(context) = daemon_beside(postinst, place) else { return };
    let (store, first) = (context.store(), context.folder().join("first"));
    let (kept, torn) = (context.folder().join("kept"), context.folder().join("torn"));
    let build =
        |store: &Path, name: &str| context.ok(&["--store", &store.to_string_lossy(), "build", "--locked", name]);
    context.write("envs/one.toml", define(&["place"]));
    context.write("envs/two.toml", define(&["place", "daemon"]));
    context.ok(&["lock", "one", "two"]);
    copy(&store, &first);
    context.ok(&["build", "one"]);
    copy(&store, &kept);
    copy(&store, &torn);
    context.ok(&["build", "two"]);
    context.ok(&["build", "api"]);
    build(&first, "api");

    let where_built = |name: &str| context.ok(&["run", name, "--", "cat", "/etc/where"]).stdout;
    if !can_lay(Executor::RootNamespaces) || where_built("one") != "1021994\n" {
        return not_run("no tree lies on an image here: that needs root, memory, and Linux 6.12");
    }
    assert_eq!(where_built("two"), "794c7630\n");
    let is_image = |bytes: &[u8]| bytes.get(1024..1028) == Some(&0xE0F5_E1E2_u32.to_le_bytes());
    let image = damage(&kept, is_image);
    build(&kept, "api");
    assert!(!is_damaged(&image), "it was not set aside");

    // One that cannot be mounted, for its root is no folder.
    let image = torn.join(image.strip_prefix(&kept).unwrap());
    let mut bytes = fs::read(&image).unwrap();
    assert!(is_image(&bytes));
    bytes[4096..4160].fill(0x5a);
    fs::write(&image, &bytes).unwrap();
    build(&torn, "api");
    assert_ne!(fs::read(&image).ok(), Some(bytes), "it was not set aside");
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-a", "--"]).args([from, to]).status().unwrap().success());
}

/// Changes the motto in the only blob of the store that has it as it is, of those that `which` is true of.
fn damage(store: &Path, which: impl Fn(&[u8]) -> bool) -> PathBuf {
    let at = |bytes: &[u8]| bytes.windows(MOTTO.len()).position(|window| window == MOTTO);
    let mut found = Vec::new();
    for path in files(&store.join("blobs")) {
        let bytes = fs::read(&path).unwrap();
        found.extend(at(&bytes).filter(|_| which(&bytes)).map(|at| (path, bytes, at)));
    }
    let [(path, bytes, at)] = &mut found[..] else { panic!("{} blobs have the motto", found.len()) };
    bytes[*at..*at + MOTTO.len()].reverse();
    fs::write(&*path, bytes).unwrap();
    path.clone()
}

fn is_damaged(path: &Path) -> bool {
    let motto: Vec<u8> = MOTTO.iter().rev().copied().collect();
    fs::read(path).is_ok_and(|bytes| bytes.windows(motto.len()).any(|window| window == motto))
}

#[test]
fn a_script_that_fails() {
    let Some(context) = daemon("echo 'the disk is on fire' >&2; exit 3") else { return };
    // The lines between are dpkg's own.
    let run = context.kiln(&["build", "api"]);
    assert_eq!(run.code, Some(2), "{}", run.shown);
    let platform = here().name();
    for text in [
        &format!("error: baking `api` for {platform}\n"),
        "  caused by: the scripts of `daemon` failed with exit code 1\n",
        "    the disk is on fire\n",
        "hint: scripts run without a network and without service starts",
    ] {
        assert!(run.stderr.contains(text), "{}", run.shown);
    }
    assert_eq!(left(&context), 0);
}

#[test]
fn an_interrupted_script_is_gone_with_its_tree() {
    // Told apart from those of other runs of this test.
    let seconds = format!("59.{}", std::process::id());
    for signal in [Signal::INT, Signal::KILL] {
        let Some(context) = daemon(&format!("sleep {seconds}")) else { return };
        let child = context.spawn(&["build", "api"]);
        let started = Instant::now();
        while !is_running(&seconds) {
            assert!(started.elapsed() < Duration::from_secs(30), "the script does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let run = context.finish(child);
        assert_eq!(run.code, (signal == Signal::INT).then_some(130), "{}", run.shown);
        let started = Instant::now();
        while is_running(&seconds) {
            assert!(started.elapsed() < Duration::from_secs(10), "the script goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
        // Whatever is left, the next run that writes removes.
        std::thread::sleep(Duration::from_millis(200));
        context.write("envs/base.toml", define(&[]) + "[image]\nuser = \"root\"\n");
        context.ok(&["lock", "base"]);
        context.ok(&["build", "base"]);
        assert_eq!(left(&context), 0, "{signal:?}");
    }
}

#[test]
fn kills_while_scripts_run_do_no_harm() {
    let script = "echo made >/etc/made; sleep 0.2";
    let Some(context) = daemon(script) else { return };
    let Some(other) = daemon(script) else { return };
    let expected = other.ok(&["build", "api"]).stdout;
    for milliseconds in [30, 60, 100, 150, 200, 250] {
        let mut child = context.spawn(&["build", "api"]);
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert_eq!(context.ok(&["build", "api"]).stdout, expected);
    assert_eq!(left(&context), 0);
}

/// A script that makes a user and a group by its name, each with the first number from 100 that is free, and a
/// folder of theirs.
fn with_account(name: &str) -> String {
    format!(
        "#!/bin/sh\nset -e\nid=100\nwhile read -r line; do case \"$line\" in *:x:$id:*) id=$((id + 1));; esac; done \
         </etc/passwd\necho \"{name}:x:$id:$id::/:/bin/sh\" >>/etc/passwd\necho \"{name}:x:$id:\" >>/etc/group\n\
         mkdir /var/lib/{name}\nchown $id:$id /var/lib/{name}\n"
    )
}

/// Volumes are owned by numbers: whatever else comes into an image, a user keeps its own.
#[test]
fn users_keep_their_ids() {
    let Some(tiny) = tiny::essential() else { return };
    let package = |name: &str| package_with(name, "1", &[], |deb| deb.member("postinst", 0o755, &with_account(name)));
    let context = TestContext::new(&[tiny, package("daemon"), package("another")]);
    context.write("envs/api.toml", define(&["daemon"]));
    context.write("envs/fresh.toml", define(&["another", "daemon"]));
    context.ok(&["lock"]);
    let first = context.kiln(&["build", "api"]);
    if first.stderr.contains("cannot be run in isolation here") {
        return not_run(&first.stderr);
    }
    assert_eq!(first.code, Some(0), "{}", first.shown);
    let users = |platform: &str, lines: &str| format!("\n[accounts.\"{platform}\".users]\n{lines}");
    let platform = here().name();
    assert!(context.lockfile("api").contains(&users(platform, "daemon = 100\n")), "{}", context.lockfile("api"));
    // Nothing is left to be found out.
    context.ok(&["build", "--locked", "api"]);

    context.write("envs/api.toml", define(&["another", "daemon"]));
    context.ok(&["lock", "api"]);
    context.ok(&["build"]);
    let lockfile = context.lockfile("api");
    assert!(lockfile.contains(&users(platform, "another = 101\ndaemon = 100\n")), "{lockfile}");
    // By themselves the scripts choose otherwise.
    let lockfile = context.lockfile("fresh");
    assert!(lockfile.contains(&users(platform, "another = 100\ndaemon = 101\n")), "{lockfile}");
    for (environment, owner) in [("api", "100"), ("fresh", "101")] {
        let command = ["run", environment, "--", "busybox", "stat", "-c", "%u:%g %n", "/var/lib/daemon"];
        assert_eq!(context.ok(&command).stdout, format!("{owner}:{owner} /var/lib/daemon\n"));
    }
    context.ok(&["build", "--locked"]);
    // In another store, from the lock alone, it is the same image.
    let digest = context.ok(&["build", "--locked", "api"]).stdout;
    let other = context.folder().join("other");
    assert_eq!(context.ok(&["--store", other.to_str().unwrap(), "build", "--locked", "api"]).stdout, digest);
}
