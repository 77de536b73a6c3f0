//! Why versions are out, and the proof that nothing is left.

use std::fmt;

use pep440_rs::VersionSpecifiers;
use pubgrub::DerivationTree;

use super::package::Package;
use super::universe::Why;
use crate::ecosystem::pypi::ranges::Range;
use crate::ecosystem::pypi::tags::Fit;

/// PubGrub's proof that a request cannot be satisfied.
pub(super) type Tree = DerivationTree<Package, Range, Reason>;

/// Why a version or a project is out for reasons that are not requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The origin does not know the project.
    Unknown,
    Unusable(Why),
    /// It says itself that it needs another Python.
    OtherPython(VersionSpecifiers),
    /// One of its requirements contradicts itself.
    Impossible(String),
    /// It requires something by address, which only people may.
    Address(String),
    /// What it says of itself cannot be used.
    Metadata(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("is not in the index"),
            Self::Unusable(Why::Yanked(reason)) if reason.trim().is_empty() => formatter.write_str("was yanked"),
            Self::Unusable(Why::Yanked(reason)) => {
                let short: String = reason.trim().chars().take(120).collect();
                write!(formatter, "was yanked (\"{}\")", short.escape_debug())
            }
            Self::Unusable(Why::NoWheelFits(fit)) => formatter.write_str(match fit {
                Fit::OtherPython => "has only wheels for other interpreters",
                Fit::OtherAbi => "has only wheels for other binary interfaces",
                Fit::OtherPlatform | Fit::Fits(_) => "has only wheels for other platforms",
            }),
            Self::Unusable(Why::OnlySource) => formatter.write_str("has no wheel, and is not to be built"),
            Self::Unusable(Why::OtherHashes) => formatter.write_str("has no file with a hash that is allowed"),
            Self::OtherPython(requires) => write!(formatter, "needs Python {requires}"),
            Self::Impossible(requirement) => {
                write!(formatter, "requires `{requirement}`, which no version can be")
            }
            Self::Address(requirement) => {
                write!(formatter, "requires `{requirement}`: an address that nobody asked for here")
            }
            Self::Metadata(problem) => write!(formatter, "has metadata that cannot be used ({problem})"),
        }
    }
}
