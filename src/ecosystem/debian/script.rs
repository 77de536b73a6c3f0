//! A definition's own script, run in a tree of Debian packages: in the same surroundings as their scripts, and
//! cleaned by the same rules.

use std::collections::BTreeMap;

use super::{changes, stage};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::Part;
use crate::sandbox::{Command, Extraction, Session};

/// How many of the last lines of a failed script's output are shown.
const SHOWN: usize = 40;

/// What to run.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    /// For `/bin/sh -eu`.
    pub text: &'a str,
    /// Variables besides those that every script sees.
    pub env: &'a BTreeMap<String, String>,
    pub workdir: Option<&'a str>,
}

/// What it gave.
#[derive(Clone, Debug)]
pub struct Done {
    /// What it changed, whiteouts included.
    pub part: Part,
    /// By path, the script that wrote it.
    pub writers: BTreeMap<String, String>,
    /// For how long it ran, in nanoseconds.
    pub took: u64,
}

/// Runs `script` in a session whose tree is empty, on the tree that `below` makes. `epoch` is the newest time that a
/// file may have afterwards, in seconds since 1970.
pub fn run(session: &mut Session, name: &str, script: &Script<'_>, below: &[Extraction], epoch: u64) -> Result<Done> {
    session.extract(below).context(|| "putting the tree below together")?;
    let prepared = stage::prepare_everywhere(session)?;
    session.mark()?;
    let mut environment = stage::environment(epoch);
    environment.extend(script.env.clone());
    // The folder is the script's to fail in, with its own words.
    let text = match script.workdir {
        Some(workdir) => format!("cd '{}'\n{}", workdir.replace('\'', "'\\''"), script.text),
        None => script.text.to_owned(),
    };
    let arguments = ["/bin/sh", "-euc", &text, name].map(str::to_owned).to_vec();
    let output = session.run(&Command { arguments, environment, status_lines: false })?;
    if output.code != 0 {
        let text = String::from_utf8_lossy(&output.output).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        return Err(Error::new(format!("it ended with exit code {}", output.code))
            .detail(lines[lines.len().saturating_sub(SHOWN)..].join("\n"))
            .kind(Kind::Trouble)
            .hint(
                "scripts run as root, without a network, with `/bin/sh -eu`, on what the definition has before them",
            ));
    }
    stage::clear_prepared(session, &prepared)?;
    let before = changes::Before::new(below, &[], &BTreeMap::new());
    let found = session.changes()?;
    let mut changed = changes::Changed::compare(&before, found, epoch);
    changed.apply_rules(session, &before, epoch)?;
    let writers = changed.writers(&[(0, name.to_owned())]);
    let (directories, entries) = changed.into_entries(&before);
    let part = session.pack(&directories, &entries)?;
    Ok(Done { part, writers, took: output.took })
}
