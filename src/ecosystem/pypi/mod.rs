//! Python packages: the simple index, resolution as uv does it, and wheels as parts.

pub mod filename;
pub mod index;
pub mod metadata;
pub mod name;
pub mod page;
pub mod ranges;
pub mod requirement;
pub mod solve;
pub mod tags;
pub mod target;
