//! The command line: one file per command. Arguments in, one operation called, output printed; nothing
//! outside this folder prints or reads the environment.

mod add;
mod arguments;
mod build;
mod change;
mod check;
mod completions;
mod compose;
mod context;
mod diff;
mod document;
mod drift;
mod errors;
mod export;
mod fetch;
mod gc;
mod github;
mod help;
mod import;
mod init;
mod interrupt;
mod kitchen;
mod lines;
mod list;
mod lock;
mod man;
mod outdated;
mod output;
mod pins;
mod progress;
mod push;
mod remove;
mod rules;
mod run;
mod schema;
mod shell;
mod start;
mod store;
mod supervise;
mod tree;
mod up;
mod update;
mod volumes;
mod why;

use std::process::ExitCode;
use std::sync::Arc;

use clap::FromArgMatches;

use arguments::{Arguments, Command, Format};
use context::Context;

use crate::error::{Error, Result};

/// Runs kiln with the process's arguments; its exit code.
pub fn main() -> ExitCode {
    // Before anything else: when a shell asks what may come next, nothing but the answer may be printed.
    completions::answer();
    let parsed = help::command().try_get_matches().and_then(|found| Arguments::from_arg_matches(&found));
    let mut arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap prints help and versions on stdout and mistakes on stderr.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    arguments.global.verbose |= arguments.short_verbose;
    let result = Context::new(&arguments.global).and_then(|context| {
        let context = Arc::new(context);
        interrupt::install(&context)?;
        let code = run(&context, &arguments.command);
        context.progress.finish();
        code
    });
    interrupt::wait_if_ending();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            errors::print(&error, &arguments.global);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(context: &Context, command: &Command) -> Result<u8> {
    if context.format == Format::Markdown && !matches!(command, Command::Diff(_)) {
        return Err(Error::new("only `kiln diff` writes Markdown").hint("use `--format text` or `--format json`"));
    }
    match command {
        Command::Init(arguments) => match &arguments.from {
            Some(from) => import::run(context, arguments, from),
            None => init::run(context, arguments),
        },
        Command::Add(arguments) => add::run(context, arguments),
        Command::Remove(arguments) => remove::run(context, arguments),
        Command::Lock(arguments) => lock::run(context, arguments),
        Command::Update(arguments) => update::run(context, arguments),
        Command::Build(arguments) => build::run(context, arguments),
        Command::Fetch(arguments) => fetch::run(context, arguments),
        Command::Run(arguments) => run::run(context, arguments),
        Command::Shell(arguments) => shell::run(context, arguments),
        Command::Up(arguments) => up::run(context, arguments),
        Command::Compose(arguments) => compose::run(context, arguments),
        Command::Push(arguments) => push::run(context, arguments),
        Command::Diff(arguments) => diff::run(context, arguments),
        Command::List(arguments) => list::run(context, arguments),
        Command::Tree(arguments) => tree::run(context, arguments),
        Command::Why(arguments) => why::run(context, arguments),
        Command::Outdated(arguments) => outdated::run(context, arguments),
        Command::Gc(arguments) => gc::run(context, arguments),
        Command::Store(arguments) => store::run(context, arguments),
        Command::Rules => rules::run(context),
        Command::Completions(arguments) => completions::run(context, arguments),
        Command::Man(arguments) => man::run(context, arguments),
        Command::Schema(arguments) => schema::run(context, arguments),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_arguments_fit_together() {
        super::help::command().debug_assert();
        super::completions::command().debug_assert();
    }
}
