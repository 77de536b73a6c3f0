use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use kiln::error::Kind;
use kiln::net::{Client, Credentials, Download, Event, Request, Settings};
use kiln::store::Store;
use kiln::{Digest, Error, Result};

use crate::support::server::{Fault, Server};

fn settings() -> Settings {
    Settings {
        tries: 3,
        backoff: Duration::from_millis(1),
        connect_timeout: Duration::from_secs(5),
        stall_timeout: Duration::from_millis(400),
        ..Settings::default()
    }
}

fn client() -> Client {
    Client::new(&settings()).unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn content() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn server() -> Server {
    Server::start(BTreeMap::from([("/file".to_owned(), content()), ("/other".to_owned(), content())]))
}

fn download(content: &[u8], urls: &[String]) -> Download {
    let request = |url: &String| Request::new(url, content.len() as u64).unwrap();
    Download {
        label: "hello 1.0-1".to_owned(),
        digest: Digest::of(content),
        size: Some(content.len() as u64),
        candidates: urls.iter().map(request).collect(),
    }
}

fn fetch(store: &Store, urls: &[String]) -> Result<()> {
    client().download_all(store, &[download(&content(), urls)], &|_| {}, &|_| {})
}

/// An error as it is printed, with the server's port taken out.
fn shown(error: &Error, server: &Server) -> String {
    error.chain().join("\n").replace(&server.url(""), "http://server")
}

#[test]
fn a_cut_off_download_is_resumed() {
    let (_folder, store) = store();
    let server = server();
    server.once("/file", Fault::Truncate(1000));
    server.once("/file", Fault::Truncate(500));
    fetch(&store, &[server.url("/file")]).unwrap();
    assert_eq!(store.read(&Digest::of(&content())).unwrap(), content());
    let ranges: Vec<_> = server.log().into_iter().map(|logged| logged.range).collect();
    assert_eq!(ranges, [None, Some("bytes=1000-".to_owned()), Some("bytes=1500-".to_owned())]);
}

#[test]
fn an_earlier_runs_bytes_are_used_and_thrown_away_if_wrong() {
    let (_folder, store) = store();
    let server = server();
    let partial = store.partial(&Digest::of(&content()));
    std::fs::write(&partial, &content()[..5000]).unwrap();
    fetch(&store, &[server.url("/file")]).unwrap();
    assert_eq!(server.log()[0].range.as_deref(), Some("bytes=5000-"));

    let (_folder, store) = self::store();
    std::fs::write(store.partial(&Digest::of(&content())), b"wrong").unwrap();
    fetch(&store, &[server.url("/file")]).unwrap();
    let ranges: Vec<_> = server.log().into_iter().map(|logged| logged.range).collect();
    assert_eq!(ranges, [Some("bytes=5-".to_owned()), None], "the second attempt begins anew");
}

#[test]
fn servers_without_ranges_or_with_wrong_ones_are_asked_from_the_beginning() {
    for fault in [Fault::NoRange, Fault::WrongRange, Fault::Status(416)] {
        let (_folder, store) = store();
        let server = server();
        server.once("/file", Fault::Truncate(1000));
        server.once("/file", fault.clone());
        fetch(&store, &[server.url("/file")]).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(store.read(&Digest::of(&content())).unwrap(), content());
    }
}

#[test]
fn a_wrong_file_is_discarded_and_the_next_address_asked() {
    let (_folder, store) = store();
    let server = server();
    server.always("/file", Fault::Corrupt);
    fetch(&store, &[server.url("/file"), server.url("/other")]).unwrap();
    assert_eq!(server.paths(), ["/file", "/other"]);
    assert_eq!(store.read(&Digest::of(&content())).unwrap(), content());
}

#[test]
fn the_error_names_every_address_and_no_password() {
    let (_folder, store) = store();
    let server = server();
    server.always("/file", Fault::Corrupt);
    let secret = server.url("/missing?token=secret").replace("http://", "http://user:secret@");
    let error = fetch(&store, &[server.url("/file"), secret, server.url("/gone")]).unwrap_err();
    let wrong: Vec<u8> = content().iter().enumerate().map(|(index, byte)| byte ^ u8::from(index == 0)).collect();
    assert_eq!(
        shown(&error, &server),
        format!(
            "hello 1.0-1 could not be had\nhttp://server/file: expected sha256 {}, found {}\n\
             http://server/missing?…: the server answered 404 Not Found\nhttp://server/gone: the server answered 404 Not Found",
            Digest::of(&content()),
            Digest::of(&wrong)
        )
    );
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn each_fault_has_its_own_words() {
    for (fault, message, kind, requests) in [
        (Fault::Status(404), "the server answered 404 Not Found", Kind::NotFound, 1),
        (Fault::Status(410), "the server answered 410 Gone", Kind::NotFound, 1),
        (Fault::Status(403), "the server answered 403 Forbidden", Kind::Trouble, 1),
        (
            Fault::Status(503),
            "given up after 3 attempts: the server answered 503 Service Unavailable",
            Kind::Network,
            3,
        ),
        (Fault::TooMany("3600".into()), "the server answered 429 Too Many Requests", Kind::Network, 1),
        (
            Fault::Stall(0, Duration::from_secs(3)),
            "given up after 3 attempts: the transfer stalled: no byte came for 0.4 s",
            Kind::Network,
            3,
        ),
        (Fault::Length(900_000), "the server's file has 900000 bytes, 800000 were expected", Kind::Trouble, 1),
        (Fault::Endless(1), "the file goes on after 800000 bytes, where it should end", Kind::Trouble, 1),
        (Fault::Redirect("/file".into()), "more than 10 redirects, the last to http://server/file", Kind::Trouble, 11),
        (
            Fault::Redirect("ftp://x/".into()),
            "a redirect from http://server/file leads to a `ftp:` address",
            Kind::Trouble,
            1,
        ),
    ] {
        let (_folder, store) = store();
        let server = server();
        server.always("/file", fault.clone());
        let error = fetch(&store, &[server.url("/file")]).unwrap_err();
        assert_eq!(shown(&error, &server), format!("hello 1.0-1 could not be had\nhttp://server/file: {message}"));
        assert_eq!((error.what(), server.log().len()), (kind, requests), "{fault:?}");
        assert!(!store.contains(&Digest::of(&content())));
    }
}

#[test]
fn passing_faults_pass() {
    for fault in [
        Fault::Status(500),
        Fault::Status(408),
        Fault::TooMany("1".into()),
        Fault::Stall(1000, Duration::from_secs(3)),
        Fault::Redirect("/other".into()),
    ] {
        let (_folder, store) = store();
        let server = server();
        server.once("/file", fault.clone());
        fetch(&store, &[server.url("/file")]).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(server.log().len(), 2, "{fault:?}");
    }
}

#[test]
fn credentials_go_to_their_own_host_only() {
    let (server, other) = (server(), server());
    server.always("/file", Fault::Redirect(other.url("/file")));
    let request = Request::new(&server.url("/file").replace("http://", "http://user:secret@"), 1 << 20).unwrap();
    assert_eq!(client().get(&request).unwrap(), content());
    assert_eq!(server.log()[0].authorization.as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(other.log()[0].authorization, None);
    let bearer = Request::new(&server.url("/other"), 1 << 20).unwrap();
    client().get(&bearer.with_credentials(Some(Credentials::Bearer("token".into())))).unwrap();
    assert_eq!(server.log()[0].authorization.as_deref(), Some("Bearer token"));
}

#[test]
fn small_things_have_limits() {
    let server = server();
    let request = |maximum| Request::new(&server.url("/file"), maximum).unwrap();
    let error = client().get(&request(1000)).unwrap_err();
    assert_eq!(error.to_string(), "the server announces 800000 bytes, more than the 1000 that are allowed");
    server.once("/file", Fault::Endless(0));
    let error = client().get(&request(1000)).unwrap_err();
    assert_eq!(error.to_string(), "the answer goes on after 1000 bytes, which is the limit");
    let (_folder, store) = store();
    let (digest, size) = client().download_unknown(&store, &request(1 << 20)).unwrap();
    assert_eq!((digest, size), (Digest::of(&content()), 800_000));
}

#[test]
fn offline_is_said_and_nothing_is_asked() {
    let (_folder, store) = store();
    let server = server();
    let client = Client::new(&Settings { offline: true, ..settings() }).unwrap();
    let wanted = download(&content(), &[server.url("/file")]);
    let error = client.download_all(&store, std::slice::from_ref(&wanted), &|_| {}, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("is not asked: kiln was told to work offline"), "{error}");
    assert_eq!(error.what(), Kind::Network);
    store.put(&content()).unwrap();
    client.download_all(&store, &[wanted], &|_| {}, &|_| {}).unwrap();
    assert!(server.log().is_empty());
}

#[test]
fn nobody_answering_is_a_matter_of_the_network() {
    let (_folder, store) = store();
    let url = {
        // Bound and let go of: nobody listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://127.0.0.1:{}/file", listener.local_addr().unwrap().port())
    };
    let error = fetch(&store, &[url]).unwrap_err();
    assert_eq!(error.what(), Kind::Network);
    assert!(error.to_string().contains("given up after 3 attempts"), "{error}");
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
}

#[test]
fn files_of_the_machine_are_addresses_too() {
    let (folder, store) = store();
    let path = folder.path().join("a file");
    std::fs::write(&path, content()).unwrap();
    let url = format!("file://{}", path.display());
    fetch(&store, std::slice::from_ref(&url)).unwrap();
    assert_eq!(client().get(&Request::new(&url, 1 << 20).unwrap()).unwrap(), content());
    assert!(client().get(&Request::new(&url, 10).unwrap()).is_err());
    let missing = Request::new(&format!("{url}.no"), 10).unwrap();
    assert_eq!(client().get(&missing).unwrap_err().what(), Kind::NotFound);
}

#[test]
fn several_kilns_fetch_a_file_once() {
    let (folder, _store) = store();
    let server = server();
    server.delay(Duration::from_millis(100));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| fetch(&Store::open(folder.path()).unwrap(), &[server.url("/file")]).unwrap());
        }
    });
    assert_eq!(server.log().len(), 1);
    assert_eq!(Store::open(folder.path()).unwrap().read(&Digest::of(&content())).unwrap(), content());
}

