//! The worker: a process that holds the rights over a tree and does what kiln asks.
//!
//! It is two processes. The outer one makes the namespaces, stays outside the process namespace, and
//! when the inner one has ended, for whatever reason, kills what is left and removes the tree. The inner
//! one is the first process of the namespace and serves kiln's requests; it ends as soon as kiln's end
//! of the socket is closed, which the death of kiln does as well.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions};
use rustix::thread::{Gid, Uid, UnshareFlags};

use super::check::Check;
use super::device::Devices;
use super::inside::{Foreground, Plan, STATUS};
use super::overlay::Overlay;
use super::protocol::{Failure, Reply, Request, Setup, Terminal, receive, receive_layers, send};
use super::snapshot::{Snapshot, pack};
use super::tree::Tree;
use super::{Command, Executor, ForegroundCommand, Output, confine, executor, extract, kill, mounts, run, volume};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::store::Store;

/// The inner process ends with this after [`Request::Finish`].
const FINISHED: i32 = 0;
/// And with this after one that keeps the tree.
const KEPT: i32 = 4;
/// And with this when kiln has gone, or setting up has failed, which it has then said.
const ABANDONED: i32 = 3;

/// What main must call, and return the result of, before anything else when the program's first argument
/// is [`super::WORKER_ARGUMENT`]: the process must still have one thread.
pub fn worker_main() -> ExitCode {
    match outer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(2),
    }
}

fn outer() -> Result<()> {
    let mut stream = take_stream()?;
    prepare_process()?;
    let (request, _) = receive(&mut stream)?;
    let Request::Setup(setup) = request else { return Err(Error::new("the first request must be the setup")) };
    let made = enter_namespaces(&setup, &mut stream).and_then(|()| fork_inner(&setup, &stream));
    let (inner, _memory) = match made {
        Ok(inner) => inner,
        Err(error) => {
            send(&mut stream, &Reply::Failed(Failure::from(&error)), &[])?;
            return clean_up(&setup, false);
        }
    };
    let code = wait_for(inner)?;
    let cleaned = clean_up(&setup, code == Some(KEPT)).and_then(|()| be_silent());
    if matches!(code, Some(FINISHED | KEPT)) {
        let reply = cleaned.as_ref().map_or_else(|error| Reply::Failed(Failure::from(error)), |()| Reply::Done);
        send(&mut stream, &reply, &[])?;
    }
    cleaned
}

/// Gives up the standard streams: whoever reads what kiln prints to its end should not wait while the kernel clears the
/// memory of a tree away.
fn be_silent() -> Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

/// The socket whose number is the second argument.
fn take_stream() -> Result<UnixStream> {
    let number = std::env::args().nth(2).and_then(|number| number.parse::<i32>().ok());
    let number = number.filter(|number| *number > 2).context(|| "a sandbox's worker is started by kiln alone")?;
    // SAFETY: F_GETFD changes nothing, whatever the descriptor is.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(Error::new("the socket to kiln is not open"));
    }
    // SAFETY: it is open, and kiln passes it for this process alone to own.
    let passed = unsafe { OwnedFd::from_raw_fd(number) };
    // Out of the way of descriptor 3.
    let stream = rustix::io::fcntl_dupfd_cloexec(&passed, 16).context(|| "taking the socket to kiln")?;
    drop(passed);
    reserve_status()?;
    Ok(stream.into())
}

/// Occupies descriptor 3 for good, so that nothing that must survive is there when a program gets its
/// status pipe under this number.
fn reserve_status() -> Result<()> {
    let null = File::open("/dev/null")?;
    if null.as_raw_fd() == STATUS {
        std::mem::forget(null);
        return Ok(());
    }
    // SAFETY: `outer` has just started: nothing in this process uses descriptor 3.
    let result = unsafe { libc::dup3(null.as_raw_fd(), STATUS, libc::O_CLOEXEC) };
    if result == STATUS { Ok(()) } else { Err(confine::last_error().into()) }
}

