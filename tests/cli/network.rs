//! Networks that fail: what was asked, what came of it, and what can be done without.

use std::time::Duration;

use insta::assert_snapshot;

use crate::support::context::{TestContext, noise, package, package_with};
use crate::support::server::Fault;

/// An environment whose only package is large enough to be cut off.
fn context() -> TestContext {
    let context = TestContext::new(&[large()]);
    context.define("api", &["big"]);
    context
}

fn large() -> crate::support::archive::Package {
    package_with("big", "1.0", &[], |deb| deb.file("./usr/share/big/noise", &noise(1, 100_000)))
}

const DEB: &str = "/test/pool/main/big_1.0_all.deb";

#[test]
fn nobody_listens() {
    let mut context = context();
    context.set("KILN_ORIGIN_TEST", "http://127.0.0.1:1/test");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: getting the suite `stable` of the origin `test`
      caused by: http://127.0.0.1:1/test/dists/stable/InRelease
      caused by: no connection: Connection refused (os error 111)

    hint: `kiln store origins` says where this address was learnt; `[origins]` in kiln.toml gives another
    ");
}

#[test]
fn an_origin_without_address() {
    let context = context();
    context.write(
        "envs/api.toml",
        "[debian]\nsuites = []\nbase = \"none\"\npackages = [\"big\"]\n[[debian.source]]\norigin = \"vendor\"\nsuite = \"stable\"\nkey = \"keys/test.asc\"\n",
    );
    assert_snapshot!(context.kiln(&["lock"]).shown, @r#"
    exit 2
    --- stderr
    error: locking `api`
      caused by: getting the suite `stable` of the origin `vendor`
      caused by: no address is known for the origin `vendor`

    hint: say where it is: `vendor = "https://…"` under `[origins]` in kiln.toml or in the user's configuration, the variable KILN_ORIGIN_VENDOR, or a source of the machine's apt
    "#);
}

#[test]
fn debian_without_any_address_that_answers() {
    let context = context();
    context.write("envs/api.toml", "[debian]\nsuite = \"trixie\"\npackages = [\"curl\"]\n");
    assert_snapshot!(context.kiln(&["lock"]).shown, @r#"
    exit 2
    --- stderr
    error: locking `api`
      caused by: getting the suite `trixie` of the origin `debian`
      caused by: http://127.0.0.1:1/archive/debian/20260921T141320Z/dists/trixie/InRelease
      caused by: no connection: Connection refused (os error 111)

    hint: say where it is: `debian = "https://…"` under `[origins]` in kiln.toml or in the user's configuration, the variable KILN_ORIGIN_DEBIAN, or a source of the machine's apt
    "#);
}

#[test]
fn offline_without_anything() {
    let context = context();
    assert_snapshot!(context.kiln(&["lock", "--offline"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: getting the suite `stable` of the origin `test`
      caused by: the store has never seen its signed index, and kiln was told to work offline

    hint: run the command once without `--offline`
    ");
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build", "--offline"]).shown, @"
    exit 2
    --- stderr
    error: baking `api` for [PLATFORM]
      caused by: kiln was told to work offline, and the store lacks 1 of 1 artifacts
        big 1.0

    hint: `kiln fetch api` gets them where there is a network
    ");
    context.ok(&["fetch"]);
    context.ok(&["build", "--offline"]);
    context.ok(&["update", "--offline"]);
}

#[test]
fn a_suite_that_is_not_there() {
    let context = context();
    context.server.always("/test/dists/stable/InRelease", Fault::Status(404));
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: getting the suite `stable` of the origin `test`
      caused by: http://[SERVER]/test/dists/stable/InRelease
      caused by: the server answered 404 Not Found

    hint: `kiln store origins` says where this address was learnt; `[origins]` in kiln.toml gives another
    ");
}

#[test]
fn bytes_that_are_not_those_locked() {
    let context = context();
    context.ok(&["lock"]);
    context.server.always(DEB, Fault::Corrupt);
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    error: baking `api` for [PLATFORM]
      caused by: big 1.0 could not be had
      caused by: http://[SERVER]/test/pool/main/big_1.0_all.deb: expected sha256 [HASH], found [HASH]

    hint: a mirror or a proxy on the way serves something else under this name: try another
    ");
}

#[test]
fn every_address_is_tried_and_listed() {
    let context = context();
    context.write(
        "kiln.toml",
        format!("[origins]\nelse = [{:?}, {:?}]\n", context.server.url("/a"), context.server.url("/test")),
    );
    let definition = std::fs::read_to_string(context.workspace().join("envs/api.toml")).unwrap();
    context.write("envs/api.toml", definition.replace("\"test\"\n", "\"else\"\n"));
    context.ok(&["lock"]);
    context.server.always(DEB, Fault::Status(404));
    context.server.always("/a/pool/main/big_1.0_all.deb", Fault::Status(503));
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    error: baking `api` for [PLATFORM]
      caused by: big 1.0 could not be had
      caused by: http://[SERVER]/a/pool/main/big_1.0_all.deb: the server answered 503 Service Unavailable
      caused by: http://[SERVER]/test/pool/main/big_1.0_all.deb: the server answered 404 Not Found

    hint: run the command again when the address answers: what is there already is kept
    ");
    context.server.once(DEB, Fault::Redirect(context.server.url("/moved")));
    let mut files = std::collections::BTreeMap::new();
    files.insert("/moved".to_owned(), large().deb);
    context.server.replace(files);
    context.ok(&["build"]);
}

#[test]
fn a_transfer_that_ends_early_goes_on_where_it_ended() {
    let mut context = context();
    context.ok(&["lock"]);
    context.server.always(DEB, Fault::Truncate(40_000));
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    error: baking `api` for [PLATFORM]
      caused by: big 1.0 could not be had
      caused by: http://[SERVER]/test/pool/main/big_1.0_all.deb: the connection broke: end of file before message length reached

    hint: run the command again when the address answers: what is there already is kept
    ");
    context.set("KILN_HTTP_RETRIES", "2");
    context.ok(&["build"]);
}

#[test]
fn a_transfer_that_stalls() {
    let mut context = context();
    context.set("KILN_HTTP_TIMEOUT", "1");
    context.ok(&["lock"]);
    context.server.always(DEB, Fault::Stall(1000, Duration::from_secs(8)));
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    error: baking `api` for [PLATFORM]
      caused by: big 1.0 could not be had
      caused by: http://[SERVER]/test/pool/main/big_1.0_all.deb: the transfer stalled: no byte came for 1 s

    hint: run the command again when the address answers: what is there already is kept
    ");
}

#[test]
fn an_index_that_is_cut_off() {
    let context = context();
    context.server.always("/test/dists/stable/InRelease", Fault::Truncate(200));
    let run = context.kiln(&["lock"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("InRelease") && run.stderr.contains("`api`"), "{}", run.shown);
}

#[test]
fn an_older_index_than_one_seen_before() {
    let context = TestContext::new(&[package("a", "1")]);
    context.define("api", &["a"]);
    context.ok(&["lock"]);
    context.archive_dated(&[package("a", "1")], crate::support::keys::NOW - 86_400);
    assert_snapshot!(context.kiln(&["update"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: getting the suite `stable` of the origin `test`
      caused by: http://[SERVER]/test/dists/stable/InRelease: its signed index is of 2026-09-20 14:13:20 UTC, older than the one of 2026-09-21 12:13:20 UTC that was seen before: somebody may be replaying an old one

    hint: a mirror that lags behind catches up: try again later, or name another address of the origin
    ");
}
