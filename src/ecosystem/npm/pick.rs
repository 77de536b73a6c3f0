//! Which version npm takes where several do: the one tagged `latest` if it will do, else the highest, versions
//! that are deprecated or do not fit the engines last.

use super::packument::{Manifest, Packument};
use super::platform::Engines;
use super::range::Range;
use super::spec::Wanted;
use crate::error::{Error, Result};

/// The version that `wanted` gets; the error ([`Kind::No`](crate::error::Kind::No)) says what there is instead.
pub fn pick<'a>(packument: &'a Packument, wanted: &Wanted, engines: &Engines) -> Result<&'a Manifest> {
    let found = match wanted {
        Wanted::Tag(tag) => packument.tags.get(tag).and_then(|version| packument.versions.get(version)),
        Wanted::Version(version) => packument.versions.values().find(|manifest| manifest.version == *version),
        Wanted::Range(_) => best(packument, wanted, engines),
    };
    found.ok_or_else(|| none(packument, wanted))
}

fn best<'a>(packument: &'a Packument, wanted: &Wanted, engines: &Engines) -> Option<&'a Manifest> {
    let latest = packument.tags.get("latest").and_then(|version| packument.versions.get(version));
    let usable = |manifest: &Manifest| manifest.deprecated.is_none() && engines.fit(manifest);
    if let Some(latest) = latest
        && wanted.accepts(&latest.version)
        && usable(latest)
    {
        return Some(latest);
    }
    // Where any version will do, only the one tagged `latest` may be a prerelease.
    let stable = Wanted::Range(Range::parse("*"));
    let wanted = if *wanted == Wanted::Range(None) { &stable } else { wanted };
    let candidates = packument.versions.values().filter(|manifest| wanted.accepts(&manifest.version));
    candidates.max_by(|one, other| {
        let rank = |manifest: &Manifest| (usable(manifest), engines.fit(manifest), manifest.deprecated.is_none());
        rank(one).cmp(&rank(other)).then_with(|| one.version.cmp(&other.version))
    })
}

fn none(packument: &Packument, wanted: &Wanted) -> Error {
    let name = &packument.name;
    let mut all: Vec<&Manifest> = packument.versions.values().collect();
    all.sort_by(|one, other| one.version.cmp(&other.version));
    let error = match wanted {
        Wanted::Tag(tag) => Error::no(format!("`{name}` has no tag `{tag}`")),
        Wanted::Version(version) => Error::no(format!("`{name}` has no version {version}")),
        Wanted::Range(_) => Error::no(format!("`{name}` has no version that is wanted")),
    };
    let newest: Vec<String> = all.iter().rev().take(5).map(|manifest| manifest.version.to_string()).collect();
    let tags: Vec<&str> = packument.tags.keys().map(String::as_str).take(10).collect();
    match newest.is_empty() {
        true => error.hint(format!("the registry has no version of `{name}` at all")),
        false => error.hint(format!(
            "of {} versions the newest are {}; its tags are {}",
            all.len(),
            newest.join(", "),
            tags.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ecosystem::npm::semver::Version;
    use crate::ecosystem::npm::spec::Spec;

    fn picked(latest: &str, versions: &[(&str, &str, &str)], wanted: &str) -> Result<String> {
        let versions: serde_json::Map<String, serde_json::Value> = versions
            .iter()
            .map(|(version, deprecated, node)| {
                ((*version).to_owned(), json!({"deprecated": deprecated, "engines": {"node": node}}))
            })
            .collect();
        let text = json!({"name": "a", "dist-tags": {"latest": latest, "next": "3.0.0-rc.1"}, "versions": versions});
        let packument = Packument::parse("a", text.to_string().as_bytes()).unwrap();
        let engines = Engines { node: Version::parse("20.1.0"), npm: None };
        pick(&packument, &Spec::parse("a", wanted)?.wanted, &engines).map(|manifest| manifest.version.to_string())
    }

    #[test]
    fn latest_then_usable_then_high() {
        let all = [("1.0.0", "", ""), ("1.1.0", "", ""), ("2.0.0", "", ""), ("2.1.0", "", ""), ("3.0.0-rc.1", "", "")];
        let pick = |wanted: &str| picked("2.0.0", &all, wanted).unwrap();
        assert_eq!(pick("*"), "2.0.0");
        assert_eq!(pick(""), "2.0.0");
        assert_eq!(pick(">=1"), "2.0.0");
        assert_eq!(pick("^1"), "1.1.0");
        assert_eq!(pick("^2.0.1"), "2.1.0");
        assert_eq!(pick("next"), "3.0.0-rc.1");
        assert_eq!(pick("=1.0.0"), "1.0.0");
        assert_eq!(picked("3.0.0-rc.1", &all, "*").unwrap(), "3.0.0-rc.1");
        assert_eq!(picked("3.0.0-rc.1", &all, ">=1").unwrap(), "2.1.0");
    }

    #[test]
    fn deprecated_and_unfit_versions_come_last() {
        let all = [("1.0.0", "", ""), ("1.1.0", "old", ""), ("1.2.0", "", ">=22"), ("1.3.0", "old", ">=22")];
        assert_eq!(picked("1.3.0", &all, "^1").unwrap(), "1.0.0");
        assert_eq!(picked("1.3.0", &all[1..], "^1").unwrap(), "1.1.0");
        assert_eq!(picked("1.3.0", &all[2..], "^1").unwrap(), "1.2.0");
        assert_eq!(picked("1.3.0", &all, "1.3.0").unwrap(), "1.3.0");
    }

    #[test]
    fn what_is_missing_is_said_with_what_there_is() {
        let error = picked("1.0.0", &[("1.0.0", "", "")], "^2").unwrap_err();
        assert_eq!(error.what(), crate::error::Kind::No);
        assert_eq!(error.hints(), ["of 1 versions the newest are 1.0.0; its tags are latest, next"]);
        assert!(picked("1.0.0", &[("1.0.0", "", "")], "beta").unwrap_err().to_string().contains("no tag `beta`"));
        assert!(picked("1.0.0", &[], "1.0.0").is_err());
    }
}
