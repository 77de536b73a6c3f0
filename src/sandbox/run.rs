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

use super::inside::{Foreground, spawn};
use super::protocol::{Request, Terminal, receive};
use super::worker::Worker;
use super::{Command, ForegroundCommand, OUTPUT_LIMIT, Output, confine};
use crate::error::{Context, Error, Result};

/// The longest status line, in bytes, and the most lines.
const STATUS_LINE: usize = 64 << 10;
const STATUS_LINES: usize = 1 << 20;

/// Runs `command` to its end.
pub(super) fn run(worker: &Worker, command: &Command) -> Result<Output> {
    let (output, output_writer) = io::pipe()?;
    let (status, status_writer) = match command.status_lines {
        true => io::pipe().map(|(reader, writer)| (Some(reader), Some(writer)))?,
        false => (None, None),
    };
    let mut program = program(&command.arguments, &command.environment)?;
    program.stdin(Stdio::null()).stdout(output_writer.try_clone()?).stderr(output_writer);
    let clock = worker.clock()?;
    let started = time_of(&clock)?;
    let plan = worker.plan(status_writer.map(OwnedFd::from), None)?;
    let child = spawn(program, plan)?;
    let mut collector = Collector {
        clock,
        output: Some(OwnedFd::from(output).into()),
        status: status.map(|reader| OwnedFd::from(reader).into()),
        kept: VecDeque::new(),
        line: Vec::new(),
        lines: Vec::new(),
    };
    let ended = collector.until_end(&child);
    // Whatever happened: nothing may be left running, and its pipes then end.
    worker.kill_leftovers()?;
    let code = ended?;
    while collector.is_open() {
        collector.step(None)?;
    }
    let took = time_of(&collector.clock)?.saturating_sub(started);
    Ok(Output { code, started, took, output: collector.kept.into(), status: collector.lines })
}

fn program(arguments: &[String], environment: &std::collections::BTreeMap<String, String>) -> Result<process::Command> {
    let (name, arguments) = arguments.split_first().context(|| "no program was named to run in the sandbox")?;
    let mut program = process::Command::new(name);
    program.args(arguments).env_clear().envs(environment);
    Ok(program)
}

/// Collects a program's output and status lines.
struct Collector {
    /// A file whose change time tells the file system's time: see [`Collector::now`].
    clock: File,
    output: Option<File>,
    status: Option<File>,
    kept: VecDeque<u8>,
    line: Vec<u8>,
    lines: Vec<(u64, String)>,
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
        self.output.is_some() || self.status.is_some()
    }

    /// Waits for the next event: something written, the program's end, or a second.
    fn step(&mut self, child: Option<&OwnedFd>) -> Result<()> {
        let mut ready: Vec<_> = [&self.output, &self.status]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd)
            .chain(child.map(AsFd::as_fd))
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        match poll(&mut ready, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = ready.iter().map(|ready| !ready.revents().is_empty()).collect::<Vec<_>>().into_iter();
        let output = self.output.is_some() && ready.next() == Some(true);
        let status = self.status.is_some() && ready.next() == Some(true);
        // Status first: its lines are stamped.
        if status {
            self.read_status()?;
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

    fn read_status(&mut self) -> Result<()> {
        let mut buffer = [0; 64 << 10];
        let count = read(&mut self.status, &mut buffer)?;
        let now = time_of(&self.clock)?;
        for byte in &buffer[..count] {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if self.line.len() > STATUS_LINE || self.lines.len() > STATUS_LINES {
                return Err(Error::new("a program's status lines are too long or too many"));
            }
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.lines.push((now, String::from_utf8_lossy(&line).into_owned()));
            }
        }
        if count == 0 && !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.lines.push((now, String::from_utf8_lossy(&line).into_owned()));
        }
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

/// Runs `command` with the worker's own standard streams.
pub(super) fn foreground(
    worker: &Worker,
    stream: &mut UnixStream,
    command: &ForegroundCommand,
    terminal: Terminal,
) -> Result<i32> {
    let program = program(&command.arguments, &command.environment)?;
    let child = spawn(program, worker.plan(None, Some(Foreground::new(command, terminal)?))?)?;
    let ended = wait_foreground(stream, &child);
    worker.kill_leftovers()?;
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
