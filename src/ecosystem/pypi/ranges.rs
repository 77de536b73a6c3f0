//! Version specifiers (PEP 440) as sets of versions that can be intersected and compared.
//!
//! A specifier may mean more versions than its text has: `==1.0` also means `1.0+local`, `<1.0` does not mean
//! `1.0a1`. The bounds chosen here are versions that could exist, so equal sets are equal values.

use pep440_rs::{Operator, Prerelease, Version, VersionSpecifier, VersionSpecifiers};
use pubgrub::Ranges;
use std::ops::Bound;

/// A set of versions of one project.
pub type Range = Ranges<Version>;

/// The versions that satisfy all specifiers.
pub fn of(specifiers: &VersionSpecifiers) -> Range {
    specifiers.iter().fold(Range::full(), |range, specifier| range.intersection(&of_one(specifier)))
}

/// Whether the range stands for one public version, as `==1.0` does.
pub fn is_single(range: &Range) -> bool {
    let with_locals = |(least, end): (Bound<&Version>, Bound<&Version>)| match (least, end) {
        (Bound::Included(least), Bound::Excluded(end)) => !least.is_local() && after_locals(least.clone()) == *end,
        _ => false,
    };
    range.as_singleton().is_some() || range.iter().all(with_locals)
}

fn of_one(specifier: &VersionSpecifier) -> Range {
    let version = specifier.version().clone();
    match specifier.operator() {
        Operator::ExactEqual => Range::singleton(version),
        Operator::Equal => equal(version),
        Operator::NotEqual => equal(version).complement(),
        Operator::TildeEqual => {
            let kept = version.release().len().saturating_sub(1);
            let end = following(&version.release()[..kept], version.epoch());
            Range::from_range_bounds(version..end)
        }
        Operator::LessThan if version.any_prerelease() => Range::strictly_lower_than(version),
        // The pre-releases of a version are not meant by what is less than it.
        Operator::LessThan => Range::strictly_lower_than(version.without_local().with_dev(Some(0))),
        Operator::LessThanEqual if version.is_local() => Range::lower_than(version),
        Operator::LessThanEqual => Range::strictly_lower_than(after_locals(version)),
        Operator::GreaterThanEqual => Range::higher_than(version),
        Operator::GreaterThan => greater(version),
        Operator::EqualStar => starred(&version),
        Operator::NotEqualStar => starred(&version).complement(),
    }
}

fn equal(version: Version) -> Range {
    match version.is_local() {
        true => Range::singleton(version),
        false => {
            let end = after_locals(version.clone());
            Range::from_range_bounds(version..end)
        }
    }
}

/// Neither local versions nor post-releases of a version are meant by what is greater than it.
fn greater(version: Version) -> Range {
    let version = version.without_local();
    if let Some(dev) = version.dev() {
        return Range::higher_than(version.with_dev(Some(dev.saturating_add(1))));
    }
    if let Some(post) = version.post() {
        return Range::higher_than(version.with_post(Some(post.saturating_add(1))));
    }
    Range::strictly_higher_than(version.with_max(Some(0)))
}

/// The least version that is above a version and all local versions of it.
pub fn after_locals(version: Version) -> Version {
    let version = version.without_local();
    if let Some(dev) = version.dev() {
        return version.with_dev(Some(dev.saturating_add(1)));
    }
    let post = version.post().map_or(0, |post| post.saturating_add(1));
    version.with_post(Some(post)).with_dev(Some(0))
}

/// `==1.2.*`
fn starred(version: &Version) -> Range {
    let least = version.clone().with_dev(Some(0));
    let end = if let Some(post) = least.post() {
        least.clone().with_post(Some(post.saturating_add(1)))
    } else if let Some(pre) = least.pre() {
        least.clone().with_pre(Some(Prerelease { kind: pre.kind, number: pre.number.saturating_add(1) }))
    } else {
        following(least.release(), least.epoch())
    };
    Range::from_range_bounds(least..end)
}

/// The first version after all that begin with `release`: its earliest pre-release.
fn following(release: &[u64], epoch: u64) -> Version {
    let mut release = release.to_vec();
    match release.last_mut() {
        Some(last) => *last = last.saturating_add(1),
        None => release.push(1),
    }
    Version::new(release).with_epoch(epoch).with_dev(Some(0))
}

