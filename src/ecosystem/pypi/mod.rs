//! Python packages: the simple index, resolution as uv does it, and wheels as parts.

pub mod built;
pub mod client;
mod fetch;
pub mod filename;
pub mod index;
pub mod inside;
pub mod listing;
pub mod locks;
pub mod metadata;
pub mod name;
pub mod origin;
pub mod page;
pub mod ranges;
pub mod requirement;
pub mod requirements;
pub mod solve;
pub mod source;
pub mod tags;
pub mod target;
pub mod wheel;
