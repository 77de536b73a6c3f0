//! Packuments: what a registry says of all versions of a package (npm's "package metadata"), full or abbreviated.
//!
//! Publishers of fifteen years wrote these documents: fields may have any type, and one that makes no sense
//! counts as absent, as it does for npm. It does not know where documents come from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bin_field;
use super::integrity::Integrity;
use super::semver::Version;
use crate::error::{Context, Error, Kind, Result};

/// Versions of one package.
const MOST_VERSIONS: usize = 100_000;
/// Dependencies of one kind in one version.
const MOST_DEPENDENCIES: usize = 10_000;

/// All that is used of a packument.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packument {
    pub name: String,
    /// Versions by distribution tag, such as `latest`.
    pub tags: BTreeMap<String, String>,
    /// By version, spelled as in the document.
    pub versions: BTreeMap<String, Manifest>,
}

/// One version of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub name: String,
    pub version: Version,
    /// Name and specifier, in the order of the document; the optional ones are not among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional_dependencies: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer_dependencies: Vec<(String, String)>,
    /// Peers that may be absent.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub optional_peers: BTreeSet<String>,
    /// Further specifiers that are accepted of a dependency that is there already.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub accept: BTreeMap<String, String>,
    /// Dependencies that are in the package's own tarball.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bundled: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub os: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libc: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_npm: Option<String>,
    /// Programs: the file of each, relative to the package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bin: BTreeMap<String, String>,
    /// Whether the package wants something run when it is installed.
    #[serde(default)]
    pub has_install_script: bool,
    /// Whether the tarball says itself which dependencies go where (`npm-shrinkwrap.json`).
    #[serde(default)]
    pub has_shrinkwrap: bool,
    /// Why the version should not be used any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    pub dist: Dist,
}

/// Where a version's tarball is, and how it is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dist {
    /// The tarball's address.
    pub tarball: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integrity: Option<Integrity>,
    /// What the files take unpacked, in bytes, as the registry says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacked_size: Option<u64>,
}

impl Packument {
    /// Reads the document that the registry gave for `name`.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self> {
        let wrong = || format!("reading the registry's document of `{name}`");
        let document: Document = serde_json::from_slice(bytes).context(wrong).map_err(|e| e.kind(Kind::Corrupt))?;
        if document.name.as_deref().is_some_and(|found| found != name) {
            return Err(Error::new(format!(
                "the registry was asked for `{name}` and gave the document of `{}`",
                document.name.unwrap_or_default()
            ))
            .kind(Kind::Corrupt));
        }
        let mut versions = BTreeMap::new();
        for (version, raw) in document.versions.0 {
            // What npm cannot use either is passed over: it matters only to who asks for just that version.
            if let Some(manifest) = raw.manifest(name, &version).context(wrong).map_err(|e| e.kind(Kind::Corrupt))? {
                versions.insert(version, manifest);
            }
        }
        let tags = document.tags.0.into_iter().collect();
        Ok(Self { name: name.to_owned(), tags, versions })
    }
}

impl Manifest {
    /// Reads a `package.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let raw: RawManifest = serde_json::from_slice(strip_mark(bytes)).map_err(|error| {
            Error::new("its package.json is not what npm can read").kind(Kind::Corrupt).caused_by(error)
        })?;
        let (Some(name), Some(version)) = (text(&raw.name), text(&raw.version)) else {
            return Err(Error::new("its package.json lacks a name or a version").kind(Kind::Corrupt));
        };
        raw.manifest(name.trim(), &version)?
            .ok_or_else(|| Error::new(format!("its version, `{version}`, is none")).kind(Kind::Corrupt))
    }
}

impl Manifest {
    /// Reads what a lockfile of npm's says of a package; its `dist` is empty.
    pub(super) fn of_lock(name: &str, package: &serde_json::Map<String, Value>) -> Result<Self> {
        let raw = RawManifest::deserialize(Value::Object(package.clone()))
            .map_err(|error| Error::new("it is not what npm writes").kind(Kind::Corrupt).caused_by(error))?;
        let version = text(&raw.version).unwrap_or_default();
        raw.manifest(name, &version)?
            .ok_or_else(|| Error::new(format!("its version, `{version}`, is none")).kind(Kind::Corrupt))
    }
}

/// JSON without a byte order mark, which old editors put at its beginning.
pub(super) fn strip_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[derive(Deserialize)]
struct Document {
    name: Option<String>,
    #[serde(rename = "dist-tags", default)]
    tags: Pairs,
    #[serde(default)]
    versions: Versions,
}

