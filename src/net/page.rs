//! Answers of which more counts than their content: where it came from in the end, of what type it is, how long it
//! stays good; and parts of files.

use std::io::Read;

use reqwest::{Response, StatusCode, header};

use super::download::content_range;
use super::exchange::{self, Conditions, Failure};
use super::{Address, Client, Request, Validators, body};
use crate::error::{Error, Kind, Result};

/// Nobody's answer counts as good for longer, in seconds.
const LONGEST_FRESH: u64 = 24 * 3600;

/// A file with what was said of it.
#[derive(Clone, Debug)]
pub struct Page {
    pub content: Vec<u8>,
    /// Where redirects led.
    pub address: Address,
    /// The header `Content-Type` (RFC 9110, 8.3).
    pub media_type: Option<String>,
    pub validators: Validators,
    /// For so many seconds it need not be asked for again (RFC 9111, 4.2.1).
    pub fresh: u64,
}

/// The answer to [`Client::page`].
#[derive(Clone, Debug)]
pub enum PageAnswer {
    /// The page is what the validators stand for, and stays so for this many seconds.
    Unchanged {
        fresh: u64,
    },
    Content(Page),
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many bytes at its end.
    Last(u64),
    /// The bytes from the first number up to and without the second.
    Between(u64, u64),
}

/// A part of a file, as it came.
#[derive(Clone, Debug)]
pub struct Piece {
    pub content: Vec<u8>,
    /// Where in the file it begins.
    pub start: u64,
    /// The whole file's size in bytes.
    pub total: u64,
}

impl Client {
    /// A page in one of the types that `accept` lists, unless it is still what `known` stands for.
    ///
    /// Kinds of errors are those of [`Client::get`].
    pub fn page(&self, request: &Request, accept: &str, known: &Validators) -> Result<PageAnswer> {
        if let Some(path) = request.address.file_path() {
            let content = body::read_file(&path, request.maximum)?;
            let (address, validators) = (request.address.clone(), Validators::default());
            return Ok(PageAnswer::Content(Page { content, address, media_type: None, validators, fresh: 0 }));
        }
        let conditions = Conditions {
            validators: known.clone(),
            accept: Some(accept.to_owned()),
            gzip: true,
            ..Conditions::default()
        };
        self.repeat(
            request,
            |response| {
                let fresh = fresh(&response);
                let unchanged = response.status() == StatusCode::NOT_MODIFIED;
                let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
                let (media_type, encoding) = (text(header::CONTENT_TYPE), text(header::CONTENT_ENCODING));
                let validators = exchange::validators(&response);
                let address = Address::parse(response.url().as_str());
                async move {
                    if unchanged {
                        return Ok(PageAnswer::Unchanged { fresh });
                    }
                    let content = body::collect(self, request, response).await?;
                    let content = match encoding.as_deref() {
                        Some("gzip" | "x-gzip") => unpacked(&content, request.maximum)?,
                        _ => content,
                    };
                    Ok(PageAnswer::Content(Page { content, address: address?.0, media_type, validators, fresh }))
                }
            },
            &conditions,
        )
    }

    /// A part of a file; `None` if the server gives whole files only.
    pub fn part(&self, request: &Request, part: Part) -> Result<Option<Piece>> {
        let range = match part {
            Part::Last(count) => format!("bytes=-{count}"),
            Part::Between(start, end) => format!("bytes={start}-{}", end.saturating_sub(1)),
        };
        let conditions = Conditions { range: Some(range), ..Conditions::default() };
        self.repeat(
            request,
            |response| {
                let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
                let range = range.and_then(content_range).filter(|_| response.status() == StatusCode::PARTIAL_CONTENT);
                async move {
                    let Some((start, Some(total))) = range else { return Ok(None) };
                    let content = body::collect(self, request, response).await?;
                    let asked = match part {
                        Part::Last(count) => start == total.saturating_sub(count),
                        Part::Between(first, _) => start == first,
                    };
                    let fits = start.checked_add(content.len() as u64).is_some_and(|end| end <= total);
                    Ok((asked && fits).then_some(Piece { content, start, total }))
                }
            },
            &conditions,
        )
    }

    /// Asks until there is an answer or it is no use any more.
    fn repeat<T, F>(&self, request: &Request, read: impl Fn(Response) -> F, conditions: &Conditions) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        self.require_online(&request.address)?;
        let engine = self.engine()?;
        engine.runtime.block_on(async {
            let mut tries = 0;
            loop {
                tries += 1;
                let once = async {
                    let _place = self.place(request).await;
                    read(self.exchange(&engine.http, request, conditions).await?).await
                };
                match once.await {
                    Ok(value) => return Ok(value),
                    Err(failure) => self.pause_before_retry(failure, tries).await?,
                }
            }
        })
    }
}

/// The seconds in `Cache-Control: max-age=…`, less those that it spent on the way (`Age`).
fn fresh(response: &Response) -> u64 {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let mut fresh = 0_u64;
    for directive in text(header::CACHE_CONTROL).unwrap_or_default().split(',').map(str::trim) {
        match directive.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("max-age") => {
                fresh = value.trim_matches('"').parse().unwrap_or(0);
            }
            _ if ["no-store", "no-cache"].iter().any(|never| directive.eq_ignore_ascii_case(never)) => return 0,
            _ => {}
        }
    }
    let age = text(header::AGE).and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    fresh.saturating_sub(age).min(LONGEST_FRESH)
}

fn unpacked(content: &[u8], maximum: u64) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(content).take(maximum + 1);
    reader.read_to_end(&mut out).map_err(|error| {
        Failure::lasting(Error::new("the answer's compression is damaged").kind(Kind::Network).caused_by(error))
    })?;
    if out.len() as u64 > maximum {
        return Err(Failure::lasting(body::too_much(out.len() as u64, maximum)));
    }
    Ok(out)
}
