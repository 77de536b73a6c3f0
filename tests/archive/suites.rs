use std::collections::BTreeMap;
use std::time::Duration;

use kiln::ecosystem::debian::archive::{
    Access, Exceptions, Keys, Suite, SuiteRequest, artifact_candidates, artifact_places, fetch_suite, fetch_suites,
};
use kiln::ecosystem::debian::sources::Sources;
use kiln::ecosystem::origin::Configured;
use kiln::error::Kind;
use kiln::net::{Client, Settings};
use kiln::store::Store;
use kiln::{Digest, Error, Result};
use pgp::crypto::hash::HashAlgorithm;

use crate::support::archive::{Files, Package, Scenario};
use crate::support::keys::{Flaw, Making, NOW, Signer, cleartext};
use crate::support::server::{Fault, Server};

const INRELEASE: &str = "/debian/dists/trixie/InRelease";

/// A machine with its store, and an archive at `/debian` that it was told of.
struct Bench {
    folder: tempfile::TempDir,
    server: Server,
    signer: Signer,
    sources: Sources,
    now: u64,
    offline: bool,
}

impl Bench {
    fn new(scenario: &Scenario) -> Self {
        let signer = Signer::new(1, Flaw::None);
        Self::serving(scenario.signed("/debian", &signer), signer)
    }

    fn serving(files: Files, signer: Signer) -> Self {
        let server = Server::start(files);
        let sources = told(&[("debian", server.url("/debian")), ("snapshot", server.url("/snapshot"))]);
        Self { folder: tempfile::tempdir().unwrap(), server, signer, sources, now: NOW, offline: false }
    }

    fn access<T>(&self, work: impl FnOnce(&Access<'_>) -> Result<T>) -> Result<T> {
        let store = Store::open(self.folder.path())?;
        let client = Client::new(&Settings {
            offline: self.offline,
            tries: 2,
            backoff: Duration::from_millis(1),
            stall_timeout: Duration::from_millis(500),
            ..Settings::default()
        })?;
        let access =
            Access { store: &store, client: &client, sources: &self.sources, now: self.now, on_event: &|_| {} };
        work(&access)
    }

    fn request(&self) -> SuiteRequest {
        SuiteRequest {
            origin: "debian".into(),
            suite: "trixie".into(),
            components: vec!["main".into()],
            architectures: vec!["amd64".into()],
            keys: Keys::Given(self.signer.public()),
            snapshot: None,
            exceptions: Exceptions::default(),
        }
    }

    fn fetch(&self, request: &SuiteRequest) -> Result<Suite> {
        self.access(|access| fetch_suite(access, request))
    }

    fn index(&self, suite: &Suite, number: usize) -> String {
        let store = Store::open(self.folder.path()).unwrap();
        String::from_utf8(suite.indexes[number].bytes(&store).unwrap().into_owned()).unwrap()
    }

    /// The error of fetching the suite, without its first sentence, with the server's port taken out.
    fn refusal(&self, request: &SuiteRequest) -> String {
        self.shown(&self.fetch(request).unwrap_err())
    }

    fn shown(&self, error: &Error) -> String {
        assert_eq!(error.message(), "getting the suite `trixie` of the origin `debian`");
        error.chain()[1..].join("\n").replace(&self.server.url("/debian/dists/trixie"), "TRIXIE")
    }
}

fn told(origins: &[(&str, String)]) -> Sources {
    let configured = |(name, url): &(&str, String)| {
        ((*name).to_owned(), Configured { addresses: vec![url.clone()], learnt: "kiln.toml".into() })
    };
    Sources::new(origins.iter().map(configured).collect(), None)
}

#[test]
fn a_suite_comes_with_its_indexes_and_evidence() {
    let scenario = Scenario::default();
    let bench = Bench::new(&scenario);
    let mut request = bench.request();
    request.architectures.push("arm64".into());
    let suite = bench.fetch(&request).unwrap();
    assert_eq!(suite.evidence.fingerprints, [bench.signer.fingerprint()]);
    assert_eq!(suite.evidence.date, scenario.date);
    assert_eq!(suite.place.as_ref().unwrap().learnt, "kiln.toml");
    let names: Vec<_> =
        suite.indexes.iter().map(|index| format!("{} {}", index.component, index.architecture)).collect();
    assert_eq!(names, ["main amd64", "main arm64"]);
    assert_eq!(bench.index(&suite, 0), scenario.index("main", "amd64"));
    assert_eq!(suite.indexes[0].digest, Digest::of(scenario.index("main", "amd64").as_bytes()));
    let store = Store::open(bench.folder.path()).unwrap();
    assert!(store.read(&suite.evidence.inrelease).unwrap().starts_with(b"-----BEGIN PGP SIGNED MESSAGE-----"));
    assert!(bench.server.paths()[1].contains("/by-hash/SHA256/"), "by hash, where the archive allows it");
}

#[test]
fn nothing_but_the_signed_index_is_asked_for_again() {
    let bench = Bench::new(&Scenario::default());
    let first = bench.fetch(&bench.request()).unwrap();
    bench.server.log();
    let mut second = bench.fetch(&bench.request()).unwrap();
    let log = bench.server.log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].if_none_match.is_some());
    assert_eq!(second.evidence, first.evidence);
    assert_eq!(bench.index(&second, 0), bench.index(&first, 0));

    let bench = Bench { offline: true, ..bench };
    second = bench.fetch(&bench.request()).unwrap();
    assert_eq!(second.evidence, first.evidence);
    assert_eq!(bench.index(&second, 0), bench.index(&first, 0));
    assert!(second.place.is_none() && bench.server.log().is_empty());
    let other = SuiteRequest { architectures: vec!["arm64".into()], ..bench.request() };
    let error = bench.fetch(&other).unwrap_err();
    assert!(error.to_string().contains("the package index of trixie main for arm64"), "{error}");
}

