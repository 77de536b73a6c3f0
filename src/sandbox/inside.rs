//! From a fork of the worker to a program inside: what happens between fork(2) and execve(2).
//!
//! The worker may have threads by then, so nothing here may allocate or take a lock: all that is needed
//! is prepared in a [`Plan`] before.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CpuSet, Gid, Uid, UnshareFlags};
use seccompiler::BpfProgram;

use super::mounts::{Mount, NO_DEVICES};
use super::protocol::Terminal;
use super::{ForegroundCommand, confine};

/// How many mounts a program can have: their descriptors are held in an array.
const MOUNTS: usize = 64;

/// The descriptor on which a program writes its status lines (dpkg(1), `--status-fd`).
pub(super) const STATUS: RawFd = 3;

/// The name of the last step, execve(2) itself.
pub(super) const EXECUTING: &str = "executing it";

/// Everything that makes a process a program inside.
#[derive(Debug)]
pub(super) struct Plan {
    /// The tree, on the host.
    pub root: CString,
    /// `None` for a plain chroot.
    pub mounts: Option<Vec<Mount>>,
    pub filters: Vec<BpfProgram>,
    /// The processor it stays on, so that every unattended program sees one, whatever the machine has.
    pub processor: Option<usize>,
    pub status: Option<OwnedFd>,
    /// `None` for an unattended program.
    pub foreground: Option<Foreground>,
}

/// What is different about a program that the user runs.
#[derive(Debug)]
pub(super) struct Foreground {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<Gid>,
    pub directory: CString,
    pub terminal: Terminal,
}

impl Foreground {
    pub fn new(command: &ForegroundCommand, terminal: Terminal) -> Result<Self, std::ffi::NulError> {
        Ok(Self {
            uid: command.uid,
            gid: command.gid,
            groups: command.groups.iter().map(|group| Gid::from_raw(*group)).collect(),
            directory: CString::new(format!("/{}", command.directory.trim_start_matches('/')))?,
            terminal,
        })
    }
}

/// Starts `program` according to `plan`. The error's text names the step that failed.
pub(super) fn spawn(mut program: process::Command, plan: Plan) -> crate::Result<process::Child> {
    let (reader, writer) = io::pipe()?;
    let enter = move || {
        plan.enter().map_err(|(step, error)| {
            // The name of the step takes its own way: execve's error channel carries a number only.
            let _ = rustix::io::write(&writer, step.as_bytes());
            io::Error::from(error)
        })
    };
    // SAFETY: `enter` makes system calls on prepared data only; it neither allocates nor takes locks.
    unsafe { program.pre_exec(enter) };
    let spawned = program.spawn();
    let name = Path::new(program.get_program()).display().to_string();
    drop(program);
    spawned.map_err(|error| {
        let step = io::read_to_string(reader).unwrap_or_default();
        let step = if step.is_empty() { EXECUTING.to_owned() } else { step };
        crate::Error::new(format!("starting {name} in the sandbox")).caused_by(crate::Error::new(step).caused_by(error))
    })
}

/// Names the step that an error came from.
fn step<T>(name: &'static str, result: rustix::io::Result<T>) -> Result<T, (&'static str, Errno)> {
    result.map_err(|error| (name, error))
}

impl Plan {
    fn enter(&self) -> Result<(), (&'static str, Errno)> {
        match self.foreground.as_ref().map(|foreground| foreground.terminal) {
            None | Some(Terminal::Apart) => {
                step("starting a session of its own", rustix::process::setsid())?;
            }
            Some(Terminal::Taken) => step("taking over the terminal", take_terminal())?,
            Some(Terminal::Shared) => {}
        }
        if let Some(status) = &self.status {
            step("passing the status pipe", pass_status(status))?;
        }
        match &self.mounts {
            Some(mounts) => enter_mounts(&self.root, mounts)?,
            None => {
                step(
                    "having it die with its worker",
                    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)),
                )?;
                step("changing the root", rustix::process::chdir(&self.root))?;
                step("changing the root", rustix::process::chroot(c"."))?;
            }
        }
        let directory = self.foreground.as_ref().map_or(c"/", |foreground| &foreground.directory);
        step("changing to its working directory", rustix::process::chdir(directory))?;
        default_signals();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        self.confine()?;
        step("closing descriptors", close_others(if self.status.is_some() { STATUS + 1 } else { STATUS }))
    }

    fn confine(&self) -> Result<(), (&'static str, Errno)> {
        let keep = if self.foreground.is_some() { confine::FOREGROUND } else { confine::UNATTENDED };
        if self.foreground.is_none() {
            step("setting limits", confine::set_limits())?;
        }
        if let Some(processor) = self.processor {
            step("choosing a processor", stay_on(processor))?;
        }
        step("giving up capabilities", confine::drop_capabilities(keep))?;
        // Without CAP_SYS_ADMIN a filter can only be installed by who gives up setuid programs as well.
        // Unattended programs do so under every executor, to be alike.
        let admin = step("reading capabilities", rustix::thread::capabilities(None))?.effective;
        if self.foreground.is_none() || !admin.contains(CapabilitySet::SYS_ADMIN) {
            step("giving up privileges", rustix::thread::set_no_new_privs(true))?;
        }
        for filter in &self.filters {
            step("filtering system calls", confine::install(filter))?;
        }
        if let Some(foreground) = &self.foreground {
            give_pipes(foreground);
            step("setting its groups", rustix::thread::set_thread_groups(&foreground.groups))?;
            let gid = Gid::from_raw(foreground.gid);
            step("setting its group", rustix::thread::set_thread_res_gid(gid, gid, gid))?;
            let uid = Uid::from_raw(foreground.uid);
            step("setting its user", rustix::thread::set_thread_res_uid(uid, uid, uid))?;
        }
        Ok(())
    }
}

