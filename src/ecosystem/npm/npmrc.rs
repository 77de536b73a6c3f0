//! npm's settings as far as they say where registries are and who asks: `.npmrc` files (npm's documentation,
//! "npmrc") and variables of the form `npm_config_…`, which go before them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ecosystem::origin::Machine;
use crate::net::{Address, Credentials};

/// Settings by their key. Of a key that is set several times the first one read counts.
#[derive(Clone, Default)]
pub(super) struct Settings {
    /// The value, and where it was read.
    values: BTreeMap<String, (String, String)>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be passwords.
        formatter.debug_set().entries(self.values.keys()).finish()
    }
}

impl Settings {
    /// The settings of a machine that do not belong to a project.
    pub fn of(machine: &Machine) -> Self {
        let mut settings = Self::default();
        for (name, value) in &machine.variables {
            let Some(prefix) = name.get(..11) else { continue };
            if prefix.eq_ignore_ascii_case("npm_config_") && !value.is_empty() {
                let key = &name[11..];
                // npm takes hyphens for underscores, except in keys that are addresses.
                let key = if key.starts_with(['/', '@']) {
                    key.to_owned()
                } else {
                    key.to_ascii_lowercase().replace('_', "-")
                };
                settings.values.entry(key).or_insert_with(|| (value.clone(), format!("the variable {name}")));
            }
        }
        let mut files = Vec::new();
        match (settings.get("userconfig"), &machine.home) {
            (Some((file, _)), _) => files.push(file.into()),
            (None, Some(home)) => files.push(home.join(".npmrc")),
            (None, None) => {}
        }
        match settings.get("globalconfig") {
            Some((file, _)) => files.push(file.into()),
            None => {
                let prefix = settings.get("prefix").map(|(prefix, _)| prefix).or_else(|| machine.variable("PREFIX"));
                let prefixes = prefix.into_iter().chain(["/usr/local", "/usr", ""]);
                files.extend(prefixes.map(|prefix| format!("{prefix}/etc/npmrc").into()));
            }
        }
        for file in files {
            if let Some(text) = Machine::file(&file) {
                settings.read(&text, &file.display().to_string(), machine);
            }
        }
        settings
    }

    /// Adds the settings of a file; what is set already stays.
    fn read(&mut self, text: &str, file: &str, machine: &Machine) {
        for line in text.lines() {
            let line = line.trim();
            // Sections have no meaning in these files.
            if line.starts_with([';', '#', '[']) {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let unquoted = |text: &str| {
                let text = text.trim();
                let inner = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
                inner.unwrap_or(text).to_owned()
            };
            let key = with_variables(&unquoted(key), machine);
            let value = with_variables(&unquoted(value), machine);
            self.values.entry(key).or_insert_with(|| (value, file.to_owned()));
        }
    }

    /// A setting that is not empty, and where it was read.
    pub fn get(&self, key: &str) -> Option<(&str, &str)> {
        let (value, learnt) = self.values.get(key)?;
        (!value.is_empty()).then_some((value, learnt))
    }

    /// The registries of scopes: the scope with its `@`, the address, and where it was read.
    pub fn scopes(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.values.iter().filter_map(|(key, (value, learnt))| {
            let scope = key.strip_suffix(":registry").filter(|scope| scope.starts_with('@'))?;
            Some((scope, value.as_str(), learnt.as_str()))
        })
    }

    /// What proves to a registry who asks: set for its host and path, or for a part of the path.
    pub fn credentials(&self, address: &Address) -> Option<Credentials> {
        let port =
            address.as_str().split('/').nth(2).and_then(|authority| authority.rsplit_once(':')).map(|(_, port)| port);
        let host = match port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit())) {
            Some(port) => format!("{}:{port}", address.host()),
            None => address.host().to_owned(),
        };
        let mut path = address.path().trim_end_matches('/');
        loop {
            for slash in ["/", ""] {
                if let Some(found) = self.credentials_of(&format!("//{host}{path}{slash}")) {
                    return Some(found);
                }
            }
            path = path.rsplit_once('/')?.0;
        }
    }

    fn credentials_of(&self, place: &str) -> Option<Credentials> {
        let value = |key: &str| self.get(&format!("{place}:{key}")).map(|(value, _)| value);
        let plain = |text: &str| String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok();
        if let Some(token) = value("_authToken") {
            return Some(Credentials::Bearer(token.to_owned()));
        }
        if let (Some(user), Some(password)) = (value("username"), value("_password").and_then(plain)) {
            return Some(Credentials::Basic { user: user.to_owned(), password });
        }
        basic(value("_auth")?)
    }

    /// The login that older settings give without a host, for the registry that is everybody's.
    pub fn old_credentials(&self) -> Option<Credentials> {
        match self.get("_authToken") {
            Some((token, _)) => Some(Credentials::Bearer(token.to_owned())),
            None => basic(self.get("_auth")?.0),
        }
    }
}

