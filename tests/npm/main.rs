//! npm packages: resolution and parts against a registry on loopback; and, in the second tier (KILN_TEST_REAL=1),
//! against this machine's npm.
#![allow(clippy::print_stderr, reason = "comparisons say what they have compared")]

mod parts;
mod real;
mod registry;
mod semver;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "each test file uses its part")]
mod server;
mod sets;
mod solving;
mod tree;
mod worlds;
