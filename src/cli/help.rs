//! What `kiln --help` shows: the commands by what one does with them, and where to begin.

use std::fmt::Write as _;

use anstyle::Style;
use clap::{Command, CommandFactory};

use super::arguments::Arguments;

/// What one does, and the commands for it.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Start", &["init"]),
    ("Every day", &["add", "remove", "lock", "update", "build", "run", "shell", "up"]),
    ("Ship", &["push", "pull", "promote", "status", "verify", "compose", "sbom", "provenance", "sign", "vendor"]),
    ("Ask", &["list", "tree", "why", "outdated", "diff", "audit", "rules"]),
    ("Store", &["fetch", "gc", "store"]),
    ("Shells, readers and editors", &["completions", "man", "schema", "help"]),
];

const EXAMPLES: &str = "  kiln init demo --build         a workspace with an image of a real service
  kiln add queue redis-sentinel  ask for one more package, and lock it
  kiln build                     bake all environments, exactly as locked
  kiln run queue                 start one, no container engine needed
  kiln list queue                what it is made of";

/// The command line as it is parsed, with its help.
pub fn command() -> Command {
    let command = Arguments::command();
    let template = template(&command);
    command.help_template(template)
}

fn template(command: &Command) -> String {
    let heading = Style::new().bold().underline();
    let literal = Style::new().bold();
    let width = command.get_subcommands().map(|one| one.get_name().len()).max().unwrap_or(0);
    let mut text = format!("{{about}}\n\n{heading}Usage:{heading:#} {{usage}}\n");
    for (what, names) in GROUPS {
        let mut lines = String::new();
        for name in names {
            let about = match command.find_subcommand(name) {
                Some(found) => found.get_about().map(ToString::to_string).unwrap_or_default(),
                // clap's own, which is made when it is asked for.
                None if *name == "help" => "Say more about a command".to_owned(),
                None => continue,
            };
            let _ = writeln!(lines, "  {literal}{name:width$}{literal:#}  {}", about.trim_end_matches('.'));
        }
        if !lines.is_empty() {
            let _ = write!(text, "\n{heading}{what}:{heading:#}\n{lines}");
        }
    }
    let _ = write!(text, "\n{heading}Examples:{heading:#}\n{EXAMPLES}\n\n{heading}Options:{heading:#}\n{{options}}");
    text
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, command};

    #[test]
    fn every_command_is_in_one_group() {
        let named: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for one in command().get_subcommands().filter(|one| !one.is_hide_set()) {
            let count = named.iter().filter(|name| **name == one.get_name()).count();
            assert_eq!(count, 1, "`{}` has no place in the help", one.get_name());
        }
    }

    #[test]
    fn the_help_fits_a_terminal() {
        let text = command().render_help().to_string();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}
