//! Status lines: what a program inside says of its progress (dpkg's `--status-fd`), each with the time at which it was
//! written.
//!
//! Whose a change is, is told by these times. On a machine with more work than cores a line may be read long after the
//! program went on, so the kernel says when it was sent: the lines come through a socket that stamps each message.

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::time::{ClockId, Timespec, clock_getres, clock_gettime};

use super::confine::last_error;
use crate::error::{Context, Error, Result};

/// The longest line, in bytes, and the most lines.
const LONGEST_LINE: usize = 64 << 10;
const MOST_LINES: usize = 1 << 20;

/// Bytes of one message: more than a sender's buffer holds.
const MESSAGE: usize = 1 << 20;

/// A message that was sent longer ago than this was not: the clock was set meanwhile. In nanoseconds.
const LONG_AGO: u64 = 600_000_000_000;

/// The lines that have come so far, and where more come from.
#[derive(Debug)]
pub(super) struct StatusLines {
    /// None once the other end is closed.
    socket: Option<OwnedFd>,
    /// What a message is read into: once for all, as clearing it takes longer than reading most of them.
    message: Vec<u8>,
    line: Vec<u8>,
    lines: Vec<(u64, String)>,
}

impl StatusLines {
    /// The reading end, and the end that a program writes to.
    pub fn pair() -> Result<(Self, OwnedFd)> {
        let (reader, writer) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let on: libc::c_int = 1;
        let length = libc::socklen_t::try_from(size_of::<libc::c_int>())?;
        // SAFETY: the option's value is an int, and `length` is its size.
        let result = unsafe {
            libc::setsockopt(reader.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), length)
        };
        if result != 0 {
            return Err(last_error()).context(|| "asking for the times of status lines");
        }
        Ok((Self { socket: Some(reader), message: vec![0; MESSAGE], line: Vec::new(), lines: Vec::new() }, writer))
    }

    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Takes the next message in; `now` is the time by which the tree's files are stamped, in nanoseconds.
    pub fn read(&mut self, now: impl FnOnce() -> Result<u64>) -> Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let (count, sent) = receive(socket.as_fd(), &mut self.message).context(|| "reading a program's status")?;
        let time = written_at(now()?, sent);
        for byte in &self.message[..count] {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if self.line.len() > LONGEST_LINE || self.lines.len() > MOST_LINES {
                return Err(Error::new("a program's status lines are too long or too many"));
            }
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.lines.push((time, String::from_utf8_lossy(&line).into_owned()));
            }
        }
        if count == 0 {
            self.socket = None;
            if !self.line.is_empty() {
                let line = std::mem::take(&mut self.line);
                self.lines.push((time, String::from_utf8_lossy(&line).into_owned()));
            }
        }
        Ok(())
    }

    /// The lines, each with its time in nanoseconds.
    pub fn into_lines(self) -> Vec<(u64, String)> {
        self.lines
    }
}

impl AsFd for StatusLines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("only an open one is polled").as_fd()
    }
}

/// The time by which files are stamped, of a message that was sent at `sent` and read at `now`. If that is the same
/// moment, `now` is exact; otherwise it was the last tick of the kernel's clock before `sent`.
fn written_at(now: u64, sent: Option<u64>) -> u64 {
    let tick = nanoseconds(clock_getres(ClockId::RealtimeCoarse)).max(1);
    let last_tick = nanoseconds(clock_gettime(ClockId::RealtimeCoarse));
    match sent {
        Some(sent) if sent < now && now - sent > tick && now - sent < LONG_AGO => {
            last_tick.saturating_sub(last_tick.saturating_sub(sent).div_ceil(tick) * tick).min(now)
        }
        _ => now,
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// The next message: its length, and when it was sent, in nanoseconds.
fn receive(socket: BorrowedFd<'_>, message: &mut [u8]) -> Result<(usize, Option<u64>)> {
    let mut part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() };
    // Aligned as the kernel's headers of such data have to be.
    let mut control = [0_u64; 32];
    // SAFETY: all zeros is a header of nothing.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let count = loop {
        // SAFETY: the header describes `message` and `control`, which outlive the call.
        let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, 0) };
        match usize::try_from(count) {
            Ok(count) => break count,
            Err(_) if last_error() == Errno::INTR => {}
            Err(_) => return Err(last_error().into()),
        }
    };
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(Error::new(format!("a program wrote more than {MESSAGE} bytes of status at once")));
    }
    // SAFETY: the kernel has filled `control` in as the header says now, and the macros stay in it.
    let sent = unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        match first.as_ref() {
            Some(one) if one.cmsg_level == libc::SOL_SOCKET && one.cmsg_type == libc::SCM_TIMESTAMPNS => {
                Some(libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned())
            }
            _ => None,
        }
    };
    let sent = sent.map(|time| Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec });
    Ok((count, sent.map(nanoseconds)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    /// The time by which the file system stamps a change that is made now.
    fn change(path: &Path) -> u64 {
        let mut file = File::create(path).unwrap();
        file.write_all(b"x").unwrap();
        let metadata = file.metadata().unwrap();
        u64::try_from(metadata.ctime()).unwrap() * 1_000_000_000 + u64::try_from(metadata.ctime_nsec()).unwrap()
    }

    #[test]
    fn a_line_that_is_read_late_has_the_time_at_which_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut status, writer) = StatusLines::pair().unwrap();
        let mut writer = File::from(writer);
        let before = change(&folder.path().join("before"));
        sleep(Duration::from_millis(60));
        writer.write_all(b"processing: configure: a\nsecond\nand a").unwrap();
        sleep(Duration::from_millis(60));
        let after = change(&folder.path().join("after"));
        sleep(Duration::from_millis(60));
        status.read(|| Ok(change(&folder.path().join("now")))).unwrap();
        writer.write_all(b" third").unwrap();
        status.read(|| Ok(change(&folder.path().join("now")))).unwrap();
        drop(writer);
        status.read(|| Ok(change(&folder.path().join("now")))).unwrap();
        assert!(!status.is_open());
        let lines = status.into_lines();
        let text: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        assert_eq!(text, ["processing: configure: a", "second", "and a third"]);
        let time = lines[0].0;
        assert!(before < time && time < after, "{before} {time} {after}");
        assert!(after < lines[2].0, "{lines:?}");
    }

    #[test]
    fn a_clock_that_was_set_does_not_count() {
        let hour = 3_600_000_000_000;
        assert_eq!(written_at(5 * hour, Some(4 * hour)), 5 * hour);
        assert_eq!(written_at(5 * hour, Some(6 * hour)), 5 * hour);
        assert_eq!(written_at(5 * hour, None), 5 * hour);
    }
}