fn prepare_process() -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // From the terminal they reach kiln's whole process group; kiln decides what they mean.
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM, libc::SIGTTOU, libc::SIGTSTP] {
        // SAFETY: SIG_IGN runs none of our code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // Walking a tree holds a descriptor for each level, in each thread.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    Ok(())
}

fn enter_namespaces(setup: &Setup, stream: &mut UnixStream) -> Result<()> {
    let refused = |error| executor::namespaces_refused(setup.executor, error);
    if setup.executor == Executor::Chroot {
        // Root of most containers may not do this. Where it may, the host's name stays out of what
        // scripts write down.
        // SAFETY: no descriptors are unshared, and the process has one thread.
        if unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUTS) }.is_ok() {
            name_host()?;
        }
        return rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context(|| "becoming a subreaper");
    }
    if setup.executor == Executor::UserNamespace {
        // SAFETY: the process has one thread, and no rights that a new user namespace takes are relied on.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }.map_err(refused)?;
        send(stream, &Reply::Unmapped, &[])?;
        let (Request::Mapped, _) = receive(stream)? else { return Err(Error::new("the ids were not mapped")) };
        become_root().context(|| "becoming root of the user namespace")?;
    }
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if !setup.network {
        flags |= UnshareFlags::NEWNET;
    }
    // SAFETY: no descriptors are unshared, and the process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(refused)?;
    mounts::make_private()?;
    name_host()
}

/// The same name everywhere.
fn name_host() -> Result<()> {
    rustix::system::sethostname(b"kiln").context(|| "setting the host name")?;
    rustix::system::setdomainname(b"(none)").context(|| "setting the domain name")
}

fn become_root() -> rustix::io::Result<()> {
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)
}

/// The tree's root, and the directory beside it for what is mounted on it or swapped into it.
fn root(setup: &Setup) -> PathBuf {
    setup.place.join("root")
}

fn beside(setup: &Setup) -> PathBuf {
    setup.place.join("beside")
}

/// The inner process. As long as the descriptor is open, the tree's memory is kept: it is this process that the kernel
/// has clear it away, not whoever removes the directory that it is mounted on.
fn fork_inner(setup: &Setup, stream: &UnixStream) -> Result<(Pid, Option<File>)> {
    let memory = setup.in_memory.then(|| mounts::memory(&setup.place)).transpose()?;
    mounts::make_directory(&root(setup), 0o755)?;
    mounts::make_directory(&beside(setup), 0o755)?;
    // SAFETY: the process has one thread, so the child may do anything.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(confine::last_error()).context(|| "forking the worker"),
        0 => {
            // A panic must not run on into the outer process' part.
            let code = std::panic::catch_unwind(|| inner(setup, stream)).unwrap_or(ABANDONED);
            std::process::exit(code)
        }
        child => Ok((Pid::from_raw(child).context(|| "forking the worker")?, memory)),
    }
}

fn wait_for(inner: Pid) -> Result<Option<i32>> {
    loop {
        match rustix::process::waitpid(Some(inner), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status.exit_status()),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills what is left and removes the tree.
fn clean_up(setup: &Setup, keep: bool) -> Result<()> {
    if setup.in_memory {
        // Nobody else sees what is mounted here, and nobody waits while the kernel clears it away as this process ends.
        return Ok(());
    }
    if setup.executor == Executor::Chroot {
        kill::descendants()?;
    } else {
        // Not mounted if setting up failed before.
        let _ = rustix::mount::unmount(beside(setup), UnmountFlags::DETACH);
    }
    let tree = (!keep).then(|| root(setup));
    for path in tree.into_iter().chain([beside(setup)]) {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
    }
    match fs::remove_file(setup.place.join("clock")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("removing from {}", setup.place.display()))
        }
        _ => Ok(()),
    }
}

