//! Packages: which became which, and in what they differ. Each platform is compared by itself, and what is the same
//! on several is put together.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use pep440_rs::Version;

use super::pairs::{Pair, Pairs};
use super::{Change, Class, everywhere};
use crate::ecosystem::debian::version;
use crate::ecosystem::npm::semver;
use crate::lock::model::{Artifact, Lockfile, Package, Scripts};
use crate::workspace::Platform;

/// A package on one platform.
#[derive(Clone, Copy, Debug)]
struct Pin<'a> {
    package: &'a Package,
    artifact: &'a Artifact,
}

/// What changes are put together by: the package as either side has it, platforms apart, and which of those that look
/// alike on one platform it is.
type Key = (String, String, String, String, usize);

/// A package that differs on one platform.
struct Found<'a> {
    platform: Platform,
    pair: Pair<Pin<'a>>,
    classes: BTreeSet<Class>,
}

/// The packages that differ on the platforms `common`, and how many do not.
pub fn compare(old: &Lockfile, new: &Lockfile, common: &[Platform]) -> (Vec<Change<Package>>, usize) {
    let mut found: BTreeMap<Key, Vec<Found<'_>>> = BTreeMap::new();
    let (mut same, mut touched) = (BTreeSet::new(), BTreeSet::new());
    for platform in common {
        let mut alike: BTreeMap<Key, usize> = BTreeMap::new();
        let (before, after) = (pins(old, *platform), pins(new, *platform));
        for name in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let of = |pins: &BTreeMap<_, Vec<_>>| pins.get(name).cloned().unwrap_or_default();
            for pair in paired(of(&before), of(&after)) {
                let classes = classes(pair);
                let known = if classes.is_empty() { &mut same } else { &mut touched };
                let sides = [pair.0, pair.1].into_iter().flatten().map(|pin| pin.package);
                known.extend(sides.map(|package| (&package.ecosystem, &package.name, &package.version)));
                if !classes.is_empty() {
                    let mut key = key(pair);
                    let count = alike.entry(key.clone()).or_default();
                    key.4 = *count;
                    *count += 1;
                    found.entry(key).or_default().push(Found { platform: *platform, pair, classes });
                }
            }
        }
    }
    let changes = found.into_values().map(|on| together(&on, common, old));
    let mut changes: Vec<_> = changes.collect();
    changes.sort_by_cached_key(order);
    (changes, same.difference(&touched).count())
}

/// What changes are sorted by: the same with the sides exchanged.
fn order(change: &Change<Package>) -> (String, String, Vec<Platform>, Vec<String>) {
    let sides = || [&change.old, &change.new].into_iter().flatten();
    let name = sides().next().map(|package| (package.ecosystem.clone(), package.name.clone())).unwrap_or_default();
    let mut words: Vec<String> = sides().map(|package| format!("{} {package:?}", package.version)).collect();
    words.sort_unstable();
    (name.0, name.1, change.platforms.clone(), words)
}

fn pins(lockfile: &Lockfile, platform: Platform) -> BTreeMap<(&str, &str), Vec<Pin<'_>>> {
    let mut pins: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in &lockfile.packages {
        if let Some(artifact) = package.artifacts.get(&platform) {
            pins.entry((package.ecosystem.as_str(), package.name.as_str()))
                .or_default()
                .push(Pin { package, artifact });
        }
    }
    // The lockfile's order of these depends on other platforms.
    for pins in pins.values_mut() {
        pins.sort_by_key(|pin| {
            (&pin.package.version, &pin.package.build_for, &pin.artifact.places, pin.artifact.sha256)
        });
    }
    pins
}

/// Which package became which, of several of one name: npm has several versions side by side, and Python's builds
/// each have tools of their own.
fn paired<'a>(old: Vec<Pin<'a>>, new: Vec<Pin<'a>>) -> Vec<Pair<Pin<'a>>> {
    Pairs::new(old, new)
        .by(|pin| Some((&pin.package.version, pin.artifact.sha256, &pin.package.build_for, &pin.artifact.places)))
        .by(|pin| Some((&pin.package.version, pin.artifact.sha256)))
        .by(|pin| Some((&pin.package.version, &pin.package.build_for, &pin.artifact.places)))
        .by(|pin| Some(&pin.package.version))
        .by(|pin| Some((&pin.package.build_for, &pin.artifact.places)))
        .by(|_| Some(()))
        .finish()
}

fn classes(pair: Pair<Pin<'_>>) -> BTreeSet<Class> {
    let mut classes = BTreeSet::new();
    match pair {
        (Some(old), Some(new)) => {
            version_classes(old, new, &mut classes);
            package_classes(old.package, new.package, &mut classes);
            artifact_classes(old.artifact, new.artifact, &mut classes);
        }
        (None, Some(_)) => classes.extend([Class::Added]),
        (Some(_), None) => classes.extend([Class::Removed]),
        (None, None) => {}
    }
    let below = |pin: Pin<'_>| pin.package.base || pin.package.ecosystem == "image";
    let stood_on = [pair.0, pair.1].into_iter().flatten().any(below);
    if stood_on && classes.iter().any(|class| class.is_content() && *class != Class::Observed) {
        classes.insert(Class::Base);
    }
    classes
}

