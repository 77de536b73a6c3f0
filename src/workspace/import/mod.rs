//! Definitions made of what other tools read: a Dockerfile, a requirements.txt, a package.json. What can be read becomes
//! a definition; the rest is left to do, with its lines. Takes text, which may be anything, and looks at no file but by
//! asking whether it is there.

mod dockerfile;
mod languages;
mod shell;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

pub use dockerfile::dockerfile;
pub use languages::{package_json, requirements};

use super::{Copy, Fetch, Healthcheck, ImageSettings};
use crate::error::Result;

/// The suite that definitions get whose origin does not say one.
const SUITE: &str = "trixie";
/// The most characters of a line that are repeated.
const LONGEST: usize = 160;

/// Whether the place that a file was read from has another one by this path.
pub type Exists<'a> = &'a dyn Fn(&str) -> bool;

/// Something that was not understood, or that kiln does otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// The number of its line.
    pub line: usize,
    /// What is there, on one line.
    pub text: String,
    /// What may be done about it.
    pub advice: String,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    suite: Option<String>,
    debian: BTreeSet<String>,
    python: BTreeSet<String>,
    /// Paths relative to where the file is.
    requirements: BTreeSet<String>,
    npm: BTreeMap<String, String>,
    overrides: BTreeMap<String, String>,
    npm_lock: Option<String>,
    npm_prefix: Option<String>,
    steps: Vec<Step>,
    image: ImageSettings,
    pub left: Vec<Left>,
}

/// A `[[copy]]` or `[[fetch]]`: its keys, and texts of a list.
#[derive(Clone, Debug, Default)]
struct Step {
    kind: &'static str,
    keys: Vec<(&'static str, String)>,
    ignore: Vec<&'static str>,
}

impl Step {
    /// Says what is wrong with it.
    fn check(&self) -> Result<()> {
        let value = |wanted: &str| self.keys.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value.clone());
        let to = value("to").unwrap_or_default();
        match self.kind {
            "copy" => {
                super::Step::Copy(Copy { from: value("from").unwrap_or_default(), to, ..Copy::default() }).check()
            }
            _ => super::Step::Fetch(Fetch { url: value("url"), path: value("path"), to, ..Fetch::default() }).check(),
        }
    }
}

impl Imported {
    fn leave(&mut self, line: usize, text: &str, advice: &str) {
        // Nearly always the last; whatever is left of a line stays in its order.
        let at = self.left.partition_point(|left| left.line <= line);
        self.left.insert(at, Left { line, text: on_one_line(text), advice: advice.to_owned() });
    }

    /// The definition as text. `origin` is the file's name, `folder` where it is, relative to the workspace.
    pub fn definition(&self, origin: &str, folder: &str) -> String {
        let mut out = format!("# Made from {} by `kiln init --from`.\n", on_one_line(origin));
        let _ = write!(out, "\n[debian]\nsuite = {}\n", quoted(self.suite.as_deref().unwrap_or(SUITE)));
        list(&mut out, "packages", self.debian.iter());
        let below = |path: &str| if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") };
        if !self.python.is_empty() || !self.requirements.is_empty() {
            out.push_str("\n[python]\n");
            list(&mut out, "packages", self.python.iter());
            list(&mut out, "requirements", self.requirements.iter().map(|path| below(path)));
        }
        if !self.npm.is_empty() || self.npm_lock.is_some() {
            out.push_str("\n[npm]\n");
            text(&mut out, "prefix", self.npm_prefix.as_deref());
            match &self.npm_lock {
                Some(lock) => text(&mut out, "lock", Some(&below(lock))),
                None => {
                    table(&mut out, "dependencies", &self.npm);
                    table(&mut out, "overrides", &self.overrides);
                }
            }
        }
        for step in &self.steps {
            let _ = write!(out, "\n[[{}]]\n", step.kind);
            for (key, value) in &step.keys {
                let is_path = matches!(*key, "from" | "path");
                let value = if is_path { below(value) } else { value.clone() };
                // The folder itself is not called `services/api/.`.
                let value = value.strip_suffix("/.").map_or(value.clone(), str::to_owned);
                match *key {
                    "unpack" => out.push_str("unpack = false\n"),
                    key => text(&mut out, key, Some(&value)),
                }
            }
            let ignored = step.ignore.iter().filter(|_| folder.is_empty());
            list(&mut out, "ignore", ignored);
        }
        self.write_image(&mut out);
        if !self.left.is_empty() {
            let _ = write!(out, "\n# Left to do, by the lines of {}:\n", on_one_line(origin));
        }
        for left in &self.left {
            let _ = writeln!(out, "#   {}: {}\n#      {}", left.line, left.text, left.advice);
        }
        out
    }

    fn write_image(&self, out: &mut String) {
        let image = &self.image;
        if *image == ImageSettings::default() {
            return;
        }
        out.push_str("\n[image]\n");
        list(out, "entrypoint", image.entrypoint.iter());
        list(out, "command", image.command.iter());
        text(out, "user", image.user.as_deref());
        text(out, "workdir", image.workdir.as_deref());
        table(out, "env", &image.env);
        list(out, "ports", image.ports.iter());
        list(out, "volumes", image.volumes.iter());
        text(out, "stop-signal", image.stop_signal.as_deref());
        table(out, "labels", &image.labels);
        if let Some(Healthcheck { command, interval, timeout, start_period, retries }) = &image.healthcheck {
            out.push_str("\n[image.healthcheck]\n");
            list(out, "command", command.iter());
            text(out, "interval", interval.as_deref());
            text(out, "timeout", timeout.as_deref());
            text(out, "start-period", start_period.as_deref());
            if let Some(retries) = retries {
                let _ = writeln!(out, "retries = {retries}");
            }
        }
    }
}

/// Text that cannot leave its line, nor steer a terminal.
fn on_one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = words.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if words.chars().count() > LONGEST {
        shown.push('…');
    }
    shown
}

fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

fn text(out: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = writeln!(out, "{key} = {}", quoted(value));
    }
}

fn list(out: &mut String, key: &str, values: impl Iterator<Item = impl AsRef<str>>) {
    let values: Vec<String> = values.map(|value| quoted(value.as_ref())).collect();
    let line = format!("{key} = [{}]\n", values.join(", "));
    if values.is_empty() {
    } else if line.chars().count() <= 100 {
        out.push_str(&line);
    } else {
        let _ = write!(out, "{key} = [\n    {},\n]\n", values.join(",\n    "));
    }
}

fn table(out: &mut String, key: &str, pairs: &BTreeMap<String, String>) {
    for (name, value) in pairs {
        let name = toml_edit::Key::new(name).display_repr().into_owned();
        let _ = writeln!(out, "{key}.{name} = {}", quoted(value));
    }
}

#[cfg(test)]
mod tests;
