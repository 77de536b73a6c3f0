//! One request and the head of its answer: redirects, credentials, and which failures are worth another try.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{self, HeaderValue};
use reqwest::{Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Address, Client, Credentials, Request, Validators};
use crate::error::{Error, Kind};

/// Redirects followed one after the other.
const REDIRECTS: usize = 10;
/// A server that asks for a longer pause is given up.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a request depends on.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// Ask for content only if it is not what these stand for.
    pub validators: Validators,
    /// Ask for the content from this byte on; 0 asks for all of it.
    pub from: u64,
    /// Ask for this part of the content instead (RFC 9110, 14.2): `bytes=…`.
    pub range: Option<String>,
    /// The media types that are wanted (RFC 9110, 12.5.1).
    pub accept: Option<String>,
    /// The content may come compressed with gzip.
    pub gzip: bool,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    /// Whether another attempt may do better.
    pub again: bool,
    /// The pause that the server asked for (RFC 9110, 10.2.3).
    pub pause: Option<Duration>,
}

impl Failure {
    /// A failure that another attempt will not mend.
    pub fn lasting(error: Error) -> Self {
        Self { error, again: false, pause: None }
    }

    /// A failure of the network.
    pub fn passing(message: impl Into<String>) -> Self {
        Self { error: Error::new(message).kind(Kind::Network), again: true, pause: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::lasting(error)
    }
}

impl Client {
    /// Waits until the host may be asked once more; the place is given back when the result is dropped.
    pub(super) async fn place(&self, request: &Request) -> Option<OwnedSemaphorePermit> {
        let places = request.gentle.unwrap_or(self.settings.per_host).clamp(1, self.settings.per_host.max(1));
        let semaphore = {
            let mut hosts = self.hosts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            Arc::clone(
                hosts.entry(request.address.host().to_owned()).or_insert_with(|| Arc::new(Semaphore::new(places))),
            )
        };
        // It is never closed, so this always gives a place.
        semaphore.acquire_owned().await.ok()
    }

    /// Sends the request and follows its redirects until an answer with content (200, 206, 304) is there.
    pub(super) async fn exchange(
        &self,
        http: &reqwest::Client,
        request: &Request,
        conditions: &Conditions,
    ) -> Result<Response, Failure> {
        let mut address = request.address.clone();
        for _ in 0..=REDIRECTS {
            let credentials = request.credentials.as_ref().filter(|_| address.same_server(&request.address));
            let response = self.ask(http, &address, credentials, request.accept, conditions).await?;
            let status = response.status();
            match status {
                StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED => return Ok(response),
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => address = redirect(&address, &response)?,
                _ => return Err(refusal(&address, &response)),
            }
        }
        Err(Failure::lasting(Error::new(format!("more than {REDIRECTS} redirects, the last to {address}"))))
    }

    async fn ask(
        &self,
        http: &reqwest::Client,
        address: &Address,
        credentials: Option<&Credentials>,
        accept: Option<&'static str>,
        conditions: &Conditions,
    ) -> Result<Response, Failure> {
        let encoding = if conditions.gzip { "gzip" } else { "identity" };
        let mut builder = http.get(address.url().clone()).header(header::ACCEPT_ENCODING, encoding);
        builder = match credentials {
            Some(Credentials::Basic { user, password }) => builder.basic_auth(user, Some(password)),
            Some(Credentials::Bearer(token)) => builder.bearer_auth(token),
            None => builder,
        };
        if let Some(accept) = accept {
            builder = builder.header(header::ACCEPT, accept);
        }
        if conditions.from > 0 {
            builder = builder.header(header::RANGE, format!("bytes={}-", conditions.from));
        }
        for (name, value) in [
            (header::IF_NONE_MATCH, &conditions.validators.etag),
            (header::IF_MODIFIED_SINCE, &conditions.validators.last_modified),
            (header::RANGE, &conditions.range),
            (header::ACCEPT, &conditions.accept),
        ] {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                builder = builder.header(name, value);
            }
        }
        let limit = self.settings.connect_timeout + self.settings.stall_timeout;
        match tokio::time::timeout(limit, builder.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(transport(error)),
            Err(_) => Err(Failure::passing(format!("no answer within {} s", limit.as_secs_f32()))),
        }
    }

    /// Waits before another attempt, or gives the failure's error if there is to be none.
    pub(super) async fn pause_before_retry(&self, failure: Failure, tries: u32) -> Result<(), Error> {
        let asked = failure.pause.unwrap_or_default();
        if !failure.again || tries >= self.settings.tries || asked > LONGEST_PAUSE {
            let error = failure.error;
            return Err(if failure.again && tries > 1 {
                Error::new(format!("given up after {tries} attempts")).kind(error.what()).caused_by(error)
            } else {
                error
            });
        }
        let own = self.settings.backoff.saturating_mul(1 << (tries - 1).min(6));
        tokio::time::sleep(asked.max(own)).await;
        Ok(())
    }
}

/// What the answer says about the version of the file.
pub(super) fn validators(response: &Response) -> Validators {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Validators { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED) }
}

/// A failure below HTTP. The library's own text would repeat the URL.
pub(super) fn transport(error: reqwest::Error) -> Failure {
    let connecting = error.is_connect();
    let error = Error::from(error.without_url()).kind(Kind::Network);
    // Asking again does not change whom a certificate is from.
    if error.chain().iter().any(|text| text.contains("invalid peer certificate")) {
        let hint = "name the file with the certificates to trust in SSL_CERT_FILE, or their directory in SSL_CERT_DIR";
        return Failure { error: error.hint(hint), again: false, pause: None };
    }
    // The deepest cause says what happened; those above it name the library's parts.
    let cause = error.chain().last().cloned().unwrap_or_default();
    Failure::passing(format!("{}: {cause}", if connecting { "no connection" } else { "the connection broke" }))
}

pub(super) fn redirect(from: &Address, response: &Response) -> Result<Address, Failure> {
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Failure::lasting(Error::new("a redirect that leads nowhere: it has no usable Location")))?;
    target(from, location)
}

/// Where a redirect leads, if it may be followed.
fn target(from: &Address, location: &str) -> Result<Address, Failure> {
    let target = from.redirected(location)?;
    if from.scheme() == "https" && target.scheme() != "https" {
        return Err(Failure::lasting(Error::new(format!(
            "a redirect from https to {target}, which is not encrypted, is not followed"
        ))));
    }
    Ok(target)
}

/// An answer that brings no content.
pub(super) fn refusal(address: &Address, response: &Response) -> Failure {
    let status = response.status();
    let text = match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    };
    let error = Error::new(format!("the server answered {text}"));
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Failure::lasting(error.kind(Kind::NotFound)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Failure::lasting(error.hint(format!("check the credentials for {}", address.host())))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => retry(error, response),
        _ if status.is_server_error() => retry(error, response),
        _ => Failure::lasting(error),
    }
}

fn retry(error: Error, response: &Response) -> Failure {
    let pause = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    Failure { error: error.kind(Kind::Network), again: true, pause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_redirect_leads_out_of_encryption_or_to_files() {
        let (from, _) = Address::parse("https://a.example/x/y").unwrap();
        assert_eq!(target(&from, "../z").unwrap().to_string(), "https://a.example/z");
        assert_eq!(target(&from, "https://u:p@b.example/").unwrap().as_str(), "https://b.example/");
        let refused = |location| target(&from, location).unwrap_err().error.to_string();
        assert!(refused("http://a.example/x").contains("is not encrypted"));
        assert!(refused("file:///etc/shadow").contains("leads to a `file:` address"));
    }
}
