//! What the machine's apt is set up with: sources in both formats, credentials, proxies.
//!
//! Text in, values out; only [`Apt::read`] touches files, below a directory that it is given. Places are read,
//! never suites or components: those a definition says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{Context, Kind, Result};
use crate::net::{Address, Client, Credentials, Request};

/// Limits on the machine's own files.
const LARGEST_FILE: u64 = 4 << 20;
const MOST_MIRRORS: usize = 200;

/// What apt on this machine would do.
#[derive(Clone, Debug, Default)]
pub struct Apt {
    /// The archives' addresses in the order of the files, each once.
    pub uris: Vec<Uri>,
    /// `auth.conf`: who to be where.
    pub logins: Vec<Login>,
    /// `Acquire::http::Proxy`, `Acquire::https::Proxy`.
    pub proxies: Proxies,
    /// What was found and cannot be used, in words.
    pub notes: Vec<String>,
}

/// An archive's address as apt writes it, which may be a list of mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    pub text: String,
    /// The file and line it is from.
    pub learnt: String,
}

/// Proxies out of apt's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    pub http: Option<String>,
    pub https: Option<String>,
    /// Of single hosts; `None` means asking the host directly.
    pub hosts: BTreeMap<String, Option<String>>,
}

/// A line of `auth.conf` (apt_auth.conf(5)).
#[derive(Clone, Debug)]
pub struct Login {
    /// Without one, only encrypted connections are meant.
    scheme: Option<String>,
    host: String,
    port: Option<u16>,
    path: String,
    credentials: Credentials,
}

impl Apt {
    /// Reads the configuration below `root` (`/etc/apt`). What does not exist is empty; what cannot be read is
    /// noted.
    pub fn read(root: &Path) -> Self {
        let mut apt = Self::default();
        for path in
            std::iter::once(root.join("sources.list")).chain(folder(&root.join("sources.list.d"), &["list", "sources"]))
        {
            let Some(text) = apt.file(&path) else { continue };
            let uris = match path.extension().is_some_and(|extension| extension == "sources") {
                true => deb822(&text),
                false => one_line(&text),
            };
            for (line, text) in uris {
                if !apt.uris.iter().any(|uri| uri.text == text) {
                    apt.uris.push(Uri { text, learnt: format!("apt, {}:{line}", path.display()) });
                }
            }
        }
        for path in std::iter::once(root.join("auth.conf")).chain(folder(&root.join("auth.conf.d"), &["conf", ""])) {
            if let Some(text) = apt.file(&path) {
                apt.logins.extend(logins(&text));
            }
        }
        for path in folder(&root.join("apt.conf.d"), &["conf", ""]).into_iter().chain([root.join("apt.conf")]) {
            if let Some(text) = apt.file(&path) {
                apt.proxies.take(&configuration(&text));
            }
        }
        apt
    }

    fn file(&mut self, path: &Path) -> Option<String> {
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Ok(metadata) if metadata.len() > LARGEST_FILE => {
                self.notes.push(format!("{} is too large and was not read", path.display()));
                return None;
            }
            _ => {}
        }
        match fs::read(path) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                self.notes.push(format!("{} could not be read: {error}", path.display()));
                None
            }
        }
    }

    /// Who to be at an address, by `auth.conf`.
    pub fn credentials(&self, address: &Address) -> Option<Credentials> {
        self.logins.iter().find(|login| login.matches(address)).map(|login| login.credentials.clone())
    }
}

impl Login {
    fn matches(&self, address: &Address) -> bool {
        let scheme = self.scheme.as_deref().unwrap_or("https");
        scheme == address.scheme()
            && self.host.eq_ignore_ascii_case(address.host())
            && self.port.is_none_or(|port| Some(port) == address.port())
            && (self.path.is_empty()
                || address
                    .path()
                    .strip_prefix(&self.path)
                    .is_some_and(|rest| self.path.ends_with('/') || rest.is_empty() || rest.starts_with('/')))
    }
}

