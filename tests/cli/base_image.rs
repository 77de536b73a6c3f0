//! `[base] image`: environments on images of others, from layouts and from registries.

use insta::assert_snapshot;

use crate::support::context::{TestContext, here, package};
use crate::support::registry::Registry;

/// A workspace with a layout `images/base`, and its environment `api` on it.
fn context(more: &str) -> TestContext {
    let context = TestContext::new(&[package("lib", "1.2")]);
    context.define("below", &["lib"]);
    context.ok(&["lock"]);
    context.ok(&["build", "below", "--output", "oci:images/base"]);
    define(&context, "oci:images/base", more);
    context
}

fn define(context: &TestContext, image: &str, more: &str) {
    context.write("file", "hello");
    let copy = "[[copy]]\nfrom = \"file\"\nto = \"/opt/file\"\n";
    let platforms = [here().name()];
    context.write("envs/api.toml", format!("platforms = {platforms:?}\n[base]\nimage = \"{image}\"\n{copy}{more}"));
}

fn layers(context: &TestContext, layout: &str) -> Vec<String> {
    let read = |path: std::path::PathBuf| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let layout = context.workspace().join(layout);
    let index = read(layout.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let manifest = read(layout.join("blobs/sha256").join(digest));
    manifest["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_layers_below_stay_as_they_are() {
    let context = context("[users.app]\nuid = 1000\n[image]\ncommand = [\"/x\"]\nuser = \"app\"\n");
    context.ok(&["lock", "api"]);
    let lockfile = context.lockfile("api");
    assert!(lockfile.contains("ecosystem = \"image\"") && lockfile.contains("blobs = [\n"), "{lockfile}");
    context.ok(&["build", "api", "--output", "oci:images/api"]);
    let (below, all) = (layers(&context, "images/base"), layers(&context, "images/api"));
    assert_eq!(all[..below.len()], below[..]);
    assert_eq!(all.len(), below.len() + 3);
    context.ok(&["build", "api", "--output", "rootfs:tree"]);
    let read = |path: &str| std::fs::read_to_string(context.workspace().join("tree").join(path)).unwrap();
    assert_eq!(read("opt/file"), "hello");
    assert!(read("etc/passwd").contains("app:x:1000:1000:"));
    // What is below is there, too.
    assert!(read("var/lib/dpkg/status").contains("Package: lib"));
}

#[test]
fn a_pin_stays_until_it_is_to_move() {
    let context = context("");
    let registry = Registry::start();
    let place = format!("{}/base:1", registry.host());
    context.ok(&["push", "below", &place]);
    define(&context, &place, "");
    context.ok(&["lock", "api"]);
    let first = context.ok(&["build", "api"]).stdout;
    let locked = context.lockfile("api");
    context.archive(&[package("lib", "1.3")]);
    context.ok(&["update", "-e", "below"]);
    context.ok(&["build", "below"]);
    context.ok(&["push", "below", &place]);
    registry.log();
    context.ok(&["lock", "api"]);
    assert_eq!(registry.log(), Vec::<String>::new());
    assert_eq!(context.lockfile("api"), locked);
    // Another store gets the pinned image by its digest, though the tag has moved.
    std::fs::remove_dir_all(context.store()).unwrap();
    assert_eq!(context.ok(&["build", "api"]).stdout, first);
    let moved = context.ok(&["update", "-e", "api"]);
    assert!(moved.stderr.contains("Updated  image:"), "{}", moved.shown);
    assert_ne!(context.ok(&["build", "api"]).stdout, first);
}

#[test]
fn a_registry_that_sends_something_else_is_found_out() {
    let context = context("");
    let registry = Registry::start();
    let place = format!("{}/base:1", registry.host());
    context.ok(&["push", "below", &place]);
    define(&context, &place, "");
    context.ok(&["lock", "api"]);
    std::fs::remove_dir_all(context.store()).unwrap();
    registry.corrupt(&layers(&context, "images/base")[0]);
    let refused = context.kiln(&["build", "api"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("expected sha256") || refused.stderr.contains("found"), "{}", refused.shown);
}

#[test]
fn what_cannot_stand_on_an_image() {
    let context = context("[python]\npackages = [\"x\"]\n");
    assert_snapshot!(context.kiln(&["lock", "api"]).shown, @r"
    exit 2
    --- stderr
    error: reading the definition of `api`
      caused by: `[base]` names an image, and `[python]` cannot be on top of one

    hint: on a base image there may be npm packages, `[[fetch]]`, `[[copy]]`, `[[run]]` and users; kiln does not know which packages it has
    ");
    define(&context, "oci:images/base", "[debian]\nsuite = \"trixie\"\n");
    assert_eq!(context.kiln(&["lock", "api"]).code, Some(2));
    define(&context, "oci:images/none", "");
    assert_snapshot!(context.kiln(&["lock", "api"]).shown, @r"
    exit 2
    --- stderr
    error: locking `api`
      caused by: looking for the base image `oci:images/none`
      caused by: reading the OCI image layout [WORKSPACE]/images/none
      caused by: reading [WORKSPACE]/images/none/index.json
      caused by: No such file or directory (os error 2)

    hint: `kiln build ENV --output oci:DIR`, or `skopeo copy … oci:DIR`, writes one
    ");
    define(&context, "oci:images/base:other", "");
    assert!(context.kiln(&["lock", "api"]).stderr.contains("it has `below`"));
    define(&context, "oci:../base", "");
    assert_snapshot!(context.kiln(&["lock", "api"]).shown, @r#"
    exit 2
    --- stderr
    error: envs/api.toml:3:9: `oci:../base` names no folder of the workspace
          |
        3 | image = "oci:../base"
          |         ^^^^^^^^^^^^^

    hint: a layout is named by its path below the workspace's folder: `oci:images/base`
    "#);
    define(&context, "debian:trixie", "");
    let unnamed = context.kiln(&["lock", "api"]);
    assert!(unnamed.stderr.contains("`debian:trixie` names no image in a registry: no registry is named"));
    let registry = Registry::start();
    define(&context, &format!("{}/none:1", registry.host()), "");
    let missing = context.kiln(&["lock", "api"]).shown.replace(&registry.host(), "[REGISTRY]");
    assert_snapshot!(missing, @r"
    exit 2
    --- stderr
    error: locking `api`
      caused by: looking for the base image `[REGISTRY]/none:1`
      caused by: there is no [REGISTRY]/none:1

    hint: are the repository and the tag spelled so?
    ");
}
