//! `release/build`, tried with a profile that takes less time than the one that is released. The sources are the last
//! commit's, as for a release. It takes minutes, so it runs only with `KILN_TEST_RELEASE=1`.

#![allow(clippy::print_stdout, reason = "what was left out is said")]
#![allow(clippy::disallowed_methods, reason = "tests look at the machine they run on")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use sha2::{Digest, Sha256};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed:\n{text}");
    output
}

/// Crates are those that this test was built with: nothing is fetched.
#[test]
fn a_release_is_static_and_the_same_bytes_from_two_places() {
    if std::env::var_os("KILN_TEST_RELEASE").is_none() {
        println!("a_release_is_static_and_the_same_bytes_from_two_places: left out, KILN_TEST_RELEASE is not set");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let architecture = std::env::consts::ARCH;
    let mut build = Command::new(root.join("release/build"));
    build.arg("--check").arg(folder.path()).arg(architecture).current_dir(folder.path());
    build.env("KILN_RELEASE_PROFILE", "trial").env("CARGO_NET_OFFLINE", "true").env_remove("RUSTFLAGS");
    let output = run(&mut build);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("two builds are the same"), "{said}");

    let sums = fs::read_to_string(folder.path().join("SHA256SUMS")).unwrap();
    assert_eq!(sums, String::from_utf8(output.stdout).unwrap());
    let files: Vec<(&str, &str)> = sums.lines().map(|line| line.split_once("  ").unwrap()).collect();
    for (sum, name) in &files {
        assert_eq!(*sum, hex::encode(Sha256::digest(fs::read(folder.path().join(name)).unwrap())), "{name}");
    }
    let [(_, program), (_, archive)] = files[..] else { panic!("{sums}") };
    assert!(program.starts_with(&format!("kiln-{}-{architecture}-", env!("CARGO_PKG_VERSION"))), "{program}");
    assert_eq!(archive, format!("{program}.tar.gz"));

    run(Command::new("tar").arg("-xzf").arg(folder.path().join(archive)).current_dir(folder.path()));
    let unpacked = folder.path().join("kiln");
    assert_eq!(fs::read(&unpacked).unwrap(), fs::read(folder.path().join(program)).unwrap());
    assert_eq!(fs::metadata(&unpacked).unwrap().permissions().mode() & 0o7777, 0o755);
    let version = run(Command::new(&unpacked).arg("--version")).stdout;
    assert!(version.starts_with(concat!("kiln ", env!("CARGO_PKG_VERSION")).as_bytes()));
    let bytes = fs::read(&unpacked).unwrap();
    assert!(!has_interpreter(&bytes), "it is not static");
    let here = root.as_os_str().as_encoded_bytes();
    assert!(!bytes.windows(here.len()).any(|window| window == here), "it names the folder of its sources");
}

/// Whether a 64-bit program of little-endian numbers asks for a loader (elf(5), `PT_INTERP`).
fn has_interpreter(program: &[u8]) -> bool {
    const INTERPRETER: u64 = 3;
    let number = |at: usize, length: usize| {
        program[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    assert_eq!(program[..6], *b"\x7fELF\x02\x01");
    let (table, size, count) = (number(0x20, 8), number(0x36, 2), number(0x38, 2));
    (0..count).any(|index| number((table + index * size) as usize, 4) == INTERPRETER)
}
