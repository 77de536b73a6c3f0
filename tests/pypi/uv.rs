//! Second tier: sets of requirements resolved by uv and by kiln, on the same index at the same time. Runs where
//! KILN_TEST_REAL is set. KILN_TEST_UV names uv, otherwise it is looked for in the usual places; KILN_TEST_SETS
//! names the only sets to run, or is `all`; every sixth runs otherwise, and those that are resolved again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use kiln::ecosystem::origin::Machine;
use kiln::ecosystem::pypi::client::Client;
use kiln::ecosystem::pypi::locks::LockKind;
use kiln::ecosystem::pypi::origin;
use kiln::ecosystem::pypi::solve::{Request, solve};
use kiln::ecosystem::pypi::target::Target;
use kiln::error::Kind;
use kiln::net::{self, Settings};
use kiln::store::Store;

use super::say;
use super::scenario::versions;

/// Sets resolved at once.
const AT_ONCE: usize = 3;
/// The newest C library that uv knows as a platform.
const GLIBC: (u32, u32) = (2, 40);

/// Sets that are resolved once more at the end, when everything about them is known.
const WARM: [&str; 3] = ["web-all", "data-stack", "data-large"];

struct Set {
    name: String,
    python: String,
    requirements: Vec<String>,
}

/// The versions of an answer; `None` if there is none.
type Answer = Option<BTreeMap<String, String>>;

fn sets() -> Vec<Set> {
    let only = std::env::var("KILN_TEST_SETS").ok();
    let wanted = |(number, set): &(usize, Set)| match only.as_deref() {
        None => number.is_multiple_of(6) || WARM.contains(&set.name.as_str()),
        Some("all") => true,
        Some(only) => only.split(',').any(|name| name == set.name),
    };
    let lines = include_str!("sets.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let read = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Set { name: words.next().unwrap(), python: words.next().unwrap(), requirements: words.collect() }
    };
    lines.map(read).enumerate().filter(wanted).map(|(_, set)| set).collect()
}

fn uv() -> String {
    std::env::var("KILN_TEST_UV").unwrap_or_else(|_| "uv".to_owned())
}

