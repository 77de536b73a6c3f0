//! What kiln and a sandbox's worker say to each other over a socket: frames of JSON, with bulk bytes
//! beside it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;

use rayon::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Bind, Change, Command, Executor, Extraction, ForegroundCommand, Output};
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::layer::{Entry, Part};

/// The most that either part of a frame may hold, in bytes.
const LIMIT: u64 = 4 << 30;

/// What the worker needs to know before it becomes one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub executor: Executor,
    pub place: PathBuf,
    pub store: PathBuf,
    pub network: bool,
    pub binds: Vec<Bind>,
    pub jobs: usize,
    pub in_memory: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request<'a> {
    Setup(Setup),
    /// The user and group ids of the worker's user namespace have been mapped.
    Mapped,
    /// The parts are the bulk: see [`send_layers`].
    Extract {
        layers: Vec<Layer<'a>>,
        checked: Checked,
    },
    /// Lays the tree, which is empty, on a file system image.
    Lay(Digest),
    /// Waits until what was placed before it was checked has been.
    Check,
    /// Path, mode, time and length of each file; the contents are the bulk.
    Write(Vec<(String, u32, Option<u64>, u64)>),
    Read(String),
    Remove(String),
    List(String),
    Exists(String),
    /// Which of these exist.
    Existing(Vec<String>),
    Symlink {
        path: String,
        target: String,
    },
    Rename {
        from: String,
        to: String,
    },
    MakeDirectory {
        path: String,
        mode: u32,
    },
    Run(Cow<'a, Command>),
    Foreground {
        command: Cow<'a, ForegroundCommand>,
        terminal: Terminal,
    },
    /// Gives what is bound from this place of the host to a user inside.
    Give {
        source: PathBuf,
        uid: u32,
        gid: u32,
    },
    /// Empties the folder that is bound from this place of the host.
    Empty(PathBuf),
    /// Tries to start a program that is not there.
    Probe,
    /// A signal for the program in the foreground; it has no reply.
    Signal(i32),
    Mark,
    MarkPaths(Vec<String>),
    Changes,
    Pack {
        directories: Cow<'a, [Entry]>,
        entries: Cow<'a, [Entry]>,
    },
    /// `keep`: whether the tree stays.
    Finish {
        keep: bool,
    },
}

/// An [`Extraction`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Layer<'a> {
    directories: Cow<'a, [Entry]>,
    skip: Cow<'a, BTreeSet<String>>,
    /// The length of each of its parts in the bulk.
    parts: Vec<usize>,
}

/// Layers as they are sent, and the bulk to send with them: each part is a document of its own, so that they can be
/// read in parallel.
pub(super) fn send_layers(layers: &[Extraction]) -> Result<(Vec<Layer<'_>>, Vec<u8>)> {
    let mut bulk = Vec::new();
    let mut sent = Vec::new();
    for layer in layers {
        let mut parts = Vec::new();
        for part in &layer.parts {
            let before = bulk.len();
            serde_json::to_writer(&mut bulk, part)?;
            parts.push(bulk.len() - before);
        }
        sent.push(Layer { directories: Cow::Borrowed(&layer.directories), skip: Cow::Borrowed(&layer.skip), parts });
    }
    Ok((sent, bulk))
}

/// The layers that were sent.
pub(super) fn receive_layers(layers: Vec<Layer<'_>>, mut bulk: &[u8]) -> Result<Vec<Extraction>> {
    let mut received = Vec::new();
    for layer in layers {
        let mut parts = Vec::new();
        for length in layer.parts {
            let (part, rest) = bulk.split_at_checked(length).context(|| "parts are longer than what was sent")?;
            parts.push(part);
            bulk = rest;
        }
        received.push(Extraction {
            directories: layer.directories.into_owned(),
            parts: parts.into_par_iter().map(serde_json::from_slice).collect::<Result<_, _>>()?,
            skip: layer.skip.into_owned(),
        });
    }
    Ok(received)
}

/// When the streams that parts are placed from are compared with their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Checked {
    /// As they are read.
    Placing,
    /// Beside what is done next, as far as there is something else to place from if one is not right.
    Later,
}

/// What a program in the foreground has to do with kiln's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Terminal {
    /// It takes it over.
    Taken,
    /// It is in kiln's process group: both get what is typed to interrupt.
    Shared,
    /// Nothing: it has a session of its own, and gets the signals that kiln sends it.
    Apart,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The worker is in its user namespace and waits for the ids to be mapped.
    Unmapped,
    Done,
    /// Whether there is such a thing; a file's content is the bulk.
    Exists(bool),
    Names(Vec<String>),
    Output(Output),
    Code(i32),
    Changes(Vec<Change>),
    Part(Part),
    Failed(Failure),
}

/// An [`Error`] on its way to the other process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    chain: Vec<String>,
    hints: Vec<String>,
    kind: u8,
}

