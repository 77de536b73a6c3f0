//! Debian: packages, indexes, signatures, and the files of apt and dpkg.

use kiln::ecosystem::debian::index::{Index, Release};
use kiln::ecosystem::debian::index_file::{self, Compression};
use kiln::ecosystem::debian::part::{PartOptions, deb_part};
use kiln::ecosystem::debian::signature::{Keyring, Policy};
use kiln::ecosystem::debian::solver::{Base, Request, solve};
use kiln::ecosystem::debian::universe::Universe;
use kiln::ecosystem::debian::{
    accounts, alias_database, apt, copyright, date, deb, dpkg, exclusions::Exclusions, file_listing, info_directory,
    keystore, overlap, package, relation, release, rules, version,
};
use kiln::net::Address;
use std::collections::BTreeSet;
use std::io::Read as _;

use super::{Outcome, Target, printable, same, text};
use crate::mend;
use crate::world::World;

/// After the making of every signature in the corpus.
const NOW: u64 = 1_800_000_000;

const FIELDS: &[&str] = &[
    "Package: ",
    "Version: ",
    "Architecture: all\n",
    "Depends: ",
    "Pre-Depends: ",
    "Conflicts: ",
    "Provides: ",
    "Replaces: ",
    "Breaks: ",
    "Essential: yes\n",
    "Multi-Arch: same\n",
    "Source: a (1)\n",
    "Filename: ",
    "Size: ",
    "SHA256: ",
    "\n\n",
    "\n ",
    " | ",
    " (>= 1)",
    " (<< 1~)",
    ":any",
    "a",
    "b",
    "Priority: required\n",
];

