//! Debian packages: signed indexes, apt's resolution, `.deb` to part, and dpkg's configuration.

pub mod alias_database;
pub mod apt;
pub mod archive;
mod changes;
pub mod date;
pub mod deb;
pub mod dpkg;
pub mod exclusions;
pub mod index;
mod index_file;
pub mod keystore;
mod names;
pub mod overlap;
pub mod owners;
pub mod package;
pub mod part;
pub mod policy;
pub mod relation;
pub mod release;
mod rounds;
pub mod rules;
pub mod signature;
pub mod solver;
pub mod sources;
pub mod stage;
pub mod universe;
pub mod version;
