//! Requests of any method, for protocols in which each status means something: the caller sees it as it is.

use std::collections::BTreeMap;
use std::io::SeekFrom;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Method, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::exchange::{Failure, redirect, transport};
use super::{Address, Client, Credentials, Request, body};
use crate::error::{Context, Error, Result};

/// Redirects followed one after the other.
const REDIRECTS: usize = 5;
/// The slowest upload that is waited for, in bytes a second.
const SLOWEST: u64 = 16 << 10;

/// What to send (RFC 9110, 9).
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: &'static str,
    pub address: Address,
    /// Sent to the address's own server only, never to where it redirects.
    pub credentials: Option<Credentials>,
    pub headers: Vec<(&'static str, String)>,
    pub content: Outbound,
    /// More bytes of an answer than these are refused.
    pub maximum: u64,
    /// Whether the same request may be sent again after a failure of the network or of the server.
    pub repeatable: bool,
}

/// The content of a request.
#[derive(Clone, Debug, Default)]
pub enum Outbound {
    #[default]
    Nothing,
    Bytes(Vec<u8>),
    /// A file of `length` bytes, from the byte `from` on.
    File {
        path: PathBuf,
        from: u64,
        length: u64,
    },
}

/// The answer to an [`Outgoing`], whatever its status.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    /// By their names in lower case; of several with one name, the first.
    pub headers: BTreeMap<String, String>,
    pub content: Vec<u8>,
}

impl Outgoing {
    /// A request without content that may be repeated.
    pub fn new(method: &'static str, address: Address, maximum: u64) -> Self {
        Self {
            method,
            address,
            credentials: None,
            headers: Vec::new(),
            content: Outbound::Nothing,
            maximum,
            repeatable: true,
        }
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether the status is one of success (200 to 299).
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Client {
    /// Sends `outgoing`. Redirects of `GET` and `HEAD` are followed; every other status is the caller's to
    /// understand. Fails when there is no answer, or none but a server's error after all attempts.
    pub fn send(&self, outgoing: &Outgoing) -> Result<Reply> {
        self.require_online(&outgoing.address)?;
        let engine = self.engine()?;
        engine.runtime.block_on(async {
            let mut tries = 0;
            loop {
                tries += 1;
                let mut failure = match self.send_once(&engine.http, outgoing).await {
                    Ok(reply) => return Ok(reply),
                    Err(failure) => failure,
                };
                failure.again &= outgoing.repeatable;
                self.pause_before_retry(failure, tries).await?;
            }
        })
    }

    async fn send_once(&self, http: &reqwest::Client, outgoing: &Outgoing) -> Result<Reply, Failure> {
        let request = Request {
            address: outgoing.address.clone(),
            maximum: outgoing.maximum,
            credentials: None,
            gentle: None,
            accept: None,
        };
        let _place = self.place(&request).await;
        let mut address = outgoing.address.clone();
        for _ in 0..=REDIRECTS {
            let response = self.transmit(http, outgoing, &address).await?;
            let status = response.status();
            let reading = matches!(outgoing.method, "GET" | "HEAD");
            if reading && status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                address = redirect(&address, &response)?;
                continue;
            }
            if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
                return Err(super::exchange::refusal(&address, &response));
            }
            let mut headers = BTreeMap::new();
            for (name, value) in response.headers() {
                if let Ok(value) = value.to_str() {
                    headers.entry(name.as_str().to_owned()).or_insert_with(|| value.to_owned());
                }
            }
            let content =
                if outgoing.method == "HEAD" { Vec::new() } else { body::collect(self, &request, response).await? };
            return Ok(Reply { status: status.as_u16(), headers, content });
        }
        Err(Failure::lasting(Error::new(format!("more than {REDIRECTS} redirects, the last to {address}"))))
    }

    async fn transmit(
        &self,
        http: &reqwest::Client,
        outgoing: &Outgoing,
        address: &Address,
    ) -> Result<reqwest::Response, Failure> {
        let method = Method::from_bytes(outgoing.method.as_bytes()).context(|| "naming a method")?;
        let mut builder = http.request(method, address.url().clone()).header(header::ACCEPT_ENCODING, "identity");
        builder = match outgoing.credentials.as_ref().filter(|_| address.same_server(&outgoing.address)) {
            Some(Credentials::Basic { user, password }) => builder.basic_auth(user, Some(password)),
            Some(Credentials::Bearer(token)) => builder.bearer_auth(token),
            None => builder,
        };
        for (name, value) in &outgoing.headers {
            builder = builder.header(*name, value);
        }
        let mut limit = self.settings.connect_timeout + self.settings.stall_timeout;
        builder = match &outgoing.content {
            Outbound::Nothing if matches!(outgoing.method, "GET" | "HEAD") => builder,
            Outbound::Nothing => builder.header(header::CONTENT_LENGTH, 0),
            Outbound::Bytes(bytes) => builder.body(bytes.clone()),
            Outbound::File { path, from, length } => {
                let what = || format!("reading {}", path.display());
                let mut file = tokio::fs::File::open(path).await.context(what)?;
                file.seek(SeekFrom::Start(*from)).await.context(what)?;
                let length = length.saturating_sub(*from);
                limit += Duration::from_secs(length / SLOWEST);
                builder.header(header::CONTENT_LENGTH, length).body(stream(file, length))
            }
        };
        match tokio::time::timeout(limit, builder.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(transport(error)),
            Err(_) => Err(Failure::passing(format!("no answer within {} s", limit.as_secs_f32()))),
        }
    }
}

/// The next `length` bytes of a file.
fn stream(file: tokio::fs::File, length: u64) -> reqwest::Body {
    // Larger reads than the library's own: uploads are of many megabytes.
    reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::with_capacity(file.take(length), 1 << 18))
}
