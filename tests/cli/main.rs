//! Every command as a new user tries it: exit code, what is printed where, and what becomes of the files.
//!
//! Each test has a machine of its own (`support/context.rs`) and needs no network.
#![allow(clippy::print_stderr, clippy::disallowed_methods, reason = "tests say what they cannot do on this machine")]

#[path = "../support/mod.rs"]
mod support;

mod add;
mod base_image;
mod build;
mod changes;
mod completions;
mod compose;
mod definitions;
mod diff;
mod github;
mod import;
mod languages;
mod lock;
mod mistakes;
mod network;
mod output;
mod push;
mod questions;
mod schema;
mod scripts;
mod shell;
mod steps;
mod store;
mod trouble;
mod up;
mod update;