/// The kinds of errors, by their number in a [`Failure`].
const KINDS: [Kind; 5] = [Kind::No, Kind::Trouble, Kind::NotFound, Kind::Network, Kind::Corrupt];

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let kind = KINDS.iter().position(|kind| *kind == error.what()).unwrap_or(1) as u8;
        Self { chain: error.chain().to_vec(), hints: error.hints().to_vec(), kind }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let mut chain = failure.chain.into_iter().rev();
        let innermost = chain.next().unwrap_or_else(|| "the sandbox's worker failed".to_owned());
        let mut error = chain.fold(Self::new(innermost), |cause, outer| Self::new(outer).caused_by(cause));
        for hint in failure.hints {
            error = error.hint(hint);
        }
        error.kind(*KINDS.get(usize::from(failure.kind)).unwrap_or(&Kind::Trouble))
    }
}

/// Sends one frame.
pub(super) fn send<T: Serialize>(stream: &mut impl Write, message: &T, bulk: &[u8]) -> Result<()> {
    let json = serde_json::to_vec(message)?;
    let mut head = [0; 16];
    head[..8].copy_from_slice(&(json.len() as u64).to_le_bytes());
    head[8..].copy_from_slice(&(bulk.len() as u64).to_le_bytes());
    for bytes in [&head, json.as_slice(), bulk] {
        stream.write_all(bytes)?;
    }
    Ok(())
}

/// Receives one frame.
pub(super) fn receive<T: DeserializeOwned>(stream: &mut impl Read) -> Result<(T, Vec<u8>)> {
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    let [json, bulk] = [&head[..8], &head[8..]].map(|half| u64::from_le_bytes(half.try_into().expect("half of 16")));
    if json > LIMIT || bulk > LIMIT {
        return Err(Error::new(format!("a message of {json} and {bulk} bytes is over the limit of {LIMIT}")));
    }
    let json = bytes(stream, json)?;
    let bulk = bytes(stream, bulk)?;
    Ok((serde_json::from_slice(&json).context(|| "reading a message between kiln and its sandbox")?, bulk))
}

fn bytes(stream: &mut impl Read, count: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(count).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != count {
        return Err(Error::new("a message between kiln and its sandbox was cut short"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Failure, Layer, Reply, receive, receive_layers, send, send_layers};
    use crate::digest::Digest;
    use crate::error::{Error, Kind};
    use crate::layer::Part;
    use crate::layer::part::default_directory;
    use crate::sandbox::Extraction;

    #[test]
    fn a_frame_survives_and_a_cut_one_is_refused() {
        let mut wire = Vec::new();
        send(&mut wire, &Reply::Names(vec!["ä".to_owned()]), b"bulk").unwrap();
        let (reply, bulk): (Reply, _) = receive(&mut wire.as_slice()).unwrap();
        assert!(matches!(reply, Reply::Names(names) if names == ["ä"]));
        assert_eq!(bulk, b"bulk");
        for length in 0..wire.len() {
            assert!(receive::<Reply>(&mut &wire[..length]).is_err(), "cut at {length}");
        }
        assert!(receive::<Reply>(&mut [0xff_u8; 64].as_slice()).is_err());
    }

    #[test]
    fn layers_arrive_as_they_were_and_a_bulk_that_is_too_short_is_refused() {
        let part = |name: &str| Part {
            directories: vec![default_directory(name)],
            entries: Vec::new(),
            content: Digest::of(name.as_bytes()),
            size: 1,
            tar_size: 2,
            members: vec![(1, 2)],
            plain: None,
        };
        let layers = [
            Extraction {
                directories: vec![default_directory("a")],
                parts: vec![part("a"), part("ä")],
                skip: BTreeSet::from(["b".to_owned()]),
            },
            Extraction::default(),
            Extraction { parts: vec![part("c")], ..Extraction::default() },
        ];
        let (sent, bulk) = send_layers(&layers).unwrap();
        let wire = || serde_json::from_slice::<Vec<Layer<'_>>>(&serde_json::to_vec(&sent).unwrap()).unwrap();
        assert_eq!(receive_layers(wire(), &bulk).unwrap(), layers);
        assert!(receive_layers(wire(), &bulk[..bulk.len() - 1]).is_err());
        assert!(receive_layers(wire(), &bulk[1..]).is_err());
    }

    #[test]
    fn an_error_keeps_its_chain_hints_and_kind() {
        let error = Error::new("outer").caused_by(Error::new("inner").hint("do")).kind(Kind::Corrupt);
        let error = Error::from(Failure::from(&error));
        assert_eq!(error.chain(), ["outer", "inner"]);
        assert_eq!(error.hints(), ["do"]);
        assert_eq!(error.what(), Kind::Corrupt);
    }
}
