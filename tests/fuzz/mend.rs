//! Checksums put right after a mutation, so that what is behind them is reached as well.

/// Leaves an input as it is.
pub fn nothing(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Of every tar header in it, wherever it stands.
pub fn tar(mut bytes: Vec<u8>) -> Vec<u8> {
    const MAGIC: usize = 257;
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, b"ustar").collect();
    for place in places {
        let Some(start) = place.checked_sub(MAGIC).filter(|start| start + 512 <= bytes.len()) else { continue };
        bytes[start + 148..start + 156].fill(b' ');
        let sum: u32 = bytes[start..start + 512].iter().map(|byte| u32::from(*byte)).sum();
        bytes[start + 148..start + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

/// Of every member of a zip archive that is stored as it is.
pub fn zip(mut bytes: Vec<u8>) -> Vec<u8> {
    let number = |bytes: &[u8], at: usize, width: usize| -> Option<usize> {
        let field = bytes.get(at..at + width)?;
        Some(field.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let places: Vec<usize> = memchr::memmem::find_iter(&bytes, b"PK\x01\x02").collect();
    for entry in places {
        let (Some(size), Some(local)) = (number(&bytes, entry + 20, 4), number(&bytes, entry + 42, 4)) else {
            continue;
        };
        let lengths = number(&bytes, local + 26, 2).zip(number(&bytes, local + 28, 2));
        let Some(start) = lengths.map(|(name, extra)| local + 30 + name + extra) else { continue };
        let Some(content) = start.checked_add(size).and_then(|end| bytes.get(start..end)) else { continue };
        let sum = libdeflater::crc32(content).to_le_bytes();
        bytes[entry + 16..entry + 20].copy_from_slice(&sum);
        bytes[local + 14..local + 18].copy_from_slice(&sum);
    }
    bytes
}