#[test]
fn offline_without_an_earlier_run_is_said() {
    let bench = Bench { offline: true, ..Bench::new(&Scenario::default()) };
    assert_eq!(
        bench.refusal(&bench.request()),
        "the store has never seen its signed index, and kiln was told to work offline"
    );
}

/// What becomes of an archive signed with a key of that flaw, in that manner.
fn signed(flaw: Flaw, making: Making) -> (String, String) {
    let signer = Signer::new(2, flaw);
    let files = Scenario::default().signed_with("/debian", |text| signer.cleartext(text, making));
    let fingerprint = signer.fingerprint();
    let bench = Bench::serving(files, signer);
    match bench.fetch(&bench.request()) {
        Ok(_) => (String::new(), fingerprint),
        Err(error) => {
            assert_eq!(error.what(), Kind::Corrupt);
            (bench.shown(&error), fingerprint)
        }
    }
}

#[test]
fn each_bad_key_is_refused_in_its_own_words() {
    for (flaw, message) in [
        (Flaw::None, ""),
        (Flaw::Subkey, ""),
        (Flaw::Rsa, ""),
        (Flaw::Expired, "signed by the key KEY, which expired on 2025-09-21 14:13:20 UTC"),
        (Flaw::Revoked, "signed by the key KEY, revoked because `stolen`"),
        (Flaw::Short, "signed by the key KEY, which is too weak: RSA of 1024 bits, 2048 are needed"),
        (Flaw::WeakBinding, "the signature by the key KEY rests on the weak hash SHA1"),
        (Flaw::NotForSigning, "signed by the key KEY, which may not sign: it is for other uses only"),
        (Flaw::UnconfirmedSubkey, "signed by the key KEY, which may not sign: it does not confirm its primary key"),
        (Flaw::RevokedSubkey, "signed by the revoked key KEY"),
    ] {
        let (refusal, fingerprint) = signed(flaw, Making::default());
        let expected = match message {
            "" => String::new(),
            message => format!("TRIXIE/InRelease\nno good signature\n{}", message.replace("KEY", &fingerprint)),
        };
        assert_eq!(refusal, expected, "{flaw:?}");
    }
}