/// `user:password` in base64.
fn basic(text: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

/// Puts in the values of variables: `${NAME}`; one that is not set stays as it is.
fn with_variables(text: &str, machine: &Machine) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(end) = rest[start..].find('}') else { break };
        let name = &rest[start + 2..start + end];
        out.push_str(&rest[..start]);
        match machine.variable(name.trim_end_matches('?')) {
            Some(value) => out.push_str(value),
            None if name.ends_with('?') => {}
            None => out.push_str(&rest[start..=start + end]),
        }
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    out
}

/// The login that a `.netrc` has for a host.
pub(super) fn netrc(text: &str, host: &str) -> Option<Credentials> {
    let mut words =
        text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_ascii_whitespace);
    let (mut ours, mut user, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" if ours && user.is_some() && password.is_some() => break,
            "machine" => {
                ours = words.next() == Some(host);
                (user, password) = (None, None);
            }
            "default" => (ours, user, password) = (true, None, None),
            "login" if ours => user = words.next(),
            "password" if ours => password = words.next(),
            "login" | "password" | "account" => drop(words.next()),
            _ => {}
        }
    }
    let (user, password) = (user?, password?);
    ours.then(|| Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::ecosystem::npm) fn machine(variables: &[(&str, &str)]) -> Machine {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Machine { variables, home: None, ask: |_| None }
    }

    fn read(text: &str) -> Settings {
        let mut settings = Settings::default();
        settings.read(text, "file", &machine(&[("TOKEN", "secret")]));
        settings
    }

    #[test]
    fn files_are_read_as_npm_does() {
        let settings = read(
            "; a comment\n# another\n[section]\nregistry = \"https://r.example/npm/\"\nregistry=https://second.example/\n\
             @corp:registry=https://c.example/\n//r.example/npm/:_authToken=${TOKEN}\nempty=\nno-value\nunset=${NONE}",
        );
        assert_eq!(settings.get("registry"), Some(("https://r.example/npm/", "file")));
        assert_eq!(settings.scopes().collect::<Vec<_>>(), [("@corp", "https://c.example/", "file")]);
        assert_eq!(settings.get("empty"), None);
        assert_eq!(settings.get("unset"), Some(("${NONE}", "file")));
        let (address, _) = Address::parse("https://r.example/npm/sub").unwrap();
        assert_eq!(settings.credentials(&address), Some(Credentials::Bearer("secret".into())));
        let (other, _) = Address::parse("https://r.example/other").unwrap();
        assert_eq!(settings.credentials(&other), None);
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn every_form_of_login_is_understood() {
        let basic = Some(Credentials::Basic { user: "me".into(), password: "pw".into() });
        let (address, _) = Address::parse("http://h.example:4873/").unwrap();
        assert_eq!(read("//h.example:4873/:_auth=bWU6cHc=").credentials(&address), basic);
        assert_eq!(
            read("//h.example:4873/:username=me\n//h.example:4873/:_password=cHc=").credentials(&address),
            basic
        );
        assert_eq!(read("_auth=bWU6cHc=").old_credentials(), basic);
        assert_eq!(read("//h.example/:_auth=bWU6cHc=").credentials(&address), None);
        let text = "machine a.example login x password y\nmachine h.example\n login me\n password pw\ndefault login d password e";
        assert_eq!(netrc(text, "h.example"), basic);
        assert_eq!(netrc(text, "b.example"), Some(Credentials::Basic { user: "d".into(), password: "e".into() }));
        assert_eq!(netrc("machine h.example login me", "h.example"), None);
    }

    #[test]
    fn variables_go_before_files() {
        let settings = Settings::of(&machine(&[
            ("NPM_CONFIG_REGISTRY", "http://v.example/"),
            ("npm_config_@x:registry", "http://x.example/"),
        ]));
        assert_eq!(settings.get("registry"), Some(("http://v.example/", "the variable NPM_CONFIG_REGISTRY")));
        assert_eq!(settings.scopes().count(), 1);
    }

    proptest! {
        #[test]
        fn any_file_is_read(text in "[a-z=:/@;#\\[\\]${}\"' \n]{0,200}") {
            let settings = read(&text);
            let (address, _) = Address::parse("http://h.example/a/b").unwrap();
            let _ = (settings.credentials(&address), netrc(&text, "a"));
        }
    }
}
