//! What tests of several files stand on: a server on loopback that can misbehave, and archives made from
//! declared scenarios.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod archive;
pub mod keys;
pub mod server;
