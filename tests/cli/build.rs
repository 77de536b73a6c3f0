//! `kiln build`: the same digest whatever happens on the way, and nothing that the lock does not say.

use std::fs;

use insta::assert_snapshot;

use crate::support::archive::Package;
use crate::support::context::{TestContext, definition, here, package, package_with};

fn shop() -> Vec<Package> {
    vec![package_with("web", "1.0", &[("Depends", "lib")], |deb| deb), package("lib", "1.2")]
}

fn locked() -> TestContext {
    let context = TestContext::new(&shop());
    context.define("api", &["web"]);
    context.ok(&["lock"]);
    context
}

#[test]
fn the_first_build_pins_and_the_second_finds() {
    let context = locked();
    let first = context.kiln(&["build"]);
    assert_snapshot!(first.shown, @"");
    let lock = context.lockfile("api");
    assert!(lock.contains("[[output]]") && lock.contains("scripts = \"none\""), "{lock}");
    let second = context.kiln(&["build", "--locked", "--offline"]);
    assert_snapshot!(second.shown, @"");
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(context.lockfile("api"), lock);
}

#[test]
fn the_digest_depends_on_nothing_of_the_machine() {
    let expected = locked().ok(&["build"]).stdout;
    let mut other = locked();
    for (name, value) in [("TZ", "America/Lima"), ("LC_ALL", "de_DE.UTF-8"), ("KILN_JOBS", "1"), ("USER", "x")] {
        other.set(name, value);
    }
    let store = other.folder().join("another/store").display().to_string();
    other.set("KILN_STORE", store);
    assert_eq!(other.ok(&["build"]).stdout, expected);
}

#[test]
fn locked_writes_nothing() {
    let context = locked();
    let before = context.lockfile("api");
    assert_snapshot!(context.kiln(&["build", "--locked"]).shown, @"");
    assert_eq!(context.lockfile("api"), before);
    context.ok(&["build"]);
    context.ok(&["build", "--locked"]);
}

#[test]
fn another_digest_than_the_pinned_one_is_drift() {
    let context = locked();
    context.ok(&["build"]);
    context.edit_lockfile("api", |text| {
        let start = text.find("\nimage = \"").unwrap() + 10;
        format!("{}{}{}", &text[..start], "0".repeat(64), &text[start + 64..])
    });
    let run = context.kiln(&["build"]);
    assert_snapshot!(run.shown, @"");
    assert!(run.stderr.contains(&"0".repeat(64)));
}

#[test]
fn an_edited_pin_is_caught() {
    let context = locked();
    context.edit_lockfile("api", |text| text.replacen("version = \"1.2\"", "version = \"1.9\"", 1));
    assert_snapshot!(context.kiln(&["build"]).shown, @"");
}

#[test]
fn scripts_that_cannot_run_must_be_accepted() {
    let context =
        TestContext::new(&[package_with("daemon", "1", &[], |deb| deb.member("postinst", 0o755, "#!/bin/sh\n"))]);
    context.define("api", &["daemon"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build"]).shown, @"");
    context.define_with("api", &["daemon"], "accept-unconfigured = [\"daemon\"]");
    context.ok(&["lock"]);
    context.ok(&["build"]);
    assert!(context.lockfile("api").contains("scripts = \"unrun\""));
}

#[test]
fn two_packages_with_one_file() {
    let file = |name: &str| package_with(name, "1", &[], |deb| deb.file("./usr/share/same", name.as_bytes()));
    let context = TestContext::new(&[file("one"), file("two")]);
    context.define("api", &["one", "two"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build"]).shown, @"");
}

#[test]
fn a_package_that_is_no_package() {
    let context = TestContext::new(&[Package::new("fake", "1", "all")]);
    context.define("api", &["fake"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build"]).shown, @"");
}

#[test]
fn a_package_that_is_another() {
    let mut other = package("other", "1");
    other.name = "wanted".to_owned();
    let context = TestContext::new(&[other]);
    context.define("api", &["wanted"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build"]).shown, @"");
}

#[test]
fn platforms_that_cannot_be_baked_here() {
    let context = TestContext::new(&shop());
    let other = if here().name() == "linux/amd64" { "linux/arm64" } else { "linux/amd64" };
    context.write("envs/api.toml", definition(&["web"], &[here().name(), other], ""));
    context.ok(&["lock"]);
    let run = context.kiln(&["build"]);
    assert_eq!(run.code, Some(0), "{}", run.shown);
    assert_eq!(run.stdout.lines().count(), 1, "no index: one platform is not pinned\n{}", run.shown);
    assert!(run.stderr.contains(&format!("was not baked for {other}")), "{}", run.shown);
    let run = context.kiln(&["build", "--platform", other]);
    assert_eq!(run.code, Some(2), "{}", run.shown);
    assert_eq!(context.kiln(&["build", "--platform", "linux/riscv64"]).code, Some(2));
    // Somebody with the other machine has pinned it.
    context.edit_lockfile("api", |text| {
        let output = &text[text.find("\n[[output]]").unwrap()..];
        let other_output = output.replace(here().name(), other);
        format!("{text}{other_output}")
    });
    let run = context.kiln(&["build"]);
    assert_eq!(run.stdout.lines().count(), 1, "the other output is of another platform lock\n{}", run.shown);
}

#[test]
fn outputs() {
    let context = locked();
    context.ok(&[
        "build",
        "--output",
        "oci:image",
        "-o",
        "oci-archive:image.tar",
        "-o",
        "docker-archive:docker.tar",
        "-o",
        "tar:root.tar",
    ]);
    for path in ["image/index.json", "image.tar", "docker.tar", "root.tar"] {
        assert!(context.workspace().join(path).is_file(), "{path}");
    }
    assert_snapshot!(context.kiln(&["build", "--output", "image"]).shown, @"");
    assert_snapshot!(context.kiln(&["build", "--output", "zip:image"]).shown, @"");
    context.define("second", &["lib"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build", "--output", "oci:image"]).shown, @"");
    fs::create_dir_all(context.workspace().join("taken")).unwrap();
    context.write("taken/file", "x");
    assert_snapshot!(context.kiln(&["build", "api", "--output", "oci:taken"]).shown, @"");
}

#[test]
fn a_lockfile_that_cannot_be_written() {
    let context = locked();
    let folder = context.workspace().join("lockfiles");
    let wrapper = crate::trouble::read_only(&folder);
    let Some(wrapper) = wrapper else { return };
    let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let output = context.wrapped(&words, &["build"]).output().unwrap();
    assert_snapshot!(context.run(&output).shown, @"");
    context.ok(&["build"]);
    let output = context.wrapped(&words, &["build"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "pinned, so nothing has to be written");
}
