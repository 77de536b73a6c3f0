//! Package indexes as files: unpacked with limits, and kept in the store in a form that is fast to read.
//!
//! Archives compress them with xz, which takes seconds to unpack; the store keeps them with zstd at its fastest.

use std::io::Read;

use serde::{Deserialize, Serialize};

use super::release::File;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::store::Store;

/// No index unpacks to more, in bytes.
const LARGEST: u64 = 1 << 30;
/// What xz may use to unpack, in bytes.
const XZ_MEMORY: u64 = 256 << 20;
const KIND: &str = "debian-index";

/// How an index is compressed, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Xz,
    Zstd,
    Gzip,
    None,
}

impl Compression {
    pub const ALL: [Self; 4] = [Self::Xz, Self::Zstd, Self::Gzip, Self::None];

    /// What the file's name ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::None => "",
        }
    }

    /// Unpacks; what gives more than `limit` bytes is refused.
    fn unpack(self, bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let read = |reader: &mut dyn Read, out: &mut Vec<u8>| reader.take(limit + 1).read_to_end(out);
        match self {
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                read(&mut liblzma::read::XzDecoder::new_stream(bytes, stream), &mut out)
            }
            Self::Zstd => read(&mut zstd::stream::read::Decoder::new(bytes)?, &mut out),
            Self::Gzip => read(&mut flate2::read::MultiGzDecoder::new(bytes), &mut out),
            Self::None => read(&mut &bytes[..], &mut out),
        }
        .map_err(|error| Error::new("it is damaged").kind(Kind::Corrupt).caused_by(error))?;
        if out.len() as u64 > limit {
            return Err(Error::new(format!("it unpacks to more than {limit} bytes")).kind(Kind::Corrupt));
        }
        Ok(out)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    packed: Digest,
    /// Of the plain content, in bytes.
    size: u64,
}

/// Whether the store has the index of this key.
pub fn is_stored(store: &Store, key: &Digest) -> bool {
    store.keyed::<Stored>(KIND, key).is_some()
}

/// The plain content of an index that the store has.
pub fn load(store: &Store, key: &Digest) -> Result<Vec<u8>> {
    let stored: Stored = store.keyed(KIND, key).context(|| "the store no longer has the package index")?;
    let bytes = Compression::Zstd.unpack(&store.read(&stored.packed)?, stored.size)?;
    if bytes.len() as u64 != stored.size {
        return Err(Error::new("a package index in the store is cut off").kind(Kind::Corrupt));
    }
    Ok(bytes)
}

/// Unpacks the downloaded file `packed`, checks it against what the signed index says of the plain content, and
/// keeps it under `key`.
pub fn unpack(
    store: &Store,
    compression: Compression,
    packed: &Digest,
    plain: Option<File>,
    key: &Digest,
) -> Result<Vec<u8>> {
    let limit = plain.map_or(LARGEST, |plain| plain.size).min(LARGEST);
    let bytes = compression.unpack(&store.read(packed)?, limit)?;
    if let Some(plain) = plain {
        let found = Digest::of(&bytes);
        if bytes.len() as u64 != plain.size || found != plain.digest {
            return Err(Error::new(format!(
                "expected {} bytes with sha256 {}, found {} bytes with sha256 {found}",
                plain.size,
                plain.digest,
                bytes.len()
            ))
            .kind(Kind::Corrupt));
        }
    }
    let packed = store.put(&zstd::bulk::compress(&bytes, 1)?)?;
    store.put_keyed(KIND, key, &[packed], &Stored { packed, size: bytes.len() as u64 })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_compression_is_unpacked_within_its_limit() {
        let plain = b"Package: a\n".repeat(1000);
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&plain).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let forms = [
            (Compression::Xz, xz.finish().unwrap()),
            (Compression::Zstd, zstd::bulk::compress(&plain, 1).unwrap()),
            (Compression::Gzip, gzip.finish().unwrap()),
            (Compression::None, plain.clone()),
        ];
        for (compression, bytes) in forms {
            assert_eq!(compression.unpack(&bytes, plain.len() as u64).unwrap(), plain);
            let error = compression.unpack(&bytes, plain.len() as u64 - 1).unwrap_err();
            assert!(error.to_string().contains("more than 10999 bytes"), "{error}");
            if compression != Compression::None {
                assert_eq!(compression.unpack(&bytes[..bytes.len() / 2], 1 << 20).unwrap_err().what(), Kind::Corrupt);
            }
        }
    }
}
