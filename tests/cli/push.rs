//! `kiln push`, against a registry in memory.

use base64::Engine as _;
use insta::assert_snapshot;

use crate::support::context::{TestContext, package};
use crate::support::registry::Registry;

/// A workspace whose environment `api` is baked.
fn baked() -> TestContext {
    let context = TestContext::new(&[package("lib", "1.2")]);
    context.define("api", &["lib"]);
    context.ok(&["lock"]);
    context.ok(&["build"]);
    context
}

fn digest(context: &TestContext, name: &str) -> String {
    context.ok(&["build", name]).stdout.split_whitespace().last().unwrap().to_owned()
}

/// The digests of the configuration and the layers of a manifest.
fn blobs(manifest: &[u8]) -> Vec<String> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.chain([&manifest["config"]]).map(|blob| blob["digest"].as_str().unwrap().to_owned()).collect()
}

fn login(registry: &Registry, login: &str) -> String {
    let auth = base64::engine::general_purpose::STANDARD.encode(login);
    format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, registry.host())
}

#[test]
fn an_image_is_in_the_registry_afterwards() {
    let (context, registry) = (baked(), Registry::start());
    let digest = digest(&context, "api");
    let place = format!("{}/team/api:1", registry.host());
    let pushed = context.ok(&["push", "api", &place]);
    assert_eq!(pushed.stdout, format!("{}/team/api@{digest}\n", registry.host()));
    let manifest = registry.manifest("team/api", "1").unwrap();
    assert_eq!(kiln::Digest::of(&manifest).oci(), digest);
    assert!(blobs(&manifest).iter().all(|blob| registry.has("team/api", blob)));
    // The second time nothing is sent, and from another repository of the registry it is taken.
    registry.log();
    context.ok(&["push", "api", &place]);
    let sent = |log: Vec<String>| log.iter().filter(|line| line.starts_with("PUT") && line.contains("/blobs")).count();
    assert_eq!(sent(registry.log()), 0);
    let json = context.ok(&["push", "api", &format!("{}/other/api", registry.host()), "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["push"]["blobs"]["mounted"], blobs(&manifest).len());
    assert_eq!((&json["push"]["blobs"]["sent"], &json["push"]["tag"]), (&0.into(), &"latest".into()));
    assert_eq!(sent(registry.log()), 0);
}

#[test]
fn a_tag_that_moves_is_named_and_may_be_forbidden_to() {
    let (context, registry) = (baked(), Registry::start());
    let place = format!("{}/api:1", registry.host());
    context.ok(&["push", "api", &place]);
    context.archive(&[package("lib", "1.3")]);
    context.ok(&["update"]);
    context.ok(&["build"]);
    let refused = context.kiln(&["push", "api", &place, "--immutable"]);
    let filter = |text: &str| text.replace(&registry.host(), "[REGISTRY]");
    assert_snapshot!(filter(&refused.shown), @r"
    exit 1
    --- stderr
    error: pushing `api` to [REGISTRY]/api
      caused by: [REGISTRY]/api:1 is sha256:[HASH] already, not sha256:[HASH]

    hint: push under another tag, or without `--immutable`
    ");
    assert!(context.ok(&["push", "api", &place]).stderr.contains("moved: sha256:"));
    let same = context.ok(&["push", "api", &place, "--immutable"]);
    assert!(!same.stderr.contains("moved"));
}

#[test]
fn logins_are_those_of_other_clients() {
    let (mut context, registry) = (baked(), Registry::start());
    registry.require("me:secret");
    let place = format!("{}/team/api", registry.host());
    let filter = |text: &str| text.replace(&registry.host(), "[REGISTRY]");
    assert_snapshot!(filter(&context.kiln(&["push", "api", &place]).shown), @r"
    exit 2
    --- stderr
    error: pushing `api` to [REGISTRY]/team/api
      caused by: asking [REGISTRY] for [REGISTRY]/team/api:latest
      caused by: logging in to [REGISTRY]
      caused by: asking http://[REGISTRY]/token for a token
      caused by: the registry answered 401

    hint: no login for [REGISTRY] was found: `docker login [REGISTRY]` or `podman login [REGISTRY]` makes one
    ");
    context.set("DOCKER_AUTH_CONFIG", login(&registry, "me:wrong"));
    let wrong = context.kiln(&["push", "api", &place]);
    assert!(wrong.stderr.contains("is from DOCKER_AUTH_CONFIG") && !wrong.stderr.contains("wrong"), "{}", wrong.shown);
    // podman's file goes before docker's, and one that has no entry before the next.
    let home = context.folder().join("home");
    std::fs::create_dir_all(context.folder().join("runtime/containers")).unwrap();
    std::fs::create_dir_all(home.join(".docker")).unwrap();
    std::fs::write(context.folder().join("runtime/containers/auth.json"), "{}").unwrap();
    std::fs::write(home.join(".docker/config.json"), login(&registry, "me:secret")).unwrap();
    context.set("DOCKER_AUTH_CONFIG", "{}");
    context.ok(&["push", "api", &place]);
    context.set("REGISTRY_AUTH_FILE", context.folder().join("none").display().to_string());
    assert!(context.kiln(&["push", "api", &place]).stderr.contains("does not exist"));
    assert!(registry.manifest("team/api", "latest").is_some());
}

#[test]
fn a_broken_upload_goes_on_where_it_broke() {
    let (context, registry) = (baked(), Registry::start());
    registry.cut(100);
    registry.cut(0);
    registry.cut(50);
    context.ok(&["push", "api", &format!("{}/api", registry.host())]);
    let manifest = registry.manifest("api", "latest").unwrap();
    assert!(blobs(&manifest).iter().all(|blob| registry.has("api", blob)));
    let log = registry.log();
    assert!(log.iter().any(|line| line.starts_with("PATCH")), "{log:?}");
    // A registry that always hangs up is given up.
    let broken = Registry::start();
    (0..40).for_each(|_| broken.cut(1));
    let given_up = context.kiln(&["push", "api", &format!("{}/api", broken.host())]);
    assert_eq!(given_up.code, Some(2), "{}", given_up.shown);
    assert!(broken.manifest("api", "latest").is_none());
}

#[test]
fn what_cannot_be_pushed() {
    let (context, registry) = (TestContext::new(&[package("lib", "1.2")]), Registry::start());
    context.define("api", &["lib"]);
    let place = format!("{}/api", registry.host());
    assert_eq!(context.kiln(&["push", "api", &place]).code, Some(1));
    context.ok(&["lock"]);
    let filter = |text: &str| text.replace(&registry.host(), "[REGISTRY]");
    assert_snapshot!(filter(&context.kiln(&["push", "api", &place]).shown), @r"
    exit 1
    --- stderr
    error: pushing `api` to [REGISTRY]/api
      caused by: no image is pinned for it in the lockfile

    hint: `kiln build api` bakes what is locked, and pins it in the lockfile
    ");
    context.ok(&["build"]);
    assert_snapshot!(context.kiln(&["push", "api"]).shown, @r"
    exit 2
    --- stderr
    error: it is not said where to push to

    hint: `kiln push api REGISTRY/REPOSITORY[:TAG]`, or `--target NAME` with a `repository` in kiln.toml
    ");
    assert_snapshot!(context.kiln(&["push", "api", "team/api"]).shown, @r"
    exit 2
    --- stderr
    error: `team/api` names no image in a registry: no registry is named

    hint: images are named as in `registry.example.org/team/name:tag` or `localhost:5000/name@sha256:…`
    ");
    context.write("kiln.toml", format!("[targets.qa]\nrepository = \"{}/team\"\n[targets.bare]\n", registry.host()));
    context.ok(&["push", "api", "--target", "qa"]);
    assert!(registry.manifest("team/api", "latest").is_some());
    assert!(context.kiln(&["push", "api", "--target", "bare"]).stderr.contains("says no place for images"));
    // Without its image in the store there is nothing to push.
    std::fs::remove_dir_all(context.store()).unwrap();
    assert!(context.kiln(&["push", "api", &place]).stderr.contains("is neither in the store nor in the repository"));
}
