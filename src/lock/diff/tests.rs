use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{Class, Diff};
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::lock::{Artifact, Evidence, LayerOutput, Local, Lockfile, Output, Package, PlatformLock, Scripts};
use crate::workspace::{Base, Copy, Debian, Fetch, ImageSettings, Platform, Python, Run, Settings, Step};

fn digest(number: u8) -> Digest {
    Digest::of(&[number])
}

fn settings() -> Settings {
    Settings {
        base: None,
        description: String::new(),
        platforms: Platform::ALL.into(),
        debian: Debian {
            suites: Vec::new(),
            snapshot: None,
            packages: Vec::new(),
            exclude: Vec::new(),
            base: Base::Essential,
            accept_unconfigured: Vec::new(),
            preseed: BTreeMap::new(),
            source: Vec::new(),
            local: Vec::new(),
        },
        python: None,
        npm: None,
        users: BTreeMap::new(),
        steps: Vec::new(),
        image: ImageSettings::default(),
    }
}

fn lockfile(packages: Vec<Package>) -> Lockfile {
    Lockfile {
        version: 1,
        revision: 0,
        format: 1,
        environment: settings(),
        origins: Vec::new(),
        packages,
        local: Vec::new(),
        accounts: BTreeMap::new(),
        outputs: Vec::new(),
    }
}

fn package(ecosystem: &str, name: &str, version: &str) -> Package {
    let artifact = |platform: Platform| Artifact {
        size: 1000,
        scripts: Some(Scripts::Sandbox),
        scripts_sha256: Some(digest(1)),
        ..Artifact::new("pool/x.deb", Digest::of(format!("{name} {version} {platform}").as_bytes()))
    };
    Package {
        ecosystem: ecosystem.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        source: name.to_owned(),
        source_version: version.to_owned(),
        origin: "debian/trixie".to_owned(),
        base: false,
        requested: None,
        required_by: Vec::new(),
        build_for: Vec::new(),
        artifacts: Platform::ALL.into_iter().map(|platform| (platform, artifact(platform))).collect(),
    }
}

/// The classes of what a package became, and the platforms that are named.
fn became(old: Package, change: impl FnOnce(&mut Package)) -> (Vec<&'static str>, Vec<Platform>) {
    let mut new = old.clone();
    change(&mut new);
    let diff = Diff::between(&lockfile(vec![old]), &lockfile(vec![new]));
    let [change] = diff.packages.as_slice() else { panic!("one change was expected: {diff:?}") };
    (change.classes.iter().map(|class| class.name()).collect(), change.platforms.clone())
}

fn on_each(package: &mut Package, change: impl Fn(&mut Artifact)) {
    package.artifacts.values_mut().for_each(change);
}

#[test]
fn versions_are_compared_as_their_ecosystem_does() {
    for (ecosystem, old, new, expected) in [
        ("debian", "1.0", "1:0.9", "upgraded"),
        ("debian", "1.0~rc1", "1.0", "upgraded"),
        ("debian", "1.0-1", "1.0-1+b1", "upgraded"),
        ("debian", "1.10", "1.9", "downgraded"),
        ("debian", "1.0", "1.00", "version"),
        ("pypi", "1.0rc1", "1.0", "upgraded"),
        ("pypi", "1.0", "1.0.post1", "upgraded"),
        ("pypi", "1.0+local", "1.0", "downgraded"),
        ("pypi", "1.0.dev1", "1.0a1", "upgraded"),
        ("pypi", "1.0", "1.0.0", "version"),
        ("pypi", "odd version", "1.0", "version"),
        ("npm", "1.0.0-beta.2", "1.0.0-beta.11", "upgraded"),
        ("npm", "1.0.0", "1.0.0-rc", "downgraded"),
        ("npm", "10.0.0", "9.0.0", "downgraded"),
        ("fetch", "aaaa", "bbbb", "version"),
        ("unheard-of", "1", "2", "version"),
    ] {
        let (classes, platforms) = became(package(ecosystem, "a", old), |package| {
            package.version = new.to_owned();
            on_each(package, |artifact| artifact.sha256 = digest(9));
        });
        assert_eq!(classes, [expected], "{ecosystem} {old} {new}");
        assert!(platforms.is_empty());
    }
}

