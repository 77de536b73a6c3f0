//! Which version goes where, on declared packages.

use std::collections::{BTreeMap, BTreeSet};

use kiln::ecosystem::npm::platform::{Engines, Platform};
use kiln::ecosystem::npm::semver::Version;
use kiln::ecosystem::npm::tree::{Pin, Placed, Request};
use kiln::error::Kind;
use kiln::net::{Client, Settings};
use serde_json::{Value, json};

use crate::registry::{Packages, World, request, shown};
use crate::server::Fault;

fn solved(packages: Value, dependencies: Value) -> Vec<String> {
    shown(&World::new(&Packages::of(packages)).solve(&request(dependencies)).unwrap())
}

fn refused(packages: Value, dependencies: Value) -> String {
    let error = World::new(&Packages::of(packages)).solve(&request(dependencies)).unwrap_err();
    assert_eq!(error.what(), Kind::No, "{error}");
    error.to_string()
}

#[test]
fn what_is_shared_is_hoisted_and_the_rest_nested() {
    let packages = json!({
        "a@1.0.0": {"dependencies": {"c": "^1"}}, "b@1.0.0": {"dependencies": {"c": "^2", "d": "1"}},
        "c@1.0.0": {}, "c@1.1.0": {}, "c@2.0.0": {"dependencies": {"d": "2"}}, "d@1.0.0": {}, "d@2.0.0": {}
    });
    assert_eq!(
        solved(packages.clone(), json!({"a": "1", "b": "1"})),
        ["a 1.0.0", "b 1.0.0", "b > c 2.0.0", "b > c > d 2.0.0", "c 1.1.0", "d 1.0.0"]
    );
    // What the project asks for itself is at the top whatever comes first.
    assert_eq!(
        solved(packages, json!({"a": "1", "b": "1", "c": "2"})),
        ["a 1.0.0", "a > c 1.1.0", "b 1.0.0", "c 2.0.0", "c > d 2.0.0", "d 1.0.0"]
    );
}

#[test]
fn circles_are_no_trouble() {
    let packages = json!({"a@1.0.0": {"dependencies": {"b": "1"}}, "b@1.0.0": {"dependencies": {"a": "1"}}});
    assert_eq!(solved(packages, json!({"a": "*"})), ["a 1.0.0", "b 1.0.0"]);
}

#[test]
fn a_circle_that_would_nest_without_end_is_refused() {
    let packages = json!({
        "a@1.0.0": {"dependencies": {"b": "1"}}, "b@1.0.0": {"dependencies": {"a": "2"}},
        "a@2.0.0": {"dependencies": {"b": "2"}}, "b@2.0.0": {"dependencies": {"a": "1"}}
    });
    let text = refused(packages, json!({"a": "1", "b": "1"}));
    assert!(text.contains("below itself without end"), "{text}");
}

#[test]
fn peers_are_installed_and_shared() {
    let packages = json!({
        "plugin@1.0.0": {"peerDependencies": {"host": "^1"}}, "other@1.0.0": {"peerDependencies": {"host": ">=1"}},
        "host@1.0.0": {}, "host@1.5.0": {}, "host@2.0.0": {}
    });
    assert_eq!(
        solved(packages.clone(), json!({"plugin": "1", "other": "1"})),
        ["host 1.5.0", "other 1.0.0", "plugin 1.0.0"]
    );
    assert_eq!(solved(packages.clone(), json!({"plugin": "1", "host": "1.0.0"})), ["host 1.0.0", "plugin 1.0.0"]);
    let text = refused(packages, json!({"plugin": "1", "host": "2"}));
    assert!(
        text.contains("plugin 1.0.0") && text.contains("`host` `^1` as its peer") && text.contains("host 2.0.0"),
        "{text}"
    );
}

#[test]
fn peers_of_the_dependencies_of_dependencies_may_disagree() {
    let packages = json!({
        "a@1.0.0": {"dependencies": {"plugin": "1", "host": "1"}},
        "plugin@1.0.0": {"peerDependencies": {"host": "^1"}}, "host@1.0.0": {}, "host@2.0.0": {}
    });
    assert_eq!(
        solved(packages, json!({"a": "1", "host": "2"})),
        ["a 1.0.0", "a > host 1.0.0", "a > plugin 1.0.0", "host 2.0.0"]
    );
}

#[test]
fn optional_peers_come_only_if_somebody_brings_them() {
    let packages = json!({
        "a@1.0.0": {"peerDependencies": {"p": "^1"}, "peerDependenciesMeta": {"p": {"optional": true}}},
        "b@1.0.0": {"dependencies": {"p": "1"}}, "p@1.0.0": {}
    });
    assert_eq!(solved(packages.clone(), json!({"a": "1"})), ["a 1.0.0"]);
    assert_eq!(solved(packages, json!({"a": "1", "b": "1"})), ["a 1.0.0", "b 1.0.0", "p 1.0.0"]);
}