/// A version as published.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawManifest {
    name: Value,
    version: Value,
    dependencies: Pairs,
    optional_dependencies: Pairs,
    peer_dependencies: Pairs,
    peer_dependencies_meta: Value,
    accept_dependencies: Pairs,
    bundle_dependencies: Option<Value>,
    bundled_dependencies: Option<Value>,
    os: Value,
    cpu: Value,
    libc: Value,
    engines: Value,
    bin: Value,
    scripts: Value,
    gypfile: Value,
    has_install_script: Value,
    #[serde(rename = "_hasShrinkwrap")]
    has_shrinkwrap: Value,
    deprecated: Value,
    dist: Value,
}

impl RawManifest {
    /// Cleaned up as npm does before it looks at a manifest; `None` if the version is none.
    fn manifest(self, name: &str, version: &str) -> Result<Option<Manifest>> {
        let Some(version) = Version::parse(version) else { return Ok(None) };
        let kinds = [&self.dependencies, &self.optional_dependencies, &self.peer_dependencies];
        if kinds.iter().any(|pairs| pairs.0.len() > MOST_DEPENDENCIES) {
            return Err(Error::new(format!("{name} {version} has more than {MOST_DEPENDENCIES} dependencies")));
        }
        let (mut dependencies, optional) = (self.dependencies.0, self.optional_dependencies.0);
        dependencies.retain(|(name, _)| !optional.iter().any(|(other, _)| other == name));
        let bundled = self.bundle_dependencies.or(self.bundled_dependencies).unwrap_or_default();
        let bundled = match bundled {
            Value::Bool(true) => dependencies.iter().map(|(name, _)| name.clone()).collect(),
            Value::Object(map) => map.keys().cloned().collect(),
            other => list(&other),
        };
        let optional_peers = self.peer_dependencies_meta.as_object().into_iter().flatten();
        let optional_peers = optional_peers.filter(|(_, meta)| meta.get("optional").is_some_and(truthy));
        let script = |event| self.scripts.get(event).and_then(Value::as_str).is_some_and(|script| !script.is_empty());
        let gyp = self.gypfile == Value::Bool(true);
        Ok(Some(Manifest {
            name: name.to_owned(),
            version,
            dependencies,
            optional_dependencies: optional,
            optional_peers: optional_peers.map(|(name, _)| name.clone()).collect(),
            peer_dependencies: self.peer_dependencies.0,
            accept: self.accept_dependencies.0.into_iter().collect(),
            bundled,
            os: list(&self.os),
            cpu: list(&self.cpu),
            libc: list(&self.libc),
            engine_node: text(&self.engines["node"]).filter(|range| !range.is_empty()),
            engine_npm: text(&self.engines["npm"]).filter(|range| !range.is_empty()),
            bin: bin_field::normalize(name, &self.bin),
            has_install_script: truthy(&self.has_install_script)
                || gyp
                || ["preinstall", "install", "postinstall"].into_iter().any(script),
            has_shrinkwrap: truthy(&self.has_shrinkwrap),
            deprecated: match &self.deprecated {
                Value::Bool(true) => Some("deprecated".into()),
                other => text(other).filter(|reason| !reason.is_empty()),
            },
            dist: dist(&self.dist),
        }))
    }
}

fn dist(value: &Value) -> Dist {
    let integrity = text(&value["integrity"]).and_then(|text| Integrity::parse(&text).ok());
    let integrity = integrity.or_else(|| Integrity::from_sha1_hex(&text(&value["shasum"])?).ok());
    Dist {
        tarball: text(&value["tarball"]).unwrap_or_default(),
        integrity,
        unpacked_size: value["unpackedSize"].as_u64(),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// A list of texts, or one.
fn list(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(values) => values.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

/// What JavaScript takes for true.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// An object's texts by name, in the document's order. Of a name that is there twice the last text counts.
#[derive(Debug, Default)]
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("names with specifiers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            let Value::String(text) = value else { continue };
            match places.get(&name) {
                Some(place) => pairs[*place].1 = text,
                None => {
                    places.insert(name.clone(), pairs.len());
                    pairs.push((name, text));
                }
            }
        }
        Ok(Pairs(pairs))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Pairs, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Pairs::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_unit<E>(self) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }
}

/// The versions of a document.
#[derive(Default)]
struct Versions(Vec<(String, RawManifest)>);

impl<'de> Deserialize<'de> for Versions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(VersionsVisitor)
    }
}

