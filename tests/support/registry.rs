//! A registry of images in memory, on loopback (OCI distribution specification): enough of it for every request that
//! kiln makes, and faults as told.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use kiln::Digest;

#[derive(Default)]
struct State {
    /// By repository and digest.
    blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest: media type and content.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: BTreeMap<String, Vec<u8>>,
    /// Uploads begun so far.
    sessions: usize,
    /// `METHOD PATH`, without what is random.
    log: Vec<String>,
    /// The user and password that tokens are given for; nobody is asked without.
    login: Option<String>,
    /// Connections of uploads to be cut after so many bytes.
    cut: Vec<usize>,
    /// Blobs that are sent with one bit turned.
    corrupt: BTreeSet<String>,
}

pub struct Registry {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    port: u16,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    /// Whether all of the body came.
    whole: bool,
}

struct Reply(u16, Vec<(&'static str, String)>, Vec<u8>);

impl Registry {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, stop) = (Arc::new(Mutex::new(State::default())), Arc::new(AtomicBool::new(false)));
        let (for_thread, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let state = Arc::clone(&for_thread);
                std::thread::spawn(move || drop(serve(&stream, &state, port)));
            }
        });
        Self { state, stop, port }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Wants this user and password, `user:password`, from now on.
    pub fn require(&self, login: &str) {
        self.state.lock().unwrap().login = Some(login.to_owned());
    }

    /// Cuts the connection of the next upload after so many bytes; later calls are for later uploads.
    pub fn cut(&self, after: usize) {
        self.state.lock().unwrap().cut.push(after);
    }

    /// Sends a blob with one bit turned.
    pub fn corrupt(&self, digest: &str) {
        self.state.lock().unwrap().corrupt.insert(digest.to_owned());
    }

    /// The manifest under a tag or digest.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock().unwrap();
        state.manifests.get(&(repository.to_owned(), name.to_owned())).map(|(_, content)| content.clone())
    }

    /// Whether a repository has a blob.
    pub fn has(&self, repository: &str, digest: &str) -> bool {
        self.state.lock().unwrap().blobs.contains_key(&(repository.to_owned(), digest.to_owned()))
    }

    /// The requests since the last call.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>, port: u16) -> std::io::Result<()> {
    let Some(request) = read(stream, state)? else { return Ok(()) };
    let reply = {
        let mut state = state.lock().unwrap();
        let known = if request.path.contains("/uploads/") { "…" } else { "" };
        let path = request.path.split("/uploads/").next().unwrap_or_default();
        state.log.push(format!("{} {path}{known}", request.method));
        answer(&mut state, &request, port)
    };
    let Some(Reply(status, headers, content)) = reply else { return stream.shutdown(Shutdown::Both) };
    let mut head = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n", content.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut out = stream;
    out.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        out.write_all(&content)?;
    }
    stream.shutdown(Shutdown::Both)
}

fn read(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    if method.is_empty() {
        return Ok(None);
    }
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length: u64 = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut wanted = length;
    if method != "POST" && length > 0 && target.contains("/uploads/") {
        let mut state = state.lock().unwrap();
        if !state.cut.is_empty() {
            wanted = wanted.min(state.cut.remove(0) as u64);
        }
    }
    let mut body = Vec::new();
    reader.take(wanted).read_to_end(&mut body)?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let whole = body.len() as u64 == length;
    Ok(Some(Request { method, path: path.to_owned(), query, headers, body, whole }))
}

