//! What `kiln compose` writes, run by Compose on a Docker engine that pulls from the registry.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::engines::Docker;
use crate::registry;
use crate::workspace::{Folder, in_private_network, installed, real, say, setting, succeed, workspace};

/// Where the queue is published: not its own port.
const PORT: &str = "16379";

#[test]
fn compose_runs_the_ones_that_are_wanted() {
    if !real("compose_runs_the_ones_that_are_wanted") {
        return;
    }
    for program in ["dockerd", "docker-compose", "redis-cli"] {
        if !installed(program) {
            return say(&format!("compose_runs_the_ones_that_are_wanted: does not run without {program}"));
        }
    }
    workspace();
    let folder = Folder::new("composed");
    in_private_network(|| {
        let (_registry, port) = registry(folder.path());
        let digest = workspace().build("queue", &[]);
        let file = written(folder.path(), port);
        let pushed = succeed(workspace().kiln_in(folder.path()).args(["push", "queue", "--target", "test"]));
        assert_eq!(pushed, format!("127.0.0.1:{port}/team/queue@{digest}\n"));
        podman_reads(&file, &digest);
        let docker = Docker::start(folder.path());
        let compose = |arguments: &[&str]| {
            let mut command = Command::new("docker-compose");
            let host = format!("unix://{}", folder.path().join("docker.sock").display());
            command.env("DOCKER_HOST", host).args(["--file", &file, "--project-name", "kiln", "--profile", "queue"]);
            succeed(command.args(arguments))
        };
        compose(&["up", "--detach"]);
        let answered = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            Command::new("redis-cli").args(["-p", PORT, "ping"]).output().unwrap().stdout == b"PONG\n"
        });
        let log = compose(&["logs", "--no-color"]);
        assert!(answered, "no answer on the published port:\n{log}");
        // By the digest that kiln printed, and nothing that was not asked for.
        let images = succeed(docker.command().args(["ps", "--no-trunc", "--format", "{{.Image}}"]));
        assert_eq!(images, format!("127.0.0.1:{port}/team/queue@{digest}\n"));
        let volumes = succeed(docker.command().args(["volume", "ls", "--quiet"]));
        assert!(volumes.contains("kiln_queue.var-lib-redis\n"), "{volumes}");
        compose(&["down", "--volumes"]);
    });
}

/// The Compose file for images in the registry on this port.
fn written(folder: &Path, port: u16) -> String {
    for name in ["envs", "lockfiles", "services"] {
        succeed(Command::new("cp").arg("-R").arg(workspace().folder.join(name)).arg(folder.join(name)));
    }
    let target =
        format!("[targets.test]\nrepository = \"127.0.0.1:{port}/team\"\nports.queue = [\"{PORT}:6379/tcp\"]\n");
    std::fs::write(folder.join("kiln.toml"), target).unwrap();
    let file = folder.join("compose.yaml").display().to_string();
    succeed(workspace().kiln_in(folder).args(["compose", "--target", "test", "--output", &file]));
    file
}

/// podman's Compose takes the file, too. The one that Debian has is too old to know profiles.
fn podman_reads(file: &str, digest: &str) {
    let Some(program) = setting("KILN_TEST_PODMAN_COMPOSE") else {
        return say("compose_runs_the_ones_that_are_wanted: podman-compose is not named by KILN_TEST_PODMAN_COMPOSE");
    };
    let read = succeed(Command::new(program).args(["--file", file, "--profile", "queue", "config"]));
    assert!(read.contains(digest) && !read.contains("website:"), "{read}");
}
