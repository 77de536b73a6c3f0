//! A machine of its own for each test of the command line: workspace, home, store, archive, clock.
//!
//! The archive is a loopback server (`archive.rs`), signed with a key that the workspace names; its times
//! are fixed, so kiln is told the time with KILN_NOW. Nothing of this machine is looked at: not its apt,
//! its home, its locale or its proxies, and any other address is refused at once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kiln::workspace::Platform;

use super::archive::{Files, Package, Scenario};
use super::deb;
use super::keys::{Flaw, NOW, Signer};
use super::schema;
use super::server::Server;

/// A port on which nothing listens: connections are refused.
const REFUSED: &str = "http://127.0.0.1:1";
/// No command of these tests takes as long.
const LONGEST: Duration = Duration::from_secs(60);

pub struct TestContext {
    folder: tempfile::TempDir,
    pub server: Server,
    signer: Signer,
    variables: BTreeMap<String, String>,
}

/// What a command did.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// For snapshots: what differs from run to run is replaced by names.
    pub shown: String,
}

impl TestContext {
    /// A workspace without environments, and an archive with these packages as the origin `test`.
    pub fn new(packages: &[Package]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "work/envs", "work/keys", "apt", "cache", "runtime"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let server = Server::start(Files::new());
        let signer = Signer::new(7, Flaw::None);
        fs::write(folder.path().join("work/keys/test.asc"), signer.public()).unwrap();
        let mut variables = BTreeMap::new();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, value) in [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("HOME", path("home")),
            ("XDG_CACHE_HOME", path("cache")),
            ("XDG_CONFIG_HOME", path("home/.config")),
            ("XDG_RUNTIME_DIR", path("runtime")),
            ("TMPDIR", path("runtime")),
            ("TZ", "Asia/Kathmandu".to_owned()),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("KILN_NOW", NOW.to_string()),
            ("KILN_APT_DIRECTORY", path("apt")),
            ("KILN_ORIGIN_TEST", server.url("/test")),
            ("KILN_ORIGIN_SNAPSHOT", REFUSED.to_owned()),
            ("KILN_ORIGIN_PYPI", REFUSED.to_owned()),
            ("KILN_ORIGIN_NPM", REFUSED.to_owned()),
            ("KILN_HTTP_RETRIES", "0".to_owned()),
            ("KILN_HTTP_TIMEOUT", "2".to_owned()),
        ] {
            variables.insert(name.to_owned(), value);
        }
        let context = Self { folder, server, signer, variables };
        context.write("kiln.toml", "");
        context.archive(packages);
        context
    }

    /// Serves these packages from now on.
    pub fn archive(&self, packages: &[Package]) {
        self.archive_dated(packages, NOW - 7200);
    }

    /// The same with the date of the signed index.
    pub fn archive_dated(&self, packages: &[Package], date: u64) {
        let scenario = Scenario {
            origin: "Test".into(),
            label: "Test".into(),
            suite: "stable".into(),
            codename: "stable".into(),
            date,
            packages: packages.to_vec(),
            ..Scenario::default()
        };
        self.server.replace(scenario.signed("/test", &self.signer));
    }

    /// Sets a variable for the commands after it.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn workspace(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("cache/kiln")
    }

    /// Writes a file of the workspace.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.workspace().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Defines an environment on no base with these packages of the archive `test`, for this machine.
    pub fn define(&self, name: &str, packages: &[&str]) {
        self.define_with(name, packages, "");
    }

    /// The same with more lines of its table `[debian]`.
    pub fn define_with(&self, name: &str, packages: &[&str], more: &str) {
        self.write(&format!("envs/{name}.toml"), definition(packages, &[here().name()], more));
    }

    pub fn lockfile(&self, name: &str) -> String {
        fs::read_to_string(self.workspace().join(format!("lockfiles/{name}.lock"))).unwrap()
    }

    /// Changes a lockfile's text, which must change.
    pub fn edit_lockfile(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let old = self.lockfile(name);
        let new = change(&old);
        assert_ne!(old, new, "the lockfile was to be changed");
        self.write(&format!("lockfiles/{name}.lock"), new);
    }

    /// The command, to be run in the workspace.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.wrapped(&[], arguments)
    }

    /// The command, run by another program (`unshare …`).
    pub fn wrapped(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let words: Vec<&str> = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_kiln")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).current_dir(self.workspace());
        command.env_clear().envs(&self.variables).stdin(Stdio::null());
        command
    }

    pub fn kiln(&self, arguments: &[&str]) -> Run {
        self.finish(self.spawn(arguments))
    }

    /// Runs a command that has to succeed.
    pub fn ok(&self, arguments: &[&str]) -> Run {
        let run = self.kiln(arguments);
        assert_eq!(run.code, Some(0), "kiln {}\n{}", arguments.join(" "), run.shown);
        if arguments.first() == Some(&"lock") {
            schema::check_workspace(&self.workspace());
        }
        run
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Waits for a command's end; one that takes too long is killed and fails the test.
    pub fn finish(&self, mut child: Child) -> Run {
        // What it writes fits into the pipes unless it fails to end.
        let started = Instant::now();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                stream.map(|mut stream| stream.read_to_end(&mut bytes));
                bytes
            })
        };
        let stdout = read(stdout.map(|stream| Box::new(stream) as _));
        let stderr = read(stderr.map(|stream| Box::new(stream) as _));
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LONGEST {
                child.kill().unwrap();
                panic!("kiln takes too long: {}", String::from_utf8_lossy(&stderr.join().unwrap()));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.run(&Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() })
    }

    /// What a command did, for snapshots.
    pub fn run(&self, output: &Output) -> Run {
        let stdout = String::from_utf8(output.stdout.clone()).unwrap();
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        schema::check_output(&stdout);
        schema::check_output(&stderr);
        let mut shown = format!("exit {}\n", output.status.code().map_or("by signal".into(), |code| code.to_string()));
        for (name, text) in [("stdout", &stdout), ("stderr", &stderr)] {
            if !text.is_empty() {
                write!(shown, "--- {name}\n{}", self.filter(text)).unwrap();
            }
        }
        Run { code: output.status.code(), stdout, stderr, shown }
    }

    /// Names in place of what differs between runs: paths, addresses, hashes, times, sizes.
    pub fn filter(&self, text: &str) -> String {
        let real = self.folder.path().canonicalize().unwrap();
        let mut text = text.to_owned();
        for (from, to) in [
            (self.store().display().to_string(), "[STORE]"),
            (real.join("work").display().to_string(), "[WORKSPACE]"),
            (self.workspace().display().to_string(), "[WORKSPACE]"),
            (self.folder.path().display().to_string(), "[FOLDER]"),
            (self.server.url(""), "http://[SERVER]"),
            (here().name().to_owned(), "[PLATFORM]"),
        ] {
            text = text.replace(&from, to);
        }
        text.split_inclusive(['\n', ' ', ':', '-', ',', '(', '/', '"', '`']).map(filter_word).collect::<String>()
    }
}

