//! A stage: packages configured together by their own scripts, on top of what is below.
//!
//! The tree is put together from parts, dpkg is told of the packages as if it had unpacked them, their
//! scripts run in the sandbox in dpkg's own order, and what they changed becomes a part of its own. What
//! a stage gives depends on its inputs alone; running it is keyed by them in `bake/`.

use std::collections::{BTreeMap, BTreeSet};

use super::dpkg::{self, Existing, Files, State, Unpacked};
use super::overlap::{self, Placed};
use super::{changes, rules};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::{Entry, Part};
use crate::sandbox::{Command, Extraction, Session};

/// A package of a stage: what dpkg is told, and what it contributes.
#[derive(Clone, Debug)]
pub struct StagePackage {
    pub unpacked: Unpacked,
    pub part: Part,
}

/// What a stage is made of.
#[derive(Debug)]
pub struct Stage<'a> {
    /// What the tree holds before: each with its parts, in order.
    pub below: &'a [Extraction],
    /// The packages that are configured below.
    pub configured: &'a [StagePackage],
    /// The packages to configure, in the order in which dpkg would have unpacked them.
    pub packages: &'a [StagePackage],
    /// Files that are there before any script runs and stay: dpkg's configuration of exclusions.
    pub files: &'a Files,
    /// debconf answers: question to value.
    pub preseed: &'a BTreeMap<String, String>,
    /// Lines to add to the files in `/etc` that list users and groups, after all scripts.
    pub account_lines: &'a BTreeMap<String, String>,
    /// The newest modification time among the stage's artifacts and those below, in seconds since 1970.
    pub epoch: u64,
}

/// What a stage gave.
#[derive(Clone, Debug)]
pub struct Configured {
    /// What its scripts changed, whiteouts included.
    pub part: Part,
    /// By package, the paths that it does not contribute: another replaces or diverts them.
    pub leave_out: BTreeMap<String, BTreeSet<String>>,
    /// By path, the script that wrote it last.
    pub writers: BTreeMap<String, String>,
}

/// Configures a stage in a session whose tree is empty.
pub fn configure(session: &mut Session, stage: &Stage<'_>) -> Result<Configured> {
    let mut runner = Runner { session, stage, started: Vec::new() };
    runner.session.extract(stage.below).context(|| "putting the tree below together")?;
    let first = stage.configured.is_empty();
    // Below the base there is no shell yet: its preinst scripts can only run once it is unpacked.
    let mut waiting: Vec<&StagePackage> =
        stage.packages.iter().filter(|package| package.unpacked.members.contains_key("preinst")).collect();
    if !first {
        runner.session.mark()?;
        runner.preseed()?;
        let inside: BTreeSet<&str> = stage.packages.iter().map(|package| package.unpacked.name.as_str()).collect();
        let (late, early) = waiting.into_iter().partition(|package| pre_depends_on(&package.unpacked, &inside));
        waiting = late;
        for package in early {
            runner.preinst(&package.unpacked)?;
        }
    }
    let placed = runner.place(first)?;
    runner.tell_dpkg(first, &placed)?;
    if first {
        runner.preinst_all(&waiting, false)?;
    } else {
        runner.preinst_all(&waiting, true)?;
    }
    runner.configure_all()?;
    runner.finish(placed)
}

struct Runner<'a> {
    session: &'a mut Session,
    stage: &'a Stage<'a>,
    /// When each script started, in nanoseconds of the file system's clock, and its name.
    started: Vec<(u64, String)>,
}