#[test]
fn each_bad_signature_is_refused_in_its_own_words() {
    let making = Making::default();
    for (making, message) in [
        (Making { hash: HashAlgorithm::Sha512, ..making }, ""),
        (Making { hash: HashAlgorithm::Sha1, ..making }, "the signature by the key KEY rests on the weak hash SHA1"),
        (
            Making { made: NOW - 3600, life: Some(60), ..making },
            "the signature by the key KEY expired on 2026-09-21 13:14:20 UTC",
        ),
        (Making { life: Some(86_400), ..making }, ""),
        (
            Making { made: NOW + 100_000, ..making },
            "the signature by the key KEY is from the future: 2026-09-22 18:00:00 UTC",
        ),
    ] {
        let (refusal, fingerprint) = signed(Flaw::Rsa, making);
        let expected = match message {
            "" => String::new(),
            message => format!("TRIXIE/InRelease\nno good signature\n{}", message.replace("KEY", &fingerprint)),
        };
        assert_eq!(refusal, expected, "{making:?}");
    }
}

#[test]
fn weak_signatures_can_be_allowed() {
    let signer = Signer::new(3, Flaw::Short);
    let making = Making { hash: HashAlgorithm::Sha1, ..Making::default() };
    let files = Scenario::default().signed_with("/debian", |text| signer.cleartext(text, making));
    let bench = Bench::serving(files, signer);
    let mut request = bench.request();
    assert!(bench.fetch(&request).is_err());
    request.exceptions.allow_weak = true;
    bench.fetch(&request).unwrap();
}

#[test]
fn one_known_key_among_several_is_enough_and_none_is_not() {
    let (known, unknown) = (Signer::new(1, Flaw::None), Signer::new(9, Flaw::None));
    let both = |text: &str| cleartext(&[&unknown, &known], text, Making::default());
    let bench = Bench::serving(Scenario::default().signed_with("/debian", both), Signer::new(1, Flaw::None));
    assert_eq!(bench.fetch(&bench.request()).unwrap().evidence.fingerprints, [known.fingerprint()]);
    let binary = SuiteRequest { keys: Keys::Given(known.public_binary()), ..bench.request() };
    bench.fetch(&binary).unwrap();

    let bench = Bench::serving(Scenario::default().signed("/debian", &unknown), known);
    let error = bench.fetch(&bench.request()).unwrap_err();
    assert_eq!(
        bench.shown(&error),
        format!("TRIXIE/InRelease\nno good signature\nsigned by the unknown key {}", unknown.fingerprint())
    );
    assert!(error.hints()[0].contains("`key`"));
}

#[test]
fn tampering_is_noticed() {
    let signer = Signer::new(1, Flaw::None);
    let fingerprint = signer.fingerprint();
    let good = String::from_utf8(Scenario::default().signed("/debian", &signer).remove(INRELEASE).unwrap()).unwrap();
    let bench = Bench::serving(Files::new(), signer);
    let bad = format!("no good signature\nbad signature by the key {fingerprint}: the text is not what was signed");
    for (file, message) in [
        (good.replace("Label: Debian", "Label: Nebiad"), bad.as_str()),
        (good.replace("Components: main", "Components: main evil"), &bad),
        (good.clone() + "Components: evil\n", "the signed file has text after its signature, which nobody signed"),
        ("Components: evil\n".to_owned() + &good, "no good signature\nit is not signed"),
        (
            good.replace("\n\nOrigin", "\nComponents: evil\n\nOrigin"),
            "the signed file has a header before its text that is not `Hash`",
        ),
        ("Origin: Debian\n".to_owned(), "no good signature\nit is not signed"),
        (
            good.split("-----BEGIN PGP SIGNATURE").next().unwrap().to_owned(),
            "the signed file is cut off: its signature is not there",
        ),
    ] {
        bench.server.replace(Files::from([(INRELEASE.to_owned(), file.into_bytes())]));
        assert_eq!(bench.refusal(&bench.request()), format!("TRIXIE/InRelease\n{message}"));
    }
    let trailing_space = good.replace("Label: Debian\n", "Label: Debian \t\r\n");
    bench.server.replace(Files::from([(INRELEASE.to_owned(), trailing_space.into_bytes())]));
    let request = SuiteRequest { components: vec![], ..bench.request() };
    bench.fetch(&request).expect("white space at line ends is not signed");
}

