//! The sandbox under every executor that this machine allows. Run as root, the tests also run themselves
//! again as an ordinary user who has subordinate ids (`useradd` gives some), for the user namespace.

mod foreground;
mod overlay;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use kiln::digest::Digest;
use kiln::layer::{Entry, Kind, Part, PartBuilder};
use kiln::sandbox::{
    self, Bind, Command, Executor, Extraction, ForegroundCommand, OUTPUT_LIMIT, Options, Output, Session,
};
use kiln::store::Store;

/// Set while the tests run as an ordinary user: a file with what scripts see under root's executors.
const AGAIN: &str = "KILN_TEST_SANDBOX_AGAIN";

/// What the tests' scripts use.
const PROGRAMS: [&str; 22] = [
    "sh", "cat", "chmod", "chown", "dd", "env", "head", "hostname", "id", "ln", "ls", "mkdir", "mkfifo", "mknod", "mv",
    "nproc", "rm", "seq", "sleep", "stat", "touch", "wc",
];

struct Fixture {
    store: Store,
    options: Options,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let options = Options {
            program: PathBuf::from(env!("CARGO_BIN_EXE_kiln")),
            store: store.root().to_owned(),
            network: false,
            binds: Vec::new(),
            jobs: 0,
            in_memory: false,
        };
        Self { store, options, folder }
    }

    fn executors(&self) -> Vec<Executor> {
        let possible = |executor: &Executor| executor.probe(self.folder.path(), &self.options).is_ok();
        let found: Vec<_> = Executor::ALL.into_iter().filter(possible).collect();
        if found.is_empty() {
            panic!("no executor at all: {}", Executor::available(self.folder.path(), &self.options).unwrap_err());
        }
        found
    }

    fn place(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.folder.path()).unwrap()
    }

    fn part(&self, entries: Vec<(Entry, &[u8])>) -> Part {
        let mut builder = PartBuilder::new(&self.store).unwrap();
        for (entry, content) in entries {
            builder.entry(&entry, &mut { content }).unwrap();
        }
        builder.finish().unwrap()
    }

    /// Runs a test under each executor, in a tree with a shell.
    fn each(test: impl Fn(Executor, &Self, &mut Session)) {
        let fixture = Self::new();
        for executor in fixture.executors() {
            let place = fixture.place();
            let mut session = Session::start(executor, place.path(), &fixture.options).unwrap();
            session.extract(&[fixture.base()]).unwrap();
            test(executor, &fixture, &mut session);
            session.finish().unwrap();
            let left: Vec<_> = fs::read_dir(place.path()).unwrap().collect();
            assert!(left.is_empty(), "{executor}: {left:?} was left");
        }
    }

    /// A layer with a shell: busybox, or the host's programs with their libraries.
    fn base(&self) -> Extraction {
        let mut contents: BTreeMap<String, (Kind, Vec<u8>)> = BTreeMap::new();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| is_static(Path::new(path)));
        if let Some(busybox) = busybox {
            let bytes = fs::read(busybox).unwrap();
            contents.insert("bin/busybox".to_owned(), (content_of(&bytes), bytes));
            for name in PROGRAMS {
                contents.insert(format!("bin/{name}"), (Kind::Symlink { target: "busybox".to_owned() }, Vec::new()));
            }
        } else {
            for (path, host) in host_programs() {
                let bytes = fs::read(&host).unwrap();
                contents.insert(path, (content_of(&bytes), bytes));
            }
        }
        let mut directories: BTreeSet<String> =
            ["dev", "proc", "sys", "tmp", "run", "etc", "var"].map(str::to_owned).into();
        directories.insert(String::new());
        for path in contents.keys() {
            let mut parent = path.as_str();
            while let Some((above, _)) = parent.rsplit_once('/') {
                directories.insert(above.to_owned());
                parent = above;
            }
        }
        let entries =
            contents.iter().map(|(path, (kind, bytes))| (entry(path, kind.clone(), 0o755), bytes.as_slice())).collect();
        let directories = directories.iter().map(|path| entry(path, Kind::Directory, 0o755)).collect();
        Extraction { directories, parts: vec![self.part(entries)], skip: BTreeSet::new() }
    }
}

fn is_static(path: &Path) -> bool {
    let output = process::Command::new("ldd").arg(path).output();
    path.exists() && output.is_ok_and(|output| !String::from_utf8_lossy(&output.stdout).contains("=>"))
}

