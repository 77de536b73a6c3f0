//! One target in its own process: runs inputs until the time is over, and says what was found.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln::Digest;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::mutate::{Seeds, corpus};
use crate::targets::{self, Target};
use crate::world::World;
use crate::{memory, mutate};

/// The exit code of a process that found something and could go on.
pub const FOUND: i32 = 7;
/// The file with the input that is being tried, for when the process does not survive it.
pub const CURRENT: &str = "current";
/// The file with the slowest input, if it took that long.
const SLOWEST: &str = "slowest";
const WORTH_A_LOOK: Duration = Duration::from_millis(200);
/// What one small input may take, in bytes.
const MOST_MEMORY: usize = 256 << 20;
/// What the process may have in all, in bytes: the backstop for libraries in C, and for stacks.
const ADDRESS_SPACE: u64 = 8 << 30;
/// What threads get unless they say otherwise, in bytes.
const STACK: usize = 2 << 20;
/// What one input may take of the processors' time.
const MOST_TIME: Duration = Duration::from_secs(2);
/// Once so many different things are found, the rest can wait.
const MOST_FINDINGS: usize = 10;

/// Keeps an input that failed: its path.
pub fn keep(folder: &Path, input: &[u8]) -> PathBuf {
    let path = folder.join(&Digest::of(input).to_string()[..16]);
    fs::write(&path, input).expect("writing an input that failed");
    path
}

/// Runs a target on a stack as threads have it, where most of kiln's work is done.
pub fn run(name: &str, seconds: f64, folder: &Path) -> ExitCode {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let run = thread.spawn_scoped(scope, || fuzz(name, seconds, folder)).expect("a thread");
        run.join().expect("the thread ends")
    })
}

fn fuzz(name: &str, seconds: f64, folder: &Path) -> ExitCode {
    let targets = targets::all();
    let target = targets.iter().find(|target| target.name == name).expect("a target of this name");
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) };
    setrlimit(Resource::As, limit).expect("limiting the address space");
    let mut runner = Runner::new(target, folder);
    let seeds = corpus(name);
    for (path, seed) in &seeds {
        runner.one(seed, &format!("the seed {path}"));
    }
    let seeds = Seeds::new(seeds.into_iter().map(|(_, bytes)| bytes).collect(), target.words);
    let (started, mut number) = (Instant::now(), 0);
    let from: u64 = std::env::var("KILN_FUZZ_FROM").map_or(0, |text| text.parse().expect("KILN_FUZZ_FROM"));
    while started.elapsed().as_secs_f64() < seconds && runner.found.len() < MOST_FINDINGS {
        let input = (target.mend)(mutate::input(&seeds, target.name, from + number));
        runner.one(&input, &format!("input {}", from + number));
        number += 1;
    }
    let slowest = runner.slowest.as_secs_f64() * 1000.0;
    println!("{number} inputs in {:.1} s, the slowest took {slowest:.0} ms", started.elapsed().as_secs_f64());
    if runner.found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND as u8) }
}

struct Runner<'a> {
    target: &'a Target,
    world: World,
    folder: &'a Path,
    current: File,
    /// The number of the input that is being tried; 0 between two.
    busy: Arc<AtomicU64>,
    count: u64,
    /// Where it panicked and what it said, of the last time.
    panicked: Arc<Mutex<String>>,
    found: BTreeSet<String>,
    slowest: Duration,
}

impl<'a> Runner<'a> {
    fn new(target: &'a Target, folder: &'a Path) -> Self {
        let panicked = Arc::new(Mutex::new(String::new()));
        let said = Arc::clone(&panicked);
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let message = info.payload_as_str().unwrap_or("?");
            let short: String = message.chars().take(300).collect();
            *said.lock().unwrap() = format!("a panic at {place}: {short}");
        }));
        let busy = Arc::new(AtomicU64::new(0));
        let watched = Arc::clone(&busy);
        std::thread::spawn(move || watch(&watched));
        let current = File::create(folder.join(CURRENT)).expect("a file for the current input");
        let found = BTreeSet::new();
        Self { target, world: World::new(), folder, current, busy, count: 0, panicked, found, slowest: Duration::ZERO }
    }

    fn one(&mut self, input: &[u8], what: &str) {
        self.current.set_len(input.len() as u64).expect("writing the current input");
        self.current.write_all_at(input, 0).expect("writing the current input");
        self.count += 1;
        self.world.renew(self.count);
        let (before, began) = (memory::start(), Instant::now());
        self.busy.store(self.count, SeqCst);
        let done = panic::catch_unwind(AssertUnwindSafe(|| (self.target.run)(&self.world, input)));
        self.busy.store(0, SeqCst);
        if began.elapsed() > self.slowest {
            self.slowest = began.elapsed();
            if self.slowest > WORTH_A_LOOK {
                fs::write(self.folder.join(SLOWEST), input).expect("writing the slowest input");
            }
        }
        let most = memory::most_since(before);
        match done {
            Err(_) => {
                let said = self.panicked.lock().unwrap().clone();
                self.report(said, input, what);
            }
            Ok(Err(difference)) => self.report(difference, input, what),
            Ok(Ok(())) if most > MOST_MEMORY => {
                let size = input.len();
                self.report("too much memory".to_owned(), input, &format!("{what}: {most} bytes for {size}"));
            }
            Ok(Ok(())) => {}
        }
    }

    fn report(&mut self, finding: String, input: &[u8], what: &str) {
        let key: String = finding.chars().take(60).collect();
        if self.found.insert(key) {
            println!("FINDING: {finding}\n  at {what}, kept as {}", keep(self.folder, input).display());
        }
    }
}

/// Ends the process when an input takes too much of the processors' time. Waiting for others' processes is not
/// counted.
fn watch(busy: &AtomicU64) {
    let (mut seen, mut since) = (0, Duration::ZERO);
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let (number, used) = (busy.load(SeqCst), processor_time());
        if number != seen || number == 0 {
            (seen, since) = (number, used);
        } else if used - since > MOST_TIME {
            println!("FINDING: more than {} s for one input", MOST_TIME.as_secs());
            std::process::abort();
        }
    }
}

/// What this process has had of the processors (proc(5), `stat`, fields 14 and 15), at 100 ticks a second.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc/self/stat");
    let after = stat.rsplit_once(')').expect("a program's name in brackets").1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}