#[test]
fn what_expires_is_refused_unless_excepted() {
    let scenario = Scenario { valid_until: Some(NOW - 60), ..Scenario::default() };
    let bench = Bench::new(&scenario);
    let mut request = bench.request();
    assert_eq!(
        bench.refusal(&request),
        "TRIXIE/InRelease: its signed index expired on 2026-09-21 14:12:20 UTC: the mirror no longer follows the \
         archive, or somebody holds back updates"
    );
    request.exceptions.allow_expired = true;
    bench.fetch(&request).unwrap();
    let never = Bench::new(&Scenario { valid_until: None, date: NOW - 1_000_000_000, ..Scenario::default() });
    never.fetch(&never.request()).unwrap();
    let future = Bench::new(&Scenario { date: NOW + 200_000, ..Scenario::default() });
    assert_eq!(
        future.refusal(&future.request()),
        "TRIXIE/InRelease: its date, 2026-09-23 21:46:40 UTC, is in the future"
    );
}

#[test]
fn an_older_index_than_one_seen_is_refused() {
    let bench = Bench::new(&Scenario::default());
    bench.fetch(&bench.request()).unwrap();
    let older = Scenario { date: NOW - 90_000, ..Scenario::default() };
    bench.server.replace(older.signed("/debian", &bench.signer));
    let error = bench.fetch(&bench.request()).unwrap_err();
    assert_eq!(
        bench.shown(&error),
        "TRIXIE/InRelease: its signed index is of 2026-09-20 13:13:20 UTC, older than the one of 2026-09-21 13:43:20 UTC \
         that was seen before: somebody may be replaying an old one"
    );
    assert!(error.hints()[0].contains("mirror that lags behind"));
    let newer = Scenario { date: NOW, packages: vec![Package::new("new", "2", "amd64")], ..Scenario::default() };
    bench.server.replace(newer.signed("/debian", &bench.signer));
    let suite = bench.fetch(&bench.request()).unwrap();
    assert!(bench.index(&suite, 0).contains("Package: new"));
}

#[test]
fn another_suite_component_or_architecture_is_no_substitute() {
    let signer = Signer::new(1, Flaw::None);
    let mut files = Scenario::default().signed("/debian", &signer);
    let forky = Scenario { codename: "forky".into(), suite: "testing".into(), ..Scenario::default() };
    files.insert(
        INRELEASE.to_owned(),
        forky.signed("/debian", &signer).remove("/debian/dists/forky/InRelease").unwrap(),
    );
    let bench = Bench::serving(files, signer);
    assert_eq!(
        bench.refusal(&bench.request()),
        "TRIXIE/InRelease\nits signed index is of `forky` or `testing`, not of `trixie`"
    );
    let bench = Bench::new(&Scenario::default());
    let error = bench.fetch(&SuiteRequest { components: vec!["extra".into()], ..bench.request() }).unwrap_err();
    assert_eq!(error.to_string(), "the suite `trixie` of the origin `debian` has no component `extra`");
    assert_eq!(error.hints(), ["it has: main"]);
    let error = bench.fetch(&SuiteRequest { architectures: vec!["armhf".into()], ..bench.request() }).unwrap_err();
    assert_eq!(error.to_string(), "the suite `trixie` of the origin `debian` has no architecture `armhf`");
    let error = bench.fetch(&SuiteRequest { suite: "../../x".into(), ..bench.request() }).unwrap_err();
    assert_eq!(error.to_string(), "`../../x` is no name of a suite, component or architecture");
}

#[test]
fn a_corrupt_index_is_refused_wherever_it_is() {
    let bench = Bench::new(&Scenario::default());
    let plain = "/debian/dists/trixie/main/binary-amd64/Packages.xz";
    let (files, _) = Scenario::default().unsigned("/debian");
    let by_hash = files.keys().find(|path| path.contains("amd64/by-hash")).unwrap().clone();
    bench.server.always(&by_hash, Fault::Status(404));
    bench.server.always(plain, Fault::Corrupt);
    let error = bench.fetch(&bench.request()).unwrap_err();
    assert_eq!(error.message(), "the package index of trixie main for amd64 could not be had");
    assert!(error.chain()[1].ends_with("the server answered 404 Not Found"), "{error}");
    assert!(error.chain()[2].contains("expected sha256"), "{error}");
    let bench = Bench::new(&Scenario::default());
    bench.server.always(&by_hash, Fault::Corrupt);
    bench.fetch(&bench.request()).expect("the other address has it");
}

