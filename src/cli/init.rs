//! `kiln init`: a workspace with one working environment.

use std::fs;
use std::path::Path;

use super::arguments::{Build, Init};
use super::context::Context;
use super::{build, lock};
use crate::error::{Context as _, Error, Result};
use crate::resolve::Moving;
use crate::workspace::Workspace;

const KILN_TOML: &str = "\
# A kiln workspace: definitions in `envs/`, what they resolve to in `lockfiles/`.
#
# Where artifacts come from is learnt from this machine's own package managers
# (`kiln store origins` shows it); `[origins]` says otherwise:
#
# [origins]
# debian = \"https://mirror.example.org/debian\"
";

const DEFINITION: &str = "\
# What the service `queue` needs at run time.
description = \"A Redis queue\"

[debian]
suite = \"trixie\"
packages = [\"redis-server\"]

[image]
entrypoint = [\"redis-server\"]
command = [\"--bind\", \"*\", \"--protected-mode\", \"no\", \"--dir\", \"/var/lib/redis\"]
user = \"redis\"
workdir = \"/var/lib/redis\"
ports = [\"6379/tcp\"]
volumes = [\"/var/lib/redis\"]
";

pub fn run(context: &Context, arguments: &Init) -> Result<u8> {
    let root = match &arguments.folder {
        Some(folder) => context.directory.join(folder),
        None => context.directory.clone(),
    };
    let existing = root.join("kiln.toml");
    if existing.exists() {
        return Err(Error::new(format!("{} is there already", existing.display()))
            .hint("`kiln lock` and `kiln build` work in it as it is"));
    }
    start(&root, &[("envs/queue.toml", DEFINITION)])?;
    let shown = arguments.folder.as_deref().unwrap_or(Path::new("."));
    context.say(&format!("Started a workspace in `{}` with the environment `queue`", shown.display()));
    if !arguments.build {
        context.say("Next: `kiln lock`, then `kiln build`");
        return Ok(0);
    }
    let workspace = Workspace::find(&root)?;
    let names = workspace.select(&[])?;
    bake(context, &workspace, &names)
}

/// Writes a workspace's own file, after its first definitions.
pub fn start(root: &Path, definitions: &[(&str, &str)]) -> Result<()> {
    for folder in ["envs", "lockfiles"] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).context(|| format!("making {}", folder.display()))?;
    }
    for (path, content) in definitions {
        write(&root.join(path), content)?;
    }
    // The marker comes last: a workspace is there as a whole or not at all.
    write(&root.join("kiln.toml"), KILN_TOML)
}

/// Locks environments and bakes them.
pub fn bake(context: &Context, workspace: &Workspace, names: &[String]) -> Result<u8> {
    lock::relock(context, workspace, names, &Moving::Nothing, false)?;
    build::build(
        context,
        workspace,
        names,
        &Build {
            environments: names.to_vec(),
            platforms: Vec::new(),
            outputs: Vec::new(),
            locked: false,
            check: false,
            print: false,
        },
    )
}

fn write(path: &Path, content: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::write(path, content).context(|| format!("writing {}", path.display()))
}
