//! Gzip members: the one compression of layers, the same bytes on every machine.
//!
//! A stream is cut into blocks of [`BLOCK`] bytes whatever the writes were, and each block becomes one
//! complete member (RFC 1952) made by one pinned encoder: libdeflate 1.26.1 at level 6. It knows bytes,
//! not what they are.

use std::cell::RefCell;
use std::io::{self, Write};

use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

use super::pipeline::Ordered;
use crate::error::{Context, Error, Kind, Result};

/// Plain bytes in a member; the last one of a stream may have fewer.
pub const BLOCK: usize = 1 << 20;

/// Changing this changes every layer.
const LEVEL: i32 = 6;

/// The fixed header: deflate, no flags, no time, no extra flags, and 255 for an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Decompressor> = RefCell::new(Decompressor::new());
}

/// One member that holds `plain`.
pub fn member(plain: &[u8]) -> Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            let level = CompressionLvl::new(LEVEL).map_err(|_| Error::new("the compressor has no level 6"))?;
            *slot = Some(Compressor::new(level));
        }
        let compressor = slot.as_mut().context(|| "there is no compressor")?;
        let bound = compressor.deflate_compress_bound(plain.len());
        let mut out = Vec::with_capacity(HEADER.len() + bound + 8);
        out.extend(HEADER);
        out.resize(HEADER.len() + bound, 0);
        let count = compressor
            .deflate_compress(plain, &mut out[HEADER.len()..])
            .context(|| format!("compressing {} bytes", plain.len()))?;
        out.truncate(HEADER.len() + count);
        out.extend(libdeflater::crc32(plain).to_le_bytes());
        let length = u32::try_from(plain.len()).context(|| "a gzip member holds less than 4 GiB")?;
        out.extend(length.to_le_bytes());
        Ok(out)
    })
}

/// What one member holds. It must be exactly `plain` bytes, at most [`BLOCK`].
pub fn decode_member(member: &[u8], plain: u32) -> Result<Vec<u8>> {
    let size = plain as usize;
    if size > BLOCK {
        return Err(Error::new(format!("a gzip member of {size} bytes is not one of ours")).kind(Kind::Corrupt));
    }
    let mut out = vec![0; size];
    let decoded = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.gzip_decompress(member, &mut out));
    match decoded {
        Ok(count) if count == size => Ok(out),
        Ok(count) => Err(Error::new(format!("a gzip member holds {count} bytes, expected {size}")).kind(Kind::Corrupt)),
        Err(DecompressionError::InsufficientSpace) => {
            Err(Error::new(format!("a gzip member holds more than {size} bytes")).kind(Kind::Corrupt))
        }
        Err(DecompressionError::BadData) => Err(Error::new("a gzip member is damaged").kind(Kind::Corrupt)),
    }
}

/// Compresses what is written to it into members, on all cores, and writes them on in order.
pub struct Encoder<W> {
    inner: W,
    block: Vec<u8>,
    under_way: Ordered<Result<(Vec<u8>, u32)>>,
    members: Vec<(u32, u32)>,
}

impl<W> std::fmt::Debug for Encoder<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Encoder").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

impl<W: Write> Encoder<W> {
    /// Writes members on to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, block: Vec::new(), under_way: Ordered::new(), members: Vec::new() }
    }

    /// Adds to the stream. How it is split over calls does not matter.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let count = bytes.len().min(BLOCK - self.block.len());
            self.block.extend(&bytes[..count]);
            bytes = &bytes[count..];
            if self.block.len() == BLOCK {
                self.start_member()?;
            }
        }
        Ok(())
    }

    fn start_member(&mut self) -> Result<()> {
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        let finished = self.under_way.push(move || Ok((member(&block)?, u32::try_from(block.len())?)))?;
        finished.map_or(Ok(()), |finished| self.collect(finished))
    }

    fn collect(&mut self, finished: Result<(Vec<u8>, u32)>) -> Result<()> {
        let (member, plain) = finished?;
        self.inner.write_all(&member).context(|| "writing compressed bytes")?;
        self.members.push((u32::try_from(member.len())?, plain));
        Ok(())
    }

    /// Ends the stream: the inner writer, and the compressed and plain bytes of each member. A stream of
    /// no bytes has no member.
    pub fn finish(mut self) -> Result<(W, Vec<(u32, u32)>)> {
        if !self.block.is_empty() {
            self.start_member()?;
        }
        while let Some(finished) = self.under_way.next()? {
            self.collect(finished)?;
        }
        Ok((self.inner, self.members))
    }
}

/// A reader of any gzip stream, of any number of members.
pub fn reader<R: io::Read>(inner: R) -> impl io::Read {
    flate2::read::MultiGzDecoder::new(inner)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::{BLOCK, Encoder, decode_member, member, reader};
    use crate::digest::Digest;

    /// Bytes that compress somewhat, the same everywhere.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x3f
        };
        (0..length).map(|_| next()).collect()
    }

    fn encode(splits: &[&[u8]]) -> (Vec<u8>, Vec<(u32, u32)>) {
        let mut encoder = Encoder::new(Vec::new());
        for split in splits {
            encoder.write(split).unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn the_encoder_is_the_format_s() {
        let (bytes, members) = encode(&[&sample(2 * BLOCK + 5)]);
        assert_eq!(members.iter().map(|member| member.1).collect::<Vec<_>>(), [1 << 20, 1 << 20, 5]);
        assert_eq!(Digest::of(&bytes).to_string(), "48b8f5e9b421d7efcb418b029b6154276bc5f3d23bfdd590644f5fe4601290a9");
        assert_eq!(
            Digest::of(&member(b"").unwrap()).to_string(),
            "30e6fa98fb48c2b132824d1ac5e2243c0be9e9082ff32598d34d7687ca7f6c7f"
        );
    }

    #[test]
    fn members_are_read_by_any_gzip_reader() {
        let plain = sample(BLOCK + 77);
        let (bytes, _) = encode(&[&plain]);
        let mut read = Vec::new();
        reader(&bytes[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, plain);
    }

    #[test]
    fn a_damaged_or_lying_member_is_refused() {
        let good = member(b"some content").unwrap();
        assert_eq!(decode_member(&good, 12).unwrap(), b"some content");
        assert!(decode_member(&good, 11).is_err());
        assert!(decode_member(&good, 13).is_err());
        assert!(decode_member(&good, u32::MAX).is_err());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x5a;
            // A flip in a field that means nothing (time, system) still gives the content.
            if let Ok(plain) = decode_member(&bad, 12) {
                assert_eq!(plain, b"some content");
            }
            assert!(decode_member(&good[..at], 12).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
        #[test]
        fn how_writes_are_split_does_not_matter(cuts in proptest::collection::vec(0..2 * BLOCK, 0..6)) {
            let plain = sample(2 * BLOCK);
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut splits = Vec::new();
            let mut from = 0;
            for cut in cuts {
                splits.push(&plain[from..cut]);
                from = cut;
            }
            splits.push(&plain[from..]);
            prop_assert_eq!(encode(&splits), encode(&[&plain]));
        }
    }
}