/// `None` hangs up.
fn answer(state: &mut State, request: &Request, port: u16) -> Option<Reply> {
    if request.path == "/token" {
        return Some(token(state, request));
    }
    if state.login.is_some() && request.headers.get("authorization").is_none_or(|proof| !proof.starts_with("Bearer t-"))
    {
        let realm = format!("Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"test\"");
        let said = br#"{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}"#;
        return Some(Reply(401, vec![("WWW-Authenticate", realm)], said.to_vec()));
    }
    if request.path == "/v2/" {
        return Some(Reply(200, Vec::new(), Vec::new()));
    }
    let path = request.path.strip_prefix("/v2/")?;
    if let Some((repository, session)) = path.split_once("/blobs/uploads/") {
        return upload(state, request, repository, session);
    }
    if let Some((repository, digest)) = path.split_once("/blobs/") {
        return Some(match state.blobs.get(&(repository.to_owned(), digest.to_owned())) {
            None => Reply(404, Vec::new(), Vec::new()),
            Some(content) => {
                let mut content = content.clone();
                if state.corrupt.contains(digest) {
                    content[0] ^= 1;
                }
                Reply(200, Vec::new(), content)
            }
        });
    }
    let (repository, name) = path.split_once("/manifests/")?;
    let key = |name: &str| (repository.to_owned(), name.to_owned());
    if request.method == "PUT" {
        let digest = Digest::of(&request.body).oci();
        let document = (request.headers["content-type"].clone(), request.body.clone());
        state.manifests.insert(key(&digest), document.clone());
        state.manifests.insert(key(name), document);
        return Some(Reply(201, vec![("Docker-Content-Digest", digest)], Vec::new()));
    }
    Some(match state.manifests.get(&key(name)) {
        None => Reply(404, Vec::new(), br#"{"errors": [{"code": "MANIFEST_UNKNOWN"}]}"#.to_vec()),
        Some((media_type, content)) => Reply(200, vec![("Content-Type", media_type.clone())], content.clone()),
    })
}

/// Tokens are given to who has the password, and say what they are for.
fn token(state: &State, request: &Request) -> Reply {
    use base64::Engine as _;
    let proof = request.headers.get("authorization").and_then(|proof| proof.strip_prefix("Basic ")).unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD.decode(proof).unwrap_or_default();
    if state.login.as_deref().map(str::as_bytes) != Some(&decoded) || !request.query.contains_key("scope") {
        return Reply(401, Vec::new(), Vec::new());
    }
    Reply(200, Vec::new(), format!("{{\"token\": \"t-{}\"}}", request.query["scope"]).into_bytes())
}

fn upload(state: &mut State, request: &Request, repository: &str, session: &str) -> Option<Reply> {
    let place = |session: &str| ("Location", format!("/v2/{repository}/blobs/uploads/{session}?state=x"));
    match request.method.as_str() {
        "POST" => {
            if let (Some(digest), Some(from)) = (request.query.get("mount"), request.query.get("from"))
                && let Some(content) = state.blobs.get(&(from.clone(), digest.clone())).cloned()
            {
                state.blobs.insert((repository.to_owned(), digest.clone()), content);
                return Some(Reply(201, Vec::new(), Vec::new()));
            }
            state.sessions += 1;
            let session = format!("s{}", state.sessions);
            state.uploads.insert(session.clone(), Vec::new());
            Some(Reply(202, vec![place(&session)], Vec::new()))
        }
        "GET" => {
            let have = state.uploads.get(session)?.len().max(1) - 1;
            Some(Reply(204, vec![place(session), ("Range", format!("0-{have}"))], Vec::new()))
        }
        method => {
            let have = state.uploads.get_mut(session)?;
            if let Some(range) = request.headers.get("content-range")
                && range.split('-').next()?.parse::<usize>().ok()? != have.len()
            {
                return Some(Reply(416, Vec::new(), Vec::new()));
            }
            have.extend(&request.body);
            if !request.whole {
                return None;
            }
            if method == "PATCH" {
                return Some(Reply(202, vec![place(session)], Vec::new()));
            }
            let content = state.uploads.remove(session)?;
            let digest = request.query.get("digest")?.clone();
            if Digest::of(&content).oci() != digest {
                return Some(Reply(400, Vec::new(), br#"{"errors": [{"code": "DIGEST_INVALID"}]}"#.to_vec()));
            }
            state.blobs.insert((repository.to_owned(), digest), content);
            Some(Reply(201, Vec::new(), Vec::new()))
        }
    }
}