/// The inner process, from beginning to end.
fn inner(setup: &Setup, stream: &UnixStream) -> i32 {
    let Ok(mut stream) = stream.try_clone() else { return ABANDONED };
    let mut worker = match Worker::new(setup, &stream) {
        Ok(worker) => worker,
        Err(error) => {
            let _ = send(&mut stream, &Reply::Failed(Failure::from(&error)), &[]);
            return ABANDONED;
        }
    };
    if send(&mut stream, &Reply::Done, &[]).is_err() {
        return ABANDONED;
    }
    loop {
        let Ok((request, bulk)) = receive(&mut stream) else { return ABANDONED };
        if let Request::Finish { keep } = request {
            return if keep { KEPT } else { FINISHED };
        }
        // It came after the program it was for had ended.
        if matches!(request, Request::Signal(_)) {
            continue;
        }
        let answer = worker.answer(request, &bulk, &mut stream);
        let (reply, bulk) = answer.unwrap_or_else(|error| (Reply::Failed(Failure::from(&error)), Vec::new()));
        if send(&mut stream, &reply, &bulk).is_err() {
            return ABANDONED;
        }
    }
}

/// Ends the process when kiln's end of the socket is closed, whatever it is doing.
fn watch(stream: &UnixStream) -> Result<()> {
    let stream = stream.try_clone()?;
    let watcher = move || {
        loop {
            let mut ready = [PollFd::new(&stream, PollFlags::RDHUP)];
            let polled = poll(&mut ready, None);
            if polled != Err(Errno::INTR) {
                std::process::exit(ABANDONED);
            }
        }
    };
    std::thread::Builder::new().name("watch".to_owned()).spawn(watcher)?;
    Ok(())
}

/// The inner process' state.
#[derive(Debug)]
pub(super) struct Worker {
    setup: Setup,
    tree: Tree,
    /// What the tree is laid together of, if it is.
    overlay: Option<Overlay>,
    store: Arc<Store>,
    mark: Option<Snapshot>,
    /// What was placed and is to be checked.
    unchecked: Vec<Digest>,
    /// What is being checked.
    checks: Vec<Check>,
    /// `None` where namespaces give programs their devices.
    devices: Option<Devices>,
}

