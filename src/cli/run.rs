//! `kiln run`: a command inside an environment, no container engine needed.

use std::collections::BTreeMap;
use std::path::Path;

use super::arguments::Run;
use super::build::{Kitchen, fitting_lockfile};
use super::context::Context;
use crate::bake;
use crate::error::{Context as _, Error, Result};
use crate::lock::PlatformLock;
use crate::sandbox::{Bind, ForegroundCommand, Options, Session};
use crate::workspace::{ImageSettings, Platform};

pub fn run(context: &Context, arguments: &Run) -> Result<u8> {
    let workspace = context.workspace()?;
    let name = &workspace.select(std::slice::from_ref(&arguments.environment))?[0];
    let lockfile = fitting_lockfile(&workspace, name)?;
    let platform = Platform::of_this_machine()
        .filter(|platform| lockfile.environment.platforms.contains(platform))
        .ok_or_else(|| {
            Error::new(format!("`{name}` is not locked for this machine's platform"))
                .hint("add it to `platforms` in the definition, then run `kiln lock`")
        })?;
    let lock = PlatformLock::of(name, &lockfile, platform);
    let image = &lockfile.environment.image;
    let command = command(name, image, &arguments.command)?;
    let binds = arguments.volumes.iter().map(|volume| bind(volume, &context.directory)).collect::<Result<Vec<_>>>()?;
    let environment = variables(image, &arguments.variables)?;

    let kitchen = Kitchen::new(context, &workspace)?;
    let tree = kitchen.with_bakery(&lockfile, |bakery| bake::tree(bakery, &lockfile, &lock))?;
    let executor = context.executor(&kitchen.store)?;
    let scratch = kitchen.store.scratch()?;
    let options = Options { network: arguments.network, binds, ..context.sandbox(&kitchen.store) };
    let mut session = Session::start(executor, scratch.path(), &options)?;
    context.progress.start(&format!("Starting {name}"), None, false);
    session.extract(&tree).context(|| format!("putting the tree of `{name}` together"))?;
    context.progress.finish();
    let user = arguments.user.as_deref().or(image.user.as_deref()).unwrap_or("root");
    let account = account(&mut session, user).context(|| format!("finding the user `{user}` in `{name}`"))?;
    let mut environment = environment;
    environment.entry("HOME".to_owned()).or_insert(account.home);
    let code = session.foreground(&ForegroundCommand {
        arguments: command,
        environment,
        directory: arguments.workdir.clone().or_else(|| image.workdir.clone()).unwrap_or_else(|| "/".to_owned()),
        uid: account.uid,
        gid: account.gid,
        groups: account.groups,
    })?;
    session.finish()?;
    Ok(u8::try_from(code & 0xff).unwrap_or(255))
}

/// The program to start: what was typed, or the image's entrypoint and command.
fn command(name: &str, image: &ImageSettings, typed: &[String]) -> Result<Vec<String>> {
    let command = if typed.is_empty() {
        [image.entrypoint.as_slice(), image.command.as_slice()].concat()
    } else {
        typed.to_vec()
    };
    if command.is_empty() {
        return Err(Error::new(format!("`{name}` has no entrypoint"))
            .hint(format!("say what to run: `kiln run {name} -- COMMAND`")));
    }
    Ok(command)
}

fn variables(image: &ImageSettings, typed: &[String]) -> Result<BTreeMap<String, String>> {
    let mut variables = image.env.clone();
    variables
        .entry("PATH".to_owned())
        .or_insert_with(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    for variable in typed {
        let (name, value) = variable.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Error::new(format!("`{variable}` sets no variable")).hint("variables are given as `-e NAME=VALUE`")
        })?;
        variables.insert(name.to_owned(), value.to_owned());
    }
    Ok(variables)
}

/// `SOURCE:TARGET` or `SOURCE:TARGET:ro`.
fn bind(volume: &str, directory: &Path) -> Result<Bind> {
    let mut fields = volume.split(':');
    let (source, target, option) =
        (fields.next().unwrap_or_default(), fields.next().unwrap_or_default(), fields.next());
    let good = !source.is_empty()
        && target.starts_with('/')
        && matches!(option, None | Some("ro" | "rw"))
        && fields.next().is_none();
    if !good {
        return Err(Error::new(format!("`{volume}` is not a volume"))
            .hint("volumes are given as `-v SOURCE:/TARGET` or `-v SOURCE:/TARGET:ro`"));
    }
    let source = directory.join(source);
    let source = source.canonicalize().context(|| format!("finding the volume {}", source.display()))?;
    Ok(Bind { source, target: target.to_owned(), read_only: option == Some("ro") })
}

struct Account {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    home: String,
}

/// `NAME`, `UID`, `NAME:GROUP` or `UID:GID`, as an image configuration writes its user.
fn account(session: &mut Session, user: &str) -> Result<Account> {
    let mut read = |path: &str| -> Result<String> {
        Ok(String::from_utf8_lossy(&session.read(path)?.unwrap_or_default()).into_owned())
    };
    let (passwd, group) = (read("etc/passwd")?, read("etc/group")?);
    let (user, wanted_group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
    let line = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 6 && (fields[0] == user || fields[2] == user));
    let (name, uid, mut gid, home) = match (&line, user.parse::<u32>()) {
        (Some(fields), _) => (fields[0], fields[2].parse()?, fields[3].parse()?, fields[5].to_owned()),
        (None, Ok(uid)) => ("", uid, 0, "/".to_owned()),
        (None, Err(_)) => return Err(Error::new(format!("its `/etc/passwd` has no user `{user}`"))),
    };
    let groups: Vec<Vec<&str>> =
        group.lines().map(|line| line.split(':').collect()).filter(|fields: &Vec<&str>| fields.len() >= 4).collect();
    if let Some(wanted) = wanted_group {
        gid = match (groups.iter().find(|fields| fields[0] == wanted), wanted.parse()) {
            (Some(fields), _) => fields[2].parse()?,
            (None, Ok(gid)) => gid,
            (None, Err(_)) => return Err(Error::new(format!("its `/etc/group` has no group `{wanted}`"))),
        };
    }
    let more = groups
        .iter()
        .filter(|fields| !name.is_empty() && fields[3].split(',').any(|member| member == name))
        .filter_map(|fields| fields[2].parse().ok())
        .collect();
    Ok(Account { uid, gid, groups: more, home })
}