#[test]
fn many_files_arrive_and_are_reported_as_they_do() {
    let (_folder, store) = store();
    let contents: Vec<Vec<u8>> = (0..40_u8).map(|number| vec![number; 3000]).collect();
    let files = contents.iter().enumerate().map(|(number, content)| (format!("/{number}"), content.clone()));
    let server = Server::start(files.collect());
    store.put(&contents[7]).unwrap();
    server.once("/3", Fault::Truncate(100));
    server.always("/5", Fault::Status(404));
    server.always("/9", Fault::Status(404));
    let downloads: Vec<Download> = contents
        .iter()
        .enumerate()
        .map(|(number, content)| Download {
            label: format!("file {number}"),
            ..download(content, &[server.url(&format!("/{number}"))])
        })
        .collect();
    let (done, bytes) = (Mutex::new(Vec::new()), Mutex::new(0));
    let on_event = |event: Event| {
        if let Event::Progress { bytes: more, .. } = event {
            *bytes.lock().unwrap() += more;
        }
    };
    let error =
        client().download_all(&store, &downloads, &on_event, &|index| done.lock().unwrap().push(index)).unwrap_err();
    assert_eq!(
        shown(&error, &server),
        "2 artifacts could not be had\nfile 5 could not be had\nhttp://server/5: the server answered 404 Not Found\n\
         file 9 could not be had\nhttp://server/9: the server answered 404 Not Found"
    );
    assert_eq!(error.what(), Kind::NotFound);
    let mut done = done.into_inner().unwrap();
    done.sort_unstable();
    assert_eq!(done, (0..40).filter(|number| ![5, 9].contains(number)).collect::<Vec<usize>>());
    assert_eq!(bytes.into_inner().unwrap(), 37 * 3000, "resumed bytes count once");
}

