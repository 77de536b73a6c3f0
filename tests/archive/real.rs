//! The machine's real archive: only with `KILN_TEST_REAL=1`.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kiln::ecosystem::debian::archive::{Access, Exceptions, Keys, SuiteRequest, fetch_suite, fetch_suites};
use kiln::ecosystem::debian::sources::Sources;
use kiln::net::{Client, Settings};
use kiln::store::Store;

fn request(origin: &str, suite: &str) -> SuiteRequest {
    SuiteRequest {
        origin: origin.into(),
        suite: suite.into(),
        components: vec!["main".into()],
        architectures: vec!["amd64".into()],
        keys: Keys::Debian,
        snapshot: None,
        exceptions: Exceptions::default(),
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of the real world, asked for by a variable")]
#[expect(clippy::print_stderr, reason = "measurements for whoever runs it")]
fn the_machines_own_archive_verifies() {
    if std::env::var_os("KILN_TEST_REAL").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let sources = Sources::new(Default::default(), Some(Path::new("/etc/apt")));
    let mut settings = Settings::default();
    sources.apt().proxies.apply_to(&mut settings);
    let client = Client::new(&settings).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let access = Access { store: &store, client: &client, sources: &sources, now, on_event: &|_| {} };
    let requests = [
        request("debian", "trixie"),
        request("debian", "trixie-updates"),
        request("debian-security", "trixie-security"),
        request("debian", "bookworm"),
        request("debian", "bullseye"),
        request("debian-security", "bullseye-security"),
    ];
    for round in ["first", "second"] {
        let start = Instant::now();
        let suites = fetch_suites(&access, &requests).unwrap();
        let fetched = start.elapsed();
        for suite in &suites {
            let size: usize = suite.indexes.iter().map(|index| index.bytes(&store).unwrap().len()).sum();
            assert!(size > 0);
            eprintln!("{}: {} bytes, signed by {:?}", suite.release.names(), size, suite.evidence.fingerprints);
        }
        eprintln!("{round}: {fetched:?}, with reading {:?}", start.elapsed());
        assert!(suites[3].evidence.fingerprints.len() > 1, "bookworm is signed by several keys");
    }
    let forky = fetch_suite(&access, &request("debian", "forky"));
    let stale = forky.as_ref().map_or_else(|_| true, |suite| suite.release.valid_until < Some(now));
    if stale {
        let error = forky.unwrap_err();
        eprintln!("forky: {error}");
        assert!(error.to_string().contains("its signed index expired on"), "{error}");
    }
}
