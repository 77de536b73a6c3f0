//! `[[fetch]]`: which bytes a URL, a file of the workspace or a file of an origin stands for.

use std::collections::{BTreeMap, BTreeSet};

use super::languages::Languages;
use super::{LOCAL, Resolver, URL};
use crate::digest::Digest;
use crate::ecosystem::npm::platform::Engines;
use crate::ecosystem::npm::semver::Version;
use crate::error::{Context, Error, Kind, Result};
use crate::lock::{Artifact, Lockfile, Package};
use crate::net::{Download, Request};
use crate::workspace::{Fetch, Platform, Settings, Step};

/// The origin that is a registry of npm packages.
const NPM: &str = "npm";

/// The largest file that is fetched, in bytes.
const LARGEST: u64 = 16 << 30;

impl Resolver<'_> {
    /// The rows of all that `settings` fetch. What the definition names no hash of is looked at, unless `old` knows it.
    pub(super) fn fetches(&self, settings: &Settings, old: Option<&Lockfile>) -> Result<Vec<Package>> {
        let mut packages: BTreeMap<(String, String, Digest), Package> = BTreeMap::new();
        for step in &settings.steps {
            let Step::Fetch(fetch) = step else { continue };
            let platforms: Vec<Platform> =
                settings.platforms.iter().copied().filter(|platform| step.is_for(*platform)).collect();
            let known = platforms.iter().find_map(|platform| old?.fetched(fetch, *platform));
            let known = known.map(|(_, artifact)| (artifact.sha256, artifact.size));
            // A local file is hashed each time: nothing else says whether it is what it was.
            let known =
                known.filter(|(sha256, _)| fetch.path.is_none() && fetch.sha256.is_none_or(|said| said == *sha256));
            let (sha256, size) = match known {
                Some(known) => known,
                None => self.fetch(fetch).context(|| format!("fetching `{}`", fetch.place().1))?,
            };
            let (origin, path) = fetch.place();
            let package = packages.entry((origin.to_owned(), path.to_owned(), sha256)).or_insert_with(|| Package {
                ecosystem: "fetch".to_owned(),
                name: fetch.name().to_owned(),
                version: sha256.to_string()[..12].to_owned(),
                source: fetch.name().to_owned(),
                source_version: sha256.to_string()[..12].to_owned(),
                origin: origin.to_owned(),
                base: false,
                requested: Some(path.to_owned()),
                required_by: Vec::new(),
                build_for: Vec::new(),
                artifacts: BTreeMap::new(),
            });
            for platform in platforms {
                package.artifacts.insert(platform, Artifact { size, ..Artifact::new(path, sha256) });
            }
        }
        Ok(packages.into_values().filter(|package| !package.artifacts.is_empty()).collect())
    }

    /// The file's hash and size; it is in the store afterwards.
    fn fetch(&self, fetch: &Fetch) -> Result<(Digest, u64)> {
        let requests = self.fetch_requests(fetch)?;
        if let Some(digest) = fetch.sha256 {
            let download = Download { label: fetch.name().to_owned(), digest, size: None, candidates: requests };
            self.client.download_all(self.store, &[download], &|_| {}, &|_| {})?;
            let size = self.store.size(&digest).context(|| "it was fetched and is not in the store")?;
            return Ok((digest, size));
        }
        let mut failed =
            Error::new(format!("nothing is known of the origin `{}`", fetch.place().0)).kind(Kind::NotFound);
        for request in &requests {
            match self.client.download_unknown(self.store, request) {
                Ok(found) => return Ok(found),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn fetch_requests(&self, fetch: &Fetch) -> Result<Vec<Request>> {
        match fetch.place() {
            (URL, url) => Ok(vec![Request::new(url, LARGEST)?]),
            (LOCAL, path) => {
                let path = self.root.join(path);
                let address = url::Url::from_file_path(&path)
                    .map_err(|()| Error::new(format!("{} is no absolute path", path.display())))?;
                Ok(vec![Request::new(address.as_str(), LARGEST)?])
            }
            (origin, file) => origin_file(&self.languages, origin, file),
        }
    }
}

/// Where a file of an origin is: a tarball of npm's, or a file of an index of Python packages.
pub(super) fn origin_file(languages: &Languages<'_>, origin: &str, file: &str) -> Result<Vec<Request>> {
    if origin != NPM {
        return python_file(languages, origin, file);
    }
    let what = || format!("looking for `{file}` in the origin `{origin}`");
    let (name, tarball) = npm_tarball(file)
        .ok_or_else(|| {
            Error::new("it is not the name of a package's tarball")
                .hint("npm's tarballs are named as `bootstrap-5.3.3.tgz` or `@scope/name-1.0.0.tgz`")
        })
        .context(what)?;
    languages.npm(Engines::default())?.located(&name, &tarball, LARGEST).context(what)
}

/// The package that a tarball is of, and the registry's path of it: `@a/b-1.0.0.tgz` is `@a/b/-/b-1.0.0.tgz` of `@a/b`.
fn npm_tarball(file: &str) -> Option<(String, String)> {
    let stem = file.strip_suffix(".tgz")?;
    // The version begins with the first number behind a hyphen that makes all of the rest one.
    let cut = stem.match_indices('-').map(|(at, _)| at).find(|at| Version::parse(&stem[at + 1..]).is_some())?;
    let name = &stem[..cut];
    let plain = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').map(|(_, name)| name)?,
        None => name,
    };
    let good = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '%', '?', '#']);
    let scope = name.strip_prefix('@').and_then(|scoped| scoped.split_once('/')).map(|(scope, _)| scope);
    if !good(plain) || !scope.is_none_or(good) {
        return None;
    }
    let tarball = &file[name.len() - plain.len()..];
    Some((name.to_owned(), format!("{name}/-/{tarball}")))
}

/// Where a file of an origin of Python packages is. Its name begins with the project's.
fn python_file(languages: &Languages<'_>, origin: &str, file: &str) -> Result<Vec<Request>> {
    let what = || format!("looking for `{file}` in the origin `{origin}`");
    let project = match file.strip_suffix(".whl") {
        Some(wheel) => wheel.split('-').next().unwrap_or_default(),
        // A source distribution is called by name, `-` and version (PEP 625).
        None => file.rsplit_once('-').map_or(file, |(name, _)| name),
    };
    let name = project.parse().context(what)?;
    let client = languages.pypi(BTreeSet::from([origin.to_owned()]))?;
    client.requests(&name, origin, file, LARGEST).context(what)
}

#[cfg(test)]
mod tests {
    use super::npm_tarball;

    #[test]
    fn tarballs_say_whose_they_are() {
        let found = |file: &str| npm_tarball(file).map(|(name, path)| format!("{name} {path}"));
        assert_eq!(found("bootstrap-5.3.3.tgz").unwrap(), "bootstrap bootstrap/-/bootstrap-5.3.3.tgz");
        assert_eq!(found("a-2-1.0.0-rc.1.tgz").unwrap(), "a-2 a-2/-/a-2-1.0.0-rc.1.tgz");
        assert_eq!(found("@types/node-20.1.0.tgz").unwrap(), "@types/node @types/node/-/node-20.1.0.tgz");
        for wrong in
            ["a.tgz", "a-1.0.0.zip", "-1.0.0.tgz", "../a-1.0.0.tgz", "@a-1.0.0.tgz", "@../b-1.0.0.tgz", "a/b-1.0.0.tgz"]
        {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }
}
