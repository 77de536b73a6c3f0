//! The one error type: what was being done, what went wrong beneath it, and what to do about it.
//!
//! An error is a chain of sentences, outermost first, with hints. It is built where something goes
//! wrong, wrapped with [`Context::context`] on the way out, and printed by one renderer in `cli/`.

use std::fmt;

/// What kind of failure this is, where a caller or the exit code depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A well-defined "no": stale, drift, not reproducible, unsatisfiable. Exit code 1.
    No,
    /// Could not answer: usage, network, corrupt files, a full disk. Exit code 2.
    Trouble,
    /// Trouble of which the caller may want to know that the thing asked for does not exist.
    NotFound,
    /// Trouble: no answer from the network, so a later attempt or another place may do better.
    Network,
    /// Trouble: bytes that are not what their hash or signature says.
    Corrupt,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    /// Outermost first; never empty.
    chain: Vec<String>,
    /// Lines that show rather than say: the offending text, a script's output.
    detail: Option<String>,
    hints: Vec<String>,
}

/// What functions that can fail return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Trouble, in one sentence without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: Kind::Trouble, chain: vec![message.into()], detail: None, hints: Vec::new() }
    }

    /// A well-defined "no" ([`Kind::No`]).
    pub fn no(message: impl Into<String>) -> Self {
        Self::new(message).kind(Kind::No)
    }

    /// The same error with another kind.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds what to do about it. Hints are printed once each, after the chain.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// Adds lines that are printed as they are after the chain.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Puts `cause` (and what caused it) beneath this error; its hints are kept, its kind is not.
    pub fn caused_by(mut self, cause: impl Into<Error>) -> Self {
        let cause = cause.into();
        self.chain.extend(cause.chain);
        self.detail = self.detail.or(cause.detail);
        for hint in cause.hints {
            self = self.hint(hint);
        }
        self
    }

    /// What kind of failure this is.
    pub fn what(&self) -> Kind {
        self.kind
    }

    /// The outermost sentence.
    pub fn message(&self) -> &str {
        &self.chain[0]
    }

    /// The sentences, outermost first.
    pub fn chain(&self) -> &[String] {
        &self.chain
    }

    /// Lines to print as they are.
    pub fn details(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// What to do about it.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The exit code a command ends with on this error.
    pub fn exit_code(&self) -> u8 {
        if self.kind == Kind::No { 1 } else { 2 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.chain.join(": "))
    }
}

/// Any other library's error becomes trouble, its sources the chain beneath.
///
/// `Error` itself does not implement [`std::error::Error`], which is what makes this possible.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut chain: Vec<String> = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            // Many libraries repeat their source's text in their own.
            if !chain.iter().any(|above| above.contains(&text)) {
                chain.push(text);
            }
            source = cause.source();
        }
        Self { kind: Kind::Trouble, chain, detail: None, hints: Vec::new() }
    }
}

/// Says what was being done when something failed.
pub trait Context<T> {
    /// Wraps an error in what was being done, one sentence.
    fn context<S: Into<String>>(self, message: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, message: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| {
            let mut error: Error = error.into();
            error.chain.insert(0, message().into());
            error
        })
    }
}

impl<T> Context<T> for Option<T> {
    fn context<S: Into<String>>(self, message: impl FnOnce() -> S) -> Result<T> {
        self.ok_or_else(|| Error::new(message()))
    }
}
