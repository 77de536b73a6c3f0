//! The lockfile as a value: its model, its one way of being written, and why it can be stale.
//!
//! The charter, in this order: complete (a build needs nothing else), readable, minimal in its diffs,
//! the same bytes from the same resolution, checkable against its definition without a network, and
//! readable by later versions: `version` for changes that older kilns cannot read, `revision` for
//! additions that they can ignore. Nothing here knows a network or a store.

mod changes;
mod conflict;
pub mod diff;
mod model;
pub mod needs;
mod platform_lock;
mod stale;
mod write;

pub use changes::{Change, changes};
pub use model::{Artifact, Blob, Evidence, LayerOutput, Local, Lockfile, Output, Package, Scripts};
pub use platform_lock::{PlatformLock, PlatformPackage, PlatformStep};
pub use stale::{Reason, reasons};

/// The version of the lockfile's format that this kiln reads and writes.
pub const VERSION: u32 = 1;
/// The additions to [`VERSION`] that this kiln knows.
pub const REVISION: u32 = 0;

#[cfg(test)]
mod tests;
