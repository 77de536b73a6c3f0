//! Sandboxes that are being cleared away while other work goes on: removing a tree takes as long as a layer.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tempfile::TempDir;

use crate::sandbox::Session;

/// What is being cleared away. Dropping this waits for it; it must be dropped before the store.
#[derive(Debug, Default)]
pub struct Endings(Mutex<Vec<JoinHandle<()>>>);

impl Endings {
    /// Clears a sandbox away, then the place where it was.
    pub(super) fn end(&self, session: Session, place: TempDir) {
        let clear = move || {
            // A tree that could not be removed is collected later; what was baked does not suffer from it.
            let _ = session.finish();
            drop(place);
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(std::thread::spawn(clear));
    }
}

impl Drop for Endings {
    fn drop(&mut self) {
        for ending in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = ending.join();
        }
    }
}
