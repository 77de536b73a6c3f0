//! Addresses that never show a password, and the credentials taken out of them.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::error::{Context, Error, Result};

/// No address is longer, in bytes.
const LONGEST: usize = 16 << 10;

/// An `http`, `https` or `file` URL without user, password or fragment. Its display leaves out the value of a
/// query, which may hold a token.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(Url);

/// What proves to a server who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// HTTP Basic (RFC 7617).
    Basic { user: String, password: String },
    /// A bearer token (RFC 6750).
    Bearer(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

impl Address {
    /// Reads a URL and takes the credentials out of it.
    pub fn parse(text: &str) -> Result<(Self, Option<Credentials>)> {
        // The text may hold a password: it is not repeated.
        let too_long = |text: &str| {
            let message = format!("this address has {} bytes, more than the {LONGEST} allowed", text.len());
            (text.len() > LONGEST).then(|| Error::new(message))
        };
        if let Some(error) = too_long(text) {
            return Err(error);
        }
        let mut url = Url::parse(text).context(|| "this address is not a URL")?;
        // What is not ASCII becomes longer.
        if let Some(error) = too_long(url.as_str()) {
            return Err(error);
        }
        url.set_fragment(None);
        if !matches!(url.scheme(), "http" | "https" | "file") {
            return Err(Error::new(format!("`{}:` addresses are not supported: http, https or file is", url.scheme())));
        }
        if url.scheme() != "file" && url.host_str().is_none_or(str::is_empty) {
            return Err(Error::new(format!("the address `{url}` names no host")));
        }
        let credentials = (!url.username().is_empty() || url.password().is_some()).then(|| Credentials::Basic {
            user: percent_decoded(url.username()),
            password: percent_decoded(url.password().unwrap_or_default()),
        });
        // Both fail only for URLs that can hold neither.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok((Self(url), credentials))
    }

    /// The address of `path`, relative, below this one: `/a` and `b/c` give `/a/b/c`.
    ///
    /// Each segment of the path is taken as it is; `.` and `..` and empty ones are refused.
    pub fn below(&self, path: &str) -> Result<Self> {
        if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) || path.contains('\\') {
            return Err(Error::new(format!("`{path}` is not a plain relative path")));
        }
        let mut url = self.0.clone();
        url.path_segments_mut()
            .map_err(|()| Error::new(format!("nothing can be below {self}")))?
            .pop_if_empty()
            .extend(path.split('/'));
        Ok(Self(url))
    }

    /// The same address as that of a folder: with a slash at its end.
    pub fn as_folder(&self) -> Self {
        let mut url = self.0.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("");
        }
        Self(url)
    }

    /// The same address with these fields in its query besides those it has.
    pub fn with_query(&self, fields: &[(&str, &str)]) -> Self {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(fields);
        Self(url)
    }

    /// Where a redirect to `location`, or a header that names another address, leads. Only `http` and `https`.
    pub fn redirected(&self, location: &str) -> Result<Self> {
        let joined = self.0.join(location).context(|| "a redirect leads to what is not a URL")?;
        if !matches!(joined.scheme(), "http" | "https") {
            return Err(Error::new(format!("a redirect from {self} leads to a `{}:` address", joined.scheme())));
        }
        // Credentials that a redirect brings along are not ours to send.
        Ok(Self::parse(joined.as_str())?.0)
    }

    /// The local file that a `file` address names.
    pub fn file_path(&self) -> Option<PathBuf> {
        (self.0.scheme() == "file").then(|| self.0.to_file_path().ok()).flatten()
    }

    /// The URL as text, its query included: for requests and comparisons, not for people.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// `http`, `https` or `file`.
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// The host's name; empty for files.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, also where the scheme implies it.
    pub fn port(&self) -> Option<u16> {
        self.0.port_or_known_default()
    }

    /// The path, percent-encoded.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// Whether both are served by the same host and port, in the same way.
    pub fn same_server(&self, other: &Self) -> bool {
        self.scheme() == other.scheme() && self.host() == other.host() && self.port() == other.port()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        url.set_query(self.0.query().map(|_| "…"));
        formatter.write_str(&url.as_str().replace("?%E2%80%A6", "?…"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// Undoes percent-encoding (RFC 3986, 2.1).
pub fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digits = bytes.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[index] == b'%' => {
                out.push(byte);
                index += 3;
            }
            _ => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_and_queries_are_never_shown() {
        let (address, credentials) = Address::parse("https://me:p%40ss@example.org/a?token=secret#x").unwrap();
        assert_eq!(address.to_string(), "https://example.org/a?…");
        assert_eq!(format!("{address:?} {credentials:?}"), "https://example.org/a?… Some(Basic(…))");
        assert_eq!(credentials, Some(Credentials::Basic { user: "me".into(), password: "p@ss".into() }));
        let error = Address::parse("ht!tp://me:secret@host/").unwrap_err();
        assert!(!error.to_string().contains("secret"));
        assert!(!Address::parse("ftp://me:secret@host/").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn paths_stay_below() {
        let (address, _) = Address::parse("http://h/debian/").unwrap();
        assert_eq!(
            address.below("pool/main/g/g++ 1.deb").unwrap().to_string(),
            "http://h/debian/pool/main/g/g++%201.deb"
        );
        for hostile in ["../x", "a//b", "/etc/passwd", "a/./b", "", "a\\..\\b"] {
            assert!(address.below(hostile).is_err(), "{hostile}");
        }
        assert!(address.below("a?b#c").unwrap().as_str().ends_with("/a%3Fb%23c"));
        assert!(address.redirected("file:///etc/passwd").is_err());
    }
}
