//! This repository's own workspace, locked and baked anew for a test run, and the network that its
//! services are started in.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Those whose images are small.
pub const SMALL: [&str; 3] = ["queue", "userdb", "website"];
/// The environments of the workspace.
pub const ENVIRONMENTS: [&str; 7] = ["analytics", "api", "frontend", "queue", "userdb", "website", "workers"];

#[expect(clippy::disallowed_methods, reason = "a test of the second tier is switched on from outside")]
pub fn setting(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

/// Whether tests against real tools run; says so if not.
pub fn real(test: &str) -> bool {
    let real = setting("KILN_TEST_REAL").is_some();
    if !real {
        say(&format!("{test}: does not run without KILN_TEST_REAL=1"));
    } else if !rustix::process::geteuid().is_root() {
        say(&format!("{test}: does not run without root, which podman and private networks need here"));
    }
    real && rustix::process::geteuid().is_root()
}

/// Prints a line past the test harness, which keeps what passing tests print to itself.
pub fn say(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

/// Whether a program is installed.
pub fn installed(program: &str) -> bool {
    Command::new("sh").args(["-c", "command -v \"$1\"", "sh", program]).output().unwrap().status.success()
}

/// A copy of the workspace with fresh locks.
#[derive(Debug)]
pub struct Workspace {
    pub folder: PathBuf,
    store: PathBuf,
}

/// The workspace of this test run: made once, whichever test asks first.
pub fn workspace() -> &'static Workspace {
    static WORKSPACE: OnceLock<Workspace> = OnceLock::new();
    WORKSPACE.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let store = setting("KILN_TEST_STORE").unwrap_or_else(|| target.join("store"));
        let folder = target.join(concat!("workspace-", env!("CARGO_CRATE_NAME")));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::copy(source.join("kiln.toml"), folder.join("kiln.toml")).unwrap();
        for name in ["envs", "services"] {
            succeed(Command::new("cp").arg("-R").arg(source.join(name)).arg(&folder));
        }
        let workspace = Workspace { folder, store };
        succeed(workspace.kiln().arg("lock").args(ENVIRONMENTS));
        succeed(workspace.kiln().arg("build").args(ENVIRONMENTS));
        workspace
    })
}

impl Workspace {
    /// kiln in this workspace.
    pub fn kiln(&self) -> Command {
        self.kiln_in(&self.folder)
    }

    /// kiln in another, with the same store.
    pub fn kiln_in(&self, folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.arg("--store").arg(&self.store).arg("--progress=quiet").arg("-C").arg(folder);
        command
    }

    /// Writes the image of an environment to `outputs`, each `KIND:PATH`; the image's digest.
    pub fn build(&self, environment: &str, outputs: &[String]) -> String {
        let mut command = self.kiln();
        command.args(["build", "--locked", environment]);
        for output in outputs {
            command.args(["--output", output]);
        }
        let lines = succeed(&mut command);
        let line = lines.lines().find(|line| line.starts_with(environment)).unwrap();
        line.split(' ').nth(2).unwrap().to_owned()
    }
}

/// A folder of one test, removed at its end. Its name has no capitals: podman wants that of layouts.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a command that must succeed; its standard output.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, both(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Does `action` in a network namespace with nothing but a loopback interface of its own, so that every
/// service gets its usual port. What `action` starts is in it as well.
pub fn in_private_network<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    let up = "ip link set lo up 2>/dev/null || busybox ifconfig lo up; echo up; read -r end";
    let mut holder = Command::new("unshare")
        .args(["--net", "sh", "-c", up])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let namespace = std::fs::File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
    // The harness may go on to another test in this thread.
    let result = std::thread::scope(|threads| {
        let inside = threads.spawn(|| {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind)).unwrap();
            action()
        });
        inside.join()
    });
    drop(holder.stdin.take());
    holder.wait().unwrap();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A process that serves, with what it prints kept in a file. Killed when dropped.
#[derive(Debug)]
pub struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")), log: log.to_owned() }
    }

    /// Where that is which it prints.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has printed.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks until there is an answer, for at most three minutes; fails as soon as the service has ended.
    pub fn ask<T>(&mut self, question: impl Fn() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(answer) = question() {
                return answer;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the service ended ({status}):\n{}", self.printed());
            }
            assert!(
                started.elapsed() < Duration::from_secs(180),
                "no answer within three minutes:\n{}",
                self.printed()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends it a signal and waits for it to end.
    pub fn stop(mut self, signal: Signal) -> ExitStatus {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.wait()
    }

    /// Asks it to end and gives it ten seconds; never fails.
    pub fn end(&mut self) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        for _ in 0..200 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for it to end, for at most half a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "it does not end:\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
