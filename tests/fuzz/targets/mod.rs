//! What is fuzzed: each target a name, the words its format is made of, and a function from bytes.

mod archives;
mod debian;
mod images;
mod npm;
mod python;
mod settings;

use std::borrow::Cow;
use std::fmt::Debug;

use crate::world::World;

/// What a run found wrong, in a sentence; panics, time and memory are seen from outside.
pub type Outcome = Result<(), String>;

pub struct Target {
    /// The folder of its seeds, too.
    pub name: &'static str,
    /// What inputs are made of besides pieces of seeds.
    pub words: &'static [&'static str],
    /// Puts right what would only be refused, such as checksums.
    pub mend: fn(Vec<u8>) -> Vec<u8>,
    pub run: fn(&World, &[u8]) -> Outcome,
}

pub fn all() -> Vec<Target> {
    [debian::TARGETS, archives::TARGETS, python::TARGETS, npm::TARGETS, images::TARGETS, settings::TARGETS]
        .into_iter()
        .flat_map(|list| list())
        .collect()
}

/// Input as text, for parsers that take text.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Finds a round trip that is none.
pub fn same<T: PartialEq + Debug>(what: &str, one: &T, other: &T) -> Outcome {
    if one == other {
        return Ok(());
    }
    let short = |value: &T| format!("{value:?}").chars().take(2000).collect::<String>();
    Err(format!("{what}: read again, it differs\n  {}\n  {}", short(one), short(other)))
}

/// Finds an error that would break a terminal: what is hostile is to be escaped where it is quoted.
pub fn printable<T>(result: Result<T, kiln::Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            // Whoever prints it walks over all of it.
            let _ = (error.to_string(), error.hints().len(), error.exit_code());
            None
        }
    }
}
