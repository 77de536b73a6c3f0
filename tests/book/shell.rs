//! Running a page: all its commands in one bash, in an empty folder, with a home and a store of its own and the kiln
//! that was just built first in PATH.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::page::{Page, Step};
use crate::shape::{self, Rule};
use crate::support::context::{TestContext, package};
use crate::support::registry::Registry;

/// No page takes as long.
const LONGEST: Duration = Duration::from_secs(600);
/// Shell functions for hidden set-up.
const PROLOGUE: &str = include_str!("prologue.sh");

/// A bash to be started in an empty folder.
pub struct Shell {
    command: Command,
    /// Where what commands print is kept, and their exit codes.
    notes: PathBuf,
    script: PathBuf,
    /// What podman and Docker keep, on pages that use them.
    engines: Option<TempDir>,
}

impl Shell {
    /// One for the real archives: this machine's settings, with a home and a store below `folder` that pages share, and
    /// an empty folder `name` to work in. `archives` is the network that they are in, if they may be asked.
    pub fn real(folder: &Path, name: &str, archives: Option<&str>) -> Self {
        let mut command = Command::new("bash");
        for (variable, place) in
            [("HOME", "home"), ("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "home/.config"), ("TMPDIR", "tmp")]
        {
            fs::create_dir_all(folder.join(place)).unwrap();
            command.env(variable, folder.join(place));
        }
        // podman refuses a folder for what runs whose path has more than 50 characters.
        let engines = tempfile::tempdir_in("/tmp").unwrap();
        command.env("ENGINES_FOLDER", engines.path()).env("KILN", env!("CARGO_BIN_EXE_kiln"));
        command.env("REPOSITORY", super::root());
        command.env("ARCHIVES", archives.unwrap_or_default());
        let wrappers = super::root().join("tests/book/bin").display().to_string();
        let mut shell = Self::new(command, &folder.join(name), &wrappers);
        shell.engines = Some(engines);
        shell
    }

    /// `first` is looked into first for programs.
    fn new(mut command: Command, folder: &Path, first: &str) -> Self {
        let (work, notes) = (folder.join("work"), folder.join("notes"));
        for path in [&work, &notes] {
            fs::create_dir_all(path).unwrap();
        }
        let script = folder.join("page.sh");
        command.arg(&script).current_dir(work).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
        command.env("PATH", format!("{first}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Reader").env(format!("GIT_{role}_EMAIL"), "reader@example.org");
        }
        command.env("GIT_CONFIG_COUNT", "1");
        command.env("GIT_CONFIG_KEY_0", "init.defaultBranch").env("GIT_CONFIG_VALUE_0", "main");
        Self { command, notes, script, engines: None }
    }

    /// Runs a page; fails at the first command that did not do what the page says.
    pub fn run(mut self, page: &Page, rule: Rule) {
        let mut script = PROLOGUE.to_owned();
        for (number, step) in page.steps.iter().enumerate() {
            let notes = self.notes.display();
            // A group is no subshell: folders, variables and jobs stay. What follows a failure would make no sense.
            let leave = if fails(step) { "" } else { "; [ $code = 0 ] || exit" };
            writeln!(script, "{{\n{}\n}} >'{notes}/{number}' 2>&1", step.command).unwrap();
            writeln!(script, "code=$?; echo $code >'{notes}/{number}.code'{leave}; (exit $code)").unwrap();
        }
        fs::write(&self.script, script).unwrap();
        let mut child = self.command.spawn().unwrap();
        let started = Instant::now();
        while child.try_wait().unwrap().is_none() && started.elapsed() < LONGEST {
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended = child.try_wait().unwrap().is_some();
        // What it started in the background is in its group.
        let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::TERM);
        if !ended {
            let _ = child.kill();
        }
        child.wait().unwrap();
        self.clean();
        for (number, step) in page.steps.iter().enumerate() {
            let printed = fs::read(self.notes.join(number.to_string())).unwrap_or_default();
            let code = fs::read_to_string(self.notes.join(format!("{number}.code"))).ok();
            let code = code.and_then(|code| code.trim().parse().ok());
            check(page, step, &String::from_utf8_lossy(&printed), code, rule);
        }
    }
    /// What podman has mounted would outlive the test.
    fn clean(&self) {
        let Some(engines) = &self.engines else { return };
        for words in [&["rm", "--all", "--force", "--time", "1"][..], &["rmi", "--all", "--force"]] {
            let mut command = Command::new(super::root().join("tests/book/bin/podman"));
            let _ = command.args(words).env("ENGINES_FOLDER", engines.path()).output();
        }
    }
}

/// Whether the page says that a command fails.
fn fails(step: &Step) -> bool {
    step.printed.iter().flatten().any(|line| line.starts_with("error:"))
}

fn check(page: &Page, step: &Step, printed: &str, code: Option<i32>, rule: Rule) {
    let place = format!("{}:{}: `{}`", page.path, step.line, step.command);
    let Some(code) = code else { panic!("{place} did not end; it printed\n{printed}") };
    assert_eq!(code != 0, fails(step), "{place} ended with {code}; it printed\n{printed}");
    if let Some(expected) = &step.printed {
        let same = shape::same(expected, printed, rule);
        assert!(
            same,
            "{place} did not print what the page says\n--- the page\n{}\n--- found\n{printed}",
            expected.join("\n")
        );
    }
}

/// The archive and the registry of `tests/support`, for pages that need no network.
pub struct Fixture {
    context: TestContext,
    registry: Registry,
}

impl Fixture {
    /// An archive of the origin `vendor` with three packages, and a registry that wants the login `ci:secret`.
    pub fn new() -> Self {
        let mut context = TestContext::new(&[package("tool", "1.2"), package("library", "3.4"), package("other", "5")]);
        let registry = Registry::start();
        registry.require("ci:secret");
        for (name, value) in [
            ("KILN_ORIGIN_VENDOR", context.server.url("/test")),
            ("ARCHIVE", context.server.url("/test")),
            ("ARCHIVE_KEY", context.workspace().join("keys/test.asc").display().to_string()),
            ("REGISTRY", registry.host()),
            ("KILN_HTTP_TIMEOUT", "20".to_owned()),
        ] {
            context.set(name, value);
        }
        Self { context, registry }
    }

    pub fn run(self, page: &Page) {
        let folder = self.context.folder().join("book");
        let command = self.context.wrapped(&["bash"], &[]);
        // The test's context puts the program behind the wrapper; here it is found by its name.
        let mut bash = Command::new("bash");
        for (name, value) in command.get_envs() {
            bash.env(name, value.unwrap_or_default());
        }
        let built = Path::new(env!("CARGO_BIN_EXE_kiln")).parent().unwrap().display().to_string();
        Shell::new(bash, &folder, &built).run(page, Rule::Fixed);
        drop(self.registry);
    }
}
