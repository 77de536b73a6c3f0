//! The solver against this machine's apt: the same indexes, the same requests, the same answers.
//!
//! Second tier: needs `apt-get` and the archive that the machine's apt is set up with, so it runs only with
//! `KILN_TEST_REAL=1`. `KILN_TEST_SETS` is how many sets are drawn (20 unless told; `all` is 220), and
//! `KILN_TEST_SEED` draws others.

#![allow(clippy::print_stdout, reason = "the summary is what the test is for")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use kiln::ecosystem::debian::index::{Index, Release};
use kiln::ecosystem::debian::solver::{Base, Request, solve};
use kiln::ecosystem::debian::universe::Universe;

#[expect(clippy::disallowed_methods, reason = "switches of the second tier of tests")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A package's name and version by name: what a root has in it.
type Root = BTreeMap<String, String>;

#[test]
fn apt_gives_the_same_answers() {
    if setting("KILN_TEST_REAL").as_deref() != Some("1") {
        println!("apt_parity: not run: set KILN_TEST_REAL=1 (needs apt-get and its archive)");
        return;
    }
    let sets: usize = match setting("KILN_TEST_SETS").as_deref() {
        Some("all") => 220,
        Some(number) => number.parse().unwrap(),
        None => 20,
    };
    let seed: u64 = setting("KILN_TEST_SEED").and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let folder = tempfile::tempdir().unwrap();
    let apt = Apt::new(folder.path());
    let universe = apt.universe();
    let base = apt.base(&universe);
    apt.write_status(&universe, &base);

    let cases = draw(&universe, sets, seed);
    let halves: Vec<&[Vec<String>]> = cases.chunks(cases.len().div_ceil(2)).collect();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let workers: Vec<_> = halves
            .iter()
            .map(|half| scope.spawn(|| half.iter().map(|case| apt.install(case, &base)).collect::<Vec<_>>()))
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });

    let mut equal = 0;
    let mut unsatisfiable = 0;
    let mut slowest = std::time::Duration::ZERO;
    for (case, answer) in cases.iter().zip(&answers) {
        let started = Instant::now();
        let ours = kiln(&universe, case);
        slowest = slowest.max(started.elapsed());
        unsatisfiable += usize::from(answer.root.is_err());
        match difference(&ours, &answer.root) {
            None => equal += 1,
            Some(difference) => println!("{}\n    {difference}", case.join(" ")),
        }
    }
    println!(
        "{} sets, {equal} equal, {} differ ({unsatisfiable} unsatisfiable for apt; slowest solution {slowest:.1?})",
        cases.len(),
        cases.len() - equal
    );
    // One in a hundred may differ, and one in any case: what is drawn changes with the archive.
    assert!(cases.len() - equal <= 1 + cases.len() / 100, "{equal} of {} are equal", cases.len());
}

#[test]
fn dpkg_orders_versions_the_same_way() {
    if setting("KILN_TEST_REAL").as_deref() != Some("1") {
        println!("dpkg --compare-versions: not run: set KILN_TEST_REAL=1");
        return;
    }
    let mut random = Random(0x1234_5678_9abc_def1);
    let pieces = ["0", "1", "2", "10", "01", "a", "b", "~", "~rc", "+", "+b1", "-", "-1", ".", ".0", "deb13u1", "Z"];
    let mut version = |epochs: bool| {
        let mut text = if epochs && random.below(4) == 0 { format!("{}:", random.below(3)) } else { String::new() };
        text.push_str(["0", "1", "1.0", "2"][random.below(4)]);
        (0..random.below(5)).for_each(|_| text.push_str(pieces[random.below(pieces.len())]));
        // dpkg refuses an empty revision.
        if text.ends_with('-') {
            text.push('1');
        }
        text
    };
    for _ in 0..400 {
        let (left, right) = (version(true), version(true));
        let relation = match kiln::ecosystem::debian::version::compare(&left, &right) {
            std::cmp::Ordering::Less => "lt",
            std::cmp::Ordering::Equal => "eq",
            std::cmp::Ordering::Greater => "gt",
        };
        let agrees = Command::new("dpkg").args(["--compare-versions", &left, relation, &right]).output().unwrap();
        assert!(agrees.status.success(), "{left} {relation} {right}: {}", String::from_utf8_lossy(&agrees.stderr));
    }
    println!("dpkg --compare-versions: 400 pairs, all in the same order");
}

