//! `[python]` and `[npm]` from the definition into the image, with indexes on loopback.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use insta::assert_snapshot;
use kiln::Digest;
use serde_json::json;
use sha2::Digest as _;

use crate::support::archive::Files;
use crate::support::context::{TestContext, definition, here, package};
use crate::support::server::Server;

/// A wheel with a module, a program, and what it says of itself.
fn wheel(name: &str, version: &str, requires: &[&str]) -> Vec<u8> {
    wheel_with(name, version, requires, &[])
}

/// The same with more files.
fn wheel_with(name: &str, version: &str, requires: &[&str], more: &[(&str, &str)]) -> Vec<u8> {
    let info = format!("{name}-{version}.dist-info");
    let requires: String = requires.iter().map(|requires| format!("Requires-Dist: {requires}\n")).collect();
    let files = [
        (format!("{name}/__init__.py"), format!("version = '{version}'\n")),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")),
        (format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned()),
        (format!("{info}/entry_points.txt"), format!("[console_scripts]\n{name} = {name}:main\n")),
    ];
    let more = more.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned()));
    let files: Vec<(String, String)> = files.into_iter().chain(more).collect();
    let mut record = String::new();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    for (path, content) in &files {
        zip.start_file(path, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
        let hash = URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(content.as_bytes()));
        record += &format!("{path},sha256={hash},{}\n", content.len());
    }
    zip.start_file(format!("{info}/RECORD"), options).unwrap();
    zip.write_all(format!("{record}{info}/RECORD,,\n").as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A simple index of these files, each called as wheels are.
fn index(files: &[(&str, Vec<u8>)]) -> Files {
    let mut pages: BTreeMap<String, String> = BTreeMap::new();
    let mut all = Files::new();
    for (name, content) in files {
        let project = name.split('-').next().unwrap();
        let page = pages.entry(format!("/simple/{project}/")).or_default();
        *page += &format!("<a href=\"/files/{name}#sha256={}\">{name}</a>\n", Digest::of(content));
        all.insert(format!("/files/{name}"), content.clone());
    }
    all.extend(pages.into_iter().map(|(path, page)| (path, format!("<!DOCTYPE html>{page}").into_bytes())));
    all
}

/// A workspace with an interpreter and a C library, and an index at `server`.
pub fn context(server: &Server, more: &str) -> TestContext {
    let mut context = TestContext::new(&[package("python3", "3.13.5-1"), package("libc6", "2.41-12")]);
    context.set("KILN_ORIGIN_PYPI", server.url("/simple"));
    context.set("KILN_ORIGIN_NPM", server.url("/npm"));
    define(&context, more);
    context
}

fn define(context: &TestContext, more: &str) {
    let definition = definition(&["python3", "libc6"], &[here().name()], "");
    context.write("envs/api.toml", format!("{definition}\n{more}"));
}

/// The image's names that contain `words`.
fn names(context: &TestContext, words: &str) -> String {
    context.ok(&["build", "api", "--output", "tar:image.tar"]);
    let listing = Command::new("tar").arg("-tf").arg(context.workspace().join("image.tar")).output().unwrap();
    let text = String::from_utf8(listing.stdout).unwrap();
    let mut names: Vec<&str> = text.lines().filter(|line| line.contains(words) && !line.ends_with('/')).collect();
    names.sort_unstable();
    names.join("\n")
}

pub fn shop() -> Files {
    index(&[
        ("web-1.0-py3-none-any.whl", wheel("web", "1.0", &["util>=1"])),
        ("web-2.0-py3-none-any.whl", wheel("web", "2.0", &["util>=2"])),
        ("util-1.5-py3-none-any.whl", wheel("util", "1.5", &[])),
        ("util-2.5-py3-none-any.whl", wheel("util", "2.5", &[])),
    ])
}

#[test]
fn python_packages_are_locked_and_placed() {
    let server = Server::start(shop());
    let context = context(&server, "[python]\npackages = [\"web<2\"]\n");
    context.ok(&["lock"]);
    let lock = context.lockfile("api");
    assert!(lock.contains("name = \"web\"\nversion = \"1.0\"") && lock.contains("requested = \"web<2\""), "{lock}");
    assert!(lock.contains("name = \"util\"\nversion = \"2.5\"") && lock.contains("required-by = [\"web\"]"), "{lock}");
    assert!(!lock.contains("127.0.0.1"), "the lock names a host: {lock}");
    assert_snapshot!(names(&context, "usr/local"), @"
    usr/local/bin/util
    usr/local/bin/web
    usr/local/lib/python3.13/dist-packages/util-2.5.dist-info/INSTALLER
    usr/local/lib/python3.13/dist-packages/util-2.5.dist-info/METADATA
    usr/local/lib/python3.13/dist-packages/util-2.5.dist-info/RECORD
    usr/local/lib/python3.13/dist-packages/util-2.5.dist-info/WHEEL
    usr/local/lib/python3.13/dist-packages/util-2.5.dist-info/entry_points.txt
    usr/local/lib/python3.13/dist-packages/util/__init__.py
    usr/local/lib/python3.13/dist-packages/web-1.0.dist-info/INSTALLER
    usr/local/lib/python3.13/dist-packages/web-1.0.dist-info/METADATA
    usr/local/lib/python3.13/dist-packages/web-1.0.dist-info/RECORD
    usr/local/lib/python3.13/dist-packages/web-1.0.dist-info/WHEEL
    usr/local/lib/python3.13/dist-packages/web-1.0.dist-info/entry_points.txt
    usr/local/lib/python3.13/dist-packages/web/__init__.py
    ");
    // Nothing moves by itself, and one that is asked for more moves alone.
    context.ok(&["build", "--check"]);
    define(&context, "[python]\npackages = [\"web\"]\n");
    let relocked = context.ok(&["lock"]);
    assert!(!relocked.stderr.contains("web"), "{}", relocked.shown);
    let moved = context.ok(&["update", "pypi:web"]);
    assert!(moved.stderr.starts_with("api: Updated  pypi:web 1.0 -> 2.0\nLocked 4 packages"), "{}", moved.shown);
    let moved = context.ok(&["update", "web", "--precise", "1.0"]);
    assert!(moved.stderr.contains("pypi:web 2.0 -> 1.0"), "{}", moved.shown);
}

#[test]
fn a_file_of_two_packages_is_the_first_ones_and_that_is_said() {
    let shared = [("shared/same.py", "x"), ("shared/other.py", "one")];
    let server = Server::start(index(&[
        ("one-1.0-py3-none-any.whl", wheel_with("one", "1.0", &[], &shared)),
        ("two-1.0-py3-none-any.whl", wheel_with("two", "1.0", &[], &[shared[0], ("shared/other.py", "two")])),
    ]));
    let context = context(&server, "[python]\npackages = [\"one\", \"two\"]\n");
    context.ok(&["lock"]);
    let built = context.ok(&["build", "api", "--output", "rootfs:tree"]);
    let path = "usr/local/lib/python3.13/dist-packages/shared/other.py";
    let said =
        format!("warning: api: `one` and `two` both ship /{path}, and not the same: the image has that of `one`");
    assert_eq!(built.stderr.matches("warning:").count(), 1, "{}", built.shown);
    assert!(built.stderr.contains(&said), "{}", built.shown);
    assert_eq!(std::fs::read_to_string(context.workspace().join("tree").join(path)).unwrap(), "one");
}

#[test]
fn conflicts_are_told_in_words() {
    let server = Server::start(shop());
    let context = context(&server, "[python]\npackages = [\"web>=2\", \"util<2\"]\n");
    let refused = context.kiln(&["lock"]);
    assert_eq!(refused.code, Some(1), "{}", refused.shown);
    assert!(refused.stderr.contains("web") && refused.stderr.contains("util"), "{}", refused.shown);
    define(&context, "[python]\npackages = [\"wed\"]\n");
    let unknown = context.kiln(&["lock"]);
    assert!(unknown.code != Some(0) && unknown.stderr.contains("wed"), "{}", unknown.shown);
}

#[test]
fn requirements_files_and_their_hashes_are_taken() {
    let server = Server::start(shop());
    let context = context(&server, "[python]\nrequirements = \"requirements.txt\"\n");
    let good = Digest::of(&wheel("util", "1.5", &[]));
    context.write("requirements.txt", format!("-c constraints.txt\nweb\nutil==1.5 \\\n    --hash=sha256:{good}\n"));
    context.write("constraints.txt", "web<2\n");
    context.ok(&["lock"]);
    let lock = context.lockfile("api");
    assert!(lock.contains("version = \"1.5\"") && lock.contains("name = \"web\"\nversion = \"1.0\""), "{lock}");
    // Another hash than the index's is another file than the one that was looked at.
    context.write("requirements.txt", format!("util==1.5 --hash=sha256:{}\n", Digest::of(b"other")));
    let refused = context.kiln(&["lock"]);
    assert_eq!(refused.code, Some(1), "{}", refused.shown);
    assert!(refused.stderr.contains("no file with a hash that is allowed"), "{}", refused.shown);
}

#[test]
fn an_index_that_changes_a_file_is_found_out() {
    let server = Server::start(shop());
    let context = context(&server, "[python]\npackages = [\"util==1.5\"]\n");
    context.ok(&["lock"]);
    let mut files = shop();
    files.insert("/files/util-1.5-py3-none-any.whl".into(), wheel("util", "1.5", &["evil"]));
    server.replace(files);
    let refused = context.kiln(&["build"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("expected sha256"), "{}", refused.shown);
}

#[test]
fn without_an_interpreter_there_is_nothing_to_resolve_for() {
    let server = Server::start(shop());
    let context = context(&server, "[python]\ninterpreter = \"python2.7\"\npackages = [\"util\"]\n");
    let refused = context.kiln(&["lock"]);
    assert_eq!(refused.code, Some(1), "{}", refused.shown);
    assert!(refused.stderr.contains("`python2.7` is not among Debian's packages"), "{}", refused.shown);
}

/// A tarball as npm packs them.
fn tarball(manifest: &serde_json::Value, files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    let manifest = manifest.to_string();
    for (path, content) in [("package.json", manifest.as_str())].iter().chain(files) {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(499_162_500);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, format!("package/{path}"), content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// A registry with packages of one version each.
pub fn registry(packages: &[(serde_json::Value, Vec<(&str, &str)>)], server: &str) -> Files {
    let mut files = Files::new();
    for (manifest, content) in packages {
        let (name, version) = (manifest["name"].as_str().unwrap(), manifest["version"].as_str().unwrap());
        let tarball = tarball(manifest, content);
        let path = format!("/npm/{name}/-/{name}-{version}.tgz");
        let mut manifest = manifest.clone();
        let integrity = format!("sha512-{}", STANDARD.encode(sha2::Sha512::digest(&tarball)));
        manifest["dist"] = json!({ "tarball": format!("{server}{path}"), "integrity": integrity });
        let document = json!({ "name": name, "dist-tags": { "latest": version }, "versions": { version: manifest } });
        files.insert(format!("/npm/{name}"), document.to_string().into_bytes());
        files.insert(path, tarball);
    }
    files
}

#[test]
fn npm_packages_are_locked_and_placed() {
    let server = Server::start(Files::new());
    let packages = [
        (
            json!({ "name": "app", "version": "1.2.3", "dependencies": { "lib": "^2" }, "bin": "cli.js" }),
            vec![("cli.js", "#!/usr/bin/env node\n")],
        ),
        (json!({ "name": "lib", "version": "2.1.0", "scripts": { "install": "evil" } }), vec![("index.js", "")]),
    ];
    server.replace(registry(&packages, &server.url("")));
    let context = context(&server, "[npm]\nprefix = \"/srv/app\"\ndependencies = { app = \"1\" }\n");
    context.ok(&["lock"]);
    let lock = context.lockfile("api");
    assert!(lock.contains("links = { \"node_modules/.bin/app\" = \"../app/cli.js\" }"), "{lock}");
    assert!(!lock.contains("127.0.0.1"), "the lock names a host: {lock}");
    assert_snapshot!(names(&context, "srv/app"), @"
    srv/app/node_modules/.bin/app
    srv/app/node_modules/app/cli.js
    srv/app/node_modules/app/package.json
    srv/app/node_modules/lib/index.js
    srv/app/node_modules/lib/package.json
    ");
    context.ok(&["build", "--check"]);
    context.ok(&["build", "--locked", "--offline"]);
}

#[test]
fn a_tarball_that_is_not_what_the_registry_says_is_refused() {
    let server = Server::start(Files::new());
    let url = server.url("");
    let good = [(json!({ "name": "lib", "version": "2.1.0" }), vec![])];
    let mut files = registry(&good, &url);
    files.insert("/npm/lib/-/lib-2.1.0.tgz".into(), tarball(&json!({ "name": "lib", "version": "6.6.6" }), &[]));
    server.replace(files);
    let context = context(&server, "[npm]\ndependencies = { lib = \"2\" }\n");
    let refused = context.kiln(&["lock"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("sha512"), "{}", refused.shown);
}

#[test]
fn a_tarball_is_fetched_by_its_name() {
    let server = Server::start(Files::new());
    let packages = [(json!({ "name": "lib", "version": "2.1.0" }), vec![("index.js", "1")])];
    server.replace(registry(&packages, &server.url("")));
    let fetch = |file: &str| format!("[[fetch]]\norigin = \"npm\"\nfile = \"{file}\"\nto = \"/opt\"\nstrip = 1\n");
    let context = context(&server, &fetch("lib-2.1.0.tgz"));
    context.ok(&["lock"]);
    assert!(!context.lockfile("api").contains("127.0.0.1"), "{}", context.lockfile("api"));
    assert_eq!(names(&context, "opt/"), "opt/index.js\nopt/package.json");
    std::fs::remove_dir_all(context.store()).unwrap();
    context.ok(&["build", "--locked"]);
    define(&context, &fetch("lib.tgz"));
    let refused = context.kiln(&["lock"]);
    assert!(refused.stderr.contains("it is not the name of a package's tarball"), "{}", refused.shown);
}
