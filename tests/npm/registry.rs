//! A registry on loopback, made from declared packages: documents and tarballs.

use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use kiln::ecosystem::npm::index::Registry;
use kiln::ecosystem::npm::origin::Registries;
use kiln::ecosystem::npm::platform::{Engines, Platform};
use kiln::ecosystem::npm::tree::{Placed, Request, solve};
use kiln::ecosystem::origin::Place;
use kiln::net::{Address, Client, Settings};
use kiln::store::Store;
use kiln::{Digest, Result};
use serde_json::{Map, Value, json};
use sha2::Digest as _;

use crate::server::Server;

/// An entry of a tarball: its path with the first folder, its type, mode, and content or target.
pub type Entry<'a> = (&'a str, u8, u32, &'a [u8]);

/// A tarball of these entries.
pub fn tarball(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut plain = Vec::new();
    for (path, kind, mode, content) in entries {
        let mut header = tar::Header::new_ustar();
        let bytes = header.as_old_mut();
        bytes.name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_mode(*mode);
        header.set_mtime(499_162_500);
        header.as_old_mut().uid.fill(0);
        header.as_old_mut().gid.fill(0);
        let link = matches!(kind, b'1' | b'2');
        if link {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content);
        }
        let content: &[u8] = if link { &[] } else { content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        plain.extend_from_slice(header.as_bytes());
        plain.extend_from_slice(content);
        plain.resize(plain.len().next_multiple_of(512), 0);
    }
    plain.resize(plain.len() + 1024, 0);
    gzip(&plain)
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Subresource integrity of a tarball.
pub fn integrity(content: &[u8]) -> String {
    use base64::Engine as _;
    let hash = sha2::Sha512::digest(content);
    format!("sha512-{}", base64::engine::general_purpose::STANDARD.encode(hash))
}

/// The packages of a registry.
#[derive(Default)]
pub struct Packages {
    documents: BTreeMap<String, Map<String, Value>>,
    tags: BTreeMap<String, String>,
    tarballs: BTreeMap<String, Vec<u8>>,
}

impl Packages {
    /// Packages as `name@version`, each with what its manifest says besides.
    pub fn of(packages: Value) -> Self {
        let mut all = Self::default();
        for (id, manifest) in packages.as_object().unwrap() {
            all.add(id, manifest.clone(), &[]);
        }
        all
    }

    /// Adds a package with further entries in its tarball.
    pub fn add(&mut self, id: &str, manifest: Value, entries: &[Entry<'_>]) {
        let (name, version) = id.rsplit_once('@').unwrap();
        let mut manifest = manifest.as_object().unwrap().clone();
        manifest.insert("name".into(), name.into());
        manifest.insert("version".into(), version.into());
        let text = Value::Object(manifest.clone()).to_string();
        let own = ("package/package.json", b'0', 0o644, text.as_bytes());
        let tarball = tarball(&[&[own], entries].concat());
        let file = format!("/{name}/-/{}-{version}.tgz", name.rsplit('/').next().unwrap());
        manifest.insert("dist".into(), json!({"tarball": format!("HOST{file}"), "integrity": integrity(&tarball)}));
        self.tarballs.insert(file, tarball);
        self.documents.entry(name.into()).or_default().insert(version.into(), Value::Object(manifest));
        self.tags.insert(name.into(), version.into());
    }

    pub fn serve(&self) -> Server {
        let server = Server::start(BTreeMap::new());
        server.replace(self.files(&server));
        server
    }

    pub fn files(&self, server: &Server) -> BTreeMap<String, Vec<u8>> {
        let documents = self.documents.iter().map(|(name, versions)| {
            let document = json!({"name": name, "dist-tags": {"latest": self.tags[name]}, "versions": versions});
            let text = document.to_string().replace("HOST", &server.url(""));
            (format!("/{}", name.replace('/', "%2f")), text.into_bytes())
        });
        documents.chain(self.tarballs.clone()).collect()
    }
}

/// A store and a client with a registry to ask.
pub struct World {
    pub server: Server,
    pub store: Store,
    client: Client,
    _folder: tempfile::TempDir,
}

impl World {
    pub fn new(packages: &Packages) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let settings = Settings { tries: 1, ..Settings::default() };
        Self { server: packages.serve(), store, client: Client::new(&settings).unwrap(), _folder: folder }
    }

    pub fn registry(&self) -> Registry<'_> {
        self.registry_with(&self.client)
    }

    pub fn registry_with<'a>(&'a self, client: &'a Client) -> Registry<'a> {
        let (address, credentials) = Address::parse(&self.server.url("/")).unwrap();
        let general = vec![Place { address, credentials, learnt: "the test".into() }];
        Registry::new(&self.store, client, Registries { general, scopes: BTreeMap::new() }, Engines::default())
    }

    pub fn solve(&self, request: &Request) -> Result<Vec<Placed>> {
        solve(&self.registry(), request)
    }

    /// A blob for bytes that no registry serves.
    pub fn blob(&self, bytes: &[u8]) -> Digest {
        self.store.put(bytes).unwrap()
    }
}

pub fn request(dependencies: Value) -> Request {
    let specs = dependencies.as_object().unwrap().iter();
    Request {
        dependencies: specs.map(|(name, spec)| (name.clone(), spec.as_str().unwrap().to_owned())).collect(),
        overrides: Map::new(),
        platform: Platform::linux("x64"),
        engines: Engines::default(),
        preferred: BTreeMap::new(),
        moving: Default::default(),
    }
}

/// Paths without the word `node_modules`, with versions: `a 1.0.0`, `a > b 2.0.0`.
pub fn shown(placed: &[Placed]) -> Vec<String> {
    let path = |one: &Placed| one.path.trim_start_matches("node_modules/").replace("/node_modules/", " > ");
    placed.iter().map(|one| format!("{} {}", path(one), one.version)).collect()
}
