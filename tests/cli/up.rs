//! `kiln up`: environments together, on the smallest base there is (`support/tiny.rs`), until something ends them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::scripts::{define, is_running, left};
use crate::support::context::{Run, TestContext, not_run};
use crate::support::tiny;

/// Says when it is there, and ends when it is asked to.
const SERVES: &str = "trap 'echo ending; exit 0' TERM; echo ready; while :; do sleep 0.05; done";

/// Baked environments of the base alone, each with the lines of its `[image]`; `None`, said, where no script can run.
fn baked(environments: &[(&str, String)]) -> Option<TestContext> {
    let context = TestContext::new(&[tiny::essential()?]);
    for (name, image) in environments {
        context.write(&format!("envs/{name}.toml"), define(&[]) + "\n[image]\n" + image);
    }
    context.ok(&["lock"]);
    let built = context.kiln(&["build"]);
    if built.stderr.contains("cannot be run in isolation here") {
        not_run(&built.stderr);
        return None;
    }
    assert_eq!(built.code, Some(0), "{}", built.shown);
    Some(context)
}

/// Lines of an `[image]` that runs this script.
fn runs(script: &str) -> String {
    format!("entrypoint = [\"/bin/sh\", \"-c\", {script:?}, \"sh\"]\n")
}

/// `kiln up` while it runs.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    printed: String,
}

impl Running {
    fn start(context: &TestContext, arguments: &[&str]) -> Self {
        let arguments: Vec<&str> = ["up"].iter().chain(arguments).copied().collect();
        let mut child = context.spawn(&arguments);
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, printed: String::new() }
    }

    /// Reads on until all of these lines were printed.
    fn until(&mut self, lines: &[&str]) {
        while !lines.iter().all(|wanted| self.printed.lines().any(|line| line == *wanted)) {
            if self.stdout.read_line(&mut self.printed).unwrap() == 0 {
                let mut text = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
                panic!("no {lines:?} in:\n{}\n{text}", self.printed);
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; what it did, with all that it printed.
    fn end(mut self, context: &TestContext) -> Run {
        self.stdout.read_to_string(&mut self.printed).unwrap();
        let mut run = context.finish(self.child);
        run.stdout = self.printed;
        run
    }
}

/// The lines in order of their text: those of several programs come in any.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn two_run_until_interrupted() {
    let Some(context) = baked(&[("api", runs(SERVES)), ("queue", runs(SERVES))]) else { return };
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut up = Running::start(&context, &[]);
        up.until(&["api   | ready", "queue | ready"]);
        up.signal(signal);
        let run = up.end(&context);
        assert_eq!(run.code, Some(code), "{}", run.shown);
        assert_eq!(sorted(&run.stdout), "api   | ending\napi   | ready\nqueue | ending\nqueue | ready");
        assert_eq!(left(&context), 0);
        let said = "Prepared 2 environments in [TIME]\nStopping api, queue; once more kills at once\n\
                    api ended with exit code 0\nqueue ended with exit code 0";
        assert_eq!(sorted(&context.filter(&run.stderr)), said);
    }
}

