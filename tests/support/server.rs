//! An HTTP server on loopback that serves files from memory, and misbehaves as told.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln::Digest;

/// What the server does instead of answering properly.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Announces everything, sends so many bytes, hangs up.
    Truncate(usize),
    /// Sends everything with one bit turned.
    Corrupt,
    /// Sends so many bytes, then nothing for so long, then hangs up.
    Stall(usize, Duration),
    /// Sends the client elsewhere.
    Redirect(String),
    /// Answers with a status and nothing else.
    Status(u16),
    /// Answers 429 with this Retry-After.
    TooMany(String),
    /// Announces another length than it sends.
    Length(u64),
    /// Announces no length and sends so many bytes too many.
    Endless(usize),
    /// Sends everything whatever range was asked for.
    NoRange,
    /// Sends another range than the one asked for.
    WrongRange,
}

/// A request as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    pub if_none_match: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    once: BTreeMap<String, Vec<Fault>>,
    always: BTreeMap<String, Fault>,
    headers: BTreeMap<String, String>,
    log: Vec<Logged>,
    delay: Duration,
}

pub struct Server {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    port: u16,
}

impl Server {
    /// A server of these files, by their paths with a leading slash.
    pub fn start(files: BTreeMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (for_thread, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let state = Arc::clone(&for_thread);
                // A client that hangs up is its own affair.
                std::thread::spawn(move || drop(answer(&stream, &state)));
            }
        });
        Self { state, stop, port }
    }

    /// The URL of a path on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Serves these files instead.
    pub fn replace(&self, files: BTreeMap<String, Vec<u8>>) {
        self.state.lock().unwrap().files = files;
    }

    /// Misbehaves at the next request for a path; later calls are for later requests.
    pub fn once(&self, path: &str, fault: Fault) {
        self.state.lock().unwrap().once.entry(path.to_owned()).or_default().push(fault);
    }

    /// Misbehaves at every request for a path.
    pub fn always(&self, path: &str, fault: Fault) {
        self.state.lock().unwrap().always.insert(path.to_owned(), fault);
    }

    /// Sends these lines, each with its end, at the head of every answer with content of a path.
    pub fn headers(&self, path: &str, lines: &str) {
        self.state.lock().unwrap().headers.insert(path.to_owned(), lines.to_owned());
    }

    /// Takes its time for every answer.
    pub fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// The requests since the last call.
    pub fn log(&self) -> Vec<Logged> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// Waits for a request since the last call of [`Server::log`].
    pub fn wait_for_request(&self) {
        let started = Instant::now();
        while self.state.lock().unwrap().log.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(60), "nobody asks for anything");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Their paths.
    pub fn paths(&self) -> Vec<String> {
        self.log().into_iter().map(|logged| logged.path).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn answer(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let request = read_request(stream)?;
    let (content, fault, delay, headers) = {
        let mut state = state.lock().unwrap();
        state.log.push(request.clone());
        let once = state.once.get_mut(&request.path).filter(|faults| !faults.is_empty()).map(|faults| faults.remove(0));
        let fault = once.or_else(|| state.always.get(&request.path).cloned());
        let headers = state.headers.get(&request.path).cloned().unwrap_or_default();
        (state.files.get(&request.path).cloned(), fault, state.delay, headers)
    };
    std::thread::sleep(delay);
    let mut out = stream;
    match respond(&request, content, fault, &headers) {
        Response::Head(head) => out.write_all(head.as_bytes())?,
        Response::Content { head, content, pause } => {
            out.write_all(head.as_bytes())?;
            out.write_all(&content)?;
            out.flush()?;
            std::thread::sleep(pause);
        }
    }
    stream.shutdown(Shutdown::Both)
}

enum Response {
    Head(String),
    Content { head: String, content: Vec<u8>, pause: Duration },
}

fn respond(request: &Logged, content: Option<Vec<u8>>, fault: Option<Fault>, headers: &str) -> Response {
    let head = |status: &str, more: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n{more}\r\n");
    let empty = |status: &str, more: &str| Response::Head(head(status, &format!("Content-Length: 0\r\n{more}")));
    match &fault {
        Some(Fault::Redirect(to)) => return empty("302 Found", &format!("Location: {to}\r\n")),
        Some(Fault::Status(status)) => return empty(&format!("{status} Told So"), ""),
        Some(Fault::TooMany(after)) => return empty("429 Too Many Requests", &format!("Retry-After: {after}\r\n")),
        _ => {}
    }
    let Some(mut content) = content else { return empty("404 Not Found", "") };
    let etag = format!("\"{}\"", Digest::of(&content));
    if request.if_none_match.as_ref() == Some(&etag) {
        return Response::Head(head("304 Not Modified", headers));
    }
    if matches!(fault, Some(Fault::Corrupt)) {
        content[0] ^= 1;
    }
    let total = content.len();
    let range = request.range.as_deref().filter(|_| !matches!(fault, Some(Fault::NoRange)));
    let status = match range.and_then(|range| bytes(range, total)) {
        Some((from, _)) if from >= total => return empty("416 Range Not Satisfiable", ""),
        Some((from, end)) => {
            content = content[from..end].to_vec();
            let first = if matches!(fault, Some(Fault::WrongRange)) { from + 1 } else { from };
            format!("206 Partial Content\r\nContent-Range: bytes {first}-{}/{total}", end - 1)
        }
        None => "200 OK".to_owned(),
    };
    let mut length = format!("Content-Length: {}\r\n", content.len());
    let mut pause = Duration::ZERO;
    match fault {
        Some(Fault::Truncate(bytes)) => content.truncate(bytes),
        Some(Fault::Stall(bytes, time)) => {
            content.truncate(bytes);
            pause = time;
        }
        Some(Fault::Length(announced)) => length = format!("Content-Length: {announced}\r\n"),
        Some(Fault::Endless(more)) => {
            length = String::new();
            content.extend(vec![b'!'; more]);
        }
        _ => {}
    }
    Response::Content { head: head(&status, &format!("ETag: {etag}\r\n{headers}{length}")), content, pause }
}

/// The bytes from the first up to and without the second: `bytes=5-`, `bytes=5-9` or `bytes=-5`.
fn bytes(range: &str, total: usize) -> Option<(usize, usize)> {
    let (from, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    match (from.parse().ok(), last.parse::<usize>().ok()) {
        (Some(from), Some(last)) => Some((from, (last + 1).min(total))),
        (Some(from), None) => Some((from, total)),
        (None, Some(count)) => Some((total.saturating_sub(count), total)),
        (None, None) => None,
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Logged> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut logged = Logged { path: line.split(' ').nth(1).unwrap_or_default().to_owned(), ..Logged::default() };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { return Ok(logged) };
        let value = Some(value.to_owned());
        match name.to_ascii_lowercase().as_str() {
            "range" => logged.range = value,
            "authorization" => logged.authorization = value,
            "if-none-match" => logged.if_none_match = value,
            _ => {}
        }
    }
}
