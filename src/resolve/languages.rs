//! The indexes of languages' packages, each asked through one client for all environments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::lock;
use crate::ecosystem::npm::index::Registry;
use crate::ecosystem::npm::origin::Registries;
use crate::ecosystem::npm::platform::Engines;
use crate::ecosystem::origins::Origins;
use crate::ecosystem::pypi;
use crate::error::Result;
use crate::net;
use crate::store::Store;
use crate::workspace::{Python, Settings};

/// See the module's documentation.
#[derive(Debug)]
pub struct Languages<'a> {
    net: &'a net::Client,
    store: &'a Store,
    origins: Origins,
    /// Seconds since 1970, for what expires.
    now: u64,
    /// By the names of the origins that it knows.
    pypi: Mutex<BTreeMap<BTreeSet<String>, Arc<pypi::client::Client<'a>>>>,
    /// Where npm's packages are, once it was looked for.
    npm: Mutex<Option<Registries>>,
}

impl<'a> Languages<'a> {
    pub fn new(net: &'a net::Client, store: &'a Store, origins: Origins, now: u64) -> Self {
        Self { net, store, origins, now, pypi: Mutex::default(), npm: Mutex::default() }
    }

    /// The registries of npm's packages, for the image's own Node.js.
    pub(super) fn npm(&self, engines: Engines) -> Result<Registry<'a>> {
        let mut known = lock(&self.npm);
        let registries = match &*known {
            Some(registries) => registries.clone(),
            None => {
                let found = Registries::find(self.origins.configured.get("npm"), &self.origins.machine)?;
                known.insert(found).clone()
            }
        };
        Ok(Registry::new(self.store, self.net, registries, engines))
    }

    /// Finds out where packages are that `settings` ask for, so that it is known when they are resolved: the machine's
    /// own clients take their time to answer. What fails here fails again where it is needed.
    pub(super) fn prepare(&self, settings: &Settings) {
        if let Some(python) = &settings.python {
            let _ = self.pypi(origins(python));
        }
        if settings.npm.is_some() {
            let _ = self.npm(Engines::default());
        }
    }

    /// A client of Python's origins with these names.
    pub(super) fn pypi(&self, names: BTreeSet<String>) -> Result<Arc<pypi::client::Client<'a>>> {
        let mut known = lock(&self.pypi);
        if let Some(client) = known.get(&names) {
            return Ok(Arc::clone(client));
        }
        let places = names.iter().map(|name| Ok((name.clone(), self.origins.pypi(name)?)));
        let places = places.collect::<Result<BTreeMap<_, _>>>()?;
        let client = Arc::new(pypi::client::Client::new(self.net, self.store, places, self.now));
        known.insert(names, Arc::clone(&client));
        Ok(client)
    }
}

/// The origins that Python's packages may be from.
pub(super) fn origins(python: &Python) -> BTreeSet<String> {
    python.sources.keys().chain([&python.index]).cloned().collect()
}