#[test]
fn optional_packages_are_for_their_platform() {
    let packages = json!({
        "tool@1.0.0": {"optionalDependencies": {"tool-x64": "1", "tool-arm64": "1", "tool-mac": "1", "tool-musl": "1", "gone": "1", "new": "1"}},
        "tool-x64@1.0.0": {"os": ["linux"], "cpu": ["x64"]}, "tool-arm64@1.0.0": {"os": ["linux"], "cpu": ["arm64"]},
        "tool-mac@1.0.0": {"os": ["darwin"], "dependencies": {"only-mac": "1"}}, "only-mac@1.0.0": {},
        "tool-musl@1.0.0": {"os": ["linux"], "libc": ["musl"]}, "new@1.0.0": {"engines": {"node": ">=99"}}
    });
    let world = World::new(&Packages::of(packages));
    let mut wanted = request(json!({"tool": "1"}));
    assert_eq!(shown(&world.solve(&wanted).unwrap()), ["new 1.0.0", "tool 1.0.0", "tool-x64 1.0.0"]);
    wanted.platform = Platform::linux("arm64");
    wanted.engines = Engines { node: Version::parse("20.0.0"), npm: None };
    let placed = world.solve(&wanted).unwrap();
    assert_eq!(shown(&placed), ["tool 1.0.0", "tool-arm64 1.0.0"]);
    assert_eq!((placed[0].optional, placed[1].optional), (false, true));
    let text = world.solve(&request(json!({"tool-mac": "1"}))).unwrap_err().to_string();
    assert!(text.contains("tool-mac 1.0.0 is for os darwin and not for linux on x64"), "{text}");
}

#[test]
fn aliases_keep_their_folder_and_their_name() {
    let packages = json!({"real@1.0.0": {}, "real@2.0.0": {}, "@s/a@1.0.0": {"dependencies": {"other": "npm:real@1"}}});
    let world = World::new(&Packages::of(packages));
    let placed = world.solve(&request(json!({"mine": "npm:real@^2", "@s/a": "*"}))).unwrap();
    assert_eq!(shown(&placed), ["@s/a 1.0.0", "mine 2.0.0", "other 1.0.0"]);
    assert_eq!((placed[1].name.as_str(), placed[1].requested.as_deref()), ("real", Some("npm:real@^2")));
    assert_eq!(
        (placed[2].required_by.clone(), placed[2].file_name()),
        (vec!["node_modules/@s/a".to_owned()], "real-1.0.0.tgz")
    );
}

#[test]
fn overrides_change_what_others_ask_for() {
    let packages = json!({
        "a@1.0.0": {"dependencies": {"c": "^1"}}, "b@1.0.0": {"dependencies": {"c": "^1"}}, "c@1.0.0": {}, "c@2.0.0": {}
    });
    let world = World::new(&Packages::of(packages));
    let solve = |overrides: Value| {
        let overrides = overrides.as_object().unwrap().clone();
        world.solve(&Request { overrides, ..request(json!({"a": "1", "b": "1"})) })
    };
    assert_eq!(shown(&solve(json!({"c": "2"})).unwrap()), ["a 1.0.0", "b 1.0.0", "c 2.0.0"]);
    assert_eq!(shown(&solve(json!({"b": {"c": "2"}})).unwrap()), ["a 1.0.0", "b 1.0.0", "b > c 2.0.0", "c 1.0.0"]);
    assert_eq!(shown(&solve(json!({"c@2": "1.0.0"})).unwrap()), ["a 1.0.0", "b 1.0.0", "c 1.0.0"]);
    let text = solve(json!({"a": "2"})).unwrap_err().to_string();
    assert!(text.contains("asks for `a` `1` and overrides it with `2`"), "{text}");
}

#[test]
fn what_a_tarball_brings_is_left_to_it() {
    let mut packages = Packages::of(json!({"inner@1.9.0": {}, "free@1.0.0": {}}));
    let inner = br#"{"name": "inner", "version": "1.0.0", "bin": {"inner": "run.js"}}"#;
    packages.add(
        "outer@1.0.0",
        json!({"bundleDependencies": ["inner"], "dependencies": {"inner": "^1", "free": "1"}}),
        &[
            ("package/node_modules/inner/package.json", b'0', 0o644, inner),
            ("package/node_modules/inner/run.js", b'0', 0o644, b""),
        ],
    );
    let world = World::new(&packages);
    let placed = world.solve(&request(json!({"outer": "1", "inner": "1"}))).unwrap();
    assert_eq!(shown(&placed), ["free 1.0.0", "inner 1.9.0", "outer 1.0.0", "outer > inner 1.0.0"]);
    let inner: &Placed = &placed[3];
    assert!(inner.bundled && inner.tarball.is_empty() && inner.integrity.is_none() && inner.bin.contains_key("inner"));
}

