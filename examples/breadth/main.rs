//! How much of Debian bakes, and whether it bakes the same twice: every package of `packages.txt` alone on
//! the Essential base, in two stores, by two executors.
//!
//! `cargo run --example breadth -- KILN FOLDER` bakes and appends a line for each package to
//! `FOLDER/results.jsonl`; started again, it goes on where it stopped. `cargo run --example breadth --
//! report FOLDER` prints `docs/breadth.md` from that. Needs root, for both executors.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use kiln::digest::Digest;
use kiln::error::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const PACKAGES: &str = include_str!("packages.txt");

/// What became of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Two bakes gave the same image.
    Identical,
    /// They did not.
    Differs,
    /// It was not baked.
    Refused,
    /// The archive has no such set of packages.
    Unlocked,
}

/// A line of the results.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    package: String,
    state: State,
    /// How many packages the image has, the base included.
    #[serde(default)]
    packages: usize,
    /// Bytes of the image's layers as stored.
    #[serde(default)]
    size: u64,
    /// Of locking, of the first bake (with fetching), of the second.
    #[serde(default)]
    seconds: [f64; 3],
    /// Why it was refused, or the paths that differ with who wrote them.
    #[serde(default)]
    why: Vec<String>,
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [word, folder] if word == "report" => {
            results(Path::new(folder)).map(|outcomes| print!("{}", report::markdown(&outcomes, names().len())))
        }
        [kiln, folder, asked @ ..] => run(Path::new(kiln), Path::new(folder), asked),
        _ => Err(Error::new("usage: breadth KILN FOLDER [PACKAGE...], or: breadth report FOLDER")),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::from(2)
        }
    }
}

fn names() -> Vec<&'static str> {
    PACKAGES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What the results file holds; of a package that was tried again, the last.
fn results(folder: &Path) -> Result<Vec<Outcome>> {
    let text = fs::read_to_string(folder.join("results.jsonl")).unwrap_or_default();
    let mut last: BTreeMap<String, Outcome> = BTreeMap::new();
    for line in text.lines() {
        let outcome: Outcome = serde_json::from_str(line).context(|| "reading the results")?;
        last.insert(outcome.package.clone(), outcome);
    }
    Ok(names().into_iter().filter_map(|name| last.remove(name)).collect())
}

fn run(kiln: &Path, folder: &Path, asked: &[String]) -> Result<()> {
    let kitchen = Kitchen::new(kiln, folder)?;
    let done: BTreeSet<String> = results(folder)?.into_iter().map(|outcome| outcome.package).collect();
    let mut file = File::options().create(true).append(true).open(folder.join("results.jsonl"))?;
    let wanted: Vec<&str> = if asked.is_empty() {
        names().into_iter().filter(|name| !done.contains(*name)).collect()
    } else {
        asked.iter().map(String::as_str).collect()
    };
    for name in wanted {
        let outcome = kitchen.try_package(name)?;
        println!("{name}: {:?} {:.0?} {}", outcome.state, outcome.seconds, outcome.why.join("; "));
        writeln!(file, "{}", serde_json::to_string(&outcome)?)?;
    }
    Ok(())
}

/// A workspace and two stores.
struct Kitchen {
    kiln: PathBuf,
    workspace: PathBuf,
    stores: [PathBuf; 2],
}

impl Kitchen {
    fn new(kiln: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let workspace = folder.join("workspace");
        fs::create_dir_all(workspace.join("envs"))?;
        fs::write(workspace.join("kiln.toml"), "")?;
        let stores = [folder.join("one"), folder.join("other")];
        Ok(Self { kiln: kiln.canonicalize()?, workspace, stores })
    }

