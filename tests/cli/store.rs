//! The store as its user meets it: looking at it, damage, sharing, letting go.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use insta::assert_snapshot;

use crate::support::archive::Package;
use crate::support::context::{TestContext, noise, package, package_with};

fn shop() -> Vec<Package> {
    vec![package_with("web", "1.0", &[("Depends", "lib")], |deb| deb), package("lib", "1.2")]
}

fn locked() -> TestContext {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    context
}

/// All files below a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Turns a bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_it_holds_and_where() {
    let mut context = locked();
    assert_snapshot!(context.kiln(&["store", "path"]).shown, @"
    exit 0
    --- stdout
    [STORE]
    ");
    assert_snapshot!(context.kiln(&["store", "origins"]).shown, @"
    exit 0
    --- stdout
    debian           http://127.0.0.1:1/archive/debian/20260921T141320Z  (KILN_ORIGIN_SNAPSHOT)
    debian-security  http://127.0.0.1:1/archive/debian-security/20260921T141320Z  (KILN_ORIGIN_SNAPSHOT)
    npm              http://127.0.0.1:1/  (KILN_ORIGIN_NPM)
    pypi             http://127.0.0.1:1/  (KILN_ORIGIN_PYPI)
    test             http://[SERVER]/test  (KILN_ORIGIN_TEST)
    ");
    context.write("kiln.toml", "[origins]\nvendor = \"https://a.example/\"\ndebian = \"https://b.example/\"\n");
    context.write("../home/.config/kiln/config.toml", "[origins]\ndebian = \"https://c.example/debian\"\n");
    context.write("envs/other.toml", "[debian]\nsuites = [{ name = \"x\", origin = \"unheard\" }]\n");
    assert_snapshot!(context.kiln(&["store", "origins"]).shown, @"
    exit 0
    --- stdout
    debian           https://c.example/debian  ([FOLDER]/home/.config/kiln/config.toml)
    debian           http://127.0.0.1:1/archive/debian/20260921T141320Z  (KILN_ORIGIN_SNAPSHOT)
    debian-security  http://127.0.0.1:1/archive/debian-security/20260921T141320Z  (KILN_ORIGIN_SNAPSHOT)
    npm              http://127.0.0.1:1/  (KILN_ORIGIN_NPM)
    pypi             http://127.0.0.1:1/  (KILN_ORIGIN_PYPI)
    test             http://[SERVER]/test  (KILN_ORIGIN_TEST)
    unheard          no address is known
    vendor           https://a.example/  (kiln.toml)
    ");
    std::fs::remove_file(context.workspace().join("envs/other.toml")).unwrap();
    context.ok(&["build"]);
    assert!(context.ok(&["store", "usage"]).stdout.contains("blobs"));
    assert!(context.ok(&["store", "verify"]).stdout.starts_with("Good: "));
    let other = context.folder().join("elsewhere").display().to_string();
    context.set("KILN_STORE", &other);
    assert_eq!(context.ok(&["store", "path"]).stdout.trim(), other);
}

#[test]
fn damage_in_any_file_is_mended() {
    let context = locked();
    let expected = context.ok(&["build"]).stdout;
    let all = files(&context.store().join("blobs")).into_iter().chain(files(&context.store().join("keyed")));
    let all: Vec<PathBuf> = all.collect();
    assert!(all.len() > 10);
    for path in all {
        damage(&path);
        // The first run may say so; the one after it has all that it needs.
        let _ = context.kiln(&["store", "verify"]);
        let run = context.kiln(&["build", "--output", "oci:image"]);
        let run = if run.code == Some(0) { run } else { context.kiln(&["build", "--output", "oci:image"]) };
        assert_eq!(run.stdout, expected, "{}: {}", path.display(), run.shown);
        fs::remove_dir_all(context.workspace().join("image")).unwrap();
        if !path.exists() {
            context.ok(&["fetch"]);
        }
    }
}

#[test]
fn damage_is_said() {
    let context = locked();
    context.ok(&["build"]);
    let largest = |folder: &str| {
        let mut all = files(&context.store().join(folder));
        all.sort_by_key(|path| fs::metadata(path).unwrap().len());
        all.pop().unwrap()
    };
    damage(&largest("blobs"));
    assert_snapshot!(context.kiln(&["store", "verify"]).shown, @"
    exit 1
    --- stdout
    Good: 31 files
    --- stderr
    error: the store at [STORE] had 1 corrupt file, set aside now
        blobs/sha256/e9/[HASH]

    hint: the next `kiln build` fetches or makes them anew
    ");
    assert_snapshot!(context.kiln(&["store", "verify"]).shown, @"
    exit 0
    --- stdout
    Good: 31 files
    ");
    context.ok(&["build"]);
}

#[test]
fn damaged_artifacts_and_layers_are_said_where_they_are_read() {
    let context = locked();
    context.ok(&["build"]);
    for path in files(&context.store().join("blobs")) {
        damage(&path);
    }
    let run = context.kiln(&["build", "--output", "oci:image"]);
    assert_eq!(run.code, Some(2), "{}", run.shown);
    assert!(run.stderr.contains("is corrupt") && run.stderr.contains("hint: "), "{}", run.shown);
}

#[test]
fn two_builds_at_once_do_the_work_once() {
    let noisy = |name: &str, seed| {
        package_with(name, "1", &[], |deb| deb.file(&format!("./usr/share/{name}/noise"), &noise(seed, 300_000)))
    };
    let context = TestContext::new(&[noisy("one", 1), noisy("two", 2), noisy("three", 3)]);
    context.define("api", &["one", "two", "three"]);
    context.ok(&["lock"]);
    context.server.log();
    context.server.delay(Duration::from_millis(50));
    let runs: Vec<_> = (0..3).map(|_| context.spawn(&["build"])).collect();
    let runs: Vec<_> = runs.into_iter().map(|child| context.finish(child)).collect();
    for run in &runs {
        assert_eq!((run.code, &run.stdout), (Some(0), &runs[0].stdout), "{}", run.shown);
    }
    let mut paths = context.server.paths();
    let all = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), all, "an artifact was fetched twice");
    assert_eq!(files(&context.store().join("tmp")), Vec::<PathBuf>::new());
}

#[test]
fn collection() {
    let context = locked();
    assert_eq!(context.ok(&["build"]).code, Some(0));
    let before = files(&context.store()).len();
    assert_snapshot!(context.kiln(&["gc"]).shown, @"
    exit 0
    --- stdout
    Removed 0 files, 0 B
    ");
    context.ok(&["build", "--offline", "--output", "oci:image"]);
    assert!(context.ok(&["gc", "--days", "0", "--dry-run"]).stdout.starts_with("Would remove "));
    assert!(files(&context.store()).len() > before / 2);
    context.ok(&["gc", "--days", "0"]);
    assert_eq!(files(&context.store().join("blobs")), Vec::<PathBuf>::new());
    context.ok(&["build"]);
}

#[test]
fn collection_waits_for_no_one() {
    let context = locked();
    context.server.delay(Duration::from_secs(3));
    context.server.log();
    let build = context.spawn(&["build"]);
    context.server.wait_for_request();
    assert_snapshot!(context.kiln(&["gc"]).shown, @"
    exit 2
    --- stderr
    error: another kiln is using the store at [STORE]

    hint: run `kiln gc` again when it has finished
    ");
    assert_eq!(context.finish(build).code, Some(0));
    context.ok(&["gc"]);
}

#[test]
fn a_store_of_another_layout() {
    let context = locked();
    fs::write(context.store().join("kiln-store"), "7\n").unwrap();
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    error: the store at [STORE] has layout 7, this kiln knows layout 1

    hint: use a newer kiln, or another directory with `--store DIR`
    ");
}

#[test]
fn a_place_where_no_store_can_be() {
    let mut context = locked();
    context.set("KILN_STORE", "/proc/kiln");
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    error: making the store at /proc/kiln
      caused by: No such file or directory (os error 2)

    hint: another place for the store can be given with `--store DIR` or KILN_STORE
    ");
    context.write("file", "x");
    context.set("KILN_STORE", context.workspace().join("file").display().to_string());
    assert_eq!(context.kiln(&["build"]).code, Some(2));
}
