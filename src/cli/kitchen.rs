//! What the commands that bake, or read what was locked, have in common.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::context::Context;
use super::errors::safe;
use super::lock::{Comparison, compare, locked, stale_error};
use super::output::{bytes, count};
use crate::bake::{Bakery, Endings, Ground, Progress, Turns};
use crate::digest::Digest;
use crate::ecosystem::debian::sources::Sources;
use crate::error::{Error, Result};
use crate::lock::{Artifact, Blob, Lockfile, Package, Reason};
use crate::net::{Client, Event};
use crate::resolve::{Languages, Locator, Places, copies};
use crate::sandbox::{Executor, Session};
use crate::store::Store;
use crate::workspace::Workspace;

/// What commands that read locks and bake have in common.
#[derive(Debug)]
pub struct Kitchen<'a> {
    /// The first to be dropped.
    endings: Endings,
    pub context: &'a Context,
    pub workspace: &'a Workspace,
    pub store: Store,
    pub sources: Sources,
    pub client: Client,
    turns: Turns,
    /// Warnings that have been given.
    told: Mutex<BTreeSet<String>>,
    executor: Mutex<Option<Executor>>,
    /// Set when processors are free, with the layers that are there by then ([`Progress::Ahead`]).
    pub ahead: Arc<OnceLock<Vec<Digest>>>,
}

impl<'a> Kitchen<'a> {
    pub fn new(context: &'a Context, workspace: &'a Workspace) -> Result<Self> {
        let sources = context.sources(Some(workspace))?;
        let client = context.client(&sources)?;
        Ok(Self {
            endings: Endings::default(),
            context,
            workspace,
            store: context.store()?,
            sources,
            client,
            turns: Turns::default(),
            told: Mutex::default(),
            executor: Mutex::default(),
            ahead: Arc::default(),
        })
    }

    /// The lockfile of an environment; an error that says why if it is missing or stale.
    pub fn lockfile(&self, name: &str) -> Result<Lockfile> {
        fitting_lockfile(self.context, self.workspace, name, Some(&self.store)).map(|(lockfile, _)| lockfile)
    }

    /// The executor that was asked for, or the first that works here; found out once.
    pub fn executor(&self) -> Result<Executor> {
        let mut known = self.executor.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some(executor) => Ok(executor),
            None => Ok(*known.insert(self.context.executor(&self.store)?)),
        }
    }

    /// A sandbox to bake in. The first that can be started is what decides which executor works here.
    fn start(&self, in_memory: bool) -> Result<Ground> {
        let mut known = self.executor.lock().unwrap_or_else(PoisonError::into_inner);
        let named = || self.context.executor.as_deref().map(Executor::from_name).transpose();
        if let Some(executor) = known.map_or_else(named, |known| Ok(Some(known)))? {
            drop(known);
            return self.context.start(&self.store, executor, in_memory, Session::start);
        }
        let start = |executor| self.context.start(&self.store, executor, in_memory, Executor::try_start);
        let first = Executor::first(start)?;
        *known = Some(first.executor);
        Ok(first)
    }

    /// Says something once, however often it is come across.
    fn warn(&self, line: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(line.clone()) {
            self.context.warn(&line);
        }
    }

    /// Calls `act` with what baking from `lockfile` needs.
    pub fn with_bakery<T>(
        &self,
        name: &str,
        lockfile: &Lockfile,
        act: impl FnOnce(&Bakery<'_>) -> Result<T>,
    ) -> Result<T> {
        let (now, origins) = (self.context.now, self.context.language_origins(Some(self.workspace))?);
        let languages = Languages::new(&self.client, &self.store, origins, now);
        let registry = self.context.registry(&self.client);
        let locator = Locator {
            workspace: self.workspace,
            store: &self.store,
            client: &self.client,
            sources: &self.sources,
            registry: &registry,
            languages,
            now,
            lockfile,
            places: Places::default(),
        };
        let candidates = |package: &Package, artifact: &Artifact| locator.candidates(package, artifact);
        let blob_candidates = |package: &Package, blob: &Blob| locator.blob_candidates(package, blob);
        let start = |in_memory| self.start(in_memory);
        let fetching = Mutex::new(None);
        let progress = |progress: Progress| match progress {
            Progress::Ahead { layers } => {
                let _ = self.ahead.set(layers);
            }
            Progress::Note(text) => self.warn(format!("{name}: {}", safe(&text))),
            Progress::Fetching { count, bytes } => {
                *fetching.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), count, bytes));
                self.context.progress.start(&format!("{name}: fetching"), Some(bytes), true);
            }
            Progress::Fetched => {
                self.context.progress.end(&format!("{name}: fetching"));
                let begun = fetching.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some((started, number, size)) = begun {
                    let what = format!("Fetched {} for {name} ({})", count(number, "artifact"), bytes(size));
                    self.context.progress.phase(&what, started);
                }
            }
            other => show(self.context, name, other),
        };
        act(&Bakery {
            store: &self.store,
            client: &self.client,
            candidates: &candidates,
            blob_candidates: &blob_candidates,
            start: &start,
            progress: &progress,
            tree_memory: self.context.tree_memory(),
            turns: &self.turns,
            endings: &self.endings,
        })
    }
}

