//! SHA-256 digests: the names of everything kiln stores.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A SHA-256 digest. Displays as 64 lower-case hexadecimal digits; [`Digest::oci`] adds `sha256:`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of everything `reader` gives, and how many bytes that was.
    pub fn of_reader(reader: &mut dyn Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::new(io::sink());
        io::copy(&mut io::BufReader::with_capacity(1 << 17, reader), &mut hasher)?;
        let (digest, size, _) = hasher.finish();
        Ok((digest, size))
    }

    /// `sha256:…`, as OCI writes digests (OCI image specification, descriptor, digests).
    pub fn oci(&self) -> String {
        format!("sha256:{self}")
    }

    /// Reads `sha256:…`.
    pub fn from_oci(text: &str) -> Result<Self> {
        text.strip_prefix("sha256:").ok_or_else(|| Error::new(format!("`{text}` is not a sha256 digest")))?.parse()
    }

    /// The hexadecimal digits. Lists of files have thousands of digests, so nothing is allocated for one.
    fn with_digits<T>(&self, act: impl FnOnce(&str) -> T) -> T {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.0, &mut digits).expect("two digits for each byte");
        act(std::str::from_utf8(&digits).expect("digits are ASCII"))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_digits(|digits| formatter.write_str(digits))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let mut bytes = [0; 32];
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(Error::new(format!(
                "`{text}` is not a SHA-256 digest: 64 lower-case hexadecimal digits are expected"
            )));
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.with_digits(|digits| serializer.serialize_str(digits))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_str(Digits)
    }
}

/// Reads the digits where they are.
struct Digits;

impl Visitor<'_> for Digits {
    type Value = Digest;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a SHA-256 digest in hexadecimal")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Digest, E> {
        text.parse().map_err(E::custom)
    }
}

/// A writer that hashes what passes through it.
pub struct Hasher<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W> fmt::Debug for Hasher<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hasher").field("size", &self.size).finish_non_exhaustive()
    }
}

impl<W: Write> Hasher<W> {
    /// Hashes what is written on to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    /// The digest and number of the bytes written, and the inner writer.
    pub fn finish(self) -> (Digest, u64, W) {
        (Digest(self.hasher.finalize().into()), self.size, self.inner)
    }
}

impl<W: Write> Write for Hasher<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A reader that hashes what is read through it.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher<io::Sink>,
}

impl<R: Read> HashingReader<R> {
    /// Hashes what is read of `inner` from now on.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::new(io::sink()) }
    }

    /// The digest and number of the bytes read.
    pub fn finish(self) -> (Digest, u64) {
        let (digest, size, _) = self.hasher.finish();
        (digest, size)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.write_all(&buffer[..count])?;
        Ok(count)
    }
}
