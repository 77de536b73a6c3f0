//! `kiln shell`: a shell inside an environment.

use std::io::Write as _;
use std::process::Stdio;

use insta::assert_snapshot;

use crate::scripts::define;
use crate::support::context::{TestContext, not_run, package};
use crate::support::tiny;

#[test]
fn a_shell_reads_commands_and_its_code_is_passed_on() {
    let Some(tiny) = tiny::essential() else { return };
    let context = TestContext::new(&[tiny]);
    context.write("envs/api.toml", define(&[]) + "\n[image]\nenv = { A = \"image\" }\nworkdir = \"/srv/api\"\n");
    context.ok(&["lock"]);
    let base = context.kiln(&["build"]);
    if base.stderr.contains("cannot be run in isolation here") {
        return not_run(&base.stderr);
    }
    let mut child = context
        .command(&["shell", "api", "-e", "B=typed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"echo $A $B; pwd\nexit 7\n").unwrap();
    let run = context.finish(child);
    assert_snapshot!(run.shown, @"
    exit 7
    --- stdout
    image typed
    /srv/api
    ");
}

#[test]
fn an_environment_without_a_shell() {
    let context = TestContext::new(&[package("data", "1")]);
    context.define("api", &["data"]);
    context.ok(&["lock"]);
    let run = context.kiln(&["shell", "api"]);
    if run.stderr.contains("cannot be run in isolation here") {
        return not_run(&run.stderr);
    }
    assert_snapshot!(run.shown, @"
    exit 2
    --- stderr
    Fetched 1 artifact for api (660 B) in [TIME]
    error: `api` has no shell: it has none of /bin/bash, /usr/bin/bash, /bin/sh, /usr/bin/sh

    hint: `kiln add api bash` adds one; `kiln run api -- PROGRAM` starts any other program of it
    ");
}