/// Path inside and on the host of the host's programs and what they are linked with.
fn host_programs() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for name in PROGRAMS {
        let Some(program) =
            ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name)).into_iter().find(|path| path.exists())
        else {
            continue;
        };
        let output = process::Command::new("ldd").arg(&program).output().unwrap();
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
            found.insert(word.trim_start_matches('/').to_owned(), PathBuf::from(word));
        }
        found.insert(format!("bin/{name}"), program);
    }
    found
}

fn content_of(bytes: &[u8]) -> Kind {
    Kind::File { size: bytes.len() as u64, sha256: Digest::of(bytes) }
}

fn entry(path: &str, kind: Kind, mode: u32) -> Entry {
    Entry { path: path.to_owned(), kind, mode, uid: 0, gid: 0, mtime: 1_000_000_000, xattrs: BTreeMap::new() }
}

fn script(text: &str) -> Command {
    let environment = [("PATH", "/bin"), ("LC_ALL", "C.UTF-8")];
    Command {
        arguments: ["sh", "-c", text].map(str::to_owned).into(),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        status_lines: false,
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.output).into_owned()
}

/// Runs a script that must succeed.
fn sh(session: &mut Session, script_text: &str) -> String {
    let output = session.run(&script(script_text)).unwrap();
    assert_eq!(output.code, 0, "`{script_text}` failed: {}", text(&output));
    text(&output)
}

/// What scripts see under root's executors, in a file, if the tests run again.
fn again() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "how the tests tell themselves that they run again")]
    std::env::var_os(AGAIN).map(PathBuf::from)
}

#[test]
fn again_as_an_ordinary_user() {
    if again().is_some() || fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    let Some((name, uid, gid)) = ordinary_user() else {
        warn("no ordinary user with subordinate ids, or no newuidmap: the executor `user-namespace` WAS NOT TESTED");
        return;
    };
    let as_user = |program: &Path| {
        let mut command = process::Command::new("setpriv");
        command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string(), "--clear-groups", "--"]).arg(program);
        command
    };
    let own = std::env::current_exe().unwrap();
    let reachable = as_user(Path::new("test")).arg("-x").arg(&own).status().unwrap().success();
    if !reachable {
        warn("an ordinary user cannot reach these tests' directory: the executor `user-namespace` WAS NOT TESTED");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let work = folder.path().join("work");
    fs::create_dir(&work).unwrap();
    let seen = folder.path().join("surroundings");
    fs::write(&seen, surroundings().into_values().next().unwrap()).unwrap();
    std::os::unix::fs::chown(&work, Some(uid), Some(gid)).unwrap();
    let output = as_user(&own)
        .args(["--skip", "again_as_an_ordinary_user"])
        .env(AGAIN, &seen)
        .env("TMPDIR", &work)
        .current_dir(&work)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "as {name}: {out}\n{err}");
    assert!(out.contains("test result: ok"), "{out}");
}

#[expect(clippy::print_stderr, reason = "a test that could not test all must say so")]
fn warn(message: &str) {
    eprintln!("WARNING: {message}");
}

/// A user of this machine who can have a user namespace.
fn ordinary_user() -> Option<(String, u32, u32)> {
    let ranges = fs::read_to_string("/etc/subuid").ok()?;
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    if !["/usr/bin/newuidmap", "/bin/newuidmap"].iter().any(|path| Path::new(path).exists()) {
        return None;
    }
    ranges.lines().find_map(|line| {
        let name = line.split(':').next()?;
        let fields: Vec<_> = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).collect();
        let user = fields.iter().find(|fields| fields.first() == Some(&name) && name != "root")?;
        Some((name.to_owned(), user.get(2)?.parse().ok()?, user.get(3)?.parse().ok()?))
    })
}