/// The versions of Python that satisfy all specifiers. Only the numbers count: `>3.13` means 3.13.1 and not
/// 3.13, and pre-releases of Python are as good as it.
pub fn python(specifiers: &VersionSpecifiers) -> Range {
    specifiers.iter().fold(Range::full(), |range, specifier| {
        let released = pep440_rs::release_specifier_to_range(specifier.clone());
        let bounds = released.iter().map(|(least, end)| (least.clone(), end.clone()));
        range.intersection(&bounds.collect())
    })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> Range {
        of(&VersionSpecifiers::from_str(text).unwrap())
    }

    #[test]
    fn specifiers_mean_what_pep_440_says() {
        for (text, inside, outside) in [
            ("==1.0", "1.0 1.0.0 1.0+a", "1.0.post1 1.0.1 1.0a1"),
            ("!=1.0", "1.0.post1 1.1", "1.0 1.0+a"),
            ("==1.0+a", "1.0+a", "1.0 1.0+b"),
            ("===1.0", "1.0", "1.0+a 1.1"),
            ("<1.0", "0.9 0.9.post1", "1.0a1 1.0.dev1 1.0"),
            ("<1.0a2", "1.0a1 1.0.dev1", "1.0a2 1.0"),
            ("<=1.0", "1.0 1.0+a 1.0a1", "1.0.post1 1.0.1"),
            (">1.0", "1.0.1 1.1a1", "1.0 1.0+a 1.0.post1 1.0.post1.dev1"),
            (">1.0.post1", "1.0.post2 1.1", "1.0.post1 1.0.post1+a"),
            (">1.0a1", "1.0a2 1.0", "1.0a1 1.0a1.post1"),
            (">=1.0", "1.0 1.0+a 1.0.post1", "1.0a1 0.9"),
            ("~=1.4.2", "1.4.2 1.4.9", "1.4.1 1.5 1.5a1"),
            ("~=2.2", "2.2 2.9", "3.0 3.0a1 2.1"),
            ("==1.4.*", "1.4 1.4.9 1.4a1 1.4.post1", "1.5 1.3 1.5.dev1"),
            ("!=1.4.*", "1.5 1.3", "1.4 1.4.1"),
            ("~=1!1.0", "1!1.5", "1.5 1!2.0"),
        ] {
            let range = range(text);
            for version in inside.split(' ') {
                assert!(range.contains(&Version::from_str(version).unwrap()), "{version} is in {text}");
            }
            for version in outside.split(' ') {
                assert!(!range.contains(&Version::from_str(version).unwrap()), "{version} is not in {text}");
            }
        }
    }

    #[test]
    fn one_public_version_is_single() {
        for text in ["==1.0", "===1.0", "==1.0+a", ">=1.0,<=1.0", "==1.0.dev3"] {
            assert!(is_single(&range(text)), "{text}");
        }
        for text in [">=1.0", "==1.*", "!=1.0", ">=1.0,<1.0.1"] {
            assert!(!is_single(&range(text)), "{text}");
        }
    }

    proptest! {
        /// The library's own test of single specifiers agrees, where no local version is involved.
        #[test]
        fn membership_is_that_of_the_specifier(
            operator in "(==|!=|<|<=|>|>=|~=)",
            bound in "[0-2]\\.[0-2](a[01]|\\.post[01]|\\.dev[01])?",
            version in "[0-2](\\.[0-2]){0,2}(a[01]|\\.post[01]|\\.dev[01])?",
        ) {
            let specifier = VersionSpecifier::from_str(&format!("{operator}{bound}")).unwrap();
            let version = Version::from_str(&version).unwrap();
            // PEP 440 is silent on which of a post-release's or pre-release's own relatives `<` and `>` exclude.
            prop_assume!(!matches!(operator.as_str(), "<" | ">") || !specifier.version().any_prerelease());
            // Below a post-release, a range has the pre-releases of its own release as uv has them; the library's
            // test of single specifiers leaves them out.
            prop_assume!(operator != "<" || !specifier.version().is_post() || !version.any_prerelease());
            prop_assert_eq!(of_one(&specifier).contains(&version), specifier.contains(&version));
        }
    }
}
