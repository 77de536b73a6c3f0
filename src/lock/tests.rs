use std::collections::{BTreeMap, BTreeSet};

use super::{Artifact, Evidence, LayerOutput, Lockfile, Output, Package, PlatformLock, Reason, Scripts, reasons};
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::workspace::{Base, Debian, ImageSettings, Platform, Settings, Suite};

fn settings() -> Settings {
    Settings {
        description: "A queue".to_owned(),
        platforms: vec![Platform::Amd64, Platform::Arm64],
        base: None,
        debian: Debian {
            suites: vec![Suite {
                origin: "debian".to_owned(),
                name: "trixie".to_owned(),
                components: vec!["main".to_owned()],
                allow_expired: false,
                allow_weak: false,
            }],
            snapshot: None,
            packages: vec!["redis-server".to_owned()],
            exclude: vec!["docs".to_owned()],
            base: Base::Essential,
            accept_unconfigured: Vec::new(),
            preseed: BTreeMap::from([("tzdata/Areas".to_owned(), "Etc".to_owned())]),
            source: Vec::new(),
            local: Vec::new(),
        },
        python: None,
        npm: None,
        steps: Vec::new(),
        users: BTreeMap::new(),
        image: ImageSettings { entrypoint: vec!["redis-server".to_owned()], ..ImageSettings::default() },
    }
}

fn package(name: &str, version: &str, platforms: &[Platform]) -> Package {
    let artifact = |platform: &Platform| Artifact {
        size: 1000,
        architecture: platform.architecture().to_owned(),
        scripts: Some(Scripts::Sandbox),
        scripts_sha256: Some(Digest::of(b"script")),
        licences: BTreeSet::from(["GPL-2+ and \"odd\"".to_owned(), "MIT".to_owned()]),
        diversions: BTreeSet::from(["/bin/sh".to_owned()]),
        ..Artifact::new(
            &format!("pool/main/{name}_{version}_{}.deb", platform.architecture()),
            Digest::of(format!("{name} {version} {platform}").as_bytes()),
        )
    };
    Package {
        ecosystem: "debian".to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        source: name.to_owned(),
        source_version: version.to_owned(),
        origin: "debian/trixie".to_owned(),
        base: name == "bash",
        requested: (name == "redis-server").then(|| name.to_owned()),
        required_by: vec!["b".to_owned(), "a".to_owned(), "b".to_owned()],
        build_for: Vec::new(),
        artifacts: platforms.iter().map(|platform| (*platform, artifact(platform))).collect(),
    }
}

fn lockfile() -> Lockfile {
    let mut lockfile = Lockfile {
        version: 1,
        revision: 0,
        format: crate::FORMAT,
        environment: settings(),
        origins: vec![Evidence {
            name: "debian".to_owned(),
            suite: "trixie".to_owned(),
            date: "2026-11-15T09:42:10Z".to_owned(),
            signed_index: Digest::of(b"InRelease"),
            keys: vec!["AA".to_owned(), "BB".to_owned()],
            exceptions: Vec::new(),
        }],
        packages: vec![
            package("redis-server", "5:8.0-1", &Platform::ALL),
            package("libc6", "2.41-12+b1", &[Platform::Arm64]),
            package("libc6", "2.41-12", &[Platform::Amd64]),
            package("bash", "5.2-1", &Platform::ALL),
        ],
        local: Vec::new(),
        accounts: BTreeMap::from([(
            Platform::Amd64,
            Ids {
                users: BTreeMap::from([("redis".to_owned(), 100)]),
                groups: BTreeMap::from([("redis".to_owned(), 101), ("odd.name".to_owned(), 102)]),
            },
        )]),
        outputs: Vec::new(),
    };
    lockfile.outputs = vec![Output {
        platform: Platform::Amd64,
        platform_lock: Digest::of(b"lock"),
        image: Digest::of(b"image"),
        manifest_size: Some(700),
        layers: vec![LayerOutput {
            name: "base".to_owned(),
            diff_id: Digest::of(b"a"),
            digest: Digest::of(b"b"),
            size: 7,
        }],
    }];
    lockfile.normalize();
    lockfile
}

#[test]
fn what_is_written_is_read_back_and_written_the_same() {
    let lockfile = lockfile();
    let text = lockfile.to_text().unwrap();
    insta::assert_snapshot!("lockfile", text);
    let read = Lockfile::parse(&text).unwrap();
    assert_eq!(read, lockfile);
    assert_eq!(read.to_text().unwrap(), text);
    assert!(Lockfile::parse(&text.replace('\n', "\r\n")).is_ok(), "a checkout with CRLF is read");
}

#[test]
fn order_of_discovery_does_not_show() {
    let mut shuffled = lockfile();
    shuffled.packages.reverse();
    shuffled.normalize();
    assert_eq!(shuffled.to_text().unwrap(), lockfile().to_text().unwrap());
}

#[test]
fn the_platform_lock_depends_on_content_and_not_on_evidence() {
    let one = lockfile();
    let mut other = one.clone();
    other.origins[0].date = "2026-11-16T09:42:10Z".to_owned();
    other.packages[0].required_by.clear();
    other.environment.debian.suites.clear();
    let digest = |lockfile: &Lockfile| PlatformLock::of("queue", lockfile, Platform::Amd64).digest().unwrap();
    assert_eq!(digest(&one), digest(&other));
    other.environment.debian.exclude.clear();
    assert_ne!(digest(&one), digest(&other));
    let amd64 = PlatformLock::of("queue", &one, Platform::Amd64);
    let versions: Vec<_> = amd64.packages.iter().map(|package| package.version.as_str()).collect();
    assert_eq!(versions, ["5.2-1", "2.41-12", "5:8.0-1"]);
}

#[test]
fn every_reason_to_be_stale_is_told() {
    let locked = lockfile();
    assert_eq!(reasons(None, &settings()), [Reason::Missing]);
    assert_eq!(reasons(Some(&locked), &settings()), []);
    let mut changed = settings();
    changed.debian.packages = vec!["nginx".to_owned()];
    changed.platforms = vec![Platform::Amd64];
    changed.debian.exclude.clear();
    changed.image.user = Some("redis".to_owned());
    changed.debian.suites[0].name = "forky".to_owned();
    let told: Vec<String> = reasons(Some(&locked), &changed).iter().map(ToString::to_string).collect();
    insta::assert_debug_snapshot!(told, @r#"
    [
        "requirement-added: `debian:nginx` is asked for and not locked",
        "requirement-removed: `debian:redis-server` is locked and no longer asked for",
        "platform-removed: linux/arm64 is locked and no longer wanted",
        "sources-changed: `debian.suites` is not what it was when locked",
        "setting-changed: `debian.exclude` is not what it was when locked",
        "setting-changed: `image` is not what it was when locked",
    ]
    "#);
}

#[test]
fn a_newer_version_is_refused_with_both_numbers() {
    let text = lockfile().to_text().unwrap().replace("version = 1\nrevision", "version = 2\nrevision");
    assert!(Lockfile::parse(&text).unwrap_err().to_string().contains("its version is 2, this kiln knows version 1"));
    let conflict = lockfile().to_text().unwrap().replace("format = 1\n", "<<<<<<< HEAD\nformat = 1\n");
    assert!(Lockfile::parse(&conflict).unwrap_err().to_string().contains("conflict markers, the first in line 5"));
}
