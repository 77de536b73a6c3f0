//! Definitions: `envs/NAME.toml` and what it extends, merged and validated into [`Settings`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::languages::{NpmFile, PythonFile, PythonMerged, add_npm};
use super::settings::{
    Base, BaseImage, Debian, Healthcheck, ImageSettings, LAYOUT, Npm, Settings, Source, Suite, User, main,
};
use super::steps::{Copy, Fetch, Run, Step};
use super::{Asked, Edit, Exposed, Platform, Workspace, diagnostic};
use crate::error::{Context, Error, Result};
use crate::registry::Reference;
use crate::tables;

/// How deep definitions may extend one another.
const MAXIMUM_DEPTH: usize = 16;

/// How many steps a definition may have: each is a layer.
pub(super) const MAXIMUM_STEPS: usize = 32;

/// The exclusion sets that apply unless a definition says otherwise: slim by default.
const SLIM: [&str; 3] = ["docs", "locales", "man"];

/// A definition file as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    description: Option<String>,
    extends: Vec<Spanned<String>>,
    platforms: Option<Vec<Spanned<String>>>,
    base: Option<BaseFile>,
    debian: Option<Spanned<DebianFile>>,
    users: BTreeMap<Spanned<String>, User>,
    image: ImageSettings,
    python: Option<PythonFile>,
    npm: Option<NpmFile>,
    fetch: Vec<Spanned<Fetch>>,
    copy: Vec<Spanned<Copy>>,
    run: Vec<Spanned<Run>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseFile {
    image: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct DebianFile {
    suite: Option<Spanned<String>>,
    suites: Option<Vec<SuiteFile>>,
    components: Option<Vec<String>>,
    snapshot: Option<Spanned<String>>,
    packages: Vec<Spanned<String>>,
    exclude: Option<Vec<Spanned<String>>>,
    base: Option<Base>,
    accept_unconfigured: Vec<String>,
    preseed: BTreeMap<String, String>,
    source: Vec<Source>,
    local: Vec<String>,
    allow_expired: bool,
}

/// A suite by its name alone, or with what differs from the usual.
#[derive(Deserialize)]
#[serde(untagged)]
enum SuiteFile {
    Name(String),
    Full(SuiteTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SuiteTable {
    name: String,
    origin: Option<String>,
    components: Option<Vec<String>>,
    #[serde(default)]
    allow_expired: bool,
    #[serde(default)]
    allow_weak: bool,
}

/// What has been gathered from a definition and those it extends.
#[derive(Default)]
struct Merged {
    description: String,
    platforms: Option<Vec<Platform>>,
    base_image: Option<BaseImage>,
    /// Whether anything is said of Debian's packages.
    debian: bool,
    suites: Option<Vec<Suite>>,
    snapshot: Option<String>,
    packages: BTreeSet<String>,
    exclude: Option<BTreeSet<String>>,
    base: Option<Base>,
    accept_unconfigured: BTreeSet<String>,
    preseed: BTreeMap<String, String>,
    source: Vec<Source>,
    local: BTreeSet<String>,
    python: PythonMerged,
    npm: Option<Npm>,
    users: BTreeMap<String, User>,
    steps: Vec<Step>,
    image: ImageSettings,
}

/// Reads the definition of `environment` and all it extends. Where it names no platform, it is for this machine's.
pub fn load(workspace: &Workspace, environment: &str) -> Result<Settings> {
    load_for(workspace, environment, &[])
}

/// As [`load`], for the platforms that it was `locked` for where it names none: what it means may not depend on who asks.
pub fn load_for(workspace: &Workspace, environment: &str, locked: &[Platform]) -> Result<Settings> {
    let mut merged = Merged::default();
    gather(workspace, environment, &mut merged, &mut Vec::new())?;
    merged.platforms = merged.platforms.or_else(|| (!locked.is_empty()).then(|| locked.to_vec()));
    merged.finish().context(|| format!("reading the definition of `{environment}`"))
}

fn gather(workspace: &Workspace, name: &str, merged: &mut Merged, above: &mut Vec<String>) -> Result<()> {
    let shown = Path::new("envs").join(format!("{name}.toml"));
    let text = workspace.definition_text(name)?;
    let file: File = tables::from_str(&text).map_err(|error| diagnostic::toml(&shown, &text, &error))?;
    let complain = |span: Range<usize>, message: &str| diagnostic::at(&shown, &text, span, message);

    above.push(name.to_owned());
    for extended in &file.extends {
        let wanted = extended.get_ref();
        if above.contains(wanted) {
            let circle = format!("{} -> {wanted}", above.join(" -> "));
            return Err(complain(extended.span(), &format!("definitions extend one another in a circle: {circle}"))
                .hint("put what they share into one that extends none of them: `envs/_NAME.toml` is no environment"));
        }
        if above.len() >= MAXIMUM_DEPTH {
            return Err(complain(
                extended.span(),
                &format!("definitions extend one another more than {MAXIMUM_DEPTH} deep"),
            ));
        }
        if !is_name(wanted) || !workspace.definition_path(wanted).is_file() {
            let error = complain(extended.span(), &format!("there is no definition `envs/{wanted}.toml`"));
            let known = workspace.definitions()?;
            return Err(
                match super::nearest(wanted, known.iter().filter(|known| *known != name).map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error,
                },
            );
        }
        gather(workspace, wanted, merged, above)?;
    }
    above.pop();
    merged.add(file, &workspace.root, &complain)
}

/// The definition that asks for a package, among those that `environment` extends, and what it asks for. Nothing if
/// none of them does.
pub fn origin_of(workspace: &Workspace, environment: &str, asked: &Asked) -> Result<Option<(String, Asked)>> {
    let mut seen = BTreeSet::from([environment.to_owned()]);
    let mut open = vec![environment.to_owned()];
    while let Some(name) = open.pop() {
        let shown = Path::new("envs").join(format!("{name}.toml"));
        let text = workspace.definition_text(&name)?;
        if name != environment
            && let Some(found) =
                Edit::new(&shown, &text)?.asked(asked.ecosystem).into_iter().find(|known| known.name == asked.name)
        {
            return Ok(Some((name, found)));
        }
        let file: File = tables::from_str(&text).map_err(|error| diagnostic::toml(&shown, &text, &error))?;
        // The last one that is extended is on top.
        open.extend(file.extends.into_iter().map(Spanned::into_inner).filter(|name| seen.insert(name.clone())));
    }
    Ok(None)
}

/// Whether an environment may be called so.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c)) && !name.starts_with('.')
}

impl Merged {
    /// Puts a definition on top of those it extends: lists grow, single values are replaced.
    fn add(&mut self, file: File, root: &Path, complain: &dyn Fn(Range<usize>, &str) -> Error) -> Result<()> {
        if let Some(description) = file.description {
            self.description = description;
        }
        if let Some(platforms) = file.platforms {
            let mut parsed = BTreeSet::new();
            for platform in platforms {
                let parse = platform.get_ref().parse::<Platform>();
                parsed.insert(parse.map_err(|error| {
                    error
                        .hints()
                        .iter()
                        .fold(complain(platform.span(), error.message()), |error, hint| error.hint(hint.clone()))
                })?);
            }
            self.platforms = Some(parsed.into_iter().collect());
        }
        if let Some(base) = file.base {
            let image = base.image;
            check_base_image(image.get_ref()).map_err(|error| {
                error.hints().iter().cloned().fold(complain(image.span(), error.message()), Error::hint)
            })?;
            self.base_image = Some(BaseImage { image: image.into_inner() });
        }
        if let Some(debian) = file.debian {
            if self.base_image.is_some() {
                return Err(complain(debian.span(), "an environment on a base image has no packages of Debian's")
                    .hint(
                        "leave out `[base]` and have kiln put Debian's base together, or bring files by `[[fetch]]`",
                    ));
            }
            self.debian = true;
            self.add_debian(debian.into_inner(), complain)?;
        }
        if let Some(python) = file.python {
            self.python.add(python, root, complain)?;
        }
        if let Some(npm) = file.npm {
            add_npm(&mut self.npm, npm, root, complain)?;
        }
        self.add_steps(file.fetch, file.copy, file.run, complain)?;
        for (name, user) in file.users {
            check_user(name.get_ref(), &user).map_err(|error| {
                error.hints().iter().cloned().fold(complain(name.span(), error.message()), Error::hint)
            })?;
            self.users.insert(name.into_inner(), user);
        }
        self.add_image(file.image);
        Ok(())
    }

    fn add_debian(&mut self, file: DebianFile, complain: &dyn Fn(Range<usize>, &str) -> Error) -> Result<()> {
        let components = file.components.unwrap_or_else(main);
        if let Some(suites) = file.suites {
            self.suites = Some(suites.into_iter().map(|suite| suite.resolve(&components)).collect());
        } else if let Some(suite) = file.suite {
            if !is_name(suite.get_ref()) {
                return Err(complain(suite.span(), &format!("`{}` is not the name of a suite", suite.get_ref())));
            }
            self.suites = Some(usual_suites(suite.get_ref(), &components, file.allow_expired));
        }
        if let Some(snapshot) = file.snapshot {
            if !is_timestamp(snapshot.get_ref()) {
                return Err(complain(snapshot.span(), "a snapshot is a point in time such as `2026-07-11T00:00:00Z`"));
            }
            self.snapshot = Some(snapshot.into_inner());
        }
        for package in file.packages {
            if package.get_ref().trim().is_empty() {
                return Err(complain(package.span(), "a package has a name"));
            }
            self.packages.insert(package.into_inner());
        }
        if let Some(exclude) = file.exclude {
            let mut names = BTreeSet::new();
            for name in exclude {
                if !SLIM.contains(&name.get_ref().as_str()) {
                    let near = super::nearest(name.get_ref(), SLIM.into_iter());
                    let error =
                        complain(name.span(), &format!("`{}` is no set of files that can be excluded", name.get_ref()));
                    return Err(match near {
                        Some(near) => error.hint(format!("did you mean `{near}`?")),
                        None => error.hint(format!("there are: {}", SLIM.join(", "))),
                    });
                }
                names.insert(name.into_inner());
            }
            self.exclude = Some(names);
        }
        self.base = file.base.or(self.base);
        self.accept_unconfigured.extend(file.accept_unconfigured);
        self.preseed.extend(file.preseed);
        self.source.extend(file.source);
        self.local.extend(file.local);
        Ok(())
    }

    /// Adds the steps in the order in which the file has them.
    fn add_steps(
        &mut self,
        fetch: Vec<Spanned<Fetch>>,
        copy: Vec<Spanned<Copy>>,
        run: Vec<Spanned<Run>>,
        complain: &dyn Fn(Range<usize>, &str) -> Error,
    ) -> Result<()> {
        let fetch = fetch.into_iter().map(|step| (step.span(), Step::Fetch(step.into_inner())));
        let copy = copy.into_iter().map(|step| (step.span(), Step::Copy(step.into_inner())));
        let run = run.into_iter().map(|step| (step.span(), Step::Run(step.into_inner())));
        let mut steps: Vec<(Range<usize>, Step)> = fetch.chain(copy).chain(run).collect();
        steps.sort_by_key(|(span, _)| span.start);
        for (span, step) in steps {
            step.check()
                .map_err(|error| error.hints().iter().cloned().fold(complain(span, error.message()), Error::hint))?;
            self.steps.push(step);
            if self.steps.len() > MAXIMUM_STEPS {
                return Err(Error::new(format!("there are more than {MAXIMUM_STEPS} steps"))
                    .hint("each `[[fetch]]`, `[[copy]]` and `[[run]]` is a layer, and engines accept 127 of them"));
            }
        }
        Ok(())
    }

    fn add_image(&mut self, image: ImageSettings) {
        let own = &mut self.image;
        // A new entrypoint without a command of its own does not want the one of another program.
        if !image.entrypoint.is_empty() {
            own.entrypoint = image.entrypoint;
            own.command.clear();
        }
        if !image.command.is_empty() {
            own.command = image.command;
        }
        own.user = image.user.or(own.user.take());
        own.workdir = image.workdir.or(own.workdir.take());
        own.stop_signal = image.stop_signal.or(own.stop_signal.take());
        own.healthcheck = image.healthcheck.or(own.healthcheck.take());
        own.env.extend(image.env);
        own.labels.extend(image.labels);
        for (list, more) in [(&mut own.ports, image.ports), (&mut own.volumes, image.volumes)] {
            list.extend(more);
            list.sort();
            list.dedup();
        }
    }

    fn finish(self) -> Result<Settings> {
        let python = self.python.finish();
        if self.base_image.is_some() {
            let other = if self.debian { Some("[debian]") } else { python.as_ref().map(|_| "[python]") };
            if let Some(other) = other {
                return Err(Error::new(format!("`[base]` names an image, and `{other}` cannot be on top of one"))
                    .hint(
                        "on a base image there may be npm packages, `[[fetch]]`, `[[copy]]`, `[[run]]` and users; kiln \
                     does not know which packages it has",
                    ));
            }
        }
        let suites = match (self.suites, &self.base_image) {
            (Some(suites), _) => suites,
            (None, Some(_)) => Vec::new(),
            (None, None) => {
                return Err(Error::new("no Debian suite is named")
                    .hint("say which in the definition: `[debian]` with `suite = \"trixie\"`"));
            }
        };
        let on_image = self.base_image.is_some();
        let platforms = self.platforms.or_else(|| Platform::of_this_machine().map(|platform| vec![platform]));
        let platforms = platforms.filter(|platforms| !platforms.is_empty()).ok_or_else(|| {
            Error::new("no platform is named").hint("say which in the definition: `platforms = [\"linux/amd64\"]`")
        })?;
        for port in &self.image.ports {
            port.parse::<Exposed>()?;
        }
        if let Some(healthcheck) = &self.image.healthcheck {
            check_healthcheck(healthcheck)?;
        }
        Ok(Settings {
            description: self.description,
            platforms,
            base: self.base_image,
            python,
            npm: self.npm,
            steps: self.steps,
            debian: Debian {
                suites,
                snapshot: self.snapshot,
                packages: self.packages.into_iter().collect(),
                exclude: match self.exclude {
                    Some(exclude) => exclude.into_iter().collect(),
                    None if on_image => Vec::new(),
                    None => SLIM.map(str::to_owned).into(),
                },
                base: if on_image { Base::None } else { self.base.unwrap_or_default() },
                accept_unconfigured: self.accept_unconfigured.into_iter().collect(),
                preseed: self.preseed,
                source: self.source,
                local: self.local.into_iter().collect(),
            },
            users: self.users,
            image: self.image,
        })
    }
}

impl SuiteFile {
    fn resolve(self, components: &[String]) -> Suite {
        let table = match self {
            Self::Name(name) => {
                SuiteTable { name, origin: None, components: None, allow_expired: false, allow_weak: false }
            }
            Self::Full(table) => table,
        };
        let origin = table
            .origin
            .unwrap_or_else(|| if table.name.ends_with("-security") { "debian-security" } else { "debian" }.to_owned());
        Suite {
            origin,
            name: table.name,
            components: table.components.unwrap_or_else(|| components.to_vec()),
            allow_expired: table.allow_expired,
            allow_weak: table.allow_weak,
        }
    }
}

/// A release with what belongs to it: its updates and its security suite. `sid` has neither.
fn usual_suites(name: &str, components: &[String], allow_expired: bool) -> Vec<Suite> {
    let suite = |origin: &str, name: String| Suite {
        origin: origin.to_owned(),
        name,
        components: components.to_vec(),
        allow_expired,
        allow_weak: false,
    };
    let mut suites = vec![suite("debian", name.to_owned())];
    if !matches!(name, "sid" | "unstable" | "experimental" | "rc-buggy") {
        suites.push(suite("debian", format!("{name}-updates")));
        suites.push(suite("debian-security", format!("{name}-security")));
    }
    suites
}

/// `YYYY-MM-DDTHH:MM:SSZ`, digits in the right places.
fn is_timestamp(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd:dd:ddZ";
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(found, wanted)| if wanted == b'd' { found.is_ascii_digit() } else { found == wanted })
}

fn check_user(name: &str, user: &User) -> Result<()> {
    let good = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
        && name.len() <= 32;
    if !good {
        return Err(Error::new(format!("`{name}` is not a user's name"))
            .hint("lower-case letters, digits, `-` and `_`, starting with a letter"));
    }
    for (what, value) in [("home", &user.home), ("shell", &user.shell)] {
        if !value.starts_with('/') || value.contains([':', '\n']) {
            return Err(Error::new(format!("the {what} of user `{name}`, {value:?}, is not an absolute path"))
                .hint("as in `home = \"/srv/app\"`, without a `:`"));
        }
    }
    Ok(())
}

fn check_base_image(image: &str) -> Result<()> {
    let Some(layout) = image.strip_prefix(LAYOUT) else { return Reference::parse(image).map(drop) };
    let folder = layout.split(':').next().unwrap_or_default();
    let inside = !folder.is_empty()
        && !folder.starts_with('/')
        && folder.split('/').all(|name| !matches!(name, "" | ".." | "."))
        && !folder.contains('\0');
    if inside {
        return Ok(());
    }
    Err(Error::new(format!("`{}` names no folder of the workspace", image.escape_debug()))
        .hint("a layout is named by its path below the workspace's folder: `oci:images/base`"))
}

fn check_healthcheck(healthcheck: &Healthcheck) -> Result<()> {
    if healthcheck.command.is_empty() {
        return Err(Error::new("the healthcheck has no `command`").hint("`command = [\"/usr/bin/check\"]`"));
    }
    let durations = [&healthcheck.interval, &healthcheck.timeout, &healthcheck.start_period].into_iter().flatten();
    for duration in durations {
        if Healthcheck::nanoseconds(duration).is_none() {
            return Err(Error::new(format!("`{duration}` in the healthcheck is not a duration"))
                .hint("durations are written as `30s`, `1m30s` or `500ms`"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
