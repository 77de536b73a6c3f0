//! `kiln compose`: the workspace as a Compose file (Compose specification), pinned by digest.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::arguments::{Compose, Format};
use super::context::Context;
use super::document::Node;
use super::kitchen::fitting_lockfile;
use super::{pins, volumes};
use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};
use crate::lock::Lockfile;
use crate::workspace::{Exposed, Platform, Published, Target, Workspace, is_image_name};

/// Where images are pulled from when no target says: the reader's choice, or a registry on the same machine.
const ANY_REPOSITORY: &str = "${KILN_REPOSITORY:-localhost:5000}";

pub fn run(context: &Context, arguments: &Compose) -> Result<u8> {
    let workspace = context.workspace()?;
    let names = workspace.select(&arguments.environments)?;
    let target = arguments.target.as_deref().map(|name| workspace.target(name)).transpose()?;
    let services = services(&workspace, &names, target)?;
    note_shared_ports(context, &services);
    let document = document(&services, target);
    let text = match context.format {
        Format::Text | Format::Markdown | Format::Github => format!("{}{}", comment(arguments), document.yaml()),
        Format::Json => serde_json::to_string_pretty(&document)? + "\n",
    };
    match &arguments.output {
        Some(path) => write(&context.directory.join(path), &text)?,
        None => context.print(text.trim_end_matches('\n'))?,
    }
    Ok(0)
}

/// What is known of an environment.
struct Service<'a> {
    name: &'a str,
    digest: Digest,
    /// The platform of the image, unless the digest is that of an index of all.
    platform: Option<Platform>,
    ports: Vec<Published>,
    lockfile: Lockfile,
}

/// The environments with their images; an error that names all that have none.
fn services<'a>(workspace: &Workspace, names: &'a [String], target: Option<&Target>) -> Result<Vec<Service<'a>>> {
    let mut services = Vec::new();
    let mut unmade = Vec::new();
    for name in names {
        if !is_image_name(name) {
            return Err(Error::new(format!("`{name}` cannot be the name of an image, nor of a service"))
                .hint("registries take lower-case letters and digits with `.`, `_` or `-` between them"));
        }
        let (lockfile, _) = fitting_lockfile(workspace, name, None)?;
        let Some((digest, platform)) = image(name, &lockfile)? else {
            unmade.push(name.as_str());
            continue;
        };
        let exposed = &lockfile.environment.image.ports;
        let exposed = exposed.iter().map(|port| port.parse()).collect::<Result<Vec<Exposed>>>()?;
        let ports = Target::published(target, name, &exposed);
        services.push(Service { name, digest, platform, ports, lockfile });
    }
    if unmade.is_empty() {
        return Ok(services);
    }
    let listed: Vec<String> = unmade.iter().map(|name| format!("`{name}`")).collect();
    Err(Error::no(format!("no image is pinned for {}", listed.join(", ")))
        .hint(format!("`kiln build {}` bakes what is locked, and pins it in the lockfile", unmade.join(" "))))
}

/// The digest by which the image is pulled: that of the index of all platforms, or of the first platform's image,
/// which is then named.
fn image(name: &str, lockfile: &Lockfile) -> Result<Option<(Digest, Option<Platform>)>> {
    if let Some(index) = pins::index(name, lockfile, |_| None)? {
        return Ok(Some((index, None)));
    }
    Ok(pins::valid(name, lockfile)?.first().map(|output| (output.image, Some(output.platform))))
}

