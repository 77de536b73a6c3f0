//! `kiln completions`, what it answers to shells, and `kiln man`.

#![allow(clippy::print_stdout, reason = "what was left out is said")]

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::context::{TestContext, package, package_with};

/// What may come next after these words, the last one being unfinished.
fn next(context: &TestContext, words: &[&str]) -> String {
    let last = words.len().to_string();
    let mut command = context.command(&["--", "kiln"]);
    command.args(words).env("KILN_COMPLETE", "bash");
    command.env("_CLAP_COMPLETE_INDEX", last).env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_COMP_TYPE", "9");
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8(output.stdout).unwrap();
    // Where anything may come, options may.
    let wanted = |word: &&str| words.last().is_some_and(|last| last.starts_with('-')) || !word.starts_with('-');
    found.split_whitespace().filter(wanted).collect::<Vec<_>>().join(" ")
}

fn context() -> TestContext {
    let context = TestContext::new(&[package_with("web", "1", &[("Depends", "lib")], |deb| deb), package("lib", "1")]);
    context.define("api", &["web"]);
    context.define("queue", &["lib"]);
    context.write("kiln.toml", "[targets.laptop]\n");
    context.ok(&["lock"]);
    context
}

#[test]
fn names_of_the_workspace_are_completed() {
    let context = context();
    for (words, expected) in [
        (&["bui"][..], "build"),
        (&["build", ""], "api queue"),
        (&["build", "q"], "queue"),
        (&["build", "api", "--platform", "linux/ar"], "linux/arm64"),
        (&["update", "l"], "lib"),
        (&["update", "-e", "queue", "w"], ""),
        (&["up", "--target", ""], "laptop"),
        (&["remove", "api", ""], "web"),
        (&["add", "api", "py"], "pypi:"),
        (&["-C", "/", "build", "a"], ""),
        (&["lock", "--dry"], "--dry-run"),
    ] {
        assert_eq!(next(&context, words), expected, "{words:?}");
    }
    let outside = context.workspace().display().to_string();
    assert_eq!(next(&context, &["-C", &outside, "list", "a"]), "api");
    // What cannot be read is no reason to disturb whoever types.
    context.write("kiln.toml", "[targets");
    context.write("lockfiles/api.lock", "nonsense");
    assert_eq!(next(&context, &["build", "a"]), "");
}

#[test]
fn there_is_a_script_for_each_shell() {
    let context = TestContext::new(&[]);
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = context.ok(&["completions", shell]);
        assert!(run.stdout.contains("KILN_COMPLETE") && run.stderr.is_empty(), "{}", run.shown);
        assert!(!run.stdout.contains("/kiln"), "it names this machine's kiln: {}", run.stdout);
    }
    let run = context.kiln(&["completions", "cmd"]);
    assert!(run.code == Some(2) && run.stderr.contains("possible values: bash, elvish"), "{}", run.shown);
}

/// What a shell makes of `kiln build q` and a Tab; nothing if there is no such shell on this machine.
fn typed(context: &TestContext, shell: &str, arguments: &[&str], script: &str) -> Option<String> {
    let kiln = Path::new(env!("CARGO_BIN_EXE_kiln")).parent().unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", kiln.display());
    let mut command = Command::new(shell);
    command.args(arguments).args(["-c", script]).current_dir(context.workspace());
    command.env_clear().env("PATH", path).env("HOME", context.workspace()).env("TERM", "xterm");
    match command.output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{shell}: {error}"),
    }
}

#[test]
fn shells_complete_words_by_it() {
    let context = context();
    let bash = "source <(kiln completions bash); COMP_WORDS=(kiln build q); COMP_CWORD=2; COMP_TYPE=9; \
                _clap_complete_kiln kiln q build; printf 'kiln build %s' \"${COMPREPLY[@]}\"";
    let fish = "kiln completions fish | source; printf 'kiln build %s' (complete -C 'kiln build q')";
    // Its widgets work on a terminal alone.
    let zsh = "zmodload zsh/zpty; zpty z zsh -f -i; \
               zpty -w z \"PROMPT=; autoload -U compinit; compinit -u -D; source <(kiln completions zsh); echo rea''dy\"; \
               zpty -r z line '*ready*'; zpty -n -w z $'kiln build q\\t'; zpty -r z line '*queue*'; print -r -- \"$line\"";
    for (shell, arguments, script) in
        [("bash", &["--norc", "--noprofile"][..], bash), ("fish", &["--no-config"], fish), ("zsh", &["-f"], zsh)]
    {
        match typed(&context, shell, arguments, script) {
            Some(line) => assert!(line.contains("build queue"), "{shell}: {line:?}"),
            None => println!("{shell}: not tried: there is none"),
        }
    }
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let context = TestContext::new(&[]);
    let run = context.ok(&["man", "pages"]);
    assert!(run.stdout.is_empty() && run.stderr.contains("manual pages into"), "{}", run.shown);
    let help = context.ok(&["--help"]).stdout;
    let folder = context.workspace().join("pages");
    let mut found = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        assert!(page.contains(".TH ") && page.contains(".SH SYNOPSIS"), "{}: {page}", path.display());
        found += 1;
    }
    assert!(found > 15, "only {found} pages");
    for name in ["kiln", "kiln-add", "kiln-store-origins", "kiln-man"] {
        assert!(folder.join(format!("{name}.1")).is_file(), "{name}");
    }
    assert!(help.contains("completions") && context.ok(&["man"]).stdout.contains("kiln\\-build(1)"));
}

#[test]
fn the_help_is_by_what_one_does() {
    let context = TestContext::new(&[]);
    let help = context.ok(&["--help"]).stdout;
    let headings: Vec<&str> = help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
    assert_eq!(headings[..2], ["Start:", "Every day:"], "{help}");
    assert_eq!(headings[headings.len() - 3..], ["Shells, readers and editors:", "Examples:", "Options:"], "{help}");
    let (_, daily) = help.split_once("Every day:\n").unwrap();
    let mut commands = daily.lines().map_while(|line| line.trim().split_once("  "));
    assert_eq!(commands.next(), Some(("add", "        Ask for packages in a definition, then lock it")));
    assert!(commands.any(|(name, _)| name == "shell") && !help.contains("Other"), "{help}");
    assert_eq!(context.ok(&["help"]).stdout, help);
}
