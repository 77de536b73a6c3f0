//! Container engines, each with folders of its own.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace::{Service, succeed};

/// What containers are started with: limits that this user may set, and the network that the test is in.
const CONTAINER: [&str; 6] = ["--network", "host", "--ulimit", "nofile=1024:20000", "--ulimit", "nproc=4096:8192"];

/// `program` in a mount namespace without the unified control groups, which a mixed hierarchy has beside
/// the old ones and which confuse engines. Nothing is different where there is no such mount.
fn alone(program: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh", program]);
    command
}

/// podman, with its images in a folder of the test.
#[derive(Debug)]
pub struct Podman<'a> {
    folder: &'a Path,
    /// podman refuses a folder for what runs whose path has more than 50 characters.
    run: tempfile::TempDir,
}

impl<'a> Podman<'a> {
    pub fn new(folder: &'a Path) -> Self {
        Self { folder, run: tempfile::tempdir_in("/tmp").unwrap() }
    }
}

impl Podman<'_> {
    pub fn command(&self) -> Command {
        let mut command = alone("podman");
        command.arg("--root").arg(self.folder.join("podman")).arg("--runroot").arg(self.run.path());
        command
    }

    /// A container of `image`, in the foreground.
    pub fn run(&self, name: &str, image: &str, options: &[&str], arguments: &[&str]) -> Service {
        let mut command = self.command();
        command.args(["run", "--rm", "--name", name]).args(CONTAINER).args(options).arg(image).args(arguments);
        Service::start(&mut command, &self.folder.join(format!("podman-{name}.log")))
    }

    /// What a command prints in a container of its own. Not `podman exec`: a container's tree is mounted where only the
    /// podman that started it sees it.
    pub fn client(&self, image: &str, command: &[&str]) -> String {
        let [program, arguments @ ..] = command else { panic!("no program") };
        let mut podman = self.command();
        podman.args(["run", "--rm"]).args(CONTAINER).args(["--entrypoint", program]).arg(image).args(arguments);
        succeed(&mut podman)
    }

    /// Stops a container as its image wants; what it ends with, which must be 0.
    pub fn stop(&self, name: &str, mut service: Service) {
        succeed(self.command().args(["stop", "--time", "20", name]));
        let status = service.wait();
        assert!(status.success(), "{name}: {status}\n{}", service.printed());
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.command().args(["rm", "--all", "--force", "--time", "1"]).output();
        let _ = self.command().args(["rmi", "--all", "--force"]).output();
    }
}

/// A Docker engine of the test's own.
#[derive(Debug)]
pub struct Docker {
    engine: Option<Service>,
    folder: PathBuf,
}

impl Docker {
    /// Starts it and waits until it answers.
    pub fn start(folder: &Path) -> Self {
        let mut command = alone("dockerd");
        command.arg("--data-root").arg(folder.join("docker")).arg("--exec-root").arg(folder.join("docker-run"));
        command.arg("--pidfile").arg(folder.join("docker.pid")).arg("-H").arg(host(folder));
        command.args(["--iptables=false", "--bridge=none", "--storage-driver=overlay2"]);
        let engine = Service::start(&mut command, &folder.join("dockerd.log"));
        let mut docker = Self { engine: Some(engine), folder: folder.to_owned() };
        let probe = host(folder);
        let answers = || Command::new("docker").args(["-H", &probe, "info"]).output().unwrap().status.success();
        docker.engine.as_mut().unwrap().ask(|| answers().then_some(()));
        docker
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(host(&self.folder));
        command
    }

    /// A container of `image`, in the foreground.
    pub fn run(&self, name: &str, image: &str, options: &[&str]) -> Service {
        let mut command = self.command();
        command.args(["run", "--rm", "--name", name]).args(&CONTAINER[..4]).args(options).arg(image);
        Service::start(&mut command, &self.folder.join(format!("docker-{name}.log")))
    }

    /// Stops a container as its image wants; it must end with 0.
    pub fn stop(&self, name: &str, mut service: Service) {
        succeed(self.command().args(["stop", "--time", "20", name]));
        let status = service.wait();
        assert!(status.success(), "{name}: {status}\n{}", service.printed());
    }
}

impl Drop for Docker {
    /// Ends its containers and then the engine itself, which ends its own containerd: also when a test has
    /// failed, so nothing here may.
    fn drop(&mut self) {
        if let Ok(output) = self.command().args(["ps", "--quiet"]).output() {
            let containers = String::from_utf8_lossy(&output.stdout).into_owned();
            let _ = self.command().args(["kill"]).args(containers.split_whitespace()).output();
        }
        if let Some(mut engine) = self.engine.take() {
            engine.end();
        }
    }
}

fn host(folder: &Path) -> String {
    format!("unix://{}", folder.join("docker.sock").display())
}
