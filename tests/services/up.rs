//! `kiln up` with real services, and `kiln compose` as a real Compose reads it.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::ask;
use crate::workspace::{Folder, Service, in_private_network, installed, real, say, succeed, workspace};

/// A copy of the workspace with a target of its own; kiln works in it.
fn with_target(folder: &Path) {
    for name in ["envs", "lockfiles", "services"] {
        let from = workspace().folder.join(name);
        succeed(Command::new("cp").arg("-R").arg(from).arg(folder.join(name)));
    }
    let target = format!(
        "[targets.test]\nrepository = \"registry.example:5000/team\"\nports.userdb = [\"127.0.0.1:15432:5432\"]\n\
         env.\"*\" = {{ NOTE = '5 $ or ${{FREE}}: \"a\" # b' }}\nenv.userdb = {{ POSTGRES_PASSWORD = {0:?} }}\n\
         env.api = {{ DATABASE_URL = \"dbname=postgres host=127.0.0.1 user=postgres password='{0}'\" }}\n",
        ask::PASSWORD
    );
    std::fs::write(folder.join("kiln.toml"), target).unwrap();
}

fn kiln(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = workspace().kiln_in(folder);
    command.args(arguments);
    command
}

#[test]
fn two_services_run_together_and_keep_what_they_were_given() {
    if !real("two_services_run_together_and_keep_what_they_were_given") {
        return;
    }
    let folder = Folder::new("up");
    with_target(folder.path());
    let up = |more: &[&str]| {
        let arguments = [&["up", "queue", "userdb", "--target", "test"], more].concat();
        Service::start(&mut kiln(folder.path(), &arguments), &folder.path().join("up.log"))
    };
    let log = || std::fs::read_to_string(folder.path().join("up.log")).unwrap();
    in_private_network(|| {
        let mut both = up(&[]);
        ask::keeps_a_key(&mut both, "by-up");
        ask::keeps_a_row(&mut both);
        assert_eq!(both.stop(Signal::INT).code(), Some(130), "{}", log());
        for said in ["queue  | ", "userdb | ", "queue ended with exit code 0\n", "userdb ended with exit code 0\n"] {
            assert!(log().contains(said), "{said}:\n{}", log());
        }
        // PostgreSQL was stopped as its image says.
        assert!(log().contains("received fast shutdown request"), "{}", log());

        let mut both = up(&[]);
        ask::has_the_key(&mut both, "by-up");
        ask::has_the_row(&mut both);
        // Whatever ends kiln ends all: the ports are free for the next.
        both.stop(Signal::KILL);
        let mut both = up(&["--fresh"]);
        ask::keeps_a_row(&mut both);
        assert!(!log().contains("in use"), "{}", log());
        assert_eq!(both.stop(Signal::TERM).code(), Some(143), "{}", log());
    });
}

#[test]
fn the_api_comes_up_with_what_it_needs() {
    if !real("the_api_comes_up_with_what_it_needs") {
        return;
    }
    let folder = Folder::new("up-api");
    with_target(folder.path());
    in_private_network(|| {
        let arguments = ["up", "api", "queue", "userdb", "--target", "test"];
        let mut all = Service::start(&mut kiln(folder.path(), &arguments), &folder.path().join("up.log"));
        ask::is_given_a_user(&mut all);
        ask::tells_the_user(&mut all, 1);
        ask::tells_the_user(&mut all, 2);
        let code = all.stop(Signal::INT).code();
        assert_eq!(code, Some(130), "{}", std::fs::read_to_string(folder.path().join("up.log")).unwrap());
    });
}

#[test]
fn compose_reads_what_kiln_writes() {
    if !real("compose_reads_what_kiln_writes") {
        return;
    }
    if !installed("docker-compose") {
        return say("compose_reads_what_kiln_writes: does not run without docker-compose");
    }
    let folder = Folder::new("compose");
    with_target(folder.path());
    for options in [&[][..], &["--target", "test"]] {
        let written = |format: &[&str], file: &str| {
            let arguments = [format, &["compose", "--output", file], options].concat();
            succeed(&mut kiln(folder.path(), &arguments));
            std::fs::read(folder.path().join(file)).unwrap()
        };
        let yaml = read_yaml(&written(&[], "compose.yaml"));
        let json: Value = serde_json::from_slice(&written(&["--format", "json"], "compose.json")).unwrap();
        assert_eq!(yaml, json, "both forms say the same");
        for file in ["compose.yaml", "compose.json"] {
            let read = compose(folder.path(), file, &["queue", "userdb", "website"]);
            for (name, service) in json["services"].as_object().unwrap() {
                let image =
                    service["image"].as_str().unwrap().replace("${KILN_REPOSITORY:-localhost:5000}", "here:1/x");
                assert_eq!(read["services"][name]["image"], image);
                assert_eq!(read["services"][name]["profiles"], serde_json::json!([name]));
                assert_eq!(read["services"][name]["environment"], service["environment"], "{name}");
                assert_eq!(read["services"][name]["stop_signal"], service["stop_signal"], "{name}");
            }
            assert!(read["volumes"].get("userdb.var-lib-postgresql").is_some(), "{read}");
        }
    }
    let userdb = &compose(folder.path(), "compose.yaml", &["userdb"])["services"]["userdb"]["environment"];
    // What is shown is to be read again, so each `$` is doubled.
    assert_eq!(userdb["NOTE"], "5 $$ or $${FREE}: \"a\" # b");
}

fn docker_compose(folder: &Path, file: &str, profiles: &[&str]) -> Command {
    let mut command = Command::new("docker-compose");
    command.env("KILN_REPOSITORY", "here:1/x").arg("-f").arg(folder.join(file));
    profiles.iter().for_each(|profile| _ = command.args(["--profile", profile]));
    command
}

/// What Compose makes of a file: checked against its schema, variables put in.
fn compose(folder: &Path, file: &str, profiles: &[&str]) -> Value {
    read_yaml(succeed(docker_compose(folder, file, profiles).arg("config")).as_bytes())
}

/// YAML as another's reader has it.
fn read_yaml(bytes: &[u8]) -> Value {
    use std::io::Write;
    // Debian's own interpreter: docker-compose depends on its YAML library.
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin.buffer), sys.stdout)";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}
