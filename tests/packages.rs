//! Packages to parts: what dpkg would do, and what hostile packages must not do.

mod support;

use std::collections::BTreeSet;
use std::io::Read;

use kiln::digest::Digest;
use kiln::ecosystem::debian::deb;
use kiln::ecosystem::debian::exclusions::Exclusions;
use kiln::ecosystem::debian::part::{Conffile, DebPart, PartOptions, deb_part};
use kiln::layer::{Entry, Kind, assemble, flatten};
use kiln::store::Store;
use support::deb::Package;
use tar::EntryType;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn part_with(package: &Package, excluded: &[&str], merged_usr: bool, left_out: &[&str]) -> kiln::Result<DebPart> {
    let (_folder, store) = store();
    let deb = store.put(&package.build())?;
    let exclusions = Exclusions::new(excluded)?;
    let leave_out: BTreeSet<String> = left_out.iter().map(|path| (*path).to_owned()).collect();
    let part = deb_part(&store, &deb, &PartOptions { exclusions: &exclusions, merged_usr, leave_out: &leave_out })?;
    // What the record says must be what the blob holds: it makes a layer that reads back the same.
    let layer = assemble(&store, &part.part.directories, &[&part.part])?;
    let flattened = flatten(&store, &[layer])?;
    let mut expected: Vec<&Entry> = part.part.directories.iter().chain(&part.part.entries).collect();
    expected.sort_by(|one, other| one.path.cmp(&other.path));
    assert_eq!(flattened.entries.len(), expected.len());
    for (found, expected) in flattened.entries.iter().zip(expected) {
        assert_eq!(found.path, expected.path);
        if let (Kind::File { .. }, Kind::File { sha256, .. }) = (&found.kind, &expected.kind) {
            assert_eq!(Digest::of_reader(&mut flattened.content(found)?)?.0, *sha256);
        }
    }
    Ok(part)
}

fn part(package: &Package) -> kiln::Result<DebPart> {
    part_with(package, &[], true, &[])
}

fn paths(part: &DebPart) -> Vec<&str> {
    part.part.entries.iter().map(|entry| entry.path.as_str()).collect()
}

fn directories(part: &DebPart) -> Vec<&str> {
    part.part.directories.iter().map(|entry| entry.path.as_str()).collect()
}

fn refused(package: &Package, said: &str) {
    let error = part(package).unwrap_err();
    assert!(error.to_string().contains(said), "expected {said:?} in: {error}");
}

#[test]
fn every_compression_and_spelling_gives_the_same_part() {
    let package = |data_name, control_name, slash| {
        let package = Package::new().dir("./usr/", 0o755).file("./usr/file", b"content");
        Package { data_name, control_name, slash, ..package }
    };
    let expected = part(&package("data.tar.xz", "control.tar.xz", false)).unwrap();
    for (data, control) in [
        ("data.tar", "control.tar"),
        ("data.tar.gz", "control.tar.gz"),
        ("data.tar.zst", "control.tar.zst"),
        ("data.tar.xz", "control.tar.gz"),
    ] {
        assert_eq!(part(&package(data, control, true)).unwrap(), expected, "{data}");
    }
    refused(&package("data.tar.bz2", "control.tar.gz", false), "data.tar.bz2 is compressed in a way that is not known");
}

#[test]
fn the_list_is_what_the_package_ships() {
    let package = Package::new()
        .dir("./bin/", 0o755)
        .file("./bin/tool", b"tool")
        .dir("./usr/", 0o755)
        .dir("./usr/share/", 0o755)
        .dir("./usr/share/man/", 0o755)
        .file("./usr/share/man/tool.1", b"manual")
        .symlink("./usr/share/man/other.1", "tool.1");
    let part = part_with(&package, &["man"], true, &[]).unwrap();
    let list = [
        "/.",
        "/bin",
        "/bin/tool",
        "/usr",
        "/usr/share",
        "/usr/share/man",
        "/usr/share/man/tool.1",
        "/usr/share/man/other.1",
    ];
    assert_eq!(part.paths, list);
    assert_eq!(paths(&part), ["usr/bin/tool"]);
    assert_eq!(directories(&part), ["usr", "usr/bin", "usr/share", "usr/share/man"]);
    assert_eq!(part.newest_mtime, 1_600_000_000);
}

