//! The rows of packages: version, size, and a note for each further thing that is not what it was.

use std::collections::BTreeSet;

use super::row::{Row, Section, letter, on, section};
use super::words::{arrow, delta, members, short};
use crate::cli::output::count;
use crate::lock::diff::{Change, Class};
use crate::lock::{Artifact, Package, Scripts};

/// The row of a package; none if all that changed is that it has been looked into, which is said of all at once.
pub fn row(change: &Change<Package>) -> Option<Row> {
    if change.classes.iter().all(|class| *class == Class::Observed) {
        return None;
    }
    let package = change.any()?;
    let usual = if change.classes.contains(&Class::Base) { Section::Base } else { Section::Packages };
    let kind = if package.ecosystem == "debian" { "deb" } else { &package.ecosystem };
    let mut row = Row::new(section(change, usual), letter(change), kind, &package.name);
    let asked = |side: &Option<Package>| side.as_ref().map(is_asked_for);
    row.letters[1] = match (asked(&change.old), asked(&change.new)) {
        (Some(false), Some(true)) => '+',
        (Some(true), Some(false)) => '-',
        (_, Some(true)) | (Some(true), None) => '*',
        _ => '.',
    };
    row.implied = row.letters[1] == '.';
    let version = |side: &Option<Package>| side.as_ref().map(|package| package.version.clone());
    row.what = arrow(version(&change.old), version(&change.new));
    row.size = size(change);
    row.platforms.clone_from(&change.platforms);
    for class in &change.classes {
        if let Some(note) = note(*class, change) {
            let only = change.only.get(class).map(|platforms| format!(" ({})", on(platforms))).unwrap_or_default();
            row.notes.push(format!("{note}{only}"));
        }
    }
    Some(row)
}

/// Whether the definition asks for it: what is only there to build others is asked for by these.
fn is_asked_for(package: &Package) -> bool {
    package.requested.is_some() && package.build_for.is_empty()
}

/// One row for all packages of which nothing is new but what was seen of them.
pub fn observed(changes: &[Change<Package>]) -> Option<Row> {
    let only = |change: &&Change<Package>| change.classes.iter().all(|class| *class == Class::Observed);
    let number = changes.iter().filter(only).count();
    if number == 0 {
        return None;
    }
    let mut row = Row::new(Section::Beside, 'C', "seen", &count(number, "package"));
    row.what = "what was seen in them (scripts, licences, sizes) is noted on one side only, or more of it".to_owned();
    Some(row)
}

/// The artifacts of both sides on the first platform on which `differs` holds.
fn artifacts(
    change: &Change<Package>,
    differs: impl Fn(&Artifact, &Artifact) -> bool,
) -> Option<(&Artifact, &Artifact)> {
    let (old, new) = (change.old.as_ref()?, change.new.as_ref()?);
    let mut both =
        old.artifacts.iter().filter_map(|(platform, artifact)| Some((artifact, new.artifacts.get(platform)?)));
    both.find(|(old, new)| differs(old, new))
}

fn size(change: &Change<Package>) -> String {
    let of = |side: &Option<Package>| {
        side.as_ref().and_then(|package| package.artifacts.values().next()).map(|artifact| artifact.size)
    };
    match (of(&change.old), of(&change.new)) {
        (Some(old), Some(new)) if old > 0 && new > 0 && old != new => delta(old, new),
        (None, Some(new)) if new > 0 => delta(0, new),
        (Some(old), None) if old > 0 => delta(old, 0),
        _ => String::new(),
    }
}