fn kiln(universe: &Universe, packages: &[String]) -> Result<Root, String> {
    let request = Request {
        architecture: "amd64".into(),
        base: Base::Essential,
        packages: packages.to_vec(),
        ..Request::default()
    };
    match solve(universe, &request) {
        Ok(solution) => {
            Ok(solution.packages.into_iter().map(|chosen| (chosen.package.name, chosen.package.version)).collect())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn difference(ours: &Result<Root, String>, apts: &Result<Root, String>) -> Option<String> {
    match (ours, apts) {
        (Err(_), Err(_)) => None,
        (Ok(_), Err(apt)) => Some(format!("only apt finds it unsatisfiable: {apt}")),
        (Err(kiln), Ok(_)) => Some(format!("only kiln finds it unsatisfiable: {kiln}")),
        (Ok(ours), Ok(apts)) if ours == apts => None,
        (Ok(ours), Ok(apts)) => {
            let only = |left: &Root, right: &Root| -> Vec<String> {
                left.iter()
                    .filter(|(name, version)| right.get(*name) != Some(version))
                    .map(|(name, version)| format!("{name}={version}"))
                    .take(12)
                    .collect()
            };
            Some(format!("only kiln: {:?}; only apt: {:?}", only(ours, apts), only(apts, ours)))
        }
    }
}

/// An apt that knows nothing of this machine but where its archive is.
struct Apt {
    folder: std::path::PathBuf,
}

struct Answer {
    root: Result<Root, String>,
}

impl Apt {
    fn new(folder: &Path) -> Self {
        for part in ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial", "dpkg"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        fs::write(folder.join("dpkg/status"), "").unwrap();
        let sources: Vec<String> = archive_addresses()
            .into_iter()
            .flat_map(|(address, security)| {
                let suites: &[&str] = if security { &["trixie-security"] } else { &["trixie", "trixie-updates"] };
                // Signatures are tested elsewhere; this machine may not have the suite's key.
                suites.iter().map(move |suite| format!("deb [trusted=yes] {address} {suite} main\n"))
            })
            .collect();
        fs::write(folder.join("etc/sources.list"), sources.concat()).unwrap();
        let at = folder.display();
        let configuration = format!(
            "Dir \"{at}\"; Dir::Etc \"{at}/etc\"; Dir::State \"{at}/state\"; Dir::Cache \"{at}/cache\";\n\
             Dir::State::status \"{at}/dpkg/status\"; Debug::NoLocking \"true\";\n\
             APT::Architecture \"amd64\"; APT::Architectures {{ \"amd64\"; }};\n\
             Acquire::Languages \"none\"; Acquire::AllowInsecureRepositories \"true\";\n"
        );
        fs::write(folder.join("apt.conf"), configuration).unwrap();
        let apt = Self { folder: folder.to_path_buf() };
        let update = apt.command("apt-get").arg("update").output().unwrap();
        assert!(update.status.success(), "apt-get update: {}", String::from_utf8_lossy(&update.stderr));
        apt
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }

    /// The indexes in the order of the sources, as kiln reads them.
    fn universe(&self) -> Universe {
        let targets = self
            .command("apt-get")
            .args(["indextargets", "--format", "$(FILENAME)\t$(SUITE)\t$(CODENAME)\t$(COMPONENT)"])
            .arg("Created-By: Packages")
            .output()
            .unwrap();
        let mut indexes = Vec::new();
        let mut spent = std::time::Duration::ZERO;
        for line in String::from_utf8(targets.stdout).unwrap().lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let file = self.command("/usr/lib/apt/apt-helper").args(["cat-file", fields[0]]).output().unwrap();
            assert!(file.status.success(), "{}", String::from_utf8_lossy(&file.stderr));
            let release = Release {
                origin: if fields[2].ends_with("security") { "debian-security" } else { "debian" }.into(),
                suite: fields[1].into(),
                codename: fields[2].into(),
                component: fields[3].into(),
                ..Release::default()
            };
            let started = Instant::now();
            indexes.push(Index::parse(format!("{}/{}", fields[2], fields[3]), release, file.stdout).unwrap());
            spent += started.elapsed();
        }
        let started = Instant::now();
        let universe = Universe::new("amd64", indexes).unwrap();
        println!("parsing took {spent:.1?}, joining the indexes {:.1?}", started.elapsed());
        universe
    }

    /// The essential set, by kiln; checked against apt's.
    fn base(&self, universe: &Universe) -> Root {
        let ours = kiln(universe, &[]).unwrap();
        // Not `?essential`: apt counts itself as essential there.
        let packages = universe.packages().map(|package| package.unwrap());
        let essential: BTreeSet<String> =
            packages.filter(|package| package.essential).map(|package| package.name).collect();
        let mut command = self.command("apt-get");
        command.args(["-s", "install", "--no-install-recommends"]).args(essential);
        let apts = installed(&mut command, &Root::new()).root.unwrap();
        assert_eq!(difference(&Ok(ours.clone()), &Ok(apts)), None, "the essential sets differ");
        ours
    }

    fn write_status(&self, universe: &Universe, base: &Root) {
        let request = Request { architecture: "amd64".into(), ..Request::default() };
        let mut status = String::new();
        for chosen in solve(universe, &request).unwrap().packages {
            assert!(base.contains_key(&chosen.package.name));
            let index = universe.indexes().iter().find(|index| index.label() == chosen.index).unwrap();
            let stanza = index.stanza_text(&chosen.package).unwrap();
            status.push_str(&format!("{}\nStatus: install ok installed\n\n", stanza.trim_end()));
        }
        fs::write(self.folder.join("dpkg/status"), status).unwrap();
        // Makes apt's binary cache once, for all that follow.
        let check = self.command("apt-get").arg("check").output().unwrap();
        assert!(check.status.success(), "apt-get check: {}", String::from_utf8_lossy(&check.stderr));
    }

    fn install(&self, packages: &[String], base: &Root) -> Answer {
        let mut command = self.command("apt-get");
        command.args(["-s", "install", "--no-install-recommends"]).args(packages);
        installed(&mut command, base)
    }
}

fn installed(command: &mut Command, base: &Root) -> Answer {
    let output = command.output().unwrap();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
        return Answer { root: Err(errors) };
    }
    let mut root = base.clone();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["Inst", name, rest @ ..] => {
                let version = rest.iter().find_map(|word| word.strip_prefix('(')).unwrap();
                root.insert((*name).to_owned(), version.to_owned());
            }
            ["Remv" | "Purg", name, ..] => {
                root.remove(*name);
            }
            _ => {}
        }
    }
    Answer { root: Ok(root) }
}

