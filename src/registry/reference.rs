//! Names of images in registries: `registry.example.org/team/name:tag@sha256:…`.

use std::fmt;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The registry that names without one mean to Docker's users, and the host that serves it.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// An image in a registry, by tag or digest (OCI distribution specification, pulling manifests).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `registry.example.org`, `localhost:5000`.
    pub registry: String,
    /// `team/name`.
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads `REGISTRY/REPOSITORY[:TAG][@sha256:…]`. The registry has to be named: a name means the same everywhere.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::new(format!("`{}` names no image in a registry: {why}", text.escape_debug()))
                .hint("images are named as in `registry.example.org/team/name:tag` or `localhost:5000/name@sha256:…`")
        };
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let hex = digest.strip_prefix("sha256:").ok_or_else(|| wrong("its digest is not one of sha256"))?;
                (name, Some(hex.parse().map_err(|_| wrong("its digest has not 64 digits"))?))
            }
        };
        let (registry, rest) = name.split_once('/').ok_or_else(|| wrong("no registry is named"))?;
        let named = registry.contains(['.', ':']) || registry == "localhost";
        if !named || registry.is_empty() {
            return Err(wrong("no registry is named"));
        }
        if !is_host(registry) {
            return Err(wrong("its registry is not a host with or without a port"));
        }
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !repository.split('/').all(is_component) {
            return Err(wrong("its repository's names are of lower-case letters, digits and single `.`, `_`, `-`"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("its tag is of letters, digits, `.`, `_` and `-`, at most 128"));
        }
        let repository = match registry == DOCKER.0 && !repository.contains('/') {
            true => format!("library/{repository}"),
            false => repository.to_owned(),
        };
        if repository.len() > 255 {
            return Err(wrong("its repository's name has more than 255 letters"));
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }

    /// The host, and the port if one is named, that serves the registry.
    pub fn host(&self) -> &str {
        if self.registry == DOCKER.0 { DOCKER.1 } else { &self.registry }
    }

    /// `REGISTRY/REPOSITORY`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What a manifest is asked for by: the digest, else the tag, else `latest`.
    pub fn manifest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.oci(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    /// The same repository, by this digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(formatter, "@{}", digest.oci()))
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            host.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        }
    };
    good && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    let known = bytes
        .iter()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-'));
    let doubled = ["..", "._", "_.", ".-", "-.", "_-", "-_", "___"].iter().any(|pair| text.contains(pair));
    edge(bytes.first()) && edge(bytes.last()) && known && !doubled
}

fn is_tag(text: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| letter(&byte)) && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::Reference;

    const HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn references_are_read_and_written() {
        for text in [
            "registry.example.org/team/name:1.2",
            "localhost:5000/a",
            "localhost/a",
            "[::1]:5000/a__b/c.d-e:T_1",
            &format!("a.b/c:tag@sha256:{HEX}"),
            &format!("127.0.0.1:80/c@sha256:{HEX}"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
        let short = Reference::parse("docker.io/debian").unwrap();
        assert_eq!((short.to_string().as_str(), short.host()), ("docker.io/library/debian", "registry-1.docker.io"));
        assert_eq!(short.manifest(), "latest");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "debian",
            "debian:trixie",
            "team/name",
            "a.b/",
            "a.b//c",
            "a.b/C",
            "a.b/c:",
            "a.b/c:.t",
            "a.b/../c",
            "a.b/c@sha256:12",
            "a.b/c@sha512:12",
            "a.b:0/c",
            "a.b:x/c",
            "-a.b/c",
            "a..b/c",
            "user:pass@a.b/c",
            "http://a.b/c",
            "a.b/c d",
            "a.b/c?x=y",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
