//! `[targets.NAME]` in `kiln.toml`: what a place that runs environments adds to them. Nothing here knows how
//! a place is reached, or what runs there.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::{Exposed, Published, nearest};
use crate::error::{Error, Result};

/// Stands for every environment.
const ALL: &str = "*";

/// A place that runs environments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Where its images are pulled from: a registry and what comes before an image's name there.
    pub repository: Option<String>,
    variables: BTreeMap<String, BTreeMap<String, String>>,
    ports: BTreeMap<String, Vec<Published>>,
}

impl Target {
    /// The variables that it sets for `environment`: those for all, and over them its own.
    pub fn variables(&self, environment: &str) -> BTreeMap<String, String> {
        let sets = [ALL, environment].into_iter().filter_map(|name| self.variables.get(name));
        sets.flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The ports that it publishes for `environment`; `None` if it says nothing of them.
    pub fn ports(&self, environment: &str) -> Option<&[Published]> {
        self.ports.get(environment).map(Vec::as_slice)
    }

    /// The ports of a service that exposes `exposed`: what the target publishes, or all under their own numbers.
    pub fn published(target: Option<&Self>, environment: &str, exposed: &[Exposed]) -> Vec<Published> {
        match target.and_then(|target| target.ports(environment)) {
            Some(ports) => ports.to_vec(),
            None => exposed.iter().copied().map(Published::from).collect(),
        }
    }
}

/// A target as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TargetFile {
    repository: Option<Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, BTreeMap<Spanned<String>, Spanned<String>>>,
    #[serde(default)]
    ports: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
}

/// What points at the offending text.
type Complain<'a> = &'a dyn Fn(Range<usize>, &str) -> Error;

/// Checks what is written. `environments` are those of the workspace.
pub(super) fn check(
    files: BTreeMap<Spanned<String>, TargetFile>,
    environments: &[String],
    complain: Complain<'_>,
) -> Result<BTreeMap<String, Target>> {
    let mut targets = BTreeMap::new();
    for (name, file) in files {
        if !super::definition::is_name(name.get_ref()) {
            let message = format!("`{}` is not the name of a target", name.get_ref());
            return Err(complain(name.span(), &message).hint("letters, digits, `-`, `_`, `.` and `+`"));
        }
        targets.insert(name.into_inner(), file.check(environments, complain)?);
    }
    Ok(targets)
}

impl TargetFile {
    fn check(self, environments: &[String], complain: Complain<'_>) -> Result<Target> {
        let mut target = Target::default();
        if let Some(repository) = self.repository {
            if !is_repository(repository.get_ref()) {
                let message = format!("`{}` is not a place for images", repository.get_ref());
                return Err(complain(repository.span(), &message)
                    .hint("a registry and what comes before an image's name: `registry.example/team`"));
            }
            target.repository = Some(repository.into_inner());
        }
        for (name, variables) in self.env {
            if name.get_ref() != ALL {
                check_environment(&name, environments, complain)?;
            }
            let checked = variables.into_iter().map(|(variable, value)| check_variable(variable, value, complain));
            target.variables.insert(name.into_inner(), checked.collect::<Result<_>>()?);
        }
        for (name, ports) in self.ports {
            check_environment(&name, environments, complain)?;
            target.ports.insert(name.into_inner(), check_ports(&ports, complain)?);
        }
        Ok(target)
    }
}

fn check_environment(name: &Spanned<String>, environments: &[String], complain: Complain<'_>) -> Result<()> {
    let wanted = name.get_ref();
    if environments.contains(wanted) {
        return Ok(());
    }
    let error = complain(name.span(), &format!("there is no environment `{wanted}`"));
    Err(match nearest(wanted, environments.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if environments.is_empty() => error.hint("an environment is a file `envs/NAME.toml`"),
        None => error.hint(format!("there are: {}", environments.join(", "))),
    })
}

fn check_variable(name: Spanned<String>, value: Spanned<String>, complain: Complain<'_>) -> Result<(String, String)> {
    let text = name.get_ref();
    if text.is_empty() || text.contains(['=', '\0']) {
        let message = format!("{text:?} cannot be the name of a variable");
        return Err(complain(name.span(), &message).hint("names have at least one character, and no `=`"));
    }
    if value.get_ref().contains('\0') {
        return Err(complain(value.span(), &format!("the value of `{text}` has a zero byte in it"))
            .hint("variables end at a zero byte: none can hold one"));
    }
    Ok((name.into_inner(), value.into_inner()))
}

fn check_ports(written: &[Spanned<String>], complain: Complain<'_>) -> Result<Vec<Published>> {
    let mut ports: Vec<Published> = Vec::new();
    for port in written {
        let parsed: Published = port.get_ref().parse().map_err(|error: Error| {
            error.hints().iter().cloned().fold(complain(port.span(), error.message()), Error::hint)
        })?;
        let place = |port: &Published| (port.address, port.number, port.exposed.protocol);
        if ports.iter().any(|known| place(known) == place(&parsed)) {
            let message = format!("port {} of the machine is published twice", parsed.number);
            return Err(complain(port.span(), &message).hint("give each its own: `15000:5000/tcp`, `15001:5000/tcp`"));
        }
        ports.push(parsed);
    }
    Ok(ports)
}

/// `HOST[:PORT][/NAME]...`, as references to images begin (distribution specification, `<name>`).
fn is_repository(text: &str) -> bool {
    let mut parts = text.split('/');
    let host = parts.next().unwrap_or_default();
    let (host, port) = host.rsplit_once(':').map_or((host, None), |(host, port)| (host, Some(port)));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let good = !host.is_empty() && host.chars().all(allowed) && !host.starts_with(['-', '.']);
    good && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0)) && parts.all(is_image_name)
}

