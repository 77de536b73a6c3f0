//! The index's client: what it asks for, what it keeps, what it refuses.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use kiln::Digest;
use kiln::ecosystem::pypi::client::Client;
use kiln::ecosystem::pypi::index::FileKind;
use kiln::ecosystem::pypi::metadata::Basis;
use kiln::ecosystem::pypi::solve::{Request, Solution, solve};
use kiln::ecosystem::pypi::target::Target;
use kiln::error::{Kind, Result};
use kiln::net::{self, Credentials, Settings};
use kiln::store::Store;

use super::scenario::{self, Release, Scenario, origins, path, versions};
use super::server::{Fault, Server};

const NOW: u64 = 1_000_000;

/// A server and a store, for several runs one after the other.
struct World {
    server: Server,
    folder: tempfile::TempDir,
}

impl World {
    fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self { server: Server::start(files), folder: tempfile::tempdir().unwrap() }
    }

    /// One run of kiln at a time.
    fn solve_at(&self, now: u64, offline: bool, requirements: &[&str]) -> Result<Solution> {
        let store = Store::open(self.folder.path()).unwrap();
        let net = net::Client::new(&Settings { tries: 1, offline, ..Settings::default() }).unwrap();
        let client = Client::new(&net, &store, origins(&self.server), now);
        solve(&client, &request(requirements))
    }

    fn solve(&self, requirements: &[&str]) -> Result<Solution> {
        self.solve_at(NOW, false, requirements)
    }
}

fn request(requirements: &[&str]) -> Request {
    let requirements = requirements.iter().map(|text| text.parse().unwrap()).collect();
    Request::new(Target::new("3.13.5", "amd64", (2, 41)).unwrap(), requirements)
}

fn found(solution: &Solution) -> Vec<(String, String)> {
    versions(solution).into_iter().collect()
}

/// An index of `a`, which requires `b`.
fn two() -> BTreeMap<String, Vec<u8>> {
    let text = "name = 'two'\nroot = {}\npackages.a.versions = { '1.0' = { requires = ['b>=1'] } }\n\
        packages.b.versions = { '1.0' = {}, '2.0' = {} }\n";
    Scenario::parse(text).files()
}

fn page(lines: &str) -> Vec<u8> {
    format!("<!DOCTYPE html><body>{lines}</body>").into_bytes()
}