/// A definition on no base: packages of the archive `test`, platforms, more lines of its table `[debian]`.
pub fn definition(packages: &[&str], platforms: &[&str], more: &str) -> String {
    format!(
        "platforms = {platforms:?}\n\n[debian]\nsuites = []\nbase = \"none\"\npackages = {packages:?}\n{more}\n\
         [[debian.source]]\norigin = \"test\"\nsuite = \"stable\"\nkey = \"keys/test.asc\"\n"
    )
}

/// Says that a test, or a part of it, does not run, and why. Not by a macro: the test harness would keep
/// what that prints to itself.
pub fn not_run(why: &str) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("NOT RUN: {name}: {why}\n").as_bytes());
}

/// This machine's platform: no other can be baked.
pub fn here() -> Platform {
    Platform::of_this_machine().expect("kiln runs on platforms that it knows")
}

/// A package with a file of its own and no scripts, for all architectures.
pub fn package(name: &str, version: &str) -> Package {
    package_with(name, version, &[], |deb| deb)
}

/// The same with further fields (`Depends`) and content.
pub fn package_with(
    name: &str,
    version: &str,
    fields: &[(&str, &str)],
    content: impl FnOnce(deb::Package) -> deb::Package,
) -> Package {
    let mut control =
        format!("Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@example.org>\n");
    for (field, value) in fields {
        writeln!(control, "{field}: {value}").unwrap();
    }
    control.push_str("Description: a test\n");
    let deb = deb::Package { control, ..deb::Package::new() }
        .dir("./usr/", 0o755)
        .dir("./usr/share/", 0o755)
        .dir(&format!("./usr/share/{name}/"), 0o755)
        .file(&format!("./usr/share/{name}/version"), format!("{name} {version}\n").as_bytes());
    let mut package = Package::new(name, version, "all").deb(content(deb).build());
    for (field, value) in fields {
        package = package.field(field, value);
    }
    package
}

/// Bytes that no compressor makes smaller, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn filter_word(word: &str) -> String {
    let plain = word.trim_end_matches(['\n', ' ', ':', '-', ',', '(', '/', '"', '`']);
    let rest = &word[plain.len()..];
    let is_number = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_digit())
            && text.chars().all(|one| one.is_ascii_digit() || one == '.')
    };
    let time = |unit: &str| plain.strip_suffix(unit).is_some_and(is_number);
    let shown = if plain.len() == 64 && plain.chars().all(|one| one.is_ascii_hexdigit()) {
        "[HASH]"
    } else if time("ms") || time("s") {
        "[TIME]"
    } else {
        return word.to_owned();
    };
    format!("{shown}{rest}")
}
