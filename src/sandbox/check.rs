//! Checking blobs beside programs that run: a thread that hashes what parts were placed from.

use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::store::Store;

/// How much is read before looking whether someone wants to be alone, in bytes.
const PIECE: usize = 1 << 18;

/// Blobs being compared with their digests.
#[derive(Debug)]
pub(super) struct Check {
    store: Arc<Store>,
    left: Arc<Mutex<Left>>,
    thread: JoinHandle<bool>,
}

/// What is left to be done, and where.
#[derive(Debug)]
pub(super) struct Left {
    /// Blobs that nobody has begun with.
    blobs: Vec<Digest>,
    /// The processor that a program runs on.
    taken: usize,
}

impl Check {
    /// Begins, beside a program that runs on the processor `taken`.
    pub fn start(store: &Arc<Store>, blobs: Vec<Digest>, taken: usize) -> Result<Self> {
        let left = Arc::new(Mutex::new(Left { blobs, taken }));
        let (theirs, blobs) = (Arc::clone(store), Arc::clone(&left));
        let check = move || {
            // Programs come first; the call is for this thread alone (setpriority(2)).
            let _ = rustix::process::setpriority_process(None, 10);
            let allowed = sched_getaffinity(None).unwrap_or_default();
            check(&theirs, &blobs, |taken| keep_off(allowed, taken))
        };
        let thread = std::thread::Builder::new().name("check".to_owned()).spawn(check);
        Ok(Self { store: Arc::clone(store), left, thread: thread.context(|| "starting a thread")? })
    }

    /// A program is to run on the processor `taken`. The thread's low priority would leave the program only half of it:
    /// programs are in sessions of their own, and sessions share alike (sched(7), autogroup).
    pub fn keep_off(&self, taken: usize) {
        self.pause().taken = taken;
    }

    /// As long as this is held, nothing more is read.
    pub fn pause(&self) -> MutexGuard<'_, Left> {
        lock(&self.left)
    }

    /// Whether all of them are right. On a machine with other work the thread may not have come far: who waits for it
    /// does the rest.
    pub fn wait(self) -> bool {
        let rest = check(&self.store, &self.left, |_| ());
        self.thread.join().unwrap_or(false) && rest
    }
}

/// Whether those that are left are right. What is not is set aside ([`Store::read_through`]), so all are looked at:
/// whoever then tries again should not find the next one. `place` is told which processor is taken.
fn check(store: &Store, left: &Mutex<Left>, place: impl Fn(usize)) -> bool {
    let mut sound = true;
    let mut buffer = vec![0; PIECE];
    loop {
        let (next, mut taken) = {
            let mut left = lock(left);
            (left.blobs.pop(), left.taken)
        };
        let Some(blob) = next else { return sound };
        place(taken);
        let read = |content: &mut dyn Read| {
            while content.read(&mut buffer)? > 0 {
                let now = lock(left).taken;
                if now != taken {
                    taken = now;
                    place(taken);
                }
            }
            Ok(())
        };
        sound &= store.read_through(&blob, read).is_ok();
    }
}

fn lock(left: &Mutex<Left>) -> MutexGuard<'_, Left> {
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has this thread run on the other processors, if there are any.
fn keep_off(mut allowed: CpuSet, taken: usize) {
    allowed.unset(taken);
    if allowed.count() > 0 {
        let _ = sched_setaffinity(None, &allowed);
    }
}
