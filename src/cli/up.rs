//! `kiln up`: environments together, no container engine needed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::arguments::Up;
use super::context::Context;
use super::kitchen::Kitchen;
use super::output::count;
use super::start::{Locked, Prepared, Start, prepare};
use super::supervise::{Service, supervise};
use super::volumes::Kept;
use crate::error::{Error, Result};
use crate::sandbox::signal_number;
use crate::workspace::{Exposed, Target, Workspace};

/// What asks a program to end unless its image says otherwise.
const STOP: &str = "SIGTERM";

pub fn run(context: &Context, arguments: &Up) -> Result<u8> {
    let workspace = context.workspace()?;
    let names = workspace.select(&arguments.environments)?;
    let target = arguments.target.as_deref().map(|name| workspace.target(name)).transpose()?;
    let kitchen = Kitchen::new(context, &workspace)?;
    let environments =
        names.iter().map(|name| Environment::read(&kitchen, name, target)).collect::<Result<Vec<_>>>()?;
    check_ports(&environments)?;
    note_moved_ports(context, &environments, target);
    let kept = environments.iter().map(|one| one.volumes(&workspace)).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let pairs: Vec<(&Environment<'_>, &Option<Kept>)> = environments.iter().zip(&kept).collect();
    let prepared =
        in_parallel(&pairs, |(environment, kept)| environment.prepare(&kitchen, kept.as_ref(), arguments.fresh))?;
    context.progress.finish();
    context.progress.phase(&format!("Prepared {}", count(names.len(), "environment")), started);
    let mut services = Vec::new();
    for (environment, prepared) in environments.iter().zip(prepared) {
        services.push(Service { name: environment.locked.name, prepared, stop: environment.stop });
    }
    // The volumes stay locked until nothing uses them any more.
    let code = supervise(context, services);
    drop(kept);
    code
}

/// An environment that is to run.
struct Environment<'a> {
    locked: Locked<'a>,
    command: Vec<String>,
    variables: BTreeMap<String, String>,
    ports: Vec<Exposed>,
    stop: i32,
}

impl<'a> Environment<'a> {
    /// All that can be wrong with it is found out here, before anything starts.
    fn read(kitchen: &Kitchen<'_>, name: &'a str, target: Option<&Target>) -> Result<Self> {
        let locked = Locked::read(kitchen, name)?;
        let image = locked.image();
        let signal = image.stop_signal.as_deref().unwrap_or(STOP);
        let stop = signal_number(signal).ok_or_else(|| {
            Error::new(format!("`{name}` is stopped with `{signal}`, and there is no such signal"))
                .hint("`stop-signal` in `[image]` is a name such as `SIGTERM`, or a number")
        })?;
        Ok(Self {
            command: locked.command(&[])?,
            variables: target.map(|target| target.variables(name)).unwrap_or_default(),
            ports: image.exposed_ports.iter().map(|port| port.parse()).collect::<Result<_>>()?,
            stop,
            locked,
        })
    }

    /// The volumes that it keeps in the workspace; `None` if its image has none.
    fn volumes(&self, workspace: &Workspace) -> Result<Option<Kept>> {
        if self.locked.image().volumes.is_empty() {
            return Ok(None);
        }
        Kept::open(&workspace.root, self.locked.name).map(Some)
    }

    fn prepare(&self, kitchen: &Kitchen<'_>, kept: Option<&Kept>, fresh: bool) -> Result<Prepared> {
        let paths = self.locked.image().volumes.iter();
        let volumes = kept.map(|kept| paths.map(|path| kept.volume(path, fresh)).collect()).transpose()?;
        let start = Start {
            command: self.command.clone(),
            variables: self.variables.clone(),
            volumes: volumes.unwrap_or_default(),
            network: true,
            piped: true,
            ..Start::default()
        };
        prepare(kitchen, &self.locked, start)
    }
}

/// All share the machine's network: of two with the same port, one would fail to start.
fn check_ports(environments: &[Environment<'_>]) -> Result<()> {
    let mut users: BTreeMap<Exposed, &str> = BTreeMap::new();
    for environment in environments {
        let name = environment.locked.name;
        for port in &environment.ports {
            if let Some(other) = users.insert(*port, name)
                && other != name
            {
                return Err(Error::new(format!("`{other}` and `{name}` both want port {port} of this machine")).hint(
                    "name those that are to run together: `kiln up ENV...`; with an engine and `kiln compose` each has ports of its own",
                ));
            }
        }
    }
    Ok(())
}

/// Says which ports a target moves elsewhere: without a network of its own, a service has its own ports.
fn note_moved_ports(context: &Context, environments: &[Environment<'_>], target: Option<&Target>) {
    for environment in environments {
        let name = environment.locked.name;
        let moved = target.and_then(|target| target.ports(name)).unwrap_or_default();
        for port in moved.iter().filter(|port| port.number != port.exposed.number) {
            context.say(&format!(
                "{name} is on port {} and not on {}: `kiln up` shares this machine's network as it is",
                port.exposed, port.number
            ));
        }
    }
}

/// Calls `act` with each of `items`, several at once, until one fails; the results in the order of the items.
fn in_parallel<I: Sync, T: Send>(items: &[I], act: impl Fn(&I) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<T>>> = Mutex::default();
    std::thread::scope(|threads| {
        for _ in 0..items.len().min(rayon::current_num_threads()) {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else { break };
                    let result = act(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, result);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}
