//! `kiln shell`: a shell inside an environment, started as `kiln run` starts programs.

use super::arguments::Shell;
use super::context::Context;
use super::kitchen::Kitchen;
use super::run::variables;
use super::start::{Locked, Start, Volume, prepare};
use crate::error::{Error, Result};
use crate::sandbox::Session;

/// Where shells are looked for, the best first.
const SHELLS: [&str; 4] = ["/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh"];

pub fn run(context: &Context, arguments: &Shell) -> Result<u8> {
    let workspace = context.workspace()?;
    let name = &workspace.select(std::slice::from_ref(&arguments.environment))?[0];
    let kitchen = Kitchen::new(context, &workspace)?;
    let locked = Locked::read(&kitchen, name)?;
    let volumes = arguments.volumes.iter().map(|volume| Volume::parse(volume, &context.directory));
    let start = Start {
        variables: variables(&arguments.variables)?,
        volumes: volumes.collect::<Result<_>>()?,
        network: arguments.network,
        piped: false,
        // By number: what has no shell may have no names of users either, and is to be told the former.
        user: arguments.user.as_deref().or(locked.image().user.is_none().then_some("0")),
        workdir: arguments.workdir.as_deref(),
        command: Vec::new(),
    };
    let mut prepared = prepare(&kitchen, &locked, start)?;
    let shell = shell(&mut prepared.session)?.ok_or_else(|| {
        Error::new(format!("`{name}` has no shell: it has none of {}", SHELLS.join(", "))).hint(format!(
            "`kiln add {name} bash` adds one; `kiln run {name} -- PROGRAM` starts any other program of it"
        ))
    })?;
    prepared.command.arguments = vec![shell.to_owned()];
    context.progress.finish();
    let code = match prepared.session.foreground(&prepared.command) {
        Ok(code) => code,
        Err(error) => return Err(prepared.explained(error)),
    };
    prepared.finish()?;
    Ok(u8::try_from(code & 0xff).unwrap_or(255))
}

/// The best shell that is there.
fn shell(session: &mut Session) -> Result<Option<&'static str>> {
    for shell in SHELLS {
        if session.exists(shell.trim_start_matches('/'))? {
            return Ok(Some(shell));
        }
    }
    Ok(None)
}