/// The lockfile of an environment, with its local files as they are now, and in the store if one is given; an error
/// that says why if it is missing or stale. Changed local files are no staleness, and are named.
pub fn fitting_lockfile(
    context: &Context,
    workspace: &Workspace,
    name: &str,
    store: Option<&Store>,
) -> Result<(Lockfile, Vec<Reason>)> {
    if context.frozen {
        return Ok((frozen_lockfile(context, workspace, name, store)?, Vec::new()));
    }
    let Comparison { lockfile, mut reasons, local, .. } = compare(workspace, name, store)?;
    let changed = |reason: &mut Reason| matches!(reason, Reason::CopyChanged { .. });
    let changed: Vec<Reason> = reasons.extract_if(.., changed).collect();
    match lockfile {
        Some(mut lockfile) if reasons.is_empty() => {
            if !changed.is_empty() {
                lockfile.local = local;
                lockfile.normalize();
                lockfile.drop_void_outputs(name);
            }
            Ok((lockfile, changed))
        }
        _ => Err(stale_error(&[(name, &reasons)])),
    }
}

/// The lockfile as it is. What is copied can only be what was locked: nothing else is known of it.
fn frozen_lockfile(context: &Context, workspace: &Workspace, name: &str, store: Option<&Store>) -> Result<Lockfile> {
    let lockfile = locked(workspace, name)?;
    for row in copies(&workspace.root, store, &lockfile.environment)? {
        if !lockfile.local.contains(&row) {
            return Err(Error::no(format!("the files of `{}` are not those that `{name}` is locked with", row.from))
                .hint("`--frozen` uses the lockfile as it is: without it, `kiln build` takes changed files"));
        }
    }
    context.say(&format!("{name}: used as locked, and not compared with its definition"));
    Ok(lockfile)
}

/// Shows progress under the name of the environment, as several are baked at once.
fn show(context: &Context, name: &str, progress: Progress) {
    let bars = &context.progress;
    match progress {
        Progress::Download(event) => {
            if let Event::Progress { bytes, .. } = event {
                bars.advance(&format!("{name}: fetching"), bytes, "");
            }
        }
        Progress::Part { name: package, total } => {
            bars.start_once(&format!("{name}: unpacking"), total as u64);
            bars.advance(&format!("{name}: unpacking"), 1, &package);
        }
        Progress::Configuring { stage, packages } => {
            if stage == "packages" {
                bars.end(&format!("{name}: unpacking"));
            }
            bars.start(&format!("{name}: configuring {stage}"), None, false);
            bars.advance(&format!("{name}: configuring {stage}"), 0, &count(packages, "package"));
        }
        Progress::Running { step } => bars.start(&format!("{name}: running {step}"), None, false),
        Progress::Ran { step, took } => {
            bars.end(&format!("{name}: running {step}"));
            bars.spent(&format!("The script of {step} of {name} ran"), took);
        }
        // Told by whoever calls this.
        Progress::Fetching { .. } | Progress::Fetched | Progress::Note(_) | Progress::Ahead { .. } => {}
        Progress::Configured { stage, scripts } => {
            bars.end(&format!("{name}: configuring {stage}"));
            bars.spent(&format!("Scripts of the {stage} of {name} ran"), scripts);
        }
    }
}
