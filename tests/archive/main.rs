//! Downloads and signed archives against a server that misbehaves.

mod downloads;
mod real;
mod suites;
#[path = "../support/mod.rs"]
mod support;
