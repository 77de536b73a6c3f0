//! Being interrupted: what is complete stays in the store, what is not is removed, and the exit code is
//! that of the signal (130 for ^C), as shells have it. A command that has something to stop first takes signals itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::context::Context;
use crate::error::Result;
use crate::{sandbox, store};

/// Whether the process is about to end: nothing more is to be said.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Who takes signals instead.
type Taker = Box<dyn Fn(i32) + Send>;
static TAKER: Mutex<Option<Taker>> = Mutex::new(None);

/// Ends the process properly when it is asked to end and nobody has taken that over.
pub fn install(context: &Arc<Context>) -> Result<()> {
    let context = Arc::clone(context);
    let taken = |signal| match &*TAKER.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(taker) => {
            taker(signal);
            true
        }
        None => {
            ENDING.store(true, Ordering::SeqCst);
            false
        }
    };
    sandbox::on_interrupt(taken, move |signal| {
        context.progress.finish();
        store::abandon();
        context.say("Interrupted: what was complete is kept, and the next run goes on from there");
        std::process::exit(128 + signal);
    })
}

/// From now on each signal that asks the process to end is given to `taker`, and the process goes on. Does not return if
/// one has come already.
pub fn take_over(taker: impl Fn(i32) + Send + 'static) {
    let mut taking = TAKER.lock().unwrap_or_else(PoisonError::into_inner);
    wait_if_ending();
    *taking = Some(Box::new(taker));
}

/// Does not return if the process is about to end: what failed meanwhile failed for that reason.
pub fn wait_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