#[test]
fn the_same_version_with_other_bytes_is_rebuilt() {
    let old = package("debian", "a", "1");
    let (classes, platforms) = became(old.clone(), |package| on_each(package, |artifact| artifact.sha256 = digest(9)));
    assert_eq!((classes, platforms), (vec!["rebuilt"], vec![]));
    let (classes, platforms) = became(old, |package| {
        package.artifacts.get_mut(&Platform::Arm64).unwrap().sha256 = digest(9);
    });
    assert_eq!((classes, platforms), (vec!["rebuilt"], vec![Platform::Arm64]));
}

#[test]
fn scripts_and_licences_are_compared_once_both_were_seen() {
    let old = package("debian", "a", "1");
    let (classes, _) = became(old.clone(), |package| on_each(package, |one| one.scripts_sha256 = Some(digest(2))));
    assert_eq!(classes, ["scripts"]);
    let unseen = |one: &mut Artifact| (one.scripts, one.scripts_sha256) = (None, None);
    assert_eq!(became(old.clone(), |package| on_each(package, unseen)).0, ["observed"]);
    let licensed = |one: &mut Artifact| one.licences.extend(["GPL-3".to_owned()]);
    assert_eq!(became(old.clone(), |package| on_each(package, licensed)).0, ["observed"], "the bytes are the same");
    let (classes, _) = became(old, |package| {
        on_each(package, |one| (one.sha256, one.licences) = (digest(9), BTreeSet::from(["GPL-3".to_owned()])));
    });
    assert_eq!(classes, ["rebuilt", "licence"]);
}

#[test]
fn a_class_that_holds_on_one_platform_says_so() {
    let mut new = package("debian", "a", "2");
    new.artifacts.get_mut(&Platform::Amd64).unwrap().scripts_sha256 = Some(digest(2));
    let diff = Diff::between(&lockfile(vec![package("debian", "a", "1")]), &lockfile(vec![new]));
    let [change] = diff.packages.as_slice() else { panic!("{diff:?}") };
    assert_eq!(change.classes, BTreeSet::from([Class::Scripts, Class::Upgraded]));
    assert!(change.platforms.is_empty());
    assert_eq!(change.only, BTreeMap::from([(Class::Scripts, vec![Platform::Amd64])]));
}

#[test]
fn places_are_told_apart() {
    let old = package("debian", "a", "1");
    let moved = |origin: &str, version: &str| {
        let old = Package { origin: "debian/trixie".to_owned(), ..old.clone() };
        let mut classes = became(old, |package| {
            package.origin = origin.to_owned();
            if version != "1" {
                package.version = version.to_owned();
                on_each(package, |one| one.sha256 = digest(9));
            }
        })
        .0;
        classes.retain(|class| *class != "upgraded");
        classes
    };
    assert_eq!(moved("debian-security/trixie-security", "2"), ["suite"]);
    assert_eq!(moved("debian-security/trixie-security", "1"), ["origin"]);
    assert_eq!(moved("vendor/stable", "2"), ["origin"]);
    let elsewhere = |one: &mut Artifact| one.path = "elsewhere/x.deb".to_owned();
    assert_eq!(became(old, |package| on_each(package, elsewhere)).0, ["origin"]);
}

#[test]
fn selection_words_and_base() {
    let old = package("debian", "a", "1");
    let ask = |words: &str| Some(words.to_owned());
    assert_eq!(became(old.clone(), |package| package.requested = ask("a")).0, ["selection"]);
    let asked = Package { requested: ask("a"), ..old.clone() };
    assert_eq!(became(asked, |package| package.requested = ask("a=1")).0, ["words"]);
    assert_eq!(became(old.clone(), |package| package.required_by = vec!["b".to_owned()]).0, ["words"]);
    assert_eq!(became(old.clone(), |package| package.source = "b".to_owned()).0, ["source"]);
    let base = Package { base: true, ..old };
    let (classes, _) = became(base, |package| on_each(package, |one| one.sha256 = digest(9)));
    assert_eq!(classes, ["rebuilt", "base"]);
}