/// Attaches the mounts to the tree, in a namespace of its own, and makes it the root.
fn enter_mounts(root: &CStr, mounts: &[Mount]) -> Result<(), (&'static str, Errno)> {
    // SAFETY: no descriptor is shared or closed by a new mount namespace; the process has one thread.
    step("making a mount namespace", unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) })?;
    // Taken before the root changes: afterwards their sources are out of reach, and targets are
    // resolved inside, where no link leads out.
    let mut trees: [Option<OwnedFd>; MOUNTS] = [const { None }; MOUNTS];
    if mounts.len() > MOUNTS {
        return Err(("counting mounts", Errno::TOOBIG));
    }
    for (tree, mount) in trees.iter_mut().zip(mounts) {
        *tree = Some(step("preparing a mount", detached(&mount.source, mount.attributes, true))?);
    }
    let new_root = step("preparing the root", detached(root, NO_DEVICES, false))?;
    step("mounting the root", attach(new_root.as_fd(), root))?;
    step("entering the root", rustix::process::chdir(root))?;
    step("changing the root", rustix::process::pivot_root(c".", c"."))?;
    step("leaving the host's root", rustix::mount::unmount(c".", UnmountFlags::DETACH))?;
    for (tree, mount) in trees.iter().flatten().zip(mounts) {
        step("mounting inside", attach(tree.as_fd(), &mount.target))?;
    }
    Ok(())
}

/// A copy of the mount at `path`, attached nowhere yet.
fn detached(path: &CStr, attributes: u64, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(CWD, path, flags)?;
    if attributes != 0 {
        set_attributes(tree.as_fd(), attributes)?;
    }
    Ok(tree)
}

/// Adds attributes to a mount and all below it (mount_setattr(2), Linux 5.12).
fn set_attributes(tree: BorrowedFd<'_>, attributes: u64) -> rustix::io::Result<()> {
    let attributes = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    let tree = std::os::fd::AsRawFd::as_raw_fd(&tree);
    // SAFETY: the pointers are to a C string and to a struct of the given size, both alive; the kernel
    // only reads them.
    let result = unsafe {
        let size = size_of::<libc::mount_attr>();
        libc::syscall(libc::SYS_mount_setattr, tree, c"".as_ptr(), flags, &raw const attributes, size)
    };
    if result == 0 { Ok(()) } else { Err(confine::last_error()) }
}

fn attach(tree: BorrowedFd<'_>, target: &CStr) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    rustix::mount::move_mount(tree, c"", CWD, target, flags)
}

/// Makes this process the leader of the terminal's foreground group. SIGTTOU is ignored by the worker.
fn take_terminal() -> rustix::io::Result<()> {
    rustix::process::setpgid(None, None)?;
    // SAFETY: descriptor 0 is open: kiln found it to be the terminal.
    let terminal = unsafe { BorrowedFd::borrow_raw(0) };
    rustix::termios::tcsetpgrp(terminal, rustix::process::getpid())
}

/// Makes the pipe descriptor 3, which the worker keeps free of anything else (see `worker`).
fn pass_status(status: &OwnedFd) -> rustix::io::Result<()> {
    // SAFETY: descriptor 3 is the worker's placeholder, which nothing in this process uses.
    let result = unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(status), STATUS) };
    if result == STATUS { Ok(()) } else { Err(confine::last_error()) }
}

/// Gives the standard streams that are pipes to the user of the program, which may open them anew by
/// `/dev/stdout`, as container engines let it. Files and terminals stay whose they are.
fn give_pipes(foreground: &Foreground) {
    for number in 0..STATUS {
        // SAFETY: the standard streams are open: the worker starts with kiln's, and Rust opens what is closed.
        let stream = unsafe { BorrowedFd::borrow_raw(number) };
        let is_pipe = rustix::fs::fstat(stream)
            .is_ok_and(|status| rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::Fifo);
        if is_pipe {
            // A pipe of another user's cannot be given away; then the program can still write to it.
            let _ =
                rustix::fs::fchown(stream, Some(Uid::from_raw(foreground.uid)), Some(Gid::from_raw(foreground.gid)));
        }
    }
}

fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs none of our code. Numbers that cannot be set (KILL, STOP, those of the C
        // library) fail harmlessly.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

fn stay_on(processor: usize) -> rustix::io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    rustix::thread::sched_setaffinity(None, &set)
}

/// Has execve(2) close all descriptors from `first` on.
fn close_others(first: RawFd) -> rustix::io::Result<()> {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: nothing is closed before execve(2) replaces this process.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    match result {
        0 => Ok(()),
        // Before Linux 5.11; all descriptors of the worker are marked anyway.
        _ if matches!(confine::last_error(), Errno::INVAL | Errno::NOSYS) => Ok(()),
        _ => Err(confine::last_error()),
    }
}
