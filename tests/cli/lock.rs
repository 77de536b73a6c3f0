//! `kiln lock`: what it writes, what it leaves alone, and why it cannot.

use insta::assert_snapshot;

use crate::support::archive::Package;
use crate::support::context::{TestContext, definition, here, package, package_with};
use crate::support::keys::NOW;

fn shop() -> Vec<Package> {
    vec![
        package_with("web", "1.0", &[("Depends", "lib (>= 1)")], |deb| deb),
        package("lib", "1.2"),
        package("tool", "3"),
        package("curl", "8"),
    ]
}

/// The archive a day later: everything has a newer version.
fn shop_later() -> Vec<Package> {
    let mut packages = shop();
    packages.extend([
        package_with("web", "1.1", &[("Depends", "lib (>= 1)")], |deb| deb),
        package("lib", "1.3"),
        package("tool", "4"),
    ]);
    packages
}

#[test]
fn a_lock_names_everything() {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    assert_snapshot!(context.filter(&context.lockfile("api")), @"");
}

#[test]
fn an_unchanged_lock_keeps_its_bytes_and_asks_nobody() {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    let before = context.lockfile("api");
    context.server.log();
    context.archive_dated(&shop_later(), NOW - 3600);
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    assert_eq!(context.lockfile("api"), before);
    assert_eq!(context.server.paths(), Vec::<String>::new());
    assert_snapshot!(context.kiln(&["lock", "--check"]).shown, @"");
}

#[test]
fn adding_a_package_moves_no_other() {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    context.archive_dated(&shop_later(), NOW - 3600);
    context.define("api", &["web", "tool"]);
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    let lock = context.lockfile("api");
    assert!(lock.contains("version = \"1.0\"") && lock.contains("version = \"1.2\""), "{lock}");
}

#[test]
fn evidence_changes_only_where_a_pin_does() {
    let context = TestContext::new(&shop());
    let extra = "[[debian.source]]\norigin = \"test\"\nsuite = \"stable\"\nkey = \"keys/test.asc\"\n";
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    let date = |lock: &str| lock.lines().find(|line| line.starts_with("date = ")).unwrap().to_owned();
    let before = date(&context.lockfile("api"));
    context.archive_dated(&shop_later(), NOW - 3600);
    context.define_with("api", &["web", "lib"], "accept-unconfigured = []");
    context.ok(&["lock"]);
    assert_eq!(date(&context.lockfile("api")), before, "no pin moved");
    context.define("api", &["web", "lib", "curl"]);
    context.ok(&["lock"]);
    assert_ne!(date(&context.lockfile("api")), before, "{extra}");
}

#[test]
fn a_dry_run_writes_nothing() {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    assert_snapshot!(context.kiln(&["lock", "--dry-run"]).shown, @"");
    assert!(!context.workspace().join("lockfiles").exists());
    context.ok(&["lock"]);
    let before = context.lockfile("api");
    context.define("api", &["web", "curl"]);
    assert_snapshot!(context.kiln(&["lock", "--dry-run"]).shown, @"");
    assert_eq!(context.lockfile("api"), before);
}

#[test]
fn every_reason_of_a_stale_lock_is_said() {
    let context = TestContext::new(&shop());
    context.define("api", &["web", "curl"]);
    assert_snapshot!(context.kiln(&["lock", "--check"]).shown, @"");
    context.ok(&["lock"]);
    let text = definition(&["web", "tool"], &["linux/amd64", "linux/arm64"], "exclude = []\n")
        + "allow-expired = true\n[image]\nuser = \"nobody\"\n";
    context.write("envs/api.toml", text);
    let check = context.kiln(&["lock", "--check"]).shown;
    assert_snapshot!(check, @"");
    assert_eq!(context.kiln(&["build"]).shown, check);
}

#[test]
fn settings_alone_need_no_network() {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    context.server.log();
    context.define_with("api", &["web"], "exclude = []\n");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    assert!(context.server.log().is_empty());
}

#[test]
fn an_unknown_package() {
    let context = TestContext::new(&shop());
    context.define("api", &["web", "curk"]);
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
}

#[test]
fn a_version_that_does_not_exist() {
    let context = TestContext::new(&shop());
    context.define("api", &["curl=9"]);
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
}

#[test]
fn a_conflict() {
    let mut packages = shop();
    packages.push(package_with("old", "1", &[("Depends", "lib (<< 1)")], |deb| deb));
    let context = TestContext::new(&packages);
    context.define("api", &["web", "old"]);
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
}

#[test]
fn indexes_are_asked_for_once_for_all_environments() {
    let context = TestContext::new(&shop());
    for name in ["a", "b", "c"] {
        context.define(name, &["web"]);
    }
    context.ok(&["lock"]);
    let paths = context.server.paths();
    assert_eq!(paths.iter().filter(|path| path.ends_with("InRelease")).count(), 1, "{paths:?}");
}