fn note(class: Class, change: &Change<Package>) -> Option<String> {
    let both = change.old.as_ref().zip(change.new.as_ref());
    Some(match class {
        Class::Rebuilt => {
            let (old, new) = artifacts(change, |old, new| old.sha256 != new.sha256)?;
            format!("same version, other bytes: sha256 {} -> {}", short(&old.sha256), short(&new.sha256))
        }
        Class::Scripts => scripts(change)?,
        Class::Origin => {
            let (old, new) = both?;
            if old.origin == new.origin {
                let (old, new) = artifacts(change, |old, new| old.path != new.path)?;
                format!("same bytes from elsewhere: {} -> {}", old.path, new.path)
            } else {
                format!("origin {} -> {}", old.origin, new.origin)
            }
        }
        Class::Suite => {
            let (old, new) = both?;
            format!("from {} -> {}", old.origin, new.origin)
        }
        Class::Downgraded => "downgraded".to_owned(),
        Class::Licence => {
            let (old, new) = artifacts(change, |old, new| old.licences != new.licences)?;
            format!("licences {}", members(&old.licences, &new.licences))
        }
        Class::Version => "neither version is the later".to_owned(),
        Class::Added if change.any()?.required_by.is_empty() => return None,
        Class::Added | Class::Removed => {
            let by = &change.any()?.required_by;
            if by.is_empty() { return None } else { format!("via {}", by.join(", ")) }
        }
        Class::Selection => {
            if both?.1.requested.is_some() { "now asked for" } else { "asked for no longer" }.to_owned()
        }
        Class::Source => {
            let (old, new) = both?;
            format!("source {} {} -> {} {}", old.source, old.source_version, new.source, new.source_version)
        }
        Class::Placement => format!("differs in {}", placement(change)?),
        Class::Words => words(change)?,
        _ => return None,
    })
}

fn scripts(change: &Change<Package>) -> Option<String> {
    let seen = |one: &Artifact| (one.scripts, one.scripts_sha256, one.diversions.clone());
    let (old, new) = artifacts(change, |old, new| seen(old) != seen(new))?;
    let word = |scripts: Option<Scripts>| match scripts {
        None => "unknown",
        Some(Scripts::None) => "none",
        Some(Scripts::Sandbox) => "run in the sandbox",
        Some(Scripts::Unrun) => "left unrun",
    };
    let mut text = if old.scripts == new.scripts && old.scripts_sha256 == new.scripts_sha256 {
        "the same scripts".to_owned()
    } else if old.scripts == new.scripts {
        let digest = |one: &Artifact| one.scripts_sha256.as_ref().map(short);
        format!("scripts changed: sha256 {}", arrow(digest(old), digest(new)))
    } else {
        format!("scripts: {} -> {}", word(old.scripts), word(new.scripts))
    };
    if old.diversions != new.diversions {
        text.push_str(&format!(", diverts {}", members(&old.diversions, &new.diversions)));
    }
    Some(text)
}

fn placement(change: &Change<Package>) -> Option<String> {
    let (old, new) = (change.old.as_ref()?, change.new.as_ref()?);
    let mut what = BTreeSet::new();
    for (differs, name) in
        [(old.base != new.base, "base"), (old.build_for != new.build_for, "what it is there to build")]
    {
        if differs {
            what.insert(name);
        }
    }
    for (platform, old) in &old.artifacts {
        let Some(new) = new.artifacts.get(platform) else { continue };
        for (differs, name) in [
            (old.architecture != new.architecture, "architecture"),
            (old.places != new.places, "place"),
            (old.links != new.links, "links to programs"),
            (old.built != new.built, "being built from source"),
            (old.built && old.file_name() != new.file_name(), "file name"),
        ] {
            if differs {
                what.insert(name);
            }
        }
    }
    Some(what.into_iter().collect::<Vec<_>>().join(", "))
}

fn words(change: &Change<Package>) -> Option<String> {
    let (old, new) = (change.old.as_ref()?, change.new.as_ref()?);
    let mut words = Vec::new();
    if old.requested != new.requested
        && let (Some(old), Some(new)) = (&old.requested, &new.requested)
    {
        words.push(format!("asked for as `{old}` -> `{new}`"));
    }
    // Another version has other needs, and so have those who need it.
    if old.required_by != new.required_by && old.version == new.version {
        words.push(format!("needed by {}", members(&old.required_by, &new.required_by)));
    }
    if words.is_empty() { None } else { Some(words.join(", ")) }
}