#[test]
fn every_kind_of_entry_is_placed_reported_and_packed_as_it_was() {
    Fixture::each(|executor, fixture, session| {
        session.mark().unwrap();
        let capability = "0100000200040000000000000000000000000000".to_owned();
        let own = |path: &str, kind, mode, uid, gid| Entry { uid, gid, ..entry(path, kind, mode) };
        let mut capable = entry("srv/capable", content_of(b"capable"), 0o755);
        capable.xattrs =
            [("security.capability".to_owned(), capability), ("user.note".to_owned(), "6869".to_owned())].into();
        let directories =
            vec![own("srv", Kind::Directory, 0o2775, 0, 8), own("srv/deep", Kind::Directory, 0o700, 33, 33)];
        let entries = vec![
            (capable, &b"capable"[..]),
            (own("srv/a", content_of(b"content"), 0o4755, 33, 44), b"content"),
            (own("srv/b", Kind::HardLink { target: "srv/a".to_owned() }, 0o4755, 33, 44), b""),
            (own("srv/deep/empty", content_of(b""), 0o600, 65_534, 65_534), b""),
            (own("srv/fifo", Kind::Fifo, 0o620, 1, 5), b""),
            (own("srv/link", Kind::Symlink { target: "/etc/../x".to_owned() }, 0o777, 9, 9), b""),
        ];
        let expected: Vec<Entry> = entries.iter().map(|(entry, _)| entry.clone()).collect();
        let part = fixture.part(entries);
        let layer = Extraction { directories: directories.clone(), parts: vec![part], skip: BTreeSet::new() };
        session.extract(std::slice::from_ref(&layer)).unwrap();
        let changes = session.changes().unwrap();
        let mut all: Vec<Entry> = directories.iter().cloned().chain(expected.iter().cloned()).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        let found: Vec<Entry> =
            changes.into_iter().filter_map(|change| change.entry).filter(|entry| !entry.path.is_empty()).collect();
        assert_eq!(found, all, "{executor}");

        let packed = session.pack(&directories, &expected).unwrap();
        session.remove("srv").unwrap();
        assert!(!session.exists("srv").unwrap());
        let layer = Extraction { directories: packed.directories.clone(), parts: vec![packed], skip: BTreeSet::new() };
        session.extract(&[layer]).unwrap();
        let found: Vec<Entry> = session
            .changes()
            .unwrap()
            .into_iter()
            .filter_map(|change| change.entry)
            .filter(|entry| !entry.path.is_empty())
            .collect();
        // A packed directory's time is the format's constant.
        all.iter_mut().filter(|entry| entry.kind == Kind::Directory).for_each(|entry| entry.mtime = 0);
        assert_eq!(found, all, "{executor}, from what was packed");
        let mut wrong = expected.clone();
        wrong[1].kind = content_of(b"CONTENT");
        assert!(session.pack(&directories, &wrong).unwrap_err().to_string().contains("sha256"));
    });
}

#[test]
fn what_is_placed_in_a_folder_with_a_group_of_its_own_does_not_get_that_group() {
    Fixture::each(|executor, fixture, session| {
        let folder = |mode| Entry { gid: 8, ..entry("var/shared", Kind::Directory, mode) };
        session.extract(&[Extraction { directories: vec![folder(0o2775)], ..Extraction::default() }]).unwrap();
        session.mark().unwrap();
        let below = entry("var/shared/below", Kind::Directory, 0o755);
        let file = entry("var/shared/file", content_of(b"open"), 0o666);
        let link = entry("var/shared/link", Kind::Symlink { target: "file".to_owned() }, 0o777);
        let part = fixture.part(vec![(file.clone(), b"open"), (link.clone(), b"")]);
        let layer = Extraction { directories: vec![below.clone()], parts: vec![part], skip: BTreeSet::new() };
        session.extract(&[layer]).unwrap();
        let found: Vec<Entry> = session.changes().unwrap().into_iter().filter_map(|change| change.entry).collect();
        let found: Vec<Entry> = found.into_iter().filter(|entry| entry.path.starts_with("var/shared/")).collect();
        assert_eq!(found, [below, file, link], "{executor}");
    });
}

#[test]
fn a_device_is_made_or_said_not_to_be() {
    Fixture::each(|executor, fixture, session| {
        let device = entry("var/null", Kind::CharacterDevice { major: 1, minor: 3 }, 0o666);
        let layer = Extraction { parts: vec![fixture.part(vec![(device, b"")])], ..Extraction::default() };
        let unmade = session.extract(&[layer]).unwrap();
        assert_eq!(unmade.is_empty(), session.exists("var/null").unwrap(), "{executor}");
        assert!(executor != Executor::UserNamespace || unmade == ["var/null"]);
        // A script may make none under any executor.
        assert_eq!(sh(session, "mknod /var/zero c 1 5 2>/dev/null; echo $?"), "1\n", "{executor}");
    });
}