#[test]
fn a_lockfile_of_a_newer_kiln() {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    context.edit_lockfile("api", |text| text.replace("version = 1\nrevision = 0\n", "version = 9\nrevision = 0\n"));
    assert_snapshot!(context.kiln(&["build"]).shown, @"");
    assert_eq!(context.kiln(&["lock"]).code, Some(2));
}

#[test]
fn a_newer_revision_is_read() {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    context.edit_lockfile("api", |text| text.replace("revision = 0\n", "revision = 7\nnews = \"unknown\"\n"));
    context.ok(&["lock", "--check"]);
}

#[test]
fn a_damaged_lockfile() {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    context.edit_lockfile("api", |text| text.replace("source = \"web\"\n", ""));
    assert_snapshot!(context.kiln(&["build"]).shown, @"");
}

#[test]
fn branches_that_git_could_not_merge() {
    let context = TestContext::new(&shop());
    context.define("api", &["web", "curl"]);
    context.ok(&["lock"]);
    let ours = context.lockfile("api");
    context.define("api", &["web", "tool"]);
    context.ok(&["lock"]);
    let theirs = context.lockfile("api");
    // The archive has moved on; neither branch's pins may.
    context.archive_dated(&shop_later(), NOW - 3600);
    context.define("api", &["web", "curl", "tool"]);
    let conflict = format!("<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> other\n");
    context.write("lockfiles/api.lock", conflict);
    assert_snapshot!(context.kiln(&["build"]).shown, @"");
    assert_snapshot!(context.kiln(&["list"]).shown, @"");
    assert_snapshot!(context.kiln(&["lock", "--check"]).shown, @"");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    context.ok(&["lock", "--check"]);
    let lock = context.lockfile("api");
    assert!(!lock.contains("<<<<") && lock.contains("version = \"3\"") && lock.contains("version = \"1.2\""), "{lock}");
}

#[test]
fn a_local_package_is_locked_and_baked_by_its_content() {
    let context = TestContext::new(&shop());
    context.write("debs/own 1.deb", &package_with("own", "1", &[("Depends", "lib")], |deb| deb).deb);
    context.define_with("api", &[], "local = [\"debs/own 1.deb\"]");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    let first = context.ok(&["build"]).stdout;
    context.write(
        "debs/own 1.deb",
        &package_with("own", "1", &[("Depends", "lib")], |deb| deb.file("./usr/share/own/more", b"more")).deb,
    );
    assert_snapshot!(context.kiln(&["lock", "--check"]).shown, @"");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    assert_ne!(context.ok(&["build"]).stdout, first);
    std::fs::remove_file(context.workspace().join("debs/own 1.deb")).unwrap();
    context.ok(&["build", "--locked"]);
    context.define_with("api", &[], "local = [\"debs/own 1.deb\", \"../outside.deb\"]");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
}

#[test]
fn a_local_package_is_for_the_platforms_it_was_made_for() {
    let context = TestContext::new(&shop());
    for architecture in ["amd64", "arm64"] {
        let control =
            format!("Package: own\nVersion: 1+{architecture}\nArchitecture: {architecture}\nDescription: a test\n");
        let deb = crate::support::deb::Package { control, ..crate::support::deb::Package::new() };
        context.write(&format!("own_{architecture}.deb"), deb.build());
    }
    let both = ["linux/amd64", "linux/arm64"];
    let one = definition(&[], &both, "local = [\"own_amd64.deb\"]\n");
    context.write("envs/api.toml", one);
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    context.write("envs/api.toml", definition(&[], &both, "local = [\"own_amd64.deb\", \"own_arm64.deb\"]\n"));
    context.ok(&["lock"]);
    let list = context.ok(&["list"]).stdout;
    assert!(list.contains("1+amd64") && list.contains("1+arm64"), "{list}");
}

#[test]
fn the_key_of_another_archive() {
    let context = TestContext::new(&shop());
    let other = crate::support::keys::Signer::new(8, crate::support::keys::Flaw::None);
    context.define("api", &["web"]);
    context.write("keys/test.asc", other.public());
    let shown = context.kiln(&["lock"]).shown;
    assert!(shown.contains("exit 2") && shown.contains("suite `stable` of the origin `test`"), "{shown}");
    std::fs::remove_file(context.workspace().join("keys/test.asc")).unwrap();
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
}

#[test]
fn an_expired_index_needs_an_exception_that_shows() {
    let mut context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.set("KILN_NOW", (NOW + 30 * 86_400).to_string());
    assert_snapshot!(context.kiln(&["lock"]).shown, @"");
    context.write("envs/api.toml", definition(&["web"], &[here().name()], "") + "allow-expired = true\n");
    context.ok(&["lock"]);
    assert!(context.lockfile("api").contains("exceptions = [\"allow-expired\"]"));
}
