//! OpenPGP's ASCII armour (RFC 9580, 6.2), read line by line: a time in proportion to the text, whatever it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Kind, Result};

/// No armoured block is longer, in bytes.
const LONGEST: usize = 16 << 20;

/// The bytes in the first block of `text`, which begins with it; `kind` is what it is called (`SIGNATURE`).
///
/// The checksum at the end is not looked at: it guards against mistakes in copying, and a reader should not refuse a
/// block for it (RFC 9580, 6.1).
pub fn decode(text: &str, kind: &str) -> Result<Vec<u8>> {
    let wrong = |why: &str| Error::new(why).kind(Kind::Corrupt);
    if text.len() > LONGEST {
        return Err(wrong("the armoured block is too long"));
    }
    let mut lines = text.lines().map(str::trim_end).skip_while(|line| line.is_empty());
    if lines.next() != Some(&format!("-----BEGIN PGP {kind}-----")) {
        return Err(wrong("no armoured block begins here"));
    }
    // Headers, then an empty line.
    if !lines.by_ref().take_while(|line| !line.is_empty()).all(|line| line.contains(": ")) {
        return Err(wrong("the armoured block has a header that is none"));
    }
    let end = format!("-----END PGP {kind}-----");
    let mut encoded = String::new();
    let mut complete = false;
    for line in lines.map(str::trim_start) {
        if line == end {
            return STANDARD.decode(encoded).map_err(|error| wrong("the armoured block is damaged").caused_by(error));
        }
        let is_checksum = line.starts_with('=') && !encoded.is_empty();
        if complete && !line.is_empty() {
            return Err(wrong("the armoured block goes on after its checksum"));
        }
        complete = complete || is_checksum;
        if !is_checksum {
            encoded.push_str(line);
        }
    }
    Err(wrong("the armoured block is cut off"))
}

#[cfg(test)]
mod tests {
    use super::decode;

    fn block(inside: &str) -> String {
        format!("\n-----BEGIN PGP SIGNATURE-----\n{inside}\n-----END PGP SIGNATURE-----\nrest")
    }

    #[test]
    fn blocks_are_read_with_and_without_what_may_be_missing() {
        for inside in ["\nYWJj\nZA==\n=abcd", "Version: x\nComment: y: z\n\nYWJjZA==", "\r\n  YWJj\r\nZA==\r\n"] {
            assert_eq!(decode(&block(inside), "SIGNATURE").unwrap(), b"abcd", "{inside:?}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for (inside, message) in [
            ("no header\n\nYWJj", "a header that is none"),
            ("\nYWJ!", "damaged"),
            ("\nYWJj\n=abcd\nYWJj", "goes on after"),
        ] {
            let error = decode(&block(inside), "SIGNATURE").unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(decode(&block("\nYWJj"), "MESSAGE").is_err());
        assert!(decode("-----BEGIN PGP SIGNATURE-----\n\nYWJj\n", "SIGNATURE").is_err());
        assert!(decode("", "SIGNATURE").is_err());
    }
}
