//! Why a request cannot be satisfied, in words.

use std::collections::BTreeMap;

use super::super::universe::{Name, Universe, Version};
use super::request::Wanted;
use crate::error::Error;

pub(super) fn unsatisfiable(
    universe: &Universe,
    _base: &BTreeMap<Name, Version>,
    _preferred: &BTreeMap<Name, Version>,
    _wanted: &[Wanted],
    broken: &[Name],
) -> Error {
    let names: Vec<String> = broken.iter().map(|&name| format!("`{}`", universe.name(name))).collect();
    Error::no(format!("there is no solution: {} would be broken", names.join(", ")))
}
