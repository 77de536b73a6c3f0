//! Which layer a package's part belongs to.
//!
//! Membership is stable: it depends on the package alone, so that adding, removing or growing one moves
//! no other. Small packages share bins by a hash of their source's name, large ones by another set of
//! bins with room for nearly all of them to stand alone. The number of layers stays well under the 127
//! that some engines accept.

use crate::digest::Digest;

/// Bytes of a part's tar stream from which a package is large.
const LARGE: u64 = 8 << 20;
/// Bins of small packages.
const SMALL_BINS: u8 = 8;
/// Bins of large packages.
const LARGE_BINS: u8 = 48;

/// The name of a layer. Layers are stacked in the order of their names' values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bin {
    /// The Essential set.
    Base,
    /// Large packages of a bin.
    Large(u8),
    /// Small packages of a bin.
    Small(u8),
}

impl Bin {
    /// The bin of a package by its source's name and the bytes of its part's tar stream.
    pub fn of(base: bool, source: &str, tar_size: u64) -> Self {
        let hash = Digest::of(source.as_bytes()).as_bytes()[0];
        match (base, tar_size >= LARGE) {
            (true, _) => Self::Base,
            (false, true) => Self::Large(hash % LARGE_BINS),
            (false, false) => Self::Small(hash % SMALL_BINS),
        }
    }

    /// The name in the lockfile and in the image's history.
    pub fn name(self) -> String {
        match self {
            Self::Base => "base".to_owned(),
            Self::Large(number) => format!("debian-large-{number:02}"),
            Self::Small(number) => format!("debian-{number}"),
        }
    }
}

/// Bins of a language's small packages.
const LANGUAGE_SMALL_BINS: u8 = 4;
/// Bins of a language's large packages.
const LANGUAGE_LARGE_BINS: u8 = 8;

/// The name of a layer of a language's packages, stacked as [`Bin`]s are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LanguageBin {
    language: &'static str,
    small: bool,
    number: u8,
}

impl LanguageBin {
    /// The bin of a package by its name and the bytes of its part's tar stream.
    pub fn of(language: &'static str, name: &str, tar_size: u64) -> Self {
        let hash = Digest::of(name.as_bytes()).as_bytes()[0];
        let small = tar_size < LARGE;
        let number = hash % if small { LANGUAGE_SMALL_BINS } else { LANGUAGE_LARGE_BINS };
        Self { language, small, number }
    }

    /// The name in the lockfile and in the image's history.
    pub fn name(self) -> String {
        let kind = if self.small { "" } else { "large-" };
        format!("{}-{kind}{}", self.language, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::Bin;

    #[test]
    fn a_package_stays_where_it_is_whatever_else_there_is() {
        assert_eq!(Bin::of(false, "redis", 1 << 20), Bin::of(false, "redis", 7 << 20));
        assert_eq!(Bin::of(true, "glibc", 100 << 20), Bin::Base);
        assert!(matches!(Bin::of(false, "llvm-toolchain-19", 100 << 20), Bin::Large(_)));
    }

    #[test]
    fn there_are_never_too_many_layers() {
        let bins: std::collections::BTreeSet<Bin> =
            (0..10_000).map(|number| Bin::of(false, &format!("source-{number}"), (number % 2) << 30)).collect();
        assert!(bins.len() < 90, "{}", bins.len());
    }
}
