//! Canonical tar, gzip members, parts, and layers made of parts.
//!
//! Everything that decides the bytes of a layer is here. It knows entries and streams; it does not
//! know where they come from (packages, scripts, files) or what an image is.

pub mod entry;

pub use entry::{Entry, Kind, Part};
pub mod part;
pub use part::PartBuilder;
