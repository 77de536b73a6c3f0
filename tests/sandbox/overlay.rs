//! A tree that lies on a file system image is the same to programs, and reports the same changes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use kiln::digest::Digest;
use kiln::layer::part::default_directory;
use kiln::layer::{Entry, Kind, erofs};
use kiln::sandbox::{Change, Executor, Extraction, Options, Session, can_lay};

use super::{Fixture, content_of, entry, sh, warn};

/// What scripts do, each in a tree of its own, below the folder `v` of [`entries`].
const SCRIPTS: [&str; 19] = [
    "true",
    "echo more >> file; chmod 600 deep/a/one; chown 5:6 deep/b; touch deep/a/two",
    "rm file; rm link; rm -r deep",
    "rm -r deep; mkdir deep; echo new > deep/one",
    "rm -r deep/a; echo file > deep/a",
    "rm file; mkdir file; echo below > file/x",
    "rm link; echo file > link; ln -s elsewhere newlink",
    "mv deep moved",
    "mv deep moved; rm moved/a/one; echo x > moved/b/x; mkdir deep; echo y > deep/y",
    "mv deep moved; mv moved deep",
    "mv deep/a deep/b/c; mv deep/b/c/one deep/b/one",
    "mv file moved; mv deep/a/one file",
    "ln file other; ln deep/a/one deep/b/one; echo x >> other",
    "cat file > copy; mv copy file",
    "rm -r deep/a; mv deep/b deep/a; mkdir deep/b",
    "rm file; echo same > file; touch -d @1000000000 file",
    "mkfifo pipe; rm deep/b/three; mkfifo deep/b/three",
    "chmod 711 .; chmod 1777 deep/a; echo x > deep/a/new; rm deep/a/new",
    "rm -r deep; mkdir -p deep/a; echo one > deep/a/one; rm -r deep/a; rm file; ln -s deep file",
];

/// A few of everything that an image holds.
fn entries(fixture: &Fixture) -> Vec<Entry> {
    let Extraction { directories, parts, .. } = fixture.base();
    let file = |path: &str, content: &str| Entry { uid: 7, ..entry(path, content_of(content.as_bytes()), 0o644) };
    let mut entries = directories;
    entries.extend(parts.into_iter().flat_map(|part| part.entries));
    entries.extend(["v", "v/deep", "v/deep/a", "v/deep/b", "v/deep/b/empty"].map(default_directory));
    entries.extend([
        file("v/file", "file"),
        file("v/deep/a/one", "one"),
        file("v/deep/a/two", "two"),
        file("v/deep/b/three", "three"),
        entry("v/link", Kind::Symlink { target: "file".to_owned() }, 0o777),
    ]);
    entries
}

/// The layer of these entries.
fn layer(fixture: &Fixture, entries: &[Entry]) -> Extraction {
    let base = fixture.base();
    let (directories, files): (Vec<Entry>, Vec<Entry>) =
        entries.iter().cloned().partition(|entry| entry.kind == Kind::Directory);
    let own = files.into_iter().filter(|entry| entry.path.starts_with("v/"));
    let own: Vec<(Entry, Vec<u8>)> = own
        .map(|entry| {
            let content = entry.path.rsplit('/').next().unwrap_or_default().as_bytes().to_vec();
            (entry, content)
        })
        .collect();
    let own = fixture.part(own.iter().map(|(entry, content)| (entry.clone(), content.as_slice())).collect());
    Extraction { directories, parts: base.parts.into_iter().chain([own]).collect(), ..base }
}

/// The layer of [`entries`], these, and their image in the store.
fn prepared(fixture: &Fixture) -> (Extraction, Vec<Entry>, Digest) {
    let entries = entries(fixture);
    let layer = layer(fixture, &entries);
    let tree: BTreeMap<&str, &Entry> = entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let image = erofs::write(&fixture.store, &tree, &layer.parts.iter().collect::<Vec<_>>()).unwrap();
    (layer, entries, image)
}

/// A session whose tree is in memory, if it can be laid on an image here.
fn start(fixture: &Fixture, place: &tempfile::TempDir) -> Option<Session> {
    let executor = Executor::RootNamespaces;
    let options = Options { in_memory: true, ..fixture.options.clone() };
    if !can_lay(executor) || executor.probe(fixture.folder.path(), &options).is_err() {
        warn("no tree was laid on an image: that needs root, and Linux 6.12");
        return None;
    }
    Some(Session::start(executor, place.path(), &options).unwrap())
}

