//! Dockerfiles (Dockerfile reference): the last stage, instruction by instruction.

use std::collections::BTreeMap;

use super::languages::is_below;
use super::words::{expand, pairs, split};
use super::{Exists, Imported, Step, shell};
use crate::workspace::steps::permissions;
use crate::workspace::{Exposed, Healthcheck};

/// What an instruction is that is not taken, and what to do about it.
type Advice = &'static str;

const WRONG: Advice = "it is not understood";
const UNKNOWN: Advice = "a variable in it is not known: write its value in the definition";

/// An instruction with all its lines.
struct Instruction {
    line: usize,
    word: String,
    rest: String,
    /// What follows it in a here-document.
    document: Option<String>,
}

/// Reads a Dockerfile.
pub fn dockerfile(text: &str, exists: Exists<'_>) -> Imported {
    let mut all = instructions(text);
    let mut imported = Imported::default();
    let mut known = BTreeMap::new();
    // What is said before the first stage holds in all `FROM`s.
    let last = all.iter().rposition(|one| one.word == "FROM").unwrap_or(0);
    let stage = all.split_off(last.min(all.len()));
    for one in &all {
        match one.word.as_str() {
            "ARG" => argument(&one.rest, &mut known),
            "FROM" => imported.leave(
                one.line,
                &format!("FROM {}", one.rest),
                "a stage of its own: make it another environment, or a `[[run]]`",
            ),
            _ => {}
        }
    }
    for one in &stage {
        if let Err(advice) = take(&mut imported, one, &mut known, exists) {
            imported.leave(one.line, &format!("{} {}", one.word, one.rest), advice);
        }
    }
    if let Some(user) = imported.image.user.clone()
        && !matches!(user.as_str(), "root" | "0")
    {
        let line = stage.iter().rfind(|one| one.word == "USER").map_or(1, |one| one.line);
        imported.leave(line, &format!("USER {user}"), "if no package makes this user: `[users.NAME]` with `uid`");
    }
    imported
}

/// The instructions, with lines joined that a backslash ends, and comments left out.
fn instructions(text: &str) -> Vec<Instruction> {
    let escape = if text.lines().take(3).any(|line| line.replace(' ', "") == "#escape=`") { '`' } else { '\\' };
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let first = first.trim();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let mut whole = String::new();
        let mut next = Some(first);
        while let Some(line) = next {
            match line.strip_suffix(escape) {
                Some(start) => {
                    whole.push_str(start);
                    whole.push(' ');
                    next = lines
                        .by_ref()
                        .map(|(_, line)| line.trim())
                        .find(|line| !line.is_empty() && !line.starts_with('#'));
                }
                None => {
                    whole.push_str(line);
                    next = None;
                }
            }
        }
        let (word, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
        let document = end_of_document(rest).map(|end| {
            let body = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != end);
            body.collect::<Vec<_>>().join("\n")
        });
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim().to_owned());
        found.push(Instruction { line: number + 1, word, rest, document });
    }
    found
}

/// The word that ends the here-document which an instruction begins.
fn end_of_document(rest: &str) -> Option<String> {
    let (_, after) = rest.split_once("<<")?;
    let word = after.trim_start_matches('-').trim_matches(|c| c == '"' || c == '\'');
    let end: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    Some(end).filter(|end| !end.is_empty())
}

fn argument(rest: &str, known: &mut BTreeMap<String, String>) {
    for (name, value) in split(rest).unwrap_or_default().iter().filter_map(|word| word.split_once('=')) {
        if let Some(value) = expand(value, known) {
            known.insert(name.to_owned(), value);
        }
    }
}

