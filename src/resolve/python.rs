//! Python's packages: what uv would install for the image's own interpreter, per platform.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::{Moving, Resolver, URL, languages, of};
use crate::digest::Digest;
use crate::ecosystem::pypi::client::Client;
use crate::ecosystem::pypi::index::{File, FileKind};
use crate::ecosystem::pypi::locks::LockKind;
use crate::ecosystem::pypi::metadata::Basis;
use crate::ecosystem::pypi::name::Name;
use crate::ecosystem::pypi::requirement::Requirement;
use crate::ecosystem::pypi::solve::{self, Pin, Request};
use crate::ecosystem::pypi::source::BuildSystem;
use crate::ecosystem::pypi::target::Target;
use crate::error::{Context, Error, Kind, Result};
use crate::lock::{Artifact, Lockfile, Package};
use crate::net::{self, Download};
use crate::workspace::{ForeignLock, Platform, Python, Settings};

const ECOSYSTEM: &str = "pypi";
/// The largest wheel or source distribution, in bytes.
pub(super) const LARGEST: u64 = 8 << 30;

impl Resolver<'_> {
    /// Resolves what the definition asks of Python for the interpreter among `debian`. What is the same as in `kept`
    /// is taken from there.
    pub(super) fn python(
        &self,
        settings: &Settings,
        debian: &[Package],
        old: Option<&Lockfile>,
        kept: Option<&Lockfile>,
        moving: &Moving,
    ) -> Result<Vec<Package>> {
        let Some(python) = &settings.python else { return Ok(Vec::new()) };
        let mut targets = BTreeMap::new();
        for platform in &settings.platforms {
            let target = target(python, debian, *platform).context(|| format!("for {platform}"))?;
            targets.insert(*platform, target);
        }
        let same = |old: &&Lockfile| {
            old.environment.python.as_ref() == Some(python)
                && targets.iter().all(|(platform, target)| {
                    self::target(python, &old.packages, *platform).is_ok_and(|known| known == *target)
                })
        };
        if let Some(old) = kept.filter(same) {
            return Ok(of(old, ECOSYSTEM));
        }
        let client = self.languages.pypi(languages::origins(python))?;
        let solutions: BTreeMap<Platform, BTreeMap<Name, Pin>> = targets
            .par_iter()
            .map(|(platform, target)| {
                let pins = match &python.lock {
                    Some(lock) => self.taken(&client, lock, &python.index, target),
                    None => request(python, target.clone(), old, *platform, moving)
                        .and_then(|request| solve::solve(&*client, &request))
                        .map(|solution| solution.packages),
                };
                Ok((*platform, pins.context(|| format!("resolving Python packages for {platform}"))?))
            })
            .collect::<Result<_>>()?;
        let mut packages = self.merged(&client, old, solutions)?;
        for built in packages.clone() {
            let of_built = self.build_dependencies(python, &client, &targets, old, &built);
            packages.extend(of_built.context(|| format!("locking what `{}` is built with", built.name))?);
        }
        Ok(packages)
    }

    /// The pins of another tool's lock, as they are. Files are taken from the origin where it has them.
    fn taken(
        &self,
        client: &Client<'_>,
        lock: &ForeignLock,
        index: &str,
        target: &Target,
    ) -> Result<BTreeMap<Name, Pin>> {
        let text =
            std::fs::read_to_string(self.root.join(&lock.path)).context(|| format!("reading `{}`", lock.path))?;
        if Digest::of(text.as_bytes()) != lock.sha256 {
            return Err(Error::new(format!("`{}` has changed while it was read", lock.path)));
        }
        let name = lock.path.rsplit('/').next().unwrap_or_default();
        let kind = LockKind::of(name).ok_or_else(|| {
            Error::new(format!("`{}` is no lockfile that is known", lock.path))
                .hint("there are: uv.lock, pylock.toml, poetry.lock")
        })?;
        let mut pins = BTreeMap::new();
        for locked in kind.parse(&text, target)? {
            let mut nowhere = locked.clone();
            nowhere.file.url = None;
            // Where it is served from is the machine's business, if its hash says that it is the same.
            let file = match nowhere.file(client, index).ok().filter(|_| locked.file.sha256.is_some()) {
                Some(file) => file,
                None => locked.file(client, index)?,
            };
            let pin = Pin {
                name: locked.name.clone(),
                version: locked.version,
                extras: BTreeSet::new(),
                asked: Vec::new(),
                required_by: BTreeSet::new(),
                file,
                basis: Basis::Certain,
                yanked: None,
            };
            pins.insert(locked.name, pin);
        }
        Ok(pins)
    }

    /// What a source distribution is built with: nothing of it is in the image.
    fn build_dependencies(
        &self,
        python: &Python,
        client: &Client<'_>,
        targets: &BTreeMap<Platform, Target>,
        old: Option<&Lockfile>,
        built: &Package,
    ) -> Result<Vec<Package>> {
        let mut solutions = BTreeMap::new();
        for (platform, artifact) in built.artifacts.iter().filter(|(_, artifact)| artifact.built) {
            let requests = match built.origin.as_str() {
                URL => vec![net::Request::new(&artifact.path, LARGEST)?],
                origin => client.requests(&built.name.parse()?, origin, &artifact.path, LARGEST)?,
            };
            let label = format!("{} {}", built.name, built.version);
            let download = Download { label, digest: artifact.sha256, size: None, candidates: requests };
            self.client.download_all(self.store, &[download], &|_| {}, &|_| {})?;
            let system = BuildSystem::read(self.store, &artifact.sha256, artifact.file_name())?;
            let build = Python {
                packages: system.requires,
                constraints: Vec::new(),
                hashes: BTreeMap::new(),
                lock: None,
                ..python.clone()
            };
            let old = old.map(|old| Lockfile { packages: build_packages(old, &built.name), ..old.clone() });
            let request = request(&build, targets[platform].clone(), old.as_ref(), *platform, &Moving::Nothing)?;
            solutions.insert(*platform, solve::solve(client, &request)?.packages);
        }
        let mut packages = self.merged(client, old, solutions)?;
        for package in &mut packages {
            if package.artifacts.values().any(|artifact| artifact.built) {
                return Err(Error::no(format!("`{}` {} has no wheel", package.name, package.version))
                    .hint("what packages are built with must have wheels itself"));
            }
            package.build_for = vec![built.name.clone()];
        }
        Ok(packages)
    }

    fn merged(
        &self,
        client: &Client<'_>,
        old: Option<&Lockfile>,
        solutions: BTreeMap<Platform, BTreeMap<Name, Pin>>,
    ) -> Result<Vec<Package>> {
        let mut packages: BTreeMap<(Name, String), Package> = BTreeMap::new();
        for (platform, pins) in solutions {
            for (name, pin) in pins {
                let version = pin.version.to_string();
                let what = || format!("locking the file `{}`", pin.file.filename);
                let artifact = self.artifact(client, old, platform, &pin).context(what)?;
                let origin = pin.file.origin.clone().unwrap_or_else(|| URL.to_owned());
                let package = packages.entry((name, version.clone())).or_insert_with(|| Package {
                    ecosystem: ECOSYSTEM.to_owned(),
                    name: pin.name.to_string(),
                    version: version.clone(),
                    source: pin.name.to_string(),
                    source_version: version,
                    origin,
                    base: false,
                    requested: None,
                    required_by: Vec::new(),
                    build_for: Vec::new(),
                    artifacts: BTreeMap::new(),
                });
                package.required_by.extend(pin.required_by.iter().map(Name::to_string));
                let asked = (!pin.asked.is_empty()).then(|| pin.asked.join(", "));
                package.requested = package.requested.take().or(asked);
                package.artifacts.insert(platform, artifact);
            }
        }
        Ok(packages.into_values().collect())
    }

    /// The row of a file, with what the old lock has seen of the same bytes. A file without a hash is fetched.
    fn artifact(&self, client: &Client<'_>, old: Option<&Lockfile>, platform: Platform, pin: &Pin) -> Result<Artifact> {
        let file = &pin.file;
        let (sha256, size) = match file.sha256 {
            Some(sha256) => (sha256, file.size.unwrap_or(0)),
            None => self.fetch_unknown(client, pin)?,
        };
        let path = if file.origin.is_some() { &file.filename } else { &file.url };
        let known = old
            .into_iter()
            .flat_map(|old| &old.packages)
            .filter(|package| package.ecosystem == ECOSYSTEM && package.name == pin.name.as_str())
            .filter_map(|package| package.artifacts.get(&platform))
            .find(|artifact| artifact.sha256 == sha256 && artifact.path == *path);
        if let Some(known) = known {
            return Ok(known.clone());
        }
        // A wheel's name ends with the platform that it is for; what is built, is built for this one (PEP 427).
        let any = file.filename.ends_with("-any.whl");
        let architecture = if any { "all" } else { platform.architecture() };
        let (architecture, built) = (architecture.to_owned(), file.kind == FileKind::Source);
        Ok(Artifact { size, architecture, built, ..Artifact::new(path, sha256) })
    }

    fn fetch_unknown(&self, client: &Client<'_>, pin: &Pin) -> Result<(Digest, u64)> {
        let requests = requests(client, &pin.name, &pin.file)?;
        let mut failed = Error::new("nothing is known of where it is").kind(Kind::NotFound);
        for request in requests {
            match self.client.download_unknown(self.store, &request) {
                Ok(found) => return Ok(found),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

fn requests(client: &Client<'_>, name: &Name, file: &File) -> Result<Vec<net::Request>> {
    match &file.origin {
        Some(origin) => client.requests(name, origin, &file.filename, LARGEST),
        None => Ok(vec![net::Request::new(&file.url, LARGEST)?]),
    }
}

/// What an old lock has to build a package with, as if it were asked for.
fn build_packages(old: &Lockfile, built: &str) -> Vec<Package> {
    let wanted = old.packages.iter().filter(|package| package.build_for.iter().any(|name| name == built));
    wanted.map(|package| Package { build_for: Vec::new(), ..package.clone() }).collect()
}

/// What to ask the solver for one platform.
fn request(
    python: &Python,
    target: Target,
    old: Option<&Lockfile>,
    platform: Platform,
    moving: &Moving,
) -> Result<Request> {
    let read = |words: &[String]| -> Result<Vec<Requirement>> {
        let read = |word: &String| word.parse().context(|| format!("reading the requirement `{word}` of `[python]`"));
        words.iter().map(read).collect()
    };
    let mut request = Request::new(target, read(&python.packages)?);
    request.constraints = read(&python.constraints)?;
    for (origin, names) in &python.sources {
        for name in names {
            request.sources.insert(name.parse().context(|| "reading `sources` of `[python]`")?, origin.clone());
        }
    }
    for (name, hashes) in &python.hashes {
        request.hashes.insert(name.parse()?, hashes.clone());
    }
    let pins = old.into_iter().flat_map(|old| &old.packages);
    let pins = pins.filter(|package| package.ecosystem == ECOSYSTEM && package.build_for.is_empty());
    let pins = pins.filter(|package| package.artifacts.contains_key(&platform));
    for package in pins.filter(|_| *moving != Moving::Everything) {
        // What an earlier kiln has written is read leniently: it is only preferred.
        if let (Ok(name), Ok(version)) = (package.name.parse(), package.version.parse()) {
            request.preferred.insert(name, version);
        }
    }
    match moving {
        Moving::Named(names) => request.moving = names.iter().filter_map(|name| name.parse().ok()).collect(),
        Moving::Precise { package, version } => {
            let known = old.is_some_and(|old| {
                old.packages.iter().any(|known| known.ecosystem == ECOSYSTEM && known.name == *package)
            });
            if known {
                let name: Name = package.parse()?;
                let version = version.parse().context(|| format!("reading the version `{version}`"))?;
                request.constraints.push(Requirement::exactly(&name, &version));
            }
        }
        Moving::Nothing | Moving::Everything => {}
    }
    Ok(request)
}

/// The interpreter and the C library that the image has on `platform`: those of its Debian packages.
fn target(python: &Python, packages: &[Package], platform: Platform) -> Result<Target> {
    let version = |name: &str| debian_version(packages, platform, name).map(|version| upstream(&version));
    let asked = python.interpreter.as_deref().unwrap_or("python3");
    let default = version(asked).ok_or_else(|| {
        Error::no(format!("there are Python packages, and no interpreter: `{asked}` is not among Debian's packages"))
            .hint(format!("add `{asked}` to `packages` in `[debian]`, or name another `interpreter` in `[python]`"))
    })?;
    // `python3` 3.13.5 depends on `python3.13`, whose version has the last word.
    let mut numbers = default.split('.');
    let series = format!("python{}.{}", numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let full = version(&series).unwrap_or(default);
    let libc = version("libc6").ok_or_else(|| {
        Error::no("the image has no `libc6`, and Python's packages are made for one")
            .hint("add `libc6` to `packages` in `[debian]`, or leave `base = \"none\"` out")
    })?;
    let mut numbers = libc.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let glibc = (numbers.next().unwrap_or(2), numbers.next().unwrap_or(0));
    Target::new(&full, platform.architecture(), glibc)
}

/// The version of one of Debian's packages.
pub(super) fn debian_version(packages: &[Package], platform: Platform, name: &str) -> Option<String> {
    let mut all = packages.iter().filter(|package| package.ecosystem == "debian");
    let package = all.find(|package| package.name == name && package.artifacts.contains_key(&platform))?;
    Some(package.version.clone())
}

/// The upstream version's numbers in a version of Debian's: `2.41` of `2.41-12+deb13u1`.
pub(super) fn upstream(version: &str) -> String {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect::<String>().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::upstream;

    #[test]
    fn the_upstream_version_is_what_comes_first() {
        assert_eq!(upstream("3.13.5-2+deb13u1"), "3.13.5");
        assert_eq!(upstream("2.41-12"), "2.41");
        assert_eq!(upstream("1:2.31.dfsg-1"), "2.31");
    }
}