#[test]
fn several_versions_side_by_side_are_paired_by_place() {
    let at = |version: &str, place: &str| {
        let mut package = package("npm", "a", version);
        on_each(&mut package, |one| one.places = vec![place.to_owned()]);
        package
    };
    let old = lockfile(vec![at("1.0.0", "node_modules/a"), at("2.0.0", "node_modules/b/node_modules/a")]);
    let new = lockfile(vec![at("1.5.0", "node_modules/a"), at("2.0.0", "node_modules/b/node_modules/a")]);
    let diff = Diff::between(&old, &new);
    let versions = |change: &super::Change<Package>| {
        [&change.old, &change.new].map(|side| side.as_ref().map(|package| package.version.clone()).unwrap_or_default())
    };
    assert_eq!(diff.packages.iter().map(versions).collect::<Vec<_>>(), [["1.0.0", "1.5.0"]]);
    assert_eq!(diff.unchanged, 1);
}

#[test]
fn a_platform_that_one_side_has_is_one_change() {
    let old = lockfile(vec![package("debian", "a", "1")]);
    let mut new = old.clone();
    new.environment.platforms = vec![Platform::Arm64];
    new.keep_platforms();
    let diff = Diff::between(&old, &new);
    assert_eq!(diff.counts(), BTreeMap::from([(Class::Platform, 1)]));
}

#[test]
fn the_order_of_steps_counts() {
    let run = |script: &str| {
        let script = script.to_owned();
        Step::Run(Run { script, env: BTreeMap::new(), workdir: None, platforms: Vec::new() })
    };
    let mut old = lockfile(Vec::new());
    old.environment.steps = vec![run("a"), run("b"), run("c")];
    let mut new = old.clone();
    new.environment.steps = vec![run("b"), run("a"), run("c")];
    let diff = Diff::between(&old, &new);
    assert_eq!(diff.steps.len(), 2, "{diff:?}");
    new.environment.steps = vec![run("a"), run("x"), run("b"), run("c")];
    let diff = Diff::between(&old, &new);
    assert_eq!(diff.steps.iter().map(|change| change.old.is_some()).collect::<Vec<_>>(), [false], "{diff:?}");
}

#[test]
fn the_same_lock_with_another_image_is_drift() {
    let output = |image: u8, lock: u8| Output {
        platform: Platform::Amd64,
        platform_lock: digest(lock),
        image: digest(image),
        manifest_size: None,
        layers: Vec::new(),
    };
    let with = |output| Lockfile { outputs: vec![output], ..lockfile(Vec::new()) };
    let classes = |a, b| Diff::between(&with(a), &with(b)).counts();
    assert_eq!(classes(output(1, 1), output(2, 1)), BTreeMap::from([(Class::Drift, 1)]));
    assert_eq!(classes(output(1, 1), output(2, 2)), BTreeMap::from([(Class::Output, 1)]));
}

// What may differ, each from a few values, so that much is often the same.

fn artifact() -> impl Strategy<Value = Artifact> {
    let seen = select(vec![
        (None, None),
        (Some(Scripts::None), None),
        (Some(Scripts::Sandbox), Some(1)),
        (Some(Scripts::Sandbox), Some(2)),
        (Some(Scripts::Unrun), None),
    ]);
    let words = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        subsequence(words, 0..=1)
    };
    (
        0..3_u8,
        0..2_u64,
        seen,
        words(&["MIT"]),
        words(&["/bin/sh"]),
        words(&["node_modules/a"]),
        words(&["p"]),
        any::<bool>(),
    )
        .prop_map(|(sha, size, (scripts, scripts_sha), licences, diversions, places, path, built)| Artifact {
            size,
            scripts,
            scripts_sha256: scripts_sha.map(digest),
            licences: licences.into_iter().collect(),
            diversions: diversions.into_iter().collect(),
            places,
            built,
            ..Artifact::new(path.first().map_or("q", String::as_str), digest(sha))
        })
}

