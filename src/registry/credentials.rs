//! Logins that docker's and podman's files hold, and the helpers they name.
//!
//! The order of places is the caller's; as containers-auth.json(5) has it, each is asked until one has an entry. It
//! reads no environment.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use crate::error::{Context, Error, Result};

/// The largest file of logins, in bytes.
const LARGEST: u64 = 1 << 20;
/// How long a helper may take: some ask a person.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where logins are looked for, in order.
#[derive(Clone, Debug, Default)]
pub struct Logins {
    /// The content of a file, given inline (`DOCKER_AUTH_CONFIG`).
    pub inline: Option<String>,
    /// Files that must exist, as they were named by someone (`--authfile`, `REGISTRY_AUTH_FILE`).
    pub named: Option<PathBuf>,
    /// Files that may exist.
    pub files: Vec<PathBuf>,
}

/// What proves who one is.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user's name and password.
    Basic { user: String, password: String },
    /// A token that is exchanged for others (OAuth 2 refresh token).
    Identity(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::Identity(_) => "Identity(…)",
        })
    }
}

/// The part of `config.json` and `auth.json` that logins are in.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Logins {
    /// The login for a repository (`team/name`) of a registry (`registry.example.org`), and where it was found;
    /// `None` if no place has one.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<(Login, String)>> {
        let mut places: Vec<(String, String)> = Vec::new();
        if let Some(path) = &self.named {
            let text = read(path)?.context(|| format!("the file of logins {} does not exist", path.display()))?;
            places.push((path.display().to_string(), text));
        } else {
            places.extend(self.inline.iter().map(|text| ("DOCKER_AUTH_CONFIG".to_owned(), text.clone())));
            for path in &self.files {
                if let Some(text) = read(path)? {
                    places.push((path.display().to_string(), text));
                }
            }
        }
        for (place, text) in places {
            // What is wrong with such a file may repeat a part of it.
            let file: File = serde_json::from_str(&text).map_err(|error| {
                Error::new(format!("{place} is not JSON of logins (line {})", error.line()))
                    .hint("it is written by `docker login` and `podman login`: mend it, or log in again")
            })?;
            if let Some(login) =
                file.login(registry, repository).context(|| format!("looking for a login in {place}"))?
            {
                return Ok(Some((login, place)));
            }
        }
        Ok(None)
    }
}

impl File {
    fn login(&self, registry: &str, repository: &str) -> Result<Option<Login>> {
        let keys = keys(registry, repository);
        for key in &keys {
            if let Some(helper) = self.cred_helpers.get(key)
                && let Some(login) = ask(helper, key)?
            {
                return Ok(Some(login));
            }
        }
        for key in &keys {
            // Some clients write addresses with a scheme or a slash at the end.
            let same = |name: &str| name == key || plain(name) == plain(key);
            for (_, entry) in self.auths.iter().filter(|(name, _)| same(name)) {
                if let Some(login) = entry.login(key)? {
                    return Ok(Some(login));
                }
            }
        }
        match &self.creds_store {
            Some(helper) => ask(helper, keys.last().map_or(registry, String::as_str)),
            None => Ok(None),
        }
    }
}

/// A registry's name in such a file without scheme and slashes: `https://a.b/` is `a.b`.
fn plain(name: &str) -> &str {
    let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://")).unwrap_or(name);
    name.trim_end_matches('/')
}

/// What logins may be filed under, the most specific first: `a.b/team/name`, `a.b/team`, `a.b`.
fn keys(registry: &str, repository: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = format!("{registry}/{repository}");
    while let Some((above, _)) = path.rsplit_once('/') {
        let above = above.to_owned();
        keys.push(std::mem::replace(&mut path, above));
    }
    keys.push(path);
    if registry == "docker.io" {
        keys.push("https://index.docker.io/v1/".to_owned());
    }
    keys
}

