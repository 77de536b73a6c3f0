//! `kiln remove`: asking for less in a definition, then locking.

use super::arguments::Remove;
use super::change::{Action, Change, How, Row};
use super::context::Context;
use super::lock::read_lockfile;
use crate::error::{Error, Result};
use crate::workspace::{self, Asked, Ecosystem, Workspace, nearest, origin_of};

pub fn run(context: &Context, arguments: &Remove) -> Result<u8> {
    let workspace = context.workspace()?;
    let name = &workspace.select(std::slice::from_ref(&arguments.environment))?[0];
    let mut change = Change::new(context, &workspace, name)?;
    let how = How { lock: !arguments.no_lock, dry_run: arguments.dry_run };
    let mut rows = Vec::new();
    for text in &arguments.packages {
        let asked = meant(&workspace, &change, text)?;
        for gone in change.edit.remove(&asked)? {
            rows.push(Row { before: Some(gone.text.clone()), ..Row::new(&gone, Action::Removed) });
        }
    }
    change.finish("remove", rows, &[], how)
}

/// What the definition asks for that `text` names; an error that says where it comes from if it is not there.
fn meant(workspace: &Workspace, change: &Change<'_>, text: &str) -> Result<Asked> {
    let (ecosystem, rest) = Ecosystem::split(text)?;
    let readings = match ecosystem {
        Some(ecosystem) => vec![Asked::parse(ecosystem, rest)?],
        None => Ecosystem::ALL.into_iter().filter_map(|ecosystem| Asked::parse(ecosystem, rest).ok()).collect(),
    };
    let is_there = |asked: &&Asked| {
        let means = |known: &Asked| known.name == asked.name && (asked.is_bare() || known.text == asked.text);
        change.edit.asked(asked.ecosystem).iter().any(means)
    };
    let found: Vec<&Asked> = readings.iter().filter(is_there).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(absent(workspace, change, text, &readings)?),
        several => {
            let names: Vec<String> = several.iter().map(|asked| format!("`{}`", asked.typed())).collect();
            Err(Error::new(format!("`{text}` may be {}", names.join(" or "))).hint("say which of them"))
        }
    }
}

/// Why nothing can be removed.
fn absent(workspace: &Workspace, change: &Change<'_>, text: &str, readings: &[Asked]) -> Result<Error> {
    let (name, shown) = (&change.name, change.shown.display());
    let error = Error::no(format!("{shown} does not ask for `{text}`"));
    for asked in readings {
        let own = change.edit.asked(asked.ecosystem);
        if let Some(known) = own.iter().find(|known| known.name == asked.name) {
            return Ok(error.hint(format!("it asks for `{}`: `kiln remove {name} {}`", known.typed(), asked.name)));
        }
        let alternative = |known: &&Asked| known.name.split(" | ").any(|one| one == asked.name);
        if let Some(known) = own.iter().find(alternative) {
            return Ok(error
                .hint(format!("it asks for the first to be had of several: `kiln remove {name} '{}'`", known.text)));
        }
        if let Some((definition, known)) = origin_of(workspace, name, asked)? {
            return Ok(error.hint(format!(
                "`{}` comes from envs/{definition}.toml, which `{name}` extends: change it there, for all that extend it",
                known.typed()
            )));
        }
    }
    let settings = workspace::load(workspace, name)?;
    let python = settings.python.iter().flat_map(|python| &python.packages);
    let mut python = python.filter_map(|text| Asked::parse(Ecosystem::Pypi, text).ok());
    if python.any(|known| readings.contains(&Asked { text: known.name.clone(), ..known })) {
        return Ok(error.hint("it comes from a file of requirements that the definition names: change it there"));
    }
    let lockfile = read_lockfile(workspace, name)?;
    let locked = lockfile.iter().flat_map(|lockfile| &lockfile.packages);
    let mut locked = locked.filter(|package| {
        readings.iter().any(|asked| asked.ecosystem.name() == package.ecosystem && asked.name == package.name)
    });
    if let Some(package) = locked.next() {
        let reason = match package.required_by.as_slice() {
            [] if package.base => "it belongs to the base that the environment stands on".to_owned(),
            [] => "nothing that the definition asks for by name needs it".to_owned(),
            [first] => format!("it is there because `{first}` needs it"),
            [first, others @ ..] => format!("it is there because `{first}` and {} more need it", others.len()),
        };
        return Ok(error.hint(reason));
    }
    let known: Vec<String> =
        Ecosystem::ALL.into_iter().flat_map(|ecosystem| change.edit.asked(ecosystem)).map(|asked| asked.name).collect();
    let typed = readings.first().map_or(text, |asked| asked.name.as_str());
    Ok(match nearest(typed, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("`kiln list {name} --requested` lists what it asks for")),
    })
}
