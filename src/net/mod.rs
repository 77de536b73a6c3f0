//! One HTTP client for everything: retries, resumed downloads, limits, proxies.
//!
//! Asynchronous inside, blocking outside: callers are ordinary threads. Nothing here knows what the bytes
//! mean, and nothing reads the environment: settings are handed in. (One exception is rustls's loader of the
//! system's certificates, which honours `SSL_CERT_FILE` and `SSL_CERT_DIR` itself.)

mod address;
mod body;
mod download;
mod exchange;
mod page;
mod send;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub use address::{Address, Credentials, percent_decoded};
pub use download::{Download, Event};
pub use page::{Page, PageAnswer, Part, Piece};
pub use send::{Outbound, Outgoing, Reply};

use crate::error::{Context, Error, Kind, Result};
use exchange::Conditions;

/// How the client behaves. All times are upper limits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Refuse every request that needs the network.
    pub offline: bool,
    /// The proxy for `http` addresses, as a URL.
    pub http_proxy: Option<String>,
    /// The proxy for `https` addresses, as a URL.
    pub https_proxy: Option<String>,
    /// Hosts that are asked directly: a comma-separated list, as in the variable `no_proxy`.
    pub no_proxy: Option<String>,
    /// Proxies of single hosts, which go before the others; `None` means asking that host directly.
    pub host_proxies: BTreeMap<String, Option<String>>,
    /// Downloads under way at once.
    pub concurrency: usize,
    /// Requests under way at once to one host.
    pub per_host: usize,
    /// What kiln calls itself.
    pub user_agent: String,
    /// Time to establish a connection.
    pub connect_timeout: Duration,
    /// Time without a single byte arriving, in which an answer counts as stalled.
    pub stall_timeout: Duration,
    /// Attempts at one address, without any progress in between, before it is given up.
    pub tries: u32,
    /// The pause before the second attempt; it doubles with each further one.
    pub backoff: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            offline: false,
            http_proxy: None,
            https_proxy: None,
            no_proxy: None,
            host_proxies: BTreeMap::new(),
            concurrency: 16,
            per_host: 8,
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            tries: 4,
            backoff: Duration::from_millis(500),
        }
    }
}

/// What to ask for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where.
    pub address: Address,
    /// More bytes than these are refused.
    pub maximum: u64,
    /// Sent to the address's own host only, never to where it redirects.
    pub credentials: Option<Credentials>,
    /// At most this many requests to the host at once, if fewer than the settings allow.
    pub gentle: Option<usize>,
    /// The media types wanted, as the header `Accept` has them (RFC 9110, 12.5.1).
    pub accept: Option<&'static str>,
}

impl Request {
    /// A request for `url` (`http`, `https` or `file`). User and password in it become its credentials.
    pub fn new(url: &str, maximum: u64) -> Result<Self> {
        let (address, credentials) = Address::parse(url)?;
        Ok(Self { address, maximum, credentials, gentle: None, accept: None })
    }

    /// The same request for content of these media types.
    pub fn accepting(mut self, accept: &'static str) -> Self {
        self.accept = Some(accept);
        self
    }

    /// The same request with these credentials, unless the address brought its own.
    pub fn with_credentials(mut self, credentials: Option<Credentials>) -> Self {
        self.credentials = self.credentials.or(credentials);
        self
    }
}

/// What an HTTP server said about a file besides its content: lets it answer "unchanged" next time.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Validators {
    /// The header `ETag` (RFC 9110, 8.8.3).
    pub etag: Option<String>,
    /// The header `Last-Modified` (RFC 9110, 8.8.2).
    pub last_modified: Option<String>,
}

/// The answer to a conditional request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The file is what the validators stand for.
    Unchanged,
    /// The file's content, and its validators.
    Content(Vec<u8>, Validators),
}

/// See the module's documentation. Not to be used from within asynchronous code.
pub struct Client {
    settings: Settings,
    /// Started by the first request: threads and the machine's certificates take longer than all that a
    /// command does which finds everything in the store.
    engine: Mutex<Option<Arc<Engine>>>,
    /// One place for each request that may be under way to a host.
    hosts: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// What requests are sent with.
struct Engine {
    http: reqwest::Client,
    runtime: Runtime,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("offline", &self.settings.offline).finish_non_exhaustive()
    }
}

impl Client {
    /// A client. Opens no connection and starts nothing. Fails if a proxy's address is not one.
    pub fn new(settings: &Settings) -> Result<Self> {
        let _checked = builder(settings)?;
        Ok(Self { settings: settings.clone(), engine: Mutex::default(), hosts: Mutex::default() })
    }

