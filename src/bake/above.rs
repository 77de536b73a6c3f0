//! What comes on top of the packages: the definition's steps, in their order.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Progress;
use super::graph::Graph;
use super::ground::in_memory;
use super::plan::{Below, Folders, Planned, extractions};
use super::stage_result::StageResult;
use crate::digest::Digest;
use crate::ecosystem::debian::accounts::Ids;
use crate::ecosystem::debian::script::{self, Script};
use crate::ecosystem::fetch;
use crate::ecosystem::local;
use crate::ecosystem::placing::Placing;
use crate::error::{Context, Error, Result};
use crate::layer::Part;
use crate::lock::PlatformStep;
use crate::sandbox::{Extraction, Session};
use crate::workspace::permissions;
use crate::{FORMAT, canonical};

/// The layers of an image so far, and what is known of them.
pub struct Stack {
    pub layers: Vec<Planned>,
    pub folders: Folders,
    /// A hash of everything that the layers are made of.
    pub key: Digest,
    /// The newest time of an artifact in them, in seconds since 1970.
    pub epoch: u64,
    /// What the scripts of steps have changed, in order.
    pub scripts: Vec<StageResult>,
}

impl Stack {
    /// Puts a layer of one part on top; `key` says what it is made of.
    pub fn push(&mut self, name: String, note: String, part: Part) -> Result<()> {
        self.key = Digest::of(&canonical::to_vec(&(self.key, &name, part.content))?);
        self.folders.add(&part.directories);
        let parts = vec![part];
        let directories = self.folders.of(&parts);
        self.layers.push(Planned {
            name,
            note,
            directories,
            parts,
            owners: Vec::new(),
            disjoint: false,
            foreign: None,
        });
        Ok(())
    }
}

/// Puts the definition's steps on top.
pub fn steps(graph: &Graph<'_>, stack: &mut Stack) -> Result<()> {
    let (mut fetches, mut copies, mut runs) = (0, 0, 0);
    for step in &graph.lock.steps {
        match step {
            PlatformStep::Fetch { name, to, .. } => {
                fetches += 1;
                let (part, newest) = fetched(graph, stack, step).context(|| format!("fetching `{name}` to {to}"))?;
                stack.epoch = stack.epoch.max(newest);
                stack.push(format!("fetch-{fetches}"), format!("{name} in {to}"), part)?;
            }
            PlatformStep::Copy { to, .. } => {
                copies += 1;
                let part = copied(graph, stack, step).context(|| format!("copying to {to}"))?;
                stack.push(format!("copy-{copies}"), format!("local files in {to}"), part)?;
            }
            PlatformStep::Run { script, env, workdir } => {
                runs += 1;
                let name = format!("run-{runs}");
                let script = Script { text: script, env, workdir: workdir.as_deref() };
                run_on_top(graph, stack, &name, "what a script changed", &script)?;
            }
        }
    }
    Ok(())
}

/// Puts what a script changes on top.
pub fn run_on_top(graph: &Graph<'_>, stack: &mut Stack, name: &str, note: &str, script: &Script<'_>) -> Result<()> {
    let result = run(graph, stack, name, script).context(|| format!("running the script of step {name}"))?;
    stack.key = result.key;
    stack.folders.replace(&result.part.directories);
    stack.layers.push(Planned::changed(name, note, &result));
    stack.scripts.push(result);
    Ok(())
}

fn fetched(graph: &Graph<'_>, stack: &Stack, step: &PlatformStep) -> Result<(Part, u64)> {
    let PlatformStep::Fetch { name, sha256, to, strip, select, unpack, mode, owner } = step else {
        return Err(Error::new("this step fetches nothing"));
    };
    let single = fetch::is_single(name, *unpack);
    let mut newest = 0;
    let part = placed(graph, stack, Placing::new(to, single.then_some(name))?, mode, owner, |placing| {
        let options = fetch::Options { name, unpack: *unpack, strip: *strip, select, placing };
        let made = fetch::part(graph.bakery.store, sha256, &options)?;
        newest = made.newest_mtime;
        Ok(made.part)
    })?;
    Ok((part, newest))
}

fn copied(graph: &Graph<'_>, stack: &Stack, step: &PlatformStep) -> Result<Part> {
    let PlatformStep::Copy { sha256, to, mode, owner } = step else {
        return Err(Error::new("this step copies nothing"));
    };
    let listing = local::Listing::read(graph.bakery.store, sha256)?;
    let single = listing.entries.first().filter(|_| listing.single).map(|entry| entry.path.as_str());
    let placing = Placing::new(to, single)?;
    placed(graph, stack, placing, mode, owner, |placing| local::part(graph.bakery.store, sha256, placing))
}