fn packages() -> impl Strategy<Value = Vec<Package>> {
    let platforms = vec(artifact(), 2).prop_flat_map(|artifacts| {
        let all: Vec<(Platform, Artifact)> = Platform::ALL.into_iter().zip(artifacts).collect();
        subsequence(all, 1..=2)
    });
    let key = (select(vec!["debian", "pypi", "npm"]), select(vec!["a", "b"]), select(vec!["1.0.0", "1.0", "2.0.0"]));
    let rest = (
        select(vec!["debian/trixie", "debian-security/trixie", "vendor/x"]),
        select(vec!["a", "z"]),
        any::<bool>(),
        option::of(select(vec!["a", "a>1"])),
        vec(select(vec!["c", "d"]), 0..=1),
        vec(Just("e"), 0..=1),
    );
    btree_map(key, (rest, platforms), 0..5).prop_map(|packages| {
        packages
            .into_iter()
            .map(|((ecosystem, name, version), ((origin, source, base, requested, needed, build), artifacts))| {
                Package {
                    origin: origin.to_owned(),
                    source: source.to_owned(),
                    base,
                    requested: requested.map(str::to_owned),
                    required_by: needed.into_iter().map(str::to_owned).collect(),
                    build_for: build.into_iter().map(str::to_owned).collect(),
                    artifacts: artifacts.into_iter().collect(),
                    ..package(ecosystem, name, version)
                }
            })
            .collect()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let run = |script: &str| {
        let script = script.to_owned();
        Step::Run(Run { script, env: BTreeMap::new(), workdir: None, platforms: Vec::new() })
    };
    let copy = |to: &str| Step::Copy(Copy { from: "src".to_owned(), to: to.to_owned(), ..Copy::default() });
    let fetch = |url: &str| Step::Fetch(Fetch { url: Some(url.to_owned()), to: "/x".to_owned(), ..Fetch::default() });
    let all = vec![run("a"), run("b"), copy("/a"), copy("/b"), fetch("https://e/f"), fetch("https://g/f")];
    subsequence(all, 0..=4).prop_shuffle()
}

prop_compose! {
    fn environments()(
        platforms in subsequence(Platform::ALL.to_vec(), 1..=2),
        steps in steps(),
        exclude in vec(Just("docs".to_owned()), 0..=1),
        asked in vec(Just("a".to_owned()), 0..=1),
        user in option::of(Just("app".to_owned())),
        python in option::of(any::<bool>()),
        preseed in btree_map(select(vec!["x/y".to_owned(), "x.y".to_owned()]), Just("1".to_owned()), 0..=1),
    ) -> Settings {
        let mut settings = settings();
        settings.platforms = platforms;
        settings.steps = steps;
        (settings.debian.exclude, settings.debian.packages, settings.debian.preseed) = (exclude, asked, preseed);
        settings.image.user = user;
        settings.python = python.map(|compile| Python { compile, ..Python::default() });
        settings
    }
}

prop_compose! {
    fn lockfiles()(
        environment in environments(),
        packages in packages(),
        (copied, fetched, ids, index, format) in (0..2_u8, 0..2_u8, 0..3_u32, 0..3_u8, 1..3_u32),
        outputs in btree_set(0..2_u8, 0..=1),
    ) -> Lockfile {
        let mut lockfile = Lockfile { environment, format, ..lockfile(packages) };
        for step in lockfile.environment.steps.clone() {
            match step {
                Step::Copy(copy) => lockfile.local.push(Local {
                    from: copy.from,
                    ignore: copy.ignore,
                    sha256: digest(copied),
                    files: copied.into(),
                    size: 1,
                }),
                Step::Fetch(fetch) => {
                    let mut package = package("fetch", fetch.name(), &format!("v{fetched}"));
                    package.origin = "url".to_owned();
                    package.build_for = vec![fetch.place().1.to_owned()];
                    on_each(&mut package, |one| (one.path, one.sha256) = (fetch.place().1.to_owned(), digest(fetched)));
                    lockfile.packages.push(package);
                }
                Step::Run(_) => {}
            }
        }
        if ids > 0 {
            let ids = Ids { users: BTreeMap::from([("app".to_owned(), ids)]), groups: BTreeMap::new() };
            lockfile.accounts.insert(Platform::Amd64, ids);
        }
        if index > 0 {
            lockfile.origins.push(Evidence {
                name: "debian".to_owned(),
                suite: "trixie".to_owned(),
                date: format!("2026-01-0{index}T00:00:00Z"),
                signed_index: digest(index),
                keys: vec![format!("K{}", index / 2)],
                exceptions: Vec::new(),
            });
        }
        lockfile.outputs = outputs.into_iter().map(|image| Output {
            platform: lockfile.environment.platforms[0],
            platform_lock: digest(0),
            image: digest(image),
            manifest_size: None,
            layers: vec![LayerOutput { name: "base".to_owned(), diff_id: digest(image), digest: digest(image), size: 1 }],
        }).collect();
        lockfile.keep_platforms();
        lockfile.normalize();
        lockfile
    }
}

/// Everything that images are a function of, and everything that was seen of packages.
fn content(lockfile: &Lockfile) -> impl PartialEq + std::fmt::Debug {
    let platforms = &lockfile.environment.platforms;
    let locks: Vec<PlatformLock> = platforms.iter().map(|platform| PlatformLock::of("", lockfile, *platform)).collect();
    let mut seen = BTreeSet::new();
    for package in &lockfile.packages {
        for (platform, artifact) in &package.artifacts {
            let key = (package.ecosystem.clone(), package.name.clone(), package.version.clone(), *platform);
            let observed = (artifact.scripts, artifact.scripts_sha256, artifact.size);
            seen.insert((key, observed, artifact.licences.clone(), artifact.diversions.clone()));
        }
    }
    (locks, seen)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_differs_from_itself(lockfile in lockfiles()) {
        let diff = Diff::between(&lockfile, &lockfile);
        prop_assert!(diff.is_empty(), "{:?}", diff);
        let mut shuffled = lockfile.clone();
        shuffled.packages.reverse();
        prop_assert!(Diff::between(&lockfile, &shuffled).is_empty());
    }

    #[test]
    fn exchanged_sides_mirror_it(old in lockfiles(), new in lockfiles()) {
        prop_assert_eq!(Diff::between(&new, &old), Diff::between(&old, &new).mirrored());
    }

    #[test]
    fn it_is_empty_only_for_equals(old in lockfiles(), new in lockfiles()) {
        let diff = Diff::between(&old, &new);
        prop_assert_eq!(diff.is_empty(), old == new, "{:?}", diff);
        prop_assert_eq!(diff.is_content(), content(&old) != content(&new), "{:?}", diff);
    }

    /// Two that are drawn apart are rarely alike; two that differ in one part often are.
    #[test]
    fn one_part_is_told_from_the_others(old in lockfiles(), other in lockfiles(), part in 0..7) {
        let mut new = old.clone();
        match part {
            0 => new.packages = other.packages,
            1 => new.origins = other.origins,
            2 => new.outputs = other.outputs,
            3 => new.accounts = other.accounts,
            4 => new.environment.image = other.environment.image,
            5 => new.environment.python = other.environment.python,
            _ => new.environment.debian = other.environment.debian,
        }
        // What steps fetch goes with the steps.
        new.packages.retain(|package| package.ecosystem != "fetch");
        new.packages.extend(old.packages.iter().filter(|package| package.ecosystem == "fetch").cloned());
        new.keep_platforms();
        new.normalize();
        let diff = Diff::between(&old, &new);
        prop_assert_eq!(diff.is_empty(), old == new, "{:?}", diff);
        prop_assert_eq!(diff.is_content(), content(&old) != content(&new), "{:?}", diff);
        prop_assert_eq!(Diff::between(&new, &old), diff.mirrored());
    }
}
