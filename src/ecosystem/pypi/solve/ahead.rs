//! Asking the index ahead of time: threads that fetch what the search will probably want next, while it thinks.
//!
//! Nothing depends on them but time: whatever they have not fetched, the search waits for itself.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pep440_rs::Version;

use super::universe::Universe;
use crate::ecosystem::pypi::name::Name;
use crate::ecosystem::pypi::ranges::Range;

/// Threads, each of which waits for one answer at a time.
pub(super) const THREADS: usize = 24;

/// Something to fetch.
enum Job {
    /// A project's page.
    Page(Name),
    /// The metadata of the version of a range that would be chosen.
    Best(Name, Range),
    /// The metadata of the first so many versions below one.
    Below(Name, Version, Range, usize),
}

/// The list of what is to be fetched.
#[derive(Default)]
pub(super) struct Ahead {
    jobs: Mutex<Jobs>,
    wake: Condvar,
}

#[derive(Default)]
struct Jobs {
    queue: VecDeque<Job>,
    pages: BTreeSet<Name>,
    ended: bool,
}

impl Ahead {
    /// Fetches a project's page, once.
    pub fn page(&self, name: &Name) {
        let mut jobs = self.lock();
        if jobs.pages.insert(name.clone()) {
            jobs.queue.push_back(Job::Page(name.clone()));
            self.wake.notify_one();
        }
    }

    /// Fetches the metadata of the version that would be chosen of a range.
    pub fn best(&self, name: &Name, range: &Range) {
        self.lock().queue.push_back(Job::Best(name.clone(), range.clone()));
        self.wake.notify_one();
    }

    /// Fetches the metadata of the next versions of a range, for a project of which many were tried.
    pub fn below(&self, name: &Name, version: &Version, range: &Range, count: usize) {
        self.lock().queue.push_back(Job::Below(name.clone(), version.clone(), range.clone(), count));
        self.wake.notify_one();
    }

    /// Lets the threads go.
    pub fn end(&self) {
        let mut jobs = self.lock();
        jobs.ended = true;
        jobs.queue.clear();
        self.wake.notify_all();
    }

    /// What a thread does until the end.
    pub fn work(&self, universe: &Universe<'_>) {
        loop {
            let job = {
                let mut jobs = self.lock();
                loop {
                    if jobs.ended {
                        return;
                    }
                    match jobs.queue.pop_front() {
                        Some(job) => break job,
                        None => jobs = self.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            };
            self.run(universe, job);
        }
    }

    /// What goes wrong here goes wrong again where the search asks for it.
    fn run(&self, universe: &Universe<'_>, job: Job) {
        let (Job::Page(name) | Job::Best(name, _) | Job::Below(name, ..)) = &job;
        let Ok(Some(candidates)) = universe.candidates(name) else { return };
        let usable = |at: usize| universe.other_python(&candidates, at).is_none();
        match &job {
            Job::Page(_) => {}
            Job::Best(_, range) => {
                if let Some(at) = universe.select(&candidates, range).filter(|at| usable(*at)) {
                    let _ = universe.metadata(&candidates, at);
                }
            }
            Job::Below(_, version, range, count) => {
                let mut range = range.intersection(&Range::strictly_lower_than(version.clone()));
                for _ in 0..*count {
                    let Some(at) = universe.best(&candidates, &range) else { return };
                    let version = candidates.versions[at].clone();
                    range = range.intersection(&Range::singleton(version.clone()).complement());
                    if usable(at) {
                        self.best(name, &Range::singleton(version));
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the threads go however the search ends.
pub(super) struct Ending<'a>(pub &'a Ahead);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
