//! What is asked for, in apt's syntax, and what it selects.

use super::super::policy;
use super::super::universe::{Dependency, Name, Universe, Version};
use super::state::{State, group_end};
use crate::error::{Error, Kind as ErrorKind, Result};

/// One thing asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// As written, the whole of `a | b`.
    pub text: String,
    pub name: Name,
    /// After `=`.
    pub version: Option<String>,
    /// After `/`.
    pub release: Option<String>,
}

/// Reads `name`, `name=version`, `name/suite`, or several of these separated by `|`; the unknown ones
/// are left out if at least one is known.
pub(super) fn parse(universe: &Universe, text: &str) -> Result<Vec<Wanted>> {
    let mut found = Vec::new();
    let mut first_error = None;
    for alternative in text.split('|') {
        match parse_one(universe, text, alternative.trim()) {
            Ok(wanted) => found.push(wanted),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    match first_error {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

fn parse_one(universe: &Universe, text: &str, one: &str) -> Result<Wanted> {
    let at = one.find(['=', '/']);
    let (name, rest) = at.map_or((one, ""), |at| (&one[..at], &one[at + 1..]));
    if at.is_some() && rest.is_empty() || name.is_empty() || one.contains(char::is_whitespace) {
        return Err(Error::new(format!("`{}` asks for no package", one.escape_debug()))
            .hint("write `name`, `name=version` or `name/suite`, and `a | b` for the first that can be had"));
    }
    if let Some((plain, architecture)) = name.split_once(':')
        && architecture != universe.architecture()
    {
        return Err(Error::new(format!(
            "`{one}` asks for a package of another architecture than {}",
            universe.architecture()
        ))
        .hint(format!("ask for `{plain}`: every platform gets its own architecture's packages")));
    }
    let number = universe
        .find(name)
        .filter(|&name| universe.versions(name).next().is_some() || universe.providers(name).next().is_some())
        .ok_or_else(|| unknown(universe, name))?;
    let (mut version, mut release) = (None, None);
    match at.map(|at| one.as_bytes()[at]) {
        Some(b'=') => version = Some(rest.to_owned()),
        Some(_) => release = Some(rest.to_owned()),
        None => {}
    }
    Ok(Wanted { text: text.to_owned(), name: number, version, release })
}

fn unknown(universe: &Universe, name: &str) -> Error {
    let labels: Vec<&str> = universe.indexes().iter().map(|index| index.label()).collect();
    let error = Error::new(format!("no package is called `{name}` in {}", labels.join(", "))).kind(ErrorKind::NotFound);
    let elsewhere = universe.foreign_architectures(name);
    if !elsewhere.is_empty() {
        return error.hint(format!(
            "`{name}` exists for {}, not for {}",
            elsewhere.join(", "),
            universe.architecture()
        ));
    }
    let mut near: Vec<(usize, &str)> = (1..universe.name_count() as Name)
        .filter(|&number| universe.versions(number).next().is_some())
        .map(|number| universe.name(number))
        .filter(|other| other.len().abs_diff(name.len()) < 3)
        .map(|other| (strsim::damerau_levenshtein(other, name), other))
        .filter(|(distance, _)| *distance < 3 && *distance * 2 < name.len())
        .collect();
    near.sort_unstable();
    match near.as_slice() {
        [] => error,
        near => {
            let names: Vec<String> = near.iter().take(3).map(|(_, name)| format!("`{name}`")).collect();
            error.hint(format!("did you mean {}?", names.join(", ")))
        }
    }
}

/// The package and version that a request means, with the candidates as they are.
pub(super) fn select(state: &State<'_>, want: &Wanted) -> Result<(Name, Version)> {
    let universe = state.universe;
    let selected = version_of(state, want, want.name);
    if let Some(version) = selected {
        return Ok((want.name, version));
    }
    // A name that only others provide means them, if there is but one.
    let mut providers: Vec<(Name, Version)> = Vec::new();
    for (by, _) in universe.providers(want.name) {
        let owner = universe.name_of(by);
        let picked = version_of(state, want, owner) == Some(by);
        if picked && owner != want.name && !providers.iter().any(|(known, _)| *known == owner) {
            providers.push((owner, by));
        }
    }
    match providers.as_slice() {
        [one] => Ok(*one),
        [] => Err(not_available(state, want)),
        several => {
            let mut names: Vec<&str> = several.iter().map(|(name, _)| universe.name(*name)).collect();
            names.sort_unstable();
            let name = universe.name(want.name);
            Err(Error::no(format!("`{name}` is no package but a name that several provide: {}", names.join(", ")))
                .hint(format!("ask for one of them, `{}` for example", names[0])))
        }
    }
}

fn version_of(state: &State<'_>, want: &Wanted, name: Name) -> Option<Version> {
    let universe = state.universe;
    match (&want.version, &want.release) {
        (Some(wanted), _) => universe.versions(name).find(|&version| match wanted.strip_suffix('*') {
            Some(prefix) => universe.version(version).starts_with(prefix),
            None => universe.version(version) == wanted,
        }),
        (None, Some(release)) => policy::version_from(universe, name, release),
        (None, None) => state.node(name).candidate,
    }
}

fn not_available(state: &State<'_>, want: &Wanted) -> Error {
    let universe = state.universe;
    let name = universe.name(want.name);
    let mut places: Vec<String> = Vec::new();
    for version in universe.versions(want.name) {
        let labels: Vec<&str> = universe.indexes_of(version).map(|index| index.label()).collect();
        places.push(format!("{} ({})", universe.version(version), labels.join(", ")));
    }
    let message = match (&want.version, &want.release) {
        (Some(version), _) => format!("`{name}` has no version {version}"),
        (_, Some(release)) => format!("`{name}` has no version in `{release}`"),
        _ => format!("`{name}` has no version that may be installed"),
    };
    let error = Error::no(message);
    match places.as_slice() {
        [] => error.hint(format!("`{name}` is only a name that others mention")),
        places => error.hint(format!("there is {}", places.join("; "))),
    }
}

/// `name/suite`: takes dependencies that the candidates cannot satisfy from that suite, too.
///
/// Where that leads nowhere, apt keeps the candidates it has changed on the way (it means to put them back, but
/// puts back what it changed them to), and its answers depend on that.
pub(super) fn switch_releases(state: &mut State<'_>, releases: &[(Version, String)]) {
    for (version, _) in releases {
        state.set_candidate(state.universe.name_of(*version), *version);
    }
    let mut changed = Vec::new();
    for (version, release) in releases {
        changed.push(*version);
        switch_release(state, *version, release, &mut changed, 0);
    }
}

fn switch_release(
    state: &mut State<'_>,
    version: Version,
    release: &str,
    changed: &mut Vec<Version>,
    depth: usize,
) -> bool {
    state.set_candidate(state.universe.name_of(version), version);
    if depth > super::install::MAX_DEPTH {
        return false;
    }
    let mark = changed.len();
    let dependencies = state.dependencies(version);
    let mut at = 0;
    while at < dependencies.len() {
        let group = &dependencies[at..group_end(&dependencies, at)];
        at += group.len();
        let kind = group[0].kind;
        if !kind.is_critical() || kind.is_negative() || group.iter().any(|one| is_fine(state, one)) {
            continue;
        }
        if !switch_group(state, group, release, changed, depth) {
            changed.truncate(mark);
            return false;
        }
    }
    true
}

/// Whether a dependency can be satisfied with the candidates as they are.
fn is_fine(state: &mut State<'_>, dependency: &Dependency<'_>) -> bool {
    let universe = state.universe;
    let node = *state.node(dependency.target);
    if node.current.is_some_and(|version| dependency.accepts(universe.version(version))) {
        return true;
    }
    if dependency.version.is_none() && universe.providers(dependency.target).next().is_some() {
        let owners: Vec<Version> = universe.providers(dependency.target).map(|(by, _)| by).collect();
        return owners
            .into_iter()
            .any(|by| state.node(universe.name_of(by)).candidate == Some(by) && state.is_satisfied(by));
    }
    let Some(candidate) = node.candidate else { return false };
    dependency.accepts(universe.version(candidate)) && state.is_satisfied(candidate)
}

/// Makes the first alternative that `release` can satisfy the candidate.
fn switch_group(
    state: &mut State<'_>,
    group: &[Dependency<'_>],
    release: &str,
    changed: &mut Vec<Version>,
    depth: usize,
) -> bool {
    let universe = state.universe;
    for (at, dependency) in group.iter().enumerate() {
        // Another candidate does not help where any version will do.
        let found = policy::version_from(universe, dependency.target, release)
            .filter(|&version| dependency.version.is_some() && dependency.accepts(universe.version(version)));
        let Some(version) = found else { continue };
        let before = state.node(dependency.target).candidate;
        let touched = changed.iter().any(|&known| universe.name_of(known) == dependency.target);
        if before == Some(version) && touched {
            return true;
        }
        changed.push(version);
        if switch_release(state, version, release, changed, depth + 1) {
            return true;
        }
        // Only a change that another alternative may still make up for is taken back.
        if at + 1 < group.len() {
            changed.pop();
            if let Some(before) = before {
                state.set_candidate(dependency.target, before);
            }
        }
    }
    false
}