impl Worker {
    fn new(setup: &Setup, stream: &UnixStream) -> Result<Self> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        watch(stream)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(setup.jobs);
        pool.build_global().context(|| "starting threads")?;
        let tree = Tree::open(&root(setup))?;
        let store = Arc::new(Store::open(&setup.store)?);
        let devices = if setup.executor == Executor::Chroot {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
            Some(Devices::new(&beside(setup))?)
        } else {
            mounts::stage(&beside(setup))?;
            None
        };
        let (setup, unchecked, checks) = (setup.clone(), Vec::new(), Vec::new());
        Ok(Self { setup, tree, overlay: None, store, mark: None, unchecked, checks, devices })
    }

    fn answer(&mut self, request: Request<'_>, bulk: &[u8], stream: &mut UnixStream) -> Result<(Reply, Vec<u8>)> {
        let tree = &self.tree;
        let reply = match request {
            Request::Extract { layers, checked } => {
                // Someone waits for the tree, nobody for the checks.
                let paused: Vec<_> = self.checks.iter().map(Check::pause).collect();
                let layers = receive_layers(layers, bulk)?;
                let placed = extract::extract(tree, &self.store, &layers, checked)?;
                drop(paused);
                self.unchecked.extend(placed.unchecked);
                Reply::Names(placed.unmade)
            }
            Request::Lay(image) => self.lay(image).map(|()| Reply::Done)?,
            Request::Check => Reply::Exists(self.check()?),
            Request::Write(files) => write(tree, &files, bulk)?,
            Request::Read(path) => {
                let content = tree.read(&path)?;
                return Ok((Reply::Exists(content.is_some()), content.unwrap_or_default()));
            }
            Request::Remove(path) => tree.remove(&path).map(|()| Reply::Done)?,
            Request::List(path) => Reply::Names(tree.list(&path)?),
            Request::Existing(paths) => {
                let exists: Vec<bool> = paths.iter().map(|path| tree.exists(path)).collect::<Result<_>>()?;
                Reply::Names(
                    paths.into_iter().zip(exists).filter(|(_, exists)| *exists).map(|(path, _)| path).collect(),
                )
            }
            Request::Exists(path) => Reply::Exists(tree.exists(&path)?),
            Request::Symlink { path, target } => tree.symlink(&path, &target).map(|()| Reply::Done)?,
            Request::Rename { from, to } => tree.rename(&from, &to).map(|()| Reply::Done)?,
            Request::MakeDirectory { path, mode } => tree.make_directory(&path, mode).map(|()| Reply::Done)?,
            Request::Run(command) => {
                let processor = rustix::thread::sched_getcpu();
                self.begin_check(processor)?;
                let mut output = self.surrounded(false, |worker| worker.run(&command, processor))?;
                let bytes = std::mem::take(&mut output.output);
                return Ok((Reply::Output(output), bytes));
            }
            Request::Foreground { command, terminal } => {
                Reply::Code(self.surrounded(true, |worker| worker.foreground(stream, &command, terminal))?)
            }
            Request::Give { source, uid, gid } => {
                volume::give(self.bound(&source)?, uid, gid)?;
                Reply::Done
            }
            Request::Empty(source) => {
                volume::empty(self.bound(&source)?)?;
                Reply::Done
            }
            Request::Probe => self.surrounded(false, Self::try_program).map(|()| Reply::Done)?,
            Request::Mark => {
                self.mark = Some(Snapshot::take(self.changing())?);
                Reply::Done
            }
            Request::MarkPaths(paths) => {
                let mut mark = self.mark.take().context(|| "the tree was not marked")?;
                mark.update(self.changing(), &paths)?;
                self.mark = Some(mark);
                Reply::Done
            }
            Request::Changes => {
                let mark = self.mark.as_ref().context(|| "the tree was not marked")?;
                Reply::Changes(match &self.overlay {
                    Some(overlay) => overlay.changes(mark, tree)?,
                    None => Snapshot::take(tree)?.changes(mark, tree)?,
                })
            }
            Request::Pack { directories, entries } => Reply::Part(pack(tree, &self.store, &directories, &entries)?),
            Request::Setup(_) | Request::Mapped | Request::Signal(_) | Request::Finish { .. } => {
                return Err(Error::new("the request came at the wrong time"));
            }
        };
        Ok((reply, Vec::new()))
    }

    /// Only what is in memory goes away by itself.
    fn lay(&mut self, image: Digest) -> Result<()> {
        if !self.setup.in_memory || self.overlay.is_some() {
            return Err(Error::new("only a tree in memory can be laid on an image, and only once"));
        }
        let root = root(&self.setup);
        self.overlay = Some(Overlay::lay(&self.setup.place, &root, &self.store, &image)?);
        self.tree = Tree::open(&root)?;
        self.unchecked.push(image);
        Ok(())
    }

    /// The tree that is looked at for what changes.
    fn changing(&self) -> &Tree {
        self.overlay.as_ref().map_or(&self.tree, Overlay::upper)
    }

    /// Begins to check what was placed: beside a program that runs on the processor `taken`, others are free.
    fn begin_check(&mut self, taken: usize) -> Result<()> {
        self.checks.iter().for_each(|check| check.keep_off(taken));
        if !self.unchecked.is_empty() {
            self.checks.push(Check::start(&self.store, std::mem::take(&mut self.unchecked), taken)?);
        }
        Ok(())
    }

    /// Whether all that was placed was right.
    fn check(&mut self) -> Result<bool> {
        self.begin_check(rustix::thread::sched_getcpu())?;
        let mut sound = true;
        for check in self.checks.drain(..) {
            sound &= check.wait();
        }
        Ok(sound)
    }

    /// Does `action` while the tree has its mount points, or its devices.
    fn surrounded<T>(&mut self, foreground: bool, action: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        if self.setup.network {
            self.write_resolver()?;
        }
        let before = self.root_time()?;
        let mut points = Vec::new();
        match &self.devices {
            Some(devices) => devices.enter(&self.tree)?,
            None => points = mounts::make_points(&self.tree, &self.mounts(foreground)?)?,
        }
        let entered = self.root_time()?;
        let result = action(self);
        let after = self.root_time()?;
        let left = match &self.devices {
            Some(devices) => devices.leave(&self.tree),
            None => {
                mounts::unmake_points(&self.tree, &points);
                Ok(())
            }
        };
        // Coming and going leaves no trace in the root's own time.
        self.set_root_time(if after == entered { before } else { after })?;
        result.and_then(|result| left.map(|()| result))
    }

    /// A place of the host, if it is bound.
    fn bound<'p>(&self, source: &'p Path) -> Result<&'p Path> {
        let is_bound = self.setup.binds.iter().any(|bind| bind.source == source);
        is_bound.then_some(source).context(|| format!("{} is not bound into the sandbox", source.display()))
    }

    fn root_time(&self) -> Result<Timespec> {
        let status = self.tree.status()?;
        Ok(Timespec { tv_sec: status.st_mtime, tv_nsec: status.st_mtime_nsec.try_into()? })
    }

    fn set_root_time(&self, time: Timespec) -> Result<()> {
        let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access: omit, last_modification: time };
        let path = self.tree.path();
        Ok(rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::empty())?)
    }

    fn mounts(&self, foreground: bool) -> Result<Vec<mounts::Mount>> {
        mounts::plan(&self.tree, &beside(&self.setup), &self.setup.binds, foreground)
    }

    /// Gives programs that have the network the host's name servers.
    fn write_resolver(&self) -> Result<()> {
        let path = "/etc/resolv.conf";
        match fs::read(path) {
            Ok(bytes) => self.tree.write(path, &bytes, 0o644, None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).context(|| format!("reading {path}")),
        }
    }

    fn run(&self, command: &Command, processor: usize) -> Result<Output> {
        run::run(
            Plan { processor: Some(processor), ..self.plan(None)? },
            self.clock()?,
            || self.kill_leftovers(),
            command,
        )
    }

    fn foreground(&self, stream: &mut UnixStream, command: &ForegroundCommand, terminal: Terminal) -> Result<i32> {
        let plan = self.plan(Some(Foreground::new(command, terminal)?))?;
        run::foreground(plan, || self.kill_leftovers(), stream, command)
    }

    /// How a program is started in the tree.
    fn plan(&self, foreground: Option<Foreground>) -> Result<Plan> {
        let mounts = match self.devices {
            Some(_) => None,
            None => Some(self.mounts(foreground.is_some())?),
        };
        Ok(Plan {
            root: CString::new(self.tree.path().as_os_str().as_bytes())?,
            mounts,
            filters: confine::filters(self.setup.network, foreground.is_some())?,
            processor: None,
            status: None,
            foreground,
        })
    }

    /// Ends all programs that are left.
    fn kill_leftovers(&self) -> Result<()> {
        if self.devices.is_some() { kill::descendants() } else { kill::everything() }
    }

    /// A file on the tree's file system, beside the tree.
    fn clock(&self) -> Result<File> {
        let path = self.setup.place.join("clock");
        File::create(&path).context(|| format!("making {}", path.display()))
    }

    /// Goes all the way to executing a program. The tree is empty, so that the last step fails, as it should.
    fn try_program(&self) -> Result<()> {
        let mut program = std::process::Command::new("/nothing");
        program.env_clear();
        match super::inside::spawn(program, self.plan(None)?) {
            Ok(_) => Err(Error::new("a program was found in an empty tree")),
            Err(error) if error.chain().iter().any(|sentence| sentence == super::inside::EXECUTING) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn write(tree: &Tree, files: &[(String, u32, Option<u64>, u64)], bulk: &[u8]) -> Result<Reply> {
    let mut rest = bulk;
    for (path, mode, mtime, length) in files {
        let (content, tail) =
            rest.split_at_checked(usize::try_from(*length)?).context(|| "the files are longer than what was sent")?;
        tree.write(path, content, *mode, *mtime)?;
        rest = tail;
    }
    Ok(Reply::Done)
}
