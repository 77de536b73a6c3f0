//! Ending what a program left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::error::{Context, Error, Result};

/// How often descendants are looked for before giving up: they may fork while being killed.
const ROUNDS: u32 = 10_000;

/// Kills and reaps everything in the process namespace of which the caller is the first process.
pub(super) fn everything() -> Result<()> {
    assert!(rustix::process::getpid().is_init(), "only the first process of a namespace may kill all others");
    loop {
        // SAFETY: signals no process outside this namespace, and not the caller itself.
        let result = unsafe { libc::kill(-1, libc::SIGKILL) };
        // ESRCH: there is none left to signal.
        if result != 0 && super::confine::last_error() != Errno::SRCH {
            return Err(std::io::Error::last_os_error()).context(|| "killing what a program left behind");
        }
        if !reap_one(WaitOptions::empty())? {
            return Ok(());
        }
    }
}

/// Kills and reaps all descendants of the caller, which must be their subreaper (prctl(2),
/// `PR_SET_CHILD_SUBREAPER`), so that none has left.
pub(super) fn descendants() -> Result<()> {
    for round in 0..ROUNDS {
        let found = find_descendants()?;
        for pid in &found {
            kill_descendant(*pid);
        }
        while reap_one(WaitOptions::NOHANG)? {}
        if found.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(u64::from(round.min(20))));
    }
    Err(Error::new("a program left processes behind that fork faster than they can be killed"))
}

/// Waits for one child; false if there is none, or none that has ended and waiting is not wanted.
fn reap_one(options: WaitOptions) -> Result<bool> {
    loop {
        return match rustix::process::wait(options) {
            Ok(found) => Ok(found.is_some()),
            Err(Errno::INTR) => continue,
            Err(Errno::CHILD) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
}

fn find_descendants() -> Result<BTreeSet<i32>> {
    let mut parents: BTreeMap<i32, i32> = BTreeMap::new();
    for found in fs::read_dir("/proc").context(|| "looking for processes in /proc")? {
        let name = found?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && let Some(parent) = parent_of(pid)
        {
            parents.insert(pid, parent);
        }
    }
    let own = rustix::process::getpid().as_raw_pid();
    let mut found = BTreeSet::new();
    for &pid in parents.keys() {
        let mut ancestor = pid;
        // As many steps as there are processes: pids reused while reading could make a circle.
        for _ in 0..parents.len() {
            match parents.get(&ancestor) {
                Some(&parent) if parent == own => {
                    found.insert(pid);
                    break;
                }
                Some(&parent) => ancestor = parent,
                None => break,
            }
        }
    }
    Ok(found)
}

/// The parent of a process that is not yet dead (proc_pid_stat(5)).
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(after_name + 2..)?).ok()?.split(' ');
    let _state = fields.next()?;
    fields.next()?.parse().ok()
}

/// Kills a process found to be a descendant, unless its number has passed to another one meanwhile.
fn kill_descendant(pid: i32) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
    if find_descendants().is_ok_and(|found| found.contains(&pid.as_raw_pid())) {
        let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
    }
}