/// The changes that count, without what depends on when a script ran.
fn counting(changes: Vec<Change>, before: &[Entry]) -> BTreeMap<String, Option<Entry>> {
    let settled = |mut entry: Entry| {
        let is_old = entry.mtime == 1_000_000_000 && entry.kind != Kind::Directory;
        entry.mtime = if is_old { entry.mtime } else { 0 };
        entry
    };
    let before: BTreeMap<&str, Entry> =
        before.iter().map(|entry| (entry.path.as_str(), settled(entry.clone()))).collect();
    let all = changes.into_iter().map(|change| (change.path, change.entry.map(settled)));
    all.filter(|(path, entry)| entry.as_ref() != before.get(path.as_str())).collect()
}

#[test]
fn a_tree_on_an_image_changes_as_one_of_files_does() {
    let fixture = Fixture::new();
    let (layer, entries, image) = prepared(&fixture);
    let look = "cd /v; stat -c '%n %F %a %u %g %h %Y' . * deep/* deep/*/*; cat file link deep/a/*";
    for script in SCRIPTS {
        let results = [false, true].map(|laid| {
            let place = fixture.place();
            let mut session = start(&fixture, &place)?;
            if laid {
                session.lay(&image).unwrap();
                let root = entries.iter().filter(|entry| entry.path.is_empty()).cloned().collect();
                session.extract(&[Extraction { directories: root, ..Extraction::default() }]).unwrap();
            } else {
                session.extract(std::slice::from_ref(&layer)).unwrap();
            }
            session.mark().unwrap();
            let before = sh(&mut session, look);
            // As a package is unpacked between: one file is there twice then, and one folder is new.
            let upper = fixture.part(vec![
                (entry("v/deep/b/placed", content_of(b"placed"), 0o644), b"placed"),
                (entry("v/new/placed", content_of(b"placed"), 0o644), b"placed"),
            ]);
            let directories = vec![default_directory("v/new")];
            session.extract(&[Extraction { directories, parts: vec![upper], ..Extraction::default() }]).unwrap();
            session.mark_paths(["v/deep/b/placed", "v/new", "v/new/placed"].map(str::to_owned).into()).unwrap();
            sh(&mut session, &format!("cd /v; {script}"));
            let content = sh(&mut session, "cd /v; cat deep/a/* moved/a/* other copy 2>&1; true");
            assert!(session.check().unwrap());
            let changes = session.changes().unwrap();
            let packed: Vec<Entry> = changes.iter().filter_map(|change| change.entry.clone()).collect();
            let packed: Vec<Entry> = packed.into_iter().filter(|entry| entry.kind != Kind::Directory).collect();
            session.pack(&[], &packed).unwrap();
            let counting = counting(changes, &entries);
            session.finish().unwrap();
            Some((before, content, counting))
        });
        let [Some(plain), Some(laid)] = results else { return };
        assert_eq!(plain.0, laid.0, "before `{script}`");
        assert_eq!(plain.1, laid.1, "after `{script}`");
        assert_eq!(plain.2, laid.2, "`{script}`");
        assert!(!plain.2.is_empty() || script == "true" || script.contains("mv moved deep"), "`{script}` did nothing");
    }
}

#[test]
fn a_damaged_image_is_found_and_one_that_others_can_change_is_not_used() {
    let fixture = Fixture::new();
    let (layer, _, image) = prepared(&fixture);
    let path = fixture.store.blob_path(&image);
    let place = fixture.place();
    let Some(mut session) = start(&fixture, &place) else { return };
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let error = session.lay(&image).unwrap_err();
    assert!(error.to_string().contains("can be changed by others"), "{error}");
    session.lay(&Digest::of(b"nothing")).unwrap_err();
    // It is as if nobody had tried.
    session.extract(std::slice::from_ref(&layer)).unwrap();
    assert_eq!(sh(&mut session, "cat /v/file"), "file");
    session.finish().unwrap();

    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(5).rposition(|window| window == b"three").unwrap();
    bytes[at] = b'T';
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let place = fixture.place();
    let mut session = start(&fixture, &place).unwrap();
    session.lay(&image).unwrap();
    session.lay(&image).unwrap_err();
    assert_eq!(sh(&mut session, "cat /v/deep/b/three"), "Three");
    assert!(!session.check().unwrap());
    assert!(!fixture.store.contains(&image), "it was not set aside");
    session.finish().unwrap();
}
