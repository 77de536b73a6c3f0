//! Where packages of languages are to be had: each ecosystem is asked where this machine would look.

use std::collections::BTreeMap;

use super::origin::{Configured, Machine, Place};
use crate::error::{Error, Kind, Result};

/// Where the origins of languages' packages are, as far as this machine knows.
#[derive(Clone, Debug)]
pub struct Origins {
    /// What kiln was told.
    pub configured: BTreeMap<String, Configured>,
    pub machine: Machine,
}

impl Origins {
    /// The places of npm packages, best first; those of scopes come last.
    pub fn npm(&self) -> Result<Vec<Place>> {
        super::npm::origin::places(self.configured.get("npm"), &self.machine)
    }

    /// The places of Python packages of the origin `name`, best first.
    pub fn pypi(&self, name: &str) -> Result<Vec<Place>> {
        match self.configured.get(name) {
            None if name != "pypi" => Err(Error::new(format!("no address is known for the origin `{name}`"))
                .kind(Kind::Network)
                .hint(format!("say where it is: `{name} = \"https://…/simple\"` under `[origins]` in kiln.toml"))),
            configured => super::pypi::origin::places(configured, &self.machine),
        }
    }
}
