//! `kiln build`: the same digest whatever happens on the way, and nothing that the lock does not say.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use insta::assert_snapshot;
use kiln::lock::{Lockfile, PlatformLock};

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
    assert_snapshot!(first.shown, @"
    exit 0
    --- stdout
    api [PLATFORM] sha256:[HASH]
    --- stderr
    Fetched 2 artifacts for api (1.3 KiB) in [TIME]
    Baked api for [PLATFORM]: 4 layers, 1.8 KiB in [TIME]
    ");
    let lock = context.lockfile("api");
    assert!(lock.contains("[[output]]") && lock.contains("scripts = \"none\""), "{lock}");
    let second = context.kiln(&["build", "--locked", "--offline"]);
    assert_snapshot!(second.shown, @"
    exit 0
    --- stdout
    api [PLATFORM] sha256:[HASH]
    --- stderr
    Cached api for [PLATFORM]: 4 layers, 1.8 KiB in [TIME]
    ");
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
    assert_snapshot!(context.kiln(&["build", "--locked"]).shown, @"
    exit 1
    --- stderr
    Fetched 2 artifacts for api (1.3 KiB) in [TIME]
    Baked api for [PLATFORM]: 4 layers, 1.8 KiB in [TIME]
    error: the lockfile of `api` does not hold its output for [PLATFORM], and `--locked` writes nothing

    hint: run `kiln build api` without `--locked`, and commit the lockfile
    ");
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
    assert_snapshot!(run.shown, @"
    exit 1
    --- stderr
    Cached api for [PLATFORM]: 4 layers, 1.8 KiB in [TIME]
    error: drift: the image of `api` for [PLATFORM] is not the one that its lockfile pins
        platform lock   [HASH]
        pinned image    [HASH]
        baked image     [HASH]

    hint: `kiln build api --check` names the paths that differ and the scripts that wrote them
    hint: if the format of images was changed on purpose, `kiln lock` voids the pinned outputs
    ");
    assert!(run.stderr.contains(&"0".repeat(64)));
}

#[test]
fn an_edited_pin_is_caught() {
    let context = locked();
    context.edit_lockfile("api", |text| text.replacen("version = \"1.2\"", "version = \"1.9\"", 1));
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    Fetched 2 artifacts for api (1.3 KiB) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: the package says of itself `Version: 1.2`, expected lib 1.9 for all

    hint: what its index says of it is not true: lock another version, or tell those who keep the archive
    ");
}

#[test]
fn scripts_that_cannot_run_must_be_accepted() {
    let context =
        TestContext::new(&[package_with("daemon", "1", &[], |deb| deb.member("postinst", 0o755, "#!/bin/sh\n"))]);
    context.define("api", &["daemon"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build"]).shown, @r#"
    exit 1
    --- stderr
    Fetched 1 artifact for api (704 B) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: with `base = "none"` no script can run, and these packages have some: daemon

    hint: accept each by name with `accept-unconfigured = [...]` in `[debian]`, or use `base = "essential"`
    "#);
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
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 1
    --- stderr
    Fetched 2 artifacts for api (1.3 KiB) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: `/usr/share/same` is shipped by both `one` 1 and `two` 1, and neither replaces the other

    hint: dpkg would refuse to install these two together: ask for one of them
    ");
}

#[test]
fn a_package_that_is_no_package() {
    let context = TestContext::new(&[Package::new("fake", "1", "all")]);
    context.define("api", &["fake"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    Fetched 1 artifact for api (17 B) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: reading `fake` 1
      caused by: this is not a Debian package: it does not begin as an ar archive

    hint: its archive serves it so, for its hash is right: tell those who keep the archive
    ");
}

#[test]
fn a_package_that_is_another() {
    let mut other = package("other", "1");
    other.name = "wanted".to_owned();
    let context = TestContext::new(&[other]);
    context.define("api", &["wanted"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build"]).shown, @"
    exit 2
    --- stderr
    Fetched 1 artifact for api (664 B) in [TIME]
    error: baking `api` for [PLATFORM]
      caused by: the package says of itself `Package: other`, expected wanted 1 for all

    hint: what its index says of it is not true: lock another version, or tell those who keep the archive
    ");
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
    // Somebody with the other machine pins it.
    let mut lockfile = Lockfile::parse(&context.lockfile("api")).unwrap();
    let mut output = lockfile.outputs[0].clone();
    output.platform = other.parse().unwrap();
    lockfile.outputs.push(output.clone());
    context.write("lockfiles/api.lock", lockfile.to_text().unwrap());
    let run = context.ok(&["build"]);
    assert_eq!(run.stdout.lines().count(), 1, "it was made from another platform lock\n{}", run.shown);
    lockfile.outputs.pop();
    output.platform_lock = PlatformLock::of("api", &lockfile, output.platform).digest().unwrap();
    lockfile.outputs.push(output);
    context.write("lockfiles/api.lock", lockfile.to_text().unwrap());
    let run = context.ok(&["build"]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[1].starts_with("api index sha256:"), "{}", run.shown);
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
    // What is there is left as it is, and mended where it is not what its name says.
    let layout = context.workspace().join("image");
    let files = crate::store::files(&layout);
    let state = |path: &PathBuf| (fs::metadata(path).unwrap().ino(), fs::read(path).unwrap());
    let states = || -> Vec<_> { files.iter().map(state).collect() };
    let before = states();
    context.ok(&["build", "--output", "oci:image"]);
    assert_eq!(states(), before);
    let blob = files.iter().position(|path| path.starts_with(layout.join("blobs"))).unwrap();
    fs::write(&files[blob], "damaged").unwrap();
    context.ok(&["build", "--output", "oci:image"]);
    assert_eq!(states()[blob].1, before[blob].1);
    assert_snapshot!(context.kiln(&["build", "--output", "image"]).shown, @"
    exit 2
    --- stderr
    error: `image` is not an output

    hint: outputs are given as oci:PATH, oci-archive:PATH, docker-archive:PATH, rootfs:PATH, tar:PATH
    ");
    assert_snapshot!(context.kiln(&["build", "--output", "zip:image"]).shown, @"
    exit 2
    --- stderr
    error: `zip` is not a kind of output

    hint: there are: oci:PATH, oci-archive:PATH, docker-archive:PATH, rootfs:PATH, tar:PATH
    ");
    context.define("second", &["lib"]);
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["build", "--output", "oci:image"]).shown, @"
    exit 2
    --- stderr
    error: `--output` takes one environment, 2 were given

    hint: name the environment: `kiln build NAME --output …`
    ");
    fs::create_dir_all(context.workspace().join("taken")).unwrap();
    context.write("taken/file", "x");
    assert_snapshot!(context.kiln(&["build", "api", "--output", "oci:taken"]).shown, @"
    exit 2
    --- stdout
    api [PLATFORM] sha256:[HASH]
    --- stderr
    Cached api for [PLATFORM]: 4 layers, 1.8 KiB in [TIME]
    error: writing `api` to [WORKSPACE]/taken
      caused by: [WORKSPACE]/taken holds something else than an OCI image layout

    hint: name a folder that does not exist yet, or an OCI image layout
    ");
}

#[test]
fn a_lockfile_that_cannot_be_written() {
    let context = locked();
    let folder = context.workspace().join("lockfiles");
    let wrapper = crate::trouble::read_only(&folder);
    let Some(wrapper) = wrapper else { return };
    let words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let output = context.wrapped(&words, &["build"]).output().unwrap();
    assert_snapshot!(context.run(&output).shown, @"
    exit 2
    --- stderr
    Fetched 2 artifacts for api (1.3 KiB) in [TIME]
    Baked api for [PLATFORM]: 4 layers, 1.8 KiB in [TIME]
    error: `api` is baked for [PLATFORM] as sha256:[HASH], and cannot be pinned
      caused by: writing the lockfile [WORKSPACE]/lockfiles/api.lock
      caused by: read-only filesystem or storage medium

    hint: on a checkout that cannot be written to, build what is pinned already, with `--locked`
    ");
    context.ok(&["build"]);
    let output = context.wrapped(&words, &["build"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "pinned, so nothing has to be written");
}

#[test]
fn frozen_locks_are_used_as_they_are() {
    let context = TestContext::new(&[package("lib", "1.2")]);
    context.define("api", &["lib"]);
    context.ok(&["lock"]);
    let built = context.ok(&["build"]).stdout;
    let locked = context.lockfile("api");
    // The definition asks for more than is locked.
    context.define("api", &["lib", "more"]);
    assert_eq!(context.kiln(&["build"]).code, Some(1));
    let frozen = context.ok(&["build", "--frozen"]);
    assert_eq!(frozen.stdout, built);
    assert_eq!(frozen.stderr.matches("api: used as locked, and not compared with its definition").count(), 1);
    assert_eq!(context.lockfile("api"), locked);
    let refused = context.kiln(&["lock", "--frozen"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("this command is there to change or check them"), "{}", refused.shown);
    // Changed files are not what was locked.
    let copying = |content: &str| context.write("file", content);
    copying("one");
    context.write(
        "envs/api.toml",
        format!("{}\n[[copy]]\nfrom = \"file\"\nto = \"/opt/\"\n", definition(&["lib"], &[here().name()], "")),
    );
    context.ok(&["lock"]);
    context.ok(&["build", "--frozen"]);
    copying("two");
    let changed = context.kiln(&["build", "--frozen"]);
    assert_eq!(changed.code, Some(1));
    assert!(
        changed.stderr.contains("the files of `file` are not those that `api` is locked with"),
        "{}",
        changed.shown
    );
}
