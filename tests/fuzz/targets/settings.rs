//! What people write: definitions, lockfiles, `kiln.toml`, and the settings of other tools.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use kiln::ecosystem::npm::origin as npm;
use kiln::ecosystem::origin::{Configured, Machine};
use kiln::ecosystem::pypi::origin as pypi;
use kiln::lock::diff::Diff;
use kiln::lock::needs::Needs;
use kiln::lock::{Lockfile, PlatformLock, changes, reasons};
use kiln::net::{Address, percent_decoded};
use kiln::workspace::{self, Asked, Ecosystem, Edit, Exposed, Platform, Published, Workspace, import};

use super::{Outcome, Target, printable, same, text};
use crate::mend;
use crate::world::World;

const DEFINITION: &[&str] = &[
    "[debian]\n",
    "suite = \"trixie\"\n",
    "packages = [",
    "[[debian.source]]\n",
    "[python]\n",
    "[npm]\n",
    "[[fetch]]\n",
    "[[copy]]\n",
    "[[run]]\n",
    "[users.app]\n",
    "[image]\n",
    "extends = [\"base\"]\n",
    "platforms = [\"linux/amd64\"]\n",
    "url = \"https://h.example/a.tar.gz\"\n",
    "to = \"/opt\"\n",
    "from = \"a\"\n",
    "mode = \"0755\"\n",
    "uid = 1000\n",
    "ports = [\"80/tcp\"]\n",
    "env = { A = \"b\" }\n",
    "strip = 1\n",
    "sha256 = \"",
    "\"\"\"",
    "'''",
];
const DOCKERFILE: &[&str] = &[
    "FROM ",
    "RUN ",
    "apt-get install -y ",
    "pip install ",
    "npm ci",
    " && ",
    " \\\n",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "CMD [\"",
    "ENTRYPOINT ",
    "<<EOF\n",
    "\nEOF\n",
    "${A}",
    "${A:-b}",
    "$A",
    "EXPOSE 80",
    "USER ",
    "WORKDIR ",
    "# escape=`\n",
    "HEALTHCHECK --interval=5s CMD ",
    "ONBUILD ",
    "--from=",
    "\"dependencies\": {",
    "-r requirements.txt",
    "'",
    "`",
];
const LOCK: &[&str] = &[
    "[[package]]\n",
    "[[package.on]]\n",
    "[[origin]]\n",
    "[[output]]\n",
    "[environment]\n",
    "version = 1\n",
    "sha256 = \"",
    "<<<<<<< HEAD\n",
    "||||||| base\n",
    "=======\n",
    ">>>>>>> other\n",
    "linux/amd64",
    "linux/arm64",
    "required-by = [",
];

fn list() -> Vec<Target> {
    let target = |name, words, run| Target { name, words, mend: mend::nothing, run };
    vec![
        target("lockfile", LOCK, lockfile),
        target("conflict", LOCK, conflict),
        target("definition", DEFINITION, definition),
        target("edit", DEFINITION, edit),
        target("dockerfile", DOCKERFILE, dockerfile),
        target(
            "kiln-toml",
            &["[origins]\n", "[targets.a]\n", "debian = [\"", "registry = \"", "ports = [", "envs = [", "{ "],
            kiln_toml,
        ),
        target(
            "pip-conf",
            &["[global]\n", "[install]\n", "index-url = ", "=", "https://u:p@h.example/simple"],
            pip_conf,
        ),
        target(
            "uv-toml",
            &["[pip]\n", "[[index]]\n", "index-url = \"", "default = true\n", "url = \"https://h.example/\"\n"],
            uv_toml,
        ),
        target(
            "npmrc",
            &["registry=", "@s:registry=", "//h.example/:_authToken=", "${A}", "${A?}", "_auth=", "\"", ";", "#"],
            npmrc,
        ),
        target(
            "netrc",
            &["machine ", "default ", "login ", "password ", "account ", "macdef ", "h.example", "#"],
            netrc,
        ),
        target("words", &["/tcp", "/udp", "linux/", "127.0.0.1:", "[::1]:", "-", "https://", "%41", "%", "@"], words),
    ]
}

pub const TARGETS: fn() -> Vec<Target> = list;

/// What can be asked of a lockfile.
fn questions(lockfile: &Lockfile) -> Outcome {
    for platform in lockfile.environment.platforms.iter().take(3) {
        if let Some(bytes) = printable(PlatformLock::of("api", lockfile, *platform).to_bytes()) {
            let lock: PlatformLock =
                serde_json::from_slice(&bytes).map_err(|error| format!("a platform lock: {error}"))?;
            same("a platform lock", &bytes, &lock.to_bytes().map_err(|error| error.to_string())?)?;
        }
    }
    let needs = Needs::new(lockfile);
    for (id, _) in needs.iter().take(20) {
        let _ = needs.chains(id);
    }
    let _ = (needs.roots().len(), changes(None, lockfile).len(), reasons(Some(lockfile), &lockfile.environment).len());
    let mut less = lockfile.clone();
    less.packages.pop();
    less.environment.platforms.pop();
    let _ = Diff::between(&less, lockfile).counts();
    less.keep_platforms();
    less.drop_void_outputs("api");
    if !Diff::between(lockfile, lockfile).is_empty() {
        return Err("a lockfile differs from itself".to_owned());
    }
    Ok(())
}