impl Uri {
    /// The plain addresses that this one stands for: itself, or what its list of mirrors says.
    pub fn resolve(&self, client: &Client) -> Result<Vec<String>> {
        let Some(rest) = self.text.strip_prefix("mirror") else { return Ok(vec![self.text.clone()]) };
        let list = match rest.strip_prefix('+') {
            Some(list) => list.to_owned(),
            None => format!("http{rest}"),
        };
        // apt writes local lists as `file:/path`, without a host.
        let list = match list.strip_prefix("file:").filter(|path| !path.starts_with("//")) {
            Some(path) => format!("file://{path}"),
            None => list,
        };
        let request = Request::new(&list, 1 << 20)?;
        let text = client.get(&request).context(|| format!("reading the list of mirrors {}", request.address))?;
        Ok(mirrors(&String::from_utf8_lossy(&text)))
    }
}

impl Proxies {
    fn take(&mut self, settings: &BTreeMap<String, String>) {
        for (name, value) in settings {
            let Some(rest) = name.strip_prefix("acquire::") else { continue };
            let Some((scheme, rest)) = rest.split_once("::") else { continue };
            let Some(host) = rest.strip_prefix("proxy") else { continue };
            let value = Some(value.clone()).filter(|value| !value.is_empty() && value != "DIRECT");
            match (scheme, host.strip_prefix("::")) {
                ("http" | "https", Some(host)) => drop(self.hosts.insert(host.to_owned(), value)),
                ("http", None) if host.is_empty() => self.http = value,
                ("https", None) if host.is_empty() => self.https = value,
                _ => {}
            }
        }
    }

    /// Fills in what `settings` leave open: the environment, read elsewhere, goes before apt's files.
    pub fn apply_to(&self, settings: &mut crate::net::Settings) {
        settings.http_proxy = settings.http_proxy.take().or_else(|| self.http.clone());
        settings.https_proxy = settings.https_proxy.take().or_else(|| self.https.clone());
        for (host, proxy) in &self.hosts {
            settings.host_proxies.entry(host.clone()).or_insert_with(|| proxy.clone());
        }
    }
}

/// The files of a `.d` directory that apt reads, in its order (apt.conf(5): names of letters, digits, `_`, `-`
/// and `.` only, with a known extension; "" stands for none).
fn folder(path: &Path, extensions: &[&str]) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let usable = |name: &str| {
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        extensions.contains(&extension)
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| usable(name))
        .collect();
    names.sort();
    names.into_iter().map(|name| path.join(name)).collect()
}

/// The addresses in a `.list` file with their lines: `deb [options] uri suite components` (sources.list(5)).
pub fn one_line(text: &str) -> Vec<(usize, String)> {
    let mut uris = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '['])) else { continue };
        let rest = rest.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        if let Some(uri) = rest.split_ascii_whitespace().next() {
            uris.push((number + 1, uri.to_owned()));
        }
    }
    uris
}

/// The addresses in a `.sources` file with their lines (sources.list(5), deb822 format).
pub fn deb822(text: &str) -> Vec<(usize, String)> {
    let mut uris = Vec::new();
    let mut stanza: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    let mut last = String::new();
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim_end()));
    for (number, line) in lines.chain([(0, "")]) {
        if line.starts_with('#') {
            continue;
        }
        let (words, number) = if line.is_empty() {
            uris.extend(enabled(std::mem::take(&mut stanza)));
            last.clear();
            continue;
        } else if line.starts_with([' ', '\t']) {
            (line, number)
        } else {
            let Some((name, value)) = line.split_once(':') else { continue };
            last = name.to_ascii_lowercase();
            (value, number)
        };
        let words = words.split_ascii_whitespace().map(|word| (number, word.to_owned()));
        stanza.entry(last.clone()).or_default().extend(words);
    }
    uris
}

fn enabled(mut stanza: BTreeMap<String, Vec<(usize, String)>>) -> Vec<(usize, String)> {
    let off =
        |word: &str| matches!(word.to_ascii_lowercase().as_str(), "no" | "false" | "0" | "off" | "without" | "disable");
    let disabled = stanza.get("enabled").is_some_and(|words| words.iter().any(|(_, word)| off(word)));
    let binary = stanza.get("types").is_some_and(|words| words.iter().any(|(_, word)| word == "deb"));
    if disabled || !binary { Vec::new() } else { stanza.remove("uris").unwrap_or_default() }
}

