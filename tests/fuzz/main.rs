//! Bytes from outside against every parser: no input may crash kiln, take it long, fill the memory, or be read
//! differently from what was written.
//!
//! Each target runs in a process of its own, which can be killed and whose memory can be measured: first the files
//! of `corpus/TARGET/` as they are, then mutations of them (`mutate.rs`), always the same ones in the same order,
//! until its time is over. `KILN_FUZZ_SECONDS` says how long that is; `cargo test --test fuzz deb` runs the targets
//! with `deb` in their names. What fails is kept in the build's folder for temporary files; once mended, it becomes
//! a file of the corpus.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "this is a test's own main")]

mod child;
mod memory;
mod mend;
mod mutate;
mod targets;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use targets::Target;

/// All targets together, in an ordinary run, on one core.
const SECONDS_IN_ALL: f64 = 60.0;
/// One target, in an ordinary run.
const SECONDS_EACH: f64 = 2.0;
/// What a process may take beyond its time: it starts, and ends the input that it is at.
const GRACE: Duration = Duration::from_secs(60);

/// Which targets were asked for, as `cargo test` hands it on.
#[derive(Default)]
struct Asked {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    ignored: bool,
}

impl Asked {
    fn read() -> Self {
        let mut asked = Self::default();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--exact" => asked.exact = true,
                "--list" => asked.list = true,
                "--ignored" => asked.ignored = true,
                "--skip" => asked.skipped.extend(words.next()),
                "--test-threads" | "--format" | "--color" | "-Z" | "--logfile" => drop(words.next()),
                option if option.starts_with('-') => {}
                _ => asked.filters.push(word),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        !self.ignored && (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

fn main() -> ExitCode {
    if let (Ok(name), Ok(seconds), Ok(folder)) =
        (std::env::var("KILN_FUZZ_TARGET"), std::env::var("KILN_FUZZ_SECONDS"), std::env::var("KILN_FUZZ_FOLDER"))
    {
        return child::run(&name, seconds.parse().expect("a number of seconds"), Path::new(&folder));
    }
    let asked = Asked::read();
    let all = targets::all();
    check_corpus(&all);
    let wanted: Vec<&Target> = all.iter().filter(|target| asked.wants(target.name)).collect();
    if asked.list {
        wanted.iter().for_each(|target| println!("{}: test", target.name));
        return ExitCode::SUCCESS;
    }
    let seconds = std::env::var("KILN_FUZZ_SECONDS").ok().map(|text| text.parse().expect("KILN_FUZZ_SECONDS"));
    let seconds = seconds.unwrap_or(SECONDS_EACH.min(SECONDS_IN_ALL / all.len() as f64));
    println!("\nrunning {} targets for {seconds:.1} s each", wanted.len());
    let (next, failed) = (Mutex::new(wanted.iter()), Mutex::new(0));
    let processes = std::thread::available_parallelism().map_or(1, |count| count.get().min(4));
    std::thread::scope(|scope| {
        for _ in 0..processes {
            scope.spawn(|| {
                loop {
                    let Some(target) = next.lock().unwrap().next() else { break };
                    let (report, good) = fuzz(target.name, seconds);
                    println!("{report}");
                    *failed.lock().unwrap() += usize::from(!good);
                }
            });
        }
    });
    let failed = *failed.lock().unwrap();
    println!("\nfuzz result: {} targets, {failed} with findings", wanted.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A target without seeds would try noise only, and seeds without a target nobody reads.
fn check_corpus(targets: &[Target]) {
    for target in targets {
        assert!(!mutate::corpus(target.name).is_empty(), "tests/fuzz/corpus/{} has no files", target.name);
    }
    for entry in fs::read_dir(mutate::folder()).expect("tests/fuzz/corpus") {
        let name = entry.expect("a folder of seeds").file_name().to_string_lossy().into_owned();
        assert!(targets.iter().any(|target| target.name == name), "tests/fuzz/corpus/{name} belongs to no target");
    }
}

/// Runs one target in a process of its own: what it has to report, and whether nothing was found.
fn fuzz(name: &str, seconds: f64) -> (String, bool) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(name);
    fs::create_dir_all(&folder).expect("a folder for what is found");
    let output_path = folder.join("output");
    let output = fs::File::create(&output_path).expect("a file for what the process says");
    // The path is empty: what a hostile file names is not to be run, whatever this machine has.
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env("KILN_FUZZ_TARGET", name)
        .env("KILN_FUZZ_SECONDS", seconds.to_string())
        .env("KILN_FUZZ_FOLDER", &folder)
        .env("PATH", "")
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output)
        .spawn()
        .expect("the process of a target");
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the state of the process") {
            break Some(status);
        }
        if started.elapsed() > Duration::from_secs_f64(seconds) + GRACE {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let said = String::from_utf8_lossy(&fs::read(&output_path).unwrap_or_default()).into_owned();
    let last = said.lines().last().unwrap_or_default();
    match status {
        Some(status) if status.success() => (format!("{name}: {last}"), true),
        Some(status) if status.code() == Some(child::FOUND) => (format!("{name}: FINDINGS\n{said}"), false),
        ended => {
            let how = ended.map_or("it did not end and was killed".to_owned(), |status| status.to_string());
            let kept = child::keep(&folder, &fs::read(folder.join(child::CURRENT)).unwrap_or_default());
            (format!("{name}: FINDING: {how}, at the input {}\n{said}", kept.display()), false)
        }
    }
}
