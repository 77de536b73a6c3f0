//! Bit-identity: one lockfile gives one image digest, whatever the executor, the number of jobs, the
//! store, the time zone, the locale, the umask, the host's name, the clock or the processor.
//!
//! Second tier: needs Debian's archive as the machine's apt is set up for it, and root for all executors;
//! runs only with `KILN_TEST_REAL=1`. What a condition needs and the machine lacks is said and left out.

#![allow(clippy::print_stdout, reason = "what was left out is said")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use kiln::bake::{StageResult, compare};
use kiln::digest::Digest;
use kiln::layer::gzip;
use kiln::store::Store;
use support::deb::Package;

/// The ordinary user who bakes in a user namespace.
const USER: &str = "kilntest";

#[expect(clippy::disallowed_methods, reason = "the switch of the second tier of tests")]
fn real(test: &str) -> bool {
    let real = std::env::var("KILN_TEST_REAL").is_ok_and(|value| value == "1");
    if !real {
        println!("{test}: not run: set KILN_TEST_REAL=1 (needs Debian's archive and root)");
    } else if !rustix::process::geteuid().is_root() {
        println!("{test}: not run: needs root, to try every executor");
        return false;
    }
    real
}

/// A workspace, and a store that holds every artifact of its locks.
struct Bench {
    folder: tempfile::TempDir,
    kiln: PathBuf,
}

impl Bench {
    fn new(definitions: &[(&str, &str)], debs: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Where another user can read it. Copied by another process: what this one has open for writing, a child that
        // another test starts meanwhile has open as well, and then nobody may run it.
        let kiln = folder.path().join("kiln");
        run("cp", &[env!("CARGO_BIN_EXE_kiln"), kiln.to_str().unwrap()]).unwrap();
        let bench = Self { folder, kiln };
        let workspace = bench.workspace();
        fs::create_dir_all(workspace.join("envs")).unwrap();
        fs::create_dir_all(workspace.join("debs")).unwrap();
        fs::write(workspace.join("kiln.toml"), "").unwrap();
        for (name, definition) in definitions {
            fs::write(workspace.join(format!("envs/{name}.toml")), definition).unwrap();
        }
        for (name, bytes) in debs {
            fs::write(workspace.join(format!("debs/{name}.deb")), bytes).unwrap();
        }
        let store = bench.fetched();
        for command in ["lock", "fetch"] {
            let output = bench.command(&workspace, &store).arg(command).output().unwrap();
            assert!(output.status.success(), "kiln {command}: {}", text(&output.stderr));
        }
        bench
    }

    fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    fn fetched(&self) -> PathBuf {
        self.folder.path().join("fetched")
    }

    fn command(&self, workspace: &Path, store: &Path) -> Command {
        let mut command = Command::new(&self.kiln);
        command.arg("-C").arg(workspace).arg("--store").arg(store).args(["--progress", "quiet", "--color", "never"]);
        command
    }

    /// A store of its own in `place` with nothing but the artifacts of the lock.
    fn store(&self, name: &str, place: &Path) -> PathBuf {
        let root = place.join("store");
        let (from, to) = (Store::open(&self.fetched()).unwrap(), Store::open(&root).unwrap());
        let lock = fs::read_to_string(self.workspace().join(format!("lockfiles/{name}.lock"))).unwrap();
        for digest in lock.split('"').filter_map(|word| word.parse::<Digest>().ok()).collect::<BTreeSet<_>>() {
            if from.contains(&digest) {
                let target = to.blob_path(&digest);
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                // A copy where the place is another file system.
                fs::hard_link(from.blob_path(&digest), &target)
                    .or_else(|_| fs::copy(from.blob_path(&digest), &target).map(drop))
                    .unwrap();
            }
        }
        root
    }
}

/// What may differ between two bakes of one lock.
#[derive(Default)]
struct Condition {
    name: &'static str,
    executor: &'static str,
    jobs: &'static str,
    umask: &'static str,
    variables: &'static [(&'static str, &'static str)],
    /// A program that starts kiln.
    through: &'static [&'static str],
    /// Where the store and the workspace are, instead of beside the others.
    place: Option<&'static str>,
    /// Bake twice: the second time with everything but the image known.
    warm: bool,
}

const USUAL: Condition = Condition {
    name: "root, namespaces",
    executor: "root-namespaces",
    jobs: "2",
    umask: "022",
    variables: &[],
    through: &[],
    place: None,
    warm: false,
};