/// The part that `make` makes, as it fits the tree below: through the links that are there.
fn placed(
    graph: &Graph<'_>,
    stack: &Stack,
    mut placing: Placing,
    mode: &Option<String>,
    owner: &Option<String>,
    mut make: impl FnMut(&Placing) -> Result<Part>,
) -> Result<Part> {
    let below = Below::new(&stack.layers);
    placing.mode = mode.as_deref().map(permissions).transpose()?;
    if let Some(owner) = owner {
        (placing.uid, placing.gid) = owner_ids(graph, &below, owner)?;
    }
    let mut part = make(&placing)?;
    placing.through = below.links_among(&part);
    if !placing.through.is_empty() {
        part = make(&placing)?;
    }
    let folder_in_the_way = part.entries.iter().find(|entry| stack.folders.get(&entry.path).is_some());
    if let Some(entry) = folder_in_the_way {
        return Err(Error::new(format!("/{} is a folder in what is below", entry.path))
            .hint("a file keeps its name in a folder when `to` ends in a slash"));
    }
    match below.file_in_the_way(&part) {
        Some(path) => Err(Error::new(format!("/{path} would be a folder, and is a file in what is below"))),
        None => Ok(part),
    }
}

/// The numbers of `USER`, `USER:GROUP` or numbers, by the tree's own lists of users and groups.
fn owner_ids(graph: &Graph<'_>, below: &Below<'_>, owner: &str) -> Result<(u32, u32)> {
    let (user, group) = owner.split_once(':').map_or((owner, None), |(user, group)| (user, Some(group)));
    let read = |path: &str| -> Result<String> {
        Ok(String::from_utf8_lossy(&below.read(graph, path)?.unwrap_or_default()).into_owned())
    };
    let field = |text: &str, name: &str, index: usize| -> Option<u32> {
        let line = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == name)?;
        line.get(index)?.parse().ok()
    };
    let passwd = read("etc/passwd")?;
    let unknown = |what: &str, name: &str| {
        Error::new(format!("there is no {what} `{name}` in what is below"))
            .hint(format!("`[users.{name}]` in the definition makes one; a number is taken as it is"))
    };
    let uid = user.parse().ok().or_else(|| field(&passwd, user, 2)).ok_or_else(|| unknown("user", user))?;
    let gid = match group {
        Some(group) => {
            let groups = read("etc/group")?;
            group.parse().ok().or_else(|| field(&groups, group, 2)).ok_or_else(|| unknown("group", group))?
        }
        None => field(&passwd, user, 3).unwrap_or(uid),
    };
    Ok((uid, gid))
}

/// Calls `act` with a session for a tree of these layers, which is still empty.
pub fn in_tree<T>(graph: &Graph<'_>, layers: &[Extraction], act: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
    let in_memory = in_memory(graph.bakery.tree_memory, layers.iter().flat_map(|layer| &layer.parts));
    let mut ground = (graph.bakery.start)(in_memory)?;
    let done = act(&mut ground.session);
    graph.bakery.endings.end(ground.session, ground.place);
    done
}

#[derive(Serialize)]
struct RunKey<'a> {
    format: u32,
    below: &'a Digest,
    epoch: u64,
    script: &'a str,
    env: &'a BTreeMap<String, String>,
    workdir: Option<&'a str>,
}

/// What a script changes in the tree of all layers so far. Run once: the store keeps it under everything below it.
fn run(graph: &Graph<'_>, stack: &Stack, name: &str, script: &Script<'_>) -> Result<StageResult> {
    let store = graph.bakery.store;
    let (below, epoch) = (&stack.key, stack.epoch);
    let key = RunKey { format: FORMAT, below, epoch, script: script.text, env: script.env, workdir: script.workdir };
    let key = Digest::of(&canonical::to_vec(&key)?);
    if let Some(result) = store.keyed("stage", &key) {
        return Ok(result);
    }
    let _lock = store.lock_key("stage", &key)?;
    if let Some(result) = store.keyed("stage", &key) {
        return Ok(result);
    }
    (graph.bakery.progress)(Progress::Running { step: name.to_owned() });
    let layers = extractions(&stack.layers);
    let done = in_tree(graph, &layers, |session| script::run(session, name, script, &layers, epoch))?;
    (graph.bakery.progress)(Progress::Ran { step: name.to_owned(), took: Duration::from_nanos(done.took) });
    let result = StageResult {
        key,
        part: done.part,
        leave_out: BTreeMap::new(),
        writers: done.writers,
        epoch,
        ids: Ids::default(),
        diversions: BTreeMap::new(),
    };
    store.put_keyed("stage", &key, &[result.part.content], &result)?;
    Ok(result)
}
