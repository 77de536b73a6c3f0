//! Debian packages: signed indexes, apt's resolution, `.deb` to part, and dpkg's configuration.

pub mod apt;
pub mod archive;
pub mod date;
pub mod deb;
pub mod dpkg;
pub mod exclusions;
pub mod index;
mod index_file;
mod names;
pub mod owners;
pub mod part;
pub mod policy;
pub mod relation;
pub mod release;
pub mod rules;
pub mod signature;
pub mod solver;
pub mod sources;
pub mod universe;
pub mod version;