fn by_uv(set: &Set, cache: &Path, python: &[String]) -> Result<Answer, String> {
    let mut child = Command::new(uv())
        .args(["pip", "compile", "-", "--no-header", "--no-annotate", "--quiet", "--no-config"])
        .args(["--python-version", &set.python, "--python-platform", "x86_64-manylinux_2_40"])
        .args(["--cache-dir".as_ref(), cache.as_os_str()])
        .args(python)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("uv could not be started: {error}"))?;
    child.stdin.take().unwrap().write_all(set.requirements.join("\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {}
        Some(1) if errors.contains("No solution found") => return Ok(None),
        _ => return Err(format!("uv has no answer: {}", errors.trim())),
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let pins = text.lines().filter_map(|line| line.split_once("=="));
    Ok(Some(pins.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()))
}

fn by_kiln(set: &Set, client: &Client<'_>) -> Result<Answer, String> {
    let target = Target::new(&set.python, "amd64", GLIBC).unwrap();
    let requirements = set.requirements.iter().map(|text| text.parse().unwrap()).collect();
    match solve(client, &Request::new(target, requirements)) {
        Ok(solution) => Ok(Some(versions(&solution))),
        Err(error) if error.what() == Kind::No => Ok(None),
        Err(error) => Err(format!("kiln has no answer: {error}")),
    }
}

fn difference(uv: &Answer, kiln: &Answer) -> String {
    match (uv, kiln) {
        (Some(uv), Some(kiln)) => {
            let names = uv.keys().chain(kiln.keys()).collect::<std::collections::BTreeSet<_>>();
            let differing = names.into_iter().filter(|name| uv.get(*name) != kiln.get(*name));
            let shown = |version: Option<&String>| version.map_or("none".to_owned(), Clone::clone);
            let lines: Vec<String> = differing
                .map(|name| format!("{name}: uv {}, kiln {}", shown(uv.get(name)), shown(kiln.get(name))))
                .collect();
            lines.join("; ")
        }
        (Some(_), None) => "uv has an answer, kiln has none".to_owned(),
        _ => "kiln has an answer, uv has none".to_owned(),
    }
}

/// Everything that this machine is set up with.
fn machine() -> Machine {
    Machine {
        variables: std::env::vars().collect(),
        home: std::env::var_os("HOME").map(Into::into),
        ask: |words| {
            let output = Command::new(words[0]).args(&words[1..]).stderr(Stdio::null()).output().ok()?;
            output.status.success().then(|| String::from_utf8(output.stdout).ok())?
        },
    }
}

/// uv's own lock and the one that it exports (PEP 751) pin the same files.
#[test]
fn locks_of_uv_are_read() {
    if std::env::var_os("KILN_TEST_REAL").is_none() {
        say("locks_of_uv_are_read: does not run without KILN_TEST_REAL=1");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let project = "[project]\nname = 'app'\nversion = '1'\nrequires-python = '>=3.11'\n\
        dependencies = ['flask[async]', 'celery[redis]', 'pandas', 'colorama; sys_platform == \"win32\"', 'uvicorn[standard]']\n";
    std::fs::write(folder.path().join("pyproject.toml"), project).unwrap();
    let uv = |words: &[&str]| {
        let mut command = Command::new(uv());
        command.args(words).args(["--no-config", "--quiet", "--directory"]).arg(folder.path());
        let output = command.args(interpreter()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    uv(&["lock"]);
    uv(&["export", "--format", "pylock.toml", "--no-emit-project", "--output-file", "pylock.toml"]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    for (python, architecture) in [("3.12.3", "amd64"), ("3.13.5", "arm64")] {
        let target = Target::new(python, architecture, (2, 41)).unwrap();
        let own = LockKind::Uv.parse(&read("uv.lock"), &target).unwrap();
        let exported = LockKind::Pylock.parse(&read("pylock.toml"), &target).unwrap();
        assert_eq!(own, exported);
        assert!(own.len() > 30 && own.iter().all(|locked| locked.file.sha256.is_some()), "{own:?}");
        assert!(!own.iter().any(|locked| locked.name.as_str() == "colorama"));
        say(&format!("uv.lock and pylock.toml pin the same {} files for {target}", own.len()));
    }
}

/// The interpreter for uv to use. Given one, it looks for no other, which takes it long on some machines.
fn interpreter() -> Vec<String> {
    let executable = (machine().ask)(&["python3", "-c", "import sys; print(sys.executable)"]);
    executable.map_or(Vec::new(), |path| vec!["--python".to_owned(), path.trim().to_owned()])
}

#[test]
fn answers_are_those_of_uv() {
    if std::env::var_os("KILN_TEST_REAL").is_none() {
        say("answers_are_those_of_uv: does not run without KILN_TEST_REAL=1");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let net = net::Client::new(&Settings { per_host: 24, ..Settings::default() }).unwrap();
    let places = origin::places(None, &machine()).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let sets = sets();
    let python = interpreter();
    let (next, wrong, times) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    // A new client asks for pages anew, as each run of uv does.
    let client = || Client::new(&net, &store, BTreeMap::from([("pypi".to_owned(), places.clone())]), now);
    let cache = folder.path().join("uv");
    let work = || {
        while let Some(set) = sets.get(next.fetch_add(1, Ordering::Relaxed)) {
            let started = Instant::now();
            let uv = by_uv(set, &cache, &python);
            let middle = Instant::now();
            let kiln = by_kiln(set, &client());
            let taken = (middle - started, middle.elapsed());
            let count = uv.as_ref().ok().and_then(Option::as_ref).map_or(0, BTreeMap::len);
            times.lock().unwrap().push(taken);
            let verdict = match (&uv, &kiln) {
                (Ok(uv), Ok(kiln)) if uv == kiln => "the same".to_owned(),
                (Ok(uv), Ok(kiln)) => difference(uv, kiln),
                (Err(error), _) | (_, Err(error)) => error.clone(),
            };
            let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f32());
            let (uv, kiln) = (seconds(taken.0), seconds(taken.1));
            say(&format!("{}: {count} packages, uv {uv}, kiln {kiln}: {verdict}", set.name));
            if verdict != "the same" {
                wrong.lock().unwrap().push(format!("{}: {verdict}", set.name));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let (uv, kiln) = times
        .into_inner()
        .unwrap()
        .iter()
        .fold((Duration::ZERO, Duration::ZERO), |sum, time| (sum.0 + time.0, sum.1 + time.1));
    // With everything known: how long each takes is said, and docs/python-parity.md has what was measured quietly.
    let again = |name: &str| sets.iter().find(|set| set.name == name);
    for set in WARM.iter().filter_map(|name| again(name)) {
        let started = Instant::now();
        let uv = by_uv(set, &cache, &python);
        let middle = Instant::now();
        let kiln = by_kiln(set, &client());
        let (first, second) = (middle - started, middle.elapsed());
        say(&format!("{} again: uv {first:.2?}, kiln {second:.2?}", set.name));
        assert!(uv == kiln, "{}: uv {first:?}, kiln {second:?}", set.name);
    }
    let same = sets.len() - wrong.len();
    say(&format!("{same} of {} sets are resolved as uv resolves them; uv took {uv:.0?}, kiln {kiln:.0?}", sets.len()));
    assert!(!sets.is_empty() && wrong.is_empty(), "{}", wrong.join("\n"));
}
