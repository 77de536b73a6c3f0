//! A world of packages, declared as packse declares it, as the files of an index; and kiln's answers to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use kiln::Digest;
use kiln::ecosystem::origin::Place;
use kiln::ecosystem::pypi::client::Client;
use kiln::ecosystem::pypi::solve::{Prereleases, Request, Solution, solve};
use kiln::ecosystem::pypi::target::Target;
use kiln::error::Result;
use kiln::net::{self, Address, Settings};
use kiln::store::Store;
use serde::Deserialize;

use super::server::Server;

/// One scenario.
#[derive(Clone, Debug, Deserialize)]
pub struct Scenario {
    pub name: String,
    pub root: Root,
    #[serde(default)]
    pub expected: Expected,
    #[serde(default)]
    pub packages: BTreeMap<String, Package>,
    #[serde(default)]
    pub environment: Environment,
    #[serde(default)]
    pub resolver_options: Options,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Root {
    #[serde(default)]
    pub requires: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Expected {
    pub satisfiable: bool,
    pub packages: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Package {
    #[serde(default)]
    pub versions: BTreeMap<String, Release>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Release {
    pub requires: Vec<String>,
    pub requires_python: Option<String>,
    pub extras: BTreeMap<String, Vec<String>>,
    pub wheel: bool,
    pub sdist: bool,
    pub yanked: bool,
    pub wheel_tags: Vec<String>,
}

impl Default for Release {
    fn default() -> Self {
        Self {
            requires: Vec::new(),
            requires_python: None,
            extras: BTreeMap::new(),
            wheel: true,
            sdist: true,
            yanked: false,
            wheel_tags: vec!["py3-none-any".to_owned()],
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Environment {
    pub python: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Options {
    pub python: Option<String>,
    #[serde(default)]
    pub prereleases: bool,
    #[serde(default)]
    pub no_build: Vec<String>,
    #[serde(default)]
    pub universal: bool,
}

impl Scenario {
    pub fn parse(text: &str) -> Self {
        toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The files of an index of its packages.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for (name, package) in &self.packages {
            let mut page = String::from("<!DOCTYPE html><html><body>\n");
            for (version, release) in &package.versions {
                let stem = format!("{}-{version}", name.replace('-', "_"));
                let metadata = metadata(name, version, release);
                let tags: &[String] = if release.wheel { &release.wheel_tags } else { &[] };
                for tag in tags {
                    let bytes = wheel(&stem, &metadata);
                    let announced = format!(" data-core-metadata=\"sha256={}\"", Digest::of(metadata.as_bytes()));
                    let file = format!("{stem}-{tag}.whl");
                    anchor(&mut page, &file, &bytes, release, &announced);
                    files.insert(path(&file) + ".metadata", metadata.clone().into_bytes());
                    files.insert(path(&file), bytes);
                }
                if release.sdist {
                    let bytes = source(&stem, &metadata);
                    let file = format!("{stem}.tar.gz");
                    anchor(&mut page, &file, &bytes, release, "");
                    files.insert(path(&file), bytes);
                }
            }
            files.insert(format!("/simple/{name}/"), (page + "</body></html>").into_bytes());
        }
        files
    }

    /// The Python that it is for.
    pub fn python(&self) -> String {
        let python = self.resolver_options.python.as_ref().or(self.environment.python.as_ref());
        let python = python.map_or("3.12", String::as_str);
        if python.matches('.').count() < 2 { format!("{python}.0") } else { python.to_owned() }
    }

    pub fn request(&self) -> Request {
        let target = Target::new(&self.python(), "amd64", (2, 41)).unwrap();
        let requirements = self.root.requires.iter().map(|text| text.parse().unwrap()).collect();
        let prereleases = match self.resolver_options.prereleases {
            true => Prereleases::Allow,
            false => Prereleases::default(),
        };
        let only_wheels = self.resolver_options.no_build.iter().map(|name| name.parse().unwrap()).collect();
        Request { prereleases, only_wheels, ..Request::new(target, requirements) }
    }

    /// Resolves it, by way of an index on loopback.
    pub fn solve(&self, request: &Request) -> Result<Solution> {
        let server = Server::start(self.files());
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        solve_on(&server, &store, request)
    }
}

/// Asks an index on loopback.
pub fn solve_on(server: &Server, store: &Store, request: &Request) -> Result<Solution> {
    let net = net::Client::new(&Settings { tries: 1, ..Settings::default() }).unwrap();
    solve(&Client::new(&net, store, origins(server), 1_000_000), request)
}

/// The origin `pypi` on a server.
pub fn origins(server: &Server) -> BTreeMap<String, Vec<Place>> {
    let (address, credentials) = Address::parse(&server.url("/simple")).unwrap();
    BTreeMap::from([("pypi".to_owned(), vec![Place { address, credentials, learnt: "the test".to_owned() }])])
}

/// The versions of a solution.
pub fn versions(solution: &Solution) -> BTreeMap<String, String> {
    solution.packages.iter().map(|(name, pin)| (name.to_string(), pin.version.to_string())).collect()
}

pub fn path(file: &str) -> String {
    format!("/files/{}", file.replace('+', "%2B"))
}

pub fn metadata(name: &str, version: &str, release: &Release) -> String {
    let mut text = format!("Metadata-Version: 2.3\nName: {name}\nVersion: {version}\n");
    for requirement in &release.requires {
        writeln!(text, "Requires-Dist: {requirement}").unwrap();
    }
    for (extra, requirements) in &release.extras {
        writeln!(text, "Provides-Extra: {extra}").unwrap();
        for requirement in requirements {
            writeln!(text, "Requires-Dist: {requirement} ; extra == \"{extra}\"").unwrap();
        }
    }
    if let Some(python) = &release.requires_python {
        writeln!(text, "Requires-Python: {python}").unwrap();
    }
    text
}

pub fn wheel(stem: &str, metadata: &str) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: String, text: &str| {
        writer.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    };
    add(format!("{stem}.dist-info/METADATA"), metadata);
    add(format!("{stem}.dist-info/WHEEL"), "Wheel-Version: 1.0\n");
    add(format!("{stem}.dist-info/RECORD"), "");
    writer.finish().unwrap().into_inner()
}

pub fn source(stem: &str, metadata: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_ustar();
    header.set_size(metadata.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, format!("{stem}/PKG-INFO"), metadata.as_bytes()).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

fn anchor(page: &mut String, file: &str, bytes: &[u8], release: &Release, more: &str) {
    let python = release.requires_python.as_ref().map(|python| python.replace('<', "&lt;").replace('>', "&gt;"));
    let python = python.map(|python| format!(" data-requires-python=\"{python}\"")).unwrap_or_default();
    let yanked = if release.yanked { " data-yanked=\"broken\"" } else { "" };
    let hash = Digest::of(bytes);
    writeln!(page, "<a href=\"../..{}#sha256={hash}\"{python}{yanked}{more}>{file}</a><br>", path(file)).unwrap();
}
