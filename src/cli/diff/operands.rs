//! What is compared: what was typed, and the lockfiles that it stands for.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::git::{LARGEST, Revision};
use crate::cli::context::Context;
use crate::digest::Digest;
use crate::error::{Context as _, Error, Kind, Result};
use crate::lock::Lockfile;
use crate::workspace::{Workspace, nearest};

/// How the names of lockfiles end.
const ENDING: &str = ".lock";

/// One side of the comparison.
#[derive(Debug)]
pub struct Side {
    /// What people call it.
    pub label: String,
    /// The lockfiles by the names of their environments.
    pub locks: BTreeMap<String, Lock>,
    /// Whether one lockfile was named, so that its name does not matter.
    pub single: bool,
}

/// A lockfile, and how to tell it from others.
#[derive(Debug)]
pub struct Lock {
    pub lockfile: Lockfile,
    pub identity: Identity,
}

/// What a lockfile is told by.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// Its path, or what was typed.
    pub place: String,
    /// The SHA-256 of its text.
    pub sha256: Digest,
    /// The time for which its archives were asked, or the date of the latest of its indexes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dated: Option<String>,
}

/// Both sides, as the operands say.
pub fn sides(context: &Context, old: Option<&str>, new: Option<&str>, named: &[String]) -> Result<(Side, Side)> {
    let workspace = context.workspace();
    let (mut one, mut other) = match (old, new) {
        (Some("-"), Some("-")) => {
            return Err(Error::new("both sides are `-`, and standard input can be read once")
                .hint("name a file on one side: `kiln diff - lockfiles/api.lock`"));
        }
        (Some(old), Some(new)) => (side(context, &workspace, old)?, side(context, &workspace, new)?),
        // An environment by itself: what became of it since the last commit.
        (Some(name), None) if workspace.as_ref().is_ok_and(|known| is_environment(known, name)) => {
            return sides(context, None, None, &[name.to_owned()]);
        }
        (Some(old), None) => (side(context, &workspace, old)?, working(&workspace?)?),
        (None, _) => (revision(&workspace.clone()?.root, "HEAD")?, working(&workspace?)?),
    };
    for name in named {
        if !one.locks.contains_key(name) && !other.locks.contains_key(name) {
            let known: Vec<&str> = one.locks.keys().chain(other.locks.keys()).map(String::as_str).collect();
            let error = Error::new(format!("neither side has a lockfile of `{name}`")).kind(Kind::NotFound);
            return Err(match nearest(name, known.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("run `kiln lock {name}` if it is an environment of the workspace")),
            });
        }
    }
    for side in [&mut one, &mut other] {
        side.locks.retain(|name, _| named.is_empty() || named.contains(name));
    }
    pair(&mut one, &mut other)?;
    Ok((one, other))
}

/// Two lockfiles are compared whatever they are called; one is compared with that of its name among several.
fn pair(one: &mut Side, other: &mut Side) -> Result<()> {
    if one.single && other.single {
        let name = other.locks.keys().next().cloned();
        let lock = one.locks.pop_first();
        one.locks.extend(name.zip(lock.map(|(_, lock)| lock)));
        return Ok(());
    }
    choose(one, other)?;
    choose(other, one)
}

fn choose(single: &Side, several: &mut Side) -> Result<()> {
    if !single.single {
        return Ok(());
    }
    let Some(name) = single.locks.keys().next() else { return Ok(()) };
    if !several.locks.contains_key(name) {
        let known: Vec<&str> = several.locks.keys().map(String::as_str).collect();
        return Err(Error::new(format!("{} has no lockfile of `{name}`", several.label)).kind(Kind::NotFound).hint(
            if known.is_empty() {
                "name two lockfiles: `kiln diff OLD NEW`".to_owned()
            } else {
                format!("there are: {}; two lockfiles are compared whatever they are called", known.join(", "))
            },
        ));
    }
    several.locks.retain(|known, _| known == name);
    Ok(())
}

fn is_environment(workspace: &Workspace, name: &str) -> bool {
    let path = name.contains('/') || name.ends_with(ENDING);
    !path && workspace.environments().is_ok_and(|known| known.iter().any(|known| known == name))
}

/// What one operand stands for.
fn side(context: &Context, workspace: &Result<Workspace>, operand: &str) -> Result<Side> {
    if let Some(rest) = operand.strip_prefix("git:") {
        let (typed, path) = rest.split_once(':').map_or((rest, None), |(typed, path)| (typed, Some(path)));
        return match (path, workspace) {
            (Some(path), _) => at_path(&context.directory, operand, typed, path),
            (None, Ok(workspace)) => revision(&workspace.root, typed),
            (None, Err(error)) => Err(Error::new(format!("finding the lockfiles of `{operand}`"))
                .caused_by(error.clone())
                .hint("outside a workspace, name the path in the repository: `git:REV:PATH`")),
        };
    }
    if operand == "-" {
        let mut text = String::new();
        std::io::stdin()
            .take(LARGEST)
            .read_to_string(&mut text)
            .context(|| "reading a lockfile from standard input")?;
        return single("-", "standard input", "-", &text);
    }
    if let Ok(workspace) = workspace
        && is_environment(workspace, operand)
    {
        let path = workspace.lockfile_path(operand);
        if !path.is_file() {
            return Err(Error::no(format!("`{operand}` is not locked")).hint(format!("run `kiln lock {operand}`")));
        }
        return single(operand, operand, &format!("lockfiles/{operand}{ENDING}"), &text_of(&path)?);
    }
    let path = context.directory.join(operand);
    if path.is_dir() {
        return folder(&path, operand);
    }
    if path.exists() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.strip_suffix(ENDING).unwrap_or(&name);
        return single(name, operand, operand, &text_of(&path)?);
    }
    let error = Error::new(format!("`{operand}` is no environment, and there is no such file")).kind(Kind::NotFound);
    let known = workspace.as_ref().ok().and_then(|workspace| workspace.environments().ok()).unwrap_or_default();
    Err(match nearest(operand, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("name a lockfile, a folder of lockfiles, an environment, `git:REV`, `git:REV:PATH` or `-`"),
    })
}

