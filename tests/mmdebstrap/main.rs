//! Second tier: an image is the tree that mmdebstrap makes of the same packages.
//!
//! Runs where `KILN_TEST_REAL` is set, as root, with mmdebstrap, and needs the archive that this machine's
//! apt is set up with. Every set is locked and baked with nothing excluded; mmdebstrap then installs the
//! very same files from a small archive made of them. `KILN_TEST_TREES` names sets to run, or `all`;
//! `KILN_TEST_WORK` is a folder to keep and reuse.

#![allow(clippy::print_stdout, reason = "the table is what the test is for")]

mod crafted;
mod differences;
mod mirror;
mod sets;
#[path = "../support/mod.rs"]
mod support;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use differences::DIFFERENCES;
use kiln::lock::Lockfile;
use rayon::prelude::*;
use sets::{SETS, Set};
use tree::Found;

#[expect(clippy::disallowed_methods, reason = "a test of the second tier is switched on from outside")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
fn every_difference_is_in_the_book() {
    let book = include_str!("../../docs/differences.md");
    for difference in DIFFERENCES {
        assert!(book.contains(difference.why), "docs/differences.md does not say: {}", difference.why);
        for path in difference.paths {
            assert!(book.contains(&format!("`/{path}`")), "docs/differences.md does not name `/{path}`");
        }
    }
}

/// The folder to work in, if these tests are to run.
fn work(temporary: &tempfile::TempDir) -> Option<PathBuf> {
    if setting("KILN_TEST_REAL").is_none() {
        println!("mmdebstrap: not run: set KILN_TEST_REAL=1 (needs root, mmdebstrap and apt's archive)");
        return None;
    }
    Some(setting("KILN_TEST_WORK").map_or_else(|| temporary.path().to_owned(), PathBuf::from))
}

#[test]
fn an_image_is_mmdebstraps_tree() {
    let temporary = tempfile::tempdir().unwrap();
    let Some(work) = work(&temporary) else { return };
    let asked = setting("KILN_TEST_TREES").unwrap_or_default();
    let wanted = |set: &&Set| match asked.as_str() {
        "" => set.always,
        "all" => true,
        names => names.split(',').any(|name| name == set.name),
    };
    let archive = crafted::Archive::start();
    let bench = Bench::new(&work, &archive);
    let sets: Vec<&Set> = SETS.iter().filter(wanted).collect();
    // Scripts run one after another, here as there: several sets at once keep the cores busy.
    let rows: Vec<(String, Vec<String>)> = sets.par_iter().with_max_len(1).map(|set| bench.try_set(set)).collect();
    for (row, differences) in &rows {
        println!("{row}");
        for line in differences {
            println!("    {line}");
        }
    }
    let explained = rows.iter().all(|(_, differences)| differences.is_empty());
    assert!(explained, "there are differences that nobody has explained");
    if asked.is_empty() || asked == "all" {
        bench.a_failing_script_is_named();
    }
}

/// A workspace with a definition for every set.
struct Bench<'a> {
    work: PathBuf,
    archive: &'a crafted::Archive,
}

impl<'a> Bench<'a> {
    fn new(work: &Path, archive: &'a crafted::Archive) -> Self {
        fs::create_dir_all(work.join("envs")).unwrap();
        fs::write(work.join("kiln.toml"), "").unwrap();
        fs::write(work.join("crafted.asc"), archive.key()).unwrap();
        let failing = Set { name: "failing", packages: "craft-failing", suite: "trixie", always: false };
        for set in SETS.iter().chain([&failing]) {
            let packages: Vec<String> = set.packages.split(' ').map(|name| format!("\"{name}\"")).collect();
            let mut text = format!(
                "platforms = [\"linux/amd64\"]\n[debian]\nsuite = \"{}\"\nexclude = []\nallow-expired = {}\npackages = [{}]\n",
                set.suite,
                // Its index is never signed anew.
                set.suite == "bullseye",
                packages.join(", ")
            );
            if set.packages.starts_with("craft-") {
                text += "[[debian.source]]\norigin = \"crafted\"\nsuite = \"crafted\"\nkey = \"crafted.asc\"\n";
            }
            fs::write(work.join("envs").join(format!("{}.toml", set.name)), text).unwrap();
        }
        Self { work: work.to_owned(), archive }
    }

