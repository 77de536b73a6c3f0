//! Reading lockfiles from git's history. git is run as a program that is asked for objects and nothing else: no file
//! of the working tree is touched, no filter or pager runs, nothing is fetched from elsewhere.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Context as _, Error, Kind, Result};

/// The most bytes that a lockfile may have.
pub const LARGEST: u64 = 64 << 20;

/// The most bytes of a list of files, and of what git complains.
const LIST: u64 = 16 << 20;

/// A commit of the repository that a workspace is in.
#[derive(Debug)]
pub struct Revision {
    /// The folder that git is run in.
    folder: PathBuf,
    /// The commit's name, in full.
    pub commit: String,
    /// What was typed.
    typed: String,
}

impl Revision {
    /// Finds the commit that `typed` names.
    pub fn find(folder: &Path, typed: &str) -> Result<Self> {
        let usable = !typed.is_empty() && !typed.starts_with('-') && !typed.contains([':', '\0', '\n']);
        if !usable {
            return Err(Error::new(format!("`{typed}` cannot be a revision of git"))
                .hint("for example: `git:HEAD`, `git:HEAD~3`, `git:main`, `git:v1.2`"));
        }
        let revision = Self { folder: folder.to_owned(), commit: String::new(), typed: typed.to_owned() };
        let commit = revision
            .git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{typed}^{{commit}}")], 1 << 10)
            .map_err(|error| revision.unknown(error))?;
        let commit = String::from_utf8_lossy(&commit).trim().to_owned();
        if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(revision.unknown(Error::new("git names no commit for it")));
        }
        Ok(Self { commit, ..revision })
    }

    /// The error of a revision that is not there.
    fn unknown(&self, cause: Error) -> Error {
        if cause.what() == Kind::NotFound {
            return cause;
        }
        if let Err(error) = self.git(&["rev-parse", "--git-dir"], LIST) {
            return Error::new(format!("{} is in no repository of git that can be read", self.folder.display()))
                .caused_by(error)
                .hint("name two lockfiles or folders of lockfiles instead: `kiln diff OLD NEW`");
        }
        Error::new(format!("git knows no commit `{}`", self.typed)).kind(Kind::NotFound).hint(
            "a branch, a tag or a commit is named, such as `git:HEAD~1`; before the first commit there is none, and \
             a clone that is not complete lacks the earlier ones",
        )
    }

    /// The path of the workspace in the repository, with a slash at its end unless it is empty.
    pub fn prefix(&self) -> Result<String> {
        let prefix = self.git(&["rev-parse", "--show-prefix"], LIST)?;
        Ok(String::from_utf8_lossy(&prefix).trim_end_matches('\n').to_owned())
    }

    /// The text of the file at `path`; nothing if it is a folder, or not there.
    pub fn file(&self, path: &str) -> Result<Option<String>> {
        if self.kind(path)?.as_deref() != Some("blob") {
            return Ok(None);
        }
        let bytes = self.git(&["cat-file", "blob", &self.object(path)], LARGEST)?;
        String::from_utf8(bytes).map(Some).context(|| format!("`{path}` at {} is no text", self.typed))
    }

    /// The names of the files in the folder at `path`; nothing if there is no such folder.
    pub fn folder(&self, path: &str) -> Result<Option<Vec<String>>> {
        let path = path.trim_end_matches('/');
        if self.kind(path)?.as_deref() != Some("tree") {
            return Ok(None);
        }
        let list = self.git(&["ls-tree", "--full-tree", "-z", "--name-only", &self.object(path)], LIST)?;
        let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(Some(names.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect()))
    }

    /// `blob`, `tree`, or nothing.
    fn kind(&self, path: &str) -> Result<Option<String>> {
        match self.git(&["cat-file", "-t", &self.object(path)], 1 << 10) {
            Ok(kind) => Ok(Some(String::from_utf8_lossy(&kind).trim().to_owned())),
            Err(error) if error.what() == Kind::NotFound => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// An object's name; it begins with the commit's digits, so it is never taken for an option.
    fn object(&self, path: &str) -> String {
        format!("{}:{path}", self.commit)
    }

    /// What git prints, at most so many bytes.
    fn git(&self, arguments: &[&str], most: u64) -> Result<Vec<u8>> {
        let what = || format!("running `git {}` in {}", arguments.join(" "), self.folder.display());
        let mut command = Command::new("git");
        command.arg("--no-pager").arg("--no-replace-objects").args(["-c", "core.fsmonitor=false"]).args(arguments);
        command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_NO_LAZY_FETCH", "1").env("GIT_TERMINAL_PROMPT", "0");
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            Error::new("git could not be started")
                .kind(Kind::NotFound)
                .caused_by(error)
                .hint("install git, or name two lockfiles or folders of lockfiles: `kiln diff OLD NEW`")
        })?;
        let mut complaint = child.stderr.take().context(what)?;
        let complaint = std::thread::spawn(move || {
            let mut text = Vec::new();
            // What cannot be read is not shown; the exit code decides.
            let _ = complaint.by_ref().take(LIST).read_to_end(&mut text);
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        let mut bytes = Vec::new();
        let read = child.stdout.take().context(what)?.take(most + 1).read_to_end(&mut bytes);
        if bytes.len() as u64 > most {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::new(format!("git gives more than {most} bytes")).kind(Kind::Corrupt)).context(what);
        }
        read.context(what)?;
        let status = child.wait().context(what)?;
        let complaint = complaint.join().unwrap_or_default();
        if status.success() {
            return Ok(bytes);
        }
        Err(Error::new(if complaint.is_empty() { status.to_string() } else { complaint })).context(what)
    }
}
