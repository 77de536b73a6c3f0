//! Running a program inside and collecting what it writes: the worker's side.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::inside::{Plan, spawn};
use super::protocol::{Request, receive};
use super::status::StatusLines;
use super::{Command, ForegroundCommand, OUTPUT_LIMIT, Output, confine};
use crate::error::{Context, Error, Result};

/// Runs `command` to its end, then `end`, which ends all programs that are left. `clock` is a file on the tree's file
/// system.
pub(super) fn run(mut plan: Plan, clock: File, end: impl FnOnce() -> Result<()>, command: &Command) -> Result<Output> {
    let (output, output_writer) = io::pipe()?;
    let (status, status_writer) = match command.status_lines {
        true => StatusLines::pair().map(|(reader, writer)| (Some(reader), Some(writer)))?,
        false => (None, None),
    };
    let mut program = program(&command.arguments, &command.environment)?;
    program.stdin(Stdio::null()).stdout(output_writer.try_clone()?).stderr(output_writer);
    let started = time_of(&clock)?;
    plan.status = status_writer;
    let child = spawn(program, plan)?;
    let mut collector = Collector { clock, output: Some(OwnedFd::from(output).into()), status, kept: VecDeque::new() };
    let ended = collector.until_end(&child);
    // Whatever happened: nothing may be left running, and its pipes then end.
    end()?;
    let code = ended?;
    while collector.is_open() {
        collector.step(None)?;
    }
    let took = time_of(&collector.clock)?.saturating_sub(started);
    let status = collector.status.map(StatusLines::into_lines).unwrap_or_default();
    Ok(Output { code, started, took, output: collector.kept.into(), status })
}

fn program(arguments: &[String], environment: &std::collections::BTreeMap<String, String>) -> Result<process::Command> {
    let (name, arguments) = arguments.split_first().context(|| "no program was named to run in the sandbox")?;
    let mut program = process::Command::new(name);
    program.args(arguments).env_clear().envs(environment);
    Ok(program)
}

/// Collects a program's output and status lines.
struct Collector {
    /// A file whose change time tells the file system's time: see [`time_of`].
    clock: File,
    output: Option<File>,
    status: Option<StatusLines>,
    kept: VecDeque<u8>,
}

impl Collector {
    /// Collects until the program ends. Orphans that end meanwhile are reaped.
    fn until_end(&mut self, child: &process::Child) -> Result<i32> {
        let pid = Pid::from_child(child);
        let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        loop {
            if let Some(code) = reap(pid)? {
                return Ok(code);
            }
            self.step(Some(&handle))?;
        }
    }

    /// Whether anything can still be written.
    fn is_open(&self) -> bool {
        self.output.is_some() || self.open_status().is_some()
    }

    fn open_status(&self) -> Option<&StatusLines> {
        self.status.as_ref().filter(|status| status.is_open())
    }

    /// Waits for the next event: something written, the program's end, or a second.
    fn step(&mut self, child: Option<&OwnedFd>) -> Result<()> {
        let mut ready: Vec<_> = (self.output.iter().map(AsFd::as_fd))
            .chain(self.open_status().map(AsFd::as_fd))
            .chain(child.map(AsFd::as_fd))
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        match poll(&mut ready, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = ready.iter().map(|ready| !ready.revents().is_empty()).collect::<Vec<_>>().into_iter();
        let output = self.output.is_some() && ready.next() == Some(true);
        let status = self.open_status().is_some() && ready.next() == Some(true);
        // Status first: its lines are stamped.
        if let Some(lines) = self.status.as_mut().filter(|_| status) {
            lines.read(|| time_of(&self.clock))?;
        }
        if output {
            self.read_output()?;
        }
        Ok(())
    }

    fn read_output(&mut self) -> Result<()> {
        let mut buffer = [0; 64 << 10];
        let count = read(&mut self.output, &mut buffer)?;
        self.kept.extend(&buffer[..count]);
        let excess = self.kept.len().saturating_sub(OUTPUT_LIMIT);
        self.kept.drain(..excess);
        Ok(())
    }
}

/// The time by which the tree's file system stamps changes: it may lag behind the system's clock by some
/// milliseconds, or (Linux 6.13 and later) be finer than that for files that were looked at. So the file
/// `clock` is changed and looked at; every later change gets a time that is no earlier.
fn time_of(clock: &File) -> Result<u64> {
    rustix::fs::fchmod(clock, rustix::fs::Mode::from_raw_mode(0o600))?;
    let metadata = rustix::fs::fstat(clock)?;
    #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
    let nanoseconds = metadata.st_ctime_nsec as u64;
    Ok(u64::try_from(metadata.st_ctime)? * 1_000_000_000 + nanoseconds)
}

/// Reads what is there; the end closes the pipe.
fn read(pipe: &mut Option<File>, buffer: &mut [u8]) -> Result<usize> {
    let Some(file) = pipe else { return Ok(0) };
    let count = file.read(buffer).context(|| "reading what a program in the sandbox writes")?;
    if count == 0 {
        *pipe = None;
    }
    Ok(count)
}

/// Reaps all children that have ended. The exit code of `program`, if it is among them.
fn reap(program: Pid) -> Result<Option<i32>> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            Ok(Some((pid, status))) if status.stopped() => {
                // A program stopped from the terminal could not be continued: kiln waits for it.
                let _ = rustix::process::kill_process(pid, Signal::CONT);
            }
            Ok(Some((pid, status))) if pid == program => code = Some(exit_code(ExitStatus::from_raw(status.as_raw()))),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Runs `command` with the worker's own standard streams, then `end`, which ends all programs that are left.
pub(super) fn foreground(
    plan: Plan,
    end: impl FnOnce() -> Result<()>,
    stream: &mut UnixStream,
    command: &ForegroundCommand,
) -> Result<i32> {
    let child = spawn(program(&command.arguments, &command.environment)?, plan)?;
    let ended = wait_foreground(stream, &child);
    end()?;
    ended
}

fn wait_foreground(stream: &mut UnixStream, child: &process::Child) -> Result<i32> {
    let pid = Pid::from_child(child);
    let handle = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        if let Some(code) = reap(pid)? {
            return Ok(code);
        }
        let mut ready = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN), PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut ready, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if ready[0].revents().is_empty() {
            continue;
        }
        let (Request::Signal(signal), _) = receive(stream)? else {
            return Err(Error::new("a request came while a program was in the foreground"));
        };
        // SAFETY: the child is not reaped yet, so the number is its own.
        if unsafe { libc::kill(pid.as_raw_pid(), signal) } != 0 {
            return Err(confine::last_error()).context(|| format!("passing on signal {signal}"));
        }
    }
}