fn lockfile(_: &World, bytes: &[u8]) -> Outcome {
    let Some(mut lockfile) = printable(Lockfile::parse(&text(bytes))) else { return Ok(()) };
    lockfile.normalize();
    let written = lockfile.to_text().map_err(|error| format!("it cannot be written: {error}"))?;
    let again = Lockfile::parse(&written).map_err(|error| format!("what was written cannot be read: {error:?}"))?;
    same("a lockfile", &lockfile, &again)?;
    same("a lockfile's text", &written, &again.to_text().map_err(|error| error.to_string())?)?;
    questions(&lockfile)
}

fn conflict(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    match printable(Lockfile::parse_conflicted(&text)) {
        Some(Some(lockfile)) => questions(&lockfile),
        Some(None) if text.lines().any(|line| line.starts_with("<<<<<<< ")) => Err("markers are not seen".to_owned()),
        _ => Ok(()),
    }
}

fn definition(world: &World, bytes: &[u8]) -> Outcome {
    world.write("work/kiln.toml", b"");
    world.write("work/envs/base.toml", b"[debian]\npackages = [\"b\"]\n");
    world.write("work/requirements.txt", b"a==1\n");
    world.write("work/keys/a.asc", b"no key\n");
    world.write("work/envs/api.toml", bytes);
    let root = world.folder().join("work");
    let workspace = Workspace::find(&root).map_err(|error| error.to_string())?;
    let Some(settings) = printable(workspace::load(&workspace, "api")) else { return Ok(()) };
    // The settings are in every lockfile: they are read from there.
    let lockfile = Lockfile { version: 1, revision: 1, format: 1, environment: settings, ..lockfile_of_nothing()? };
    let written = lockfile.to_text().map_err(|error| format!("it cannot be locked: {error}"))?;
    let found: Lockfile = match Lockfile::parse(&written) {
        Ok(found) => found,
        // Of what it fetches and copies nothing is locked yet.
        Err(error) if error.details().is_some_and(|detail| detail.contains("does not say which bytes")) => {
            return Ok(());
        }
        Err(error) => return Err(format!("settings cannot be read from a lockfile: {error} {:?}", error.details())),
    };
    same("settings", &lockfile.environment, &found.environment)?;
    let _ = reasons(Some(&found), &lockfile.environment);
    Ok(())
}

/// `kiln add` and `kiln remove`: the first line says what, the rest is a definition.
fn edit(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    let (typed, definition) = text.split_once('\n').unwrap_or(("debian:curl", &text));
    let Some((ecosystem, rest)) = printable(Ecosystem::split(typed)) else { return Ok(()) };
    let Some(asked) = printable(Asked::parse(ecosystem.unwrap_or(Ecosystem::Debian), rest)) else { return Ok(()) };
    let shown = Path::new("envs/api.toml");
    let Some(mut edit) = printable(Edit::new(shown, definition)) else { return Ok(()) };
    let _ = (asked.typed(), asked.from_version("1.0+a").text, asked.lowest(["1.0", "0.9"].into_iter()));
    let Some(effect) = printable(edit.add(&asked)) else { return Ok(()) };
    let again =
        Edit::new(shown, &edit.text()).map_err(|error| format!("what was written is no definition: {error}"))?;
    let known = again.asked(asked.ecosystem);
    if !known.iter().any(|known| known.name == asked.name) {
        return Err(format!("{asked:?} was added ({effect:?}) and is not there"));
    }
    if printable(edit.remove(&Asked { text: String::new(), ..asked.clone() })).is_some() {
        Edit::new(shown, &edit.text()).map_err(|error| format!("what was left is no definition: {error}"))?;
    }
    Ok(())
}

/// What others' files are made into must be a definition, whatever is in them.
fn dockerfile(world: &World, bytes: &[u8]) -> Outcome {
    world.write("imported/kiln.toml", b"");
    let text = text(bytes);
    let exists = |path: &str| path.contains('a');
    let read = [
        Some(import::dockerfile(&text, &exists)),
        import::package_json(&text, &exists),
        Some(import::requirements("requirements.txt", &text, true)),
        Some(import::requirements("requirements.txt", &text, false)),
    ];
    for imported in read.into_iter().flatten() {
        let definition = imported.definition("a\nb", "services/api");
        world.write("imported/envs/api.toml", definition.as_bytes());
        let workspace = Workspace::find(&world.folder().join("imported")).map_err(|error| error.to_string())?;
        if let Err(error) = definition.parse::<toml::Table>() {
            return Err(format!("what was imported is no TOML: {error}"));
        }
        let _ = printable(workspace::load(&workspace, "api"));
    }
    Ok(())
}

