//! Source distributions: how one is built (PEP 517, PEP 518), and building it in a sandbox.
//!
//! Where the tree comes from that it is built in, and which build dependencies are in it, is decided elsewhere.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::wheel::Layout;
use crate::digest::Digest;
use crate::ecosystem::fetch;
use crate::error::{Context, Error, Kind, Result};
use crate::sandbox::{Command, Session};
use crate::store::Store;
use crate::tables;

/// What a project without a `pyproject.toml` is built with (PEP 517, "Source trees").
const LEGACY_BACKEND: &str = "setuptools.build_meta:__legacy__";
const LEGACY_REQUIRES: [&str; 2] = ["setuptools >= 40.8.0", "wheel"];
/// The largest `pyproject.toml`, in bytes.
const LIMIT_PYPROJECT: u64 = 4 << 20;
/// How many of the last lines of a failed build's output are shown.
const SHOWN: usize = 40;

/// Where everything is while building.
const FOLDER: &str = "opt/kiln-build";
/// Where the source distribution is unpacked, without its own top folder.
pub const SOURCE: &str = "/opt/kiln-build/source";

/// Calls the backend. For every Python from 2.7 on.
const DRIVER: &str = r#"
import os, sys
from importlib import import_module
os.chdir(os.environ["KILN_SOURCE"])
paths = [path for path in os.environ["KILN_BACKEND_PATH"].split(":") if path]
sys.path[:0] = [os.path.join(os.getcwd(), path) for path in paths]
module, _, attributes = os.environ["KILN_BACKEND"].partition(":")
backend = import_module(module)
for attribute in attributes.split("."):
    if attribute:
        backend = getattr(backend, attribute)
os.makedirs(os.environ["KILN_OUT"])
backend.build_wheel(os.environ["KILN_OUT"])
"#;

/// What a source distribution says of how it is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSystem {
    /// Requirements (PEP 508) of what must be there to build it.
    pub requires: Vec<String>,
    /// The object with the hooks: `module:attribute`.
    pub backend: String,
    /// Folders of the source, before others, in which the backend is looked for.
    pub backend_path: Vec<String>,
}

impl Default for BuildSystem {
    fn default() -> Self {
        Self {
            requires: LEGACY_REQUIRES.map(str::to_owned).into(),
            backend: LEGACY_BACKEND.to_owned(),
            backend_path: Vec::new(),
        }
    }
}

impl BuildSystem {
    /// Reads a `pyproject.toml`.
    pub fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct File {
            build_system: Option<Table>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Table {
            requires: Vec<String>,
            build_backend: Option<String>,
            #[serde(default)]
            backend_path: Vec<String>,
        }
        let file: File = tables::from_str(text).context(|| "reading its pyproject.toml")?;
        let Some(table) = file.build_system else { return Ok(Self::default()) };
        if table.backend_path.iter().any(|path| path.starts_with('/') || path.contains(':') || path.contains("..")) {
            return Err(Error::new("its `backend-path` leaves its folder"));
        }
        let mut requires = table.requires;
        if table.build_backend.is_none() && !requires.iter().any(|word| word.starts_with("setuptools")) {
            requires.push(LEGACY_REQUIRES[0].to_owned());
        }
        // What setuptools needs besides itself before it brought that along (setuptools 70.1).
        if !requires.iter().any(|word| word.starts_with("wheel"))
            && table.build_backend.as_deref().is_none_or(|name| name.starts_with("setuptools"))
        {
            requires.push(LEGACY_REQUIRES[1].to_owned());
        }
        let backend = table.build_backend.unwrap_or_else(|| LEGACY_BACKEND.to_owned());
        Ok(Self { requires, backend, backend_path: table.backend_path })
    }

    /// Reads the source distribution called `filename` in the blob `sha256`.
    pub fn read(store: &Store, sha256: &Digest, filename: &str) -> Result<Self> {
        let text = fetch::file_at_depth(store, sha256, filename, "pyproject.toml", 1, LIMIT_PYPROJECT);
        match text.context(|| format!("reading the source distribution `{filename}`"))? {
            Some(bytes) => Self::parse(&String::from_utf8_lossy(&bytes)),
            None => Ok(Self::default()),
        }
    }
}

/// Where build dependencies are placed.
pub fn layout(interpreter: &str) -> Layout {
    let below = |name: &str| format!("{FOLDER}/{name}");
    Layout {
        site: below("site"),
        scripts: below("bin"),
        headers: below("include"),
        data: below("data"),
        interpreter: interpreter.to_owned(),
    }
}

/// Builds the source distribution at [`SOURCE`] in a session whose tree has everything; the wheel's bytes, and for how
/// many nanoseconds the backend ran.
pub fn build(
    session: &mut Session,
    system: &BuildSystem,
    interpreter: &str,
    environment: BTreeMap<String, String>,
) -> Result<(Vec<u8>, u64)> {
    let out = format!("/{FOLDER}/out");
    let mut environment = environment;
    let path = environment.get("PATH").cloned().unwrap_or_default();
    for (name, value) in [
        ("PATH", format!("/{FOLDER}/bin:{path}")),
        ("PYTHONPATH", format!("/{FOLDER}/site")),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("PYTHONNOUSERSITE", "1".to_owned()),
        ("KILN_SOURCE", SOURCE.to_owned()),
        ("KILN_BACKEND", system.backend.clone()),
        ("KILN_BACKEND_PATH", system.backend_path.join(":")),
        ("KILN_OUT", out.clone()),
    ] {
        environment.insert(name.to_owned(), value);
    }
    let arguments = [interpreter, "-c", DRIVER].map(str::to_owned).to_vec();
    let output = session.run(&Command { arguments, environment, status_lines: false })?;
    if output.code != 0 {
        let text = String::from_utf8_lossy(&output.output).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        return Err(Error::new(format!("building its source distribution ended with exit code {}", output.code))
            .detail(lines[lines.len().saturating_sub(SHOWN)..].join("\n"))
            .kind(Kind::Trouble)
            .hint("it is built in the image's own tree, without a network: compilers and headers that it needs are Debian packages, to be named in `[debian]`"));
    }
    let found = session.list(&out[1..]).context(|| "looking for the wheel that was built")?;
    let wheels: Vec<&String> = found.iter().filter(|name| name.ends_with(".whl")).collect();
    let [wheel] = wheels[..] else {
        return Err(Error::new(format!("building gave {} wheels, one was expected", wheels.len())));
    };
    let bytes = session.read(&format!("{}/{wheel}", &out[1..]))?;
    Ok((bytes.context(|| "the wheel that was built is not there")?, output.took))
}

#[cfg(test)]
mod tests {
    use super::BuildSystem;

    #[test]
    fn what_is_not_said_is_what_it_always_was() {
        assert_eq!(BuildSystem::parse("[project]\nname = \"x\"\n").unwrap(), BuildSystem::default());
        let system = BuildSystem::parse(
            "[build-system]\nrequires = [\"flit_core >= 3\"]\nbuild-backend = \"flit_core.buildapi\"\n",
        )
        .unwrap();
        assert_eq!(
            (system.backend.as_str(), system.requires.as_slice()),
            ("flit_core.buildapi", &["flit_core >= 3".to_owned()][..])
        );
        let system = BuildSystem::parse("[build-system]\nrequires = []\n").unwrap();
        assert_eq!(system.requires.len(), 2);
        assert!(BuildSystem::parse("[build-system]\nrequires = []\nbackend-path = [\"../x\"]\n").is_err());
        assert!(BuildSystem::parse("[build-system").is_err());
    }
}
