//! The workspace: `kiln.toml`, `envs/*.toml` and where lockfiles lie, as validated values.
//!
//! TOML text becomes typed settings here, and every complaint about it points at the offending text.
//! Nothing here knows the network, the store, or what a lockfile says.

mod asked;
mod definition;
mod diagnostic;
mod edit;
pub mod import;
mod languages;
mod platform;
mod ports;
mod requirements;
mod settings;
mod steps;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

pub use asked::{Asked, Ecosystem};
pub use definition::{is_name, load, load_for, origin_of};
pub use edit::{Edit, Effect};
pub use platform::Platform;
pub use ports::{Exposed, Protocol, Published};
pub use settings::{
    Base, BaseImage, Debian, ForeignLock, Healthcheck, ImageSettings, LAYOUT, Npm, Python, Settings, Source, Suite,
    User,
};
pub use steps::{Copy, Fetch, Run, Step, permissions};
pub use targets::{Target, is_image_name};

use crate::error::{Context, Error, Kind, Result};
use crate::tables;

/// The most bytes that a definition or `kiln.toml` may have.
const MAXIMUM_SIZE: u64 = 1 << 20;
/// The most bytes that a lockfile of another tool may have.
const MAXIMUM_FOREIGN: u64 = 64 << 20;

/// A folder with `kiln.toml`, `envs/` and `lockfiles/`.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder.
    pub root: PathBuf,
    /// Addresses of origins by name, from `[origins]`.
    pub origins: BTreeMap<String, Vec<String>>,
    /// Places that run environments, by name, from `[targets]`.
    targets: BTreeMap<String, Target>,
    /// Texts of definitions that count in place of the files'.
    drafts: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    origins: BTreeMap<String, Addresses>,
    targets: BTreeMap<Spanned<String>, targets::TargetFile>,
}

/// The user's configuration.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct UserFile {
    origins: BTreeMap<String, Addresses>,
}

/// One address or several, tried in order.
#[derive(Deserialize)]
#[serde(untagged)]
enum Addresses {
    One(String),
    Several(Vec<String>),
}

impl Workspace {
    /// Finds the workspace that `start` is in: the nearest folder upwards with a `kiln.toml`.
    pub fn find(start: &Path) -> Result<Self> {
        let root = start.ancestors().find(|folder| folder.join("kiln.toml").is_file()).ok_or_else(|| {
            Error::new(format!(
                "{} is in no workspace: neither it nor a folder above it has a `kiln.toml`",
                start.display()
            ))
            .kind(Kind::NotFound)
            .hint("`kiln init` starts a workspace here; `-C DIR` uses the one in DIR")
        })?;
        let shown = Path::new("kiln.toml");
        let text = read(&root.join(shown), MAXIMUM_SIZE)?;
        let file: File = tables::from_str(&text).map_err(|error| diagnostic::toml(shown, &text, &error))?;
        let mut workspace = Self {
            root: root.to_owned(),
            origins: addresses(file.origins),
            targets: BTreeMap::new(),
            drafts: BTreeMap::new(),
        };
        let complain = |span: Range<usize>, message: &str| diagnostic::at(shown, &text, span, message);
        workspace.targets = targets::check(file.targets, &workspace.environments()?, &complain)?;
        Ok(workspace)
    }

    /// The target of this name.
    pub fn target(&self, name: &str) -> Result<&Target> {
        self.targets.get(name).ok_or_else(|| {
            let error = Error::new(format!("no target `{name}` in {}", self.root.join("kiln.toml").display()))
                .kind(Kind::NotFound);
            let known: Vec<&str> = self.targets.keys().map(String::as_str).collect();
            match nearest(name, known.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None if known.is_empty() => error.hint(format!("a target is a table there: `[targets.{name}]`")),
                None => error.hint(format!("there are: {}", known.join(", "))),
            }
        })
    }

    /// The names of all targets, sorted.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.targets.keys().map(String::as_str)
    }

    /// The names of all environments, sorted: the definitions in `envs/` that are no mere base of others
    /// (those whose name starts with `_`).
    pub fn environments(&self) -> Result<Vec<String>> {
        let mut names = self.definitions()?;
        names.retain(|name| !name.starts_with('_'));
        Ok(names)
    }

    /// The names of all definitions, sorted.
    fn definitions(&self) -> Result<Vec<String>> {
        let folder = self.root.join("envs");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::new(format!("listing {}", folder.display())).caused_by(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".toml")
                && !name.starts_with('.')
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The environments that `asked` names, each once, in that order; all of them if it names none.
    pub fn select(&self, asked: &[String]) -> Result<Vec<String>> {
        let known = self.environments()?;
        if asked.is_empty() {
            if known.is_empty() {
                return Err(Error::new(format!("the workspace at {} has no environment", self.root.display()))
                    .hint("an environment is a file `envs/NAME.toml`; `kiln init` writes a first one"));
            }
            return Ok(known);
        }
        let mut selected: Vec<String> = Vec::new();
        for name in asked {
            if !known.contains(name) {
                let mut error = Error::new(format!("no environment `{name}` in {}", self.root.join("envs").display()))
                    .kind(Kind::NotFound);
                error = match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None if known.is_empty() => error.hint("an environment is a file `envs/NAME.toml`"),
                    None => error.hint(format!("there are: {}", known.join(", "))),
                };
                return Err(error);
            }
            if !selected.contains(name) {
                selected.push(name.clone());
            }
        }
        Ok(selected)
    }

    /// Where the definition of `environment` is.
    pub fn definition_path(&self, environment: &str) -> PathBuf {
        self.root.join("envs").join(format!("{environment}.toml"))
    }

    /// The same workspace as it would be if a definition's text were this.
    pub fn with_draft(&self, definition: &str, text: String) -> Self {
        let mut workspace = self.clone();
        workspace.drafts.insert(definition.to_owned(), text);
        workspace
    }

    /// The text of a definition.
    pub fn definition_text(&self, name: &str) -> Result<String> {
        match self.drafts.get(name) {
            Some(text) => Ok(text.clone()),
            None => read(&self.definition_path(name), MAXIMUM_SIZE),
        }
    }

    /// Where the lockfile of `environment` is.
    pub fn lockfile_path(&self, environment: &str) -> PathBuf {
        self.root.join("lockfiles").join(format!("{environment}.lock"))
    }
}

/// Addresses of origins by name, from the table `[origins]` of the user's configuration; none if there is
/// no such file.
pub fn user_origins(path: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = read(path, MAXIMUM_SIZE)?;
    let file: UserFile = tables::from_str(&text).map_err(|error| diagnostic::toml(path, &text, &error))?;
    Ok(addresses(file.origins))
}

fn addresses(origins: BTreeMap<String, Addresses>) -> BTreeMap<String, Vec<String>> {
    let lists = origins.into_iter().map(|(name, addresses)| match addresses {
        Addresses::One(address) => (name, vec![address]),
        Addresses::Several(addresses) => (name, addresses),
    });
    lists.collect()
}

/// The name among `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (name.len().max(candidate.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Reads a text file of reasonable size.
fn read(path: &Path, maximum: u64) -> Result<String> {
    let size = fs::metadata(path).context(|| format!("reading {}", path.display()))?.len();
    if size > maximum {
        return Err(Error::new(format!("{} has {size} bytes; at most {maximum} are accepted", path.display())));
    }
    fs::read_to_string(path).context(|| format!("reading {}", path.display()))
}
