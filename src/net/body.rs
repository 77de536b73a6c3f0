//! Reading an answer's content: stalls, limits, lengths.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use reqwest::Response;

use super::exchange::{Failure, transport};
use super::{Client, Request};
use crate::error::{Context, Error, Kind, Result};

/// The whole content, in memory.
pub(super) async fn collect(client: &Client, request: &Request, mut response: Response) -> Result<Vec<u8>, Failure> {
    if let Some(length) = response.content_length().filter(|length| *length > request.maximum) {
        return Err(Failure::lasting(too_much(length, request.maximum)));
    }
    let mut content = Vec::new();
    while let Some(chunk) = next_chunk(client, &mut response).await? {
        if (content.len() + chunk.len()) as u64 > request.maximum {
            return Err(Failure::lasting(Error::new(format!(
                "the answer goes on after {} bytes, which is the limit",
                request.maximum
            ))));
        }
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// The next bytes of an answer; `None` at its end. The library itself notices an answer that is shorter than
/// its Content-Length.
pub(super) async fn next_chunk(
    client: &Client,
    response: &mut Response,
) -> Result<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]>>, Failure> {
    let limit = client.settings.stall_timeout;
    match tokio::time::timeout(limit, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(transport(error)),
        Err(_) => Err(Failure::passing(format!("the transfer stalled: no byte came for {} s", limit.as_secs_f32()))),
    }
}

pub(super) fn too_much(length: u64, maximum: u64) -> Error {
    Error::new(format!("the server announces {length} bytes, more than the {maximum} that are allowed"))
}

/// A local file, if it is not larger than `maximum`.
pub(super) fn read_file(path: &Path, maximum: u64) -> Result<Vec<u8>> {
    let file = open_file(path)?;
    let mut content = Vec::new();
    file.take(maximum + 1).read_to_end(&mut content).context(|| format!("reading {}", path.display()))?;
    if content.len() as u64 > maximum {
        return Err(Error::new(format!("{} has more than the {maximum} bytes that are allowed", path.display())));
    }
    Ok(content)
}

/// Opens a local file; one that is not there is [`Kind::NotFound`].
pub(super) fn open_file(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let kind = if missing { Kind::NotFound } else { Kind::Trouble };
        Error::new(format!("reading {}", path.display())).kind(kind).caused_by(error)
    })
}
