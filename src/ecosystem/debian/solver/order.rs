//! The orders in which apt meets packages, where its answer depends on them.
//!
//! Packages with equal scores are dealt with in the order in which apt's hash table and an unstable sort leave
//! them. Neither means anything, but both are fixed, and to give apt's answers is to follow them.

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

/// Sorted so that `before` holds between neighbours that differ.
pub(super) fn sorted(mut names: Vec<Name>, before: impl Fn(Name, Name) -> bool) -> Vec<Name> {
    names.sort_by(|&a, &b| {
        if before(a, b) {
            std::cmp::Ordering::Less
        } else if before(b, a) {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    });
    names
}
