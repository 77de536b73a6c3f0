//! Debian packages: signed indexes, apt's resolution, `.deb` to part, and dpkg's configuration.

mod names;
pub mod dpkg;
pub mod index;
pub mod policy;
pub mod relation;
pub mod rules;
pub mod solver;
pub mod universe;
pub mod version;
