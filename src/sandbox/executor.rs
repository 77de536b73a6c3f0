//! The ways to run programs inside a tree, and which of them this machine allows.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process;

use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use super::{Options, Session};
use crate::error::{Context, Error, Result};

/// How many ids a user namespace needs beside root: 1 to 65535, all that Debian's Policy 9.2 hands out.
const SUBORDINATE: u32 = 65_535;

/// A way to run programs inside a tree. Programs see the same from each, as far as each can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Executor {
    /// An ordinary user with subordinate ids, as root of a user namespace (user_namespaces(7), subuid(5)).
    UserNamespace,
    /// Root, with all namespaces but a user's.
    RootNamespaces,
    /// Root without `CAP_SYS_ADMIN`, as in most containers: chroot(2), with nothing mounted.
    Chroot,
}

impl Executor {
    /// All, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::UserNamespace, Self::RootNamespaces, Self::Chroot];

    /// The name of the executor in settings and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::RootNamespaces => "root-namespaces",
            Self::Chroot => "chroot",
        }
    }

    /// The executor by its name.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|executor| executor.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::new(format!("there is no executor `{name}`")).hint(format!("the executors are: {names}"))
        })
    }

    /// Tries whether this machine allows the executor, by starting a session in a directory made below
    /// `folder` for it. The error says what is missing.
    pub fn probe(self, folder: &Path, options: &Options) -> Result<()> {
        let place = tempfile::Builder::new().prefix("probe-").tempdir_in(folder)?;
        let options = Options { binds: Vec::new(), ..options.clone() };
        self.try_start(place.path(), &options)?.finish()
    }

    /// Starts a session like [`Session::start`], and tries what only shows when a program is started in it.
    pub fn try_start(self, place: &Path, options: &Options) -> Result<Session> {
        self.check()?;
        let mut session = Session::start(self, place, options)?;
        session.probe()?;
        Ok(session)
    }

    /// The first executor that this machine allows. If there is none, the error says why each is not
    /// possible, and what to enable.
    pub fn available(folder: &Path, options: &Options) -> Result<Self> {
        Self::first(|executor| executor.probe(folder, options).map(|()| executor))
    }

    /// What the first executor gives that does not fail. If there is none, the error says why each is not possible, and
    /// what to enable.
    pub fn first<T>(mut attempt: impl FnMut(Self) -> Result<T>) -> Result<T> {
        let mut failures = Vec::new();
        for executor in Self::ALL {
            match attempt(executor) {
                Ok(made) => return Ok(made),
                Err(error) => failures.push((executor, error)),
            }
        }
        let reasons: Vec<_> = failures.iter().map(|(executor, error)| format!("{executor}: {error}")).collect();
        let message = format!("packages' scripts cannot be run in isolation here; tried {}", reasons.join("; "));
        let hints = failures.iter().flat_map(|(_, error)| error.hints());
        Err(hints.fold(Error::new(message), |error, hint| error.hint(hint)))
    }

    /// What can be known to be missing without trying.
    fn check(self) -> Result<()> {
        let root = rustix::process::geteuid().is_root();
        match self {
            Self::UserNamespace if root => Err(Error::new("it is for ordinary users, and this is root")),
            Self::UserNamespace => check_user_namespaces(),
            Self::RootNamespaces | Self::Chroot if !root => {
                Err(Error::new(format!("only root can use it, and this is user {}", rustix::process::geteuid())))
            }
            Self::RootNamespaces => require(CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
            Self::Chroot => {
                require(CapabilitySet::SYS_CHROOT, "CAP_SYS_CHROOT")?;
                require(CapabilitySet::CHOWN, "CAP_CHOWN")
            }
        }
    }
}

impl fmt::Display for Executor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

fn require(capability: CapabilitySet, name: &str) -> Result<()> {
    if rustix::thread::capabilities(None)?.effective.contains(capability) {
        return Ok(());
    }
    Err(Error::new(format!("root lacks {name}"))
        .hint(format!("run the container with `--cap-add {}`", name.trim_start_matches("CAP_"))))
}