#[test]
fn proxies_are_used_and_passed_by() {
    let proxy = Server::start(BTreeMap::new());
    proxy.always("http://archive.invalid/x", Fault::Status(404));
    let with = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings { http_proxy: Some(proxy.url("/")), tries: 1, ..settings() };
        change(&mut settings);
        Client::new(&settings).unwrap()
    };
    let request = Request::new("http://archive.invalid/x", 10).unwrap();
    assert_eq!(with(&|_| {}).get(&request).unwrap_err().what(), Kind::NotFound);
    assert_eq!(proxy.paths(), ["http://archive.invalid/x"]);
    let direct = server();
    let file = Request::new(&direct.url("/file"), 1 << 20).unwrap();
    with(&|settings| settings.no_proxy = Some("127.0.0.1".into())).get(&file).unwrap();
    with(&|settings| drop(settings.host_proxies.insert("127.0.0.1".into(), None))).get(&file).unwrap();
    assert!(proxy.log().is_empty());
    let only = |settings: &mut Settings| {
        settings.http_proxy = None;
        settings.host_proxies.insert("archive.invalid".into(), Some(proxy.url("/")));
    };
    assert_eq!(with(&only).get(&request).unwrap_err().what(), Kind::NotFound);
    assert_eq!(proxy.log().len(), 1);
    let wrong = Settings { http_proxy: Some("nonsense".into()), ..settings() };
    assert!(Client::new(&wrong).is_err());
}