/// Where the machine's own apt gets its packages, and whether that is a security archive.
fn archive_addresses() -> Vec<(String, bool)> {
    let targets = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI)\t$(CODENAME)", "Created-By: Packages", "Origin: Debian"])
        .output()
        .unwrap();
    let text = String::from_utf8(targets.stdout).unwrap();
    let found: BTreeSet<(bool, String)> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(address, codename)| (codename.ends_with("-security"), address.to_owned()))
        .collect();
    assert!(!found.is_empty(), "this machine's apt has no source of Debian's");
    found.into_iter().map(|(security, address)| (address, security)).collect()
}

/// Package sets: whatever there is, libraries, servers, desktops, virtual names, and pairs that conflict.
fn draw(universe: &Universe, sets: usize, seed: u64) -> Vec<Vec<String>> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let pools = Pools::new(universe);
    (0..sets)
        .map(|_| {
            let size = 1 + random.below(8);
            let mut set: Vec<String> = Vec::new();
            while set.len() < size {
                let pool = match random.below(20) {
                    0..=7 => &pools.all,
                    8..=9 => &pools.libraries,
                    10..=13 => &pools.servers,
                    14..=15 => &pools.desktop,
                    16 => &pools.provided,
                    17 => &pools.alternatives,
                    _ => {
                        let (one, other) = &pools.conflicts[random.below(pools.conflicts.len())];
                        set.push(one.clone());
                        // Both would be unsatisfiable most of the time.
                        if random.below(6) == 0 {
                            set.push(other.clone());
                        }
                        continue;
                    }
                };
                let mut name = pool[random.below(pool.len())].clone();
                match random.below(25) {
                    0 => name.push_str("/trixie"),
                    1 => {
                        if let Some(version) = universe.versions_of(&name).last() {
                            name = format!("{name}={version}");
                        }
                    }
                    _ => {}
                }
                set.push(name);
            }
            set
        })
        .collect()
}

#[derive(Default)]
struct Pools {
    all: Vec<String>,
    libraries: Vec<String>,
    servers: Vec<String>,
    desktop: Vec<String>,
    provided: Vec<String>,
    alternatives: Vec<String>,
    conflicts: Vec<(String, String)>,
}

impl Pools {
    fn new(universe: &Universe) -> Self {
        let mut pools = Self::default();
        let mut provided = BTreeSet::new();
        for package in universe.packages() {
            let package = package.unwrap();
            let name = package.name.clone();
            if package.section.starts_with("lib") {
                pools.libraries.push(name.clone());
            }
            if name.ends_with("-server")
                || ["httpd", "mail", "database", "web", "net"].contains(&package.section.as_str())
            {
                pools.servers.push(name.clone());
            }
            if name.ends_with("-desktop")
                || ["gnome", "kde", "x11", "xfce", "metapackages"].contains(&package.section.as_str())
            {
                pools.desktop.push(name.clone());
            }
            if package.depends.contains('|') {
                pools.alternatives.push(name.clone());
            }
            for relation in kiln::ecosystem::debian::relation::parse(&package.conflicts).flatten() {
                if relation.version.is_none()
                    && !universe.versions_of(relation.name).is_empty()
                    && relation.name != name
                {
                    pools.conflicts.push((name.clone(), relation.name.to_owned()));
                }
            }
            for relation in kiln::ecosystem::debian::relation::parse(&package.provides).flatten() {
                // Most provided names are one version of one interface: few of those.
                if !relation.name.contains("-abi-")
                    && !relation.name.starts_with("librust-")
                    && !relation.name.starts_with("libghc")
                {
                    provided.insert(relation.name.to_owned());
                }
            }
            pools.all.push(name);
        }
        pools.provided = provided.into_iter().collect();
        pools
    }
}

/// Xorshift: the same sets from the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }
}
