//! kiln's end of a sandbox: a method for every request to the worker.

use std::borrow::Cow;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process;

use super::protocol::{self, Checked, Reply, Request, Setup, receive, send};
use super::{
    Change, Command, Executor, Extraction, ForegroundCommand, Options, Output, Signals, WORKER_ARGUMENT, executor,
    foreground,
};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::layer::{Entry, Part};

/// A tree and its worker. Paths given to its methods are relative to the tree's root; symbolic links in
/// them lead where they would for a program inside, never out of the tree.
///
/// Dropping it ends every program in it and removes the tree; [`Session::finish`] does the same and says
/// if that failed. After a method failed because the worker has gone, all others fail as well.
#[derive(Debug)]
pub struct Session {
    worker: process::Child,
    /// `None` once the worker has been told to end.
    stream: Option<UnixStream>,
    /// Whether the tree is in memory.
    in_memory: bool,
    /// Whether nothing is left to wait for.
    is_over: bool,
}

impl Session {
    /// Starts a worker with an empty tree, which it makes in the existing empty directory `place`. That
    /// directory should be closed to other users: the tree may hold setuid programs.
    pub fn start(executor: Executor, place: &Path, options: &Options) -> Result<Self> {
        Self::start_with(executor, place, options, None)
    }

    /// The same with a pipe in which all that programs in the foreground print arrives: standard output and standard
    /// error, in the order in which it was written. Their standard input is empty. The pipe ends with the session.
    pub fn start_piped(executor: Executor, place: &Path, options: &Options) -> Result<(Self, PipeReader)> {
        let (reader, writer) = std::io::pipe()?;
        Ok((Self::start_with(executor, place, options, Some(writer))?, reader))
    }

    fn start_with(executor: Executor, place: &Path, options: &Options, output: Option<PipeWriter>) -> Result<Self> {
        let place = place.canonicalize().context(|| format!("finding {}", place.display()))?;
        if place.read_dir().context(|| format!("reading {}", place.display()))?.next().is_some() {
            return Err(Error::new(format!("the directory for the sandbox, {}, is not empty", place.display())));
        }
        if executor == Executor::Chroot && !options.binds.is_empty() {
            return Err(Error::new("the executor `chroot` can bind nothing: it must not mount")
                .hint("use another executor, or copy the files"));
        }
        let mut session = Self::spawn(&options.program, output)?;
        let setup = Setup {
            executor,
            place,
            store: std::path::absolute(&options.store)?,
            network: options.network,
            binds: options.binds.clone(),
            jobs: options.jobs,
            in_memory: options.in_memory && executor != Executor::Chroot,
        };
        session.in_memory = setup.in_memory;
        session.set_up(setup).context(|| format!("starting a sandbox ({executor})"))?;
        Ok(session)
    }