struct VersionsVisitor;

impl<'de> Visitor<'de> for VersionsVisitor {
    type Value = Versions;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("manifests by version")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Versions, A::Error> {
        let mut versions = Vec::new();
        while let Some(entry) = map.next_entry()? {
            if versions.len() == MOST_VERSIONS {
                return Err(serde::de::Error::custom(format!("there are more than {MOST_VERSIONS} versions")));
            }
            versions.push(entry);
        }
        Ok(Versions(versions))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(manifest: &Value) -> Manifest {
        let document = json!({"name": "a", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": manifest}});
        let packument = Packument::parse("a", document.to_string().as_bytes()).unwrap();
        packument.versions["1.0.0"].clone()
    }

    #[test]
    fn a_manifest_is_cleaned_up_as_npm_does() {
        let text = r#"{"name": "a", "versions": {"1.0.0": {
            "dependencies": {"z": "1", "b": "2", "o": "1"}, "optionalDependencies": {"o": "3"},
            "peerDependencies": {"p": "1", "q": "2"}, "peerDependenciesMeta": {"q": {"optional": true}},
            "bundledDependencies": true, "os": "linux", "cpu": ["x64"], "engines": {"node": ">=18"},
            "bin": "./cli.js", "scripts": {"postinstall": "x"}, "deprecated": "old",
            "dist": {"tarball": "http://h/a.tgz", "shasum": "da39a3ee5e6b4b0d3255bfef95601890afd80709"}}}}"#;
        let packument = Packument::parse("a", text.as_bytes()).unwrap();
        let manifest = &packument.versions["1.0.0"];
        assert_eq!(manifest.dependencies, [("z".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(manifest.bundled, ["z", "b"]);
        assert_eq!(manifest.optional_peers, BTreeSet::from(["q".into()]));
        assert_eq!((manifest.os.clone(), manifest.cpu.clone()), (vec!["linux".into()], vec!["x64".into()]));
        assert_eq!(manifest.bin, BTreeMap::from([("a".into(), "cli.js".into())]));
        assert!(manifest.has_install_script && manifest.deprecated.is_some());
        assert!(manifest.dist.integrity.is_some());
        let stored = serde_json::to_vec(&packument).unwrap();
        assert_eq!(serde_json::from_slice::<Packument>(&stored).unwrap(), packument);
    }

    #[test]
    fn fields_of_any_type_are_survived() {
        for value in [json!(null), json!(false), json!(1), json!(1.5), json!("x"), json!(["x", 1]), json!({"x": 1})] {
            let mut object = serde_json::Map::new();
            for field in [
                "dependencies",
                "optionalDependencies",
                "peerDependencies",
                "peerDependenciesMeta",
                "bundleDependencies",
                "bundledDependencies",
                "acceptDependencies",
                "os",
                "cpu",
                "libc",
                "engines",
                "bin",
                "scripts",
                "hasInstallScript",
                "_hasShrinkwrap",
                "deprecated",
                "dist",
                "name",
                "version",
            ] {
                object.insert(field.into(), value.clone());
            }
            assert!(parse(&Value::Object(object)).dependencies.is_empty());
        }
    }

    #[test]
    fn what_is_no_packument_is_refused_with_its_name() {
        for (text, words) in [
            ("", "`a`"),
            ("[]", "`a`"),
            (r#"{"name": "b", "versions": {}}"#, "document of `b`"),
            (r#"{"name": "a", "versions": []}"#, "`a`"),
        ] {
            let error = Packument::parse("a", text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.what(), Kind::Corrupt);
        }
        let empty = Packument::parse("a", br#"{"versions": {"nonsense": {}}}"#).unwrap();
        assert!(empty.versions.is_empty());
    }

    proptest! {
        #[test]
        fn cut_off_and_changed_documents_are_no_panic(at in 0..400_usize, byte in any::<u8>()) {
            let mut text = json!({"name": "a", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
                "dependencies": {"b": "^1"}, "bin": {"x": "y"}, "os": ["!win32"],
                "dist": {"tarball": "http://h/x", "integrity": "sha512-AAAA"}}}}).to_string().into_bytes();
            let at = at % text.len();
            let _ = Packument::parse("a", &text[..at]);
            text[at] = byte;
            let _ = Packument::parse("a", &text);
            let _ = Manifest::parse(&text);
        }
    }
}