    fn kiln(&self, store: usize, arguments: &[&str]) -> std::result::Result<String, String> {
        let output = Command::new(&self.kiln)
            .arg("-C")
            .arg(&self.workspace)
            .arg("--store")
            .arg(&self.stores[store])
            .args(arguments)
            .args(["--progress", "quiet", "--color", "never"])
            .env("KILN_TREE_MEMORY", ["4096", "0"][store])
            .env("TZ", ["UTC", "Asia/Tokyo"][store])
            .env("LC_ALL", ["C", "C.UTF-8"][store])
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn try_package(&self, name: &str) -> Result<Outcome> {
        let environment = name.replace(['+', '.'], "-");
        let definition = self.workspace.join(format!("envs/{environment}.toml"));
        fs::write(&definition, format!("[debian]\nsuite = \"trixie\"\npackages = [\"{name}\"]\n"))?;
        let lockfile = self.workspace.join(format!("lockfiles/{environment}.lock"));
        // What an earlier try pinned.
        if lockfile.exists() {
            fs::remove_file(&lockfile)?;
        }
        let mut outcome = Outcome {
            package: name.to_owned(),
            state: State::Unlocked,
            packages: 0,
            size: 0,
            seconds: [0.0; 3],
            why: Vec::new(),
        };
        let started = Instant::now();
        let locked = self.kiln(0, &["lock", &environment]);
        outcome.seconds[0] = started.elapsed().as_secs_f64();
        if let Err(error) = locked {
            outcome.why = reason(&error);
            return Ok(outcome);
        }
        let text = fs::read_to_string(&lockfile)?;
        outcome.packages = text.lines().filter(|line| *line == "[[package]]").count();
        let mut digests = Vec::new();
        for (store, executor, jobs) in [(0, "root-namespaces", "2"), (1, "chroot", "1")] {
            // Without the outputs that the first bake pinned: it is for us to compare.
            fs::write(&lockfile, &text)?;
            let started = Instant::now();
            let arguments = ["build", &environment, "--executor", executor, "--jobs", jobs, "--format", "json"];
            let mut built = self.kiln(store, &arguments);
            // Whatever wants more than a chroot gives says so loudly.
            if executor == "chroot" && built.is_err() {
                outcome.why = vec!["not by a chroot, which has no /proc: twice with namespaces".to_owned()];
                built =
                    self.kiln(store, &arguments.map(|word| if word == executor { "root-namespaces" } else { word }));
            }
            outcome.seconds[1 + store] = started.elapsed().as_secs_f64();
            let built = match built {
                Ok(built) => built,
                Err(error) => {
                    outcome.state = State::Refused;
                    outcome.why = reason(&error);
                    return Ok(outcome);
                }
            };
            let (digest, size) = image(&built)?;
            outcome.size = size;
            self.forget_layers(store, &digest)?;
            digests.push(digest);
            if store == 0 {
                self.share()?;
            }
        }
        let same = digests[0] == digests[1];
        outcome.state = if same { State::Identical } else { State::Differs };
        if !same {
            outcome.why = self.differences()?;
        }
        Ok(outcome)
    }

    fn blob(&self, store: usize, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.stores[store].join("blobs/sha256").join(&name[..2]).join(name)
    }

    /// Removes an image's layers: with all images of all packages the stores would grow large.
    fn forget_layers(&self, store: usize, manifest: &Digest) -> Result<()> {
        let manifest: Value = serde_json::from_slice(&fs::read(self.blob(store, manifest))?)?;
        for layer in manifest["layers"].as_array().into_iter().flatten() {
            let digest: Digest = layer["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:").parse()?;
            fs::remove_file(self.blob(store, &digest))?;
        }
        Ok(())
    }

    /// Gives the other store the artifacts and parts of the first, but nothing that a script made.
    fn share(&self) -> Result<()> {
        for folder in ["blobs/sha256", "keyed/deb"] {
            for below in fs::read_dir(self.stores[0].join(folder)).into_iter().flatten() {
                let below = below?;
                let target = self.stores[1].join(folder).join(below.file_name());
                fs::create_dir_all(&target)?;
                for file in fs::read_dir(below.path())? {
                    let file = file?;
                    match fs::hard_link(file.path(), target.join(file.file_name())) {
                        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// The paths in which stages of the same inputs differ between the stores. These stages are forgotten:
    /// what was mended since is seen when the package is tried again, and no other package gets the blame.
    fn differences(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for below in fs::read_dir(self.stores[0].join("keyed/stage"))? {
            for file in fs::read_dir(below?.path())? {
                let one_path = file?.path();
                let other_path = self.stores[1].join(one_path.strip_prefix(&self.stores[0])?);
                let (Ok(one), Ok(other)) = (stage(&one_path), stage(&other_path)) else { continue };
                if one == other {
                    continue;
                }
                fs::remove_file(one_path)?;
                fs::remove_file(other_path)?;
                let writers = &one["writers"];
                let (one, other) = (entries(&one), entries(&other));
                let paths: BTreeSet<&str> = one.keys().chain(other.keys()).copied().collect();
                for path in paths.into_iter().filter(|path| one.get(path) != other.get(path)) {
                    lines.push(format!("/{path} (written by {})", writers[path].as_str().unwrap_or("unknown")));
                }
            }
        }
        lines.sort();
        lines.dedup();
        Ok(lines)
    }
}

/// A stage's result as a store keeps it: a digest, then JSON.
fn stage(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)?;
    let (_, json) = text.split_once('\n').context(|| "reading a stage's result")?;
    Ok(serde_json::from_str::<Value>(json)?["result"].take())
}

fn entries(stage: &Value) -> BTreeMap<&str, &Value> {
    let part = &stage["part"];
    [&part["directories"], &part["entries"]]
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|entry| Some((entry["path"].as_str()?, entry)))
        .collect()
}

/// The digest and size that `kiln build` reports.
fn image(report: &str) -> Result<(Digest, u64)> {
    let report: Value = serde_json::from_str(report).context(|| "reading the report of `kiln build`")?;
    let row = find(&report).context(|| format!("finding the image in {report}"))?;
    let digest = row["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:").parse()?;
    Ok((digest, row["size"].as_u64().unwrap_or(0)))
}

/// The first object with a digest.
fn find(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(map) if map.contains_key("digest") => Some(value),
        Value::Object(map) => map.values().find_map(find),
        Value::Array(list) => list.iter().find_map(find),
        _ => None,
    }
}

/// The lines of an error that say what it was, without the hints. Errors are JSON where reports are.
fn reason(error: &str) -> Vec<String> {
    let Ok(json) = serde_json::from_str::<Value>(error.trim()) else {
        return error.lines().take_while(|line| !line.starts_with("hint:")).map(str::to_owned).collect();
    };
    let causes = json["causes"].as_array().into_iter().flatten();
    let lines = std::iter::once(&json["error"]).chain(causes).filter_map(Value::as_str);
    lines.chain(json["detail"].as_str().into_iter().flat_map(str::lines)).map(str::to_owned).collect()
}