/// The lockfiles of the workspace as they are.
fn working(workspace: &Workspace) -> Result<Side> {
    let path = workspace.root.join("lockfiles");
    if path.is_dir() {
        return Ok(Side { label: "lockfiles".to_owned(), ..folder(&path, "lockfiles")? });
    }
    Ok(Side { label: "lockfiles".to_owned(), locks: BTreeMap::new(), single: false })
}

/// The lockfiles of a folder.
fn folder(path: &Path, shown: &str) -> Result<Side> {
    let mut locks = BTreeMap::new();
    let listing = || format!("listing the lockfiles in {}", path.display());
    for entry in fs::read_dir(path).context(listing)? {
        let file = entry.context(listing)?.file_name().to_string_lossy().into_owned();
        if let Some(name) = environment_of(&file) {
            let place = format!("{}/{file}", shown.trim_end_matches('/'));
            locks.insert(name.to_owned(), read(&text_of(&path.join(&file))?, &place)?);
        }
    }
    Ok(Side { label: shown.to_owned(), locks, single: false })
}

/// The environment that a file is the lockfile of, by its name.
fn environment_of(file: &str) -> Option<&str> {
    file.strip_suffix(ENDING).filter(|name| !name.is_empty() && !name.starts_with('.'))
}

/// The workspace's lockfiles at a revision.
fn revision(root: &Path, typed: &str) -> Result<Side> {
    let revision = Revision::find(root, typed)?;
    let path = format!("{}lockfiles", revision.prefix()?);
    at_folder(&revision, &format!("git:{typed}"), &path)
}

fn at_folder(revision: &Revision, label: &str, path: &str) -> Result<Side> {
    let mut locks = BTreeMap::new();
    for file in revision.folder(path)?.unwrap_or_default() {
        let Some(name) = environment_of(&file) else { continue };
        let path = format!("{}/{file}", path.trim_end_matches('/'));
        if let Some(text) = revision.file(&path)? {
            locks.insert(name.to_owned(), read(&text, &place(revision, &path))?);
        }
    }
    Ok(Side { label: label_at(revision, label), locks, single: false })
}

/// `git:REV:PATH`, from the top of the repository as git has it.
fn at_path(directory: &Path, operand: &str, typed: &str, path: &str) -> Result<Side> {
    let revision = Revision::find(directory, typed)?;
    if let Some(text) = revision.file(path)? {
        let file = path.rsplit('/').next().unwrap_or_default();
        let side = single(file.strip_suffix(ENDING).unwrap_or(file), operand, &place(&revision, path), &text)?;
        return Ok(Side { label: label_at(&revision, operand), ..side });
    }
    if revision.folder(path)?.is_some() {
        return at_folder(&revision, operand, path);
    }
    Err(Error::new(format!("there is no `{path}` in git at `{typed}`"))
        .kind(Kind::NotFound)
        .hint(format!("the path is from the top of the repository; `git ls-tree -r --name-only {typed}` lists all")))
}

fn place(revision: &Revision, path: &str) -> String {
    format!("git:{}:{path}", revision.commit)
}

fn label_at(revision: &Revision, typed: &str) -> String {
    format!("{typed} ({})", &revision.commit[..revision.commit.len().min(12)])
}

fn single(name: &str, label: &str, place: &str, text: &str) -> Result<Side> {
    let locks = BTreeMap::from([(name.to_owned(), read(text, place)?)]);
    Ok(Side { label: label.to_owned(), locks, single: true })
}

fn text_of(path: &Path) -> Result<String> {
    let what = || format!("reading the lockfile {}", path.display());
    let size = fs::metadata(path).context(what)?.len();
    if size > LARGEST {
        return Err(Error::new(format!("it has {size} bytes; at most {LARGEST} are accepted"))).context(what);
    }
    fs::read_to_string(path).context(what)
}

fn read(text: &str, place: &str) -> Result<Lock> {
    let mut lockfile = Lockfile::parse(text).context(|| format!("reading the lockfile {place}"))?;
    lockfile.normalize();
    let dated = lockfile.environment.debian.snapshot.clone();
    let dated = dated.or_else(|| lockfile.origins.iter().map(|origin| origin.date.clone()).max());
    let identity = Identity { place: place.to_owned(), sha256: Digest::of(text.as_bytes()), dated };
    Ok(Lock { lockfile, identity })
}
