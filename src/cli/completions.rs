//! `kiln completions`: a script for a shell, and the answers to what that script asks: kiln itself, with the variable
//! `KILN_COMPLETE` set, says which words may come next.

use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;

use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, Elvish, EnvCompleter, Fish, Powershell, Zsh};

use super::arguments::{Completions, ShellName};
use super::context::{Context, variable};
use super::lock::read_lockfile;
use super::{help, output};
use crate::error::Result;
use crate::workspace::{Ecosystem, Edit, Platform, Workspace};

const VARIABLE: &str = "KILN_COMPLETE";

pub fn run(_: &Context, arguments: &Completions) -> Result<u8> {
    let shell: &dyn EnvCompleter = match arguments.shell {
        ShellName::Bash => &Bash,
        ShellName::Elvish => &Elvish,
        ShellName::Fish => &Fish,
        ShellName::Powershell => &Powershell,
        ShellName::Zsh => &Zsh,
    };
    let mut script = Vec::new();
    // The one that the shell finds by this name: where this one is does not matter.
    shell.write_registration(VARIABLE, "kiln", "kiln", "kiln", &mut script)?;
    output::raw(&script)?;
    Ok(0)
}

/// Answers a shell's script, if it is one that asks, and ends.
pub fn answer() {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// The command line with what is known of its values.
pub fn command() -> Command {
    with_candidates(help::command())
}

fn with_candidates(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match candidates(&name, &arg) {
        Some(kind) => arg.add(ArgValueCandidates::new(kind)),
        None => arg,
    });
    command.mut_subcommands(with_candidates)
}

/// What may be typed for an argument of a command, by what its help calls it.
fn candidates(command: &str, arg: &Arg) -> Option<fn() -> Vec<CompletionCandidate>> {
    let name = arg.get_value_names()?.first()?.as_str();
    Some(match (name, arg.get_id().as_str()) {
        ("ENV", _) => environments,
        ("PACKAGE", _) => packages,
        ("PLATFORM", _) => platforms,
        ("WHAT", _) if command == "remove" => asked,
        ("WHAT", _) => ecosystems,
        ("NAME" | "TARGET", "target") => targets,
        _ => return None,
    })
}

fn words(words: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    words.into_iter().map(CompletionCandidate::new).collect()
}

// There is no better answer to what cannot be read than none.

fn environments() -> Vec<CompletionCandidate> {
    words(workspace().and_then(|workspace| workspace.environments().ok()).unwrap_or_default())
}

fn targets() -> Vec<CompletionCandidate> {
    words(workspace().into_iter().flat_map(|workspace| workspace.targets().map(str::to_owned).collect::<Vec<_>>()))
}

fn platforms() -> Vec<CompletionCandidate> {
    words(Platform::ALL.into_iter().map(|platform| platform.name().to_owned()))
}

fn ecosystems() -> Vec<CompletionCandidate> {
    words(Ecosystem::ALL.into_iter().map(|ecosystem| format!("{}:", ecosystem.name())))
}

/// The packages that are locked: of the environments on the command line, else of all.
fn packages() -> Vec<CompletionCandidate> {
    let Some(workspace) = workspace() else { return Vec::new() };
    let known = workspace.environments().unwrap_or_default();
    let typed: Vec<String> = typed().into_iter().filter(|word| known.contains(word)).collect();
    let mut names = BTreeSet::new();
    for environment in if typed.is_empty() { known } else { typed } {
        let Ok(Some(lockfile)) = read_lockfile(&workspace, &environment) else { continue };
        names.extend(lockfile.packages.into_iter().map(|package| package.name));
    }
    words(names)
}

/// What the definition on the command line asks for.
fn asked() -> Vec<CompletionCandidate> {
    let Some(workspace) = workspace() else { return Vec::new() };
    let known = workspace.environments().unwrap_or_default();
    let typed = typed();
    let environment = typed.iter().find(|word| known.contains(word));
    let edit = environment.and_then(|name| {
        let text = workspace.definition_text(name).ok()?;
        Edit::new(&workspace.definition_path(name), &text).ok()
    });
    let Some(edit) = edit else { return Vec::new() };
    words(Ecosystem::ALL.into_iter().flat_map(|ecosystem| edit.asked(ecosystem)).map(|asked| match asked.ecosystem {
        Ecosystem::Debian => asked.name,
        ecosystem => format!("{}:{}", ecosystem.name(), asked.name),
    }))
}

/// The words on the command line that is being completed.
fn typed() -> Vec<String> {
    let words = env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.skip_while(|word| word != "--").skip(1).collect()
}

/// The workspace that the command line is about.
fn workspace() -> Option<Workspace> {
    let typed = typed();
    let mut words = typed.iter();
    let mut directory = variable("KILN_DIRECTORY");
    while let Some(word) = words.next() {
        if word == "-C" || word == "--directory" {
            directory = words.next().cloned();
        } else if let Some(path) = word.strip_prefix("--directory=").or_else(|| word.strip_prefix("-C")) {
            directory = Some(path.to_owned());
        }
    }
    let start = match directory {
        Some(directory) => PathBuf::from(directory).canonicalize().ok()?,
        None => env::current_dir().ok()?,
    };
    Workspace::find(&start).ok()
}