pub fn list() -> Vec<Target> {
    let target = |name, words, run| Target { name, words, mend: mend::nothing, run };
    vec![
        Target {
            name: "deb",
            words: &["./", "control", ".wh.", "md5sums", "conffiles", "data.tar", "`\n"],
            mend: mend::tar,
            run: deb,
        },
        target("control", FIELDS, control),
        target("packages", FIELDS, packages),
        target("apt-solver", FIELDS, apt_solver),
        target("index-file", &[], index_file),
        target(
            "release",
            &["Date: ", "SHA256:\n ", "Valid-Until: ", "Suite: ", "\n ", "Acquire-By-Hash: yes\n"],
            release_file,
        ),
        target(
            "inrelease",
            &["-----BEGIN PGP SIGNED MESSAGE-----\n", "-----BEGIN PGP SIGNATURE-----\n", "- ", "Hash: SHA512\n"],
            inrelease,
        ),
        target("signature", &["\u{88}", "\u{c2}"], signature),
        target("keyring", &["-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "-----END PGP PUBLIC KEY BLOCK-----\n"], keyring),
        target("relation", &["|", ",", "(", ")", "[", "]", "<", ">", "<<", ">=", ":any", "a"], relations),
        target("debian-version", &["~", "-", ":", "+", ".", "0", "a", "Z"], versions),
        target(
            "copyright",
            &["Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n", "License: "],
            copyrights,
        ),
        target(
            "dpkg",
            &[
                "/",
                ":\n",
                "Package: ",
                "Status: install ok unpacked\n",
                "root root 4755 /",
                "interest ",
                "activate-noawait ",
            ],
            dpkg_files,
        ),
        target(
            "apt-sources",
            &["deb ", "[", "]", "Types: deb\n", "URIs: http://h.example/\n", "Enabled: no\n", "mirror+file:"],
            apt_sources,
        ),
        target("apt-auth", &["machine ", "login ", "password ", "http://", ":"], apt_auth),
        target(
            "apt-configuration",
            &["Acquire::http::Proxy ", "\"", "{", "}", ";", "/*", "*/", "//", "#"],
            apt_configuration,
        ),
        target(
            "files-of-scripts",
            &["% ls-R\n\n", "\n* Menu:\n", "root:x:0:0::/:/bin/sh\n", "\u{feed}"],
            files_of_scripts,
        ),
    ]
}

pub const TARGETS: fn() -> Vec<Target> = list;

fn deb(world: &World, bytes: &[u8]) -> Outcome {
    if let Some(mut package) = printable(deb::read(bytes)) {
        let _ = printable(package.control.conffiles());
        let again =
            deb::Control::read(&package.control_tar).map_err(|error| format!("the control archive: {error}"))?;
        same("the control archive", &package.control, &again)?;
        let _ = package.data.read(&mut [0; 4096]);
    }
    let sha256 = world.put(bytes);
    let exclusions = Exclusions::new(&["docs", "man", "locales"]).expect("the usual exclusions");
    let leave_out = BTreeSet::from(["usr/bin/a".to_owned()]);
    let options = PartOptions { exclusions: &exclusions, merged_usr: true, leave_out: &leave_out };
    let Some(part) = printable(deb_part(&world.store, &sha256, &options)) else { return Ok(()) };
    let again = deb_part(&world.store, &sha256, &options).map_err(|error| format!("a part that was kept: {error}"))?;
    same("the part of a package", &part, &again)?;
    let locked = package::Locked { name: "a", version: "1.0-1", architecture: "amd64", sha256 };
    if let Some(stage) = printable(package::stage_package(&world.store, &locked, &part)) {
        let _ = printable(package::scripts(&world.store, &locked, &part));
        let _ = printable(overlap::place(&[], &[&stage], &[], &BTreeSet::from(["usr/lib"])));
        let existing = dpkg::Existing::default();
        let _ = printable(dpkg::database(&existing, &[stage.unpacked], dpkg::State::Unpacked, 1));
    }
    Ok(())
}

/// A file `control` in an archive that is right otherwise.
fn control(_: &World, bytes: &[u8]) -> Outcome {
    let mut archive = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    for name in ["control", "conffiles", "triggers"] {
        archive.append_data(&mut header.clone(), name, bytes).map_err(|error| error.to_string())?;
    }
    let archive = archive.into_inner().map_err(|error| error.to_string())?;
    if let Some(control) = printable(deb::Control::read(&archive)) {
        let _ = printable(control.check_identity("a", "1", "amd64"));
        let _ = printable(control.conffiles());
    }
    let _ = overlap::field(&text(bytes), "Replaces");
    Ok(())
}

fn universe(bytes: &[u8]) -> Option<Universe> {
    let release = Release { origin: "debian".into(), suite: "stable".into(), ..Release::default() };
    let index = printable(Index::parse("test", release, bytes.to_vec()))?;
    printable(Universe::new("amd64", vec![index]))
}

fn packages(_: &World, bytes: &[u8]) -> Outcome {
    let Some(universe) = universe(bytes) else { return Ok(()) };
    for package in universe.packages() {
        let Some(package) = printable(package) else { continue };
        let _ = (universe.versions_of(&package.name), version::is_valid(&package.version));
        let text = universe.indexes()[0].stanza_text(&package);
        if text.is_none() {
            return Err(format!("the stanza of {:?} {:?} is not found again", package.name, package.version));
        }
    }
    Ok(())
}

fn apt_solver(_: &World, bytes: &[u8]) -> Outcome {
    let Some(universe) = universe(bytes) else { return Ok(()) };
    for base in [Base::Essential, Base::None] {
        let packages = vec!["a".to_owned(), "nothing | b".to_owned()];
        let request = Request { architecture: "amd64".into(), base, packages, ..Request::default() };
        let Some(solution) = printable(solve(&universe, &request)) else { continue };
        let again = solve(&universe, &request).map_err(|error| format!("the second time: {error}"))?;
        same("a solution", &solution, &again)?;
    }
    Ok(())
}

fn index_file(world: &World, bytes: &[u8]) -> Outcome {
    let packed = world.put(bytes);
    for compression in Compression::ALL {
        let key = kiln::Digest::of(&[bytes, compression.suffix().as_bytes()].concat());
        let Some(plain) = printable(index_file::unpack(&world.store, compression, &packed, None, &key)) else {
            continue;
        };
        let again = index_file::load(&world.store, &key).map_err(|error| format!("an index that was kept: {error}"))?;
        same("a package index", &plain, &again)?;
    }
    Ok(())
}

fn release_file(_: &World, bytes: &[u8]) -> Outcome {
    let Some(release) = printable(release::Release::parse(&text(bytes))) else { return Ok(()) };
    let _ = (release.names(), release.is_called("stable"));
    let written = date::release(release.date);
    let read = date::parse_release(&written).map_err(|error| format!("the date {written}: {error}"))?;
    same("a date", &release.date, &read)?;
    let written = date::rfc3339(release.date);
    same("a date", &release.date, &date::parse_snapshot(&written).map_err(|error| format!("{written}: {error}"))?)
}

fn policies() -> [Policy; 2] {
    [Policy { now: NOW, allow_weak: false }, Policy { now: u64::MAX, allow_weak: true }]
}

fn inrelease(_: &World, bytes: &[u8]) -> Outcome {
    for keyring in [Keyring::debian(), Keyring::from_bytes(include_bytes!("../corpus/keyring/armored"))] {
        let keyring = keyring.map_err(|error| error.to_string())?;
        for policy in policies() {
            let _ = printable(keyring.verify_cleartext(bytes, &policy));
        }
    }
    Ok(())
}

fn signature(_: &World, bytes: &[u8]) -> Outcome {
    let keyring = Keyring::debian().map_err(|error| error.to_string())?;
    for policy in policies() {
        let _ = printable(keyring.verify_detached(b"text\n", bytes, &policy));
        let _ = printable(keyring.verify_detached(bytes, b"", &policy));
    }
    Ok(())
}

fn keyring(_: &World, bytes: &[u8]) -> Outcome {
    let Some(keyring) = printable(Keyring::from_bytes(bytes)) else { return Ok(()) };
    let _ = keyring.fingerprints();
    for policy in policies() {
        let _ = printable(keyring.verify_cleartext(include_bytes!("../corpus/inrelease/signed"), &policy));
    }
    Ok(())
}

fn relations(_: &World, bytes: &[u8]) -> Outcome {
    let field = text(bytes);
    let (mut read, mut written) = (Vec::new(), String::new());
    for relation in relation::parse(&field) {
        let Ok(relation) = relation else { return Ok(()) };
        written += relation.name;
        if let Some((operator, version)) = relation.version {
            written += &format!(" ({} {version})", operator.as_str());
            let _ = operator.holds(version, "1:2~3-4");
        }
        written += if relation.or { " | " } else { ", " };
        read.push(relation);
    }
    let again: Result<Vec<_>, String> = relation::parse(&written).collect();
    same("relations", &Ok(read), &again)
}

fn versions(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    let parts: Vec<&str> = text.split('\n').take(3).collect();
    for one in &parts {
        let _ = version::is_valid(one);
        for other in &parts {
            same("the order of versions", &version::compare(one, other), &version::compare(other, one).reverse())?;
        }
    }
    if let [a, b, c] = parts[..]
        && version::compare(a, b).is_le()
        && version::compare(b, c).is_le()
        && version::compare(a, c).is_gt()
    {
        return Err(format!("{a:?} <= {b:?} <= {c:?}, but not {a:?} <= {c:?}"));
    }
    for line in parts {
        let _ = (date::parse_release(line).is_ok(), date::parse_snapshot(line).is_ok());
        if let Ok(seconds) = line.parse() {
            let _ = (date::display(seconds), date::rfc3339(seconds), date::snapshot(seconds), date::release(seconds));
        }
    }
    Ok(())
}

fn copyrights(_: &World, bytes: &[u8]) -> Outcome {
    let licences = copyright::licences(bytes);
    if licences.iter().any(|licence| licence.is_empty() || licence.contains('\n')) {
        return Err(format!("licences: {licences:?}"));
    }
    Ok(())
}

fn dpkg_files(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes).into_owned();
    let _ = (dpkg::diversions(&text).len(), dpkg::stat_overrides(&text).len(), dpkg::unfinished(&text).len());
    let member = |content: &[u8]| dpkg::Member { mode: 0o644, mtime: 1, content: content.to_vec() };
    let members = ["triggers", "md5sums", "postinst", "shlibs"].map(|name| (name.to_owned(), member(bytes)));
    let package = dpkg::Unpacked {
        name: "a".into(),
        version: "1".into(),
        architecture: "amd64".into(),
        multi_arch_same: true,
        paragraph: text.clone(),
        members: members.into_iter().collect(),
        paths: text.lines().map(str::to_owned).collect(),
        conffiles: text.lines().map(|line| (line.to_owned(), "00".to_owned())).collect(),
        generated_md5sums: None,
    };
    let existing = dpkg::Existing {
        status: text.clone(),
        file_interests: text.clone(),
        named_interests: [("a".to_owned(), text.clone())].into_iter().collect(),
        activated: text,
    };
    let _ = printable(dpkg::database(&existing, &[package], dpkg::State::Unpacked, 1));
    Ok(())
}

fn apt_sources(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    for (_, uri) in apt::one_line(&text).into_iter().chain(apt::deb822(&text)) {
        let _ = printable(Address::parse(&uri));
    }
    let _ = apt::mirrors(&text);
    Ok(())
}

fn apt_auth(world: &World, bytes: &[u8]) -> Outcome {
    let _ = apt::logins(&text(bytes));
    world.write("apt/auth.conf", bytes);
    let apt = apt::Apt::read(&world.folder().join("apt"));
    for address in ["https://h.example/debian/dists", "http://h.example:80/", "file:///a"] {
        let _ = apt.credentials(&Address::parse(address).map_err(|error| error.to_string())?.0);
    }
    Ok(())
}

fn apt_configuration(_: &World, bytes: &[u8]) -> Outcome {
    let _ = apt::configuration(&text(bytes));
    Ok(())
}

/// What packages' scripts have made, which is put in order.
fn files_of_scripts(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    let _ = (file_listing::sorted(&text), info_directory::sorted(&text));
    let _ = (alias_database::with_time(bytes.to_vec(), 1), rules::shadow_day(&text, 1));
    if let Some(once) = printable(keystore::with_time(bytes.to_vec(), 1)) {
        let twice = keystore::with_time(once.clone(), 1).map_err(|error| format!("the second time: {error}"))?;
        same("a keystore", &once, &twice)?;
    }
    let made = accounts::Accounts { passwd: text.clone().into_owned(), group: text.into_owned() };
    let ids = made.ids();
    let (_, renumbering) = accounts::renumber(&accounts::Ids::default(), &ids, &accounts::Ids::default(), &ids);
    let _ = (renumbering.passwd(&made.passwd), renumbering.group(&made.group));
    renumbering.access_list(&mut bytes.to_vec());
    Ok(())
}
