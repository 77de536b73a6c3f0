//! `kiln run`: a command inside an environment, no container engine needed.

use std::collections::BTreeMap;

use super::arguments::Run;
use super::context::Context;
use super::kitchen::Kitchen;
use super::start::{Locked, Start, Volume, prepare};
use crate::error::{Error, Result};

pub fn run(context: &Context, arguments: &Run) -> Result<u8> {
    let workspace = context.workspace()?;
    let name = &workspace.select(std::slice::from_ref(&arguments.environment))?[0];
    let kitchen = Kitchen::new(context, &workspace)?;
    let locked = Locked::read(&kitchen, name)?;
    let volumes = arguments.volumes.iter().map(|volume| Volume::parse(volume, &context.directory));
    let start = Start {
        command: locked.command(&arguments.command)?,
        variables: variables(&arguments.variables)?,
        volumes: volumes.collect::<Result<_>>()?,
        network: arguments.network,
        piped: false,
        user: arguments.user.as_deref(),
        workdir: arguments.workdir.as_deref(),
    };
    let mut prepared = prepare(&kitchen, &locked, start)?;
    context.progress.finish();
    let code = match prepared.session.foreground(&prepared.command) {
        Ok(code) => code,
        Err(error) => return Err(prepared.explained(error)),
    };
    prepared.finish()?;
    Ok(u8::try_from(code & 0xff).unwrap_or(255))
}

/// The variables that `-e` gives.
pub fn variables(typed: &[String]) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for variable in typed {
        let (name, value) = variable.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Error::new(format!("`{variable}` sets no variable")).hint("variables are given as `-e NAME=VALUE`")
        })?;
        variables.insert(name.to_owned(), value.to_owned());
    }
    Ok(variables)
}
