//! Being asked to end: a request is handed on, and one that comes after the last ends the process on the spot.

use std::io::Read;
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::error::{Context, Result};

const SIGNALS: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// Where the handler writes the signal's number.
static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: write(2) is async-signal-safe, and saves nothing but `errno`, which is put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Calls `taken` with the signal's number, on a thread of its own, each time the process is asked to end. When it
/// says no, `end` is called, and nothing after it: a further signal ends the process. A signal that the process was
/// started to ignore, as by nohup(1), stays ignored. To be called once.
pub fn on_interrupt(
    taken: impl Fn(i32) -> bool + Send + 'static,
    end: impl FnOnce(i32) + Send + 'static,
) -> Result<()> {
    let (mut reader, writer) = std::io::pipe()?;
    // Open to the process's end: a handler may run at any time.
    PIPE.store(writer.into_raw_fd(), Ordering::Relaxed);
    let wait = move || {
        let mut signal = [0];
        while reader.read_exact(&mut signal).is_ok() {
            if !taken(signal[0].into()) {
                SIGNALS.into_iter().for_each(|signal| set(signal, libc::SIG_DFL));
                return end(signal[0].into());
            }
        }
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait).context(|| "starting a thread")?;
    for signal in SIGNALS {
        if disposition(signal) != libc::SIG_IGN {
            set(signal, note as *const () as libc::sighandler_t);
        }
    }
    Ok(())
}

/// Sets what a signal does.
fn set(signal: libc::c_int, handler: libc::sighandler_t) {
    // SAFETY: all zeroes is a valid `sigaction`; the handler is `note` or a constant of the system.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

/// What a signal does.
fn disposition(signal: libc::c_int) -> libc::sighandler_t {
    // SAFETY: asks without changing anything.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action);
        action.sa_sigaction
    }
}
