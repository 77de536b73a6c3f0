//! Checking a tarball against what the registry says of it: Subresource Integrity (W3C), or the SHA-1 of old.

use std::fmt;
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Sha256, Sha384, Sha512};

use crate::error::{Context, Error, Kind, Result};

/// The hash functions, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512].into_iter().find(|one| one.name() == name)
    }

    fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// What content must hash to: one of these hashes, all of the strongest kind that was named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Integrity {
    algorithm: Algorithm,
    /// Sorted, not empty.
    hashes: Vec<Vec<u8>>,
}

impl Integrity {
    /// Reads hashes as `sha512-…`, several with spaces between them. The strongest kind counts; what is unknown
    /// is passed over.
    pub fn parse(text: &str) -> Result<Self> {
        let mut read: Vec<(Algorithm, Vec<u8>)> = Vec::new();
        for word in text.split_ascii_whitespace() {
            let Some((name, rest)) = word.split_once('-') else { continue };
            let Some(algorithm) = Algorithm::parse(name) else { continue };
            let hash = STANDARD.decode(rest.split('?').next().unwrap_or_default()).unwrap_or_default();
            if hash.len() == algorithm.bytes() {
                read.push((algorithm, hash));
            }
        }
        let algorithm = read.iter().map(|(algorithm, _)| *algorithm).max().ok_or_else(|| {
            let shown: String = text.chars().take(120).collect();
            Error::new(format!("`{shown}` holds no hash that is known: `sha512-…` is expected")).kind(Kind::Corrupt)
        })?;
        let mut hashes: Vec<_> = read.into_iter().filter(|(one, _)| *one == algorithm).map(|(_, hash)| hash).collect();
        hashes.sort();
        hashes.dedup();
        Ok(Self { algorithm, hashes })
    }

    /// The SHA-1 that packages of old have, in hexadecimal.
    pub fn from_sha1_hex(text: &str) -> Result<Self> {
        let hash = hex::decode(text).ok().filter(|hash| hash.len() == Algorithm::Sha1.bytes());
        let hash = hash.context(|| format!("`{}` is no SHA-1", text.chars().take(60).collect::<String>()))?;
        Ok(Self { algorithm: Algorithm::Sha1, hashes: vec![hash] })
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether only SHA-1 vouches for the content, for which colliding files can be made.
    pub fn is_weak(&self) -> bool {
        self.algorithm == Algorithm::Sha1
    }

    /// Reads everything and checks it.
    pub fn check(&self, content: &mut dyn Read) -> Result<()> {
        let found = match self.algorithm {
            Algorithm::Sha1 => sha1(content)?,
            Algorithm::Sha256 => hash::<Sha256>(content)?,
            Algorithm::Sha384 => hash::<Sha384>(content)?,
            Algorithm::Sha512 => hash::<Sha512>(content)?,
        };
        if self.hashes.contains(&found) {
            return Ok(());
        }
        let found = Self { algorithm: self.algorithm, hashes: vec![found] };
        Err(Error::new(format!("expected {self}, found {found}")).kind(Kind::Corrupt))
    }
}

fn hash<H: sha2::Digest>(content: &mut dyn Read) -> Result<Vec<u8>> {
    let mut hasher = H::new();
    each(content, |bytes| hasher.update(bytes))?;
    Ok(hasher.finalize().to_vec())
}

fn sha1(content: &mut dyn Read) -> Result<Vec<u8>> {
    use sha1::Digest as _;
    let mut hasher = sha1::Sha1::new();
    each(content, |bytes| hasher.update(bytes))?;
    Ok(hasher.finalize().to_vec())
}

fn each(content: &mut dyn Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match content.read(&mut buffer)? {
            0 => return Ok(()),
            count => take(&buffer[..count]),
        }
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, hash) in self.hashes.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(formatter, "{space}{}-{}", self.algorithm.name(), STANDARD.encode(hash))?;
        }
        Ok(())
    }
}

impl Serialize for Integrity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Integrity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY_SHA512: &str =
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";
    const EMPTY_SHA1: &str = "sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=";

    #[test]
    fn the_strongest_hash_counts() {
        let both = Integrity::parse(&format!("{EMPTY_SHA1} md5-x {EMPTY_SHA512}?opt")).unwrap();
        assert_eq!((both.to_string().as_str(), both.is_weak()), (EMPTY_SHA512, false));
        both.check(&mut io::empty()).unwrap();
        let error = both.check(&mut &b"x"[..]).unwrap_err();
        assert_eq!(error.what(), Kind::Corrupt);
        assert!(error.to_string().starts_with(&format!("expected {EMPTY_SHA512}, found sha512-")), "{error}");
        // A right weak hash does not make up for a wrong strong one.
        let wrong = EMPTY_SHA512.replace("z4Ph", "z4Pi");
        assert!(Integrity::parse(&format!("{EMPTY_SHA1} {wrong}")).unwrap().check(&mut io::empty()).is_err());
        let either = Integrity::parse(&format!("{wrong} {EMPTY_SHA512}")).unwrap();
        either.check(&mut io::empty()).unwrap();
    }

    #[test]
    fn sha1_is_taken_and_known_for_weak() {
        let old = Integrity::from_sha1_hex("da39a3ee5e6b4b0d3255bfef95601890afd80709").unwrap();
        assert_eq!((old.to_string().as_str(), old.is_weak()), (EMPTY_SHA1, true));
        old.check(&mut io::empty()).unwrap();
        for wrong in ["", "sha512-", "sha512-AAAA", "md5-1B2M2Y8AsgTpgAmY7PhCfg==", "sha512"] {
            assert!(Integrity::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Integrity::from_sha1_hex("da39").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,100}") {
            if let Ok(read) = Integrity::parse(&text) {
                prop_assert_eq!(Integrity::parse(&read.to_string()).unwrap(), read);
            }
        }
    }
}
