//! `kiln man`: manual pages, made from the same words as the help.

use std::fs;

use clap::CommandFactory;
use clap_mangen::Man;

use super::arguments::{self, Arguments};
use super::context::Context;
use super::output::{self, count};
use crate::error::{Context as _, Result};

pub fn run(context: &Context, arguments: &arguments::Man) -> Result<u8> {
    // clap's own `help` has nothing to say in a page of its own.
    let command = Arguments::command().disable_help_subcommand(true);
    let Some(folder) = &arguments.folder else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).context(|| "writing the manual page")?;
        output::raw(&page)?;
        return Ok(0);
    };
    let folder = context.directory.join(folder);
    fs::create_dir_all(&folder).context(|| format!("making {}", folder.display()))?;
    let pages = write(command, "", &folder)?;
    context.say(&format!("Wrote {} into {}", count(pages, "manual page"), folder.display()));
    Ok(0)
}

/// Writes the pages of a command and of all below it; how many there are.
fn write(command: clap::Command, above: &str, folder: &std::path::Path) -> Result<usize> {
    let name = if above.is_empty() { command.get_name().to_owned() } else { format!("{above}-{}", command.get_name()) };
    let mut command = command.display_name(name.clone()).version(env!("CARGO_PKG_VERSION"));
    let mut pages = 1;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        pages += write(below.clone().disable_help_subcommand(true), &name, folder)?;
    }
    command = command.bin_name(name.replace('-', " "));
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    Man::new(command).render(&mut page).context(|| format!("writing {}", path.display()))?;
    fs::write(&path, page).context(|| format!("writing {}", path.display()))?;
    Ok(pages)
}
