use std::io::Write as _;

use sha2::{Digest as _, Sha256};

use super::*;

/// A wheel of these files; RECORD is made, unless it is among them.
fn wheel(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    let mut rows = record::Writer::new("");
    for (path, content) in files {
        zip.start_file(*path, options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
        rows.add(path, content.as_bytes());
    }
    if !files.iter().any(|(path, _)| path.ends_with("/RECORD")) {
        let rows = String::from_utf8(rows.finish("thing-1.0.dist-info/RECORD")).unwrap();
        zip.start_file("thing-1.0.dist-info/RECORD", options).unwrap();
        zip.write_all(rows.replace("../", "").as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

const METADATA: (&str, &str) = (
    "thing-1.0.dist-info/METADATA",
    "Metadata-Version: 2.1\nName: Thing\nVersion: 1.0\nLicense-Expression: MIT\n\nText\n",
);
const WHEEL: (&str, &str) =
    ("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n");

fn made(files: &[(&str, &str)]) -> Result<(WheelPart, Store, tempfile::TempDir)> {
    install(&wheel(files))
}

fn install(bytes: &[u8]) -> Result<(WheelPart, Store, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let sha256 = store.put(bytes).unwrap();
    let locked = Locked { name: "thing", version: "1", sha256 };
    let part = part(&store, &locked, &Layout::debian("python3", "3.13"), &BTreeSet::new())?;
    Ok((part, store, folder))
}

#[test]
fn a_wheel_is_placed_as_an_installer_would() {
    let (made, store, _folder) = made(&[
        ("thing/__init__.py", "x = 1\n"),
        ("thing-1.0.data/scripts/tool", "#!python\nprint(1)\n"),
        ("thing-1.0.data/data/share/thing/x", "x"),
        ("thing-1.0.data/headers/thing.h", "int x;"),
        ("thing-1.0.dist-info/entry_points.txt", "[console_scripts]\nthing = thing:main\n"),
        METADATA,
        WHEEL,
    ])
    .unwrap();
    let paths: Vec<String> = made.part.entries.iter().map(|entry| format!("{:o} {}", entry.mode, entry.path)).collect();
    assert_eq!(
        paths,
        [
            "755 usr/local/bin/thing",
            "755 usr/local/bin/tool",
            "644 usr/local/include/python3.13/Thing/thing.h",
            "644 usr/local/lib/python3.13/dist-packages/thing-1.0.dist-info/INSTALLER",
            "644 usr/local/lib/python3.13/dist-packages/thing-1.0.dist-info/METADATA",
            "644 usr/local/lib/python3.13/dist-packages/thing-1.0.dist-info/WHEEL",
            "644 usr/local/lib/python3.13/dist-packages/thing-1.0.dist-info/entry_points.txt",
            "644 usr/local/lib/python3.13/dist-packages/thing/__init__.py",
            "644 usr/local/share/thing/x",
            "644 usr/local/lib/python3.13/dist-packages/thing-1.0.dist-info/RECORD",
        ]
    );
    assert_eq!(made.licences, BTreeSet::from(["MIT".to_owned()]));
    let read = |path: &str| crate::layer::content_of(&store, &made.part, path).unwrap().unwrap();
    let record = read("usr/local/lib/python3.13/dist-packages/thing-1.0.dist-info/RECORD");
    let record = String::from_utf8(record).unwrap();
    let tool = read("usr/local/bin/tool");
    assert_eq!(tool, b"#!/usr/bin/python3\nprint(1)\n");
    assert!(record.starts_with("../../../bin/thing,sha256="), "{record}");
    assert!(record.lines().is_sorted() && record.contains("thing-1.0.dist-info/RECORD,,\n"), "{record}");
    assert_eq!(Sha256::digest(&tool).len(), 32);
}

#[test]
fn what_lies_is_refused() {
    let lying = [METADATA.0, "Name: other\nVersion: 1.0\n"];
    let version = [METADATA.0, "Name: thing\nVersion: 2.0\n"];
    let unlisted = "thing-1.0.dist-info/METADATA,,\nthing-1.0.dist-info/WHEEL,,\n";
    for (files, reason) in [
        (vec![(lying[0], lying[1]), WHEEL], "the wheel says that it is `other` 1.0"),
        (vec![(version[0], version[1]), WHEEL], "the wheel says that it is `thing` 2.0"),
        (vec![METADATA], "it has no `thing-1.0.dist-info/WHEEL`"),
        (vec![METADATA, (WHEEL.0, "Wheel-Version: 2.0\n")], "only 1.x is known"),
        (vec![("a.dist-info/x", ""), METADATA, WHEEL], "two `.dist-info` folders"),
        (vec![("x", "x")], "it has no `thing-1.0.dist-info/METADATA`"),
        (vec![("../x", "x"), METADATA, WHEEL], "leaves its folder"),
        (vec![("/x", "x"), METADATA, WHEEL], "no plain relative path"),
        (vec![("a\\x", "x"), METADATA, WHEEL], "no plain relative path"),
        (vec![("thing-1.0.data/evil/x", "x"), METADATA, WHEEL], "unknown kind `evil`"),
        (vec![("thing-1.0.data/data/../../../x", "x"), METADATA, WHEEL], "leaves its folder"),
        (
            vec![("x.py", "1"), ("thing-1.0.data/purelib/x.py", "2"), METADATA, WHEEL],
            "two of its files would be installed",
        ),
        (vec![("x.py", "1"), METADATA, WHEEL, ("thing-1.0.dist-info/RECORD", unlisted)], "\"x.py\" is not listed"),
        (vec![METADATA, WHEEL, ("thing-1.0.dist-info/RECORD", unlisted)], "has no hash for"),
        (
            vec![
                METADATA,
                WHEEL,
                ("thing-1.0.dist-info/RECORD", "thing-1.0.dist-info/METADATA,,\nthing-1.0.dist-info/WHEEL,,\nx,,\n"),
            ],
            "lists \"x\", which it does not hold",
        ),
        (
            vec![
                METADATA,
                WHEEL,
                (
                    "thing-1.0.dist-info/RECORD",
                    "thing-1.0.dist-info/METADATA,sha256=AAAA,1\nthing-1.0.dist-info/WHEEL,,\n",
                ),
            ],
            "its RECORD says AAAA",
        ),
        (
            vec![("thing-1.0.dist-info/entry_points.txt", "[console_scripts]\n../x = a:b\n"), METADATA, WHEEL],
            "no name of a program",
        ),
    ] {
        let error = made(&files).map(|_| ()).unwrap_err();
        let text = format!("{error:?} {error}");
        assert!(text.contains(reason), "{files:?}: {text}");
    }
}

#[test]
fn symbolic_links_and_duplicates_are_refused() {
    let options = zip::write::SimpleFileOptions::default();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_symlink("x", "/etc/passwd", options).unwrap();
    let error = install(&zip.finish().unwrap().into_inner()).map(|_| ()).unwrap_err();
    assert!(format!("{error:?}").contains("symbolic link"), "{error:?}");
    // The same name twice: made by turning one name into the other.
    let bytes = wheel(&[("aaaa.py", "1"), ("bbbb.py", "2"), METADATA, WHEEL]);
    let text = bytes.windows(7).map(|window| window == b"bbbb.py");
    let places: Vec<usize> = text.enumerate().filter(|(_, found)| *found).map(|(at, _)| at).collect();
    let mut twice = bytes.clone();
    for at in places {
        twice[at..at + 7].copy_from_slice(b"aaaa.py");
    }
    let error = install(&twice).map(|_| ()).unwrap_err();
    assert!(format!("{error:?}").contains("twice"), "{error:?}");
}

#[test]
fn cut_off_wheels_are_errors_and_nothing_worse() {
    let bytes = wheel(&[("thing/__init__.py", "x = 1\n"), METADATA, WHEEL]);
    for length in (0..bytes.len()).step_by(7) {
        assert!(install(&bytes[..length]).is_err());
    }
    for at in (0..bytes.len()).step_by(11) {
        let mut turned = bytes.clone();
        turned[at] ^= 0x40;
        let _ = install(&turned);
    }
}