impl Runner<'_> {
    /// Places the packages' files, except what another package replaces or diverts.
    fn place(&mut self, first: bool) -> Result<Placed> {
        let text = self.session.read("var/lib/dpkg/diversions")?.unwrap_or_default();
        let diversions = dpkg::diversions(&String::from_utf8_lossy(&text));
        let placed = overlap::place(self.stage.configured, self.stage.packages, &diversions)?;
        self.place_diverted(&placed)?;
        let packages = self.stage.packages.iter();
        let known =
            self.stage.below.iter().flat_map(|layer| layer.directories.iter().map(|directory| directory.path.as_str()));
        let placement =
            placement(known, packages.map(|package| (&package.part, placed.leave_out.get(&package.unpacked.name))));
        self.session.extract(&placement).context(|| "unpacking the stage's packages")?;
        if first {
            self.session.mark()?;
        } else {
            let placed = placement.iter().flat_map(|layer| {
                let entries =
                    layer.parts.iter().flat_map(|part| &part.entries).filter(|entry| !layer.skip.contains(&entry.path));
                layer.directories.iter().chain(entries).map(|entry| entry.path.clone())
            });
            self.session.mark_paths(placed.collect())?;
        }
        Ok(placed)
    }

    /// Places diverted files where their diversions say. They are in no package's part of the image: they
    /// become part of what the stage changed.
    fn place_diverted(&mut self, placed: &Placed) -> Result<()> {
        for package in self.stage.packages {
            let Some(diverted) = placed.diverted.get(&package.unpacked.name) else { continue };
            let others =
                package.part.entries.iter().map(|entry| &entry.path).filter(|path| !diverted.contains_key(*path));
            let only = Extraction {
                directories: package.part.directories.clone(),
                parts: vec![package.part.clone()],
                skip: others.cloned().collect(),
            };
            self.session
                .extract(&[only])
                .context(|| format!("placing the diverted files of `{}`", package.unpacked.name))?;
            for (from, to) in diverted {
                self.session.rename(from, to)?;
            }
        }
        Ok(())
    }

    fn write_files(&mut self, files: &Files) -> Result<()> {
        let files: Vec<(&str, &[u8], u32, Option<u64>)> = files
            .iter()
            .map(|(path, file)| (path.as_str(), file.content.as_slice(), file.mode, Some(file.mtime)))
            .collect();
        self.session.write_all(&files)
    }

    /// Writes dpkg's database and what else has to be there before scripts run.
    fn tell_dpkg(&mut self, first: bool, placed: &Placed) -> Result<()> {
        let existing = if first { Existing::default() } else { self.existing()? };
        let mut unpacked: Vec<Unpacked> = self.stage.packages.iter().map(|package| package.unpacked.clone()).collect();
        for package in &mut unpacked {
            // dpkg's lists drop what another package has taken over.
            if let Some(replaced) = placed.replaced.get(&package.name) {
                package.paths.retain(|path| !replaced.contains(path.trim_start_matches('/')));
            }
        }
        let mut files = dpkg::database(&existing, &unpacked, State::Unpacked, self.stage.epoch)?;
        files.extend(self.stage.files.clone());
        self.write_files(&files)?;
        self.apply_stat_overrides()?;
        let temporary = self.preparations();
        self.write_files(&temporary)
    }

    fn existing(&mut self) -> Result<Existing> {
        let mut read = |path: &str| -> Result<String> {
            Ok(String::from_utf8_lossy(&self.session.read(path)?.unwrap_or_default()).into_owned())
        };
        let status = read("var/lib/dpkg/status")?;
        let file_interests = read("var/lib/dpkg/triggers/File")?;
        let mut named_interests = BTreeMap::new();
        for name in self.session.list("var/lib/dpkg/triggers")? {
            if !["File", "Unincorp", "Lock"].contains(&name.as_str()) {
                let text = self.session.read(&format!("var/lib/dpkg/triggers/{name}"))?.unwrap_or_default();
                named_interests.insert(name, String::from_utf8_lossy(&text).into_owned());
            }
        }
        Ok(Existing { status, file_interests, named_interests })
    }

    /// Files that only exist while scripts run.
    fn preparations(&self) -> Files {
        let mut files = Files::new();
        let all = self.stage.configured.iter().chain(self.stage.packages);
        let names: BTreeSet<&str> = all.map(|package| package.unpacked.name.as_str()).collect();
        for preparation in rules::PREPARATIONS {
            if preparation.package.is_none_or(|package| names.contains(package)) {
                let content = preparation.content.as_bytes().to_vec();
                files.insert(preparation.path.to_owned(), dpkg::Member { mode: preparation.mode, mtime: 0, content });
            }
        }
        files
    }

    /// An override that a preinst registered holds for files that are unpacked afterwards.
    fn apply_stat_overrides(&mut self) -> Result<()> {
        let text = self.session.read("var/lib/dpkg/statoverride")?.unwrap_or_default();
        for entry in dpkg::stat_overrides(&String::from_utf8_lossy(&text)) {
            if !self.session.exists(entry.path.trim_start_matches('/'))? {
                continue;
            }
            for arguments in [
                ["chown", "--no-dereference", &format!("{}:{}", entry.user, entry.group), &entry.path],
                ["chmod", "--", &entry.mode, &entry.path],
            ] {
                self.run(&format!("statoverride of {}", entry.path), &arguments, BTreeMap::new())?;
            }
        }
        Ok(())
    }

    /// Hands the definition's answers to debconf.
    fn preseed(&mut self) -> Result<()> {
        if self.stage.preseed.is_empty() {
            return Ok(());
        }
        const ANSWERS: &str = "var/lib/dpkg/kiln-preseed";
        let mut lines = String::new();
        for (question, value) in self.stage.preseed {
            let owner = question.split('/').next().unwrap_or_default();
            let kind = question_type(self.stage.packages, question).unwrap_or_else(|| "string".to_owned());
            lines += &format!("{owner} {question} {kind} {value}\n");
        }
        self.session.write(ANSWERS, lines.as_bytes(), 0o600)?;
        self.run("preseed", &["debconf-set-selections", &format!("/{ANSWERS}")], BTreeMap::new())?;
        self.session.remove(ANSWERS)
    }

    /// Runs the preinst scripts of packages whose files are placed already.
    fn preinst_all(&mut self, packages: &[&StagePackage], pre_depends: bool) -> Result<()> {
        for package in packages {
            if pre_depends {
                let inside: BTreeSet<&str> =
                    self.stage.packages.iter().map(|package| package.unpacked.name.as_str()).collect();
                let wanted: Vec<String> = relation_names(&package.unpacked, "Pre-Depends")
                    .into_iter()
                    .filter(|name| inside.contains(name.as_str()))
                    .collect();
                self.dpkg_configure(&wanted)?;
            }
            self.preinst(&package.unpacked)?;
        }
        Ok(())
    }

    /// Runs one `preinst install` as dpkg does: from `tmp.ci`, where debconf looks for its neighbours.
    fn preinst(&mut self, package: &Unpacked) -> Result<()> {
        const FOLDER: &str = "var/lib/dpkg/tmp.ci";
        let mut files: Files =
            package.members.iter().map(|(name, member)| (format!("{FOLDER}/{name}"), member.clone())).collect();
        let control = dpkg::Member { mode: 0o644, mtime: 0, content: package.paragraph.clone().into_bytes() };
        files.insert(format!("{FOLDER}/control"), control);
        self.write_files(&files)?;
        let environment = BTreeMap::from([
            ("DPKG_MAINTSCRIPT_NAME".to_owned(), "preinst".to_owned()),
            ("DPKG_MAINTSCRIPT_PACKAGE".to_owned(), package.name.clone()),
            ("DPKG_MAINTSCRIPT_ARCH".to_owned(), package.architecture.clone()),
            ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT".to_owned(), "1".to_owned()),
            ("DPKG_MAINTSCRIPT_DEBUG".to_owned(), "0".to_owned()),
            ("DPKG_ADMINDIR".to_owned(), "/var/lib/dpkg".to_owned()),
            ("DPKG_FORCE".to_owned(), "security-mac,downgrade".to_owned()),
            ("DPKG_ROOT".to_owned(), String::new()),
        ]);
        self.run(&format!("{} preinst", package.name), &[&format!("/{FOLDER}/preinst"), "install"], environment)?;
        self.session.remove(FOLDER)
    }

    fn configure_all(&mut self) -> Result<()> {
        self.dpkg_configure(&["-a".to_owned()])?;
        let status = self.session.read("var/lib/dpkg/status")?.unwrap_or_default();
        if let Some((package, state)) = dpkg::unfinished(&String::from_utf8_lossy(&status)).into_iter().next() {
            return Err(Error::new(format!(
                "`{package}` was left `{state}` by its scripts, `install ok installed` was expected"
            )));
        }
        Ok(())
    }

    fn dpkg_configure(&mut self, packages: &[String]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        // `--force-depends` as every builder needs it: the Essential set depends on itself in circles.
        let mut arguments = vec!["dpkg", "--status-fd", "3", "--force-depends", "--configure"];
        arguments.extend(packages.iter().map(String::as_str));
        let output = self.run("dpkg", &arguments, BTreeMap::new())?;
        for (time, line) in output {
            let mut words = line.split(": ").map(str::trim);
            if words.next() == Some("processing")
                && let (Some(what), Some(package)) = (words.next(), words.next())
            {
                let script = if what == "trigproc" { "postinst triggered" } else { "postinst" };
                self.started.push((time, format!("{package} {script}")));
            }
        }
        Ok(())
    }

    /// Runs a program in the tree; what it printed becomes the error's detail if it fails.
    fn run(&mut self, name: &str, arguments: &[&str], more: BTreeMap<String, String>) -> Result<Vec<(u64, String)>> {
        let mut environment = environment(self.stage.epoch);
        environment.extend(more);
        let command = Command {
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment,
            status_lines: true,
        };
        let output = self.session.run(&command).context(|| format!("running {name}"))?;
        self.started.push((output.started, name.to_owned()));
        if output.code == 0 {
            return Ok(output.status);
        }
        let text = String::from_utf8_lossy(&output.output).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let failed = output.status.iter().rev().find_map(|(_, line)| {
            let rest = line.strip_prefix("status: ")?;
            let (package, state) = rest.split_once(": ")?;
            state.contains("error").then(|| package.trim().to_owned())
        });
        let what = failed.map_or_else(|| name.to_owned(), |package| format!("the scripts of `{package}`"));
        Err(Error::new(format!("{what} failed with exit code {}", output.code))
            .detail(lines[lines.len().saturating_sub(40)..].join("\n"))
            .kind(Kind::Trouble)
            .hint(
                "scripts run without a network and without service starts; a package that needs either cannot be baked",
            ))
    }

    /// Applies the rules, and makes a part of what has changed.
    fn finish(mut self, placed: Placed) -> Result<Configured> {
        for path in self.preparations().keys() {
            self.session.remove(path)?;
        }
        self.add_accounts()?;
        self.started.sort();
        let before = changes::Before::new(self.stage.below, self.stage.packages, &placed.leave_out);
        let found = self.session.changes()?;
        let mut changed = changes::Changed::compare(&before, found, self.stage.epoch);
        changed.apply_rules(self.session, &before, self.stage.epoch)?;
        let writers = changed.writers(&self.started);
        let (directories, entries) = changed.into_entries(&before);
        let part = self.session.pack(&directories, &entries)?;
        Ok(Configured { part, leave_out: placed.leave_out, writers })
    }

    fn add_accounts(&mut self) -> Result<()> {
        for (path, lines) in self.stage.account_lines {
            let mut text = self.session.read(path)?.unwrap_or_default();
            text.extend(lines.bytes());
            let mode = if path.ends_with("shadow") { 0o640 } else { 0o644 };
            self.session.write(path, &text, mode)?;
            if path.ends_with("shadow") {
                self.run("users", &["chgrp", "shadow", &format!("/{path}")], BTreeMap::new())?;
            }
        }
        Ok(())
    }
}

