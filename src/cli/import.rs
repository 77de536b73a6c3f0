//! `kiln init --from FILE`: a definition made of what another tool reads, in a new workspace or in the one that is there.

use std::fs;
use std::path::{Path, PathBuf};

use super::arguments::Init;
use super::context::Context;
use super::errors::safe;
use super::init;
use crate::ecosystem::pypi::requirements;
use crate::error::{Context as _, Error, Result};
use crate::workspace::import::{self, Imported};
use crate::workspace::{self, Workspace, is_name};

/// The most bytes that are read.
const LARGEST: u64 = 1 << 20;

pub fn run(context: &Context, arguments: &Init, from: &Path) -> Result<u8> {
    let path = context.directory.join(from);
    let path = path.canonicalize().context(|| format!("finding {}", path.display()))?;
    let size = fs::metadata(&path).context(|| format!("reading {}", path.display()))?.len();
    if size > LARGEST {
        return Err(Error::new(format!("{} has {size} bytes; at most {LARGEST} are accepted", path.display())));
    }
    let bytes = fs::read(&path).context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let root = root(context, arguments)?;
    let folder = path.parent().context(|| "it is in no folder")?;
    // What is outside the workspace cannot be named in it.
    let relative = folder.strip_prefix(&root).ok().and_then(Path::to_str);
    let imported = read(&path, &text, relative, folder)?;

    let name = name(arguments, &path, folder)?;
    let definition = root.join("envs").join(format!("{name}.toml"));
    if definition.exists() {
        return Err(Error::new(format!("{} is there already", definition.display()))
            .hint("`--name NAME` calls the new environment otherwise"));
    }
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let written = imported.definition(&file, relative.unwrap_or_default());
    init::start(&root, &[])?;
    let workspace = Workspace::find(&root)?;
    workspace::load(&workspace.with_draft(&name, written.clone()), &name)?;
    fs::write(&definition, written).context(|| format!("writing {}", definition.display()))?;

    context.say(&format!("Wrote envs/{name}.toml, made from {}", safe(&from.display().to_string())));
    if !imported.left.is_empty() {
        context.say("Left to do, and listed at its end:");
    }
    for left in &imported.left {
        context.say(&format!("  line {}: {}\n      {}", left.line, safe(&left.text), left.advice));
    }
    if arguments.build {
        return init::bake(context, &workspace, &[name]);
    }
    context.say(&format!("Next: `kiln lock {name}`, then `kiln build {name}`"));
    Ok(0)
}

/// The workspace's folder: the one that is named, or the one that this is in, or this.
fn root(context: &Context, arguments: &Init) -> Result<PathBuf> {
    let Some(folder) = &arguments.folder else {
        return Ok(Workspace::find(&context.directory).map_or(context.directory.clone(), |workspace| workspace.root));
    };
    let folder = context.directory.join(folder);
    fs::create_dir_all(&folder).context(|| format!("making {}", folder.display()))?;
    folder.canonicalize().context(|| format!("finding {}", folder.display()))
}

fn read(path: &Path, text: &str, relative: Option<&str>, folder: &Path) -> Result<Imported> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let exists = |beside: &str| relative.is_some() && folder.join(beside).is_file();
    let lower = name.to_ascii_lowercase();
    if lower.contains("dockerfile") || lower.contains("containerfile") {
        return Ok(import::dockerfile(text, &exists));
    }
    if lower.ends_with(".txt") {
        let beside = |path: &str| fs::read_to_string(folder.join(path)).map_err(Error::from);
        let whole = relative.is_some() && requirements::parse(name, &beside).is_ok();
        return Ok(import::requirements(name, text, whole));
    }
    if lower == "package.json" {
        return import::package_json(text, &exists)
            .ok_or_else(|| Error::new(format!("{} is no package.json: it is not an object in JSON", path.display())));
    }
    Err(Error::new(format!("{} is of no kind that a definition can be made of", path.display()))
        .hint("there are: Dockerfile, requirements.txt, package.json"))
}

/// What the environment is called.
fn name(arguments: &Init, path: &Path, folder: &Path) -> Result<String> {
    if let Some(name) = &arguments.name {
        return match is_name(name) {
            true => Ok(name.clone()),
            false => Err(Error::new(format!("`{name}` is no name of an environment"))
                .hint("letters, digits, `-`, `_`, `.` and `+`")),
        };
    }
    let text = |name: Option<&std::ffi::OsStr>| name.and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    // `api.Dockerfile` and `Dockerfile.api` say it themselves.
    let file = text(path.file_name());
    let own = file.strip_suffix(".Dockerfile").or_else(|| file.strip_prefix("Dockerfile."));
    let name = own.map_or_else(|| text(folder.file_name()), str::to_owned).to_lowercase();
    match is_name(&name) && !name.starts_with('_') {
        true => Ok(name),
        false => Err(Error::new("the environment has no name").hint("`--name NAME` gives it one")),
    }
}
