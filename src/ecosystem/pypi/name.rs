//! Names of projects and extras, normalised. Knows nothing of versions or files.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// No name is longer, in bytes.
const LONGEST: usize = 200;

/// The normalised name of a project (PEP 503) or of an extra (PEP 685): lower case, with one `-` for each run
/// of `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Whether a text, however it is written, is this name. Faster than reading it.
    pub fn is(&self, text: &str) -> bool {
        let mut own = self.0.bytes();
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let expected = if is_separator(byte) {
                while bytes.next_if(|next| is_separator(*next)).is_some() {}
                b'-'
            } else {
                byte.to_ascii_lowercase()
            };
            if own.next() != Some(expected) {
                return false;
            }
        }
        own.next().is_none()
    }

    /// The name as text, normalised.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    /// Reads a name however it is written (PEP 508, "Names").
    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let inside = |byte: &u8| byte.is_ascii_alphanumeric() || is_separator(*byte);
        if bytes.len() > LONGEST || !ends(bytes.first()) || !ends(bytes.last()) || !bytes.iter().all(inside) {
            let shown: String = text.chars().take(LONGEST).collect();
            return Err(Error::new(format!("`{}` is no name of a package or extra", shown.escape_debug()))
                .hint("names are letters, digits, `-`, `_` and `.`, and begin and end with a letter or digit"));
        }
        let mut name = String::with_capacity(bytes.len());
        let mut separated = false;
        for byte in bytes {
            if is_separator(*byte) {
                separated = true;
                continue;
            }
            if separated {
                name.push('-');
                separated = false;
            }
            name.push(char::from(byte.to_ascii_lowercase()));
        }
        Ok(Self(name.into()))
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'_' | b'.')
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (text, name) in [("Flask", "flask"), ("zope.interface", "zope-interface"), ("A__b.-C", "a-b-c"), ("7", "7")]
        {
            let read: Name = text.parse().unwrap();
            assert_eq!(read.as_str(), name);
            assert!(read.is(text) && read.is(name) && !read.is(&format!("{text}x")) && !read.is("-"));
        }
        for text in ["", "-a", "a-", "a b", "a/b", "..", "é", "a\n", &"a".repeat(201)] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
    }
}
