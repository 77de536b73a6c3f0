//! Running programs inside a tree with no network and no privileges, and reading back what they changed.
