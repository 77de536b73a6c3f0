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
    assert_snapshot!(context.kiln(&["update"]).shown, @"
    exit 0
    --- stderr
    api: Updated  curl 8 -> 9
    api: Updated  lib 1.0 -> 2.0
    api: Updated  web 1.0 -> 2.0
    queue: Updated  curl 8 -> 9
    Locked 4 packages in 2 environments in [TIME]
    ");
    assert_snapshot!(context.kiln(&["update"]).shown, @"
    exit 0
    --- stderr
    api: up to date
    queue: up to date
    Locked 4 packages in 2 environments in [TIME]
    ");
}

#[test]
fn one_package_everywhere_or_in_one_environment() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update", "curl", "-e", "queue"]).shown, @"
    exit 0
    --- stderr
    queue: Updated  curl 8 -> 9
    Locked 1 package in 1 environment in [TIME]
    ");
    assert_snapshot!(context.kiln(&["update", "curl"]).shown, @"
    exit 0
    --- stderr
    api: Updated  curl 8 -> 9
    queue: up to date
    Locked 4 packages in 2 environments in [TIME]
    ");
}

#[test]
fn a_package_and_what_it_forces() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update", "web", "--dry-run"]).shown, @"
    exit 0
    --- stderr
    api: Updated  lib 1.0 -> 2.0
    api: Updated  web 1.0 -> 2.0
    api: not written, as `--dry-run` asks
    Resolved 3 packages in 1 environment in [TIME]
    ");
    assert!(context.lockfile("api").contains("version = \"1.0\""));
    assert_snapshot!(context.kiln(&["update", "web"]).shown, @"
    exit 0
    --- stderr
    api: Updated  lib 1.0 -> 2.0
    api: Updated  web 1.0 -> 2.0
    Locked 3 packages in 1 environment in [TIME]
    ");
}

#[test]
fn precisely() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update", "curl", "--precise", "8.5"]).shown, @"
    exit 0
    --- stderr
    api: Updated  curl 8 -> 8.5
    queue: Updated  curl 8 -> 8.5
    Locked 4 packages in 2 environments in [TIME]
    ");
    assert_snapshot!(context.kiln(&["update", "curl", "--precise", "7"]).shown, @"
    exit 1
    --- stderr
    error: locking `api`
      caused by: resolving for [PLATFORM]
      caused by: `curl` 7 is in none of the environment's suites

    hint: there are: 9, 8.5, 8
    ");
    assert_snapshot!(context.kiln(&["update", "lib", "--precise", "2.0"]).shown, @"
    exit 0
    --- stderr
    api: Updated  lib 1.0 -> 2.0
    api: Updated  web 1.0 -> 2.0
    Locked 3 packages in 1 environment in [TIME]
    ");
    assert_snapshot!(context.kiln(&["update", "--precise", "2.0"]).shown, @"
    exit 2
    --- stderr
    error: `--precise` moves exactly one package

    hint: for example: `kiln update openssl --precise 3.5.1-1`
    ");
}

#[test]
fn a_name_that_no_lock_holds() {
    let context = locked();
    assert_snapshot!(context.kiln(&["update", "crul"]).shown, @"
    exit 1
    --- stderr
    error: no lock holds a package `crul`

    hint: did you mean `curl`?
    ");
    context.define("new", &["curl"]);
    assert_snapshot!(context.kiln(&["update", "curl", "-e", "new"]).shown, @"
    exit 1
    --- stderr
    error: `new` is not locked

    hint: run `kiln lock new`
    ");
}
