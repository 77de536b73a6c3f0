//! What every command works with: the settings, resolved once from flags and the environment.
//!
//! This is the one place that reads the environment and the clock.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::arguments::{Format, Global};
use super::progress::Progress;
use crate::bake::Ground;
use crate::ecosystem::debian::sources::Sources;
use crate::ecosystem::origin::{Configured, Machine};
use crate::ecosystem::origins::Origins;
use crate::error::{Context as _, Error, Result};
use crate::net::{self, Client};
use crate::registry::{Logins, Registry};
use crate::sandbox::{Executor, Options, Session};
use crate::store::Store;
use crate::workspace::{self, Workspace};

/// See the module's documentation.
#[derive(Debug)]
pub struct Context {
    pub directory: PathBuf,
    pub store_path: PathBuf,
    pub offline: bool,
    /// Lockfiles are used as they are.
    pub frozen: bool,
    pub executor: Option<String>,
    pub format: Format,
    pub quiet: bool,
    pub verbose: bool,
    pub progress: Progress,
    /// Seconds since 1970: for expiry of signatures, never for anything that is hashed.
    pub now: u64,
    environment: Environment,
}

/// What is taken from the environment.
#[derive(Debug)]
struct Environment {
    proxies: [Option<String>; 3],
    /// `KILN_ORIGIN_<NAME>`: name in lower case with `-`, to the variable's name and its value.
    origins: BTreeMap<String, (String, String)>,
    apt: PathBuf,
    /// The user's configuration: `kiln/config.toml` below `$XDG_CONFIG_HOME`.
    configuration: Option<PathBuf>,
    /// `GITHUB_STEP_SUMMARY`: what a run of GitHub Actions shows of this step.
    summary: Option<PathBuf>,
    logins: Logins,
    /// `KILN_INSECURE_REGISTRIES`: registries that are asked without encryption.
    plain_registries: Vec<String>,
    /// `KILN_HTTP_TIMEOUT`: seconds without a byte in which an answer counts as stalled.
    timeout: Option<u64>,
    /// `KILN_HTTP_RETRIES`: further attempts at an address that gives no answer.
    retries: Option<u64>,
    /// `KILN_TREE_MEMORY`: MiB that a tree may have to live in memory while scripts run in it.
    tree_memory: Option<u64>,
}

impl Context {
    pub fn new(global: &Global) -> Result<Self> {
        let environment = Environment::read()?;
        let directory = match &global.directory {
            Some(directory) => directory.canonicalize().context(|| format!("changing to {}", directory.display()))?,
            None => env::current_dir().context(|| "finding the current folder")?,
        };
        let store_path = match &global.store {
            Some(path) => directory.join(path),
            None => default_store()?,
        };
        if let Some(jobs) = global.jobs {
            rayon::ThreadPoolBuilder::new().num_threads(jobs.into()).build_global().context(|| "starting threads")?;
        }
        if global.color == super::arguments::Color::Never {
            anstream::ColorChoice::Never.write_global();
        } else if global.color == super::arguments::Color::Always {
            anstream::ColorChoice::Always.write_global();
        }
        Ok(Self {
            directory,
            store_path,
            offline: global.offline,
            frozen: global.frozen,
            executor: global.executor.clone(),
            format: global.format,
            quiet: global.quiet,
            verbose: global.verbose,
            progress: Progress::new(global, flag("CI"), variable("TERM").as_deref() == Some("dumb")),
            now: now(),
            environment,
        })
    }

    pub fn workspace(&self) -> Result<Workspace> {
        Workspace::find(&self.directory)
    }

    pub fn store(&self) -> Result<Store> {
        Store::open(&self.store_path)
    }

    /// The addresses of Debian's archives, from everywhere they may be learnt.
    pub fn sources(&self, workspace: Option<&Workspace>) -> Result<Sources> {
        Ok(Sources::new(self.configured(workspace)?, Some(&self.environment.apt)))
    }

    /// Where the origins of languages' packages are.
    pub fn language_origins(&self, workspace: Option<&Workspace>) -> Result<Origins> {
        Ok(Origins { configured: self.configured(workspace)?, machine: machine() })
    }

