//! A Debian archive made from a declared scenario: pool, package indexes, signed index.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use kiln::Digest;
use kiln::ecosystem::debian::date;

use super::keys::{Making, NOW, Signer};

/// A package with its `.deb`, whatever that holds.
#[derive(Clone, Debug)]
pub struct Package {
    pub component: String,
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// Further fields of its stanza: `Depends: …`.
    pub fields: Vec<(String, String)>,
    pub deb: Vec<u8>,
}

impl Package {
    /// A package of `main` whose `.deb` is a few bytes that are no `.deb`.
    pub fn new(name: &str, version: &str, architecture: &str) -> Self {
        Self {
            component: "main".to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            fields: Vec::new(),
            deb: format!("deb of {name} {version} {architecture}").into_bytes(),
        }
    }

    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn deb(mut self, deb: Vec<u8>) -> Self {
        self.deb = deb;
        self
    }

    /// Its path below the archive's root.
    pub fn filename(&self) -> String {
        format!("pool/{}/{}_{}_{}.deb", self.component, self.name, self.version.replace(':', "%3a"), self.architecture)
    }

    fn stanza(&self) -> String {
        let mut text = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: Test <test@example.org>\n",
            self.name, self.version, self.architecture
        );
        for (name, value) in &self.fields {
            writeln!(text, "{name}: {value}").unwrap();
        }
        let (size, digest) = (self.deb.len(), Digest::of(&self.deb));
        writeln!(text, "Filename: {}\nSize: {size}\nSHA256: {digest}\nDescription: a test\n", self.filename()).unwrap();
        text
    }
}

/// One suite of an archive.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub origin: String,
    pub label: String,
    pub suite: String,
    pub codename: String,
    pub components: Vec<String>,
    pub architectures: Vec<String>,
    pub date: u64,
    pub valid_until: Option<u64>,
    pub by_hash: bool,
    /// `Architecture: all` packages are in an index of their own only.
    pub all_apart: bool,
    pub packages: Vec<Package>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            origin: "Debian".into(),
            label: "Debian".into(),
            suite: "stable".into(),
            codename: "trixie".into(),
            components: vec!["main".into()],
            architectures: vec!["all".into(), "amd64".into(), "arm64".into()],
            date: NOW - 1800,
            valid_until: Some(NOW + 7 * 86_400),
            by_hash: true,
            all_apart: false,
            packages: vec![Package::new("hello", "1.0-1", "amd64"), Package::new("hello-data", "1.0-1", "all")],
        }
    }
}

pub type Files = BTreeMap<String, Vec<u8>>;

impl Scenario {
    /// The plain package index of a component and architecture.
    pub fn index(&self, component: &str, architecture: &str) -> String {
        let belongs = |package: &&Package| {
            let all = package.architecture == "all" && !self.all_apart;
            package.component == component && (package.architecture == architecture || all)
        };
        self.packages.iter().filter(belongs).map(Package::stanza).collect()
    }

    /// Pool and package indexes below `root` (`/debian`), and the text of the Release file.
    pub fn unsigned(&self, root: &str) -> (Files, String) {
        let mut files = Files::new();
        let dists = format!("{root}/dists/{}", self.codename);
        let mut list = String::new();
        for component in &self.components {
            for architecture in &self.architectures {
                if architecture == "all" && !self.all_apart {
                    continue;
                }
                let folder = format!("{component}/binary-{architecture}");
                let plain = self.index(component, architecture).into_bytes();
                // As Debian does: the plain file is listed and not served.
                writeln!(list, " {} {} {folder}/Packages", Digest::of(&plain), plain.len()).unwrap();
                let packed = xz(&plain);
                writeln!(list, " {} {} {folder}/Packages.xz", Digest::of(&packed), packed.len()).unwrap();
                if self.by_hash {
                    files.insert(format!("{dists}/{folder}/by-hash/SHA256/{}", Digest::of(&packed)), packed.clone());
                }
                files.insert(format!("{dists}/{folder}/Packages.xz"), packed);
            }
        }
        for package in &self.packages {
            files.insert(format!("{root}/{}", package.filename()), package.deb.clone());
        }
        (files, self.release(&list))
    }

    fn release(&self, list: &str) -> String {
        let mut text = format!(
            "Origin: {}\nLabel: {}\nSuite: {}\nCodename: {}\nDate: {}\n",
            self.origin,
            self.label,
            self.suite,
            self.codename,
            date::release(self.date)
        );
        if let Some(until) = self.valid_until {
            writeln!(text, "Valid-Until: {}", date::release(until)).unwrap();
        }
        if self.by_hash {
            text.push_str("Acquire-By-Hash: yes\n");
        }
        if !self.all_apart {
            text.push_str("No-Support-for-Architecture-all: Packages\n");
        }
        writeln!(text, "Architectures: {}", self.architectures.join(" ")).unwrap();
        writeln!(text, "Components: {}\nSHA256:\n{list}", self.components.join(" ")).unwrap();
        text.trim_end().to_owned() + "\n"
    }

    /// Everything to serve below `root`, with an InRelease signed properly.
    pub fn signed(&self, root: &str, signer: &Signer) -> Files {
        self.signed_with(root, |text| signer.cleartext(text, Making::default()))
    }

    /// Everything to serve below `root`, with an InRelease made by `sign` from the Release file's text.
    pub fn signed_with(&self, root: &str, sign: impl FnOnce(&str) -> Vec<u8>) -> Files {
        let (mut files, text) = self.unsigned(root);
        files.insert(format!("{root}/dists/{}/InRelease", self.codename), sign(&text));
        files
    }
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