    fn engine(&self) -> Result<Arc<Engine>> {
        let mut engine = self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(Arc::clone(engine));
        }
        let started = Arc::new(Engine::start(&self.settings).context(|| "starting the HTTP client")?);
        *engine = Some(Arc::clone(&started));
        Ok(started)
    }

    /// Whether requests that need the network are refused.
    pub fn is_offline(&self) -> bool {
        self.settings.offline
    }

    /// The content at an address: for small things, all of it in memory.
    ///
    /// Kinds of errors: [`Kind::NotFound`] when the server says that it does not exist, [`Kind::Network`] when
    /// there was no usable answer, which offline means always.
    pub fn get(&self, request: &Request) -> Result<Vec<u8>> {
        match self.get_if_changed(request, &Validators::default())? {
            Answer::Content(content, _) => Ok(content),
            Answer::Unchanged => {
                Err(Error::new(format!("{}: the server answered 304 to an unconditional request", request.address))
                    .kind(Kind::Network))
            }
        }
    }

    /// Like [`Client::get`], but content that has not changed since `known` was had is not sent again.
    pub fn get_if_changed(&self, request: &Request, known: &Validators) -> Result<Answer> {
        if let Some(path) = request.address.file_path() {
            let content = body::read_file(&path, request.maximum)?;
            return Ok(Answer::Content(content, Validators::default()));
        }
        self.require_online(&request.address)?;
        let engine = self.engine()?;
        engine.runtime.block_on(async {
            let mut tries = 0;
            loop {
                tries += 1;
                match self.get_once(&engine.http, request, known).await {
                    Ok(answer) => return Ok(answer),
                    Err(failure) => self.pause_before_retry(failure, tries).await?,
                }
            }
        })
    }

    async fn get_once(
        &self,
        http: &reqwest::Client,
        request: &Request,
        known: &Validators,
    ) -> Result<Answer, exchange::Failure> {
        let _place = self.place(request).await;
        let conditions = Conditions { validators: known.clone(), ..Conditions::default() };
        let response = self.exchange(http, request, &conditions).await?;
        if response.status() == reqwest::StatusCode::NOT_MODIFIED {
            return Ok(Answer::Unchanged);
        }
        let validators = exchange::validators(&response);
        let content = body::collect(self, request, response).await?;
        Ok(Answer::Content(content, validators))
    }

    fn require_online(&self, address: &Address) -> Result<()> {
        if !self.settings.offline {
            return Ok(());
        }
        Err(Error::new(format!("{address} is not asked: kiln was told to work offline"))
            .kind(Kind::Network)
            .hint("run the command without `--offline` (KILN_OFFLINE)"))
    }
}

impl Engine {
    fn start(settings: &Settings) -> Result<Self> {
        // An error only says that a provider is there already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = match builder(settings)?.build() {
            Ok(http) => http,
            // Without any certificate on the machine, https fails where it is used; http goes on working.
            Err(_) => builder(settings)?.tls_certs_only([]).build()?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("kiln-net")
            .enable_all()
            .build()?;
        Ok(Self { http, runtime })
    }
}

fn builder(settings: &Settings) -> Result<reqwest::ClientBuilder> {
    let check = |url: &str| -> Result<()> {
        let (address, _) = Address::parse(url).context(|| "reading a proxy's address")?;
        if address.file_path().is_some() {
            return Err(Error::new(format!("{address} is no proxy: http or https is expected")));
        }
        Ok(())
    };
    let mut builder = reqwest::Client::builder()
        .user_agent(&settings.user_agent)
        .connect_timeout(settings.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy();
    for (host, rule) in &settings.host_proxies {
        let (host, rule) = (host.clone(), rule.clone());
        if let Some(url) = &rule {
            check(url)?;
            builder = builder.proxy(reqwest::Proxy::custom(move |target| {
                (target.host_str() == Some(&host)).then(|| rule.clone()).flatten()
            }));
        }
    }
    let direct: Vec<&str> =
        settings.host_proxies.iter().filter(|(_, rule)| rule.is_none()).map(|(host, _)| host.as_str()).collect();
    let no_proxy = [settings.no_proxy.as_deref().unwrap_or_default(), &direct.join(",")].join(",");
    let no_proxy = reqwest::NoProxy::from_string(no_proxy.trim_matches(','));
    if let Some(url) = &settings.http_proxy {
        check(url)?;
        builder = builder.proxy(reqwest::Proxy::http(url)?.no_proxy(no_proxy.clone()));
    }
    if let Some(url) = &settings.https_proxy {
        check(url)?;
        builder = builder.proxy(reqwest::Proxy::https(url)?.no_proxy(no_proxy));
    }
    Ok(builder)
}