const CONDITIONS: &[Condition] = &[
    USUAL,
    Condition {
        name: "chroot, one job, umask 077, Tokyo, Turkish",
        executor: "chroot",
        jobs: "1",
        umask: "077",
        variables: &[("TZ", "Asia/Tokyo"), ("LANG", "tr_TR.UTF-8"), ("LC_ALL", "tr_TR.UTF-8")],
        ..USUAL
    },
    Condition {
        name: "user namespace of an ordinary user, eight jobs",
        executor: "user-namespace",
        jobs: "8",
        variables: &[("HOME", "/nonexistent"), ("SOURCE_DATE_EPOCH", "1")],
        ..USUAL
    },
    Condition {
        name: "another host name, home and time, umask 027",
        umask: "027",
        variables: &[
            ("HOME", "/nowhere"),
            ("SOURCE_DATE_EPOCH", "86400"),
            ("PERL_HASH_SEED", "7"),
            ("PYTHONHASHSEED", "random"),
            ("DEBIAN_FRONTEND", "dialog"),
        ],
        through: &["unshare", "--uts", "sh", "-c", "hostname elsewhere.example.org; exec \"$@\"", "sh"],
        ..USUAL
    },
    Condition { name: "another clock", through: &["faketime", "-f", "+400d"], warm: true, ..USUAL },
    Condition { name: "the store on a tmpfs", place: Some("/dev/shm"), jobs: "8", ..USUAL },
];

/// Bakes `name` under a condition; the image's digest and the store, or why it could not be tried.
fn bake(
    bench: &Bench,
    name: &str,
    condition: &Condition,
) -> Result<(String, PathBuf, Option<tempfile::TempDir>), String> {
    let elsewhere = condition.place.map(|place| tempfile::tempdir_in(place).map_err(|error| error.to_string()));
    let elsewhere = elsewhere.transpose()?;
    let place = match &elsewhere {
        Some(elsewhere) => elsewhere.path().to_owned(),
        None => bench.folder.path().join(condition.name.replace([' ', ','], "-")).join(name),
    };
    fs::create_dir_all(&place).unwrap();
    let workspace = place.join("a workspace");
    run("cp", &["-r", path(&bench.workspace()), path(&workspace)])?;
    let store = bench.store(name, &place);
    let user = condition.executor == "user-namespace";
    if user {
        // Copies: hard links would give the others' artifacts away.
        run("cp", &["-r", path(&store), path(&place.join("own"))])?;
        fs::rename(place.join("own"), place.join("owned")).unwrap();
        make_user()?;
        run("chown", &["-R", USER, path(&workspace), path(&place.join("owned"))])?;
        // Another user's temporary folder would hide it.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&place, open).unwrap();
    }
    let store = if user { place.join("owned") } else { store };
    if let Some(program) = condition.through.first() {
        run(program, &["--version"])?;
    }
    let mut digest = None;
    for _ in 0..if condition.warm { 2 } else { 1 } {
        let mut command = Command::new("sh");
        command.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", condition.umask]);
        if user {
            command.args(["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"]);
        }
        command.args(condition.through).arg(&bench.kiln).arg("--store").arg(&store);
        command.args(["--executor", condition.executor, "--jobs", condition.jobs, "--offline", "build", name]);
        command.current_dir(&workspace).envs(condition.variables.iter().copied());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {}", condition.name, text(&output.stderr));
        let line = text(&output.stdout);
        let found = line.split_whitespace().last().unwrap_or_default().to_owned();
        assert!(found.starts_with("sha256:"), "{}: {line}", condition.name);
        assert_eq!(*digest.get_or_insert_with(|| found.clone()), found, "{}: again", condition.name);
        if condition.warm {
            fs::remove_dir_all(store.join("keyed/baked")).unwrap();
        }
    }
    Ok((digest.unwrap(), store, elsewhere))
}

