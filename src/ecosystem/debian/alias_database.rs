//! The database of mail aliases (`newaliases(1)`), with its identity and time made reproducible.
//!
//! Postfix writes a Berkeley DB hash file: its first page carries 20 bytes that identify the file on the disk it
//! was made on (`DBMETA.uid` in Berkeley DB's `dbinc/db_page.h`), and among the aliases is the moment of making.

use crate::digest::Digest;

/// Where a hash database has its magic number, and the number, in the order of bytes of all our platforms.
const MAGIC: (usize, [u8; 4]) = (12, 0x0006_1561_u32.to_le_bytes());
/// Where the first page has the file's identity.
const IDENTITY: std::ops::Range<usize> = 52..72;
/// The key of the time of making; an item of a page begins with the byte 1 (`H_KEYDATA`), data lie before their key.
const MODIFIED: &[u8] = b"\x01YP_LAST_MODIFIED";

/// The database as if made at `seconds` since 1970, on no disk. A file in another format is returned as it is.
pub fn with_time(mut bytes: Vec<u8>, seconds: u64) -> Vec<u8> {
    let (at, magic) = MAGIC;
    if bytes.len() < IDENTITY.end || bytes[at..at + 4] != magic {
        return bytes;
    }
    let time = seconds.to_string();
    for key in memchr::memmem::find_iter(&bytes.clone(), MODIFIED) {
        let Some(value) = key.checked_sub(time.len()).and_then(|start| bytes.get_mut(start..key)) else { continue };
        if value.iter().all(u8::is_ascii_digit) {
            value.copy_from_slice(time.as_bytes());
        }
    }
    // Pages are written from buffers that are used again: what was the first page shows through in others.
    let identity = bytes[IDENTITY].to_vec();
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, &identity).collect();
    for at in places {
        bytes[at..at + IDENTITY.len()].fill(0);
    }
    let digest = Digest::of(&bytes).to_string();
    bytes[IDENTITY].copy_from_slice(&digest.as_bytes()[..IDENTITY.len()]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{IDENTITY, MAGIC, with_time};

    fn database(identity: u8, time: &str) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[MAGIC.0..MAGIC.0 + 4].copy_from_slice(&MAGIC.1);
        bytes[IDENTITY].fill(identity);
        bytes.extend([identity; 20]);
        bytes.extend(format!("\x01root\0\x01postmaster\0\x01{time}\x01YP_LAST_MODIFIED\x01@\0\x01@\0").bytes());
        bytes
    }

    #[test]
    fn identity_and_time_are_the_only_bytes_that_change() {
        let made = with_time(database(7, "1795232915"), 1_700_000_000);
        assert_eq!(made, with_time(database(9, "1795232931"), 1_700_000_000));
        let mut expected = database(0, "1700000000");
        expected[IDENTITY].copy_from_slice(&made[IDENTITY]);
        assert_eq!(made, expected);
    }

    #[test]
    fn what_is_no_such_database_stays_as_it_is() {
        for bytes in [Vec::new(), vec![0; 71], vec![1; 100], b"root: me\n".to_vec()] {
            assert_eq!(with_time(bytes.clone(), 1), bytes);
        }
        // Where no time lies before the key, none is written.
        let short = with_time(database(7, "99"), 1_700_000_000);
        assert!(short.windows(3).any(|bytes| bytes == b"\x0199"));
    }
}
