//! `[python]` and `[npm]` as written, and merged over the definitions that extend one another.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::read;
use super::settings::{ForeignLock, Npm, Python};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// Makes an error at a place of the definition.
type Complain<'a> = &'a dyn Fn(Range<usize>, &str) -> Error;

/// Where `node_modules` goes unless the definition says otherwise.
const NPM_PREFIX: &str = "/srv/www";

/// `[python]` as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct PythonFile {
    packages: Vec<Spanned<String>>,
    constraints: Vec<Spanned<String>>,
    requirements: Option<Spanned<OneOrMore>>,
    lock: Option<Spanned<String>>,
    index: Option<String>,
    sources: BTreeMap<String, Vec<String>>,
    interpreter: Option<Spanned<String>>,
    compile: Option<bool>,
}

/// One path or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// `[npm]` as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct NpmFile {
    prefix: Option<Spanned<String>>,
    dependencies: BTreeMap<String, String>,
    overrides: BTreeMap<String, String>,
    lock: Option<Spanned<String>>,
    scripts: Vec<String>,
}

/// What `[python]` tables have said so far.
#[derive(Default)]
pub(super) struct PythonMerged {
    packages: BTreeSet<String>,
    constraints: BTreeSet<String>,
    sources: BTreeMap<String, BTreeSet<String>>,
    settings: Option<Python>,
}

impl PythonMerged {
    pub(super) fn add(&mut self, file: PythonFile, root: &Path, complain: Complain<'_>) -> Result<()> {
        let settings = self.settings.get_or_insert_with(|| Python { index: "pypi".to_owned(), ..Python::default() });
        for (list, words) in [(&mut self.packages, file.packages), (&mut self.constraints, file.constraints)] {
            for word in words {
                if word.get_ref().trim().is_empty() {
                    return Err(complain(word.span(), "a requirement names a package"));
                }
                list.insert(word.into_inner().trim().to_owned());
            }
        }
        if let Some(requirements) = file.requirements {
            let span = requirements.span();
            let paths = match requirements.into_inner() {
                OneOrMore::One(path) => vec![path],
                OneOrMore::More(paths) => paths,
            };
            for path in paths {
                let found = super::requirements::read_file(root, &path)
                    .map_err(|error| complain(span.clone(), &format!("`{path}` cannot be used")).caused_by(error))?;
                self.packages.extend(found.requirements);
                self.constraints.extend(found.constraints);
                settings.hashes.extend(found.hashes);
            }
        }
        if let Some(lock) = file.lock {
            settings.lock = Some(foreign(root, &lock, complain)?);
        }
        if let Some(index) = file.index {
            settings.index = index;
        }
        for (origin, names) in file.sources {
            self.sources.entry(origin).or_default().extend(names);
        }
        if let Some(interpreter) = file.interpreter {
            let name = interpreter.get_ref();
            if !name.starts_with("python") || !name[6..].chars().all(|c| c.is_ascii_digit() || c == '.') {
                return Err(complain(interpreter.span(), "an interpreter is the Debian package that brings it")
                    .hint("such as `python3` or `python2.7`"));
            }
            settings.interpreter = Some(interpreter.into_inner());
        }
        settings.compile = file.compile.unwrap_or(settings.compile);
        if settings.lock.is_some() && !self.packages.is_empty() {
            return Err(Error::new("`[python]` has `packages` or `requirements`, and a `lock`")
                .hint("the lock of another tool says everything: leave out the one or the other"));
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Option<Python> {
        let mut settings = self.settings?;
        settings.packages = self.packages.into_iter().collect();
        settings.constraints = self.constraints.into_iter().collect();
        settings.sources =
            self.sources.into_iter().map(|(origin, names)| (origin, names.into_iter().collect())).collect();
        Some(settings)
    }
}

/// Puts `[npm]` on top of what other definitions have said.
pub(super) fn add_npm(merged: &mut Option<Npm>, file: NpmFile, root: &Path, complain: Complain<'_>) -> Result<()> {
    let settings = merged.get_or_insert_with(|| Npm { prefix: NPM_PREFIX.to_owned(), ..Npm::default() });
    if let Some(prefix) = file.prefix {
        let path = prefix.get_ref();
        if !path.starts_with('/') || path.split('/').any(|name| name == "..") || path.contains('\0') {
            return Err(complain(prefix.span(), "`prefix` is an absolute path in the image"));
        }
        settings.prefix = prefix.into_inner();
    }
    settings.dependencies.extend(file.dependencies);
    settings.overrides.extend(file.overrides);
    if let Some(lock) = file.lock {
        settings.lock = Some(foreign(root, &lock, complain)?);
    }
    settings.scripts.extend(file.scripts);
    settings.scripts.sort();
    settings.scripts.dedup();
    if settings.lock.is_some() && !settings.dependencies.is_empty() {
        return Err(Error::new("`[npm]` has `dependencies` and a `lock`")
            .hint("a `package-lock.json` says everything: leave out the one or the other"));
    }
    Ok(())
}

/// A lockfile of another tool, by its path and its content.
fn foreign(root: &Path, path: &Spanned<String>, complain: Complain<'_>) -> Result<ForeignLock> {
    let name = path.get_ref();
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(complain(path.span(), "a lockfile is named relative to the workspace's folder"));
    }
    let text = read(&root.join(name), super::MAXIMUM_FOREIGN).context(|| format!("reading `{name}`"))?;
    Ok(ForeignLock { path: name.clone(), sha256: Digest::of(text.as_bytes()) })
}
