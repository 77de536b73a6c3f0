//! A definition that is being changed, and the lock that it gets: what `kiln add` and `kiln remove` have in common. Both
//! are written together or not at all, and no change that someone else makes meanwhile is lost.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use super::context::Context;
use super::lock::{Ground, Outcome, compare, renew, tell, write_lockfile};
use super::output::count;
use crate::error::{Context as _, Error, Result};
use crate::lock::{Lockfile, Reason, changes};
use crate::resolve::Moving;
use crate::workspace::{Asked, Ecosystem, Edit, Workspace};

/// What happened to one thing that a definition asks for.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    pub ecosystem: &'static str,
    pub name: String,
    pub action: Action,
    /// What was asked for before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What is asked for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The definition that asks for it, if that is one that is extended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inherited: Option<String>,
    /// What it is locked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Added,
    Changed,
    Unchanged,
    Removed,
}

impl Row {
    pub fn new(asked: &Asked, action: Action) -> Self {
        Self {
            ecosystem: asked.ecosystem.name(),
            name: asked.name.clone(),
            action,
            before: None,
            after: None,
            inherited: None,
            version: None,
        }
    }
}

/// Whether the lock follows, and whether anything is written.
#[derive(Clone, Copy, Debug)]
pub struct How {
    pub lock: bool,
    pub dry_run: bool,
}

/// What the commands report.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    environment: String,
    definition: String,
    written: bool,
    asked: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<Outcome>,
}

/// See the module's documentation.
pub struct Change<'a> {
    context: &'a Context,
    workspace: &'a Workspace,
    pub name: String,
    /// What the definition's file is called in messages.
    pub shown: PathBuf,
    before: String,
    pub edit: Edit,
}

/// A lock that is not written yet.
struct Locked {
    old: Option<Lockfile>,
    new: Lockfile,
    reasons: Vec<Reason>,
}

impl<'a> Change<'a> {
    pub fn new(context: &'a Context, workspace: &'a Workspace, name: &str) -> Result<Self> {
        let before = workspace.definition_text(name)?;
        let shown = Path::new("envs").join(format!("{name}.toml"));
        let edit = Edit::new(&shown, &before)?;
        Ok(Self { context, workspace, name: name.to_owned(), shown, before, edit })
    }

    /// Locks, writes and reports as `how` says. What `bare` names gets the bound that its lock gives it.
    pub fn finish(mut self, command: &str, mut rows: Vec<Row>, bare: &[Asked], how: How) -> Result<u8> {
        let started = Instant::now();
        let changed = rows.iter().any(|row| row.action != Action::Unchanged);
        let locked = match how.lock && changed {
            true => Some(self.lock(bare, &mut rows).map_err(|error| self.unchanged(error))?),
            false => None,
        };
        if changed && !how.lock {
            // Whatever is wrong with the definition then is found now.
            let draft = self.workspace.with_draft(&self.name, self.edit.text());
            crate::workspace::load(&draft, &self.name).map_err(|error| self.unchanged(error))?;
        }
        let written = changed && !how.dry_run;
        if written {
            self.write(locked.as_ref().map(|locked| &locked.new))?;
        }
        for row in &rows {
            self.context.say(&self.line(row));
        }
        let outcome = locked.map(|locked| self.tell(locked, how, started));
        if changed && how.dry_run && !how.lock {
            self.context.say(&format!("{}: not written, as `--dry-run` asks", self.shown.display()));
        }
        if self.context.format == super::arguments::Format::Json {
            let definition = self.shown.display().to_string();
            let report = Report { environment: self.name, definition, written, asked: rows, lock: outcome };
            self.context.report(command, &report, Vec::new)?;
        }
        Ok(0)
    }

    fn tell(&self, locked: Locked, how: How, started: Instant) -> Outcome {
        let Locked { old, new, reasons } = locked;
        let moved = changes(old.as_ref(), &new);
        let changed = old.as_ref() != Some(&new);
        tell(self.context, &self.name, &new, &moved, changed, how.dry_run, &reasons);
        let verb = if how.dry_run { "Resolved" } else { "Locked" };
        self.context.progress.phase(&format!("{verb} {}", count(new.packages.len(), "package")), started);
        Outcome::new(&self.name, &new, changed, reasons, moved)
    }