impl Entry {
    fn login(&self, key: &str) -> Result<Option<Login>> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Login::Identity(token.clone())));
        }
        if let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) {
            let decoded = BASE64.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = decoded.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
            let (user, password) = pair.ok_or_else(|| {
                Error::new(format!("the `auth` of {key} is not base64 of `user:password`")).hint("log in again")
            })?;
            return Ok(Some(Login::Basic { user: user.to_owned(), password: password.to_owned() }));
        }
        Ok(match (&self.username, &self.password) {
            (Some(user), Some(password)) => Some(Login::Basic { user: user.clone(), password: password.clone() }),
            _ => None,
        })
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    let what = || format!("reading the logins in {}", path.display());
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.context(what)?,
    };
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).context(what)?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// What the program `docker-credential-NAME` says: `get`, the registry on its standard input, JSON on its output.
fn ask(name: &str, registry: &str) -> Result<Option<Login>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{name}");
    if name.is_empty() || name.contains('/') {
        return Err(Error::new(format!("`{}` is not the name of a credential helper", name.escape_debug())));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context(|| format!("starting the credential helper `{program}`"))
        .map_err(|error| error.hint("install it, or take its name out of the file"))?;
    if let Some(mut input) = child.stdin.take() {
        // A helper that does not read has its reasons.
        let _ = input.write_all(registry.as_bytes());
    }
    let mut output = child.stdout.take().context(|| "the helper's output")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let read = output.by_ref().take(LARGEST).read_to_string(&mut text);
        read.map(|_| text)
    });
    let mut waited = Duration::ZERO;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if waited >= PATIENCE => {
                child.kill()?;
                child.wait()?;
                let seconds = PATIENCE.as_secs();
                return Err(Error::new(format!("the credential helper `{program}` gave no answer within {seconds} s")));
            }
            None => {
                let step = Duration::from_millis(5);
                std::thread::sleep(step);
                waited += step;
            }
        }
    };
    let text = reader.join().map_err(|_| Error::new("reading the helper's answer ended early"))??;
    if !status.success() {
        // "Not found" is an answer; what else helpers say there is for people, and in no fixed form.
        let missing = text.contains("not found") || text.trim().is_empty();
        return match missing {
            true => Ok(None),
            false => Err(Error::new(format!("the credential helper `{program}` failed for {registry}"))
                .hint("log in again with the client that keeps its passwords there")
                .detail(text.trim().escape_debug().to_string())),
        };
    }
    // The answer holds a password: no part of it is repeated.
    let answer: Answer = serde_json::from_str(&text)
        .map_err(|_| Error::new(format!("the credential helper `{program}` did not answer in JSON")))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::Identity(answer.secret),
        _ => Login::Basic { user: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, registry: &str, repository: &str) -> Result<Option<Login>> {
        let logins = Logins { inline: Some(text.to_owned()), ..Logins::default() };
        Ok(logins.find(registry, repository)?.map(|(login, _)| login))
    }

    fn basic(user: &str) -> Option<Login> {
        Some(Login::Basic { user: user.to_owned(), password: "p:w".to_owned() })
    }

    #[test]
    fn the_most_specific_entry_counts() {
        let auth = |user: &str| BASE64.encode(format!("{user}:p:w"));
        let text = format!(
            r#"{{"auths": {{"a.b": {{"auth": "{}"}}, "a.b/team": {{"auth": "{}"}}, "https://c.d/": {{"auth": "{}"}},
            "https://index.docker.io/v1/": {{"auth": "{}"}}, "e.f": {{}}, "g.h": {{"identitytoken": "t"}}}}}}"#,
            auth("host"),
            auth("team"),
            auth("scheme"),
            auth("docker"),
        );
        assert_eq!(find(&text, "a.b", "x").unwrap(), basic("host"));
        assert_eq!(find(&text, "a.b", "team/x/y").unwrap(), basic("team"));
        assert_eq!(find(&text, "a.b", "teams/x").unwrap(), basic("host"));
        assert_eq!(find(&text, "c.d", "x").unwrap(), basic("scheme"));
        assert_eq!(find(&text, "docker.io", "library/x").unwrap(), basic("docker"));
        assert_eq!(find(&text, "e.f", "x").unwrap(), None);
        assert_eq!(find(&text, "g.h", "x").unwrap(), Some(Login::Identity("t".into())));
        assert_eq!(find(&text, "other", "x").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for text in [r#"{"auths": {"a.b": {"auth": "c2VjcmV0"}}}"#, r#"{"auths": {"a.b": secret}}"#] {
            let error = find(text, "a.b", "x").unwrap_err();
            assert!(!error.chain().join(" ").contains("secret") && !error.to_string().contains("c2Vj"), "{error}");
        }
        assert!(find(r#"{"credHelpers": {"a.b": "no-such-helper"}}"#, "a.b", "x").is_err());
        assert!(find(r#"{"credHelpers": {"a.b": "../x"}}"#, "a.b", "x").is_err());
    }

    #[test]
    fn every_place_is_asked_until_one_has_an_entry() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::write(&one, "{}").unwrap();
        std::fs::write(&two, format!(r#"{{"auths": {{"a.b": {{"auth": "{}"}}}}}}"#, BASE64.encode("me:p:w"))).unwrap();
        let logins = Logins { files: vec![folder.path().join("none"), one, two.clone()], ..Logins::default() };
        assert_eq!(logins.find("a.b", "x").unwrap(), Some((basic("me").unwrap(), two.display().to_string())));
        let named = Logins { named: Some(folder.path().join("none")), ..Logins::default() };
        assert!(named.find("a.b", "x").is_err());
    }
}
