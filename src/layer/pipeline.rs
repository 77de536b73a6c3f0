//! Work on other cores whose results come back in order, with a bound on how much is under way.
//!
//! It has threads of its own rather than rayon's global ones: its jobs only burn CPU and wait for
//! nothing, so a thread of the global pool can wait for them without being given other work meanwhile
//! (which might want a lock that it holds itself).

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Context, Error, Result};

fn pool() -> Result<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let build = || {
        ThreadPoolBuilder::new()
            .num_threads(rayon::current_num_threads())
            .thread_name(|index| format!("codec-{index}"))
            .build()
            .ok()
    };
    POOL.get_or_init(build).as_ref().context(|| "starting threads failed")
}

/// How many jobs may be under way at once, those waiting to be collected included.
pub(super) fn width() -> usize {
    2 * rayon::current_num_threads() + 2
}

/// A result that is being worked on.
pub(super) struct Pending<T>(Receiver<T>);

impl<T: Send + 'static> Pending<T> {
    /// Starts `job` on another core.
    pub(super) fn start(job: impl FnOnce() -> T + Send + 'static) -> Result<Self> {
        let (sender, receiver) = sync_channel(1);
        // Nobody waits for the result if what asked for it has failed meanwhile.
        pool()?.spawn(move || drop(sender.send(job())));
        Ok(Self(receiver))
    }

    /// Waits for the result.
    pub(super) fn wait(self) -> Result<T> {
        self.0.recv().map_err(|_| Error::new("a worker thread ended without a result"))
    }
}

/// Results in the order in which their jobs were pushed.
pub(super) struct Ordered<T>(VecDeque<Pending<T>>);

impl<T: Send + 'static> Ordered<T> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Starts `job`; the oldest result if enough jobs are under way.
    pub(super) fn push(&mut self, job: impl FnOnce() -> T + Send + 'static) -> Result<Option<T>> {
        self.0.push_back(Pending::start(job)?);
        if self.0.len() > width() { self.next() } else { Ok(None) }
    }

    /// The oldest result, waited for; `None` if nothing is under way.
    pub(super) fn next(&mut self) -> Result<Option<T>> {
        self.0.pop_front().map(Pending::wait).transpose()
    }
}