#[test]
fn a_later_layer_hides_replaces_and_skips() {
    Fixture::each(|_, fixture, session| {
        let file = |path: &str| (entry(path, content_of(b"x"), 0o644), &b"x"[..]);
        let directory = |path: &str| entry(path, Kind::Directory, 0o755);
        let lower = Extraction {
            directories: ["a", "a/old", "opaque", "opaque/sub", "real"].map(directory).into(),
            parts: vec![fixture.part(vec![
                file("a/gone"),
                file("a/kept"),
                file("a/old/below"),
                file("opaque/sub/gone"),
                file("opaque/gone"),
                (entry("to-real", Kind::Symlink { target: "/real".to_owned() }, 0o777), b""),
            ])],
            skip: BTreeSet::new(),
        };
        let empty = |path: &str| (entry(path, content_of(b""), 0o644), &b""[..]);
        let upper = Extraction {
            directories: ["a", "opaque", "to-real"].map(directory).into(),
            parts: vec![fixture.part(vec![
                empty("a/.wh.gone"),
                empty("a/.wh.never"),
                empty("opaque/.wh..wh..opq"),
                file("a/old"),
                file("a/skipped"),
                (entry("a/skipped-too", Kind::HardLink { target: "a/skipped".to_owned() }, 0o644), b""),
                (entry("a/third", Kind::HardLink { target: "a/skipped".to_owned() }, 0o644), b""),
                file("opaque/new"),
                file("to-real/through"),
            ])],
            skip: ["a/skipped".to_owned()].into(),
        };
        session.extract(&[lower, upper]).unwrap();
        assert_eq!(session.list("a").unwrap(), ["kept", "old", "skipped-too", "third"]);
        assert_eq!(sh(session, "stat -c %h /a/third").trim(), "2");
        assert_eq!(session.list("opaque").unwrap(), ["new"]);
        assert_eq!(session.read("a/old").unwrap().unwrap(), b"x");
        assert_eq!(session.list("real").unwrap(), ["through"], "a link to a directory stays");
        assert_eq!(sh(session, "stat -c %F /to-real").trim(), "symbolic link");
    });
}

/// A part's plain stream is read while its files are placed: that it is wrong shows when they are there.
#[test]
fn a_damaged_plain_stream_does_no_harm() {
    Fixture::each(|executor, fixture, session| {
        let plain = |name: &str| {
            let mut builder = PartBuilder::plain(&fixture.store).unwrap();
            for path in [format!("var/{name}1"), format!("var/{name}2")] {
                builder.entry(&entry(&path, content_of(name.as_bytes()), 0o644), &mut name.as_bytes()).unwrap();
            }
            builder.finish().unwrap()
        };
        let damage = |part: &Part| {
            let path = fixture.store.blob_path(&part.plain.unwrap());
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.windows(6).rposition(|window| window == b"whole!").unwrap();
            bytes[at] = b'W';
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        };
        let name = format!("{executor}whole!");
        let part = plain(&name).compressed(&fixture.store).unwrap();
        damage(&part);
        let layer = Extraction { parts: vec![part.clone()], ..Extraction::default() };
        session.extract(&[layer]).unwrap();
        for path in [format!("var/{name}1"), format!("var/{name}2")] {
            assert_eq!(session.read(&path).unwrap().unwrap(), name.as_bytes(), "{path}");
        }
        assert!(!fixture.store.contains(&part.plain.unwrap()), "{executor}: it was not set aside");
        // Placed ahead, it is found later, and the next attempt does without it.
        let name = format!("{executor} ahead whole!");
        let part = plain(&name).compressed(&fixture.store).unwrap();
        damage(&part);
        let layer = Extraction { parts: vec![part.clone()], ..Extraction::default() };
        for sound in [false, true] {
            session.extract_ahead(std::slice::from_ref(&layer)).unwrap();
            assert_eq!(session.check().unwrap(), sound, "{executor}");
            assert!(!fixture.store.contains(&part.plain.unwrap()), "{executor}: it was not set aside");
        }
        assert_eq!(session.read(&format!("var/{name}2")).unwrap().unwrap(), name.as_bytes());
        // Where there is nothing else, it is said.
        let part = plain(&format!("{executor} alone whole!"));
        damage(&part);
        let layer = Extraction { parts: vec![part], ..Extraction::default() };
        let error = session.extract(&[layer]).unwrap_err();
        assert!(error.chain().iter().any(|sentence| sentence.contains("is corrupt: expected")), "{executor}: {error}");
    });
}