/// Bakes `name` under every condition and compares with the first.
fn same_under(bench: &Bench, name: &str, conditions: &[&Condition]) {
    let mut first: Option<(String, PathBuf)> = None;
    let mut failures = Vec::new();
    for condition in conditions {
        let started = Instant::now();
        match bake(bench, name, condition) {
            Err(error) => println!("{name}: {}: not tried: {error}", condition.name),
            Ok((digest, store, _elsewhere)) => {
                println!("{name}: {}: {digest} in {:.0?}", condition.name, started.elapsed());
                match &first {
                    None => first = Some((digest, store)),
                    Some((expected, _)) if *expected == digest => {}
                    Some((_, original)) => {
                        failures.push(format!("{}:\n  {}", condition.name, differences(original, &store).join("\n  ")));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "`{name}` differs under\n{}", failures.join("\n"));
}

/// Every stage that a store knows.
fn stages(root: &Path) -> Vec<StageResult> {
    let store = Store::open(root).unwrap();
    let mut stages = Vec::new();
    for folder in fs::read_dir(root.join("keyed/stage")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let key: Digest = file.unwrap().file_name().to_str().unwrap().parse().unwrap();
            stages.extend(store.keyed("stage", &key));
        }
    }
    stages
}

/// The paths in which stages of the same inputs differ between two stores.
fn differences(one: &Path, other: &Path) -> Vec<String> {
    let other = stages(other);
    let mut lines = Vec::new();
    for one in stages(one) {
        if let Some(other) = other.iter().find(|other| other.key == one.key) {
            lines.extend(compare(&one, other).iter().map(ToString::to_string));
        }
    }
    if lines.is_empty() {
        lines.push("no stage: parts, layers or the stages' inputs".to_owned());
    }
    lines
}

fn make_user() -> Result<(), String> {
    if run("id", &[USER]).is_err() {
        run("useradd", &["--create-home", USER])?;
    }
    run("newuidmap", &[]).or_else(|error| if error.contains("usage") { Ok(()) } else { Err(error) })
}

/// Runs a tool; an error if it is not there or fails.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output: Output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", text(&output.stderr).trim())) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Wheels, one that is built from its source, npm's packages, and steps. The step writes down nothing that is the file
/// system's or the clock's, such as a folder's size.
const LANGUAGES: &str = r#"
[debian]
suite = "trixie"
packages = ["python3", "nodejs", "redis-server"]
[python]
packages = ["flask", "docopt==0.6.2"]
compile = true
[npm]
prefix = "/srv"
dependencies = { express = "^4" }
[[copy]]
from = "kiln.toml"
to = "/opt/"
[[run]]
script = """
found=$(find /srv /opt -printf '%y %m %U %G %p\\n' | sort)
echo "$found" > /opt/listing
python3 -c 'import flask; print(flask.__file__)' > /opt/flask
"""
"#;

#[test]
fn one_lock_gives_one_image() {
    if !real("one_lock_gives_one_image") {
        return;
    }
    let definition = |packages: &str| format!("[debian]\nsuite = \"trixie\"\npackages = [{packages}]\n");
    let large = definition("\"postgresql\", \"openssh-server\"");
    let bench = Bench::new(&[("services", &large), ("languages", LANGUAGES)], &[]);
    same_under(&bench, "languages", &CONDITIONS.iter().collect::<Vec<_>>());
    // Not by the chroot: systemd is among them, which is refused there.
    same_under(&bench, "services", &[&CONDITIONS[0], &CONDITIONS[2], &CONDITIONS[3]]);
}

/// A package whose only script is `postinst`.
fn scripted(name: &str, postinst: &str) -> Vec<u8> {
    let control = format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: a sample\n"
    );
    Package { control, ..Package::new() }.member("postinst", 0o755, &format!("#!/bin/sh\nset -e\n{postinst}")).build()
}

#[test]
fn a_check_names_what_differs_and_who_wrote_it() {
    if !real("a_check_names_what_differs_and_who_wrote_it") {
        return;
    }
    let definition = |package: &str| {
        format!("[debian]\nsuite = \"trixie\"\npackages = [\"{package}\"]\nlocal = [\"debs/{package}.deb\"]\n")
    };
    let dice = "mkdir -p /var/lib/dice\ndate +%s >/var/lib/dice/now\nbash -c 'echo $RANDOM$RANDOM' >/etc/dice.conf\n\
                echo same >/etc/dice.same\nln -s \"$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')\" /etc/dice.link\n";
    let honest = "mkdir -p /var/lib/honest\nhostname >/var/lib/honest/name\numask >/var/lib/honest/umask\n\
                  echo \"$TZ $LANG $LC_ALL $HOME $SOURCE_DATE_EPOCH\" >/var/lib/honest/environment\n\
                  nproc >/var/lib/honest/processors\ndate >/tmp/honest\n";
    let bench = Bench::new(
        &[("dice", &definition("dice")), ("honest", &definition("honest"))],
        &[("dice", scripted("dice", dice)), ("honest", scripted("honest", honest))],
    );
    let check = |name: &str| {
        let mut command = bench.command(&bench.workspace(), &bench.fetched());
        command.args(["build", name, "--check"]).output().unwrap()
    };

    let output = check("dice");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(text(&output.stdout), "", "nothing is built from what is not reproducible");
    for path in ["/var/lib/dice/now: content", "/etc/dice.conf: content", "/etc/dice.link: a link to"] {
        let line = message.lines().find(|line| line.trim().starts_with(path));
        let line = line.unwrap_or_else(|| panic!("{path} is not in\n{message}"));
        assert!(line.contains("(written by dice postinst)"), "{line}");
    }
    assert!(!message.contains("dice.same"), "{message}");
    assert!(message.contains("3 paths differ"), "{message}");

    let output = check("honest");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(message.contains("two bakes under different conditions agree"), "{message}");
    assert!(text(&output.stdout).starts_with("honest linux/"), "{}", text(&output.stdout));
}

/// The clock cannot be set for a test, and a namespace of time leaves it alone; so a library in the tree
/// moves it for the scripts, which then must leave the same as without.
#[test]
fn scripts_on_another_day_leave_the_same() {
    if !real("scripts_on_another_day_leave_the_same") {
        return;
    }
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1\n", std::env::consts::ARCH);
    let clock = |offset: &str| {
        let control = "Package: clock\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.org>\n\
                       Depends: libfaketime\nDescription: another time\n";
        let package = Package { control: control.to_owned(), ..Package::new() };
        package
            .dir("./etc/", 0o755)
            .file("./etc/ld.so.preload", library.as_bytes())
            .file("./etc/faketimerc", offset.as_bytes())
            .member("postinst", 0o755, "#!/bin/sh\ndate +%Y >/etc/year\n")
            .build()
    };
    let definition = |offset: &str| {
        let packages = "\"redis-server\", \"openssh-server\", \"ca-certificates-java\", \"postgresql\", \"clock\"";
        format!("[debian]\nsuite = \"trixie\"\npackages = [{packages}]\nlocal = [\"debs/{offset}.deb\"]\n")
    };
    let bench = Bench::new(
        &[("near", &definition("near")), ("far", &definition("far"))],
        &[("near", clock("+0d\n")), ("far", clock("+1000d\n"))],
    );
    let output = bench.command(&bench.workspace(), &bench.fetched()).arg("build").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Each is in the store twice: for the lock without the ids of users, and for the one with them.
    let stages: BTreeMap<_, StageResult> = stages(&bench.fetched())
        .into_iter()
        .filter(|stage| stage.writers.values().any(|writer| writer.starts_with("redis-server ")))
        .map(|stage| (stage.part.content, stage))
        .collect();
    let [near, far] = stages.values().collect::<Vec<_>>()[..] else { panic!("{} stages", stages.len()) };
    let differences = compare(near, far).into_iter();
    // The library moves the times that programs see of files as well, which `cp -p` then sets.
    let differences = differences.filter(|difference| !difference.what.starts_with("time "));
    let differences: Vec<String> = differences.map(|difference| difference.to_string()).collect();
    // The one that was meant to, so the clock did move; and the sums of the package that brings the clock, of
    // which there are two.
    assert_eq!(
        differences,
        [
            "/etc/year: content (written by clock postinst)",
            "/var/lib/dpkg/info/clock.md5sums: content (written by dpkg)"
        ]
    );
}

/// Bytes that a compressor has to think about, the same everywhere.
fn sample() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut bytes = Vec::new();
    while bytes.len() < 3 << 20 {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        match state % 5 {
            0 => bytes.extend(state.to_le_bytes()),
            1 => bytes.extend_from_within(bytes.len().saturating_sub(state as usize % 3000 + 1)..),
            2 => bytes.extend(std::iter::repeat_n((state >> 8) as u8, state as usize % 300)),
            _ => bytes.extend(format!("/usr/lib/module-{}.so\n", state % 4096).bytes()),
        }
    }
    bytes
}

/// Also what [`the_encoder_ignores_the_processor`] runs on other processors.
#[test]
fn the_encoder_gives_these_bytes() {
    let mut encoder = gzip::Encoder::new(Vec::new());
    encoder.write(&sample()).unwrap();
    let (packed, _) = encoder.finish().unwrap();
    println!("encoded: {}", Digest::of(&packed));
}

#[test]
fn the_encoder_ignores_the_processor() {
    if !real("the_encoder_ignores_the_processor") {
        return;
    }
    let itself = std::env::current_exe().unwrap();
    let digest = |through: &[&str]| -> Result<String, String> {
        let mut command = Command::new(through.first().copied().unwrap_or(path(&itself)));
        if !through.is_empty() {
            command.args(&through[1..]).arg(&itself);
        }
        let output = command.args(["--exact", "the_encoder_gives_these_bytes", "--nocapture"]).output();
        let output = output.map_err(|error| error.to_string())?;
        let text = text(&output.stdout);
        let line = text.lines().find_map(|line| line.split_once("encoded: ")).map(|(_, digest)| digest.to_owned());
        line.ok_or_else(|| format!("{:?}: {text}", output.status))
    };
    let here = digest(&[]).unwrap();
    let emulator = format!("qemu-{}", std::env::consts::ARCH);
    if let Err(error) = run(&emulator, &["--version"]) {
        println!("the_encoder_ignores_the_processor: not run: {error} (Debian's package qemu-user)");
        return;
    }
    // The oldest x86-64 there is, and the one with everything that can be emulated.
    let models: &[&str] = if std::env::consts::ARCH == "x86_64" { &["qemu64", "max"] } else { &["max"] };
    for model in models {
        let there = digest(&[&emulator, "-cpu", model]).unwrap();
        println!("the encoder on {model}: {there}");
        assert_eq!(there, here, "on {model}");
    }
}
