//! In what rounds packages are unpacked and configured.
//!
//! dpkg unpacks a package only once what it pre-depends on is configured (Debian Policy 7.2). apt does what
//! others pre-depend on first, with what that needs, then unpacks all the rest and configures it at once;
//! so does this: the order shows in the numbers that users get. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::overlap::field;
use super::package::StagePackage;

/// Packages to unpack together, then to configure.
#[derive(Debug)]
pub struct Round<'a> {
    pub unpack: Vec<&'a StagePackage>,
    /// Names; in the last round none, and everything is left to configure.
    pub configure: Vec<&'a str>,
}

/// The rounds for packages of one stage. What is outside it counts as configured.
pub fn rounds(packages: &[StagePackage]) -> Vec<Round<'_>> {
    let mut plan = Plan::new(packages);
    let all: BTreeSet<&str> = packages.iter().map(|package| package.unpacked.name.as_str()).collect();
    plan.configure(&plan.wanted(&all, "Pre-Depends"));
    let unpack = plan.unpack(&all);
    plan.rounds.push(Round { unpack, configure: Vec::new() });
    plan.rounds
}

struct Plan<'a> {
    packages: &'a [StagePackage],
    /// By package and field, what it names that is in the stage.
    relations: BTreeMap<(&'a str, &'static str), BTreeSet<&'a str>>,
    unpacked: BTreeSet<&'a str>,
    configured: BTreeSet<&'a str>,
    rounds: Vec<Round<'a>>,
}

impl<'a> Plan<'a> {
    fn new(packages: &'a [StagePackage]) -> Self {
        // By the name of a package or of what it provides.
        let mut named: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for package in packages {
            let name = package.unpacked.name.as_str();
            named.entry(name.to_owned()).or_default().insert(name);
            for provided in names(package, "Provides") {
                named.entry(provided).or_default().insert(name);
            }
        }
        let mut relations = BTreeMap::new();
        for package in packages {
            for kind in ["Depends", "Pre-Depends"] {
                let wanted =
                    names(package, kind).iter().filter_map(|name| named.get(name)).flatten().copied().collect();
                relations.insert((package.unpacked.name.as_str(), kind), wanted);
            }
        }
        Self { packages, relations, unpacked: BTreeSet::new(), configured: BTreeSet::new(), rounds: Vec::new() }
    }

    /// What `names` want by a field.
    fn wanted(&self, names: &BTreeSet<&'a str>, kind: &'static str) -> BTreeSet<&'a str> {
        names.iter().filter_map(|name| self.relations.get(&(*name, kind))).flatten().copied().collect()
    }

    /// Adds the rounds after which `targets` are configured.
    fn configure(&mut self, targets: &BTreeSet<&'a str>) {
        let closure = self.closure(targets);
        // What they pre-depend on comes before; in a circle that is ever the same.
        let before = self.wanted(&closure, "Pre-Depends");
        if before != *targets {
            self.configure(&before);
        }
        let configure: Vec<&'a str> = closure.into_iter().filter(|name| self.configured.insert(name)).collect();
        if !configure.is_empty() {
            let unpack = self.unpack(&configure.iter().copied().collect());
            self.rounds.push(Round { unpack, configure });
        }
    }

    /// `targets` with all that they need, without what is configured.
    fn closure(&self, targets: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        let mut closure = BTreeSet::new();
        let mut more: BTreeSet<&'a str> = targets.difference(&self.configured).copied().collect();
        while !more.is_empty() {
            closure.extend(&more);
            let kinds = ["Depends", "Pre-Depends"].into_iter();
            let next: BTreeSet<&str> = kinds.flat_map(|kind| self.wanted(&more, kind)).collect();
            more = next.into_iter().filter(|name| !closure.contains(name) && !self.configured.contains(name)).collect();
        }
        closure
    }

    /// Those of `names` that are not unpacked yet, in the order of the stage.
    fn unpack(&mut self, names: &BTreeSet<&'a str>) -> Vec<&'a StagePackage> {
        let now = self.packages.iter().filter(|package| names.contains(package.unpacked.name.as_str()));
        now.filter(|package| self.unpacked.insert(&package.unpacked.name)).collect()
    }
}

/// Every package name in a field of relations, alternatives included.
fn names(package: &StagePackage, kind: &str) -> Vec<String> {
    field(&package.unpacked.paragraph, kind)
        .unwrap_or_default()
        .split([',', '|'])
        .filter_map(|relation| relation.trim().split([' ', '(', ':', '[']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::rounds;
    use crate::ecosystem::debian::overlap::tests::package;
    use crate::ecosystem::debian::package::StagePackage;

    fn with(name: &str, fields: &str) -> StagePackage {
        let mut package = package(name, "", &[]);
        package.unpacked.paragraph.push_str(fields);
        package
    }

    fn text(packages: &[StagePackage]) -> Vec<String> {
        rounds(packages)
            .iter()
            .map(|round| {
                let unpack: Vec<&str> = round.unpack.iter().map(|package| package.unpacked.name.as_str()).collect();
                format!("{} / {}", unpack.join(" "), round.configure.join(" "))
            })
            .collect()
    }

    #[test]
    fn without_pre_dependencies_there_is_one_round() {
        assert_eq!(text(&[with("b", "Depends: a\n"), with("a", "Pre-Depends: libc6\n")]), ["b a / "]);
    }

    #[test]
    fn what_is_pre_depended_on_comes_first_with_what_it_needs() {
        let packages = [
            with("init", "Pre-Depends: systemd (>= 1)\n"),
            with("library", "Provides: virtual (= 1), other\n"),
            with("mount", "Depends: library | nothing\n"),
            with("seccomp", ""),
            with("systemd", "Pre-Depends: seccomp:any\nDepends: mount,\n virtual\n"),
            with("z", "Depends: systemd\n"),
        ];
        assert_eq!(
            text(&packages),
            ["seccomp / seccomp", "library mount systemd / library mount systemd", "init z / "]
        );
    }

    #[test]
    fn circles_end() {
        let packages =
            [with("a", "Pre-Depends: b\n"), with("b", "Pre-Depends: c\nDepends: a\n"), with("c", "Pre-Depends: a\n")];
        assert_eq!(text(&packages), ["a b c / a b c", " / "]);
    }
}
