//! `kiln completions`, what it answers to shells, and `kiln man`.

use std::fs;

use insta::assert_snapshot;

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
    let (commands, _) = help.split_once("\nOptions:").unwrap();
    assert_snapshot!(commands, @"
    Locks what a service needs at run time and bakes it into a bit-identical OCI image

    Usage: kiln [OPTIONS] <COMMAND>

    Start:
      init         Start a workspace with one working environment

    Every day:
      add          Ask for packages in a definition, then lock it
      remove       Ask no longer for packages in a definition, then lock it
      lock         Resolve what the definitions ask for and the locks do not hold
      update       Move pins: all of them, or the named packages and what they force
      build        Bake environments into images, exactly as locked
      run          Run a command inside an environment, no container engine needed
      shell        Open a shell inside an environment
      up           Start environments together, no container engine needed

    Ship:
      compose      Print the workspace as a Compose file, pinned by digest

    Ask:
      list         List what environments are made of
      rules        The rules of what may not be baked into an image

    Store:
      fetch        Fetch every locked artifact, for later `--offline`
      gc           Let go of what the store has not used for a while
      store        What the store holds, and where artifacts come from

    Shells, readers and editors:
      completions  Print a script that makes a shell complete kiln's words
      man          Print the manual page, or write one for each command
      help         Say more about a command

    Examples:
      kiln init demo --build         a workspace with an image of a real service
      kiln add queue redis-sentinel  ask for one more package, and lock it
      kiln build                     bake all environments, exactly as locked
      kiln run queue                 start one, no container engine needed
      kiln list queue                what it is made of
    ");
    assert_eq!(context.ok(&["help"]).stdout, help);
}
