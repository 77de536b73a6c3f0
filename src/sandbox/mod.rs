//! Running programs inside a tree with no network and no privileges, and reading back what they changed.
//!
//! A [`Session`] is one tree and a worker process of its own, which alone has the rights (a user
//! namespace, or root) to own the tree's files. The worker extracts parts into the tree, runs programs
//! in it, and reports and packs what they changed; when it ends, or kiln does, everything in it ends
//! and the tree is removed.
//!
//! It knows entries, parts and the store. It may not know packages, images, or why a program is run.

mod check;
mod confine;
mod device;
mod executor;
mod extract;
mod foreground;
mod inside;
mod interrupt;
mod kill;
pub mod memory;
mod mounts;
mod overlay;
mod protocol;
mod run;
mod session;
mod snapshot;
mod status;
mod tree;
mod volume;
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::layer::{Entry, Part};

pub use executor::Executor;
pub use foreground::{Signaller, Signals, signals};
pub use interrupt::on_interrupt;
pub use kill::signal_number;
pub use overlay::is_possible as can_lay;
pub use session::Session;
pub use worker::worker_main;

/// The hidden first argument that makes kiln the worker of a sandbox: see [`worker_main`].
pub const WORKER_ARGUMENT: &str = "__sandbox";

/// How many of the last bytes of a program's output are kept.
pub const OUTPUT_LIMIT: usize = 1 << 20;

/// What a session is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to start as the worker: kiln itself, `/proc/self/exe`.
    pub program: PathBuf,
    /// The store's directory: the worker opens it by itself.
    pub store: PathBuf,
    /// Whether programs share the host's network. Without it they have none.
    pub network: bool,
    /// Files and directories of the host shown inside.
    pub binds: Vec<Bind>,
    /// How many threads extract, hash and pack; 0 for one per processor.
    pub jobs: usize,
    /// Whether the tree lives in memory instead of on the store's disk. It is not to be kept then, and without
    /// namespaces it is on the disk all the same.
    pub in_memory: bool,
}

/// A file or directory of the host shown inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host, absolute.
    pub source: PathBuf,
    /// Inside, from the root.
    pub target: String,
    pub read_only: bool,
}

/// One layer's content, to be placed over what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extraction {
    /// The layer's directories, parents before children.
    pub directories: Vec<Entry>,
    /// The layer's parts: no path in two of them.
    pub parts: Vec<Part>,
    /// Paths that are not placed.
    pub skip: BTreeSet<String>,
}

/// A program to run inside, unattended.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Command {
    /// The program, looked up in the `PATH` of `environment`, and its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Whether it gets a pipe as file descriptor 3 whose lines are kept with their times.
    pub status_lines: bool,
}

/// How a [`Command`] ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its exit code; 128 and the signal's number if a signal ended it.
    pub code: i32,
    /// The last [`OUTPUT_LIMIT`] bytes of its standard output and standard error, in one.
    #[serde(skip)]
    pub output: Vec<u8>,
    /// When it started, by the same clock as the status lines.
    pub started: u64,
    /// For how long it ran, in nanoseconds.
    pub took: u64,
    /// The status lines, each with the time it arrived: nanoseconds since 1970 by the clock that the
    /// tree's file system stamps its changes with, so that they compare with [`Change::ctime`].
    pub status: Vec<(u64, String)>,
}

/// A program to run inside with the standard input, output and error that the session was started with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ForegroundCommand {
    /// The program, looked up in the `PATH` of `environment`, and its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Its working directory, from the root.
    pub directory: String,
    pub uid: u32,
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

/// A path that is not what it was at the mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// As in [`Entry::path`].
    pub path: String,
    /// What is there now; `None` if nothing is.
    pub entry: Option<Entry>,
    /// When it was last changed, in nanoseconds since 1970; of a removed path, when its directory was.
    pub ctime: u64,
}
