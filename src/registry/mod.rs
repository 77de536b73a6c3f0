//! Registries of images: manifests and blobs, and who may have them (OCI distribution specification 1.1).
//!
//! It knows names, digests and media types; what an image is made of, and what is in a layer, it does not know.

mod answer;
mod client;
mod credentials;
mod reference;
mod token;
mod upload;

pub use client::{Document, Registry};
pub use credentials::{Login, Logins};
pub use reference::Reference;
pub use token::challenge;
pub use upload::Uploaded;