#[test]
fn a_merged_usr_takes_what_is_below_the_links() {
    let package = Package::new()
        .dir("./lib/", 0o700)
        .dir("./lib/deep/", 0o750)
        .file("./lib/deep/file", b"1")
        .hard_link("./lib/deep/link", "./lib/deep/file")
        .dir("./lib64/", 0o755)
        .symlink("./lib64/ld.so", "/lib/x");
    let merged = part(&package).unwrap();
    assert_eq!(paths(&merged), ["usr/lib/deep/file", "usr/lib/deep/link", "usr/lib64/ld.so"]);
    assert_eq!(merged.part.entries[1].kind, Kind::HardLink { target: "usr/lib/deep/file".into() });
    let modes: Vec<_> = merged.part.directories.iter().map(|entry| (entry.path.as_str(), entry.mode)).collect();
    assert_eq!(modes, [("usr", 0o755), ("usr/lib", 0o755), ("usr/lib/deep", 0o750), ("usr/lib64", 0o755)]);
    let unmerged = part_with(&package, &[], false, &[]).unwrap();
    assert_eq!(directories(&unmerged), ["lib", "lib/deep", "lib64"]);
}

#[test]
fn nothing_replaces_the_links_of_a_merged_usr() {
    let base = Package::new().symlink("./bin", "usr/bin").symlink("./lib", "/usr/lib").file("./bin/sh", b"sh");
    assert_eq!(paths(&part(&base).unwrap()), ["bin", "lib", "usr/bin/sh"]);
    refused(&Package::new().symlink("./bin", "usr/sbin"), "would replace the link from /bin");
    refused(&Package::new().file("./lib", b""), "would replace the link from /lib");
    refused(&Package::new().file("./a", b"").hard_link("./lib64", "./a"), "would replace the link from /lib64");
}

#[test]
fn a_path_shipped_twice_must_be_the_same() {
    let package = Package::new().file("./lib/x", b"1").symlink("./lib/y", "x").file("./usr/lib/x", b"1");
    assert_eq!(paths(&part(&package.symlink("./usr/lib/y", "x")).unwrap()), ["usr/lib/x", "usr/lib/y"]);
    refused(&Package::new().file("./lib/x", b"1").file("./usr/lib/x", b"2"), "/usr/lib/x is in the package twice");
    refused(&Package::new().file("./a", b"1").symlink("./a", "b"), "/a is in the package twice");
    refused(&Package::new().file("./a", b"1").dir("./a/", 0o755), "/a is there as a directory");
    refused(&Package::new().symlink("./a", "/etc").file("./a/b", b"1"), "/a is there as a directory");
}

#[test]
fn owners_go_by_name_where_debian_fixes_them() {
    let package = Package::new()
        .file_with("./a", b"", |header| {
            header.set_mode(0o2755);
            header.set_uid(1234);
            header.set_gid(1234);
            header.set_groupname("mail").unwrap();
            header.set_username("man").unwrap();
        })
        .file_with("./b", b"", |header| {
            header.set_uid(123);
            header.set_gid(456);
            header.set_username("nobody-knows").unwrap();
            header.set_groupname("nobody-knows").unwrap();
        });
    let part = part(&package).unwrap();
    let owners: Vec<_> = part.part.entries.iter().map(|entry| (entry.uid, entry.gid, entry.mode)).collect();
    assert_eq!(owners, [(6, 8, 0o2755), (123, 456, 0o644)]);
}