#[test]
fn hostile_paths_stay_inside() {
    Fixture::each(|executor, fixture, session| {
        let outside = fixture.place();
        let target = outside.path().to_str().unwrap();
        let up = format!("{}{}", "../".repeat(40), target.trim_start_matches('/'));
        for (name, link) in [("etc/absolute", target), ("etc/relative", up.as_str())] {
            session.symlink(name, link).unwrap();
            let below = format!("{name}/file");
            let evil = fixture.part(vec![(entry(&below, content_of(b"evil"), 0o644), b"evil")]);
            let layer = Extraction { parts: vec![evil], ..Extraction::default() };
            let error = session.extract(&[layer]).unwrap_err();
            assert!(error.to_string().contains(&below), "{executor}: {error}");
            session.write("etc/x", b"x", 0o644).unwrap();
            assert_eq!(session.read(&format!("{name}/../x")).ok().flatten(), None);
            let _ = session.write(&below, b"evil", 0o644);
            session.remove(&below).unwrap();
        }
        for path in ["../x", "a/../../x", "etc/./y", "/y", ""] {
            let evil = fixture.part_unchecked(path);
            let layer = Extraction { parts: vec![evil], ..Extraction::default() };
            session.extract(&[layer]).unwrap_err();
        }
        assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "{executor}: something got out");
        // Mounting, or swapping, must not follow a link out either.
        session.remove("run").unwrap();
        session.symlink("run", target).unwrap();
        session.run(&script("echo evil > /run/evil")).unwrap();
        assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "{executor}: a mount got out");
    });
}

impl Fixture {
    /// A part whose list says `path` of a file called `x`.
    fn part_unchecked(&self, path: &str) -> Part {
        let mut part = self.part(vec![(entry("x", content_of(b"x"), 0o644), b"x")]);
        part.entries[0].path = path.to_owned();
        part
    }
}

#[test]
fn what_a_script_changes_is_reported_and_nothing_else() {
    Fixture::each(|executor, fixture, session| {
        let file = |path: &str| (entry(path, content_of(b"x"), 0o644), &b"x"[..]);
        let linked = (entry("var/link2", Kind::HardLink { target: "var/link1".to_owned() }, 0o644), &b""[..]);
        let part =
            fixture.part(vec![file("var/gone"), file("var/link1"), linked, file("var/same"), file("var/touched")]);
        let layer = Extraction { parts: vec![part], ..Extraction::default() };
        session.extract(&[layer]).unwrap();
        session.mark().unwrap();
        assert_eq!(sh(session, "echo hidden > /tmp/x; echo hidden > /run/x; cat /tmp/x /dev/null"), "hidden\n");
        assert_eq!(session.changes().unwrap(), [], "{executor}: /tmp, /run and /dev are no part of the tree");
        assert_eq!(sh(session, "cat /tmp/x"), "hidden\n", "they last as long as the session");
        let before = session.run(&Command { status_lines: true, ..script("echo start >&3") }).unwrap();
        sh(
            session,
            "rm /var/gone; echo more >> /var/link2; touch /var/touched; echo new > /var/new; chmod 4711 /var/new",
        );
        let after = session.run(&Command { status_lines: true, ..script("echo end >&3") }).unwrap();
        assert_eq!((before.status[0].1.as_str(), after.status[0].1.as_str()), ("start", "end"));
        let changes = session.changes().unwrap();
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["var", "var/gone", "var/link1", "var/link2", "var/new", "var/touched"], "{executor}");
        for change in &changes {
            let (start, end) = (before.status[0].0, after.status[0].0);
            assert!((start..=end).contains(&change.ctime), "{executor}: {change:?} is not in {start}..={end}");
        }
        assert_eq!(changes[1].entry, None);
        assert_eq!(changes[2].entry.as_ref().unwrap().kind, content_of(b"xmore\n"));
        assert_eq!(changes[3].entry.as_ref().unwrap().kind, Kind::HardLink { target: "var/link1".to_owned() });
        let new = changes[4].entry.as_ref().unwrap();
        assert_eq!((new.mode, new.uid, new.kind.clone()), (0o4711, 0, content_of(b"new\n")));
        assert_eq!(changes[5].entry.as_ref().unwrap().kind, content_of(b"x"), "the caller tells that it is the same");
    });
}

