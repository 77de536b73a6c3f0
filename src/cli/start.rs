//! An environment that is started without an engine: its tree, its user, its volumes, its command. What `kiln run` and
//! `kiln up` have in common; what becomes of the program is theirs.

use std::collections::BTreeMap;
use std::io::{IsTerminal, PipeReader};
use std::path::Path;

use super::kitchen::Kitchen;
use crate::bake;
use crate::error::{Context as _, Error, Result};
use crate::image::ContainerConfig;
use crate::lock::{Lockfile, PlatformLock};
use crate::sandbox::{Bind, ForegroundCommand, Options, Session};
use crate::workspace::Platform;

/// Where programs are looked for in an image that does not say.
const SEARCHED: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is locked of an environment for this machine.
#[derive(Debug)]
pub struct Locked<'a> {
    pub name: &'a str,
    lockfile: Lockfile,
    lock: PlatformLock,
    /// What its image says of containers.
    image: ContainerConfig,
}

impl<'a> Locked<'a> {
    /// An error that says why if the environment cannot be started here.
    pub fn read(kitchen: &Kitchen<'_>, name: &'a str) -> Result<Self> {
        let lockfile = kitchen.lockfile(name)?;
        let platform = Platform::of_this_machine()
            .filter(|platform| lockfile.environment.platforms.contains(platform))
            .ok_or_else(|| {
                Error::new(format!("`{name}` is not locked for this machine's platform"))
                    .hint("add it to `platforms` in the definition, then run `kiln lock`")
            })?;
        let lock = PlatformLock::of(name, &lockfile, platform);
        let image = kitchen.with_bakery(name, &lockfile, |bakery| bake::container_config(bakery, &lockfile, &lock))?;
        Ok(Self { name, lockfile, lock, image })
    }

    pub fn image(&self) -> &ContainerConfig {
        &self.image
    }

    /// The program to start: what was typed, or the image's entrypoint and command.
    pub fn command(&self, typed: &[String]) -> Result<Vec<String>> {
        let image = self.image();
        let command = if typed.is_empty() {
            [image.entrypoint.as_slice(), image.cmd.as_slice()].concat()
        } else {
            typed.to_vec()
        };
        if command.is_empty() {
            return Err(Error::new(format!("`{}` has no entrypoint", self.name))
                .hint(format!("say what to run: `kiln run {} -- COMMAND`", self.name)));
        }
        Ok(command)
    }
}

/// How an environment is started.
#[derive(Debug, Default)]
pub struct Start<'a> {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables on top of the image's.
    pub variables: BTreeMap<String, String>,
    pub volumes: Vec<Volume>,
    /// Whether it shares this machine's network.
    pub network: bool,
    /// Whether what it prints comes by a pipe, and not where kiln's own output goes.
    pub piped: bool,
    /// Instead of the image's own.
    pub user: Option<&'a str>,
    /// Instead of the image's own.
    pub workdir: Option<&'a str>,
}

/// A program that only waits to be started.
#[derive(Debug)]
pub struct Prepared {
    name: String,
    pub session: Session,
    pub command: ForegroundCommand,
    /// What it will print, if that is piped.
    pub output: Option<PipeReader>,
    /// Removed after the session has ended, as it is declared after it.
    _scratch: tempfile::TempDir,
}

/// Puts an environment's tree together, and finds out all that its program is started with.
pub fn prepare(kitchen: &Kitchen<'_>, locked: &Locked<'_>, start: Start<'_>) -> Result<Prepared> {
    let (name, image, context) = (locked.name, locked.image(), kitchen.context);
    let tree =
        kitchen.with_bakery(name, &locked.lockfile, |bakery| bake::tree(bakery, &locked.lockfile, &locked.lock))?;
    let executor = kitchen.executor()?;
    let scratch = kitchen.store.scratch()?;
    let binds = start.volumes.iter().map(|volume| volume.bind.clone()).collect();
    let options = Options { network: start.network, binds, ..context.sandbox(&kitchen.store) };
    let (mut session, output) = match start.piped {
        true => {
            Session::start_piped(executor, scratch.path(), &options).map(|(session, output)| (session, Some(output)))?
        }
        false => (Session::start(executor, scratch.path(), &options)?, None),
    };
    let bar = format!("Starting {name}");
    context.progress.start(&bar, None, false);
    let extracted = session.extract(&tree).context(|| format!("putting the tree of `{name}` together"));
    context.progress.end(&bar);
    extracted?;
    name_the_host(&mut session)?;
    let user = start.user.or(image.user.as_deref()).unwrap_or("root");
    let account = account(&mut session, user).context(|| format!("finding the user `{user}` in `{name}`"))?;
    for volume in &start.volumes {
        if volume.fresh {
            session.empty(&volume.bind.source)?;
        }
        if volume.owned {
            session.give(&volume.bind.source, account.uid, account.gid)?;
        }
    }
    let mut environment = image.env.clone();
    environment.entry("PATH".to_owned()).or_insert_with(|| SEARCHED.to_owned());
    // As engines do for a container with a terminal.
    if !start.piped && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        environment.entry("TERM".to_owned()).or_insert_with(|| "xterm".to_owned());
    }
    environment.extend(start.variables);
    environment.entry("HOME".to_owned()).or_insert_with(|| account.home.clone());
    let command = ForegroundCommand {
        arguments: start.command,
        environment,
        directory: directory(&mut session, start.workdir, image.working_dir.as_deref())?,
        uid: account.uid,
        gid: account.gid,
        groups: account.groups,
    };
    Ok(Prepared { name: name.to_owned(), session, command, output, _scratch: scratch })
}

