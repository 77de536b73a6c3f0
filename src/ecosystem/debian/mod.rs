//! Debian packages: signed indexes, apt's resolution, `.deb` to part, and dpkg's configuration.

pub mod deb;
pub mod exclusions;
pub mod owners;
pub mod part;
