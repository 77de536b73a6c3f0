//! A suite's `Release` file, read from text whose signature has been verified already.
//!
//! What is read is what apt reads of it: <https://wiki.debian.org/DebianRepository/Format>. The lists of MD5 and
//! SHA-1 hashes are ignored.

use std::collections::{BTreeMap, BTreeSet};

use super::date;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};

/// More files than these are not listed by any archive.
const MOST_FILES: usize = 500_000;
/// A file larger than this is no index.
const LARGEST_FILE: u64 = 8 << 30;

/// What a suite says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    pub origin: Option<String>,
    pub label: Option<String>,
    /// `stable`, `trixie-security`: a name that may move on to another release.
    pub suite: Option<String>,
    /// `trixie`: a name that does not.
    pub codename: Option<String>,
    pub version: Option<String>,
    /// When it was made, in seconds since 1970.
    pub date: u64,
    /// Until when it may be believed, in seconds since 1970.
    pub valid_until: Option<u64>,
    pub architectures: Vec<String>,
    /// Without the path that old security archives put before each.
    pub components: Vec<String>,
    /// Its packages are not installed unless asked for (apt's priority 1).
    pub not_automatic: bool,
    /// Those installed are upgraded all the same (apt's priority 100).
    pub but_automatic_upgrades: bool,
    /// Indexes can be had under names made of their hashes, which an update of the archive leaves in place.
    pub acquire_by_hash: bool,
    /// `Architecture: all` packages are in each architecture's own index.
    pub all_is_in_each_architecture: bool,
    /// The indexes, by their paths below the Release file.
    pub files: BTreeMap<String, File>,
}

/// One index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

impl Release {
    /// Reads the text of a Release file.
    pub fn parse(text: &str) -> Result<Self> {
        let fields = fields(text)?;
        let one = |name: &str| fields.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let words = |name: &str| -> Vec<String> {
            fields
                .get(name)
                .map(|value| value.split_ascii_whitespace().map(str::to_owned).collect())
                .unwrap_or_default()
        };
        let yes = |name: &str| one(name).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
        let time = |name: &str| one(name).map(|value| date::parse_release(&value)).transpose();
        Ok(Self {
            origin: one("origin"),
            label: one("label"),
            suite: one("suite"),
            codename: one("codename"),
            version: one("version"),
            date: time("date")?.context(|| "it has no Date")?,
            valid_until: time("valid-until")?,
            architectures: words("architectures"),
            components: words("components").into_iter().map(|name| plain_component(&name)).collect(),
            not_automatic: yes("notautomatic"),
            but_automatic_upgrades: yes("butautomaticupgrades"),
            acquire_by_hash: yes("acquire-by-hash"),
            all_is_in_each_architecture: words("no-support-for-architecture-all").iter().any(|word| word == "Packages"),
            files: files(fields.get("sha256").map_or("", String::as_str))?,
        })
    }

    /// Whether this is the suite that was asked for, by either of its names.
    pub fn is_called(&self, name: &str) -> bool {
        [&self.suite, &self.codename].into_iter().flatten().any(|own| own == name)
    }

    /// Its names, for messages.
    pub fn names(&self) -> String {
        let names: BTreeSet<&String> = [&self.codename, &self.suite].into_iter().flatten().collect();
        let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
        if names.is_empty() { "no suite that has a name".to_owned() } else { names.join(" or ") }
    }
}

/// `updates/main` of old security archives is `main`, whose files are listed without the path.
fn plain_component(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

/// The fields of the one stanza, their names in lower case, continued lines joined by LF (Debian Policy, 5.1).
fn fields(text: &str) -> Result<BTreeMap<String, String>> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for (number, line) in text.trim_end_matches('\n').split('\n').enumerate() {
        let wrong = |what: &str| Error::new(format!("line {}: {what}", number + 1)).kind(Kind::Corrupt);
        if line.starts_with([' ', '\t']) {
            let value = fields.get_mut(&last).ok_or_else(|| wrong("a continued line continues nothing"))?;
            value.push('\n');
            value.push_str(line);
        } else if line.is_empty() {
            return Err(wrong("an empty line within the Release file"));
        } else {
            let (name, value) = line.split_once(':').ok_or_else(|| wrong("it is no `Name: value`"))?;
            last = name.to_ascii_lowercase();
            if fields.insert(last.clone(), value.to_owned()).is_some() {
                return Err(wrong(&format!("the field `{name}` is there twice")));
            }
        }
    }
    Ok(fields)
}