#[test]
fn when_one_ends_the_others_are_stopped() {
    let ends = "echo working; sleep 1; printf unfinished; exit 7";
    let Some(context) = baked(&[("job", runs(ends)), ("queue", runs(SERVES))]) else { return };
    let run = context.kiln(&["up"]);
    assert_eq!(run.code, Some(7), "{}", run.shown);
    assert_snapshot!(sorted(&run.stdout), @"
    job   | unfinished
    job   | working
    queue | ending
    queue | ready
    ");
    assert_snapshot!(sorted(&context.filter(&run.stderr)), @"
    Prepared 2 environments in [TIME]
    job ended with exit code 7: stopping queue
    queue ended with exit code 0
    ");
    assert_eq!(left(&context), 0);
    assert_eq!(context.kiln(&["up", "job"]).code, Some(7));
}

#[test]
fn one_that_cannot_start_stops_the_others() {
    let broken = "entrypoint = [\"/bin/nothing\"]\n".to_owned();
    let Some(context) = baked(&[("broken", broken), ("queue", runs(SERVES))]) else { return };
    let run = context.kiln(&["up"]);
    assert_eq!(run.code, Some(2), "{}", run.shown);
    assert!(run.stderr.contains("error: `broken` has no program `/bin/nothing`\n"), "{}", run.shown);
    assert!(run.stderr.contains("queue ended with exit code "), "{}", run.shown);
    assert_eq!(left(&context), 0);
}

#[test]
fn who_does_not_end_is_killed() {
    let word = format!("60.{}1", std::process::id());
    let deaf = format!("trap '' TERM; echo ready; while :; do sleep {word}; done");
    let Some(context) = baked(&[("api", runs(SERVES)), ("deaf", runs(&deaf))]) else { return };
    // A second signal kills at once.
    let mut up = Running::start(&context, &[]);
    up.until(&["api  | ready", "deaf | ready"]);
    let started = Instant::now();
    up.signal(Signal::INT);
    up.until(&["api  | ending"]);
    up.signal(Signal::INT);
    let run = up.end(&context);
    assert_eq!(run.code, Some(130), "{}", run.shown);
    assert!(run.stderr.contains("deaf ended with exit code 137\n"), "{}", run.shown);
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    assert!(!is_running(&word));
    // Without one it has ten seconds.
    let mut up = Running::start(&context, &["deaf"]);
    up.until(&["deaf | ready"]);
    let started = Instant::now();
    up.signal(Signal::TERM);
    let run = up.end(&context);
    assert_eq!(run.code, Some(143), "{}", run.shown);
    assert!(run.stderr.contains("Killing deaf: asked to end 10 seconds ago\n"), "{}", run.shown);
    assert!(started.elapsed() >= Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(!is_running(&word));
    assert_eq!(left(&context), 0);
}

#[test]
fn the_images_own_stop_signal() {
    let by =
        |signal: &str| format!("trap 'echo got {signal}; exit 0' {signal}; echo ready; while :; do sleep 0.05; done");
    let image = |signal: &str| runs(&by(signal)) + &format!("stop-signal = \"SIG{signal}\"\n");
    let environments = [("nginx", image("QUIT")), ("postgres", image("INT"))];
    let Some(context) = baked(&environments) else { return };
    let mut up = Running::start(&context, &[]);
    up.until(&["nginx    | ready", "postgres | ready"]);
    up.signal(Signal::TERM);
    let run = up.end(&context);
    assert_snapshot!(sorted(&run.stdout), @"
    nginx    | got QUIT
    nginx    | ready
    postgres | got INT
    postgres | ready
    ");
    context.write("envs/nginx.toml", define(&[]) + "[image]\nentrypoint = [\"sh\"]\nstop-signal = \"SIGFOO\"\n");
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["up"]).shown, @"
    exit 2
    --- stderr
    error: `nginx` is stopped with `SIGFOO`, and there is no such signal

    hint: `stop-signal` in `[image]` is a name such as `SIGTERM`, or a number
    ");
}

#[test]
fn nothing_is_left_when_kiln_is_killed() {
    let word = format!("60.{}2", std::process::id());
    let forks = format!("trap '' TERM INT HUP; sleep {word} & echo ready; while :; do sleep {word}; done");
    let Some(context) = baked(&[("api", runs(&forks)), ("queue", runs(&forks))]) else { return };
    let mut up = Running::start(&context, &[]);
    up.until(&["api   | ready", "queue | ready"]);
    assert!(is_running(&word));
    up.signal(Signal::KILL);
    assert_eq!(up.end(&context).code, None);
    let started = Instant::now();
    while is_running(&word) {
        assert!(started.elapsed() < Duration::from_secs(10), "a program goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The trees are gone with them; the empty folders they were in are removed by the next run.
    let trees = || {
        let works = fs::read_dir(context.store().join("tmp")).unwrap().flatten();
        works
            .flat_map(|work| fs::read_dir(work.path()).into_iter().flatten().flatten())
            .flat_map(|work| fs::read_dir(work.path()).into_iter().flatten().flatten())
            .count()
    };
    while trees() > 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "a tree is left");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn variables_of_the_target_and_volumes_that_stay() {
    let script = "echo $LEVEL $OWN; cat /data/count 2>/dev/null; echo more >>/data/count; busybox stat -c %u:%g /data \
                  /data/count";
    let image = runs(script) + "volumes = [\"/data\"]\nuser = \"33:44\"\nenv = { LEVEL = \"image\" }\n";
    let Some(context) = baked(&[("api", image)]) else { return };
    context.write(
        "kiln.toml",
        "[targets.laptop]\nenv.\"*\" = { LEVEL = \"laptop\" }\nenv.api = { OWN = \"a b\" }\nports.api = [\"81:80\"]\n",
    );
    let print = |arguments: &[&str]| context.ok(arguments).stdout;
    assert_snapshot!(print(&["up"]), @"
    api | image
    api | 33:44
    api | 33:44
    ");
    assert_snapshot!(print(&["up", "--target", "laptop"]), @"
    api | laptop a b
    api | more
    api | 33:44
    api | 33:44
    ");
    assert_eq!(fs::read_to_string(context.workspace().join(".kiln/.gitignore")).unwrap(), "*\n");
    assert!(context.workspace().join(".kiln/volumes/api/data").is_dir());
    assert!(print(&["up", "--fresh"]).lines().all(|line| line != "api | more"));
    assert_eq!(print(&["up"]).lines().filter(|line| *line == "api | more").count(), 1);
}

#[test]
fn a_volume_has_one_user_at_a_time() {
    let image = runs(SERVES) + "volumes = [\"/data\"]\n";
    let Some(context) = baked(&[("api", image)]) else { return };
    let mut up = Running::start(&context, &[]);
    up.until(&["api | ready"]);
    assert_snapshot!(context.kiln(&["up"]).shown, @"
    exit 2
    --- stderr
    error: `api` runs already: another `kiln up` has its volumes

    hint: stop that one first: programs would write over each other's data
    ");
    up.signal(Signal::TERM);
    assert_eq!(up.end(&context).code, Some(143));
}

#[test]
fn two_that_want_one_port() {
    let image = |ports: &str| runs("echo started") + ports;
    let environments = [("one", image("ports = [\"80/tcp\"]\n")), ("two", image("ports = [\"53/udp\", \"80\"]\n"))];
    let Some(context) = baked(&environments) else { return };
    assert_snapshot!(context.kiln(&["up"]).shown, @"
    exit 2
    --- stderr
    error: `one` and `two` both want port 80/tcp of this machine

    hint: name those that are to run together: `kiln up ENV...`; with an engine and `kiln compose` each has ports of its own
    ");
    context.ok(&["up", "two"]);
    context.write("kiln.toml", "[targets.laptop]\nports.two = [\"8080:80\"]\n");
    let run = context.ok(&["up", "two", "--target", "laptop"]);
    assert!(run.stderr.contains("two is on port 80/tcp and not on 8080: "), "{}", run.shown);
}

#[test]
fn output_that_is_no_text_or_has_no_end() {
    let script = "printf 'caf\\303\\251 \\377\\376\\n'; i=0; while [ $i -lt 3000 ]; do printf 0123456789; i=$((i + 1)); \
                  done; echo; echo error >&2";
    let chatters = "i=0; while [ $i -lt 2000 ]; do echo line $i of many; i=$((i + 1)); done; sleep 5";
    let Some(context) = baked(&[("api", runs(script)), ("many", runs(chatters))]) else { return };
    let output = context.command(&["up", "api", "many"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&[u8]> = output.stdout.split(|byte| *byte == b'\n').collect();
    assert!(lines.contains(&&b"api  | caf\xc3\xa9 \xff\xfe"[..]) && lines.contains(&&b"api  | error"[..]));
    let long: usize =
        lines.iter().filter(|line| line.starts_with(b"api  | 0123456789")).map(|line| line.len() - 7).sum();
    assert!(long >= 16 << 10, "{long}");
    let torn =
        lines.iter().filter(|line| !line.is_empty() && !line.starts_with(b"api  | ") && !line.starts_with(b"many | "));
    assert_eq!(torn.count(), 0);
}

#[test]
fn colours_only_if_wanted() {
    let Some(context) = baked(&[("api", runs("printf '\\033[31mred\\n'"))]) else { return };
    assert_eq!(context.ok(&["up"]).stdout, "api | \u{1b}[31mred\n");
    assert_eq!(context.ok(&["--color", "always", "up"]).stdout, "\u{1b}[36mapi |\u{1b}[0m \u{1b}[31mred\u{1b}[0m\n");
}

#[test]
fn nobody_reads() {
    let Some(context) = baked(&[("api", runs("while :; do echo line; sleep 0.01; done"))]) else { return };
    let up = Running::start(&context, &[]);
    let Running { mut child, stdout, .. } = up;
    drop(stdout);
    let started = Instant::now();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(141));
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(left(&context), 0);
}

#[test]
fn what_is_wrong_is_said_before_anything_starts() {
    let Some(context) = baked(&[("api", runs("echo started"))]) else { return };
    context.write("envs/none.toml", define(&[]));
    assert_snapshot!(context.kiln(&["up"]).shown, @"
    exit 1
    --- stderr
    error: `none` is not locked

    hint: run `kiln lock none`
    ");
    context.ok(&["lock"]);
    assert_snapshot!(context.kiln(&["up"]).shown, @"
    exit 2
    --- stderr
    error: `none` has no entrypoint

    hint: say what to run: `kiln run none -- COMMAND`
    ");
    assert_snapshot!(context.kiln(&["up", "apu"]).shown, @"
    exit 2
    --- stderr
    error: no environment `apu` in [WORKSPACE]/envs

    hint: did you mean `api`?
    ");
}