#[test]
fn a_lock_moves_only_what_it_must() {
    let old = json!({"a@1.0.0": {"dependencies": {"c": "^1"}}, "c@1.0.0": {}, "b@1.0.0": {}});
    let mut packages = Packages::of(old);
    let world = World::new(&packages);
    let mut wanted = request(json!({"a": "*", "b": "^1"}));
    let first = world.solve(&wanted).unwrap();
    for (id, manifest) in
        [("a@2.0.0", json!({"dependencies": {"c": "^1.1"}})), ("b@1.1.0", json!({})), ("c@1.2.0", json!({}))]
    {
        packages.add(id, manifest, &[]);
    }
    world.server.replace(packages.files(&world.server));
    let pin = |one: &Placed| (one.path.clone(), Pin { name: one.name.clone(), version: one.version.clone() });
    wanted.preferred = first.iter().map(pin).collect();
    assert_eq!(world.solve(&wanted).unwrap(), first);
    wanted.moving = BTreeSet::from(["a".into()]);
    assert_eq!(shown(&world.solve(&wanted).unwrap()), ["a 2.0.0", "b 1.0.0", "c 1.2.0"]);
    wanted.preferred = BTreeMap::new();
    assert_eq!(shown(&world.solve(&wanted).unwrap()), ["a 2.0.0", "b 1.1.0", "c 1.2.0"]);
}

#[test]
fn what_cannot_be_had_is_said_with_who_wants_it() {
    let packages = json!({"a@1.0.0": {"dependencies": {"b": "^2"}}, "b@1.0.0": {}, "g@1.0.0": {"dependencies": {"x": "github:u/x"}}});
    let text = refused(packages.clone(), json!({"a": "1"}));
    assert!(text.contains("a 1.0.0 asks for `b` `^2`") && text.contains("has no version that is wanted"), "{text}");
    let text = refused(packages.clone(), json!({"nowhere": "1"}));
    assert!(text.contains("the definition asks for `nowhere`"), "{text}");
    let text = refused(packages.clone(), json!({"g": "1"}));
    assert!(text.contains("from a git repository"), "{text}");
    let text = refused(packages.clone(), json!({"a": "file:../a"}));
    assert!(text.contains("from a file"), "{text}");
    let text = refused(packages, json!({"../a": "1"}));
    assert!(text.contains("is not the name"), "{text}");
}

#[test]
fn documents_are_asked_for_again_only_if_they_changed() {
    let packages = Packages::of(json!({"a@1.0.0": {"dependencies": {"b": "1"}}, "b@1.0.0": {}}));
    let world = World::new(&packages);
    let wanted = request(json!({"a": "1"}));
    let first = world.solve(&wanted).unwrap();
    assert!(world.server.log().iter().all(|logged| logged.if_none_match.is_none()));
    assert_eq!(world.solve(&wanted).unwrap(), first);
    let log = world.server.log();
    assert_eq!((log.len(), log.iter().filter(|logged| logged.if_none_match.is_some()).count()), (2, 2));
    // Without the network, what was seen last counts.
    let offline = Client::new(&Settings { offline: true, ..Settings::default() }).unwrap();
    let placed = kiln::ecosystem::npm::tree::solve(&world.registry_with(&offline), &wanted).unwrap();
    assert_eq!(placed, first);
    let error =
        kiln::ecosystem::npm::tree::solve(&world.registry_with(&offline), &request(json!({"c": "1"}))).unwrap_err();
    assert!(error.what() == Kind::Network && error.hints()[0].contains("--offline"), "{error}");
    assert!(world.server.log().is_empty());
}

#[test]
fn a_server_in_trouble_is_no_missing_package() {
    let world = World::new(&Packages::of(json!({"a@1.0.0": {"optionalDependencies": {"b": "1"}}, "b@1.0.0": {}})));
    world.server.always("/b", Fault::Status(503));
    let error = world.solve(&request(json!({"a": "1"}))).unwrap_err();
    assert_eq!(error.what(), Kind::Network, "{error}");
    world.server.always("/b", Fault::Truncate(10));
    assert!(world.solve(&request(json!({"a": "1"}))).is_err());
}
