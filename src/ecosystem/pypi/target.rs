//! What packages are resolved for: an interpreter on a platform, as markers see it (PEP 508). Knows nothing of
//! this machine.

use std::fmt;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};
use pubgrub::Ranges;

use super::ranges;
use crate::error::{Context, Error, Result};

/// A CPython on a Linux with the GNU C library.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    python: Version,
    machine: Machine,
    glibc: (u32, u32),
    markers: MarkerEnvironment,
}

/// A processor, as wheels name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// `x86_64`, `aarch64`: in markers and tags.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

impl Target {
    /// `python` is a full version (`3.13.5`), `architecture` Debian's and OCI's name of the processor
    /// (`amd64`, `arm64`), `glibc` the C library's version.
    pub fn new(python: &str, architecture: &str, glibc: (u32, u32)) -> Result<Self> {
        let what = || format!("the target's Python version `{python}`");
        let version = Version::from_str(python).context(what)?;
        let &[major @ (2 | 3), minor, ..] = version.release() else {
            return Err(Error::new(format!("{} is neither of Python 2 nor of Python 3", what()))
                .hint("it is to be a full version, as `3.13.5` is"));
        };
        let machine = match architecture {
            "amd64" => Machine::X86_64,
            "arm64" => Machine::Aarch64,
            other => {
                return Err(Error::new(format!("no wheels are known for the architecture `{other}`"))
                    .hint("Python packages are for amd64 and arm64"));
            }
        };
        let short = format!("{major}.{minor}");
        let markers = MarkerEnvironment::try_from(MarkerEnvironmentBuilder {
            implementation_name: if major == 2 { "" } else { "cpython" },
            implementation_version: if major == 2 { "0" } else { python },
            os_name: "posix",
            platform_machine: machine.name(),
            platform_python_implementation: "CPython",
            // The kernel is the business of where an image runs.
            platform_release: "",
            platform_system: "Linux",
            platform_version: "",
            python_full_version: python,
            python_version: &short,
            sys_platform: if major == 2 { "linux2" } else { "linux" },
        })
        .context(what)?;
        Ok(Self { python: version, machine, glibc, markers })
    }

    /// The interpreter's full version.
    pub fn python(&self) -> &Version {
        &self.python
    }

    /// Its first two numbers.
    pub fn series(&self) -> (u64, u64) {
        match self.python.release() {
            [major, minor, ..] => (*major, *minor),
            _ => (3, 0),
        }
    }

    /// The processor.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The C library's version.
    pub fn glibc(&self) -> (u32, u32) {
        self.glibc
    }

    /// What markers are evaluated for.
    pub fn markers(&self) -> &MarkerEnvironment {
        &self.markers
    }

    /// Whether something that says `Requires-Python` this can be used. As uv has it, only the lower bound counts:
    /// upper ones were mostly guesses, and would make older releases look better than new ones.
    pub fn allows(&self, requires_python: &VersionSpecifiers) -> bool {
        let range: Ranges<Version> = ranges::python(requires_python);
        let own = self.python.only_release();
        match range.bounding_range() {
            None => true,
            Some((std::ops::Bound::Unbounded, _)) => true,
            Some((std::ops::Bound::Included(least), _)) => own >= *least,
            Some((std::ops::Bound::Excluded(below), _)) => own > *below,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.glibc;
        write!(formatter, "Python {} on {} with glibc {major}.{minor}", self.python, self.machine.name())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lower_bound_of_requires_python_counts() {
        let target = Target::new("3.13.1", "amd64", (2, 41)).unwrap();
        for (text, allowed) in [
            (">=3.13.1", true),
            (">=3.13.2", false),
            (">3.13.1", false),
            (">3.13", true),
            ("<3.9", true),
            ("<=3.8,>=3.6", true),
            ("!=3.13.*", true),
            ("==3.14.*", false),
            ("~=3.12", true),
            (">=4", false),
        ] {
            assert_eq!(target.allows(&VersionSpecifiers::from_str(text).unwrap()), allowed, "{text}");
        }
    }

    #[test]
    fn wrong_targets_are_refused() {
        for (python, architecture) in [("3", "amd64"), ("x", "amd64"), ("4.0.0", "amd64"), ("3.13.5", "riscv64")] {
            assert!(Target::new(python, architecture, (2, 41)).is_err());
        }
        let target = Target::new("2.7.18", "arm64", (2, 41)).unwrap();
        assert_eq!(target.markers().sys_platform(), "linux2");
        assert_eq!(target.to_string(), "Python 2.7.18 on aarch64 with glibc 2.41");
    }
}