/// How the parts of packages unpacked together are placed: each with the paths that it leaves out.
///
/// Folders in `known` are there already and stay as they are. Parts that leave nothing out share nothing but folders, so they are placed in parallel.
pub fn placement<'p>(
    known: impl Iterator<Item = &'p str>,
    parts: impl Iterator<Item = (&'p Part, Option<&'p BTreeSet<String>>)>,
) -> Vec<Extraction> {
    let mut together = Extraction::default();
    let mut alone = Vec::new();
    let mut known: BTreeSet<&str> = known.collect();
    for (part, leave_out) in parts {
        // The first package to ship a folder decides its mode and owner.
        together.directories.extend(part.directories.iter().filter(|directory| known.insert(&directory.path)).cloned());
        match leave_out.filter(|paths| !paths.is_empty()) {
            None => together.parts.push(part.clone()),
            Some(paths) => {
                alone.push(Extraction { parts: vec![part.clone()], skip: paths.clone(), ..Extraction::default() })
            }
        }
    }
    together.directories.sort_by(|a: &Entry, b: &Entry| a.path.cmp(&b.path));
    let mut all = vec![together];
    all.extend(alone);
    all
}

/// The environment that scripts see: the same everywhere.
fn environment(epoch: u64) -> BTreeMap<String, String> {
    [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/root"),
        ("TZ", "UTC"),
        ("LC_ALL", "C.UTF-8"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("PERL_HASH_SEED", "0"),
        ("PERL_PERTURB_KEYS", "0"),
        ("PYTHONHASHSEED", "0"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .chain([("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string())])
    .collect()
}

/// Whether the package must wait for another one of the stage before its preinst may run.
fn pre_depends_on(package: &Unpacked, inside: &BTreeSet<&str>) -> bool {
    relation_names(package, "Pre-Depends").iter().any(|name| inside.contains(name.as_str()))
}

/// Every package name in a dependency field, alternatives included.
fn relation_names(package: &Unpacked, field: &str) -> Vec<String> {
    let value = super::overlap::field(&package.paragraph, field).unwrap_or_default();
    value
        .split([',', '|'])
        .filter_map(|relation| relation.trim().split([' ', '(', ':', '[']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The type of a debconf question, from the templates of the packages at hand.
fn question_type(packages: &[StagePackage], question: &str) -> Option<String> {
    packages.iter().filter_map(|package| package.unpacked.text("templates")).find_map(|templates| {
        let stanza = templates
            .split("\n\n")
            .find(|stanza| stanza.lines().any(|line| line == format!("Template: {question}")))?
            .to_owned();
        stanza.lines().find_map(|line| line.strip_prefix("Type: ")).map(|kind| kind.trim().to_owned())
    })
}
