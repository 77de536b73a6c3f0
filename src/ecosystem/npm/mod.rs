//! npm packages: packuments, the tree that npm would place, and tarballs as parts.

mod bin_field;
pub mod bins;
mod collation;
pub mod index;
pub mod integrity;
pub mod lockfile;
mod npmrc;
pub mod origin;
pub mod packument;
pub mod part;
pub mod pick;
pub mod platform;
pub mod range;
pub mod semver;
pub mod spec;
pub mod tarball;
pub mod tree;
