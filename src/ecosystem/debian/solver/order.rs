//! The order in which apt meets packages, where its answer depends on it.
//!
//! Packages with equal scores are dealt with in the order of apt's hash table. That order means nothing,
//! but it is fixed, and to give apt's answers is to follow it.

use super::super::universe::Name;

/// The number of buckets of apt's table of packages.
const BUCKETS: u32 = 196_613;

/// Names in the order of apt's table: by bucket, within a bucket by length and then by bytes.
pub(super) fn by_table<'n>(names: impl Iterator<Item = Name>, text: impl Fn(Name) -> &'n str) -> Vec<Name> {
    let mut keyed: Vec<(u32, usize, &str, Name)> = names
        .map(|name| {
            let text = text(name);
            let hash =
                text.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte | 0x20)));
            (hash % BUCKETS, text.len(), text, name)
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, _, _, name)| name).collect()
}