/// The addresses in a list of mirrors (apt-transport-mirror(1)), in its order.
pub fn mirrors(text: &str) -> Vec<String> {
    let first = |line: &str| line.split('#').next()?.split_ascii_whitespace().next().map(str::to_owned);
    text.lines().filter_map(first).take(MOST_MIRRORS).collect()
}

/// The entries of an `auth.conf` (apt_auth.conf(5), the form of netrc).
pub fn logins(text: &str) -> Vec<Login> {
    let words: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_ascii_whitespace).collect();
    let mut found = Vec::new();
    let mut machine: Option<&str> = None;
    let (mut user, mut password) = (None, None);
    let mut index = 0;
    // One more round closes the last entry.
    while index <= words.len() {
        let word = words.get(index).copied().unwrap_or("machine");
        let value = words.get(index + 1).copied();
        match word {
            "machine" => {
                found.extend(machine.and_then(|machine| login(machine, user?, password.unwrap_or_default())));
                (machine, user, password) = (value, None, None);
            }
            "login" => user = value,
            "password" => password = value,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
    }
    found
}

fn login(machine: &str, user: &str, password: &str) -> Option<Login> {
    let (scheme, rest) = match machine.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_owned()), rest),
        None => (None, machine),
    };
    let (server, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (server, None),
    };
    let credentials = Credentials::Basic { user: user.to_owned(), password: password.to_owned() };
    Some(Login { scheme, host: host.to_owned(), port, path: path.to_owned(), credentials })
}

/// The settings in a file of apt's configuration (apt.conf(5)), or in the output of `apt-config dump`, by their
/// full names in lower case. Lists, `#include` and `#clear` are passed over: no proxy is set that way.
pub fn configuration(text: &str) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let mut scopes: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => scopes.push(words.drain(..).next().unwrap_or_default()),
            Token::Close => {
                scopes.pop();
                words.clear();
            }
            Token::End => {
                if let [name, value] = &words[..] {
                    let scope = scopes.iter().filter(|scope| !scope.is_empty());
                    let full: Vec<&str> = scope.map(String::as_str).chain([name.as_str()]).collect();
                    settings.insert(full.join("::").to_ascii_lowercase(), value.clone());
                }
                words.clear();
            }
        }
    }
    settings
}