/// Whether registries take it as one part of an image's name (distribution specification, `<name>`): words of lower-case
/// letters and digits, with `.`, `_`, `__` or any number of `-` between them.
pub fn is_image_name(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good_end = |c: Option<char>| c.is_some_and(is_word);
    let separators = text.split(is_word).filter(|between| !between.is_empty());
    good_end(text.chars().next()) && good_end(text.chars().next_back()) && text.len() <= 128 && { separators }
        .all(|between| matches!(between, "." | "_" | "__") || between.chars().all(|c| c == '-'))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Target, is_image_name, is_repository};
    use crate::error::{Error, Result};
    use crate::workspace::{Exposed, Workspace};

    fn targets(text: &str) -> Result<Workspace> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("envs")).unwrap();
        for name in ["api", "queue", "_base"] {
            fs::write(folder.path().join(format!("envs/{name}.toml")), "").unwrap();
        }
        fs::write(folder.path().join("kiln.toml"), text).unwrap();
        Workspace::find(folder.path())
    }

    fn shown(error: &Error) -> String {
        let hints = error.hints().iter().map(|hint| format!("\nhint: {hint}"));
        [error.to_string(), format!("\n{}", error.details().unwrap_or_default())].into_iter().chain(hints).collect()
    }

    #[test]
    fn a_target_adds_to_environments() {
        let workspace = targets(
            "[targets.laptop]\nrepository = \"localhost:5000\"\nenv.\"*\" = { A = \"all\", B = \"all\" }\n\
             env.api = { B = \"own\" }\nports.api = [\"15000:5000/tcp\"]\n",
        )
        .unwrap();
        let laptop = workspace.target("laptop").unwrap();
        assert_eq!(laptop.repository.as_deref(), Some("localhost:5000"));
        let variables: Vec<_> = laptop.variables("api").into_iter().collect();
        assert_eq!(variables, [("A".to_owned(), "all".to_owned()), ("B".to_owned(), "own".to_owned())]);
        assert_eq!(laptop.variables("queue")["B"], "all");
        let exposed: [Exposed; 1] = ["5000/tcp".parse().unwrap()];
        let published = |target, name| Target::published(target, name, &exposed)[0].to_string();
        assert_eq!(published(Some(laptop), "api"), "15000:5000/tcp");
        assert_eq!(published(Some(laptop), "queue"), "5000:5000/tcp");
        assert_eq!(published(None, "api"), "5000:5000/tcp");
        assert_eq!(workspace.target("latpop").unwrap_err().hints(), ["did you mean `laptop`?"]);
    }

    #[test]
    fn complaints_point_at_the_text() {
        insta::assert_snapshot!(shown(&targets("[targets.a]\nenv.quue = {}\n").unwrap_err()), @"
        kiln.toml:2:5: there is no environment `quue`
          |
        2 | env.quue = {}
          |     ^^^^
        hint: did you mean `queue`?
        ");
        insta::assert_snapshot!(shown(&targets("[targets.a]\nports.api = [\"1:2\", \"5000/tcp\"]\n").unwrap_err()), @r#"
        kiln.toml:2:21: `5000/tcp` does not say which port leads to which
          |
        2 | ports.api = ["1:2", "5000/tcp"]
          |                     ^^^^^^^^^^
        hint: ports of a target are written as `15000:5000/tcp`, the machine's first, or `127.0.0.1:15000:5000/tcp`
        "#);
        for (text, expected) in [
            ("[targets.a]\nprots.api = []\n", "kiln.toml:2:1: unknown key `prots`"),
            ("[targets.a]\nenv.api = { A = 1 }\n", "kiln.toml:2:17: expected a string, found the integer `1`"),
            ("[targets.a]\nenv.api = { \"A=B\" = \"1\" }\n", "kiln.toml:2:13: \"A=B\" cannot be the name"),
            ("[targets.a]\nenv.api = { A = \"\\u0000\" }\n", "kiln.toml:2:17: the value of `A` has a zero byte"),
            ("[targets.a]\nports.\"*\" = []\n", "kiln.toml:2:7: there is no environment `*`"),
            ("[targets.a]\nports._base = []\n", "kiln.toml:2:7: there is no environment `_base`"),
            ("[targets.a]\nports.api = [\"1:2\", \"1:3\"]\n", "kiln.toml:2:21: port 1 of the machine is published"),
            ("[targets.a]\nrepository = \"a/B\"\n", "kiln.toml:2:14: `a/B` is not a place for images"),
            ("[targets.\"a b\"]\n", "kiln.toml:1:10: `a b` is not the name of a target"),
            ("[target.a]\n", "kiln.toml:1:2: unknown key `target`"),
        ] {
            let error = targets(text).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn places_for_images() {
        for good in ["localhost:5000", "registry.example/team", "Registry.Example:443/a/b-c__d.e---f"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in
            ["", "/a", "a/", "a//b", "a:b/c", "a:0", "https://a/b", "a/b:tag", "a/b@sha256:0", "a b", "${A}", "a/-b"]
        {
            assert!(!is_repository(bad), "{bad}");
        }
        for bad in ["", "A", "a..b", "a___b", "-a", "a_", "ä", "a b"] {
            assert!(!is_image_name(bad), "{bad}");
        }
    }
}
