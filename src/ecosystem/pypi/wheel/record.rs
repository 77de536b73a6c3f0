//! `RECORD`: what a wheel says its files hash to, and what is installed (Recording installed projects).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::archive::Member;
use super::is_record;
use crate::error::{Error, Kind, Result};

/// What a row says of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// `ALGORITHM=VALUE`; empty for what cannot be listed.
    hash: String,
}

/// The rows by path.
pub(super) fn parse(text: &str) -> Result<BTreeMap<String, Row>> {
    let mut rows = BTreeMap::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let (path, rest) = first_field(line).ok_or_else(|| Error::new(format!("its RECORD has the line {line:?}")))?;
        let hash = rest.split(',').next().unwrap_or_default().trim_matches('"').to_owned();
        if rows.insert(path.trim_start_matches("./").to_owned(), Row { hash }).is_some() {
            return Err(Error::new(format!("its RECORD lists {path:?} twice")));
        }
    }
    Ok(rows)
}

/// The first field of a line of comma-separated values (RFC 4180), and what is after it.
fn first_field(line: &str) -> Option<(String, &str)> {
    let Some(mut rest) = line.strip_prefix('"') else {
        let (field, rest) = line.split_once(',')?;
        return Some((field.to_owned(), rest));
    };
    let mut field = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        field += before;
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after.strip_prefix(',')?)),
        }
    }
}

/// Every file must be listed, and everything listed must be there.
pub(super) fn check_names(members: &[Member], listed: &BTreeMap<String, Row>, info: &str) -> Result<()> {
    let there: BTreeSet<&str> = members.iter().map(|member| member.path.as_str()).collect();
    if let Some(path) = there.iter().find(|path| !is_record(path, info) && !listed.contains_key(**path)) {
        return Err(Error::new(format!("its file {path:?} is not listed in its RECORD")).kind(Kind::Corrupt));
    }
    let missing = listed.keys().find(|path| !path.ends_with('/') && !there.contains(path.as_str()));
    match missing {
        Some(path) => Err(Error::new(format!("its RECORD lists {path:?}, which it does not hold")).kind(Kind::Corrupt)),
        None => Ok(()),
    }
}

impl Row {
    /// Compares a file's content with its hash.
    pub fn check(&self, path: &str, content: &[u8]) -> Result<()> {
        let found = match self.hash.split_once('=') {
            Some(("sha256", _)) => base64(&Sha256::digest(content)),
            Some(("sha384", _)) => base64(&Sha384::digest(content)),
            Some(("sha512", _)) => base64(&Sha512::digest(content)),
            Some((algorithm, _)) => {
                return Err(Error::new(format!("its RECORD has a hash of the kind `{algorithm}` for {path:?}"))
                    .hint("sha256 and stronger ones are accepted"));
            }
            None => return Err(Error::new(format!("its RECORD has no hash for {path:?}"))),
        };
        let expected = self.hash.split_once('=').map_or("", |(_, value)| value).trim_end_matches('=');
        if found == expected {
            return Ok(());
        }
        Err(Error::new(format!("{path:?} hashes to {found}, its RECORD says {expected}")).kind(Kind::Corrupt))
    }
}

/// URL-safe base64 without padding (RFC 4648, 5).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(group >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

/// Writes the list of what is installed, sorted by path.
pub(super) struct Writer {
    /// The folder that paths are relative to.
    site: String,
    rows: BTreeMap<String, String>,
}

impl Writer {
    pub fn new(site: &str) -> Self {
        Self { site: site.to_owned(), rows: BTreeMap::new() }
    }

    pub fn add(&mut self, path: &str, content: &[u8]) {
        let row = format!("sha256={},{}", base64(&Sha256::digest(content)), content.len());
        self.rows.insert(self.relative(path), row);
    }

    /// The list, with itself at `path`.
    pub fn finish(mut self, path: &str) -> Vec<u8> {
        self.rows.insert(self.relative(path), ",".to_owned());
        let mut text = String::new();
        for (path, row) in self.rows {
            let quoted = path.contains([',', '"']);
            let path = if quoted { format!("\"{}\"", path.replace('"', "\"\"")) } else { path };
            let _ = writeln!(text, "{path},{row}");
        }
        text.into_bytes()
    }

    /// The path from the folder of modules.
    fn relative(&self, path: &str) -> String {
        let (site, names): (Vec<&str>, Vec<&str>) = (self.site.split('/').collect(), path.split('/').collect());
        let common = site.iter().zip(&names).take_while(|(one, other)| one == other).count();
        let up = std::iter::repeat_n("..", site.len() - common);
        up.chain(names[common..].iter().copied()).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_wheels_write_them() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg");
        assert_eq!(base64(b"fo"), "Zm8");
        assert_eq!(base64(b"foo"), "Zm9v");
        assert_eq!(base64(&[0xfb, 0xff]), "-_8");
    }

    #[test]
    fn quoted_fields_are_read() {
        assert_eq!(first_field("\"a,\"\"b\",x,1"), Some(("a,\"b".to_owned(), "x,1")));
        assert_eq!(first_field("a/b.py,sha256=x,1"), Some(("a/b.py".to_owned(), "sha256=x,1")));
        assert_eq!(first_field("\"a"), None);
    }

    #[test]
    fn paths_are_relative_to_the_modules() {
        let writer = Writer::new("usr/local/lib/python3.13/dist-packages");
        assert_eq!(writer.relative("usr/local/lib/python3.13/dist-packages/x/y.py"), "x/y.py");
        assert_eq!(writer.relative("usr/local/bin/x"), "../../../bin/x");
    }
}