#[derive(Debug)]
enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skip = |mark: &str, found: Option<usize>| found.map_or(rest.len(), |end| end + mark.len());
        let length = match first {
            _ if rest.starts_with("//") || first == '#' => skip("\n", rest.find('\n')),
            _ if rest.starts_with("/*") => skip("*/", rest.find("*/")),
            '{' | '}' | ';' => {
                tokens.push(match first {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::End,
                });
                1
            }
            '"' => {
                let end = rest[1..].find('"').map_or(rest.len(), |end| end + 1);
                tokens.push(Token::Word(rest[1..end].to_owned()));
                (end + 1).min(rest.len())
            }
            white if white.is_whitespace() => white.len_utf8(),
            _ => {
                let ends = |character: char| character.is_whitespace() || matches!(character, '{' | '}' | ';' | '"');
                let end = rest.find(ends).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// Whether an error means that a place does not serve what was asked, as opposed to serving it wrongly.
pub(super) fn is_absence(kind: Kind) -> bool {
    matches!(kind, Kind::NotFound | Kind::Network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(uris: Vec<(usize, String)>) -> Vec<String> {
        uris.into_iter().map(|(line, uri)| format!("{line} {uri}")).collect()
    }

    #[test]
    fn one_line_sources_are_read() {
        let text = "# deb http://a/ x main\ndeb http://b/ x main # why\ndeb-src http://c/ x main\n\
                    deb [ arch=amd64 signed-by=/k ] http://d/ x main\n\tdeb\t[trusted=yes]http://e x main\ndeb\ndebug x\ndeb [a http://f\n";
        assert_eq!(texts(one_line(text)), ["2 http://b/", "4 http://d/", "5 http://e"]);
    }

    #[test]
    fn deb822_sources_are_read() {
        let text = "# c\nTypes: deb deb-src\nURIs: http://a/\n# inside\n  http://b/\nSuites: x y\n\nTypes: deb\nURIs: http://c/\nEnabled: No\n\n\
                    Types: deb-src\nURIs: http://d/\n\ntypes: deb\nuris: mirror+file:/m\nSigned-By:\n -----BEGIN\n .\n x: y\n";
        assert_eq!(texts(deb822(text)), ["3 http://a/", "5 http://b/", "16 mirror+file:/m"]);
    }

    #[test]
    fn logins_match_as_apt_does() {
        let apt = Apt {
            logins: logins(
                "machine a.org login u password p\n# machine x\nmachine http://b.org:8080/debian login v password q\n\
                 machine c.org/x\n login w\n password r machine",
            ),
            ..Apt::default()
        };
        let user = |url: &str| match apt.credentials(&Address::parse(url).unwrap().0) {
            Some(Credentials::Basic { user, password }) => format!("{user}:{password}"),
            _ => String::new(),
        };
        assert_eq!(user("https://a.org/any"), "u:p");
        assert_eq!(user("http://a.org/any"), "", "a password does not travel unencrypted unless asked to");
        assert_eq!(user("http://b.org:8080/debian/dists"), "v:q");
        assert_eq!(user("http://b.org:8080/debian-security"), "");
        assert_eq!(user("http://b.org/debian"), "");
        assert_eq!(user("https://c.org/x/y"), "w:r");
        assert_eq!(user("https://c.org/y"), "");
    }

    #[test]
    fn proxies_are_found_however_they_are_written() {
        let mut proxies = Proxies::default();
        proxies.take(&configuration(
            "// c\nAcquire::http::Proxy \"http://p:3128\";\n#clear x;\n/* a { */ Acquire { https { Proxy \"http://q:1\"; Proxy::direct.org \"DIRECT\"; }; Retries \"3\"; };\n\
             Acquire::http::Proxy::special.org \"http://r:2\";\nDPkg::Post-Invoke { \"rm -f /x || true\"; };\n",
        ));
        assert_eq!(proxies.http.as_deref(), Some("http://p:3128"));
        assert_eq!(proxies.https.as_deref(), Some("http://q:1"));
        assert_eq!(proxies.hosts["direct.org"], None);
        assert_eq!(proxies.hosts["special.org"].as_deref(), Some("http://r:2"));
        for hostile in ["\"", "{", "}}}", "a \"b", "/*", "Acquire { http { Proxy \"é", "ü{ö\"ä"] {
            configuration(hostile);
        }
    }

    #[test]
    fn the_files_are_read_in_order() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["sources.list.d", "auth.conf.d", "apt.conf.d"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        write("sources.list", "deb http://one/ x main\n");
        write("sources.list.d/b.list", "deb http://two/ x main\ndeb http://one/ y main\n");
        write("sources.list.d/a.sources", "Types: deb\nURIs: http://three/\n");
        write("sources.list.d/c.list.off", "deb http://no/ x main\n");
        write("apt.conf.d/10x", "Acquire::http::Proxy \"http://first\";");
        write("apt.conf", "Acquire::http::Proxy \"http://last\";");
        write("auth.conf.d/x.conf", "machine h login u password p");
        let apt = Apt::read(root.path());
        let uris: Vec<&str> = apt.uris.iter().map(|uri| uri.text.as_str()).collect();
        assert_eq!(uris, ["http://one/", "http://three/", "http://two/"]);
        assert!(apt.uris[1].learnt.ends_with("sources.list.d/a.sources:2"), "{}", apt.uris[1].learnt);
        assert_eq!(apt.proxies.http.as_deref(), Some("http://last"));
        assert_eq!((apt.logins.len(), apt.notes.len()), (1, 0));
    }
}
