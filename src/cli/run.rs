//! `kiln run`: a command inside an environment, no container engine needed.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;

use super::arguments::Run;
use super::context::Context;
use super::kitchen::Kitchen;
use crate::bake;
use crate::error::{Context as _, Error, Result};
use crate::lock::PlatformLock;
use crate::sandbox::{Bind, Command, ForegroundCommand, Options, Session};
use crate::workspace::{ImageSettings, Platform};

/// Where programs are looked for in an image that does not say.
const SEARCHED: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub fn run(context: &Context, arguments: &Run) -> Result<u8> {
    let workspace = context.workspace()?;
    let name = &workspace.select(std::slice::from_ref(&arguments.environment))?[0];
    let kitchen = Kitchen::new(context, &workspace)?;
    let lockfile = kitchen.lockfile(name)?;
    let platform = Platform::of_this_machine()
        .filter(|platform| lockfile.environment.platforms.contains(platform))
        .ok_or_else(|| {
            Error::new(format!("`{name}` is not locked for this machine's platform"))
                .hint("add it to `platforms` in the definition, then run `kiln lock`")
        })?;
    let lock = PlatformLock::of(name, &lockfile, platform);
    let image = &lockfile.environment.image;
    let command = command(name, image, &arguments.command)?;
    let volumes =
        arguments.volumes.iter().map(|volume| Volume::parse(volume, &context.directory)).collect::<Result<Vec<_>>>()?;
    let mut environment = variables(image, &arguments.variables)?;

    let tree = kitchen.with_bakery(name, &lockfile, |bakery| bake::tree(bakery, &lockfile, &lock))?;
    let executor = context.executor(&kitchen.store)?;
    let scratch = kitchen.store.scratch()?;
    let binds = volumes.iter().map(|volume| volume.bind.clone()).collect();
    let options = Options { network: arguments.network, binds, ..context.sandbox(&kitchen.store) };
    let mut session = Session::start(executor, scratch.path(), &options)?;
    context.progress.start(&format!("Starting {name}"), None, false);
    session.extract(&tree).context(|| format!("putting the tree of `{name}` together"))?;
    context.progress.finish();
    name_the_host(&mut session)?;
    let user = arguments.user.as_deref().or(image.user.as_deref()).unwrap_or("root");
    let account = account(&mut session, user).context(|| format!("finding the user `{user}` in `{name}`"))?;
    for volume in volumes.iter().filter(|volume| volume.owned) {
        give(&mut session, volume, &account)?;
    }
    environment.entry("HOME".to_owned()).or_insert_with(|| account.home.clone());
    let command = ForegroundCommand {
        arguments: command,
        environment,
        directory: directory(&mut session, arguments.workdir.as_deref(), image.workdir.as_deref())?,
        uid: account.uid,
        gid: account.gid,
        groups: account.groups,
    };
    let code = match session.foreground(&command) {
        Ok(code) => code,
        Err(error) => return Err(explained(&mut session, name, &command, error)),
    };
    session.finish()?;
    Ok(u8::try_from(code & 0xff).unwrap_or(255))
}

/// Makes the host's name one that can be looked up, as engines do: many servers ask for their own.
fn name_the_host(session: &mut Session) -> Result<()> {
    // An executor without namespaces has the machine's name.
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let names = if machine == "kiln" || machine.is_empty() { "kiln".to_owned() } else { format!("kiln {machine}") };
    let hosts = format!("127.0.0.1\tlocalhost {names}\n::1\tlocalhost ip6-localhost\n");
    session.write("etc/hosts", hosts.as_bytes(), 0o644).context(|| "writing /etc/hosts")
}

/// Where to start. Engines make the image's own folder if no package has brought it.
fn directory(session: &mut Session, typed: Option<&str>, own: Option<&str>) -> Result<String> {
    match (typed, own) {
        (Some(typed), _) => Ok(typed.to_owned()),
        (None, None) => Ok("/".to_owned()),
        (None, Some(own)) => {
            let path = own.trim_matches('/');
            if !path.is_empty() && !session.exists(path)? {
                session.mkdir(path, 0o755).context(|| format!("making the image's folder {own}"))?;
            }
            Ok(own.to_owned())
        }
    }
}