fn take(
    imported: &mut Imported,
    one: &Instruction,
    known: &mut BTreeMap<String, String>,
    exists: Exists<'_>,
) -> Result<(), Advice> {
    let expanded = |known: &BTreeMap<String, String>| expand(&one.rest, known).ok_or(UNKNOWN);
    let image = &mut imported.image;
    match one.word.as_str() {
        "FROM" => return from(imported, &expanded(known)?),
        "ARG" => argument(&one.rest, known),
        "ENV" => {
            let found = pairs(&expanded(known)?).ok_or(WRONG)?;
            known.extend(found.clone());
            image.env.extend(found);
        }
        "LABEL" => image.labels.extend(pairs(&expanded(known)?).ok_or(WRONG)?),
        "WORKDIR" => {
            image.workdir = Some(within(image.workdir.as_deref(), &unquoted(&expanded(known)?)?).ok_or(WRONG)?)
        }
        "USER" => image.user = Some(unquoted(&expanded(known)?)?),
        "STOPSIGNAL" => image.stop_signal = Some(unquoted(&expanded(known)?)?),
        "EXPOSE" => {
            let ports = split(&expanded(known)?).ok_or(WRONG)?;
            let ports: Result<Vec<Exposed>, _> = ports.iter().map(|port| port.to_ascii_lowercase().parse()).collect();
            image.ports.extend(
                ports.map_err(|_| "ports are written one by one, as `80/tcp`")?.iter().map(ToString::to_string),
            );
        }
        "VOLUME" => {
            let rest = expanded(known)?;
            image.volumes.extend(list(&rest).or_else(|| split(&rest)).ok_or(WRONG)?);
        }
        "ENTRYPOINT" => {
            image.entrypoint = command(&one.rest);
            image.command.clear();
        }
        "CMD" => image.command = command(&one.rest),
        "HEALTHCHECK" => image.healthcheck = healthcheck(&one.rest)?,
        "COPY" | "ADD" => return copy(imported, one, &expanded(known)?),
        "RUN" => run(imported, one, exists),
        "SHELL" | "ONBUILD" | "MAINTAINER" => return Err("kiln has nothing like it"),
        _ => return Err("it is no instruction that is known"),
    }
    Ok(())
}

fn unquoted(text: &str) -> Result<String, Advice> {
    match split(text).as_deref() {
        Some([word]) if !word.contains('\0') => Ok(word.clone()),
        _ => Err(WRONG),
    }
}

/// `FROM [--platform=…] IMAGE [AS NAME]`.
fn from(imported: &mut Imported, rest: &str) -> Result<(), Advice> {
    const SUITES: [(&str, &str); 6] = [
        ("11", "bullseye"),
        ("12", "bookworm"),
        ("13", "trixie"),
        ("stable", "trixie"),
        ("latest", "trixie"),
        ("", "trixie"),
    ];
    let image = rest.split_whitespace().find(|word| !word.starts_with("--")).ok_or(WRONG)?;
    let image = image.split('@').next().unwrap_or_default();
    let (name, tag) = image.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((image, ""));
    let name = name.rsplit('/').next().unwrap_or_default();
    let mut parts = tag.split(['-', '.']);
    let known = |part: &str| {
        let named = ["bullseye", "bookworm", "trixie", "forky", "sid"].into_iter().find(|suite| *suite == part);
        named.or_else(|| SUITES.iter().find(|(number, _)| name == "debian" && *number == part).map(|(_, suite)| *suite))
    };
    imported.suite = parts.find_map(known).map(str::to_owned);
    match (name, &imported.suite) {
        ("debian", Some(_)) => Ok(()),
        ("python", _) => {
            imported.debian.insert("python3".to_owned());
            Err("the interpreter is Debian's `python3`, of the suite")
        }
        ("node", _) => {
            imported.debian.insert("nodejs".to_owned());
            Err("the interpreter is Debian's `nodejs`, of the suite")
        }
        _ => Err("kiln starts from Debian's packages, not from images: name what of it is needed in `packages`"),
    }
}

/// A list in JSON.
fn list(rest: &str) -> Option<Vec<String>> {
    serde_json::from_str(rest).ok()
}

/// A program and its arguments, or a command for the shell.
fn command(rest: &str) -> Vec<String> {
    list(rest).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()])
}

fn healthcheck(rest: &str) -> Result<Option<Healthcheck>, Advice> {
    if rest.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let mut check =
        Healthcheck { command: Vec::new(), interval: None, timeout: None, start_period: None, retries: None };
    let mut rest = rest;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or(WRONG)?;
        let (name, value) = option.split_once('=').ok_or(WRONG)?;
        let duration = || {
            Healthcheck::nanoseconds(value).map(|_| value.to_owned()).ok_or("durations are written as `30s` or `1m30s`")
        };
        match name {
            "interval" => check.interval = Some(duration()?),
            "timeout" => check.timeout = Some(duration()?),
            "start-period" => check.start_period = Some(duration()?),
            "retries" => check.retries = Some(value.parse().map_err(|_| WRONG)?),
            _ => return Err("`[image.healthcheck]` has no such option"),
        }
        rest = after.trim_start();
    }
    let (word, what) = rest.split_once(char::is_whitespace).ok_or(WRONG)?;
    check.command = command(what.trim());
    if !word.eq_ignore_ascii_case("cmd") || check.command.is_empty() {
        return Err(WRONG);
    }
    Ok(Some(check))
}