fn check_user_namespaces() -> Result<()> {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        return Err(Error::new("user.max_user_namespaces is 0").hint("`sysctl user.max_user_namespaces=15000` as root"));
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Err(Error::new("kernel.unprivileged_userns_clone is 0")
            .hint("`sysctl kernel.unprivileged_userns_clone=1` as root"));
    }
    let user = current_user();
    subordinate("/etc/subuid", &user)?;
    subordinate("/etc/subgid", &user)?;
    Ok(())
}

/// The caller's user id, and name if /etc/passwd has one.
struct User {
    id: u32,
    name: Option<String>,
}

fn current_user() -> User {
    let id = rustix::process::geteuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    User { id, name }
}

/// The first id of a range of subordinate ids that is large enough (subuid(5)).
fn subordinate(path: &str, user: &User) -> Result<u32> {
    let text = fs::read_to_string(path).unwrap_or_default();
    find_range(&text, user).ok_or_else(|| {
        let name = user.name.clone().unwrap_or_else(|| user.id.to_string());
        Error::new(format!("{path} has no range of at least {SUBORDINATE} ids for user {name}")).hint(format!(
            "`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}` as root (another range if that is taken)"
        ))
    })
}

fn find_range(text: &str, user: &User) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let start: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        let own = Some(owner) == user.name.as_deref() || owner.parse() == Ok(user.id);
        (own && count >= SUBORDINATE).then_some(start)
    })
}

/// Maps the ids of the user namespace that process `pid` is in: 0 inside is the caller, the others are
/// its subordinate ids (newuidmap(1), newgidmap(1)).
pub(super) fn map_ids(pid: u32) -> Result<()> {
    let user = current_user();
    let group = rustix::process::getegid().as_raw();
    for (program, path, own) in [("newuidmap", "/etc/subuid", user.id), ("newgidmap", "/etc/subgid", group)] {
        let start = subordinate(path, &user)?;
        let numbers = [pid, 0, own, 1, 1, start, SUBORDINATE].map(|number| number.to_string());
        let output = process::Command::new(program)
            .args(numbers)
            .stdin(process::Stdio::null())
            .output()
            .context(|| format!("running {program}"))
            .map_err(|error| error.hint("install Debian's package `uidmap`"))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!("{program} failed: {}", text.trim()))
                .hint(format!("{program} must be setuid root, or have CAP_SETUID and CAP_SETGID")));
        }
    }
    Ok(())
}

/// An error about making namespaces, with the settings that usually are behind it.
pub(super) fn namespaces_refused(executor: Executor, error: rustix::io::Errno) -> Error {
    let error = Error::new("making namespaces").caused_by(error);
    if executor != Executor::UserNamespace {
        return error
            .hint("run the container with `--privileged` or `--cap-add SYS_ADMIN`, or use the executor `chroot`");
    }
    let restricted = fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    if restricted.is_ok_and(|text| text.trim() == "1") {
        return error.hint(
            "AppArmor restricts user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0` as root, \
             or an AppArmor profile for kiln that allows `userns`",
        );
    }
    error.hint("inside a container, its seccomp profile must allow user namespaces; or run kiln as root in it")
}

#[cfg(test)]
mod tests {
    use super::{Executor, User, find_range};

    #[test]
    fn names_are_read_back() {
        for executor in Executor::ALL {
            assert_eq!(Executor::from_name(executor.name()).unwrap(), executor);
        }
        assert!(Executor::from_name("docker").unwrap_err().hints()[0].contains("root-namespaces"));
    }

    #[test]
    fn a_range_is_found_by_name_or_id_if_large_enough() {
        let user = User { id: 1000, name: Some("ada".to_owned()) };
        assert_eq!(find_range("bob:1:65536\nada:100000:65536\n", &user), Some(100_000));
        assert_eq!(find_range("1000:200000:65535\n", &user), Some(200_000));
        assert_eq!(find_range("ada:100000:1000\nnonsense\nada::\n", &user), None);
    }
}