#[test]
fn packages_for_all_architectures_may_be_apart() {
    let scenario = Scenario { all_apart: true, by_hash: false, ..Scenario::default() };
    let bench = Bench::new(&scenario);
    let suite = bench.fetch(&bench.request()).unwrap();
    let names: Vec<_> = suite.indexes.iter().map(|index| index.architecture.as_str()).collect();
    assert_eq!(names, ["amd64", "all"]);
    assert!(!bench.index(&suite, 0).contains("hello-data") && bench.index(&suite, 1).contains("hello-data"));
}

#[test]
fn a_signature_beside_the_file_will_do_and_none_will_not() {
    let signer = Signer::new(1, Flaw::None);
    let (mut files, text) = Scenario::default().unsigned("/debian");
    files.insert("/debian/dists/trixie/Release".into(), text.clone().into_bytes());
    let bench = Bench::serving(files.clone(), signer);
    assert_eq!(
        bench.refusal(&bench.request()),
        "TRIXIE/InRelease\nit is not signed: there is neither InRelease nor Release.gpg"
    );
    let signature = bench.signer.detached(&text, Making::default());
    files.insert("/debian/dists/trixie/Release.gpg".into(), signature);
    bench.server.replace(files.clone());
    bench.fetch(&bench.request()).unwrap();
    let offline = Bench { offline: true, ..bench };
    offline.fetch(&offline.request()).unwrap();
    let bench = Bench { offline: false, ..offline };
    files.insert("/debian/dists/trixie/Release".into(), text.replace("main", "evil").into_bytes());
    bench.server.replace(files);
    assert!(bench.refusal(&bench.request()).contains("bad signature by the key"));
}

#[test]
fn apts_addresses_count_for_what_their_signed_index_says() {
    let signer = Signer::new(1, Flaw::None);
    let other = Scenario { origin: "Vendor".into(), label: "Vendor".into(), ..Scenario::default() };
    let mut files = other.signed("/security-like", &signer);
    files.extend(other.signed("/vendor", &signer));
    files.extend(Scenario::default().signed("/real", &signer));
    let bench = Bench::serving(files, signer);
    let apt = tempfile::tempdir().unwrap();
    let sources = |paths: &[&str]| {
        let lines: Vec<String> =
            paths.iter().map(|path| format!("deb {} bookworm main\n", bench.server.url(path))).collect();
        std::fs::write(apt.path().join("sources.list"), lines.concat()).unwrap();
        let snapshot = Configured { addresses: vec![bench.server.url("/snapshot")], learnt: "test".into() };
        Sources::new(BTreeMap::from([("snapshot".to_owned(), snapshot)]), Some(apt.path()))
    };
    let all = sources(&["/nothing", "/vendor", "/real"]);
    let none = sources(&["/nothing", "/vendor"]);
    let bench = Bench { sources: all, ..bench };
    let suite = bench.fetch(&bench.request()).unwrap();
    assert!(suite.place.unwrap().learnt.ends_with("sources.list:3"));
    let keys = bench.request().keys;
    let places = bench.access(|access| artifact_places(access, "debian", "trixie", &keys)).unwrap();
    assert_eq!(places.len(), 1, "{places:?}");
    assert!(places[0].address.as_str().ends_with("/real"));

    let bench = Bench { sources: none, folder: tempfile::tempdir().unwrap(), ..bench };
    let error = bench.fetch(&bench.request()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("it is not the origin `debian`: its signed index says Origin `Vendor`, Label `Vendor`"),
        "{text}"
    );
    assert!(text.contains("/snapshot/archive/debian/20260921T141320Z/dists/trixie/InRelease"), "{text}");
    assert!(error.hints().iter().any(|hint| hint.contains("KILN_ORIGIN_DEBIAN")), "{error:?}");
}

