//! `kiln list`, `tree`, `why` and `outdated`: what is in an environment, why, and what could be newer.

use insta::assert_snapshot;

use crate::support::archive::Package;
use crate::support::context::{TestContext, package, package_with};
use crate::support::keys::NOW;

fn shop() -> Vec<Package> {
    vec![
        package_with("web", "1.0", &[("Depends", "lib, awk")], |deb| deb),
        package_with("tool", "3", &[("Depends", "lib, web")], |deb| deb),
        package_with("lib", "1.2", &[("Depends", "core")], |deb| deb),
        package_with("mawk", "1.3", &[("Provides", "awk"), ("Depends", "core")], |deb| deb),
        package("core", "2"),
        package("alone", "1"),
    ]
}

fn locked() -> TestContext {
    let context = TestContext::new(&shop());
    context.define("api", &["web", "tool", "awk"]);
    context.define("queue", &["alone"]);
    context.ok(&["lock"]);
    context
}

#[test]
fn a_tree_shows_what_needs_what() {
    let context = locked();
    assert_snapshot!(context.kiln(&["tree"]).shown, @"
    exit 0
    --- stdout
    api
    ├── * debian:mawk 1.3
    │   └── debian:core 2
    ├── * debian:tool 3
    │   ├── debian:lib 1.2
    │   │   └── debian:core 2
    │   └── * debian:web 1.0
    │       ├── debian:lib 1.2 (again)
    │       └── * debian:mawk 1.3 (again)
    └── * debian:web 1.0 (again)
    queue
    └── * debian:alone 1
    ");
    assert_snapshot!(context.kiln(&["tree", "api", "--depth", "1"]).shown, @"
    exit 0
    --- stdout
    api
    ├── * debian:mawk 1.3
    │   └── debian:core 2
    ├── * debian:tool 3
    │   ├── debian:lib 1.2 …
    │   └── * debian:web 1.0 …
    └── * debian:web 1.0
        ├── debian:lib 1.2 …
        └── * debian:mawk 1.3 …
    ");
    assert_snapshot!(context.kiln(&["tree", "--invert", "core"]).shown, @"
    exit 0
    --- stdout
    api
    └── debian:core 2
        ├── debian:lib 1.2
        │   ├── * debian:tool 3
        │   └── * debian:web 1.0
        │       └── * debian:tool 3
        └── * debian:mawk 1.3
            └── * debian:web 1.0 (again)
    ");
    assert_snapshot!(context.kiln(&["tree", "--invert", "cores"]).shown, @"
    exit 2
    --- stderr
    error: no lock holds a package `cores`

    hint: did you mean `core`?
    ");
    assert_snapshot!(context.kiln(&["tree", "queue", "--format", "json"]).shown, @r#"
    exit 0
    --- stdout
    {
      "schema": {
        "name": "kiln/tree",
        "version": 1
      },
      "tree": [
        {
          "environment": "queue",
          "hidden": 0,
          "roots": [
            {
              "again": false,
              "base": false,
              "below": [],
              "cut": false,
              "ecosystem": "debian",
              "name": "alone",
              "requested": "alone",
              "tool": false,
              "versions": [
                "1"
              ]
            }
          ]
        }
      ]
    }
    "#);
}

#[test]
fn why_names_the_chains() {
    let context = locked();
    assert_snapshot!(context.kiln(&["why", "api", "core"]).shown, @"
    exit 0
    --- stdout
    debian:core 2 is in `api`
      mawk (asked for as `awk`) -> core
      tool -> lib -> core
      web -> lib -> core
    ");
    assert_snapshot!(context.kiln(&["why", "api", "debian:mawk"]).shown, @"
    exit 0
    --- stdout
    debian:mawk 1.3 is in `api`
      because the definition asks for it: `awk`
      web -> mawk
      tool -> web -> mawk
    ");
    assert_snapshot!(context.kiln(&["why", "queue", "alone", "--format", "json"]).shown, @r#"
    exit 0
    --- stdout
    {
      "schema": {
        "name": "kiln/why",
        "version": 1
      },
      "why": [
        {
          "base": false,
          "chains": [],
          "ecosystem": "debian",
          "name": "alone",
          "requested": "alone",
          "versions": [
            "1"
          ]
        }
      ]
    }
    "#);
    assert_snapshot!(context.kiln(&["why", "queue", "core"]).shown, @"
    exit 2
    --- stderr
    error: no lock holds a package `core`

    hint: `kiln list` lists all packages
    ");
    assert_snapshot!(context.kiln(&["why", "apo", "core"]).shown, @"
    exit 2
    --- stderr
    error: no environment `apo` in [WORKSPACE]/envs

    hint: did you mean `api`?
    ");
}

#[test]
fn lists_are_filtered() {
    let context = locked();
    context.edit_lockfile("api", |text| {
        text.replacen(
            "architecture = \"all\" }",
            "architecture = \"all\", scripts = \"sandbox\", licences = [\"GPL-3+\", \"\\u001b[31mMIT\"] }",
            2,
        )
    });
    assert_snapshot!(context.kiln(&["list"]).shown, @"
    exit 0
    --- stdout
    api   . debian  core   2    660 B  test/stable  �[31mMIT, GPL-3+
    api   . debian  lib    1.2  676 B  test/stable  �[31mMIT, GPL-3+
    api   * debian  mawk   1.3  684 B  test/stable
    api   * debian  tool   3    672 B  test/stable
    api   * debian  web    1.0  676 B  test/stable
    queue * debian  alone  1    664 B  test/stable
    ");
    assert_snapshot!(context.kiln(&["list", "--licence", "gpl"]).shown, @"
    exit 0
    --- stdout
    api . debian  core  2    660 B  test/stable  �[31mMIT, GPL-3+
    api . debian  lib   1.2  676 B  test/stable  �[31mMIT, GPL-3+
    ");
    assert_snapshot!(context.kiln(&["list", "--scripts", "--requested"]).shown, @"
    exit 0
    ");
    assert_snapshot!(context.kiln(&["list", "--ecosystem", "npm"]).shown, @"
    exit 0
    ");
    assert_snapshot!(context.kiln(&["list", "queue", "--format", "json"]).shown, @r#"
    exit 0
    --- stdout
    {
      "list": [
        {
          "base": false,
          "ecosystem": "debian",
          "environment": "queue",
          "licences": [],
          "name": "alone",
          "origin": "test/stable",
          "platforms": [
            "[PLATFORM]"
          ],
          "requested": true,
          "size": 664,
          "source": "alone",
          "source-version": "1",
          "version": "1"
        }
      ],
      "schema": {
        "name": "kiln/list",
        "version": 1
      }
    }
    "#);
    assert_eq!(context.kiln(&["list", "--platform", "linux/none"]).code, Some(2));
}

#[test]
fn outdated_says_what_moves_and_what_is_held_back() {
    let context = locked();
    context.define("queue", &["alone=1"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["outdated", "--exit-code"]).shown, @"
    exit 0
    --- stderr
    Nothing is outdated in 2 environments
    ");
    let mut packages = shop();
    packages.extend([package_with("lib", "1.3", &[("Depends", "core")], |deb| deb), package("alone", "2")]);
    context.archive_dated(&packages, NOW - 3600);
    let before = context.lockfile("api");
    assert_snapshot!(context.kiln(&["outdated"]).shown, @"
    exit 0
    --- stdout
    api    debian  lib    1.2 -> 1.3
    queue  debian  alone  1           2 is available; held back by `alone=1`
    ");
    // What is held back on purpose would not move.
    assert_eq!(context.kiln(&["outdated", "queue", "--exit-code"]).code, Some(0));
    assert_eq!(context.kiln(&["outdated", "--exit-code"]).code, Some(1));
    assert_snapshot!(context.kiln(&["outdated", "--format", "json"]).shown, @r#"
    exit 0
    --- stdout
    {
      "outdated": [
        {
          "available": "1.3",
          "ecosystem": "debian",
          "environment": "api",
          "locked": "1.2",
          "name": "lib",
          "update": "1.3"
        },
        {
          "available": "2",
          "ecosystem": "debian",
          "environment": "queue",
          "held-back-by": "alone=1",
          "locked": "1",
          "name": "alone"
        }
      ],
      "schema": {
        "name": "kiln/outdated",
        "version": 1
      }
    }
    "#);
    assert_eq!(context.lockfile("api"), before, "a question moves nothing");
}

#[test]
fn why_names_the_owner_of_a_path() {
    let context = TestContext::new(&shop());
    context.define("api", &["alone", "core"]);
    let text = std::fs::read_to_string(context.workspace().join("envs/api.toml")).unwrap();
    context.write("envs/api.toml", text + "[[copy]]\nfrom = \"own\"\nto = \"/usr/share/alone/version\"\n");
    context.write("own", "mine\n");
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["why", "api", "/usr/share/core/version"]).shown, @"
    exit 1
    --- stderr
    error: the image of `api` for [PLATFORM] is not in the store, so it is not known whose /usr/share/core/version is

    hint: `kiln build api` bakes it; then ask again
    ");
    context.ok(&["build"]);
    assert_snapshot!(context.kiln(&["why", "api", "/usr/share/core/version"]).shown, @"
    exit 0
    --- stdout
    a file of 7 bytes, mode 0644, sha256 [HASH]: by the package core 2 (layer `debian-5`)
      from core_2_all.deb, sha256 [HASH]
    ");
    assert_snapshot!(context.kiln(&["why", "api", "/usr/share/alone//version"]).shown, @"
    exit 0
    --- stdout
    /usr/share/alone//version is /usr/share/alone/version
    a file of 5 bytes, mode 0644, sha256 [HASH]: by local files in /usr/share/alone/version (layer `copy-1`)
    before that, a file of 8 bytes, mode 0644, sha256 [HASH]: by the package alone 1 (layer `debian-2`)
    ");
    assert_snapshot!(context.kiln(&["why", "api", "/usr/share/"]).shown, @"
    exit 0
    --- stdout
    /usr/share/ is /usr/share
    a folder of 2 packages: core 2, alone 1
    ");
    assert_snapshot!(context.kiln(&["why", "api", "/usr/nothing"]).shown, @"
    exit 1
    --- stderr
    error: the image of `api` for [PLATFORM] has no /usr/nothing

    hint: paths are those of the image; what starts a container may add files of its own
    ");
    let json = context.ok(&["why", "api", "/usr/share/core/version", "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["why"]["touches"][0]["by"], "core 2");
    assert_eq!(json["why"]["artifact"]["path"], "pool/main/core_2_all.deb");
}
