//! Where Python packages are served from on this machine, and where that was learnt.
//!
//! The order is: what kiln was told, the variables and files that pip and uv are set up with, what pip answers
//! when asked. Knows the clients' settings; nothing of what is served.

use std::path::{Path, PathBuf};

use crate::ecosystem::origin::{Configured, Machine, Place};
use crate::error::{Context, Error, Kind, Result};
use crate::net::{Address, Credentials};

/// Asks a Python's pip for the index that it was told, or else has in itself. One program for both answers: to start
/// pip takes longer than to solve.
const ASK_PIP: &str = r#"
from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI
settings = Configuration(isolated=False)
settings.load()
told = dict(settings.items()).get("global.index-url")
print(*("told", told) if told else ("own", PyPI.simple_url))
"#;

/// The addresses that serve Python packages, best first. Fails if an address is wrong or none is known.
pub fn places(configured: Option<&Configured>, machine: &Machine) -> Result<Vec<Place>> {
    if let Some(configured) = configured.filter(|configured| !configured.addresses.is_empty()) {
        return configured.addresses.iter().map(|url| place(url, &configured.learnt, machine)).collect();
    }
    let found = from_variables(machine).or_else(|| from_files(machine)).or_else(|| from_pip(machine));
    let (url, learnt) = found.ok_or_else(|| unknown("pypi"))?;
    Ok(vec![place(&url, &learnt, machine)?])
}

/// The error for an origin whose address nobody knows.
pub(super) fn unknown(origin: &str) -> Error {
    let variable = origin.to_ascii_uppercase().replace(|character: char| !character.is_ascii_alphanumeric(), "_");
    Error::new(format!("no address is known for the origin `{origin}`")).kind(Kind::Network).hint(format!(
        "say where it is: `{origin} = \"https://…/simple\"` under `[origins]` in kiln.toml or in the user's \
         configuration, the variable KILN_ORIGIN_{variable}, or the settings of the machine's pip or uv"
    ))
}

fn place(url: &str, learnt: &str, machine: &Machine) -> Result<Place> {
    let (address, credentials) =
        Address::parse(url.trim()).context(|| format!("reading the address of Python packages ({learnt})"))?;
    let credentials = credentials.or_else(|| netrc(machine, address.host()));
    Ok(Place { address, credentials, learnt: learnt.to_owned() })
}

fn from_variables(machine: &Machine) -> Option<(String, String)> {
    ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"].into_iter().find_map(|variable| {
        let value = machine.variable(variable)?;
        // An index may be written with its name: `name=https://…`.
        let url = match value.split_once('=') {
            Some((name, url)) if variable == "UV_DEFAULT_INDEX" && !name.contains(':') => url,
            _ => value,
        };
        Some((url.to_owned(), format!("the variable {variable}")))
    })
}

fn from_files(machine: &Machine) -> Option<(String, String)> {
    let learnt = |path: &Path| path.display().to_string();
    let read = |paths: Vec<PathBuf>, index: fn(&str) -> Option<String>| {
        paths.into_iter().find_map(|path| Some((index(&Machine::file(&path)?)?, learnt(&path))))
    };
    read(uv_files(machine), uv_index).or_else(|| read(pip_files(machine), pip_index))
}

fn configurations(machine: &Machine) -> Vec<PathBuf> {
    let own = machine.variable("XDG_CONFIG_HOME").map(PathBuf::from);
    own.or_else(|| Some(machine.home.as_ref()?.join(".config"))).into_iter().collect()
}

fn system_configurations(machine: &Machine) -> Vec<PathBuf> {
    let folders = machine.variable("XDG_CONFIG_DIRS").unwrap_or("/etc/xdg");
    folders.split(':').filter(|folder| folder.starts_with('/')).map(PathBuf::from).collect()
}

