//! What is left out of an image by named sets of paths, with dpkg's own rules for them.
//!
//! The same sets are written for dpkg inside the image, so that what it installs later is treated alike.

use crate::error::{Error, Result};

/// What a set leaves out and keeps, in order: the last pattern that matches a path decides.
struct Set {
    name: &'static str,
    rules: &'static [(bool, &'static str)],
}

const EXCLUDE: bool = false;
const INCLUDE: bool = true;

const SETS: [Set; 3] = [
    Set {
        name: "docs",
        rules: &[
            (EXCLUDE, "/usr/share/doc/*"),
            (INCLUDE, "/usr/share/doc/*/copyright"),
            (EXCLUDE, "/usr/share/doc-base/*"),
            (EXCLUDE, "/usr/share/info/*"),
            (EXCLUDE, "/usr/share/linda/*"),
            (EXCLUDE, "/usr/share/lintian/*"),
        ],
    },
    Set {
        name: "man",
        // No file matches the second pattern; by the rule of `skips` it keeps the folders `man1` to `man9`, in
        // which `update-alternatives` makes links (OpenJDK's scripts fail without).
        rules: &[(EXCLUDE, "/usr/share/man/*"), (INCLUDE, "/usr/share/man/man*/.folder")],
    },
    Set { name: "locales", rules: &[(EXCLUDE, "/usr/share/locale/*"), (INCLUDE, "/usr/share/locale/locale.alias")] },
];

/// The named sets in force. Equal for equal sets, in whatever order they were named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    rules: Vec<(bool, &'static str)>,
}

impl Exclusions {
    /// The sets with these names: `docs`, `man`, `locales`.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self> {
        for name in names.iter().map(AsRef::as_ref) {
            if !SETS.iter().any(|set| set.name == name) {
                let known: Vec<_> = SETS.iter().map(|set| format!("`{}`", set.name)).collect();
                return Err(Error::new(format!("nothing is known by the name {name:?} that could be excluded"))
                    .hint(format!("known are {}", known.join(", "))));
            }
        }
        let named = SETS.iter().filter(|set| names.iter().any(|name| name.as_ref() == set.name));
        Ok(Self { rules: named.flat_map(|set| set.rules).copied().collect() })
    }

    /// The same rules as lines for a file in `/etc/dpkg/dpkg.cfg.d` (dpkg.cfg(5)); empty if there are none.
    pub fn dpkg_configuration(&self) -> String {
        self.rules
            .iter()
            .map(|(keep, pattern)| format!("path-{}={pattern}\n", if *keep { "include" } else { "exclude" }))
            .collect()
    }

    /// Whether dpkg would not unpack this (dpkg(1), `--path-exclude`). `path` is absolute, as the package
    /// spells it, without a slash at its end.
    ///
    /// A directory, or a symbolic link that may be to one, is unpacked all the same if an include pattern
    /// begins as it does up to the first wildcard: something below it may be wanted.
    pub fn skips(&self, path: &str, directory_or_symlink: bool) -> bool {
        let last = self.rules.iter().rev().find(|(_, pattern)| matches(pattern, path));
        let skipped = last.is_some_and(|(keep, _)| !keep);
        let needed = || {
            self.rules.iter().filter(|(keep, _)| *keep).any(|(_, pattern)| {
                let literal = pattern.split('*').next().unwrap_or_default();
                path.starts_with(literal.trim_end_matches('/'))
            })
        };
        skipped && !(directory_or_symlink && needed())
    }
}

/// Whether `path` is what `pattern` says; `*` is any text, slashes too (fnmatch(3) without flags; the
/// sets use no other wildcard).
fn matches(pattern: &str, path: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = path.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let pieces: Vec<_> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::{Exclusions, matches};

    #[test]
    fn patterns_are_fnmatch_s() {
        assert!(matches("/a/*", "/a/b/c"));
        assert!(matches("/a/*", "/a/"));
        assert!(!matches("/a/*", "/a"));
        assert!(matches("/d/*/copyright", "/d/x/y/copyright"));
        assert!(!matches("/d/*/copyright", "/d/copyright"));
        assert!(!matches("/d/*/copyright", "/d/x/copyright.gz"));
        assert!(matches("/a", "/a") && !matches("/a", "/ab"));
    }

    #[test]
    fn copyright_files_and_directories_stay() {
        let exclusions = Exclusions::new(&["man", "docs"]).unwrap();
        assert!(exclusions.skips("/usr/share/doc/x/README", false));
        assert!(!exclusions.skips("/usr/share/doc/x/copyright", false));
        assert!(!exclusions.skips("/usr/share/doc/x/examples", true));
        assert!(!exclusions.skips("/usr/share/man", true));
        assert!(!exclusions.skips("/usr/share/man/man1", true));
        assert!(exclusions.skips("/usr/share/man/de", true));
        assert!(exclusions.skips("/usr/share/man/man1/x.1.gz", false));
        assert!(!exclusions.skips("/usr/share/locale/de", true));
        // As dpkg has it: the include pattern of `doc` begins as this directory does.
        assert!(!exclusions.skips("/usr/share/doc-base/x", true));
        assert!(exclusions.skips("/usr/share/doc-base/x", false));
    }

    #[test]
    fn the_order_of_names_does_not_matter() {
        let one = Exclusions::new(&["locales", "docs", "docs"]).unwrap();
        assert_eq!(one, Exclusions::new(&["docs", "locales"]).unwrap());
        assert!(one.dpkg_configuration().starts_with("path-exclude=/usr/share/doc/*\npath-include="));
        assert!(Exclusions::new(&["dox"]).unwrap_err().hints()[0].contains("`docs`"));
    }
}
