//! Second tier: the services of this repository's workspace are baked, started and asked something, by
//! kiln itself, by podman and by Docker; and other tools read what kiln writes. Runs where KILN_TEST_REAL
//! is set, as root. KILN_TEST_STORE names a store to use; otherwise Cargo's folder for tests has one.

mod ask;
mod engines;
mod outputs;
mod stacks;
mod up;
mod workspace;

use std::path::Path;

use rustix::process::Signal;

use engines::Podman;
use workspace::{Folder, Service, in_private_network, real, workspace};

/// `kiln run` of an environment, with the network and `options`.
fn kiln_run(environment: &str, options: &[&str], command: &[&str], folder: &Path) -> Service {
    let mut kiln = workspace().kiln();
    kiln.args(["run", environment, "--network"]).args(options).arg("--").args(command);
    Service::start(&mut kiln, &folder.join("kiln.log"))
}

/// The same with a log of its own, for several at once.
fn kiln_run_named(environment: &str, options: &[&str], command: &[&str], folder: &Path) -> Service {
    let mut kiln = workspace().kiln();
    kiln.args(["run", environment, "--network"]).args(options).arg("--").args(command);
    Service::start(&mut kiln, &folder.join(format!("{environment}.log")))
}

/// The image of an environment as a layout in `folder`, as podman names it.
fn layout(environment: &str, folder: &Path) -> String {
    let layout = format!("oci:{}", folder.join(environment).display());
    workspace().build(environment, std::slice::from_ref(&layout));
    layout
}

#[test]
fn redis_keeps_a_key() {
    if !real("redis_keeps_a_key") {
        return;
    }
    workspace();
    let folder = Folder::new("redis");
    in_private_network(|| {
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let volume = format!("{}:/var/lib/redis:U", data.display());
        for start in ["first", "second"] {
            let mut redis = kiln_run("queue", &["-v", &volume], &[], folder.path());
            match start {
                "first" => ask::keeps_a_key(&mut redis, "by-kiln"),
                _ => ask::has_the_key(&mut redis, "by-kiln"),
            }
            // Redis saves its data when it is asked to end, and then is content.
            assert_eq!(redis.stop(Signal::TERM).code(), Some(0));
        }
        let sentinel = ["sh", "-c", SENTINEL];
        let mut sentinel = kiln_run("queue", &[], &sentinel, folder.path());
        ask::is_a_sentinel(&mut sentinel);
        assert_eq!(sentinel.stop(Signal::TERM).code(), Some(0));

        let podman = Podman::new(folder.path());
        let image = layout("queue", folder.path());
        let mut redis = podman.run("queue", &image, &[], &[]);
        ask::keeps_a_key(&mut redis, "by-podman");
        podman.stop("queue", redis);
        let mut sentinel = podman.run("sentinel", &image, &["--entrypoint", "sh"], &["-c", SENTINEL]);
        ask::is_a_sentinel(&mut sentinel);
        podman.stop("sentinel", sentinel);
    });
}

/// A sentinel wants a configuration that it can write to; an empty one will do.
const SENTINEL: &str = "echo 'protected-mode no' > /tmp/sentinel.conf; exec redis-sentinel /tmp/sentinel.conf";

#[test]
fn postgresql_keeps_a_row() {
    if !real("postgresql_keeps_a_row") {
        return;
    }
    workspace();
    let folder = Folder::new("postgresql");
    in_private_network(|| {
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let volume = format!("{}:/var/lib/postgresql:U", data.display());
        let password = format!("POSTGRES_PASSWORD={}", ask::PASSWORD);
        let mut postgres = kiln_run("userdb", &["-v", &volume, "-e", &password], &[], folder.path());
        ask::keeps_a_row(&mut postgres);
        // SIGINT is its "fast shutdown", and the image's stop signal.
        assert_eq!(postgres.stop(Signal::INT).code(), Some(0));
        assert!(data.join("data/PG_VERSION").is_file(), "the cluster is in the volume");
        let mut postgres = kiln_run("userdb", &["-v", &volume], &[], folder.path());
        ask::has_the_row(&mut postgres);
        assert_eq!(postgres.stop(Signal::INT).code(), Some(0));

        let podman = Podman::new(folder.path());
        let image = layout("userdb", folder.path());
        let kept = ["-v", "userdb:/var/lib/postgresql"];
        let mut postgres = podman.run("userdb", &image, &[kept[0], kept[1], "-e", &password], &[]);
        ask::keeps_a_row(&mut postgres);
        podman.stop("userdb", postgres);
        let mut postgres = podman.run("userdb", &image, &kept, &[]);
        ask::has_the_row(&mut postgres);
        podman.stop("userdb", postgres);
    });
}

#[test]
fn nginx_gives_its_page_and_modsecurity_refuses_scripts() {
    if !real("nginx_gives_its_page_and_modsecurity_refuses_scripts") {
        return;
    }
    workspace();
    let folder = Folder::new("nginx");
    in_private_network(|| {
        let mut nginx = kiln_run("website", &[], &[], folder.path());
        ask::gives_its_page_and_refuses_scripts(&mut nginx);
        assert_eq!(nginx.stop(Signal::QUIT).code(), Some(0));

        let podman = Podman::new(folder.path());
        let mut nginx = podman.run("website", &layout("website", folder.path()), &[], &[]);
        ask::gives_its_page_and_refuses_scripts(&mut nginx);
        podman.stop("website", nginx);
    });
}

/// What a program that `kiln run` starts is like, and what is said if it cannot be.
#[test]
fn a_command_runs_as_the_images_user() {
    if !real("a_command_runs_as_the_images_user") {
        return;
    }
    let run = |options: &[&str], command: &[&str]| {
        workspace().kiln().args(["run", "userdb"]).args(options).arg("--").args(command).output().unwrap()
    };
    let script = "id -un; id -Gn; pwd; echo $HOME; exit 7";
    let output = run(&[], &["sh", "-c", script]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "postgres\npostgres ssl-cert\n/var/lib/postgresql\n/var/lib/postgresql\n", "{:?}", output.stderr);
    assert_eq!(output.status.code(), Some(7));
    // A pipe can be opened anew; the tree carries its lock and no cluster.
    let script = "echo open > /dev/stdout; head -c 1 /usr/share/kiln/lock.json; ls /var/lib/postgresql/17 2>/dev/null";
    let output = run(&[], &["sh", "-c", script]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "open\n{", "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(&["-u", "root", "-w", "/etc"], &["sh", "-c", "id -u; pwd"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n/etc\n");
    for (options, command, expected) in [
        (&[][..], "missing", "error: `userdb` has no program `missing`\n"),
        (&["-w", "/missing"][..], "true", "error: `userdb` has no folder /missing to start in\n"),
        (&[][..], "/etc/passwd", "hint: it is there: is it executable"),
    ] {
        let output = run(options, &[command]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(expected), "{text}");
        assert_eq!(output.status.code(), Some(2));
    }
}
