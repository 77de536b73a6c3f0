//! Which version of a package is the candidate: apt_preferences(5) in a root that starts empty.

use super::index::Release;
use super::universe::{Name, Universe, Version};

/// apt's priority of a release: the user's own, or 500; 1 for `NotAutomatic`, 100 if upgrades are automatic
/// nevertheless (apt_preferences(5), "APT's Default Priority Assignments").
pub fn priority(release: &Release) -> i32 {
    match release {
        Release { priority: Some(priority), .. } => *priority,
        Release { but_automatic_upgrades: true, .. } => 100,
        Release { not_automatic: true, .. } => 1,
        _ => 500,
    }
}

/// The candidate of every package in an empty root, by name.
pub(super) fn candidates(universe: &Universe) -> &[Option<Version>] {
    universe
        .candidates
        .get_or_init(|| (0..universe.name_count() as Name).map(|name| candidate(universe, name, None)).collect())
}

/// The version with the highest priority, of those the highest; none if all priorities are negative or 0.
///
/// With `installed`, a lower version only counts from priority 1000 on.
pub(super) fn candidate(universe: &Universe, name: Name, installed: Option<Version>) -> Option<Version> {
    let mut best = None;
    let mut best_priority = -1;
    for version in universe.versions(name) {
        let mut priority =
            universe.indexes_of(version).map(|index| priority(index.release())).max().unwrap_or_default();
        if installed == Some(version) {
            // The status file is an index of priority 100.
            priority = priority.max(100);
        }
        if priority == 0 || priority <= best_priority {
            continue;
        }
        let lower = installed.is_some_and(|now| {
            super::version::compare(universe.version(version), universe.version(now)) == std::cmp::Ordering::Less
        });
        if lower && priority < 1000 {
            continue;
        }
        best_priority = priority;
        best = Some(version);
    }
    best
}

/// Whether what a user writes after the `/` of `name/suite` means this release: its suite, codename or version
/// (a final `*` stands for anything), or apt's long form `a=…,n=…,o=…,l=…,c=…,v=…`.
pub fn matches(release: &Release, wanted: &str) -> bool {
    if !wanted.contains('=') {
        return if wanted.starts_with(|first: char| first.is_ascii_digit()) {
            fits(wanted, &release.version)
        } else {
            fits(wanted, &release.suite) || fits(wanted, &release.codename)
        };
    }
    let mut known = false;
    for part in wanted.split(',') {
        let Some((key, value)) = part.trim().split_once('=') else { return false };
        let field = match key {
            "a" => &release.suite,
            "n" => &release.codename,
            "o" => &release.vendor,
            "l" => &release.label,
            "c" => &release.component,
            "v" => &release.version,
            _ => return false,
        };
        if !fits(value, field) {
            return false;
        }
        known = true;
    }
    known
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => text.to_ascii_lowercase().starts_with(&prefix.to_ascii_lowercase()),
        None => !text.is_empty() && pattern.eq_ignore_ascii_case(text),
    }
}

/// The highest version that an index of the wanted release has.
pub(super) fn version_from(universe: &Universe, name: Name, wanted: &str) -> Option<Version> {
    universe.versions(name).find(|&version| universe.indexes_of(version).any(|index| matches(index.release(), wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release() -> Release {
        Release {
            suite: "stable-backports".into(),
            codename: "trixie-backports".into(),
            vendor: "Debian Backports".into(),
            version: "13.1".into(),
            component: "main".into(),
            ..Release::default()
        }
    }

    #[test]
    fn default_priorities() {
        assert_eq!(priority(&release()), 500);
        assert_eq!(priority(&Release { not_automatic: true, ..release() }), 1);
        assert_eq!(priority(&Release { not_automatic: true, but_automatic_upgrades: true, ..release() }), 100);
        assert_eq!(priority(&Release { not_automatic: true, priority: Some(990), ..release() }), 990);
    }

    #[test]
    fn release_names() {
        for good in
            ["trixie-backports", "stable-backports", "13.1", "13*", "trixie*", "n=trixie-backports,c=main", "a=stable*"]
        {
            assert!(matches(&release(), good), "{good}");
        }
        for bad in ["trixie", "stable", "13", "n=trixie-backports,c=contrib", "x=1", "", "main"] {
            assert!(!matches(&release(), bad), "{bad}");
        }
    }
}
