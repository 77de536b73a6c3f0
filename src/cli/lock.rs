//! `kiln lock`: resolving what definitions ask for and locks do not hold.

use std::fs;
use std::io::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::arguments::Lock;
use super::context::Context;
use super::output::count;
use crate::ecosystem::debian::sources::Sources;
use crate::error::{Context as _, Error, Kind, Result};
use crate::lock::{Change, Local, Lockfile, Reason, changes, reasons};
use crate::net::Client;
use crate::registry::Registry;
use crate::resolve::{Moving, Resolver, changed_local_packages, copies};
use crate::store::Store;
use crate::workspace::{self, Settings, Workspace};

/// What happened to one lockfile.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    environment: String,
    changed: bool,
    packages: usize,
    reasons: Vec<Reason>,
    changes: Vec<Change>,
}

impl Outcome {
    pub fn new(name: &str, new: &Lockfile, changed: bool, reasons: Vec<Reason>, changes: Vec<Change>) -> Self {
        Self { environment: name.to_owned(), changed, packages: new.packages.len(), reasons, changes }
    }
}

pub fn run(context: &Context, arguments: &Lock) -> Result<u8> {
    let workspace = context.workspace()?;
    let names = workspace.select(&arguments.environments)?;
    if arguments.check {
        return check(context, &workspace, &names);
    }
    relock(context, &workspace, &names, &Moving::Nothing, arguments.dry_run)
}

/// Brings the locks of `names` up to date, moving what `moving` says; the exit code.
pub fn relock(
    context: &Context,
    workspace: &Workspace,
    names: &[String],
    moving: &Moving,
    dry_run: bool,
) -> Result<u8> {
    let started = Instant::now();
    let mut outcomes = Vec::new();
    let mut compared = Vec::new();
    for name in names {
        compared.push((name, compare(workspace, name, None)?));
    }
    let ground = match compared.iter().any(|(_, comparison)| comparison.resolves(moving)) {
        true => Some(Ground::new(context, workspace)?),
        false => None,
    };
    let registry = ground.as_ref().map(|ground| ground.registry(context));
    let resolver = ground.as_ref().zip(registry.as_ref());
    let resolver = resolver.map(|(ground, registry)| ground.resolver(context, workspace, registry)).transpose()?;
    for (name, comparison) in compared {
        let new = renew(context, resolver.as_ref(), name, &comparison, moving)?;
        let Comparison { lockfile: old, reasons, .. } = comparison;
        let moved = changes(old.as_ref(), &new);
        let changed = old.as_ref() != Some(&new) || reasons.contains(&Reason::Conflicted);
        if changed && !dry_run {
            write_lockfile(workspace, name, &new)?;
        }
        tell(context, name, &new, &moved, changed, dry_run, &reasons);
        outcomes.push(Outcome::new(name, &new, changed, reasons, moved));
    }
    let packages: usize = outcomes.iter().map(|outcome| outcome.packages).sum();
    let verb = if dry_run { "Resolved" } else { "Locked" };
    let (packages, environments) = (count(packages, "package"), count(outcomes.len(), "environment"));
    context.progress.phase(&format!("{verb} {packages} in {environments}"), started);
    if context.format == super::arguments::Format::Json {
        context.report("lock", &outcomes, Vec::new)?;
    }
    Ok(0)
}

/// The lock that an environment gets, moving what `moving` says. `resolver` is there if anything has to be resolved.
pub fn renew(
    context: &Context,
    resolver: Option<&Resolver<'_>>,
    name: &str,
    comparison: &Comparison,
    moving: &Moving,
) -> Result<Lockfile> {
    let Comparison { settings, lockfile: old, reasons, .. } = comparison;
    match resolver {
        Some(resolver) if comparison.resolves(moving) || old.is_none() => {
            let anew = reasons.iter().any(Reason::concerns_everything);
            context.progress.start(&format!("Resolving {name}"), None, false);
            let resolved = resolver.lock(name, settings, old.as_ref(), moving, anew);
            context.progress.end(&format!("Resolving {name}"));
            resolved
        }
        _ => match old.clone() {
            Some(old) => Ok(with_settings(name, old, settings)),
            None => Err(Error::new(format!("`{name}` is not locked"))),
        },
    }
}

