//! Checking blobs beside programs that run: a thread that hashes what parts were placed from.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::store::Store;

/// Blobs being compared with their digests.
#[derive(Debug)]
pub(super) struct Check {
    store: Arc<Store>,
    /// Those that nobody has begun with.
    left: Arc<Mutex<Vec<Digest>>>,
    thread: JoinHandle<bool>,
}

impl Check {
    /// Begins.
    pub fn start(store: &Arc<Store>, blobs: Vec<Digest>) -> Result<Self> {
        let left = Arc::new(Mutex::new(blobs));
        let (theirs, blobs) = (Arc::clone(store), Arc::clone(&left));
        let check = move || {
            // Programs come first; the call is for this thread alone (setpriority(2)).
            let _ = rustix::process::setpriority_process(None, 10);
            check(&theirs, &blobs)
        };
        let thread = std::thread::Builder::new().name("check".to_owned()).spawn(check);
        Ok(Self { store: Arc::clone(store), left, thread: thread.context(|| "starting a thread")? })
    }

    /// Whether all of them are right. On a machine with other work the thread may not have come far: who waits for it
    /// does the rest.
    pub fn wait(self) -> bool {
        let rest = check(&self.store, &self.left);
        self.thread.join().unwrap_or(false) && rest
    }
}

/// Whether those that are left are right. What is not is set aside ([`Store::open_checked`]), so all are looked at:
/// whoever then tries again should not find the next one.
fn check(store: &Store, left: &Mutex<Vec<Digest>>) -> bool {
    let mut sound = true;
    loop {
        let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(blob) = next else { return sound };
        sound &= store.open_checked(&blob).is_ok();
    }
}