    /// The addresses that kiln was told.
    fn configured(&self, workspace: Option<&Workspace>) -> Result<BTreeMap<String, Configured>> {
        let mut configured = BTreeMap::new();
        if let Some(workspace) = workspace {
            for (name, addresses) in &workspace.origins {
                configured
                    .insert(name.clone(), Configured { addresses: addresses.clone(), learnt: "kiln.toml".to_owned() });
            }
        }
        // The machine knows better than what is shared: its file and its variables go before the workspace's.
        if let Some(path) = &self.environment.configuration {
            for (name, addresses) in workspace::user_origins(path)? {
                configured.insert(name, Configured { addresses, learnt: path.display().to_string() });
            }
        }
        for (name, (variable, address)) in &self.environment.origins {
            configured.insert(name.clone(), Configured { addresses: vec![address.clone()], learnt: variable.clone() });
        }
        Ok(configured)
    }

    /// The origins that variables give an address to.
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        self.environment.origins.keys().map(String::as_str)
    }

    pub fn client(&self, sources: &Sources) -> Result<Client> {
        let [http, https, no] = self.environment.proxies.clone();
        let mut settings = net::Settings {
            offline: self.offline,
            http_proxy: http,
            https_proxy: https,
            no_proxy: no,
            ..net::Settings::default()
        };
        if let Some(seconds) = self.environment.timeout {
            settings.stall_timeout = Duration::from_secs(seconds);
            settings.connect_timeout = settings.connect_timeout.min(settings.stall_timeout);
        }
        if let Some(retries) = self.environment.retries {
            settings.tries = u32::try_from(retries)?.saturating_add(1);
        }
        sources.apt().proxies.apply_to(&mut settings);
        Client::new(&settings)
    }

    /// The file that becomes the summary of a step in GitHub Actions.
    pub fn summary(&self) -> Option<&Path> {
        self.environment.summary.as_deref()
    }

    /// Registries of images, with the logins of this machine's own clients.
    pub fn registry<'a>(&self, client: &'a Client) -> Registry<'a> {
        Registry::new(client, self.environment.logins.clone(), self.environment.plain_registries.clone())
    }

    /// The executor that was asked for, or the first that works here.
    pub fn executor(&self, store: &Store) -> Result<Executor> {
        match &self.executor {
            Some(name) => Executor::from_name(name),
            None => Executor::available(store.scratch()?.path(), &self.sandbox(store)),
        }
    }

    /// A sandbox to bake in, with an empty tree, as `start` starts it.
    pub fn start(
        &self,
        store: &Store,
        executor: Executor,
        in_memory: bool,
        start: fn(Executor, &Path, &Options) -> Result<Session>,
    ) -> Result<Ground> {
        let place = store.scratch()?;
        let session = start(executor, place.path(), &Options { in_memory, ..self.sandbox(store) })?;
        Ok(Ground { executor, session, place, in_memory, is_placed: false })
    }

    /// The largest tree that may live in memory while scripts run in it, in bytes. Larger ones take longer to compress
    /// than to place on a disk.
    pub fn tree_memory(&self) -> u64 {
        self.environment.tree_memory.unwrap_or(256) << 20
    }

    /// What sandboxes are started with that bake: no network, and nothing of this machine inside.
    pub fn sandbox(&self, store: &Store) -> Options {
        Options {
            program: program(),
            store: store.root().to_owned(),
            network: false,
            binds: Vec::new(),
            jobs: rayon::current_num_threads(),
            in_memory: false,
        }
    }
}

/// The program that becomes a sandbox's worker: this one.
pub fn program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

