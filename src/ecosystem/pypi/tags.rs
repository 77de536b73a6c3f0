//! Which wheels a target can use, and which of them it likes best (PEP 425, 600; in the order that pip and uv
//! have). Knows nothing of indexes.

use std::collections::BTreeMap;

use super::filename::Wheel;
use super::target::{Machine, Target};

/// All tags that a target accepts.
#[derive(Clone, Debug)]
pub struct Tags {
    /// Interpreter → binary interface → platform → how much it is liked: more is better.
    known: BTreeMap<String, BTreeMap<String, BTreeMap<String, u32>>>,
}

/// How well a wheel fits; the better, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It is for other interpreters.
    OtherPython,
    /// It is for another binary interface.
    OtherAbi,
    /// It is for other platforms.
    OtherPlatform,
    /// It can be used, and is liked so much.
    Fits(u32),
}

impl Tags {
    /// The tags of a target.
    pub fn of(target: &Target) -> Self {
        let ordered = ordered(target);
        let mut known: BTreeMap<String, BTreeMap<String, BTreeMap<String, u32>>> = BTreeMap::new();
        for (liking, (python, abi, platform)) in (0..).zip(ordered.into_iter().rev()) {
            known.entry(python).or_default().entry(abi).or_default().insert(platform, liking);
        }
        Self { known }
    }

    /// How well a wheel fits the target.
    pub fn fit(&self, wheel: &Wheel) -> Fit {
        let (pythons, abis, platforms) = wheel.tags();
        let mut best = Fit::OtherPython;
        for interfaces in pythons.iter().filter_map(|python| self.known.get(*python)) {
            best = best.max(Fit::OtherAbi);
            for likings in abis.iter().filter_map(|abi| interfaces.get(*abi)) {
                best = best.max(Fit::OtherPlatform);
                for liking in platforms.iter().filter_map(|platform| likings.get(*platform)) {
                    best = best.max(Fit::Fits(*liking));
                }
            }
        }
        best
    }
}

/// The target's tags, the best first.
fn ordered(target: &Target) -> Vec<(String, String, String)> {
    let (major, minor) = target.series();
    let own = format!("cp{major}{minor}");
    let platforms = platforms(target);
    let mut tags = Vec::new();
    let mut add = |python: &str, abi: &str| {
        tags.extend(platforms.iter().map(|platform| (python.to_owned(), abi.to_owned(), platform.clone())));
    };
    add(&own, &abi(major, minor));
    if major == 3 {
        for older in (2..=minor).rev() {
            add(&format!("cp3{older}"), "abi3");
            if older == minor {
                add(&own, "none");
            }
        }
    } else {
        add(&own, "none");
    }
    for older in (0..=minor).rev() {
        add(&format!("py{major}{older}"), "none");
        if older == minor {
            add(&format!("py{major}"), "none");
        }
    }
    let mut any = |python: String| tags.push((python, "none".to_owned(), "any".to_owned()));
    any(own);
    for older in (0..=minor).rev() {
        any(format!("py{major}{older}"));
        if older == minor {
            any(format!("py{major}"));
        }
    }
    tags
}

/// The interpreter's own binary interface: up to 3.7 its name told of the memory allocator, for Python 2 of the
/// width of characters, which Debian and all of Linux built with four bytes.
fn abi(major: u64, minor: u64) -> String {
    let suffix = match (major, minor) {
        (2, _) => "mu",
        (3, ..=7) => "m",
        _ => "",
    };
    format!("cp{major}{minor}{suffix}")
}

/// The platforms, the best first: the newest C library that the target has, down to the oldest that ever had a
/// tag (PEP 600), with the older names of three of them.
fn platforms(target: &Target) -> Vec<String> {
    let machine = target.machine().name();
    let oldest = match target.machine() {
        Machine::X86_64 => 5,
        Machine::Aarch64 => 17,
    };
    let (major, newest) = target.glibc();
    let mut platforms = Vec::new();
    for minor in (oldest..=newest.min(200)).rev() {
        platforms.push(format!("manylinux_{major}_{minor}_{machine}"));
        let older_name = match minor {
            17 => "manylinux2014",
            12 => "manylinux2010",
            5 => "manylinux1",
            _ => continue,
        };
        platforms.push(format!("{older_name}_{machine}"));
    }
    platforms.push(format!("linux_{machine}"));
    platforms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(target: &Target, wheels: &[&'a str]) -> Option<&'a str> {
        let tags = Tags::of(target);
        let fits = |wheel: &&str| match tags.fit(&wheel.parse().unwrap()) {
            Fit::Fits(liking) => Some(liking),
            _ => None,
        };
        wheels.iter().copied().filter(|wheel| fits(wheel).is_some()).max_by_key(fits)
    }

    #[test]
    fn the_closest_wheel_is_the_best() {
        let target = Target::new("3.13.5", "amd64", (2, 41)).unwrap();
        let wheels = [
            "a-1-py3-none-any.whl",
            "a-1-cp313-cp313-linux_x86_64.whl",
            "a-1-cp39-abi3-manylinux_2_28_x86_64.whl",
            "a-1-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "a-1-cp313-cp313-manylinux_2_42_x86_64.whl",
            "a-1-cp313-cp313t-manylinux_2_17_x86_64.whl",
            "a-1-cp314-cp314-manylinux_2_17_x86_64.whl",
            "a-1-cp313-cp313-musllinux_1_2_x86_64.whl",
        ];
        assert_eq!(best(&target, &wheels), Some(wheels[3]));
        assert_eq!(best(&target, &wheels[..3]), Some(wheels[1]));
        assert_eq!(best(&target, &[wheels[0], wheels[2]]), Some(wheels[2]));
        assert_eq!(best(&target, &wheels[4..]), None);
    }

    #[test]
    fn other_targets_have_other_tags() {
        let old = Target::new("2.7.18", "amd64", (2, 31)).unwrap();
        assert_eq!(
            best(&old, &["a-1-cp27-cp27m-manylinux1_x86_64.whl", "a-1-cp27-cp27mu-manylinux1_x86_64.whl"]),
            Some("a-1-cp27-cp27mu-manylinux1_x86_64.whl")
        );
        assert_eq!(best(&old, &["a-1-py2.py3-none-any.whl"]), Some("a-1-py2.py3-none-any.whl"));
        let arm = Target::new("3.7.3", "arm64", (2, 28)).unwrap();
        assert_eq!(
            best(&arm, &["a-1-cp37-cp37m-manylinux2014_aarch64.whl", "a-1-cp37-cp37m-manylinux1_x86_64.whl"]),
            Some("a-1-cp37-cp37m-manylinux2014_aarch64.whl")
        );
        let tags = Tags::of(&arm);
        let fit = |wheel: &str| tags.fit(&wheel.parse().unwrap());
        assert_eq!(fit("a-1-cp38-cp38-any.whl"), Fit::OtherPython);
        assert_eq!(fit("a-1-cp37-cp37dm-linux_aarch64.whl"), Fit::OtherAbi);
        assert_eq!(fit("a-1-cp37-cp37m-win_amd64.whl"), Fit::OtherPlatform);
    }
}
