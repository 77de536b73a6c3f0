//! Which packages fit a platform (npm's documentation of package.json: `os`, `cpu`, `libc`, `engines`).

use super::packument::Manifest;
use super::range::Range;
use super::semver::Version;

/// What packages are installed for. The names are Node.js's (`process.platform`, `process.arch`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `x64`, `arm64`.
    pub cpu: String,
    /// `glibc` or `musl`.
    pub libc: String,
}

impl Platform {
    /// Linux with the GNU C library.
    pub fn linux(cpu: &str) -> Self {
        Self { os: "linux".into(), cpu: cpu.into(), libc: "glibc".into() }
    }

    /// Whether a package says that it runs there, or says nothing.
    pub fn fits(&self, manifest: &Manifest) -> bool {
        allows(&manifest.os, &self.os) && allows(&manifest.cpu, &self.cpu) && allows(&manifest.libc, &self.libc)
    }
}

/// The programs that packages are chosen for. What is unknown fits every package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engines {
    pub node: Option<Version>,
    pub npm: Option<Version>,
}

impl Engines {
    /// Whether a package says that it runs with them, or says nothing.
    pub fn fit(&self, manifest: &Manifest) -> bool {
        let fits = |version: &Option<Version>, wanted: &Option<String>| match (version, wanted) {
            (Some(version), Some(wanted)) => {
                Range::parse_with_prereleases(wanted).is_some_and(|range| range.contains_prerelease(version))
            }
            _ => true,
        };
        fits(&self.node, &manifest.engine_node) && fits(&self.npm, &manifest.engine_npm)
    }
}

/// Whether a list of names, some with `!` before them, lets one through.
fn allows(list: &[String], name: &str) -> bool {
    if list.is_empty() || list == ["any"] {
        return true;
    }
    let mut refused = list.iter().filter_map(|entry| entry.strip_prefix('!'));
    if refused.any(|entry| entry == name) {
        return false;
    }
    list.iter().any(|entry| entry == name) || list.iter().all(|entry| entry.starts_with('!'))
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn lists_name_what_fits_or_what_does_not() {
        for (list, expected) in [
            (&[][..], true),
            (&["any"], true),
            (&["linux", "darwin"], true),
            (&["darwin"], false),
            (&["!linux"], false),
            (&["!win32"], true),
            (&["!win32", "darwin"], false),
        ] {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            assert_eq!(allows(&list, "linux"), expected, "{list:?}");
        }
    }
}