fn lockfile_of_nothing() -> Result<Lockfile, String> {
    Lockfile::parse(include_str!("../corpus/lockfile/nothing.lock")).map_err(|error| error.to_string())
}

fn kiln_toml(world: &World, bytes: &[u8]) -> Outcome {
    world.write("targets/envs/api.toml", b"");
    world.write("targets/envs/web.toml", b"");
    let path = world.write("targets/kiln.toml", bytes);
    if let Some(workspace) = printable(Workspace::find(&world.folder().join("targets"))) {
        for name in ["laptop", "a"] {
            let Some(target) = printable(workspace.target(name)) else { continue };
            let _ = (target.variables("api"), target.ports("web").map(<[_]>::len));
        }
    }
    let _ = printable(workspace::user_origins(&path));
    Ok(())
}

fn machine(variables: &[(&str, String)]) -> Machine {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Machine { variables, home: None, ask: |_| None }
}

fn pip_conf(world: &World, bytes: &[u8]) -> Outcome {
    let path = world.write("pip.conf", bytes).display().to_string();
    let _ = printable(pypi::places(None, &machine(&[("PIP_CONFIG_FILE", path), ("NETRC", String::new())])));
    Ok(())
}

fn uv_toml(world: &World, bytes: &[u8]) -> Outcome {
    let path = world.write("uv.toml", bytes).display().to_string();
    let _ =
        printable(pypi::places(None, &machine(&[("UV_CONFIG_FILE", path), ("PIP_CONFIG_FILE", "/dev/null".into())])));
    Ok(())
}

fn npmrc(world: &World, bytes: &[u8]) -> Outcome {
    let path = world.write("npmrc", bytes).display().to_string();
    let told = Configured { addresses: vec!["https://h.example/npm/".into()], learnt: "kiln.toml".into() };
    let variables =
        [("npm_config_userconfig", path), ("npm_config_globalconfig", "/dev/null".into()), ("A", "b".into())];
    for configured in [None, Some(&told)] {
        let Some(registries) = printable(npm::Registries::find(configured, &machine(&variables))) else { continue };
        let _ = (registries.of("@s/a").len(), registries.of("a").len(), registries.all().count());
    }
    Ok(())
}

fn netrc(world: &World, bytes: &[u8]) -> Outcome {
    let path = world.write("netrc", bytes).display().to_string();
    let told = Configured { addresses: vec!["https://h.example/simple".into()], learnt: "kiln.toml".into() };
    let machine = machine(&[("NETRC", path), ("npm_config_userconfig", "/dev/null".into())]);
    for places in [pypi::places(Some(&told), &machine), npm::places(Some(&told), &machine)] {
        for place in printable(places).into_iter().flatten() {
            // Debugging output is no place for passwords.
            let _ = format!("{place:?}");
        }
    }
    Ok(())
}

/// Single words of definitions and of the command line.
fn words(_: &World, bytes: &[u8]) -> Outcome {
    let text = text(bytes);
    if let Some(platform) = printable(Platform::from_str(&text)) {
        same("a platform", &Some(platform), &Platform::from_str(platform.name()).ok())?;
    }
    if let Some(port) = printable(Exposed::from_str(&text)) {
        same("a port", &Some(port), &Exposed::from_str(&port.to_string()).ok())?;
    }
    if let Some(port) = printable(Published::from_str(&text)) {
        same("a published port", &Some(port), &Published::from_str(&port.to_string()).ok())?;
    }
    if let Some(platform) = printable(kiln::image::Platform::from_str(&text)) {
        same("an image's platform", &Some(platform.to_string()), &Some(text.to_string()))?;
    }
    if let Some((address, _)) = printable(Address::parse(&text)) {
        let again = Address::parse(address.as_str()).map_err(|error| format!("{address}: {error}"))?.0;
        same("an address", &address, &again)?;
        let _ = (
            address.file_path(),
            address.as_folder(),
            printable(address.below("a/b")),
            address.with_query(&[("a", "b")]),
        );
        let _ = (printable(address.redirected(&text)), address.same_server(&again));
    }
    let _ =
        (percent_decoded(&text), printable(workspace::permissions(&text)), printable(kiln::Digest::from_str(&text)));
    let known: BTreeMap<&str, ()> = [("api", ()), ("web", ())].into();
    let _ = workspace::nearest(&text.chars().take(200).collect::<String>(), known.keys().copied());
    Ok(())
}