fn version_classes(old: Pin<'_>, new: Pin<'_>, classes: &mut BTreeSet<Class>) {
    let (before, after) = (old.package, new.package);
    let same_bytes = old.artifact.sha256 == new.artifact.sha256;
    let same_version = before.version == after.version;
    if after.ecosystem == "image" {
        // What it is called, and what else is under that name, says nothing of its bytes.
        let words = |package: &Package| (package.version.clone(), package.source.clone(), package.origin.clone());
        if !same_bytes {
            classes.insert(Class::Version);
        } else if words(before) != words(after) || before.source_version != after.source_version {
            classes.insert(Class::Words);
        }
        return;
    }
    if !same_version {
        classes.insert(match compare_versions(&before.ecosystem, &before.version, &after.version) {
            Some(Ordering::Less) => Class::Upgraded,
            Some(Ordering::Greater) => Class::Downgraded,
            _ => Class::Version,
        });
    } else if !same_bytes {
        classes.insert(Class::Rebuilt);
    }
    let moved = same_bytes && old.artifact.path != new.artifact.path;
    if before.origin != after.origin || moved {
        let ordinary = !same_version && !same_bytes && distribution(&before.origin) == distribution(&after.origin);
        classes.insert(if ordinary { Class::Suite } else { Class::Origin });
    }
    if before.source != after.source || (same_version && before.source_version != after.source_version) {
        classes.insert(Class::Source);
    }
}

/// The archive of an origin as `debian-security/trixie-security`; Debian's own count as one.
fn distribution(origin: &str) -> &str {
    let name = origin.split('/').next().unwrap_or_default();
    if name == "debian-security" { "debian" } else { name }
}

/// The order of two versions as their ecosystem has it; nothing if they are no versions there.
fn compare_versions(ecosystem: &str, old: &str, new: &str) -> Option<Ordering> {
    match ecosystem {
        "debian" => Some(version::compare(old, new)),
        "pypi" => Some(old.parse::<Version>().ok()?.cmp(&new.parse().ok()?)),
        "npm" => Some(semver::Version::parse(old)?.cmp(&semver::Version::parse(new)?)),
        _ => None,
    }
    .filter(|order| order.is_ne())
}

fn package_classes(old: &Package, new: &Package, classes: &mut BTreeSet<Class>) {
    if old.requested.is_some() != new.requested.is_some() {
        classes.insert(Class::Selection);
    } else if old.requested != new.requested {
        classes.insert(Class::Words);
    }
    if old.required_by != new.required_by {
        classes.insert(Class::Words);
    }
    if old.base != new.base || old.build_for != new.build_for {
        classes.insert(Class::Placement);
    }
}

fn artifact_classes(old: &Artifact, new: &Artifact, classes: &mut BTreeSet<Class>) {
    let shape = |one: &Artifact| {
        (one.architecture.clone(), one.places.clone(), one.links.clone(), one.built, one.blobs.clone())
    };
    let renamed = old.built && new.built && old.sha256 == new.sha256 && old.file_name() != new.file_name();
    // The blobs of an image are those that its manifest names.
    let same_image = !old.blobs.is_empty() && !new.blobs.is_empty() && old.sha256 != new.sha256;
    if (shape(old) != shape(new) && !same_image) || renamed {
        classes.insert(Class::Placement);
    }
    if old.sha256 == new.sha256 && old.size != new.size {
        classes.insert(Class::Observed);
    }
    if !observed(old) || !observed(new) {
        let seen = |one: &Artifact| (one.scripts, one.scripts_sha256, one.licences.clone(), one.diversions.clone());
        if seen(old) != seen(new) {
            classes.insert(Class::Observed);
        }
        return;
    }
    // The same bytes name the same licences and divert the same files: only more may have been looked for.
    let same = old.sha256 == new.sha256;
    let same_scripts = (old.scripts, old.scripts_sha256) == (new.scripts, new.scripts_sha256);
    if !same_scripts || (old.diversions != new.diversions && !same) {
        classes.insert(Class::Scripts);
    } else if old.diversions != new.diversions {
        classes.insert(Class::Observed);
    }
    if old.licences != new.licences {
        classes.insert(if same { Class::Observed } else { Class::Licence });
    }
}

/// Whether the artifact has been looked into. Of npm's, only its index has said whether there are scripts.
fn observed(artifact: &Artifact) -> bool {
    match artifact.scripts {
        None => false,
        Some(Scripts::None) => true,
        Some(_) => artifact.scripts_sha256.is_some(),
    }
}

fn key((old, new): Pair<Pin<'_>>) -> Key {
    let name = old.or(new).map(|pin| (pin.package.ecosystem.clone(), pin.package.name.clone())).unwrap_or_default();
    let of = |pin: Option<Pin<'_>>| {
        // Its words are never empty, unlike those of a package that is not there.
        let without = |pin: Pin<'_>| format!("{:?}", Package { artifacts: BTreeMap::new(), ..pin.package.clone() });
        pin.map(without).unwrap_or_default()
    };
    (name.0, name.1, of(old), of(new), 0)
}

/// One change for all platforms on which a package changed alike.
fn together(found: &[Found<'_>], common: &[Platform], lockfile: &Lockfile) -> Change<Package> {
    let mut classes: BTreeMap<Class, Vec<Platform>> = BTreeMap::new();
    for one in found {
        for class in &one.classes {
            classes.entry(*class).or_default().push(one.platform);
        }
    }
    let all = classes.keys().copied().collect();
    classes.retain(|_, platforms| platforms.len() < found.len());
    Change {
        classes: all,
        only: classes,
        platforms: everywhere(found.iter().map(|one| one.platform).collect(), common, lockfile),
        old: package(found.iter().filter_map(|one| Some((one.platform, one.pair.0?)))),
        new: package(found.iter().filter_map(|one| Some((one.platform, one.pair.1?)))),
    }
}

/// A package with its artifacts on these platforms.
fn package<'a>(pins: impl Iterator<Item = (Platform, Pin<'a>)>) -> Option<Package> {
    let mut package: Option<Package> = None;
    for (platform, pin) in pins {
        let package = package.get_or_insert_with(|| Package { artifacts: BTreeMap::new(), ..pin.package.clone() });
        package.artifacts.insert(platform, pin.artifact.clone());
    }
    package
}
