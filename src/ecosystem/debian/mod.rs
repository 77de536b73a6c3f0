//! Debian packages: signed indexes, apt's resolution, `.deb` to part, and dpkg's configuration.

pub mod index;
mod names;
pub mod policy;
pub mod relation;
pub mod solver;
pub mod universe;
pub mod version;
