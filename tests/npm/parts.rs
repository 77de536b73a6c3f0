//! From a tarball to a part, on made tarballs.

use std::collections::{BTreeMap, BTreeSet};

use kiln::ecosystem::npm::part::{Expected, NpmPart, Place, part};
use kiln::ecosystem::npm::semver::Version;
use kiln::error::Kind;
use kiln::{Digest, Error, Result};
use proptest::prelude::*;
use serde_json::json;

use crate::registry::{Entry, Packages, World, gzip, request, tarball};
use crate::server::Fault;
use crate::tree::of_parts;

const MANIFEST: Entry<'static> = ("package/package.json", b'0', 0o644, br#"{"name": "a", "version": "1.0.0"}"#);

fn world() -> World {
    World::new(&Packages::default())
}

fn place(path: &str, programs: &[&str]) -> Place {
    Place { path: path.into(), programs: programs.iter().map(ToString::to_string).collect() }
}

fn made(world: &World, bytes: &[u8], places: &[Place]) -> Result<NpmPart> {
    let expected = Expected { name: "a".into(), version: Version::parse("1.0.0").unwrap() };
    part(&world.store, &world.blob(bytes), &expected, places)
}

fn refused(entries: &[Entry<'_>]) -> Error {
    let error = made(&world(), &tarball(entries), &[place("m/a", &[])]).unwrap_err();
    assert_eq!(error.what(), Kind::Corrupt, "{error}");
    assert!(error.message().starts_with("unpacking a 1.0.0"), "{error}");
    error
}

#[test]
fn files_are_as_npm_leaves_them() {
    let world = world();
    let bytes = tarball(&[
        MANIFEST,
        ("other/lib/x.js", b'0', 0o777, b"x"),
        ("package/secret", b'0', 0o4600, b"s"),
        ("package/cli.js", b'0', 0o644, b"#!/usr/bin/env node\r\nrun()\r\n"),
        ("package/same.js", b'0', 0o644, b"#!/usr/bin/env node\r\nrun()\r\n"),
        ("package/empty/", b'5', 0o700, b""),
        ("package/link", b'2', 0o777, b"/etc/passwd"),
        ("package/hard", b'1', 0o644, b"package/package.json"),
        ("package/.gitignore", b'0', 0o644, b"ignored"),
        ("package/sub/.npmignore", b'0', 0o644, b"first"),
        ("package/sub/.gitignore", b'0', 0o644, b"second"),
    ]);
    let places = [place("srv/node_modules/a", &["cli.js"]), place("srv/node_modules/b/node_modules/a", &[])];
    let made_part = made(&world, &bytes, &places).unwrap();
    let tree = of_parts(&[], &BTreeMap::from([("a".to_owned(), made_part.clone())]));
    let file = |mode: &str, content: &[u8]| format!("file {mode} {}", Digest::of(content));
    for (path, expected) in [
        ("srv/node_modules/a/lib/x.js", file("755", b"x")),
        ("srv/node_modules/a/secret", file("644", b"s")),
        ("srv/node_modules/a/cli.js", file("755", b"#!/usr/bin/env node\nrun()\r\n")),
        ("srv/node_modules/a/same.js", file("644", b"#!/usr/bin/env node\r\nrun()\r\n")),
        ("srv/node_modules/b/node_modules/a/cli.js", file("644", b"#!/usr/bin/env node\r\nrun()\r\n")),
        ("srv/node_modules/a/empty", "directory 755".into()),
        ("srv/node_modules/a/.npmignore", file("644", b"ignored")),
        ("srv/node_modules/a/sub/.npmignore", file("644", b"first")),
    ] {
        assert_eq!(tree.get(path), Some(&expected), "{path}");
    }
    assert!(!tree.contains_key("srv/node_modules/a/link") && !tree.contains_key("srv/node_modules/a/hard"));
    assert!(made_part.has("srv/node_modules/a/cli.js") && !made_part.has("srv/node_modules/a/nothing"));
    assert_eq!(made_part.newest_mtime, 499_162_500);
    assert!(made_part.part.entries.iter().all(|entry| (entry.uid, entry.gid, entry.mtime) == (0, 0, 499_162_500)));
    // The same inputs give the same part, whatever the order of the places.
    let reversed = [places[1].clone(), places[0].clone()];
    assert_eq!(made(&self::world(), &bytes, &reversed).unwrap(), made_part);
}

#[test]
fn hostile_tarballs_are_refused() {
    for (entries, words) in [
        (vec![MANIFEST, ("package/../../etc/passwd", b'0', 0o644, &b"x"[..])], "leaves its folder"),
        (vec![MANIFEST, ("package/.wh.x", b'0', 0o644, b"x")], "use to remove files"),
        (vec![MANIFEST, ("package/a\nb", b'0', 0o644, b"x")], "line break"),
        (vec![MANIFEST, ("package/x", b'0', 0o644, b"1"), ("other/x", b'0', 0o644, b"2")], "`x` is in it twice"),
        (vec![("package/index.js", b'0', 0o644, b"x")], "no package.json"),
        (vec![("package/package.json", b'0', 0o644, b"{")], "not what npm can read"),
        (
            vec![("package/package.json", b'0', 0o644, br#"{"name": "b", "version": "1.0.0"}"#)],
            "is b 1.0.0, expected a 1.0.0",
        ),
        (
            vec![("package/package.json", b'0', 0o644, br#"{"name": "a", "version": "1.0.1"}"#)],
            "is a 1.0.1, expected a 1.0.0",
        ),
    ] {
        let error = refused(&entries);
        assert!(error.to_string().contains(words), "{error}");
    }
    let bomb = made(&world(), &gzip(&vec![0; 80 << 20]), &[place("m/a", &[])]);
    assert!(bomb.unwrap_err().to_string().contains("no package.json"), "zeros are the archive's end");
    let big = vec![b'x'; 80 << 20];
    let error = refused(&[MANIFEST, ("package/big", b'0', 0o644, &big)]);
    assert!(error.to_string().contains("far more than its size"), "{error}");
}

#[test]
fn what_is_a_file_and_a_folder_is_refused() {
    let bytes = tarball(&[MANIFEST, ("package/x", b'0', 0o644, b"1"), ("package/x/y", b'0', 0o644, b"2")]);
    let error = made(&world(), &bytes, &[place("m/a", &[])]).unwrap_err();
    assert!(error.to_string().contains("as a directory and as something else"), "{error}");
}

#[test]
fn tarballs_are_fetched_once_and_checked() {
    let packages = Packages::of(json!({"a@1.0.0": {}}));
    let world = World::new(&packages);
    let placed = world.solve(&request(json!({"a": "1"}))).unwrap();
    world.server.once("/a/-/a-1.0.0.tgz", Fault::Corrupt);
    let error = world.registry().artifact(&placed[0]).unwrap_err();
    assert!(
        error.to_string().contains("a 1.0.0 could not be had") && error.to_string().contains("expected sha512-"),
        "{error}"
    );
    assert_eq!(error.what(), Kind::Corrupt);
    world.server.log();
    let artifact = world.registry().artifact(&placed[0]).unwrap();
    assert_eq!(world.registry().artifact(&placed[0]).unwrap(), artifact);
    assert_eq!(world.server.paths(), ["/a/-/a-1.0.0.tgz"]);
    assert_eq!(world.store.size(&artifact.sha256), Some(artifact.size));
}

#[test]
fn a_lockfile_from_elsewhere_is_served_by_this_machines_registry() {
    let packages = Packages::of(json!({"a@1.0.0": {}, "@s/b@1.0.0": {}}));
    let world = World::new(&packages);
    let mut placed = world.solve(&request(json!({"a": "1", "@s/b": "1"}))).unwrap();
    let whole = placed.clone();
    for one in &mut placed {
        one.tarball = one.tarball.replace(&world.server.url(""), "http://registry.invalid");
    }
    for one in &placed {
        assert!(world.registry().artifact(one).unwrap().size > 0);
    }
    for one in &mut placed {
        (one.tarball, one.integrity) = (String::new(), None);
    }
    world.registry().complete(&mut placed).unwrap();
    assert_eq!(placed, whole);
    placed[0].version = Version::parse("9.0.0").unwrap();
    placed[0].integrity = None;
    assert_eq!(world.registry().complete(&mut placed).unwrap_err().what(), Kind::No);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn cut_off_and_changed_tarballs_are_no_panic(at in 0..2048_usize, byte in any::<u8>()) {
        let world = world();
        let places: Vec<Place> = vec![Place { path: "m/a".into(), programs: BTreeSet::new() }];
        let whole = tarball(&[MANIFEST, ("package/x.js", b'0', 0o644, b"content")]);
        let _ = made(&world, &whole[..at % whole.len()], &places);
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&whole[..]), &mut plain).unwrap();
        let at = at % plain.len();
        plain[at] = byte;
        if let Ok(part) = made(&world, &gzip(&plain), &places) {
            prop_assert!(part.part.entries.iter().all(|entry| entry.path.starts_with("m/a/")));
        }
    }
}
