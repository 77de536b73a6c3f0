//! Programs that the user runs. One alone has the terminal, and signals that kiln gets are passed on to it; of several,
//! each gets those that kiln sends it.

use std::borrow::Cow;
use std::io::{IsTerminal, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use super::ForegroundCommand;
use super::protocol::{Reply, Request, Terminal, receive, send};
use crate::error::Result;

/// The signals that ask a program to end.
const SIGNALS: [libc::c_int; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Where the handler of [`SIGNALS`] writes their numbers; -1 outside of [`wait`].
static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid `info`.
    let from_terminal = unsafe { (*info).si_code } == libc::SI_KERNEL;
    // The terminal has sent it to the program as well, which then is in the same process group.
    if from_terminal && signal != libc::SIGHUP {
        return;
    }
    let byte = signal as u8;
    // SAFETY: write(2) is async-signal-safe, and saves nothing but `errno`, which is put back.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Handlers in place of those there were, until dropped.
struct Handlers {
    previous: Vec<(libc::c_int, libc::sigaction)>,
}

impl Handlers {
    fn install(pipe: i32) -> Self {
        PIPE.store(pipe, Ordering::Relaxed);
        let previous = SIGNALS.map(|signal| (signal, set_action(signal, &handler(pass_on))));
        // Giving the terminal back from a background group would stop this process.
        // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask.
        let mut ignore: libc::sigaction = unsafe { std::mem::zeroed() };
        ignore.sa_sigaction = libc::SIG_IGN;
        let terminal = (libc::SIGTTOU, set_action(libc::SIGTTOU, &ignore));
        Self { previous: previous.into_iter().chain([terminal]).collect() }
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        for (signal, action) in &self.previous {
            set_action(*signal, action);
        }
        PIPE.store(-1, Ordering::Relaxed);
    }
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

fn handler(function: Handler) -> libc::sigaction {
    // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = function as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    action
}

/// Sets what a signal does and returns what it did.
fn set_action(signal: libc::c_int, action: &libc::sigaction) -> libc::sigaction {
    // SAFETY: both pointers are to valid structs; a handler set by this module only writes to a pipe.
    unsafe {
        let mut previous: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, action, &raw mut previous);
        previous
    }
}

/// Sends signals to a program from any thread, before it runs as well.
#[derive(Debug)]
pub struct Signaller(PipeWriter);

/// Where the signals for a program come from.
#[derive(Debug)]
pub struct Signals(PipeReader);

/// The two ends of a way for signals.
pub fn signals() -> Result<(Signaller, Signals)> {
    let (reader, writer) = std::io::pipe()?;
    Ok((Signaller(writer), Signals(reader)))
}

impl Signaller {
    /// Sends a signal by its number. To a program that has ended it goes nowhere.
    pub fn send(&mut self, signal: i32) {
        if let Ok(signal) = u8::try_from(signal) {
            let _ = self.0.write_all(&[signal]);
        }
    }
}

/// Has the worker run `command` and waits for it to end.
pub(super) fn wait(stream: &mut UnixStream, command: &ForegroundCommand) -> Result<Reply> {
    let (sender, mut signals) = signals()?;
    let _handlers = Handlers::install(sender.0.as_raw_fd());
    let terminal = own_terminal();
    let way = if terminal.is_some() { Terminal::Taken } else { Terminal::Shared };
    let request = Request::Foreground { command: Cow::Borrowed(command), terminal: way };
    let result = send(stream, &request, &[]).and_then(|()| pass_signals(stream, &mut signals));
    if let Some(group) = terminal {
        // Fails only if the terminal has gone.
        let _ = rustix::termios::tcsetpgrp(std::io::stdin(), group);
    }
    result
}

/// The same for a program apart from kiln's terminal, with signals from elsewhere.
pub(super) fn supervise(stream: &mut UnixStream, command: &ForegroundCommand, signals: &mut Signals) -> Result<Reply> {
    let request = Request::Foreground { command: Cow::Borrowed(command), terminal: Terminal::Apart };
    send(stream, &request, &[])?;
    pass_signals(stream, signals)
}

fn pass_signals(stream: &mut UnixStream, signals: &mut Signals) -> Result<Reply> {
    let mut listening = true;
    loop {
        let mut ready = vec![PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN)];
        if listening {
            ready.push(PollFd::new(&signals.0, PollFlags::IN));
        }
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut ready = ready.iter().map(|ready| !ready.revents().is_empty()).collect::<Vec<_>>().into_iter();
        let (answered, signalled) = (ready.next() == Some(true), ready.next() == Some(true));
        if answered {
            return Ok(receive(stream)?.0);
        }
        if signalled {
            let mut signal = [0];
            // The end of the pipe: nobody is left to send any.
            listening = signals.0.read(&mut signal)? == 1;
            if listening {
                send(stream, &Request::Signal(signal[0].into()), &[])?;
            }
        }
    }
}

/// The foreground process group, if that is kiln's and all three standard streams are the terminal: in
/// a pipeline, its other programs need the terminal too.
fn own_terminal() -> Option<Pid> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()) {
        return None;
    }
    let group = rustix::termios::tcgetpgrp(std::io::stdin()).ok()?;
    (group == rustix::process::getpgrp()).then_some(group)
}
