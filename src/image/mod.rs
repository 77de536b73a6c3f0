//! OCI images: configuration, manifest, index; layouts and archives of them.
//!
//! Every document is written canonically from ordered values of our own, so that the same image has the
//! same digest everywhere (OCI image specification 1.1). It knows layers in the store; it does not know
//! what is in them, nor registries.

pub mod archive;
pub mod config;
pub mod layout;
pub mod manifest;
mod output;
mod push;
pub mod read;

pub use config::{ContainerConfig, Healthcheck, ImageSpec, LayerInfo, Platform};
pub use manifest::{Image, MEDIA_INDEX, MEDIA_MANIFEST, Root, index_document, write_image, write_index};
pub use push::{Pushed, push};