/// A wheel of `a` 1.0 with so much in it before its metadata and after.
fn large_wheel(before: usize, after: usize) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let metadata = scenario::metadata("a", "1.0", &Release::default());
    for (name, content) in [
        ("a/before.bin", vec![1; before]),
        ("a-1.0.dist-info/METADATA", metadata.into_bytes()),
        ("a/after.bin", vec![2; after]),
    ] {
        writer.start_file(name, stored).unwrap();
        writer.write_all(&content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

const WHEEL: &str = "/files/a-1.0-py3-none-any.whl";

/// An index whose page says nothing of metadata by itself.
fn silent(wheel: Vec<u8>) -> World {
    let hash = Digest::of(&wheel);
    let page = page(&format!("<a href='{WHEEL}#sha256={hash}'>a</a>"));
    World::new(BTreeMap::from([("/simple/a/".to_owned(), page), (WHEEL.to_owned(), wheel)]))
}

#[test]
fn an_answer_has_files_and_who_asks_for_them() {
    let world = World::new(two());
    let solution = world.solve(&["a"]).unwrap();
    let [a, b] = ["a", "b"].map(|name| &solution.packages[&name.parse().unwrap()]);
    assert_eq!(a.file.url, world.server.url(&path("a-1.0-py3-none-any.whl")));
    assert_eq!((a.file.kind, a.file.sha256.is_some(), a.file.origin.as_deref()), (FileKind::Wheel, true, Some("pypi")));
    assert_eq!((a.asked.len(), a.required_by.len()), (1, 0));
    assert_eq!((b.asked.len(), b.required_by.iter().next().unwrap().as_str()), (0, "a"));
    assert!(solution.notes.is_empty());
}

#[test]
fn a_page_is_asked_for_once_and_then_confirmed() {
    let world = World::new(two());
    world.solve(&["a", "b"]).unwrap();
    let paths = world.server.paths();
    assert_eq!(paths.iter().filter(|path| **path == "/simple/a/").count(), 1);
    assert!(paths.contains(&(path("a-1.0-py3-none-any.whl") + ".metadata")));
    // The next run asks whether pages have changed, and for no metadata.
    world.solve(&["a", "b"]).unwrap();
    let log = world.server.log();
    assert!(
        log.iter().all(|request| request.path.starts_with("/simple/") && request.if_none_match.is_some()),
        "{log:?}"
    );
    assert_eq!(log.len(), 2);
}

#[test]
fn a_page_is_good_for_as_long_as_its_server_says() {
    let world = World::new(two());
    for page in ["/simple/a/", "/simple/b/"] {
        world.server.headers(page, "Cache-Control: public, max-age=600\r\nAge: 100\r\n");
    }
    world.solve_at(NOW, false, &["a"]).unwrap();
    world.server.log();
    world.solve_at(NOW + 499, false, &["a"]).unwrap();
    assert_eq!(world.server.log(), []);
    world.solve_at(NOW + 500, false, &["a"]).unwrap();
    assert_eq!(world.server.log().len(), 2);
    // A clock that went back proves nothing.
    world.solve_at(NOW - 1, false, &["a"]).unwrap();
    assert_eq!(world.server.log().len(), 2);
}

#[test]
fn what_is_known_is_enough_offline() {
    let world = World::new(two());
    let error = world.solve_at(NOW, true, &["a"]).unwrap_err();
    assert_eq!(error.what(), Kind::Network);
    assert!(error.to_string().contains("work offline"), "{error}");
    let online = world.solve(&["a"]).unwrap();
    world.server.log();
    assert_eq!(world.solve_at(NOW + 1_000_000, true, &["a"]).unwrap(), online);
    assert_eq!(world.server.log(), []);
}

#[test]
fn of_a_wheel_only_the_end_is_fetched() {
    let wheel = large_wheel(1 << 20, 10);
    let world = silent(wheel);
    world.solve(&["a"]).unwrap();
    let log = world.server.log();
    let ranges: Vec<&str> =
        log.iter().filter(|request| request.path == WHEEL).map(|request| request.range.as_deref().unwrap()).collect();
    assert_eq!(ranges, ["bytes=-32768"]);
    // It was looked for by itself before, and is not for the next wheel of that index.
    assert!(log.iter().any(|request| request.path == format!("{WHEEL}.metadata")));
}

#[test]
fn metadata_in_the_middle_of_a_wheel_is_fetched_too() {
    let world = silent(large_wheel(1 << 20, 1 << 20));
    world.solve(&["a"]).unwrap();
    let log = world.server.log();
    let parts: Vec<_> = log.iter().filter(|request| request.path == WHEEL).collect();
    assert!(parts.len() > 1 && parts.iter().all(|request| request.range.is_some()), "{parts:?}");
}

#[test]
fn a_server_without_parts_gives_the_whole_wheel() {
    for fault in [Fault::NoRange, Fault::WrongRange] {
        let world = silent(large_wheel(100_000, 10));
        world.server.always(WHEEL, fault.clone());
        let result = world.solve(&["a"]);
        assert_eq!(found(&result.unwrap()), [("a".to_owned(), "1.0".to_owned())], "{fault:?}");
    }
}

#[test]
fn metadata_of_its_own_is_found_without_being_announced() {
    let world = silent(large_wheel(10, 10));
    let mut files = two();
    let metadata = scenario::metadata("a", "1.0", &Release::default()).into_bytes();
    files.insert("/simple/a/".into(), page(&format!("<a href='{WHEEL}'>a</a>")));
    files.insert(format!("{WHEEL}.metadata"), metadata);
    world.server.replace(files);
    let solution = world.solve(&["a"]).unwrap();
    assert_eq!(world.server.paths(), ["/simple/a/".to_owned(), format!("{WHEEL}.metadata")]);
    // An index that gives no hash leaves it to whoever fetches the file.
    assert_eq!(solution.packages[&"a".parse().unwrap()].file.sha256, None);
}

#[test]
fn wrong_metadata_fails_instead_of_choosing_another_version() {
    let world = World::new(two());
    world.server.always(&(path("b-2.0-py3-none-any.whl") + ".metadata"), Fault::Corrupt);
    let error = world.solve(&["b"]).unwrap_err();
    assert!(error.to_string().contains("getting the metadata of b-2.0-py3-none-any.whl: expected sha256"), "{error}");
    assert_ne!(error.what(), Kind::No);
    // Promised and not there, it is in the wheel.
    let world = World::new(two());
    world.server.always(&(path("b-2.0-py3-none-any.whl") + ".metadata"), Fault::Status(404));
    assert_eq!(found(&world.solve(&["b"]).unwrap()), [("b".to_owned(), "2.0".to_owned())]);
}

#[test]
fn metadata_that_cannot_be_read_rules_a_version_out() {
    let mut files = two();
    let release = Release { requires: vec!["not a requirement at all".into()], ..Release::default() };
    let metadata = scenario::metadata("b", "2.0", &release);
    let wheel = scenario::wheel("b-2.0", &metadata);
    let text = format!("<a href='/files/b-2.0-py3-none-any.whl#sha256={}'>b</a>", Digest::of(&wheel));
    let old = String::from_utf8(files["/simple/b/"].clone()).unwrap();
    let old: String = old.lines().filter(|line| !line.contains("b-2.0")).collect();
    files.insert("/simple/b/".into(), page(&(text + &old)));
    files.insert("/files/b-2.0-py3-none-any.whl".into(), wheel);
    files.remove("/files/b-2.0-py3-none-any.whl.metadata");
    let world = World::new(files);
    assert_eq!(found(&world.solve(&["b"]).unwrap()), [("b".to_owned(), "1.0".to_owned())]);
    let error = world.solve(&["b==2.0"]).unwrap_err();
    assert!(error.to_string().contains("b 2.0 has metadata that cannot be used"), "{error}");
}

#[test]
fn a_source_without_promises_is_marked() {
    let old = "Metadata-Version: 1.1\nName: a\nVersion: 1.0\nRequires-Dist: b\n";
    let source = scenario::source("a-1.0", old);
    let mut files = two();
    files.insert("/simple/a/".into(), page(&format!("<a href='/x/a-1.0.tar.gz#sha256={}'>a</a>", Digest::of(&source))));
    files.insert("/x/a-1.0.tar.gz".into(), source.clone());
    let world = World::new(files);
    let solution = world.solve(&["a"]).unwrap();
    let pin = &solution.packages[&"a".parse().unwrap()];
    assert_eq!((pin.basis, pin.file.kind), (Basis::Guessed, FileKind::Source));
    assert!(solution.notes[0].contains("known from its source distribution only"), "{:?}", solution.notes);
    // The store has it: it is built from there.
    assert!(Store::open(world.folder.path()).unwrap().contains(&Digest::of(&source)));
}

#[test]
fn pages_are_relative_to_where_they_are() {
    let mut files = two();
    for name in ["a", "b"] {
        let page = files.remove(&format!("/simple/{name}/")).unwrap();
        let page = String::from_utf8(page).unwrap().replace("../../files/", "../files/");
        files.insert(format!("/moved/{name}/"), page.into_bytes());
    }
    let files = files.into_iter().map(|(path, content)| (path.replace("/files/", "/moved/files/"), content)).collect();
    let world = World::new(files);
    for name in ["a", "b"] {
        world.server.always(&format!("/simple/{name}/"), Fault::Redirect(format!("/moved/{name}/")));
    }
    let solution = world.solve(&["a"]).unwrap();
    let file = &solution.packages[&"a".parse().unwrap()].file;
    assert_eq!(file.url, world.server.url("/moved/files/a-1.0-py3-none-any.whl"));
}

#[test]
fn files_by_address_are_taken_as_they_are() {
    let world = World::new(two());
    let url = world.server.url(&path("b-1.0-py3-none-any.whl"));
    let digest = "00".repeat(32);
    let asked = format!("b @ {url}#sha256={digest}");
    let solution = world.solve(&["a", &asked]).unwrap();
    let b = &solution.packages[&"b".parse().unwrap()];
    assert_eq!((b.version.to_string(), &b.file.url, b.file.origin.as_ref()), ("1.0".into(), &url, None));
    assert_eq!(b.file.sha256.unwrap().to_string(), digest);
    let error = world.solve(&["a", "b>=2", &asked]).unwrap_err();
    assert_eq!(error.what(), Kind::No);
    let error = world.solve(&["b @ file:///tmp/b-1.0-py3-none-any.whl"]).unwrap_err();
    assert!(error.to_string().contains("`file:` address"), "{error}");
}

#[test]
fn only_the_index_sees_its_password() {
    let world = World::new(two());
    let other = Server::start(two());
    let page = format!("<a href='{}'>b</a>", other.url(&path("b-1.0-py3-none-any.whl")));
    world.server.replace(BTreeMap::from([("/simple/b/".to_owned(), self::page(&page))]));
    let store = Store::open(world.folder.path()).unwrap();
    let net = net::Client::new(&Settings { tries: 1, ..Settings::default() }).unwrap();
    let mut origins = origins(&world.server);
    let login = Credentials::Basic { user: "me".into(), password: "secret".into() };
    origins.get_mut("pypi").unwrap()[0].credentials = Some(login);
    solve(&Client::new(&net, &store, origins, NOW), &request(&["b"])).unwrap();
    assert!(world.server.log().iter().all(|request| request.authorization.is_some()));
    let log = other.log();
    assert!(!log.is_empty() && log.iter().all(|request| request.authorization.is_none()), "{log:?}");
}

#[test]
fn an_earlier_lock_keeps_what_is_still_allowed() {
    let scenario = Scenario::parse(
        "name = 'old'\nroot.requires = ['a', 'b']\n\
         packages.a.versions = { '1.0' = {}, '2.0' = { requires = ['b>1'] } }\npackages.b.versions = { '1.0' = { yanked = true }, '2.0' = {} }\n",
    );
    let fresh = scenario.request();
    let kept = |names: &[(&str, &str)], moving: &[&str]| {
        let preferred = names.iter().map(|(name, version)| (name.parse().unwrap(), version.parse().unwrap())).collect();
        let moving = moving.iter().map(|name| name.parse().unwrap()).collect();
        let solution = scenario.solve(&Request { preferred, moving, ..fresh.clone() }).unwrap();
        found(&solution).into_iter().map(|(name, version)| name + &version).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kept(&[], &[]), "a2.0 b2.0");
    // One that was yanked since stays; what it forbids gives way.
    assert_eq!(kept(&[("a", "1.0"), ("b", "1.0")], &[]), "a1.0 b1.0");
    assert_eq!(kept(&[("a", "1.0"), ("b", "1.0")], &["a"]), "a2.0 b2.0");
    assert_eq!(kept(&[("a", "0.9"), ("b", "1.0")], &["b"]), "a2.0 b2.0");
}

#[test]
fn constraints_and_hashes_bind() {
    let scenario = Scenario::parse(
        "name = 'bound'\nroot.requires = ['a']\npackages.a.versions = { '1.0' = { requires = ['b'] } }\n\
         packages.b.versions = { '1.0' = {}, '2.0' = {}, '3.0' = {} }\npackages.c.versions = { '1.0' = {} }\n",
    );
    let constraints = ["b<3", "c==7"].map(|text| text.parse().unwrap()).to_vec();
    let request = Request { constraints, ..scenario.request() };
    let solution = scenario.solve(&request).unwrap();
    assert_eq!(versions(&solution)["b"], "2.0");
    let wheel = scenario::wheel("b-1.0", &scenario::metadata("b", "1.0", &Release::default()));
    let hashes = BTreeMap::from([("b".parse().unwrap(), [Digest::of(&wheel)].into())]);
    let solution = scenario.solve(&Request { hashes, ..request }).unwrap();
    assert_eq!(versions(&solution)["b"], "1.0");
}

/// Where a range has no release that can be used, a pre-release does (pip's way, and uv's).
#[test]
fn prereleases_stand_in_where_they_have_to() {
    let scenario = Scenario::parse(
        "name = 'necessary'\nroot.requires = ['a>1', 'b']\n\
         packages.a.versions = { '1.0' = {}, '2.0a1' = {} }\npackages.b.versions = { '1.0' = {}, '2.0a1' = {} }\n",
    );
    let solution = scenario.solve(&scenario.request()).unwrap();
    assert_eq!(found(&solution), [("a", "2.0a1"), ("b", "1.0")].map(|(name, version)| (name.into(), version.into())));
}
