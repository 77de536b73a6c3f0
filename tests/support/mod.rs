//! What several tests need.

pub mod deb;
