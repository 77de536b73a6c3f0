//! What this machine knows about where origins are served from: what kiln was told, and what the machine's own
//! clients are set up with. It holds values only; where to look for an origin its ecosystem knows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::net::{Address, Credentials};

/// The largest file of settings that is read, in bytes.
const MAXIMUM_SIZE: u64 = 1 << 20;

/// Addresses that kiln was told for an origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    pub addresses: Vec<String>,
    /// The file or variable that says so.
    pub learnt: String,
}

/// An address that serves an origin of a language's packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub address: Address,
    pub credentials: Option<Credentials>,
    /// Where the address was learnt, for `kiln store origins`.
    pub learnt: String,
}

/// What the machine says of itself. Nothing of it is ever hashed.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The environment's variables that clients of package indexes read.
    pub variables: BTreeMap<String, String>,
    /// The user's folder.
    pub home: Option<PathBuf>,
    /// Runs a client of this machine and returns what it prints, if it is there and succeeds.
    pub ask: fn(&[&str]) -> Option<String>,
}

impl Machine {
    /// A variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The content of a file of settings, if there is one of reasonable size.
    pub fn file(path: &Path) -> Option<String> {
        let size = fs::metadata(path).ok().filter(|metadata| metadata.is_file())?.len();
        (size <= MAXIMUM_SIZE).then(|| fs::read_to_string(path).ok()).flatten()
    }
}
