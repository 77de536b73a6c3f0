//! Signals by their names, and ending what a program left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::error::{Context, Error, Result};

/// How often descendants are looked for before giving up: they may fork while being killed.
const ROUNDS: u32 = 10_000;

/// The names of signals (signal(7)), without `SIG`.
const NAMES: [(&str, i32); 30] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
];

/// The number of a signal as an image configuration writes it (OCI image specification, `StopSignal`): `SIGTERM`,
/// `SIGRTMIN+3`, with or without `SIG`, or a number; `None` if there is no such signal.
pub fn signal_number(text: &str) -> Option<i32> {
    let (least, most) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    if let Some(number) = digits(text) {
        return (1..=most).contains(&number).then_some(number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let offset = |text: &str| if text.is_empty() { Some(0) } else { digits(text.get(1..)?) };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => least.checked_add(offset(rest)?)?,
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => most.checked_sub(offset(rest)?)?,
        _ => return NAMES.into_iter().find_map(|(known, number)| (known == name).then_some(number)),
    };
    (least..=most).contains(&number).then_some(number)
}

/// A number in digits alone.
fn digits(text: &str) -> Option<i32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

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

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [("SIGTERM", 15), ("TERM", 15), ("15", 15), ("SIGQUIT", 3), ("SIGRTMIN+3", 37)] {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        assert_eq!(signal_number("RTMAX"), signal_number("64"));
        for text in [
            "",
            "SIG",
            "0",
            "-1",
            "65",
            "sigterm",
            "SIGSIGTERM",
            "RTMIN-1",
            "RTMIN+31",
            "RTMAX+1",
            "RTMIN+-1",
            "RTMIN+é",
        ] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}