/// What resolving stands on.
pub struct Ground {
    store: Store,
    client: Client,
    sources: Sources,
}

impl Ground {
    pub fn new(context: &Context, workspace: &Workspace) -> Result<Self> {
        let sources = context.sources(Some(workspace))?;
        Ok(Self { client: context.client(&sources)?, sources, store: context.store()? })
    }

    pub fn registry(&self, context: &Context) -> Registry<'_> {
        context.registry(&self.client)
    }

    pub fn resolver<'g>(
        &'g self,
        context: &Context,
        workspace: &'g Workspace,
        registry: &'g Registry<'g>,
    ) -> Result<Resolver<'g>> {
        let origins = context.language_origins(Some(workspace))?;
        Ok(Resolver::new(&workspace.root, &self.store, &self.client, &self.sources, registry, origins, context.now))
    }
}

/// Says what became of a lock.
pub fn tell(
    context: &Context,
    name: &str,
    new: &Lockfile,
    moved: &[Change],
    changed: bool,
    dry_run: bool,
    reasons: &[Reason],
) {
    // A new lock's list of packages is the lock itself.
    if reasons == [Reason::Missing] && !context.verbose {
        let written = if dry_run { ", not written, as `--dry-run` asks" } else { "" };
        context.say(&format!("{name}: {}{written}", count(new.packages.len(), "package")));
        return;
    }
    for change in moved {
        context.say(&format!("{name}: {}", change.line()));
    }
    match (changed, moved.is_empty()) {
        (false, _) => context.say(&format!("{name}: up to date")),
        (true, true) if reasons == [Reason::Conflicted] => {
            context.say(&format!("{name}: both sides' pins kept, no package moved"));
        }
        (true, true) => context.say(&format!("{name}: settings updated, no package moved")),
        (true, false) => {}
    }
    if changed && dry_run {
        context.say(&format!("{name}: not written, as `--dry-run` asks"));
    }
}

fn check(context: &Context, workspace: &Workspace, names: &[String]) -> Result<u8> {
    let mut outcomes = Vec::new();
    for name in names {
        let Comparison { lockfile: old, reasons, .. } = compare(workspace, name, None)?;
        let packages = old.as_ref().map_or(0, |old| old.packages.len());
        outcomes.push(Outcome {
            environment: name.clone(),
            changed: !reasons.is_empty(),
            packages,
            reasons,
            changes: Vec::new(),
        });
    }
    if context.format == super::arguments::Format::Json {
        context.report("lock", &outcomes, Vec::new)?;
    }
    let stale: Vec<(&str, &[Reason])> = outcomes
        .iter()
        .filter(|outcome| outcome.changed)
        .map(|outcome| (outcome.environment.as_str(), outcome.reasons.as_slice()))
        .collect();
    if stale.is_empty() {
        return Ok(0);
    }
    Err(stale_error(&stale))
}

/// The error that says of each environment why its lock is stale.
pub fn stale_error(stale: &[(&str, &[Reason])]) -> Error {
    let names: Vec<&str> = stale.iter().map(|(name, _)| *name).collect();
    let mut lines = Vec::new();
    for (name, reasons) in stale {
        lines.extend(reasons.iter().map(|reason| format!("{name}: {reason}")));
    }
    if let [(name, [Reason::Missing])] = stale {
        return Error::no(format!("`{name}` is not locked")).hint(format!("run `kiln lock {name}`"));
    }
    let what = if let [name] = names.as_slice() {
        format!("the lock of `{name}` is stale")
    } else {
        format!("{} locks are stale", names.len())
    };
    Error::no(what).detail(lines.join("\n")).hint(format!("run `kiln lock {}` to bring it up to date", names.join(" ")))
}

/// A lock whose pins all hold, under settings that shape the image otherwise.
fn with_settings(name: &str, mut lockfile: Lockfile, settings: &Settings) -> Lockfile {
    lockfile.environment = settings.clone();
    lockfile.format = crate::FORMAT;
    lockfile.keep_platforms();
    lockfile.normalize();
    lockfile.drop_void_outputs(name);
    lockfile
}