/// An absolute path in the image: `path` as it is seen from `folder`.
fn within(folder: Option<&str>, path: &str) -> Option<String> {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", folder.unwrap_or("")) };
    let names: Vec<&str> = joined.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    (!names.contains(&"..") && !joined.contains('\0')).then(|| format!("/{}", names.join("/")))
}

/// `COPY [OPTIONS] SOURCE... TARGET`, and `ADD` of the same.
fn copy(imported: &mut Imported, one: &Instruction, rest: &str) -> Result<(), Advice> {
    if one.document.is_some() {
        return Err("write it into a file of the workspace, and copy that");
    }
    let words = list(rest).or_else(|| split(rest)).ok_or(WRONG)?;
    // Given twice, the last one counts.
    let mut keys: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut paths = Vec::new();
    for word in words {
        match word.strip_prefix("--").map(|option| option.split_once('=').unwrap_or((option, ""))) {
            None => paths.push(word),
            Some(("chown", owner)) if owner.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c)) => {
                let good =
                    !owner.is_empty() && owner.split(':').count() <= 2 && owner.split(':').all(|name| !name.is_empty());
                keys.insert("owner", Some(owner.to_owned()).filter(|_| good).ok_or(WRONG)?);
            }
            Some(("chmod", mode)) => {
                let mode = format!("{mode:0>4}");
                permissions(&mode).map_err(|_| "`mode` is written in octal digits")?;
                keys.insert("mode", mode);
            }
            Some(("link" | "chown", _)) => {}
            Some(("from", _)) => {
                return Err("files of another stage or image: a `[[fetch]]`, or a `[[run]]` that makes them");
            }
            Some(_) => return Err("`[[copy]]` has no such option"),
        }
    }
    let target = paths.pop().filter(|_| !paths.is_empty()).ok_or(WRONG)?;
    let folder = within(imported.image.workdir.as_deref(), &target).ok_or(WRONG)?;
    let is_folder = target.ends_with(['/', '.']) || paths.len() > 1;
    let mut steps = Vec::new();
    for path in &paths {
        let is_address = path.starts_with("https://") || path.starts_with("http://");
        let own = path.trim_start_matches('/').trim_start_matches("./").trim_end_matches('/');
        let own = if own.is_empty() { "." } else { own };
        if path.contains(['*', '?', '[']) || !is_address && !is_below(own) {
            return Err("name files and folders of the workspace one by one, or copy their folder with `ignore`");
        }
        let archive = [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"].iter().any(|end| own.ends_with(end));
        let (kind, key, ignore) = match one.word.as_str() {
            "ADD" if is_address => ("fetch", "url", Vec::new()),
            "ADD" if archive => ("fetch", "path", Vec::new()),
            _ if is_address => return Err(WRONG),
            _ if own == "." => ("copy", "from", vec!["/envs", "/lockfiles", "/kiln.toml", "/.kiln"]),
            _ => ("copy", "from", Vec::new()),
        };
        let unpacks = kind == "fetch" && !is_address;
        let slash = if is_folder && !unpacks && own != "." && folder != "/" { "/" } else { "" };
        let from = if is_address { path.clone() } else { own.to_owned() };
        let mut step = Step { kind, keys: vec![(key, from), ("to", format!("{folder}{slash}"))], ignore };
        step.keys.extend(keys.clone());
        if is_address {
            step.keys.push(("unpack", "false".to_owned()));
        }
        step.check().map_err(|_| WRONG)?;
        steps.push(step);
    }
    if imported.steps.len() + steps.len() > super::super::definition::MAXIMUM_STEPS {
        return Err("a definition has no more steps: copy a folder instead of its files");
    }
    imported.steps.extend(steps);
    Ok(())
}

fn run(imported: &mut Imported, one: &Instruction, exists: Exists<'_>) {
    let mut rest = one.rest.as_str();
    while let Some(option) = rest.strip_prefix("--") {
        rest = option.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
    }
    let words = list(rest).map(|words| words.join(" "));
    let command = match (&one.document, words) {
        (Some(document), _) => document.clone(),
        (None, Some(words)) => words,
        (None, None) => rest.to_owned(),
    };
    shell::run(imported, one.line, &command, exists);
}
