//! Being interrupted: what is complete stays in the store, what is not is removed, and the exit code is
//! that of the signal (130 for ^C), as shells have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::context::Context;
use crate::error::Result;
use crate::{sandbox, store};

/// Whether the process is about to end: nothing more is to be said.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Ends the process properly when it is asked to end.
pub fn install(context: &Arc<Context>) -> Result<()> {
    let context = Arc::clone(context);
    sandbox::on_interrupt(move |signal| {
        ENDING.store(true, Ordering::SeqCst);
        context.progress.finish();
        store::abandon();
        context.say("Interrupted: what was complete is kept, and the next run goes on from there");
        std::process::exit(128 + signal);
    })
}

/// Does not return if the process is about to end: what failed meanwhile failed for that reason.
pub fn wait_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