#[test]
fn missing_mount_points_leave_no_trace() {
    Fixture::each(|executor, _, session| {
        for name in ["dev", "proc", "sys", "run", "tmp"] {
            session.remove(name).unwrap();
        }
        session.mark().unwrap();
        sh(session, "echo x > /tmp/x; : < /dev/null");
        assert_eq!(session.changes().unwrap(), [], "{executor}");
    });
}

/// Everything about a script's surroundings that a script can easily see.
const SURROUNDINGS: &str = r#"env; umask; pwd; id; nproc
for limit in n c s; do ulimit -S$limit; ulimit -H$limit; done
for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 16 17 18; do (eval ": <&$fd") 2>/dev/null && echo "fd $fd"; done
cat <&0; ls /; ls -A /dev /sys /tmp /run; stat -c '%a %u %g' / /tmp /run /dev /dev/shm
head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo lost > /dev/null; cat /dev/null
trap; mknod /var/device b 1 1 2>&1; mkfifo /var/fifo; echo $?
touch /var/file; chown 33:44 /var/file; chmod 4755 /var/file; stat -c '%a %u %g' /var/file"#;

fn surroundings() -> BTreeMap<Executor, String> {
    let seen = std::cell::RefCell::new(BTreeMap::new());
    Fixture::each(|executor, _, session| {
        let output = session.run(&Command { status_lines: true, ..script(SURROUNDINGS) }).unwrap();
        assert_eq!(output.code, 0, "{executor}: {}", text(&output));
        seen.borrow_mut().insert(executor, text(&output));
    });
    seen.into_inner()
}

#[test]
fn a_script_sees_the_same_from_every_executor() {
    let seen = surroundings();
    let (first, expected) = seen.first_key_value().unwrap();
    for (executor, found) in &seen {
        assert_eq!(found, expected, "{executor} is not as {first}");
    }
    for line in ["0022", "uid=0", "1024", "fd 3", "urandom", "4755 33 44"] {
        assert!(expected.contains(line), "{line} is not in {expected}");
    }
    assert!(!expected.contains("fd 4") && !expected.contains("KILN"), "{expected}");
    if let Some(path) = again() {
        assert_eq!(fs::read_to_string(path).unwrap(), *expected, "root's executors against {first}");
    }
}

#[test]
fn the_network_is_out_of_reach() {
    Fixture::each(|executor, _, session| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connect = ["/bin/busybox", "nc", "-w", "2", "127.0.0.1", &port.to_string()].map(str::to_owned).into();
        if !session.exists("bin/busybox").unwrap() {
            warn("no static busybox: the network ban was not tested");
            return;
        }
        let output = session.run(&Command { arguments: connect, ..script("") }).unwrap();
        assert_ne!(output.code, 0, "{executor}");
        assert!(text(&output).contains("Address family not supported"), "{executor}: {}", text(&output));
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "{executor}: connected");
    });
}

#[test]
fn what_a_script_leaves_running_dies_with_it() {
    Fixture::each(|executor, _, session| {
        let started = Instant::now();
        let mark = format!("{}", 100_000 + process::id());
        // In the background, orphaned, and keeping the output open.
        let output =
            sh(session, &format!("(sleep {mark} & sleep {mark} &) ; (trap '' TERM HUP; sleep {mark}) & echo done"));
        assert_eq!(output, "done\n");
        assert!(started.elapsed() < Duration::from_secs(20), "{executor}: it was waited for");
        assert_eq!(processes_with(&mark), 0, "{executor}");
    });
}

/// How many processes have this among their arguments.
fn processes_with(argument: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let command_lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    command_lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())).count()
}