/// Makes the host's name one that can be looked up, as engines do: many servers ask for their own.
fn name_the_host(session: &mut Session) -> Result<()> {
    // An executor without namespaces has the machine's name.
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let names = if machine == "kiln" || machine.is_empty() { "kiln".to_owned() } else { format!("kiln {machine}") };
    let hosts = format!("127.0.0.1\tlocalhost {names}\n::1\tlocalhost ip6-localhost\n");
    session.write("etc/hosts", hosts.as_bytes(), 0o644).context(|| "writing /etc/hosts")
}

impl Prepared {
    /// Ends what is left and removes the tree.
    pub fn finish(self) -> Result<()> {
        self.session.finish()
    }

    /// The likely reason why the program could not be started. Looked for only now: what a volume brings is
    /// not seen from here.
    pub fn explained(&mut self, error: Error) -> Error {
        let Self { name, session, command, .. } = self;
        let directory = command.directory.trim_matches('/');
        let mut exists = |path: &str| session.exists(path.trim_start_matches('/')).unwrap_or(true);
        if !directory.is_empty() && !exists(directory) {
            return Error::new(format!("`{name}` has no folder {} to start in", command.directory))
                .caused_by(error)
                .hint("`workdir` in `[image]` says where: make the folder in a `[[run]]`, or name another");
        }
        let program = &command.arguments[0];
        let path = command.environment.get("PATH").map_or("", String::as_str);
        let found = if program.contains('/') {
            exists(&if program.starts_with('/') { program.clone() } else { format!("{directory}/{program}") })
        } else {
            path.split(':').any(|folder| exists(&format!("{folder}/{program}")))
        };
        if found {
            return error
                .hint("it is there: is it executable, is its interpreter there, and is it of this architecture?");
        }
        let hint = if program.contains('/') {
            "programs are named by their path in the image, or found in its PATH".to_owned()
        } else {
            format!("looked for in {path}; `kiln list {name}` lists the packages that are in it")
        };
        Error::new(format!("`{name}` has no program `{program}`")).hint(hint)
    }
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

/// A file or folder of this machine that is shown inside.
#[derive(Debug)]
pub struct Volume {
    pub bind: Bind,
    /// Whether it is given to the user that the program runs as.
    pub owned: bool,
    /// Whether what is in it is removed first.
    pub fresh: bool,
}

impl Volume {
    /// `SOURCE:TARGET`, with `:ro`, `:rw` or `:U` behind it, or several of these with commas between.
    pub fn parse(volume: &str, directory: &Path) -> Result<Self> {
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
        Ok(Self { bind, owned: options.contains(&"U"), fresh: false })
    }
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
        (None, Err(_)) => {
            return Err(Error::new(format!("its `/etc/passwd` has no user `{user}`"))
                .hint(format!("`[users.{user}]` in the definition makes one; `user` in `[image]` says who starts")));
        }
    };
    let groups: Vec<Vec<&str>> =
        group.lines().map(|line| line.split(':').collect()).filter(|fields: &Vec<&str>| fields.len() >= 4).collect();
    if let Some(wanted) = wanted_group {
        gid = match (groups.iter().find(|fields| fields[0] == wanted), wanted.parse()) {
            (Some(fields), _) => fields[2].parse()?,
            (None, Ok(gid)) => gid,
            (None, Err(_)) => {
                return Err(Error::new(format!("its `/etc/group` has no group `{wanted}`"))
                    .hint("a user's own group has the user's name; numbers are taken as well"));
            }
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
