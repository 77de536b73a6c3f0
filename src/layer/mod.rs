//! Canonical tar, gzip members, parts, layers made of parts, and trees of them as file system images.
//!
//! Everything that decides the bytes of a layer is here. It knows entries and streams; it does not
//! know where they come from (packages, scripts, files) or what an image is.

pub mod assemble;
mod content;
pub mod entry;
pub mod erofs;
pub mod flatten;
pub mod gzip;
mod import;
pub mod part;
mod pipeline;
pub mod tar;

pub use assemble::{Compression, Layer, assemble, assemble_once, unpack_plain};
pub use content::content_of;
pub use entry::{Entry, Kind, Part};
pub use flatten::{Flattened, flatten};
pub use import::{Imported, import};
pub use part::PartBuilder;

/// The modification time of every directory in a layer: several parts ship the same directory, and
/// which one came first must not show.
pub const DIRECTORY_MTIME: u64 = 0;