    /// The exit code and what was printed.
    fn try_kiln(&self, arguments: &[&str]) -> (bool, String) {
        let store = self.work.join("store");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.env("KILN_ORIGIN_CRAFTED", self.archive.url());
        command.arg("-C").arg(&self.work).arg("--store").arg(&store).args(["--quiet"]).args(arguments);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }

    fn kiln(&self, arguments: &[&str]) -> String {
        let (success, text) = self.try_kiln(arguments);
        assert!(success, "kiln {}: {text}", arguments.join(" "));
        text
    }

    /// The row of the table, and what nothing explains.
    fn try_set(&self, set: &Set) -> (String, Vec<String>) {
        let lockfile = self.work.join("lockfiles").join(format!("{}.lock", set.name));
        if !lockfile.exists() || set.packages.starts_with("craft-") {
            let _ = fs::remove_file(&lockfile);
            self.kiln(&["lock", set.name]);
        }
        // What an earlier kiln made of the same lock is not the question here.
        let text = fs::read_to_string(&lockfile).unwrap();
        fs::write(&lockfile, text.split("\n[[output]]").next().unwrap()).unwrap();
        let ours = self.work.join(format!("{}.kiln.tar", set.name));
        self.kiln(&["build", set.name, "--output", &format!("tar:{}", ours.display())]);
        let lock = Lockfile::parse(&fs::read_to_string(&lockfile).unwrap()).unwrap();
        let tree = tree::read(&ours);
        let epoch = tree["var/lib/dpkg/status"].mtime;
        let theirs = mirror::mmdebstrap(&self.work, &lock, set, epoch);
        let mut expected = tree::read(&theirs);
        tree::apply_rules(&mut expected, epoch);

        let stages = [tree["var/lib/dpkg/info/format"].mtime, epoch];
        let (known, unknown): (Vec<Found>, Vec<Found>) =
            tree::compare(&tree, &expected, &stages).into_iter().partition(|found| found.explained().is_some());
        let mut lines: Vec<String> =
            unknown.iter().map(|found| format!("/{}: {}: {}", found.path, found.aspect, found.sides)).collect();
        // What the crafted packages do to themselves, dpkg rightly complains about.
        if !set.packages.starts_with("craft-") {
            lines.extend(self.dpkg_complains(set.name));
        }
        let paths = tree.keys().chain(expected.keys()).collect::<BTreeSet<_>>().len();
        // The devices are in every set; what else is known, and how much of it.
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for found in known.iter().filter(|found| !found.path.starts_with("dev")) {
            let first = DIFFERENCES[found.explained().unwrap()].paths[0];
            *reasons.entry(first).or_default() += 1;
        }
        let reasons: Vec<String> = reasons.iter().map(|(path, count)| format!("{count} `/{path}`")).collect();
        let (name, count) = (set.name, lock.packages.len());
        (format!("| {name} | {} | {count} | {paths} | {} | {} |", set.packages, lines.len(), reasons.join(", ")), lines)
    }

    /// What dpkg inside the image, and apt if it is there, find wrong with it.
    fn dpkg_complains(&self, name: &str) -> Vec<String> {
        let script = "dpkg --audit 2>&1; dpkg --verify 2>&1; \
            if command -v apt-get > /dev/null; then apt-get check -qq 2>&1; fi; true";
        let text = self.kiln(&["run", name, "--", "sh", "-c", script]);
        text.lines().map(|line| format!("dpkg inside says: {line}")).collect()
    }

    /// A package whose script fails is named, with what the script said last.
    fn a_failing_script_is_named(&self) {
        self.kiln(&["lock", "failing"]);
        let (success, text) = self.try_kiln(&["build", "failing"]);
        assert!(!success, "{text}");
        assert!(text.contains("`craft-failing`") && text.contains("the last words of a script"), "{text}");
    }
}
