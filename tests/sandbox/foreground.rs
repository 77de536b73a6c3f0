//! Programs that people see: in the foreground, supervised, and with volumes.

use super::*;

#[test]
fn a_program_in_the_foreground_has_its_user_directory_and_binds() {
    let mut fixture = Fixture::new();
    let shared = fixture.place();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o777)).unwrap();
    for executor in fixture.executors() {
        let bind =
            |target: &str, read_only| Bind { source: shared.path().to_owned(), target: target.to_owned(), read_only };
        let binds = [bind("mnt/shared", false), bind("mnt/fixed", true)];
        fixture.options.binds = if executor == Executor::Chroot { Vec::new() } else { binds.into() };
        fixture.options.network = true;
        let place = fixture.place();
        let mut session = Session::start(executor, place.path(), &fixture.options).unwrap();
        session.extract(&[fixture.base()]).unwrap();
        session.mkdir("home", 0o777).unwrap();
        let mut check = "test $(id -u):$(id -g) = 1000:1001 && test $PWD = /home && > /home/file".to_owned();
        if executor != Executor::Chroot {
            check += " && > /mnt/shared/written && test -e /mnt/fixed/written && ! (> /mnt/fixed/other) 2>/dev/null";
        }
        let command = ForegroundCommand {
            arguments: vec!["sh".to_owned(), "-c".to_owned(), check + " && exit 42"],
            environment: script("").environment,
            directory: "/home".to_owned(),
            uid: 1000,
            gid: 1001,
            groups: vec![1002],
        };
        assert_eq!(session.foreground(&command).unwrap(), 42, "{executor}");
        session.finish().unwrap();
        let _ = fs::remove_file(shared.path().join("written"));
        fixture.options.binds.clear();
        fixture.options.network = false;
    }
}

/// Not a test by itself: what [`a_signal_reaches_the_program_in_the_foreground`] runs and signals.
#[test]
fn foreground_to_be_signalled() {
    #[expect(clippy::disallowed_methods, reason = "how the test that signals this one names the place")]
    let Some(setting) = std::env::var_os("KILN_TEST_SANDBOX_SIGNAL") else { return };
    let setting = setting.into_string().unwrap();
    let (executor, place) = setting.split_once(':').unwrap();
    let fixture = Fixture::new();
    let executor = Executor::from_name(executor).unwrap();
    let mut session = Session::start(executor, Path::new(place), &fixture.options).unwrap();
    session.extract(&[fixture.base()]).unwrap();
    let mark = 300_000 + fs::metadata(place).unwrap().ino();
    let waiting = script(&format!("trap 'exit 9' TERM INT; sleep {mark} & wait"));
    let command = ForegroundCommand {
        arguments: waiting.arguments,
        environment: waiting.environment,
        directory: "/".to_owned(),
        ..ForegroundCommand::default()
    };
    assert_eq!(session.foreground(&command).unwrap(), 9);
    session.finish().unwrap();
}

#[test]
fn a_signal_reaches_the_program_in_the_foreground() {
    let fixture = Fixture::new();
    for executor in fixture.executors() {
        let place = fixture.place();
        let mark = (300_000 + fs::metadata(place.path()).unwrap().ino()).to_string();
        let mut parent = process::Command::new(std::env::current_exe().unwrap())
            .args(["foreground::foreground_to_be_signalled", "--exact"])
            .env("KILN_TEST_SANDBOX_SIGNAL", format!("{executor}:{}", place.path().display()))
            .env("TMPDIR", fixture.folder.path())
            .stdout(process::Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the program runs", || processes_with(&mark) >= 1);
        let pid = rustix::process::Pid::from_child(&parent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(parent.wait().unwrap().success(), "{executor}");
        assert!(fs::read_dir(place.path()).unwrap().next().is_none(), "{executor}");
    }
}

#[test]
fn a_supervised_program_gets_what_is_sent_and_prints_into_its_pipe() {
    let fixture = Fixture::new();
    for executor in fixture.executors() {
        let place = fixture.place();
        let (mut session, output) = Session::start_piped(executor, place.path(), &fixture.options).unwrap();
        session.extract(&[fixture.base()]).unwrap();
        // The sixth field of its status is its session. Without mounts there is nothing to look at.
        let waiting = script(
            "trap 'echo asked; exit 9' USR1; own=$$; [ ! -e /proc/self/stat ] || read -r _ _ _ _ _ own _ </proc/self/stat; \
             [ $own = $$ ] || echo not apart; echo there >&2; while :; do sleep 0.05; done",
        );
        let command = ForegroundCommand {
            arguments: waiting.arguments,
            environment: waiting.environment,
            directory: "/".to_owned(),
            ..ForegroundCommand::default()
        };
        let (mut signaller, mut signals) = sandbox::signals().unwrap();
        let printed = std::thread::spawn(move || {
            let mut lines = io::BufReader::new(output).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "there");
            signaller.send(sandbox::signal_number("SIGUSR1").unwrap());
            lines.map(Result::unwrap).collect::<Vec<_>>()
        });
        assert_eq!(session.supervise(&command, &mut signals).unwrap(), 9, "{executor}");
        session.finish().unwrap();
        assert_eq!(printed.join().unwrap(), ["asked"], "{executor}");
    }
}

#[test]
fn a_volume_is_given_away_and_emptied_and_nothing_beside_it() {
    let mut fixture = Fixture::new();
    for executor in fixture.executors() {
        if executor == Executor::Chroot {
            continue;
        }
        let (volume, beside) = (fixture.place(), fixture.place());
        fs::write(beside.path().join("file"), "kept").unwrap();
        let owner = fs::metadata(beside.path()).unwrap().uid();
        fs::create_dir_all(volume.path().join("a/b")).unwrap();
        fs::write(volume.path().join("a/b/file"), "given").unwrap();
        for name in ["link", "a/link"] {
            std::os::unix::fs::symlink(beside.path(), volume.path().join(name)).unwrap();
        }
        let source = volume.path().canonicalize().unwrap();
        let bind = Bind { source: source.clone(), target: "/mnt".to_owned(), read_only: false };
        fixture.options.binds = vec![bind];
        let place = fixture.place();
        let mut session = Session::start(executor, place.path(), &fixture.options).unwrap();
        session.extract(&[fixture.base()]).unwrap();
        session.give(&source, 33, 44).unwrap();
        let shown = sh(&mut session, "cd /mnt && stat -c '%u:%g %n' . a a/b a/b/file link a/link");
        assert_eq!(shown, "33:44 .\n33:44 a\n33:44 a/b\n33:44 a/b/file\n33:44 link\n33:44 a/link\n", "{executor}");
        assert!(session.give(beside.path(), 33, 44).is_err(), "{executor}: it is not bound");
        assert!(session.empty(beside.path()).is_err(), "{executor}: it is not bound");
        session.empty(&source).unwrap();
        assert_eq!(sh(&mut session, "ls -A /mnt"), "", "{executor}");
        session.finish().unwrap();
        assert_eq!(fs::read_to_string(beside.path().join("file")).unwrap(), "kept");
        assert_eq!(fs::metadata(beside.path().join("file")).unwrap().uid(), owner);
        fixture.options.binds.clear();
    }
}
