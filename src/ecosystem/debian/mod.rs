//! Debian packages: signed indexes, apt's resolution, `.deb` to part, and dpkg's configuration.

pub mod archive;
pub mod date;
pub mod release;
pub mod signature;
pub mod sources;
