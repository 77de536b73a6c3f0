//! What kiln and a sandbox's worker say to each other over a socket: frames of JSON, with bulk bytes
//! beside it.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Bind, Change, Command, Executor, Extraction, ForegroundCommand, Output};
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
    Extract {
        layers: Cow<'a, [Extraction]>,
        checked: Checked,
    },
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
    use super::{Failure, Reply, receive, send};
    use crate::error::{Error, Kind};

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
    fn an_error_keeps_its_chain_hints_and_kind() {
        let error = Error::new("outer").caused_by(Error::new("inner").hint("do")).kind(Kind::Corrupt);
        let error = Error::from(Failure::from(&error));
        assert_eq!(error.chain(), ["outer", "inner"]);
        assert_eq!(error.hints(), ["do"]);
        assert_eq!(error.what(), Kind::Corrupt);
    }
}
