//! Second tier: an image is the tree that mmdebstrap makes of the same packages.
//!
//! Runs where `KILN_TEST_REAL` is set, as root, with mmdebstrap, and needs the archive that this machine's
//! apt is set up with. Every set is locked and baked with nothing excluded; mmdebstrap then installs the
//! very same files from a small archive made of them. `KILN_TEST_TREES` names sets to run, or `all`;
//! `KILN_TEST_WORK` is a folder to keep and reuse.

#![allow(clippy::print_stdout, reason = "the table is what the test is for")]

mod differences;
mod mirror;
mod sets;
mod tree;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use differences::DIFFERENCES;
use kiln::lock::Lockfile;
use sets::{SETS, Set};

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

#[test]
fn an_image_is_mmdebstraps_tree() {
    if setting("KILN_TEST_REAL").is_none() {
        println!("mmdebstrap: not run: set KILN_TEST_REAL=1 (needs root, mmdebstrap and apt's archive)");
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let work = setting("KILN_TEST_WORK").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let asked = setting("KILN_TEST_TREES").unwrap_or_default();
    let wanted = |set: &&Set| match asked.as_str() {
        "" => set.always,
        "all" => true,
        names => names.split(',').any(|name| name == set.name),
    };
    let bench = Bench::new(&work);
    let mut table = String::new();
    let mut failed = false;
    for set in SETS.iter().filter(wanted) {
        let (row, differences) = bench.try_set(set);
        println!("{row}");
        for line in &differences {
            println!("    {line}");
        }
        failed |= !differences.is_empty();
        let _ = writeln!(table, "{row}");
    }
    println!("\n{table}");
    assert!(!failed, "there are differences that nobody has explained");
}

/// A workspace with a definition for every set.
struct Bench {
    work: PathBuf,
}

impl Bench {
    fn new(work: &Path) -> Self {
        fs::create_dir_all(work.join("envs")).unwrap();
        fs::write(work.join("kiln.toml"), "").unwrap();
        for set in SETS {
            let packages: Vec<String> = set.packages.split(' ').map(|name| format!("\"{name}\"")).collect();
            let text = format!(
                "platforms = [\"linux/amd64\"]\n[debian]\nsuite = \"trixie\"\nexclude = []\npackages = [{}]\n",
                packages.join(", ")
            );
            fs::write(work.join("envs").join(format!("{}.toml", set.name)), text).unwrap();
        }
        Self { work: work.to_owned() }
    }

    fn kiln(&self, arguments: &[&str]) -> String {
        let store = self.work.join("store");
        let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
        command.arg("-C").arg(&self.work).arg("--store").arg(&store).args(["--quiet"]).args(arguments);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kiln {}: {text}", arguments.join(" "));
        text
    }

    /// The row of the table, and what nothing explains.
    fn try_set(&self, set: &Set) -> (String, Vec<String>) {
        let lockfile = self.work.join("lockfiles").join(format!("{}.lock", set.name));
        if !lockfile.exists() {
            self.kiln(&["lock", set.name]);
        }
        let ours = self.work.join(format!("{}.kiln.tar", set.name));
        self.kiln(&["build", set.name, "--output", &format!("tar:{}", ours.display())]);
        let lock = Lockfile::parse(&fs::read_to_string(&lockfile).unwrap()).unwrap();
        let tree = tree::read(&ours);
        let epoch = tree["var/lib/dpkg/status"].mtime;
        let theirs = mirror::mmdebstrap(&self.work, &lock, set.name, epoch);
        let mut expected = tree::read(&theirs);
        tree::apply_rules(&mut expected, epoch);

        let stages = [tree["var/lib/dpkg/info/format"].mtime, epoch];
        let found = tree::compare(&tree, &expected, &stages);
        let explained = |path: &str| {
            DIFFERENCES.iter().any(|difference| difference.paths.iter().any(|pattern| tree::covers(pattern, path)))
        };
        let known: BTreeSet<&str> =
            found.iter().map(|(path, _)| path.as_str()).filter(|path| explained(path)).collect();
        let mut unexplained: Vec<String> =
            found.iter().filter(|(path, _)| !explained(path)).map(|(path, line)| format!("/{path}: {line}")).collect();
        unexplained.extend(self.dpkg_complains(set.name));
        let paths = tree.keys().chain(expected.keys()).collect::<BTreeSet<_>>().len();
        let row =
            format!("| {} | {} | {paths} | {} | {} |", set.name, lock.packages.len(), known.len(), unexplained.len());
        (row, unexplained)
    }

    /// What dpkg inside the image, and apt if it is there, find wrong with it.
    fn dpkg_complains(&self, name: &str) -> Vec<String> {
        let script = "dpkg --audit 2>&1; dpkg --verify 2>&1; if command -v apt-get > /dev/null; then apt-get check -qq 2>&1; fi; true";
        let text = self.kiln(&["run", name, "--", "sh", "-c", script]);
        text.lines().map(|line| format!("dpkg inside says: {line}")).collect()
    }
}
