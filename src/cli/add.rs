//! `kiln add`: asking for more in a definition, then locking.

use super::arguments::Add;
use super::change::{Action, Change, How, Row};
use super::context::Context;
use crate::error::{Error, Result};
use crate::workspace::{self, Asked, Ecosystem, Effect, Settings, origin_of};

pub fn run(context: &Context, arguments: &Add) -> Result<u8> {
    let workspace = context.workspace()?;
    let name = &workspace.select(std::slice::from_ref(&arguments.environment))?[0];
    let mut change = Change::new(context, &workspace, name)?;
    let settings = workspace::load(&workspace, name)?;
    let how = How { lock: !arguments.no_lock, dry_run: arguments.dry_run };
    let (mut rows, mut bare, mut guessed) = (Vec::new(), Vec::new(), Vec::new());
    for text in &arguments.packages {
        let (ecosystem, rest) = Ecosystem::split(text)?;
        let ecosystem = match ecosystem {
            Some(ecosystem) => ecosystem,
            None => usual(&settings, name)?,
        };
        let mut asked = Asked::parse(ecosystem, rest)?;
        if text == rest {
            guessed.push(asked.clone());
        }
        if asked.is_bare() && !change.edit.asked(ecosystem).iter().any(|known| known.name == asked.name) {
            if let Some((definition, known)) = origin_of(&workspace, name, &asked)? {
                let inherited = Some(format!("envs/{definition}.toml"));
                rows.push(Row { after: Some(known.text), inherited, ..Row::new(&asked, Action::Unchanged) });
                continue;
            }
            // A pair of npm's has a second half.
            if ecosystem == Ecosystem::Npm {
                asked.text = "*".to_owned();
            }
            if ecosystem != Ecosystem::Debian {
                bare.push(asked.clone());
            }
        }
        let row = match change.edit.add(&asked)? {
            Effect::Added => Row { after: Some(asked.text.clone()), ..Row::new(&asked, Action::Added) },
            Effect::Changed { before, after } => {
                Row { before: Some(before), after: Some(after), ..Row::new(&asked, Action::Changed) }
            }
            Effect::Same { text } => Row { after: Some(text), ..Row::new(&asked, Action::Unchanged) },
        };
        rows.push(row);
    }
    change.finish("add", rows, &bare, how).map_err(|error| explained(error, &guessed, &settings))
}

/// Whose packages are meant by names without an ecosystem: Debian's, unless only one other is set up.
fn usual(settings: &Settings, name: &str) -> Result<Ecosystem> {
    let debian = &settings.debian;
    if !debian.suites.is_empty() || !debian.source.is_empty() {
        return Ok(Ecosystem::Debian);
    }
    match (&settings.python, &settings.npm) {
        (Some(_), None) => Ok(Ecosystem::Pypi),
        (None, Some(_)) => Ok(Ecosystem::Npm),
        _ => Err(Error::new(format!("`{name}` has no suite of Debian's to take packages from"))
            .hint("say whose packages they are: `debian:NAME`, `pypi:NAME` or `npm:NAME`")),
    }
}

/// Says of names that were taken for Debian's what else they may be.
fn explained(error: Error, guessed: &[Asked], settings: &Settings) -> Error {
    let named = |asked: &&Asked| asked.ecosystem == Ecosystem::Debian && error.to_string().contains(&asked.name);
    let Some(asked) = guessed.iter().find(named) else { return error };
    let mut others = Vec::new();
    others.extend(settings.python.as_ref().map(|_| format!("`pypi:{}` is Python's", asked.name)));
    others.extend(settings.npm.as_ref().map(|_| format!("`npm:{}` is npm's", asked.name)));
    if others.is_empty() {
        return error;
    }
    error.hint(format!("`{}` was taken for Debian's package; {}", asked.name, others.join(", ")))
}