fn uv_files(machine: &Machine) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = machine.variable("UV_CONFIG_FILE").map(PathBuf::from).into_iter().collect();
    let folders = configurations(machine).into_iter().chain(system_configurations(machine));
    paths.extend(folders.map(|folder| folder.join("uv/uv.toml")));
    paths.push("/etc/uv/uv.toml".into());
    paths
}

/// Those that pip reads, the one that counts most first.
fn pip_files(machine: &Machine) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    match machine.variable("PIP_CONFIG_FILE") {
        Some("/dev/null") => return paths,
        Some(path) => paths.push(path.into()),
        None => {}
    }
    if let Some(environment) = machine.variable("VIRTUAL_ENV") {
        paths.push(Path::new(environment).join("pip.conf"));
    }
    paths.extend(configurations(machine).into_iter().map(|folder| folder.join("pip/pip.conf")));
    paths.extend(machine.home.iter().map(|home| home.join(".pip/pip.conf")));
    paths.extend(system_configurations(machine).into_iter().map(|folder| folder.join("pip/pip.conf")));
    paths.push("/etc/pip.conf".into());
    paths
}

/// The default index in a uv.toml: `index-url`, or the `[[index]]` that is the default.
fn uv_index(text: &str) -> Option<String> {
    let table: toml::Table = crate::tables::from_str(text).ok()?;
    let pip = table.get("pip").and_then(toml::Value::as_table);
    let urls = [Some(&table), pip].into_iter().flatten();
    let direct = urls.filter_map(|table| table.get("index-url")?.as_str()).next();
    let indexes = table.get("index").and_then(toml::Value::as_array);
    let default = indexes.into_iter().flatten().find_map(|index| {
        let is_default = index.get("default").and_then(toml::Value::as_bool) == Some(true);
        index.get("url").and_then(toml::Value::as_str).filter(|_| is_default)
    });
    default.or(direct).map(str::to_owned)
}

/// The index in a pip.conf: `index-url` under `[install]`, `[download]` or `[global]`.
fn pip_index(text: &str) -> Option<String> {
    let (mut section, mut found) = (String::new(), None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            name.trim().clone_into(&mut section);
        } else if !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once(['=', ':'])
            && matches!(key.trim().replace('_', "-").as_str(), "index-url" | "i")
            && matches!(section.as_str(), "global" | "install" | "download")
            && (section != "global" || found.is_none())
        {
            found = Some(value.trim().to_owned());
        }
    }
    found.filter(|url| !url.is_empty())
}

/// What pip has been told, or else what it would use.
fn from_pip(machine: &Machine) -> Option<(String, String)> {
    let answer = |words: &[&str]| Some((machine.ask)(words)?.lines().next()?.trim().to_owned());
    if let Some(line) = answer(&["python3", "-c", ASK_PIP])
        && let Some((whose, url)) = line.split_once(' ')
    {
        let learnt =
            if whose == "told" { "the settings of the machine's pip" } else { "the default of the machine's pip" };
        return Some((url.to_owned(), learnt.to_owned()));
    }
    // A pip that is not one of that Python's.
    ["pip", "pip3"].into_iter().find_map(|pip| {
        let url = answer(&[pip, "config", "get", "global.index-url"]).filter(|url| !url.is_empty())?;
        Some((url, format!("`{pip} config get global.index-url`")))
    })
}

