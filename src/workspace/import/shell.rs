//! `RUN` of a Dockerfile: what it installs with apt, pip and npm.

use super::words::split;
use super::{Exists, Imported};
use crate::workspace::asked::{Asked, Ecosystem};

/// What of a shell's language says that a command is no list of simple ones.
const CONTROL: [&str; 12] = ["|", "$", "`", "<", ">", "(", ")", "{", "}", "&", "if ", "for "];

/// Reads a shell command: those of its simple commands that are understood are taken, the others left to do.
pub(super) fn run(imported: &mut Imported, line: usize, command: &str, exists: Exists<'_>) {
    for one in command.replace("&&", "\n").replace("||", "|").split(['\n', ';']).map(str::trim) {
        if one.is_empty() || one.starts_with('#') {
            continue;
        }
        let plain = !CONTROL.iter().any(|control| one.contains(control)) || installs_quoted(one);
        let words = split(one).filter(|_| plain).unwrap_or_default();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // Variables for this command alone.
        let start = words.iter().position(|word| !word.contains('=')).unwrap_or(0);
        let words = words[start..].strip_prefix(&["sudo"]).unwrap_or(&words[start..]);
        if let Err(advice) = simple(imported, words, exists) {
            imported.leave(line, &format!("RUN {one}"), advice);
        }
    }
}

/// Requirements have `<` and `>` in quotes.
fn installs_quoted(command: &str) -> bool {
    let outside: String = command.split(['"', '\'']).step_by(2).collect();
    !CONTROL.iter().any(|control| outside.contains(control)) && !command.contains(['$', '`'])
}

/// One command; what to do about it if it is not understood.
fn simple(imported: &mut Imported, words: &[&str], exists: Exists<'_>) -> Result<(), &'static str> {
    const STEP: &str = "what needs no network can be a `[[run]]`; files from elsewhere are a `[[fetch]]`";
    match words {
        ["set", ..] | ["apt-get" | "apt", "update" | "clean" | "autoclean" | "autoremove", ..] => Ok(()),
        ["rm", arguments @ ..]
            if arguments.iter().all(|word| word.starts_with('-') || word.starts_with("/var/lib/apt/lists")) =>
        {
            Ok(())
        }
        ["apt-get" | "apt", arguments @ ..] => {
            let at = arguments.iter().position(|word| *word == "install").ok_or("versions are the lock's business")?;
            apt(imported, &arguments[at + 1..])
        }
        ["pip" | "pip3", "install", arguments @ ..] => pip(imported, arguments, exists),
        ["python" | "python3", "-m", "pip", "install", arguments @ ..] => pip(imported, arguments, exists),
        ["npm", "install" | "i" | "ci" | "add", arguments @ ..] => npm(imported, arguments, exists),
        ["useradd" | "adduser" | "groupadd" | "addgroup", ..] => Err("users are tables: `[users.NAME]` with `uid`"),
        _ => Err(STEP),
    }
}

fn apt(imported: &mut Imported, arguments: &[&str]) -> Result<(), &'static str> {
    let mut found = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "-t" | "--target-release" | "-o" => {
                words.next();
                return Err("a package of another suite is asked for as `name/suite`");
            }
            option if option.starts_with('-') => {}
            name => {
                let asked = Asked::parse(Ecosystem::Debian, name);
                found.push(
                    asked.map_err(|_| "a package of Debian's is asked for by its name; a file is a `debian.local`")?,
                );
            }
        }
    }
    imported.debian.extend(found.into_iter().map(|asked| asked.text));
    Ok(())
}

fn pip(imported: &mut Imported, arguments: &[&str], exists: Exists<'_>) -> Result<(), &'static str> {
    let (mut found, mut files) = (Vec::new(), Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match *word {
            "-r" | "--requirement" => {
                let file = words.next().copied().unwrap_or_default().trim_start_matches("./");
                // In the image it is wherever it was copied to.
                let last = file.rsplit('/').next().unwrap_or_default();
                let beside = |file: &&str| super::languages::is_below(file) && exists(file);
                let Some(file) = [file, last].into_iter().find(beside) else {
                    return Err("the file is not beside this one: name it by `requirements` in `[python]`");
                };
                files.push(file.to_owned());
            }
            "-U" | "--upgrade" | "--no-cache-dir" | "--no-cache" | "--break-system-packages" | "-q" | "--user" => {}
            option if option.starts_with('-') => return Err("kiln's `[python]` has no such option"),
            own if own.starts_with('.') || own.contains('/') && !own.contains('@') => {
                return Err("a project's own files are copied by `[[copy]]`");
            }
            tool if matches!(Asked::parse(Ecosystem::Pypi, tool), Ok(asked) if matches!(asked.name.as_str(), "pip" | "setuptools" | "wheel")) =>
                {}
            requirement => {
                let asked = Asked::parse(Ecosystem::Pypi, requirement);
                found.push(asked.map_err(|_| "requirements are written as in PEP 508")?);
            }
        }
    }
    imported.debian.insert("python3".to_owned());
    imported.python.extend(found.into_iter().map(|asked| asked.text));
    imported.requirements.extend(files);
    Ok(())
}

fn npm(imported: &mut Imported, arguments: &[&str], exists: Exists<'_>) -> Result<(), &'static str> {
    let names: Vec<&str> = arguments.iter().copied().filter(|word| !word.starts_with('-')).collect();
    if names.is_empty() {
        if !exists("package-lock.json") {
            return Err("there is no package-lock.json beside it: `kiln init --from package.json` reads that one");
        }
        if !imported.npm.is_empty() {
            return Err("what a package-lock.json says and single packages cannot be mixed");
        }
        imported.npm_lock = Some("package-lock.json".to_owned());
    } else if imported.npm_lock.is_some() {
        return Err("what a package-lock.json says and single packages cannot be mixed");
    }
    let mut found = Vec::new();
    for name in names {
        let asked = Asked::parse(Ecosystem::Npm, name).map_err(|_| "only packages of a registry can be locked")?;
        let range = if asked.is_bare() { "*".to_owned() } else { asked.text };
        found.push((asked.name, range));
    }
    imported.npm.extend(found);
    imported.debian.insert("nodejs".to_owned());
    if imported.npm_prefix.is_none() && !arguments.iter().any(|word| matches!(*word, "-g" | "--global")) {
        imported.npm_prefix = imported.image.workdir.clone();
    }
    Ok(())
}