/// Says which services cannot run at the same time, as they want the same port of the machine.
fn note_shared_ports(context: &Context, services: &[Service<'_>]) {
    let mut wanted: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for service in services {
        for port in &service.ports {
            wanted.entry((port.number, port.exposed.protocol)).or_default().push(service.name);
        }
    }
    for ((number, protocol), mut names) in wanted {
        names.dedup();
        if names.len() > 1 {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            context.say(&format!(
                "{} want the same port of the machine, {number}/{}: run one of them at a time, or give them others \
                 with `ports` in a target",
                names.join(" and "),
                protocol.name(),
            ));
        }
    }
}

fn document(services: &[Service<'_>], target: Option<&Target>) -> Node {
    let mut tables = Vec::new();
    let mut kept = Vec::new();
    for service in services {
        let mounts = &service.lockfile.environment.image.volumes;
        let mounts: Vec<(String, &str)> =
            mounts.iter().map(|path| (volume(service.name, path), path.as_str())).collect();
        tables.push((service.name.to_owned(), table(service, &mounts, target)));
        kept.extend(mounts.into_iter().map(|(name, _)| (name, Node::Table(Vec::new()))));
    }
    let mut document = vec![("services".to_owned(), Node::Table(tables))];
    if !kept.is_empty() {
        document.push(("volumes".to_owned(), Node::Table(kept)));
    }
    Node::Table(document)
}

/// The name of a volume. The last `.` ends the environment's: the rest has none.
fn volume(environment: &str, path: &str) -> String {
    format!("{environment}.{}", volumes::name(path))
}

fn table(service: &Service<'_>, mounts: &[(String, &str)], target: Option<&Target>) -> Node {
    let repository = target.and_then(|target| target.repository.as_deref()).unwrap_or(ANY_REPOSITORY);
    let image = format!("{repository}/{}@{}", service.name, service.digest.oci());
    let mut table = vec![("image", Node::text(image))];
    if let Some(platform) = service.platform {
        table.push(("platform", Node::text(platform.name())));
    }
    table.push(("profiles", Node::List(vec![Node::text(service.name)])));
    if !service.ports.is_empty() {
        table.push(("ports", Node::List(service.ports.iter().map(|port| Node::text(port.to_string())).collect())));
    }
    let variables = target.map(|target| target.variables(service.name)).unwrap_or_default();
    if !variables.is_empty() {
        let pairs = variables.into_iter().map(|(name, value)| (name, literal(&value)));
        table.push(("environment", Node::Table(pairs.collect())));
    }
    if !mounts.is_empty() {
        let mount = |(name, path): &(String, &str)| {
            let pairs = [("type", Node::text("volume")), ("source", Node::text(name)), ("target", literal(path))];
            Node::Table(pairs.map(|(key, value)| (key.to_owned(), value)).into())
        };
        table.push(("volumes", Node::List(mounts.iter().map(mount).collect())));
    }
    if let Some(signal) = &service.lockfile.environment.image.stop_signal {
        table.push(("stop_signal", literal(signal)));
    }
    Node::Table(table.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A text in which no `$` stands for a variable (Compose specification, interpolation).
fn literal(text: &str) -> Node {
    Node::text(text.replace('$', "$$"))
}

/// Says on top of the file what it is and how to make it anew.
fn comment(arguments: &Compose) -> String {
    let target = arguments.target.as_ref().map(|target| format!(" --target {target}")).unwrap_or_default();
    let names: String = arguments.environments.iter().map(|name| format!(" {name}")).collect();
    format!(
        "# Generated by `kiln compose{names}{target}`: do not edit, but run that again.\n\
         # Every service has a profile of its name: `docker compose --profile NAME up` runs it.\n"
    )
}

/// Writes the file as a whole or not at all, and not if it says the same already.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|known| known == text) {
        return Ok(());
    }
    let write = || -> Result<()> {
        let folder = path.parent().context(|| "it has no name")?;
        let permissions: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let file = tempfile::Builder::new().prefix(".kiln-").permissions(permissions).tempfile_in(folder);
        // Its own words name the temporary file, which nobody knows.
        let mut file = file.map_err(|error| Error::new(error.kind().to_string()))?;
        file.write_all(text.as_bytes())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write()
        .context(|| format!("writing the Compose file {}", path.display()))
        .map_err(|error| error.hint("`--output` names a file in a folder that is there and can be written to"))
}