/// The login for a host in the user's netrc.
fn netrc(machine: &Machine, host: &str) -> Option<Credentials> {
    let path = match machine.variable("NETRC") {
        Some(path) => PathBuf::from(path),
        None => machine.home.as_ref()?.join(".netrc"),
    };
    let text = Machine::file(&path)?;
    let mut words = text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    let (mut own, mut fallback) = (Login::default(), Login::default());
    let mut current: Option<&mut Login> = None;
    while let Some(word) = words.next() {
        match word {
            "machine" => current = (words.next()? == host).then_some(&mut own),
            "default" => current = Some(&mut fallback),
            "login" | "password" | "account" => {
                let value = words.next()?.to_owned();
                if let Some(login) = &mut current {
                    match word {
                        "login" => login.user = Some(value),
                        "password" => login.password = Some(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    own.credentials().or_else(|| fallback.credentials())
}

#[derive(Default)]
struct Login {
    user: Option<String>,
    password: Option<String>,
}

impl Login {
    fn credentials(self) -> Option<Credentials> {
        Some(Credentials::Basic { user: self.user?, password: self.password.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    fn machine(home: &Path, variables: &[(&str, &str)]) -> Machine {
        let mut variables: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        variables.entry("XDG_CONFIG_DIRS".into()).or_insert_with(|| "/nonexistent".into());
        Machine { variables, home: Some(home.to_owned()), ask: |_| None }
    }

    fn shown(machine: &Machine) -> (String, String) {
        let place = &places(None, machine).unwrap()[0];
        (place.address.to_string(), place.learnt.clone())
    }

    #[test]
    fn what_kiln_was_told_goes_before_everything() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(".netrc"), "machine h.example login me password secret\n").unwrap();
        let machine = machine(home.path(), &[("PIP_INDEX_URL", "https://v.example/simple")]);
        let told = Configured {
            addresses: vec!["https://h.example/a".into(), "https://u:p@i.example/b".into()],
            learnt: "kiln.toml".into(),
        };
        let places = places(Some(&told), &machine).unwrap();
        assert_eq!(places[0].credentials, Some(Credentials::Basic { user: "me".into(), password: "secret".into() }));
        assert_eq!(places[1].credentials, Some(Credentials::Basic { user: "u".into(), password: "p".into() }));
        let wrong = Configured { addresses: vec!["nowhere".into()], learnt: "kiln.toml".into() };
        assert!(super::places(Some(&wrong), &machine).unwrap_err().to_string().contains("(kiln.toml)"));
    }

    #[test]
    fn variables_go_before_files_and_files_before_pip() {
        let home = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let plain = || machine(home.path(), &[]);
        let pip = Machine {
            ask: |words| {
                (words[0] == "pip3" && words.ends_with(&["global.index-url"]))
                    .then(|| "https://asked.example/\n".into())
            },
            ..plain()
        };
        if !Path::new("/etc/pip.conf").exists() || pip_index(&fs::read_to_string("/etc/pip.conf").unwrap()).is_none() {
            assert_eq!(shown(&pip).1, "`pip3 config get global.index-url`");
            let default = Machine {
                ask: |words| (words[..2] == ["python3", "-c"]).then(|| "own https://default.example/simple\n".into()),
                ..plain()
            };
            assert_eq!(
                shown(&default),
                ("https://default.example/simple".into(), "the default of the machine's pip".into())
            );
            let told = Machine {
                ask: |words| (words[..2] == ["python3", "-c"]).then(|| "told https://told.example/simple\n".into()),
                ..plain()
            };
            assert_eq!(
                shown(&told),
                ("https://told.example/simple".into(), "the settings of the machine's pip".into())
            );
            let error = places(None, &plain()).unwrap_err();
            assert!(error.hints()[0].contains("KILN_ORIGIN_PYPI"));
        }
        write(".pip/pip.conf", "[global]\n# index-url = no\nindex-url = https://old.example/simple\n");
        assert_eq!(shown(&pip).0, "https://old.example/simple");
        write(
            ".config/pip/pip.conf",
            "[install]\nindex_url: https://pip.example/s\n[global]\nindex-url=https://g.example/\n",
        );
        assert_eq!(shown(&pip).0, "https://pip.example/s");
        write(
            ".config/uv/uv.toml",
            "index-url = 'https://no.example'\n[[index]]\nurl = 'https://uv.example/s'\ndefault = true\n",
        );
        assert_eq!(shown(&pip).0, "https://uv.example/s");
        let named = machine(home.path(), &[("UV_DEFAULT_INDEX", "corp=https://corp.example/simple?x=y")]);
        assert_eq!(shown(&named), ("https://corp.example/simple?…".into(), "the variable UV_DEFAULT_INDEX".into()));
    }
}