#[test]
fn output_is_limited_and_codes_are_told() {
    Fixture::each(|_, _, session| {
        let output = session.run(&script("seq 1 400000; echo last >&2; exit 7")).unwrap();
        assert_eq!(output.code, 7);
        assert_eq!(output.output.len(), OUTPUT_LIMIT);
        assert!(output.output.ends_with(b"400000\nlast\n"));
        assert_eq!(session.run(&script("kill -9 $$")).unwrap().code, 137);
        let lines = session.run(&Command { status_lines: true, ..script("echo a >&3; echo -n b >&3") }).unwrap().status;
        assert_eq!(lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(lines[0].0 <= lines[1].0);
        let missing = Command { arguments: vec!["no-such-program".to_owned()], ..script("") };
        assert!(session.run(&missing).unwrap_err().to_string().contains("no-such-program"));
        assert_eq!(sh(session, "echo still there"), "still there\n");
    });
}

#[test]
fn files_are_written_listed_moved_and_removed() {
    Fixture::each(|_, _, session| {
        let many: Vec<_> = (0..500).map(|number| format!("var/lib/dpkg/info/{number}.list")).collect();
        let files: Vec<_> = many.iter().map(|path| (path.as_str(), path.as_bytes(), 0o644, None)).collect();
        session.write_all(&files).unwrap();
        assert_eq!(session.list("/var/lib/dpkg/info").unwrap().len(), 500);
        assert_eq!(session.read(&many[7]).unwrap().unwrap(), many[7].as_bytes());
        assert_eq!(session.read("var/lib/none/x").unwrap(), None);
        session.rename(&many[7], "etc/new/name").unwrap();
        assert!(session.exists("etc/new/name").unwrap() && !session.exists(&many[7]).unwrap());
        session.symlink("etc/dangling", "/nowhere").unwrap();
        assert!(session.exists("etc/dangling").unwrap());
        session.mkdir("etc/private", 0o700).unwrap();
        assert_eq!(sh(session, "stat -c %a /etc/private /etc/new").trim(), "700\n755");
        session.remove("var/lib").unwrap();
        session.remove("var/lib").unwrap();
        assert!(!session.exists("var/lib/dpkg").unwrap());
        assert_eq!(session.list("var/lib").unwrap_err().what(), kiln::error::Kind::NotFound);
    });
}

#[test]
fn a_dropped_session_leaves_nothing() {
    let fixture = Fixture::new();
    for executor in fixture.executors() {
        let place = fixture.place();
        let mut session = Session::start(executor, place.path(), &fixture.options).unwrap();
        session.extract(&[fixture.base()]).unwrap();
        drop(session);
        assert!(fs::read_dir(place.path()).unwrap().next().is_none(), "{executor}");
    }
}

/// Not a test by itself: what [`a_killed_parent_leaves_nothing`] runs and kills.
#[test]
fn parent_to_be_killed() {
    #[expect(clippy::disallowed_methods, reason = "how the test that kills this one names the place")]
    let Some(setting) = std::env::var_os("KILN_TEST_SANDBOX_PLACE") else { return };
    let setting = setting.into_string().unwrap();
    let (executor, place) = setting.split_once(':').unwrap();
    let fixture = Fixture::new();
    let mut session =
        Session::start(Executor::from_name(executor).unwrap(), Path::new(place), &fixture.options).unwrap();
    session.extract(&[fixture.base()]).unwrap();
    let _ = session.run(&script(&format!("(sleep {0} &); sleep {0}", 200_000 + fs::metadata(place).unwrap().ino())));
}

#[test]
fn a_killed_parent_leaves_nothing() {
    let fixture = Fixture::new();
    for executor in fixture.executors() {
        let place = fixture.place();
        let mark = (200_000 + fs::metadata(place.path()).unwrap().ino()).to_string();
        let mut parent = process::Command::new(std::env::current_exe().unwrap())
            .args(["parent_to_be_killed", "--exact"])
            .env("KILN_TEST_SANDBOX_PLACE", format!("{executor}:{}", place.path().display()))
            .env("TMPDIR", fixture.folder.path())
            .stdout(process::Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the script runs", || processes_with(&mark) >= 2);
        parent.kill().unwrap();
        parent.wait().unwrap();
        wait_until("the script is gone", || processes_with(&mark) == 0);
        wait_until("the tree is gone", || fs::read_dir(place.path()).unwrap().next().is_none());
    }
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_store_that_lies_is_found_out() {
    Fixture::each(|_, fixture, session| {
        let part = fixture.part(vec![(entry("etc/file", content_of(b"true"), 0o644), b"true")]);
        let mut longer = part.clone();
        longer.tar_size += 512;
        let mut renamed = part.clone();
        renamed.entries[0].path = "etc/other".to_owned();
        for wrong in [longer, renamed] {
            session.extract(&[Extraction { parts: vec![wrong], ..Extraction::default() }]).unwrap_err();
        }
        let path = fixture.store.blob_path(&part.content);
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = session.extract(&[Extraction { parts: vec![part], ..Extraction::default() }]).unwrap_err();
        assert_eq!(error.what(), kiln::error::Kind::Corrupt);
        assert!(!session.exists("etc/file").unwrap());
    });
}
