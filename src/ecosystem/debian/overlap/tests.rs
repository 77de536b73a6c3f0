use std::collections::{BTreeMap, BTreeSet};

use super::{Placed, field, place, satisfies};
use crate::digest::Digest;
use crate::ecosystem::debian::dpkg::{Diversion, Unpacked};
use crate::ecosystem::debian::package::StagePackage;
use crate::layer::{Entry, Kind, Part};

fn entry(path: &str, kind: Kind) -> Entry {
    Entry { path: path.to_owned(), kind, mode: 0o644, uid: 0, gid: 0, mtime: 1, xattrs: BTreeMap::new() }
}

/// A package that ships `paths`: a folder with a slash at its end, a link as `path -> target`, or a file.
pub fn package(name: &str, replaces: &str, paths: &[&str]) -> StagePackage {
    let mut part = Part {
        directories: Vec::new(),
        entries: Vec::new(),
        content: Digest::of(b""),
        size: 0,
        tar_size: 0,
        members: Vec::new(),
        plain: None,
    };
    for path in paths {
        if let Some(path) = path.strip_suffix('/') {
            part.directories.push(entry(path, Kind::Directory));
        } else if let Some((path, target)) = path.split_once(" -> ") {
            part.entries.push(entry(path, Kind::Symlink { target: target.to_owned() }));
        } else {
            part.entries.push(entry(path, Kind::File { size: 0, sha256: Digest::of(b"") }));
        }
    }
    let replaces = if replaces.is_empty() { String::new() } else { format!("Replaces: {replaces}\n") };
    StagePackage {
        unpacked: Unpacked {
            name: name.to_owned(),
            version: "2.0-1".to_owned(),
            architecture: "amd64".to_owned(),
            multi_arch_same: false,
            paragraph: format!("Package: {name}\n{replaces}Version: 2.0-1\n"),
            members: BTreeMap::new(),
            paths: Vec::new(),
            conffiles: Vec::new(),
            generated_md5sums: None,
        },
        part,
    }
}

fn sets(found: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    found.iter().flat_map(|(name, paths)| paths.iter().map(move |path| format!("{name} {path}"))).collect()
}

fn placed(configured: &[StagePackage], packages: &[StagePackage]) -> crate::Result<Placed> {
    let configured: Vec<&StagePackage> = configured.iter().collect();
    place(&configured, &packages.iter().collect::<Vec<_>>(), &[], &BTreeSet::new())
}

#[test]
fn the_package_that_replaces_the_other_has_the_file() {
    let (old, new) = (package("old", "", &["a", "b"]), package("new", "old (<< 2.0-2), other", &["b", "c"]));
    for packages in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
        let found = placed(&[], &packages).unwrap();
        assert_eq!(sets(&found.leave_out), ["old b"]);
        assert_eq!(sets(&found.replaced), ["old b"]);
    }
    // In a layer below it stays, covered; dpkg is told all the same.
    let found = placed(std::slice::from_ref(&old), std::slice::from_ref(&new)).unwrap();
    assert_eq!((sets(&found.leave_out), sets(&found.replaced)), (vec![], vec!["old b".to_owned()]));
    let found = placed(&[new], &[old]).unwrap();
    assert_eq!(sets(&found.leave_out), ["old b"]);
}

#[test]
fn other_overlaps_name_both() {
    for replaces in ["", "one (<< 2.0)", "one-more"] {
        let error = placed(&[], &[package("one", "", &["a"]), package("two", replaces, &["a"])]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`/a`") && text.contains("`one` 2.0-1") && text.contains("`two` 2.0-1"), "{text}");
    }
    // Folders are shared; a folder and a file are not.
    placed(&[], &[package("one", "", &["a/", "a/x"]), package("two", "", &["a/", "a/y"])]).unwrap();
    assert!(placed(&[], &[package("one", "", &["a"]), package("two", "", &["a/", "a/y"])]).is_err());
    assert!(placed(&[package("one", "", &["a"])], &[package("two", "", &["a/", "a/y"])]).is_err());
    // What is configured below was accepted then.
    let below = [package("one", "", &["a"]), package("two", "", &["a"])];
    placed(&below, &[package("three", "", &["b"])]).unwrap();
}

#[test]
fn a_diverted_file_goes_elsewhere_unless_it_is_the_diverter_s() {
    let diversions = [Diversion { from: "a".into(), to: "a.orig".into(), package: "two".into() }];
    let (one, two) = (package("one", "", &["a"]), package("two", "", &["a"]));
    let found = place(&[], &[&one, &two], &diversions, &BTreeSet::new()).unwrap();
    assert_eq!(sets(&found.leave_out), ["one a"]);
    assert_eq!(found.diverted["one"]["a"], "a.orig");
    assert!(found.replaced.is_empty());
    // The script has moved what was configured below.
    let found = place(&[&one], &[&two], &diversions, &BTreeSet::new()).unwrap();
    assert!(found.leave_out.is_empty() && found.diverted.is_empty());
}

#[test]
fn what_is_in_a_folder_that_is_a_link_goes_through_it() {
    let link = package("link", "", &["a -> b", "c"]);
    let through = package("through", "", &["a/", "a/x/", "a/x/y", "ab"]);
    let expected = ["through a", "through a/x", "through a/x/y"];
    for found in [
        placed(&[], &[through.clone(), link.clone()]).unwrap(),
        placed(std::slice::from_ref(&link), std::slice::from_ref(&through)).unwrap(),
        place(&[], &[&through], &[], &BTreeSet::from(["a"])).unwrap(),
    ] {
        assert_eq!(sets(&found.through), expected);
        assert_eq!(found.leave_out, found.through);
    }
}

#[test]
fn constraints_are_compared_as_versions() {
    for (constraint, fits) in
        [("<< 1.10", true), ("<< 1.9", false), ("<= 1.9", true), ("= 1.9", true), (">= 1.9~", true), (">> 1.9", false)]
    {
        assert_eq!(satisfies("1.9", constraint), fits, "{constraint}");
    }
    assert!(satisfies("1.9", "<<1.10") && !satisfies("1.9", "!= 2"));
}

#[test]
fn fields_are_found_whatever_their_case_and_length() {
    let paragraph = "Package: a\nReplaces: b,\n c (<< 2),\n d\nVersion: 1\n";
    assert_eq!(field(paragraph, "replaces").as_deref(), Some("b, c (<< 2), d"));
    assert_eq!(field(paragraph, "Place"), None);
}
