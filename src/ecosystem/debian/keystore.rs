//! Java's keystore of trusted certificates, with its times made reproducible.
//!
//! `ca-certificates-java` makes a JKS file: a header, entries that each record when they were added, and
//! a SHA-1 over a password, a fixed phrase and all before it (the format of `sun.security.provider.JavaKeyStore`).

use sha1::{Digest as _, Sha1};

use crate::error::{Context, Error, Result};

const MAGIC: u32 = 0xfeed_feed;
/// The password of every `cacerts`, as `ca-certificates-java` sets it. It protects nothing.
const PASSWORD: &str = "changeit";
const PHRASE: &[u8] = b"Mighty Aphrodite";
const TRUSTED_CERTIFICATE: u32 = 2;

/// The keystore with every entry added at `seconds` since 1970.
///
/// A file in another format (an empty one, PKCS #12) is returned as it is.
pub fn with_time(mut bytes: Vec<u8>, seconds: u64) -> Result<Vec<u8>> {
    if bytes.get(..4) != Some(&MAGIC.to_be_bytes()) {
        return Ok(bytes);
    }
    let body = bytes.len().checked_sub(20).context(|| "a Java keystore ends too soon")?;
    let mut cursor = Cursor { bytes: &mut bytes[..body], at: 4 };
    let version = cursor.number()?;
    for _ in 0..cursor.number()? {
        let tag = cursor.number()?;
        if tag != TRUSTED_CERTIFICATE {
            return Err(Error::new(format!(
                "a Java keystore has an entry of kind {tag}, only certificates were expected"
            )));
        }
        cursor.skip_short()?;
        cursor.take(8)?.copy_from_slice(&(seconds * 1000).to_be_bytes());
        if version == 2 {
            cursor.skip_short()?;
        }
        let length = cursor.number()? as usize;
        cursor.take(length)?;
    }
    let digest = digest(&bytes[..body]);
    bytes[body..].copy_from_slice(&digest);
    Ok(bytes)
}

fn digest(body: &[u8]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        hasher.update(unit.to_be_bytes());
    }
    hasher.update(PHRASE);
    hasher.update(body);
    hasher.finalize().into()
}

struct Cursor<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take(&mut self, count: usize) -> Result<&mut [u8]> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len())
            .context(|| "a Java keystore ends too soon")?;
        let taken = &mut self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32> {
        let bytes: [u8; 4] = (&*self.take(4)?).try_into().expect("four bytes were taken");
        Ok(u32::from_be_bytes(bytes))
    }

    /// A string with its length in two bytes before it.
    fn skip_short(&mut self) -> Result<()> {
        let bytes: [u8; 2] = (&*self.take(2)?).try_into().expect("two bytes were taken");
        self.take(u16::from_be_bytes(bytes).into())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{digest, with_time};

    fn keystore(milliseconds: u64) -> Vec<u8> {
        let mut bytes = vec![0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1];
        bytes.extend([0, 0, 0, 2, 0, 3]);
        bytes.extend(b"abc");
        bytes.extend(milliseconds.to_be_bytes());
        bytes.extend([0, 5]);
        bytes.extend(b"X.509");
        bytes.extend([0, 0, 0, 4, 1, 2, 3, 4]);
        let digest = digest(&bytes);
        bytes.extend(digest);
        bytes
    }

    #[test]
    fn only_the_time_and_the_digest_change() {
        assert_eq!(with_time(keystore(1_700_000_000_123), 1_600_000_000).unwrap(), keystore(1_600_000_000_000));
    }

    #[test]
    fn damaged_and_foreign_files_do_no_harm() {
        let whole = keystore(1);
        for length in 0..whole.len() {
            let _ = with_time(whole[..length].to_vec(), 1);
        }
        assert_eq!(with_time(b"other".to_vec(), 1).unwrap(), b"other");
    }
}
