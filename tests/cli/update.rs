//! `kiln update`: what moves, and what it forces.

use insta::assert_snapshot;

use crate::support::archive::Package;
use crate::support::context::{TestContext, package, package_with};
use crate::support::keys::NOW;

fn first() -> Vec<Package> {
    vec![
        package_with("web", "1.0", &[("Depends", "lib (= 1.0)")], |deb| deb),
        package("lib", "1.0"),
        package("curl", "8"),
    ]
}

fn later() -> Vec<Package> {
    let mut packages = first();
    packages.extend([
        package_with("web", "2.0", &[("Depends", "lib (= 2.0)")], |deb| deb),
        package("lib", "2.0"),
        package("curl", "9"),
        package("curl", "8.5"),
    ]);
    packages
}

/// Locked, and the archive has moved on.
fn locked() -> TestContext {
    let context = TestContext::new(&first());
    context.define("api", &["web", "curl"]);
    context.define("queue", &["curl"]);
    context.ok(&["lock"]);
    context.archive_dated(&later(), NOW - 3600);
    context
}

#[test]
fn everything() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update"]).shown, @"");
    assert_snapshot!(context.kiln(&["update"]).shown, @"");
}

#[test]
fn one_package_everywhere_or_in_one_environment() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update", "curl", "-e", "queue"]).shown, @"");
    assert_snapshot!(context.kiln(&["update", "curl"]).shown, @"");
}

#[test]
fn a_package_and_what_it_forces() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update", "web", "--dry-run"]).shown, @"");
    assert!(context.lockfile("api").contains("version = \"1.0\""));
    assert_snapshot!(context.kiln(&["update", "web"]).shown, @"");
}

#[test]
fn precisely() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update", "curl", "--precise", "8.5"]).shown, @"");
    assert_snapshot!(context.kiln(&["update", "curl", "--precise", "7"]).shown, @"");
    assert_snapshot!(context.kiln(&["update", "lib", "--precise", "2.0"]).shown, @"");
    assert_snapshot!(context.kiln(&["update", "--precise", "2.0"]).shown, @"");
}

#[test]
fn a_name_that_no_lock_holds() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update", "crul"]).shown, @"");
    context.define("new", &["curl"]);
    assert_snapshot!(context.kiln(&["update", "curl", "-e", "new"]).shown, @"");
}
