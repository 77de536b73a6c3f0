//! What tests of several files stand on: a server on loopback that can misbehave, archives made from
//! declared scenarios, and packages made from values.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine they run on")]

pub mod archive;
pub mod context;
pub mod deb;
pub mod keys;
pub mod registry;
pub mod schema;
pub mod server;
pub mod tiny;