/// An environment's definition beside its lock.
pub struct Comparison {
    pub settings: Settings,
    /// The lock, as far as there is one.
    pub lockfile: Option<Lockfile>,
    /// Why the one does not fit the other.
    pub reasons: Vec<Reason>,
    /// The workspace's own files as they are now.
    pub local: Vec<Local>,
}

impl Comparison {
    /// Whether indexes are needed to bring the lock up to date.
    pub fn resolves(&self, moving: &Moving) -> bool {
        *moving != Moving::Nothing || self.reasons.iter().any(Reason::needs_resolution)
    }
}

/// Compares an environment's definition with its lock. With a store, local files that are to be copied are in it
/// afterwards.
pub fn compare(workspace: &Workspace, name: &str, store: Option<&Store>) -> Result<Comparison> {
    let path = workspace.lockfile_path(name);
    let conflicted = match fs::read_to_string(&path) {
        Ok(text) => Lockfile::parse_conflicted(&text).context(|| format!("reading the lockfile {}", path.display()))?,
        Err(_) => None,
    };
    if let Some(conflicted) = conflicted {
        let settings = workspace::load_for(workspace, name, &conflicted.environment.platforms)?;
        let reasons = vec![Reason::Conflicted];
        return Ok(Comparison { settings, lockfile: Some(conflicted), reasons, local: Vec::new() });
    }
    let lockfile = read_lockfile(workspace, name);
    let locked = lockfile.as_ref().ok().and_then(Option::as_ref);
    // What is wrong with a definition is said first.
    let settings = workspace::load_for(workspace, name, locked.map_or(&[], |locked| &locked.environment.platforms))?;
    let lockfile = lockfile?;
    let mut reasons = reasons(lockfile.as_ref(), &settings);
    let mut local = Vec::new();
    if let Some(lockfile) = &lockfile {
        let changed = changed_local_packages(&workspace.root, lockfile);
        reasons.extend(changed.into_iter().map(|path| Reason::LocalChanged { path }));
        if lockfile.environment.steps == settings.steps {
            local = copies(&workspace.root, store, &settings)?;
            let changed = local.iter().filter(|row| !lockfile.local.contains(row));
            reasons.extend(changed.map(|row| Reason::CopyChanged { path: row.from.clone() }));
        }
    }
    Ok(Comparison { settings, lockfile, reasons, local })
}

/// The lockfile of an environment, if there is one.
pub fn read_lockfile(workspace: &Workspace, name: &str) -> Result<Option<Lockfile>> {
    let path = workspace.lockfile_path(name);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::new(format!("reading {}", path.display())).caused_by(error)),
    };
    Lockfile::parse(&text).map(Some).context(|| format!("reading the lockfile {}", path.display()))
}

/// The lockfile of an environment; an error with what to do if there is none.
pub fn locked(workspace: &Workspace, name: &str) -> Result<Lockfile> {
    read_lockfile(workspace, name)?
        .ok_or_else(|| Error::no(format!("`{name}` is not locked")).hint(format!("run `kiln lock {name}`")))
}

/// Writes a lockfile as a whole or not at all, and not if it says the same already.
pub fn write_lockfile(workspace: &Workspace, name: &str, lockfile: &Lockfile) -> Result<()> {
    let path = workspace.lockfile_path(name);
    let text = lockfile.to_text()?;
    if fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let folder = path.parent().expect("a lockfile is in a folder");
    let write = || -> Result<()> {
        fs::create_dir_all(folder)?;
        let file = tempfile::Builder::new().prefix(".kiln-").permissions(permissions()).tempfile_in(folder);
        // Its own words name the temporary file, which nobody knows.
        let mut file = file.map_err(|error| Error::new(error.kind().to_string()))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        Ok(())
    };
    write().context(|| format!("writing the lockfile {}", path.display())).map_err(|error| error.kind(Kind::Trouble))
}

/// Like any file that people write; the umask takes its share.
fn permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