impl Environment {
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    fn read() -> Result<Self> {
        let proxy = |name: &str| variable(name).or_else(|| variable(&name.to_uppercase()));
        let all = proxy("all_proxy");
        let mut origins = BTreeMap::new();
        for (name, value) in env::vars_os() {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            if let Some(origin) = name.strip_prefix("KILN_ORIGIN_")
                && !value.is_empty()
            {
                origins.insert(origin.to_lowercase().replace('_', "-"), (name.to_owned(), value.to_owned()));
            }
        }
        Ok(Self {
            timeout: number("KILN_HTTP_TIMEOUT", 1)?,
            retries: number("KILN_HTTP_RETRIES", 0)?,
            tree_memory: number("KILN_TREE_MEMORY", 0)?,
            proxies: [proxy("http_proxy").or(all.clone()), proxy("https_proxy").or(all), proxy("no_proxy")],
            origins,
            configuration: variable("XDG_CONFIG_HOME")
                .filter(|path| Path::new(path).is_absolute())
                .map(PathBuf::from)
                .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")))
                .map(|folder| folder.join("kiln/config.toml")),
            summary: variable("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            logins: logins(),
            plain_registries: variable("KILN_INSECURE_REGISTRIES")
                .map(|list| {
                    list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
                })
                .unwrap_or_default(),
            apt: variable("KILN_APT_DIRECTORY").map_or_else(|| PathBuf::from("/etc/apt"), PathBuf::from),
        })
    }
}

/// Where podman's and docker's logins are, in the order of containers-auth.json(5).
fn logins() -> Logins {
    let home = variable("HOME").map(PathBuf::from);
    let below =
        |variable_name: &str, otherwise: Option<PathBuf>| variable(variable_name).map(PathBuf::from).or(otherwise);
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let config = below("XDG_CONFIG_HOME", home.as_ref().map(|home| home.join(".config")));
    let docker = below("DOCKER_CONFIG", home.as_ref().map(|home| home.join(".docker")));
    let podman = [runtime, config].into_iter().flatten().map(|folder| folder.join("containers/auth.json"));
    Logins {
        inline: variable("DOCKER_AUTH_CONFIG"),
        named: variable("REGISTRY_AUTH_FILE").map(PathBuf::from),
        files: podman.chain(docker.map(|folder| folder.join("config.json"))).collect(),
    }
}

/// What this machine's clients of package indexes are set up with.
#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn machine() -> Machine {
    const PREFIXES: [&str; 4] = ["PIP_", "UV_", "NPM_CONFIG_", "XDG_"];
    let wanted = |name: &str| {
        let name = name.to_uppercase();
        matches!(name.as_str(), "NETRC" | "HOME" | "PREFIX" | "VIRTUAL_ENV")
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    Machine {
        variables: env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| wanted(name))
            .collect(),
        home: variable("HOME").map(PathBuf::from),
        ask,
    }
}

/// What a client of this machine prints, if it is there and succeeds.
fn ask(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let mut client = process::Command::new(program);
    let output = client.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn default_store() -> Result<PathBuf> {
    if let Some(cache) = variable("XDG_CACHE_HOME").filter(|path| Path::new(path).is_absolute()) {
        return Ok(Path::new(&cache).join("kiln"));
    }
    let home = variable("HOME").ok_or_else(|| {
        Error::new("there is no place for the store: neither XDG_CACHE_HOME nor HOME is set")
            .hint("say where with `--store DIR` or KILN_STORE")
    })?;
    Ok(Path::new(&home).join(".cache/kiln"))
}

/// A variable that is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable that is a whole number, if it is set.
fn number(name: &str, least: u64) -> Result<Option<u64>> {
    variable(name)
        .map(|text| {
            let number = text.parse().ok().filter(|number| (least..=86_400).contains(number));
            number.ok_or_else(|| {
                Error::new(format!("{name} is `{text}`, a whole number from {least} to 86400 was expected"))
                    .hint(format!("unset {name}, or write the number alone"))
            })
        })
        .transpose()
}

fn flag(name: &str) -> bool {
    variable(name).is_some_and(|value| value != "0" && value != "false")
}

/// Seconds since 1970. KILN_NOW says otherwise, for tests alone: their archives expire and are signed at
/// fixed times. It decides what of an archive has expired, and nothing that is hashed.
#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
fn now() -> u64 {
    if let Some(now) = variable("KILN_NOW").and_then(|now| now.parse().ok()) {
        return now;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