/// The likely reason why a program could not be started. Looked for only now: what a volume brings is
/// not seen from here.
fn explained(session: &mut Session, name: &str, command: &ForegroundCommand, error: Error) -> Error {
    let directory = command.directory.trim_matches('/');
    let mut exists = |path: &str| session.exists(path.trim_start_matches('/')).unwrap_or(true);
    if !directory.is_empty() && !exists(directory) {
        return Error::new(format!("`{name}` has no folder {} to start in", command.directory)).caused_by(error);
    }
    let program = &command.arguments[0];
    let path = command.environment.get("PATH").map_or("", String::as_str);
    let found = if program.contains('/') {
        exists(&if program.starts_with('/') { program.clone() } else { format!("{directory}/{program}") })
    } else {
        path.split(':').any(|folder| exists(&format!("{folder}/{program}")))
    };
    if found {
        return error.hint("it is there: is it executable, is its interpreter there, and is it of this architecture?");
    }
    let hint = if program.contains('/') {
        "programs are named by their path in the image, or found in its PATH".to_owned()
    } else {
        format!("looked for in {path}; `kiln list {name}` lists the packages that are in it")
    };
    Error::new(format!("`{name}` has no program `{program}`")).hint(hint)
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
    variables.entry("PATH".to_owned()).or_insert_with(|| SEARCHED.to_owned());
    // As engines do for a container with a terminal.
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        variables.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
    }
    for variable in typed {
        let (name, value) = variable.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Error::new(format!("`{variable}` sets no variable")).hint("variables are given as `-e NAME=VALUE`")
        })?;
        variables.insert(name.to_owned(), value.to_owned());
    }
    Ok(variables)
}

/// A file or folder of this machine that is shown inside.
struct Volume {
    bind: Bind,
    /// Whether it is given to the user that the program runs as.
    owned: bool,
}

impl Volume {
    /// `SOURCE:TARGET`, with `:ro`, `:rw` or `:U` behind it, or several of these with commas between.
    fn parse(volume: &str, directory: &Path) -> Result<Self> {
        let mut fields = volume.split(':');
        let (source, target) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let options: Vec<&str> = fields.next().map(|options| options.split(',').collect()).unwrap_or_default();
        let good = !source.is_empty()
            && target.starts_with('/')
            && options.iter().all(|option| matches!(*option, "ro" | "rw" | "U"))
            && fields.next().is_none();
        if !good {
            return Err(Error::new(format!("`{volume}` is not a volume")).hint(
                "volumes are given as `-v SOURCE:/TARGET`, with `:ro` to forbid writing, or with `:U` to give it to \
                 the user that the program runs as",
            ));
        }
        let source = directory.join(source);
        let source = source
            .canonicalize()
            .context(|| format!("finding the volume {}", source.display()))
            .map_err(|error| error.hint("the file or folder must exist: `mkdir` makes a folder"))?;
        let bind = Bind { source, target: target.to_owned(), read_only: options.contains(&"ro") };
        Ok(Self { bind, owned: options.contains(&"U") })
    }
}

/// Gives a volume to the user inside. Done by the image's own chown(1): only a program sees volumes.
fn give(session: &mut Session, volume: &Volume, account: &Account) -> Result<()> {
    let owner = format!("{}:{}", account.uid, account.gid);
    let arguments = ["chown", "-R", "--no-dereference", "--", &owner, &volume.bind.target].map(str::to_owned).to_vec();
    let environment = BTreeMap::from([("PATH".to_owned(), SEARCHED.to_owned())]);
    let what = || format!("giving the volume {} to user {owner} inside", volume.bind.source.display());
    let output = session.run(&Command { arguments, environment, status_lines: false }).context(what)?;
    if output.code != 0 {
        return Err(Error::new(String::from_utf8_lossy(&output.output).trim().to_owned())).context(what);
    }
    Ok(())
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
    // Who names a group gets that one alone, as with engines.
    let all = wanted_group.is_none() && !name.is_empty();
    let more = groups
        .iter()
        .filter(|fields| all && fields[3].split(',').any(|member| member == name))
        .filter_map(|fields| fields[2].parse().ok())
        .collect();
    Ok(Account { uid, gid, groups: more, home })
}
