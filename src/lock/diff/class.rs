//! The kinds of difference between two lockfiles, each with a name that people and programs go by.

use serde::{Serialize, Serializer};

/// One kind of difference. The order is that of how much a reader has to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The same version is other bytes.
    Rebuilt,
    /// The same platform lock gave another image.
    Drift,
    /// A package's own scripts are not what they were.
    Scripts,
    /// The same version, or the same bytes, are had from another place; or another archive is used.
    Origin,
    /// An index is accepted by other keys, or by other exceptions.
    Signature,
    /// An earlier version.
    Downgraded,
    /// A user or group has another number: volumes are owned by numbers.
    Renumbered,
    /// It belongs to what the environment stands on: Debian's Essential set.
    Base,
    /// A later version.
    Upgraded,
    /// Another version, of which the ecosystem does not say whether it is later.
    Version,
    Added,
    Removed,
    /// Other licences are named.
    Licence,
    /// Asked for by name, or no longer.
    Selection,
    /// It is made from another source package.
    Source,
    /// It is for another architecture, placed or linked elsewhere, built, or there for another purpose.
    Placement,
    /// A platform is there, or no longer.
    Platform,
    /// A step: `fetch`, `copy`, `run`.
    Step,
    /// The workspace's own files that are copied.
    Files,
    /// How the image starts.
    Image,
    /// A setting that shapes the image, or the format.
    Settings,
    /// Users and groups that scripts make.
    Accounts,
    /// What was seen of an artifact when it was first fetched and baked is noted on one side only, or more of it.
    Observed,
    /// A later version comes from another suite of the same distribution.
    Suite,
    /// The definition's words, who needs a package, the lockfile's revision: nothing that an image is made of.
    Words,
    /// A signed index is of another day.
    Index,
    /// What is pinned of the images that were baked.
    Output,
    /// An environment is there on one side only.
    Environment,
}

impl Class {
    /// All there are, in their order.
    pub const ALL: [Self; 28] = [
        Self::Rebuilt,
        Self::Drift,
        Self::Scripts,
        Self::Origin,
        Self::Signature,
        Self::Downgraded,
        Self::Renumbered,
        Self::Base,
        Self::Upgraded,
        Self::Version,
        Self::Added,
        Self::Removed,
        Self::Licence,
        Self::Selection,
        Self::Source,
        Self::Placement,
        Self::Platform,
        Self::Step,
        Self::Files,
        Self::Image,
        Self::Settings,
        Self::Accounts,
        Self::Observed,
        Self::Suite,
        Self::Words,
        Self::Index,
        Self::Output,
        Self::Environment,
    ];

    /// The name in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rebuilt => "rebuilt",
            Self::Drift => "drift",
            Self::Scripts => "scripts",
            Self::Origin => "origin",
            Self::Signature => "signature",
            Self::Downgraded => "downgraded",
            Self::Licence => "licence",
            Self::Renumbered => "renumbered",
            Self::Base => "base",
            Self::Upgraded => "upgraded",
            Self::Version => "version",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Selection => "selection",
            Self::Source => "source",
            Self::Placement => "placement",
            Self::Platform => "platform",
            Self::Step => "step",
            Self::Files => "files",
            Self::Image => "image",
            Self::Settings => "settings",
            Self::Accounts => "accounts",
            Self::Observed => "observed",
            Self::Suite => "suite",
            Self::Words => "words",
            Self::Index => "index",
            Self::Output => "output",
            Self::Environment => "environment",
        }
    }

    /// Whether a reader who trusts ordinary updates has to look at it all the same.
    pub fn needs_attention(self) -> bool {
        self <= Self::Renumbered
    }

    /// Whether it means that platform locks or observations differ: what an image is a function of, and what was
    /// seen of its packages.
    pub fn is_content(self) -> bool {
        !matches!(
            self,
            Self::Drift
                | Self::Origin
                | Self::Signature
                | Self::Selection
                | Self::Suite
                | Self::Words
                | Self::Index
                | Self::Output
                | Self::Environment
        )
    }

    /// The class of the same difference seen from the other side.
    #[must_use]
    pub fn mirrored(self) -> Self {
        match self {
            Self::Upgraded => Self::Downgraded,
            Self::Downgraded => Self::Upgraded,
            Self::Added => Self::Removed,
            Self::Removed => Self::Added,
            other => other,
        }
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
