//! What a program inside may not do: the capabilities it loses and the system calls that fail, the same
//! under every executor.

use std::collections::BTreeMap;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};
use rustix::thread::CapabilitySet;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::error::Result;

/// What root inside may do (capabilities(7)): handle files and users. Not `MKNOD`, which no user namespace
/// grants, so that a device fails everywhere; not `SYS_CHROOT`, with which a plain chroot can be left; and
/// less than the worker has, which therefore cannot be traced from inside.
pub(super) const UNATTENDED: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP);

/// The same for a program that the user runs: services bind low ports and confine themselves.
pub(super) const FOREGROUND: CapabilitySet =
    UNATTENDED.union(CapabilitySet::NET_BIND_SERVICE).union(CapabilitySet::SYS_CHROOT);

/// The bit that marks calls of the x32 interface on x86-64, which have the same audit architecture.
const X32: i64 = 0x4000_0000;

/// The filters of a program inside, prepared where memory may be allocated.
///
/// System calls of another architecture than kiln's own (32-bit programs) end the program: a filter for
/// every interface would be needed to ban the network from it.
///
/// Unless something it writes is `kept`, calls that wait for the disk do nothing: a tree that scripts run in is thrown
/// away if anything fails, and dpkg would wait for everything else that this machine is writing.
pub(super) fn filters(network: bool, kept: bool) -> Result<Vec<BpfProgram>> {
    let masked = |argument, flag: libc::c_int| {
        let flag = u64::from(flag.cast_unsigned());
        let operator = SeccompCmpOp::MaskedEq(flag);
        SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, flag)?])
    };
    // The flags of clone3 are in memory, where no filter can look; C libraries fall back to clone. Rings
    // would open sockets past the filter. Keyrings are shared with the host.
    let missing = [
        libc::SYS_clone3,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
    ];
    let missing = missing.map(|call| (call, Vec::new()));
    // Namespaces of its own would give a program capabilities back.
    let refused = [
        (libc::SYS_clone, vec![masked(0, libc::CLONE_NEWUSER)?]),
        (libc::SYS_unshare, Vec::new()),
        (libc::SYS_setns, Vec::new()),
        (libc::SYS_userfaultfd, Vec::new()),
    ];
    let mut filters = vec![filter(missing.into(), code(Errno::NOSYS))?, filter(refused.into(), code(Errno::PERM))?];
    if !kept {
        let calls = [libc::SYS_sync, libc::SYS_syncfs, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range];
        // An error of number 0 is none: the call is skipped and has succeeded (seccomp(2), SECCOMP_RET_ERRNO).
        filters.push(filter(calls.map(|call| (call, Vec::new())).into(), 0)?);
    }
    if !network {
        let family = u64::from(libc::AF_UNIX.cast_unsigned());
        let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)?;
        let other = vec![SeccompRule::new(vec![other])?];
        let sockets = [(libc::SYS_socket, other.clone()), (libc::SYS_socketpair, other)];
        filters.push(filter(sockets.into(), code(Errno::AFNOSUPPORT))?);
    }
    Ok(filters)
}

fn code(errno: Errno) -> u32 {
    errno.raw_os_error().cast_unsigned()
}

/// Calls that return `code` as their error instead of doing anything.
fn filter(mut rules: BTreeMap<i64, Vec<SeccompRule>>, code: u32) -> Result<BpfProgram> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    if architecture == TargetArch::x86_64 {
        let x32: Vec<_> = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
        rules.extend(x32);
    }
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(code), architecture)?.try_into()?)
}

/// Installs a filter; it holds for good. Needs `CAP_SYS_ADMIN` or that privileges have been given up.
/// Allocates nothing.
pub(super) fn install(filter: &BpfProgram) -> rustix::io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::TOOBIG)?,
        filter: filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: `program` describes `filter`, whose instructions have the kernel's layout, and the kernel
    // copies them before the call returns.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// The error of the system call before.
pub(super) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Gives up all capabilities but `keep` for the programs executed from now on. Allocates nothing.
pub(super) fn drop_capabilities(keep: CapabilitySet) -> rustix::io::Result<()> {
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) if !keep.contains(one) => rustix::thread::remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // Numbers above the kernel's last.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, sets)
}

/// The limits that every unattended program sees. Allocates nothing.
pub(super) fn set_limits() -> rustix::io::Result<()> {
    let limits = [(Resource::Nofile, 1024, 4096), (Resource::Core, 0, 0), (Resource::Stack, 8 << 20, 8 << 20)];
    for (resource, current, maximum) in limits {
        let allowed = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(allowed.min(current)), maximum: Some(allowed.min(maximum)) };
        rustix::process::setrlimit(resource, limit)?;
    }
    Ok(())
}