fn files(list: &str) -> Result<BTreeMap<String, File>> {
    let mut files = BTreeMap::new();
    for line in list.split('\n').filter(|line| !line.trim().is_empty()) {
        let parts: Vec<&str> = line.split_ascii_whitespace().collect();
        let wrong = || Error::new(format!("`{}` is no hash, size and path", line.trim())).kind(Kind::Corrupt);
        let [digest, size, path] = parts[..] else { return Err(wrong()) };
        let digest: Digest = digest.to_ascii_lowercase().parse().map_err(|_| wrong())?;
        let size: u64 = size.parse().ok().filter(|size| *size <= LARGEST_FILE).ok_or_else(wrong)?;
        if !is_plain_path(path) {
            return Err(Error::new(format!("the path `{path}` leads out of the archive")).kind(Kind::Corrupt));
        }
        if files.insert(path.to_owned(), File { digest, size }).is_some_and(|before| before != File { digest, size }) {
            return Err(Error::new(format!("`{path}` is listed twice, differently")).kind(Kind::Corrupt));
        }
        if files.len() > MOST_FILES {
            return Err(Error::new(format!("more than {MOST_FILES} files are listed")).kind(Kind::Corrupt));
        }
    }
    Ok(files)
}

/// Whether a path is relative, stays where it is, and means the same in a URL.
pub fn is_plain_path(path: &str) -> bool {
    let plain = |segment: &str| !matches!(segment, "" | "." | "..");
    let odd = |byte: u8| byte <= b' ' || byte == 0x7f || matches!(byte, b'\\' | b'?' | b'#');
    path.len() <= 4096 && path.split('/').all(plain) && !path.bytes().any(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text(more: &str) -> String {
        format!(
            "Origin: Debian\nSuite: stable-security\nCodename: trixie-security\nDate: Sat, 12 Sep 2026 07:55:41 UTC\n\
             Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\nAcquire-By-Hash: yes\nArchitectures: all amd64\n\
             Components: updates/main contrib\nNo-Support-for-Architecture-all: Packages\nMD5Sum:\n nonsense\n{more}"
        )
    }

    #[test]
    fn a_release_is_read() {
        let release =
            Release::parse(&text(&format!("SHA256:\n {HASH}        0 main/binary-amd64/Packages\n"))).unwrap();
        assert!(release.is_called("trixie-security") && release.is_called("stable-security"));
        assert!(!release.is_called("trixie"));
        assert_eq!(release.components, ["main", "contrib"]);
        assert_eq!(release.valid_until, Some(release.date + 7 * 86_400));
        assert!(release.acquire_by_hash && release.all_is_in_each_architecture && !release.not_automatic);
        assert_eq!(release.files["main/binary-amd64/Packages"].digest, Digest::of(b""));
        assert_eq!(release.names(), "`stable-security` or `trixie-security`");
    }

    #[test]
    fn what_is_hostile_or_broken_is_refused() {
        for (more, message) in [
            (format!("SHA256:\n {HASH} 1 ../../etc/passwd\n"), "leads out of the archive"),
            (format!("SHA256:\n {HASH} 1 /etc/passwd\n"), "leads out of the archive"),
            (format!("SHA256:\n {HASH} 1 main/a?b\n"), "leads out of the archive"),
            (format!("SHA256:\n {HASH} -1 main/a\n"), "is no hash, size and path"),
            (format!("SHA256:\n {HASH} 99999999999999 main/a\n"), "is no hash, size and path"),
            ("SHA256:\n abc 1 main/a\n".to_owned(), "is no hash, size and path"),
            (format!("SHA256:\n {HASH} 1 a\n {HASH} 2 a\n"), "listed twice"),
            ("Suite: other\n".to_owned(), "`Suite` is there twice"),
            ("\nSuite: hidden\n".to_owned(), "empty line"),
            ("nonsense\n".to_owned(), "no `Name: value`"),
        ] {
            let error = Release::parse(&text(&more)).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!(Release::parse(" x\n").unwrap_err().to_string().contains("continues nothing"));
        assert!(Release::parse("Suite: a\n").unwrap_err().to_string().contains("no Date"));
    }
}