    fn spawn(program: &Path, output: Option<PipeWriter>) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let descriptor = theirs.as_raw_fd();
        let mut command = process::Command::new(program);
        command.arg(WORKER_ARGUMENT).arg(descriptor.to_string()).env_clear();
        if let Some(output) = output {
            command.stdin(process::Stdio::null()).stdout(output.try_clone()?).stderr(output);
        }
        let keep_open = move || {
            // SAFETY: `theirs` is open in the child, which has a copy of this process' descriptors.
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            Ok(rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?)
        };
        // SAFETY: `keep_open` makes one system call and nothing else.
        unsafe { command.pre_exec(keep_open) };
        let worker = command.spawn().context(|| format!("starting {} as a sandbox's worker", program.display()))?;
        Ok(Self { worker, stream: Some(ours), in_memory: false, is_over: false })
    }

    fn set_up(&mut self, setup: Setup) -> Result<()> {
        match self.ask(&Request::Setup(setup), &[])? {
            (Reply::Unmapped, _) => {
                executor::map_ids(self.worker.id())?;
                self.done(&Request::Mapped)
            }
            (Reply::Done, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Places `layers` in order; what a layer's whiteouts name is removed before. Returns the paths of the
    /// devices that could not be made: in a user namespace, none can.
    pub fn extract(&mut self, layers: &[Extraction]) -> Result<Vec<String>> {
        self.place(layers, Checked::Placing)
    }

    /// Like [`Session::extract`], but what is placed may not be what it should be before [`Session::check`] has said so:
    /// hashing it takes as long as placing it, and programs that run one after another leave a processor free for that.
    pub fn extract_ahead(&mut self, layers: &[Extraction]) -> Result<Vec<String>> {
        self.place(layers, Checked::Later)
    }

    fn place(&mut self, layers: &[Extraction], checked: Checked) -> Result<Vec<String>> {
        let (layers, bulk) = protocol::send_layers(layers)?;
        match self.ask(&Request::Extract { layers, checked }, &bulk)? {
            (Reply::Names(unmade), _) => Ok(unmade),
            _ => Err(unexpected()),
        }
    }

    /// Lays the tree, which is empty, on an image that [`crate::layer::erofs`] has made. The image may not be what it
    /// should be before [`Session::check`] has said so. If it fails, the tree is still empty.
    pub fn lay(&mut self, image: &Digest) -> Result<()> {
        self.done(&Request::Lay(*image))
    }

    /// Whether all that was placed was what it should be. What was not is no longer in the store, and placing the same
    /// again takes something else.
    pub fn check(&mut self) -> Result<bool> {
        match self.ask(&Request::Check, &[])? {
            (Reply::Exists(sound), _) => Ok(sound),
            _ => Err(unexpected()),
        }
    }

    /// Writes a file of root's, replacing what is there (a link itself, not where it leads) but a directory.
    /// Missing directories are made.
    pub fn write(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        self.write_all(&[(path, bytes, mode, None)])
    }

    /// The same for several files in one message, each with its modification time in seconds since 1970.
    pub fn write_all(&mut self, files: &[(&str, &[u8], u32, Option<u64>)]) -> Result<()> {
        let list = files
            .iter()
            .map(|(path, bytes, mode, mtime)| ((*path).to_owned(), *mode, *mtime, bytes.len() as u64))
            .collect();
        let contents: Vec<&[u8]> = files.iter().map(|(_, bytes, _, _)| *bytes).collect();
        let bulk = contents.concat();
        match self.ask(&Request::Write(list), &bulk)? {
            (Reply::Done, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// A regular file's content; `None` if nothing has that name.
    pub fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>> {
        match self.ask(&Request::Read(path.to_owned()), &[])? {
            (Reply::Exists(exists), bytes) => Ok(exists.then_some(bytes)),
            _ => Err(unexpected()),
        }
    }

    /// Removes what has that name, with all below it. Nothing there is fine.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        self.done(&Request::Remove(path.to_owned()))
    }

    /// The names in a directory, sorted; an error of [`crate::error::Kind::NotFound`] if it does not exist.
    pub fn list(&mut self, directory: &str) -> Result<Vec<String>> {
        match self.ask(&Request::List(directory.to_owned()), &[])? {
            (Reply::Names(names), _) => Ok(names),
            _ => Err(unexpected()),
        }
    }

    /// Whether anything has that name, be it a link that leads nowhere.
    pub fn exists(&mut self, path: &str) -> Result<bool> {
        match self.ask(&Request::Exists(path.to_owned()), &[])? {
            (Reply::Exists(exists), _) => Ok(exists),
            _ => Err(unexpected()),
        }
    }

    /// Those of `paths` that exist, in their order.
    pub fn existing(&mut self, paths: Vec<String>) -> Result<Vec<String>> {
        match self.ask(&Request::Existing(paths), &[])? {
            (Reply::Names(names), _) => Ok(names),
            _ => Err(unexpected()),
        }
    }

    /// Makes a symbolic link, replacing anything but a directory. Missing directories are made.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.done(&Request::Symlink { path: path.to_owned(), target: target.to_owned() })
    }

    /// Renames, replacing what has the new name, as rename(2) does. Missing directories are made.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.done(&Request::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    /// Makes a directory of root's and those above it; one that is there gets the mode.
    pub fn mkdir(&mut self, path: &str, mode: u32) -> Result<()> {
        self.done(&Request::MakeDirectory { path: path.to_owned(), mode })
    }

    /// Runs a program to its end. What it leaves running is killed. A program that fails is no error here.
    pub fn run(&mut self, command: &Command) -> Result<Output> {
        match self.ask(&Request::Run(Cow::Borrowed(command)), &[])? {
            (Reply::Output(output), bytes) => Ok(Output { output: bytes, ..output }),
            _ => Err(unexpected()),
        }
    }

    /// Runs a program with the standard streams that the session was started with, and passes signals that ask
    /// this process to end on to it. Its exit code, or 128 and a signal's number.
    pub fn foreground(&mut self, command: &ForegroundCommand) -> Result<i32> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        code(foreground::wait(stream, command)?)
    }

    /// Runs a program like [`Session::foreground`], in a terminal session of its own; it gets the signals that come
    /// by `signals` and no others.
    pub fn supervise(&mut self, command: &ForegroundCommand, signals: &mut Signals) -> Result<i32> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        code(foreground::supervise(stream, command, signals)?)
    }

    /// Gives what is bound from `source`, with all that is in it, to a user and a group inside.
    pub fn give(&mut self, source: &Path, uid: u32, gid: u32) -> Result<()> {
        self.done(&Request::Give { source: source.to_owned(), uid, gid })
    }

    /// Removes all that is in the folder that is bound from `source`.
    pub fn empty(&mut self, source: &Path) -> Result<()> {
        self.done(&Request::Empty(source.to_owned()))
    }

    /// Remembers the tree as it is.
    pub fn mark(&mut self) -> Result<()> {
        self.done(&Request::Mark)
    }

    /// Remembers these paths, and the directories above them, as they are now.
    pub fn mark_paths(&mut self, paths: Vec<String>) -> Result<()> {
        self.done(&Request::MarkPaths(paths))
    }

    /// What is not as it was at the mark, by path. A path is among it if lstat(2) or its extended
    /// attributes differ (a directory's change time apart), so its content may still be the same. Of a
    /// file with several names, the first in path order is the file, the others are hard links to it.
    /// Sockets are left out.
    pub fn changes(&mut self) -> Result<Vec<Change>> {
        match self.ask(&Request::Changes, &[])? {
            (Reply::Changes(changes), _) => Ok(changes),
            _ => Err(unexpected()),
        }
    }

    /// Makes a part of `entries`, with the tree's content of the files among them. Empty files with the
    /// names of whiteouts need not exist.
    pub fn pack(&mut self, directories: &[Entry], entries: &[Entry]) -> Result<Part> {
        let request = Request::Pack { directories: Cow::Borrowed(directories), entries: Cow::Borrowed(entries) };
        match self.ask(&request, &[])? {
            (Reply::Part(part), _) => Ok(part),
            _ => Err(unexpected()),
        }
    }

    /// Ends everything in the sandbox and removes the tree; `place` is empty again.
    pub fn finish(mut self) -> Result<()> {
        self.done(&Request::Finish { keep: false })?;
        // All programs have ended. What is left of the worker is the kernel clearing memory away.
        self.is_over = self.in_memory;
        Ok(())
    }

    /// Ends everything in the sandbox and leaves the tree, as the directory `root` in `place`.
    pub fn keep(mut self) -> Result<()> {
        self.done(&Request::Finish { keep: true })
    }

    /// Tries what only shows when a program is started.
    pub(super) fn probe(&mut self) -> Result<()> {
        self.done(&Request::Probe)
    }

    fn done(&mut self, request: &Request<'_>) -> Result<()> {
        match self.ask(request, &[])? {
            (Reply::Done, _) => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn ask(&mut self, request: &Request<'_>, bulk: &[u8]) -> Result<(Reply, Vec<u8>)> {
        let stream = self.stream.as_mut().ok_or_else(gone)?;
        let reply = send(stream, request, bulk).and_then(|()| receive(stream));
        match reply.map_err(|error| gone().caused_by(error))? {
            (Reply::Failed(failure), _) => Err(failure.into()),
            reply => Ok(reply),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The end of the stream tells the worker to end, whatever it is doing.
        self.stream = None;
        if !self.is_over {
            let _ = self.worker.wait();
        }
    }
}

/// The exit code that a program in the foreground ended with.
fn code(reply: Reply) -> Result<i32> {
    match reply {
        Reply::Code(code) => Ok(code),
        Reply::Failed(failure) => Err(failure.into()),
        _ => Err(unexpected()),
    }
}

fn gone() -> Error {
    Error::new("the sandbox's worker has ended")
}

fn unexpected() -> Error {
    Error::new("the sandbox's worker gave an answer to something else")
}