    /// Resolves what the changed definition asks for, and makes bounds of what was chosen.
    fn lock(&mut self, bare: &[Asked], rows: &mut [Row]) -> Result<Locked> {
        let ground = Ground::new(self.context, self.workspace)?;
        let registry = ground.registry(self.context);
        let resolver = ground.resolver(self.context, self.workspace, &registry)?;
        let draft = self.workspace.with_draft(&self.name, self.edit.text());
        let mut comparison = compare(&draft, &self.name, None)?;
        let (old, reasons) = (comparison.lockfile.clone(), comparison.reasons.clone());
        let mut new = renew(self.context, Some(&resolver), &self.name, &comparison, &Moving::Nothing)?;
        for asked in bare {
            let Some(version) = version(&new, asked) else { continue };
            let bound = asked.from_version(&version);
            self.edit.set(asked, &bound)?;
            for row in rows.iter_mut().filter(|row| row.after.as_ref() == Some(&asked.text) && row.name == asked.name) {
                row.after = Some(bound.text.clone());
            }
        }
        if !bare.is_empty() {
            // What the bounds say is in the lock as well.
            let draft = self.workspace.with_draft(&self.name, self.edit.text());
            comparison.settings = crate::workspace::load_for(&draft, &self.name, &new.environment.platforms)?;
            comparison.reasons = crate::lock::reasons(Some(&new), &comparison.settings);
            comparison.lockfile = Some(new);
            new = renew(self.context, Some(&resolver), &self.name, &comparison, &Moving::Nothing)?;
        }
        for row in rows {
            let ecosystem = Ecosystem::ALL.into_iter().find(|ecosystem| ecosystem.name() == row.ecosystem);
            if let (Some(ecosystem), Some(text)) = (ecosystem, &row.after) {
                row.version = version(&new, &Asked { ecosystem, name: row.name.clone(), text: text.clone() });
            }
        }
        Ok(Locked { old, new, reasons })
    }

    fn unchanged(&self, error: Error) -> Error {
        error
            .hint(format!("{} is left as it was; with `--no-lock` it is changed, and not locked", self.shown.display()))
    }

    /// Writes the definition, then its lock; if the latter fails, the definition is as it was before.
    fn write(&self, lockfile: Option<&Lockfile>) -> Result<()> {
        let path = self.workspace.definition_path(&self.name);
        let after = self.edit.text();
        replace(&path, &self.before, &after).context(|| format!("writing {}", self.shown.display()))?;
        let Some(lockfile) = lockfile else { return Ok(()) };
        write_lockfile(self.workspace, &self.name, lockfile).map_err(|error| {
            match replace(&path, &after, &self.before) {
                Ok(()) => error.hint(format!("{} is as it was before", self.shown.display())),
                Err(_) => error.hint(format!(
                    "{} is changed, and not locked: `kiln lock {}`",
                    self.shown.display(),
                    self.name
                )),
            }
        })
    }

    fn line(&self, row: &Row) -> String {
        let typed = |text: &Option<String>| match text {
            Some(text) if row.ecosystem == Ecosystem::Npm.name() => format!("npm:{}@{text}", row.name),
            Some(text) => format!("{}:{text}", row.ecosystem),
            None => format!("{}:{}", row.ecosystem, row.name),
        };
        let what = match row.action {
            Action::Added => format!("{} added", typed(&row.after)),
            Action::Changed => format!("{} in place of {}", typed(&row.after), typed(&row.before)),
            Action::Unchanged => {
                let by = row.inherited.as_ref().map(|path| format!(" by {path}, which it extends")).unwrap_or_default();
                format!("nothing to do, {} is asked for{by}", typed(&row.after))
            }
            Action::Removed => format!("{} removed", typed(&row.before)),
        };
        let version = row.version.as_ref().map(|version| format!(", locked at {version}")).unwrap_or_default();
        format!("{}: {what}{version}", self.shown.display())
    }
}

/// What a lock has chosen for what the definition asks for; the lowest if platforms differ.
fn version(lockfile: &Lockfile, asked: &Asked) -> Option<String> {
    let means = |package: &&crate::lock::Package| match asked.ecosystem {
        Ecosystem::Debian => package.requested.as_deref() == Some(&asked.text),
        _ => package.name == asked.name && package.requested.is_some(),
    };
    let packages = lockfile.packages.iter().filter(|package| package.ecosystem == asked.ecosystem.name()).filter(means);
    asked.lowest(packages.map(|package| package.version.as_str())).map(str::to_owned)
}

/// Writes a file as a whole in place of what is known of it. What someone else has written meanwhile stays, and is an
/// error; other kilns wait until this one is done.
fn replace(path: &Path, known: &str, text: &str) -> Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = path.canonicalize()?;
    let folder = path.parent().context(|| "it is in no folder")?;
    let guard = File::open(folder)?;
    flock(&guard, FlockOperation::LockExclusive)?;
    if fs::read_to_string(&path)? != known {
        return Err(Error::new("it has been changed meanwhile by someone else, and is left as it is")
            .hint("run the command again: it starts from what is there now"));
    }
    let permissions = fs::metadata(&path)?.permissions();
    let mut file = tempfile::Builder::new().prefix(".kiln-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::replace;

    #[test]
    fn only_what_is_known_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("a", &link).unwrap();
        replace(&link, "old", "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        let error = replace(&path, "old", "other").unwrap_err();
        assert!(error.message().contains("changed meanwhile"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left there");
    }
}
