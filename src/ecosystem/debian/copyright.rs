//! What a package's `copyright` file says of its licences, where it is written for machines
//! (Debian Policy 12.5, "Machine-readable debian/copyright file" 1.0).

use std::collections::BTreeSet;

/// Files of this size and more are not looked at, in bytes: the largest of Debian has some megabytes.
pub const LIMIT: u64 = 8 << 20;
/// How many licences are noted, and how long the expression for one may be.
const MOST: usize = 200;
const LONGEST: usize = 200;

/// Whether the file at `path` is such a file.
pub fn is_copyright(path: &str) -> bool {
    super::rules::matches("usr/share/doc/*/copyright", path)
}

/// The licences by their short names, or the expressions of these, as they are written; none if the file is
/// for people only.
pub fn licences(bytes: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(bytes);
    let field = |line: &str, name: &str| -> Option<String> {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let format = text.lines().find(|line| !line.trim().is_empty()).and_then(|line| field(line, "Format"));
    if !format.is_some_and(|format| format.contains("copyright-format") || format.contains("dep5")) {
        return BTreeSet::new();
    }
    text.lines()
        .filter_map(|line| field(line, "License"))
        .filter(|licence| !licence.is_empty() && licence.len() <= LONGEST)
        .take(MOST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{is_copyright, licences};

    #[test]
    fn short_names_are_found_once_each() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nSource: x\n\n\
            Files: *\nCopyright: someone\nLicense: BSD-3-clause\n\nFiles: a\nLicense:  GPL-2+  or\tMIT\n\n\
            License: BSD-3-clause\n Redistribution: is\n License: not a field\nlicense:\n";
        assert_eq!(licences(text.as_bytes()).into_iter().collect::<Vec<_>>(), ["BSD-3-clause", "GPL-2+ or MIT"]);
        assert!(licences(b"This is free software. License: MIT\nLicense: MIT\n").is_empty());
        assert!(licences(b"").is_empty());
        assert!(licences(&[0xff, 0xfe, b'\n']).is_empty());
    }

    #[test]
    fn only_a_packages_own_file_counts() {
        assert!(is_copyright("usr/share/doc/adduser/copyright"));
        assert!(!is_copyright("usr/share/doc/adduser/examples/copyright"));
    }
}
