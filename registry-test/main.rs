//! A real registry takes the images and gives them back, byte for byte; a Docker engine pulls and runs
//! them from there. Second tier: runs where KILN_TEST_REAL is set, as root.

#[path = "../tests/services/ask.rs"]
mod ask;
mod base;
mod compose;
#[path = "../tests/services/engines.rs"]
mod engines;
#[path = "../tests/services/workspace.rs"]
mod workspace;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use engines::Docker;
use workspace::{Folder, SMALL, Service, in_private_network, installed, real, say, succeed, workspace};

/// A registry on loopback.
struct Registry {
    service: Service,
    port: u16,
}

/// Starts a registry on a free port of loopback; it and its port.
fn registry(folder: &Path) -> (Service, u16) {
    let Registry { service, port } = registry_with(folder, None);
    (service, port)
}

/// The same, for who has this `user:password`.
fn registry_with(folder: &Path, login: Option<&str>) -> Registry {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let storage = folder.join("registry");
    let configuration = folder.join("registry.yml");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        storage.display()
    );
    let authentication = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap();
        // crypt(5) has bcrypt, which the registry wants.
        let script = "print crypt($ARGV[0], '$2y$05$abcdefghijklmnopqrstuu')";
        let hash = succeed(Command::new("perl").args(["-e", script, password]));
        let file = folder.join("htpasswd");
        std::fs::write(&file, format!("{user}:{hash}\n")).unwrap();
        format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
    });
    std::fs::write(&configuration, text + &authentication.unwrap_or_default()).unwrap();
    let mut command = Command::new("docker-registry");
    let mut service = Service::start(command.arg("serve").arg(&configuration), &folder.join("registry.log"));
    service.ask(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    Registry { service, port }
}

fn blobs(layout: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_registry_gives_back_what_it_took() {
    if !real("a_registry_gives_back_what_it_took") {
        return;
    }
    workspace();
    let folder = Folder::new("registry");
    in_private_network(|| {
        let (registry, port) = registry(folder.path());
        for environment in SMALL {
            let (here, back) = (folder.path().join(environment), folder.path().join(format!("{environment}-back")));
            let digest = workspace().build(environment, &[format!("oci:{}", here.display())]);
            let place = format!("docker://127.0.0.1:{port}/{environment}:tag");
            let copy = |from: &str, options: &[&str], to: &str| {
                succeed(Command::new("skopeo").args(["copy", "--quiet"]).args(options).args([from, to]));
            };
            copy(&format!("oci:{}", here.display()), &["--dest-tls-verify=false"], &place);
            let found = succeed(Command::new("skopeo").args([
                "inspect",
                "--tls-verify=false",
                "--format",
                "{{.Digest}}",
                &place,
            ]));
            assert_eq!(found.trim(), digest, "{environment}");
            let by_digest = format!("docker://127.0.0.1:{port}/{environment}@{digest}");
            copy(&by_digest, &["--src-tls-verify=false"], &format!("oci:{}", back.display()));
            assert_eq!(blobs(&back), blobs(&here), "{environment}");
        }
        docker_runs(port, folder.path());
        registry.stop(Signal::TERM);
    });
}

/// A Docker engine pulls the images and runs them.
fn docker_runs(port: u16, folder: &Path) {
    if !installed("dockerd") {
        say("a_registry_gives_back_what_it_took: NO DOCKER ENGINE: dockerd is not installed");
        return;
    }
    let docker = Docker::start(folder);
    let password = format!("POSTGRES_PASSWORD={}", ask::PASSWORD);
    for environment in SMALL {
        let image = format!("127.0.0.1:{port}/{environment}:tag");
        succeed(docker.command().args(["pull", "--quiet", &image]));
        let mut service = docker.run(environment, &image, &["-e", &password]);
        match environment {
            "queue" => ask::keeps_a_key(&mut service, "by-Docker"),
            "userdb" => ask::keeps_a_row(&mut service),
            _ => ask::gives_its_page_and_refuses_scripts(&mut service),
        }
        docker.stop(environment, service);
    }
}
