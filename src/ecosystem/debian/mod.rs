//! Debian packages: signed indexes, apt's resolution, `.deb` to part, and dpkg's configuration.

pub mod apt;
pub mod archive;
pub mod date;
mod index_file;
pub mod release;
pub mod signature;
pub mod sources;
