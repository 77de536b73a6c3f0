//! Python: resolution against worlds that a loopback index serves, and, in the second tier, against uv's answers.
#![allow(clippy::disallowed_methods, reason = "tests look at the machine they run on")]

mod index;
mod packse;
mod scenario;
#[path = "../support/server.rs"]
#[allow(dead_code, reason = "each test target uses its part")]
mod server;
mod uv;
mod words;

/// Prints a line past the test harness, which keeps what passing tests print to itself.
fn say(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}