#[test]
fn devices_setuid_and_long_names_survive() {
    let long = format!("./usr/share/{}/{}", "d".repeat(120), "f".repeat(120));
    let mut device = Package::header(EntryType::Char, 0o666, 0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    let package = Package::new()
        .raw(device, "./dev/null", "", b"")
        .file_with("./usr/bin/su", b"su", |header| header.set_mode(0o4755))
        .file(&long, b"long")
        .symlink("./usr/link", &"t".repeat(300))
        .pax("path", "./usr/share/from-pax")
        .file("./cut", b"pax");
    let part = part(&package).unwrap();
    assert_eq!(part.part.entries[0].kind, Kind::CharacterDevice { major: 1, minor: 3 });
    assert_eq!(part.part.entries[1].mode, 0o4755);
    assert_eq!(part.part.entries[2].path, long[2..]);
    assert_eq!(part.part.entries[3].kind, Kind::Symlink { target: "t".repeat(300) });
    assert_eq!(part.part.entries[4].path, "usr/share/from-pax");
}

#[test]
fn configuration_files_have_their_md5() {
    let package = Package::new()
        .member("conffiles", 0o644, "/etc/sample\nremove-on-upgrade /etc/old\n/etc/missing\n")
        .file("./etc/sample", b"hello\n");
    let conffile = |path: &str, md5: Option<&str>, remove_on_upgrade| Conffile {
        path: path.into(),
        md5: md5.map(Into::into),
        remove_on_upgrade,
    };
    let expected = [
        conffile("/etc/sample", Some("b1946ac92492d2347c6235b4d2611184"), false),
        conffile("/etc/old", None, true),
        conffile("/etc/missing", None, false),
    ];
    assert_eq!(part(&package).unwrap().conffiles, expected);
}

#[test]
fn exclusions_are_dpkg_s() {
    let package = Package::new()
        .dir("./usr/share/doc/x/", 0o755)
        .file("./usr/share/doc/x/copyright", b"c")
        .file("./usr/share/doc/x/README", b"r")
        .symlink("./usr/share/doc/y", "x")
        .file("./usr/share/locale/locale.alias", b"a")
        .file("./usr/share/locale/de/x.mo", b"m");
    let part = part_with(&package, &["docs", "locales"], true, &[]).unwrap();
    assert_eq!(paths(&part), ["usr/share/doc/x/copyright", "usr/share/doc/y", "usr/share/locale/locale.alias"]);
}

#[test]
fn a_link_whose_file_is_left_out_gets_the_content() {
    let package =
        Package::new().file("./a", b"content").hard_link("./b", "./a").hard_link("./c", "./b").hard_link("./d", "./a");
    let part = part_with(&package, &[], true, &["a", "b"]).unwrap();
    assert_eq!(paths(&part), ["c", "d"]);
    assert_eq!(part.part.entries[0].kind, Kind::File { size: 7, sha256: Digest::of(b"content") });
    assert_eq!(part.part.entries[1].kind, Kind::HardLink { target: "c".into() });
    assert_eq!(part.paths, ["/.", "/a", "/b", "/c", "/d"]);
}

#[test]
fn a_part_is_made_once() {
    let (_folder, store) = store();
    let deb = store.put(&Package::new().file("./a", b"1").build()).unwrap();
    let (exclusions, leave_out) = (Exclusions::default(), BTreeSet::new());
    let options = PartOptions { exclusions: &exclusions, merged_usr: true, leave_out: &leave_out };
    let first = deb_part(&store, &deb, &options).unwrap();
    std::fs::remove_file(store.blob_path(&deb)).unwrap();
    assert_eq!(deb_part(&store, &deb, &options).unwrap(), first);
    let control = deb::Control::read(&store.read(&first.control).unwrap()).unwrap();
    assert_eq!(control.field("version"), Some("1.0-1"));
    assert_eq!(control.field("Description"), Some("a sample\n of two lines"));
    control.check_identity("sample", "1.0-1", "amd64").unwrap();
    for (name, version, architecture) in
        [("other", "1.0-1", "amd64"), ("sample", "1.0", "amd64"), ("sample", "1.0-1", "arm64")]
    {
        assert!(control.check_identity(name, version, architecture).is_err());
    }
}

#[test]
fn hostile_files_are_refused() {
    refused(&Package::new().file("../escape", b""), "leaves its folder");
    refused(&Package::new().file("./a/../../b", b""), "leaves its folder");
    refused(&Package::new().file("./a/.wh.b", b""), "layers use to remove files");
    refused(&Package::new().dir("./.wh..wh..opq/", 0o755), "layers use to remove files");
    refused(&Package::new().hard_link("./a", "./nowhere"), "hard link to /nowhere");
    refused(&Package::new().hard_link("./a", "../../etc/shadow"), "leaves its folder");
    refused(&Package::new().hard_link("./a", "./a"), "hard link to /a");
    refused(&Package::new().file("./a\nb", b""), "line break");
    refused(&Package::new().file("./", b""), "root is not a directory");
    refused(&Package::new().file(&format!("./{}x", "d/".repeat(200)), b""), "too deep");
    refused(&Package::new().pax("SCHILY.xattr.user.a", "b").file("./a", b""), "extended attributes");
    refused(&Package::new().pax("path", "../x").file("./a", b""), "leaves its folder");
    refused(&Package::new().raw(Package::header(EntryType::new(b'V'), 0o644, 0), "./a", "", b""), "unknown tar type");
    refused(&Package::new().file_with("./a", b"", |header| header.set_mtime(u64::MAX - 5)), "before 1970");
    let large = |header: &mut tar::Header| {
        header.set_username("nobody-knows").unwrap();
        header.set_uid(1 << 40);
    };
    refused(&Package::new().file_with("./a", b"", large), "its owner has the number 1099511627776");
    // An absolute name is one below the root, as dpkg has it.
    let absolute = part(&Package::new().file("/etc/a", b"")).unwrap();
    assert_eq!(paths(&absolute), ["etc/a"]);
}

#[test]
fn hostile_packages_are_refused() {
    refused(&Package { version: "3.0\n", ..Package::new() }, "only 2.x is known");
    refused(&Package { control: "Package: a\nPackage: b\n".into(), ..Package::new() }, "twice");
    refused(&Package { control: "Package: a\n\nPackage: b\n".into(), ..Package::new() }, "more than one paragraph");
    refused(&Package { control: " a\n".into(), ..Package::new() }, "continued line");
    refused(
        &Package { control_name: "data.tar.gz", data_name: "control.tar.gz", ..Package::new() },
        "control.tar is expected",
    );
    refused(&Package::new().member("../../x", 0o644, ""), "unexpected member");
    refused(&Package::new().member("control", 0o644, ""), "twice");
    refused(&Package::new().member("conffiles", 0o644, "etc/relative\n"), "etc/relative");
}

#[test]
fn a_bomb_is_stopped() {
    // 96 MiB of zeros in less than 20 kB: more than the ratio allows.
    let package = Package { data_name: "data.tar.zst", ..Package::new().file("./a", &vec![0; 96 << 20]) };
    let error = part(&package).unwrap_err();
    assert!(error.to_string().contains("holds more than"), "{error}");
}

#[test]
fn a_package_cut_anywhere_is_an_error() {
    for data_name in ["data.tar", "data.tar.gz", "data.tar.xz", "data.tar.zst"] {
        let whole =
            Package { data_name, ..Package::new().file("./usr/file", b"content").hard_link("./b", "./usr/file") };
        let whole = whole.build();
        for at in 0..whole.len() {
            let read = || -> kiln::Result<()> {
                let mut package = deb::read(&whole[..at])?;
                let mut plain = Vec::new();
                package.data.read_to_end(&mut plain)?;
                Ok(())
            };
            // What is missing can only be the padding after the last member.
            assert!(read().is_err() || at + 1 == whole.len(), "{data_name} cut at {at} of {}", whole.len());
        }
    }
}

#[test]
fn damage_anywhere_never_panics() {
    let whole =
        Package { data_name: "data.tar", control_name: "control.tar", ..Package::new().file("./f", b"content") };
    let whole = whole.build();
    let (_folder, store) = store();
    let (exclusions, leave_out) = (Exclusions::default(), BTreeSet::new());
    let options = PartOptions { exclusions: &exclusions, merged_usr: true, leave_out: &leave_out };
    for at in (0..whole.len()).filter(|at| whole[*at] != 0 || at % 16 == 0) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        let deb = store.put(&damaged).unwrap();
        let _ = deb_part(&store, &deb, &options);
    }
}