#[test]
fn an_origin_of_no_address_says_how_to_set_it() {
    let bench = Bench::new(&Scenario::default());
    let error = bench.fetch(&SuiteRequest { origin: "vendor".into(), ..bench.request() }).unwrap_err();
    assert_eq!(error.chain()[1], "no address is known for the origin `vendor`");
    assert!(error.hints()[0].contains("KILN_ORIGIN_VENDOR"));
}

#[test]
fn a_snapshot_is_judged_as_of_its_time_and_asked_once() {
    let scenario = Scenario { date: NOW - 1800, valid_until: Some(NOW + 86_400), ..Scenario::default() };
    let signer = Signer::new(1, Flaw::None);
    let files = scenario.signed("/snapshot/archive/debian/20260921T141320Z", &signer);
    let bench = Bench { now: NOW + 30 * 86_400, ..Bench::serving(files, signer) };
    let request = SuiteRequest { snapshot: Some("2026-09-21T14:13:20Z".into()), ..bench.request() };
    let first = bench.fetch(&request).unwrap();
    bench.server.log();
    assert_eq!(bench.fetch(&request).unwrap().evidence, first.evidence);
    assert!(bench.server.log().is_empty(), "the past does not change");
    let vendor = SuiteRequest { origin: "vendor".into(), ..request };
    assert!(bench.fetch(&vendor).unwrap_err().to_string().contains("does not hold the origin `vendor`"));
}

#[test]
fn several_suites_come_at_once_and_artifacts_have_their_addresses() {
    let signer = Signer::new(1, Flaw::None);
    let package = Package::new("hello", "1.0-1+deb13u1", "amd64");
    let security = Scenario {
        label: "Debian-Security".into(),
        suite: "stable-security".into(),
        codename: "trixie-security".into(),
        packages: vec![package.clone()],
        ..Scenario::default()
    };
    let mut files = Scenario::default().signed("/debian", &signer);
    files.extend(security.signed("/security", &signer));
    let bench = Bench::serving(files, signer);
    let sources = told(&[
        ("debian", bench.server.url("/debian")),
        ("debian-security", bench.server.url("/security")),
        ("snapshot", "http://snapshot.invalid".into()),
    ]);
    let bench = Bench { sources, ..bench };
    let second = SuiteRequest { origin: "debian-security".into(), suite: "trixie-security".into(), ..bench.request() };
    let requests = [bench.request(), second];
    let suites = bench.access(|access| fetch_suites(access, &requests)).unwrap();
    assert!(bench.index(&suites[1], 0).contains("1.0-1+deb13u1"));
    let candidates = bench.access(|access| {
        let places = artifact_places(access, "debian-security", "trixie-security", &requests[1].keys)?;
        let size = package.deb.len() as u64;
        artifact_candidates(
            access.sources,
            &places,
            "debian-security",
            &package.filename(),
            size,
            suites[1].evidence.date,
        )
    });
    let shown: Vec<String> = candidates
        .unwrap()
        .iter()
        .map(|request| request.address.to_string().replace(&bench.server.url(""), ""))
        .collect();
    let pool = "pool/main/hello_1.0-1+deb13u1_amd64.deb";
    assert_eq!(
        shown,
        [
            format!("/security/{pool}"),
            format!("http://snapshot.invalid/archive/debian-security/20260921T214320Z/{pool}"),
            format!("http://snapshot.invalid/archive/debian-security/20260921T134320Z/{pool}"),
            format!("http://snapshot.invalid/archive/debian-security/20260922T134320Z/{pool}"),
        ]
    );
    assert!(artifact_candidates(&bench.sources, &[], "debian", "../../etc/passwd", 1, NOW).is_err());
}

#[test]
fn several_kilns_at_once_agree() {
    let bench = Bench::new(&Scenario::default());
    bench.server.delay(Duration::from_millis(20));
    let evidence: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.fetch(&bench.request()).unwrap().evidence)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(evidence.windows(2).all(|pair| pair[0] == pair[1]));
    let indexes = bench.server.paths().into_iter().filter(|path| path.contains("binary-amd64")).count();
    assert_eq!(indexes, 1, "the index is fetched once");
}
