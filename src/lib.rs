//! kiln locks what a service needs at run time and bakes it into a bit-identical OCI image.
//!
//! Data flows one way: definition → lock → parts → layers → image. The folders, from the outside in;
//! a module may use those below it in this list and none above:
//!
//! | folder | what it holds |
//! |---|---|
//! | `cli` | one file per command: arguments in, one operation called, output printed |
//! | `resolve` | definition + old lock + indexes → new lock |
//! | `bake` | the build graph: platform lock → parts → configured layers → image |
//! | `lock` | the lockfile as a value: reading, writing, staleness (no network, no store) |
//! | `workspace` | `kiln.toml` and definitions: TOML to validated values with source spans |
//! | `ecosystem` | one folder per kind of artifact: its index, its solver, its artifact → part |
//! | `sandbox` | running programs inside a tree and reading back what they changed |
//! | `image` | OCI configuration, manifest, index; layouts and archives |
//! | `layer` | canonical tar, gzip members, parts, and layers made of parts |
//! | `registry` | registries of images: manifests, blobs, logins |
//! | `store` | content-addressed blobs, keyed results, locks between processes |
//! | `net` | one HTTP client: retries, resume, limits, proxies |
//! | `error`, `digest`, `canonical`, `tables` | what everything stands on |

pub mod bake;
pub mod canonical;
pub mod cli;
pub mod digest;
pub mod ecosystem;
pub mod error;
pub mod image;
pub mod layer;
pub mod lock;
pub mod net;
pub mod registry;
pub mod resolve;
pub mod sandbox;
pub mod store;
pub mod tables;
pub mod workspace;

pub use digest::Digest;
pub use error::{Context, Error, Result};

/// The number that covers everything that shapes an image's bytes: tar and compression, binning,
/// clean-up rules, sandbox settings, canonical JSON. Golden digests in `tests/` guard it.
pub const FORMAT: u32 = 1;
