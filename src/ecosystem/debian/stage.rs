//! A stage: packages configured together by their own scripts, on top of what is below.
//!
//! The tree is put together from parts, dpkg is told of the packages as if it had unpacked them, their
//! scripts run in the sandbox in dpkg's own order, and what they changed becomes a part of its own. What
//! a stage gives depends on its inputs alone; running it is keyed by them in `bake/`.

mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::accounts::{self, Accounts, Ids, Renumbering};
use super::dpkg::{self, Existing, Files, State, Unpacked};
use super::overlap::Placed;
use super::package::StagePackage;
use super::rounds::{self, Round};
use super::{changes, rules};
use crate::error::{Context, Error, Kind, Result};
use crate::layer::Part;
use crate::sandbox::{Command, Extraction, Session};
pub use place::placement;

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
    /// The ids that users and groups had in earlier images: who is made again gets them again.
    pub kept: &'a Ids,
    /// The newest modification time among the stage's artifacts and those below, in seconds since 1970.
    pub epoch: u64,
    /// Whether what the tree is put together from is checked while scripts run, and not before.
    pub ahead: bool,
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
    /// The ids of the users and groups that its scripts have made.
    pub ids: Ids,
    /// By package, the files that it diverts.
    pub diversions: BTreeMap<String, BTreeSet<String>>,
    /// For how long programs ran in the tree.
    pub scripts: Duration,
}

/// Puts together what is below a stage, in a session whose tree is empty. If that runs `ahead`, it is checked later.
pub fn place_below(session: &mut Session, below: &[Extraction], ahead: bool) -> Result<()> {
    let extract = if ahead { Session::extract_ahead } else { Session::extract };
    extract(session, below).map(drop).context(|| "putting the tree below together")
}

/// Configures a stage in a session whose tree is empty, or, if it `is_placed`, holds what is below. `None` if scripts
/// have run ahead on something that was not what it should be. `unpacked` is called when the tree is complete: from
/// then on scripts run, one after another.
pub fn configure(
    session: &mut Session,
    stage: &Stage<'_>,
    is_placed: bool,
    unpacked: &dyn Fn(),
) -> Result<Option<Configured>> {
    let configured = if is_placed { Ok(()) } else { place_below(session, stage.below, stage.ahead) };
    let configured = configured.and_then(|()| run(session, stage, unpacked));
    // Whatever came of it, a failure too, came of what was placed.
    match session.check() {
        Ok(true) => configured.map(Some),
        Ok(false) => Ok(None),
        // A worker that has gone has failed before.
        Err(error) => configured.and(Err(error)),
    }
}

fn run(session: &mut Session, stage: &Stage<'_>, unpacked: &dyn Fn()) -> Result<Configured> {
    let mut runner = Runner {
        session,
        stage,
        unpacked: Vec::new(),
        placed: Placed::default(),
        folders: BTreeSet::new(),
        prepared: Vec::new(),
        made: BTreeSet::new(),
        started: Vec::new(),
        took: 0,
        before: None,
    };
    if stage.configured.is_empty() {
        runner.first()?
    } else {
        runner.further()?
    }
    unpacked();
    let leave_out = runner.placed.leave_out.clone();
    let before = std::thread::scope(|threads| {
        let before = threads.spawn(|| changes::Before::new(stage.below, stage.packages, &leave_out));
        runner.configure_all()?;
        before.join().map_err(|_| Error::new("looking at what packages bring ended unexpectedly"))
    })?;
    runner.finish(&before)
}

struct Runner<'a> {
    session: &'a mut Session,
    stage: &'a Stage<'a>,
    /// The stage's packages that are unpacked so far.
    unpacked: Vec<&'a StagePackage>,
    /// What was decided about their files.
    placed: Placed,
    /// The folders that packages have brought.
    folders: BTreeSet<&'a str>,
    /// The files that only exist while scripts run.
    prepared: Vec<&'static rules::Preparation>,
    /// The folders that were made for them.
    made: BTreeSet<String>,
    /// When each script started, in nanoseconds of the file system's clock, and its name.
    started: Vec<(u64, String)>,
    /// For how long they ran, in nanoseconds.
    took: u64,
    /// The accounts of the tree below; a base has nothing below it, and its accounts are base-passwd's.
    before: Option<Accounts>,
}

impl<'a> Runner<'a> {
    fn extract(&mut self, layers: &[Extraction]) -> Result<()> {
        let extract = if self.stage.ahead { Session::extract_ahead } else { Session::extract };
        extract(self.session, layers).map(drop)
    }

    /// Unpacks a base. Below it there is no shell yet: its preinst scripts can only run once it is there.
    fn first(&mut self) -> Result<()> {
        let all: Vec<&StagePackage> = self.stage.packages.iter().collect();
        self.place(&all)?;
        self.session.mark()?;
        self.tell_dpkg(&all)?;
        self.prepare(|_| true)?;
        all.into_iter().try_for_each(|package| self.preinst(&package.unpacked))
    }

    /// Unpacks packages on a base as dpkg would: what they pre-depend on is configured before.
    fn further(&mut self) -> Result<()> {
        self.session.mark()?;
        self.before = Some(self.accounts()?);
        self.prepare(|package| package.is_none())?;
        self.preseed()?;
        self.folders = self
            .stage
            .below
            .iter()
            .flat_map(|layer| layer.directories.iter().map(|directory| directory.path.as_str()))
            .collect();
        for Round { unpack, configure } in rounds::rounds(self.stage.packages) {
            // dpkg reads them as it starts, before any preinst.
            let overrides = self.session.read("var/lib/dpkg/statoverride")?.unwrap_or_default();
            for package in &unpack {
                self.preinst(&package.unpacked)?;
            }
            let marked = self.place(&unpack)?;
            self.session.mark_paths(marked)?;
            self.tell_dpkg(&unpack)?;
            self.apply_stat_overrides(&unpack, &String::from_utf8_lossy(&overrides))?;
            let inside: BTreeSet<&str> = unpack.iter().map(|package| package.unpacked.name.as_str()).collect();
            self.prepare(|package| package.is_some_and(|package| inside.contains(package)))?;
            if !configure.is_empty() {
                self.dpkg(&["--no-triggers", "--configure"], &configure)?;
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

    /// Makes `now` known to dpkg as unpacked.
    fn tell_dpkg(&mut self, now: &[&StagePackage]) -> Result<()> {
        let first = self.stage.configured.is_empty();
        let existing = if first { Existing::default() } else { self.existing()? };
        let mut unpacked: Vec<Unpacked> = now.iter().map(|package| package.unpacked.clone()).collect();
        for package in &mut unpacked {
            if let Some(replaced) = self.placed.replaced.get(&package.name) {
                package.paths.retain(|path| !is_among(path, replaced));
            }
        }
        let mut files = dpkg::database(&existing, &unpacked, State::Unpacked, self.stage.epoch)?;
        if first {
            files.extend(self.stage.files.clone());
        } else {
            files.extend(self.shortened_lists(now)?);
        }
        self.write_files(&files)
    }

    /// The lists of packages unpacked before, without the files that `now` has taken over.
    fn shortened_lists(&mut self, now: &[&StagePackage]) -> Result<Files> {
        let mut files = Files::new();
        let before = self.stage.configured.iter().chain(self.unpacked.iter().copied());
        for package in before.filter(|package| !now.iter().any(|new| new.unpacked.name == package.unpacked.name)) {
            let Some(replaced) = self.placed.replaced.get(&package.unpacked.name) else { continue };
            let path = format!("var/lib/dpkg/info/{}.list", package.unpacked.instance());
            let text = String::from_utf8_lossy(&self.session.read(&path)?.unwrap_or_default()).into_owned();
            let shorter: String =
                text.lines().filter(|line| !is_among(line, replaced)).flat_map(|line| [line, "\n"]).collect();
            if shorter != text {
                let content = shorter.into_bytes();
                files.insert(path, dpkg::Member { mode: 0o644, mtime: self.stage.epoch, content });
            }
        }
        Ok(files)
    }

    fn existing(&mut self) -> Result<Existing> {
        let mut read = |path: &str| -> Result<String> {
            Ok(String::from_utf8_lossy(&self.session.read(path)?.unwrap_or_default()).into_owned())
        };
        let status = read("var/lib/dpkg/status")?;
        let file_interests = read("var/lib/dpkg/triggers/File")?;
        let activated = read("var/lib/dpkg/triggers/Unincorp")?;
        let mut named_interests = BTreeMap::new();
        for name in self.session.list("var/lib/dpkg/triggers")? {
            if !["File", "Unincorp", "Lock"].contains(&name.as_str()) {
                let text = self.session.read(&format!("var/lib/dpkg/triggers/{name}"))?.unwrap_or_default();
                named_interests.insert(name, String::from_utf8_lossy(&text).into_owned());
            }
        }
        Ok(Existing { status, file_interests, named_interests, activated })
    }

    /// Writes the files that only exist while scripts run, of those packages that `whose` is true of.
    fn prepare(&mut self, whose: impl Fn(Option<&str>) -> bool) -> Result<()> {
        let mut files = Files::new();
        for preparation in rules::PREPARATIONS.iter().filter(|preparation| whose(preparation.package)) {
            if preparation.package.is_none_or(|name| self.has(name)) && !self.session.exists(preparation.path)? {
                self.prepared.push(preparation);
                for (at, _) in preparation.path.match_indices('/') {
                    let folder = &preparation.path[..at];
                    if !self.session.exists(folder)? {
                        self.made.insert(folder.to_owned());
                    }
                }
                let content = preparation.content.as_bytes().to_vec();
                files.insert(preparation.path.to_owned(), dpkg::Member { mode: preparation.mode, mtime: 0, content });
            }
        }
        self.write_files(&files)
    }

    /// Whether a package is unpacked.
    fn has(&self, name: &str) -> bool {
        self.stage.configured.iter().chain(self.unpacked.iter().copied()).any(|package| package.unpacked.name == name)
    }

    /// Gives files that have just been unpacked the owner and mode that others have registered for them.
    fn apply_stat_overrides(&mut self, now: &[&StagePackage], overrides: &str) -> Result<()> {
        for entry in dpkg::stat_overrides(overrides) {
            if !now.iter().any(|package| package.unpacked.paths.contains(&entry.path)) {
                continue;
            }
            // `#` marks a number (dpkg-statoverride(1)).
            let owner = format!("{}:{}", entry.user.trim_start_matches('#'), entry.group.trim_start_matches('#'));
            for arguments in
                [["chown", "--no-dereference", &owner, &entry.path], ["chmod", "--", &entry.mode, &entry.path]]
            {
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

    /// Runs one `preinst install` as dpkg does: from `tmp.ci`, where debconf looks for its neighbours.
    fn preinst(&mut self, package: &Unpacked) -> Result<()> {
        const FOLDER: &str = "var/lib/dpkg/tmp.ci";
        if !package.members.contains_key("preinst") {
            return Ok(());
        }
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
            ("DPKG_RUNNING_VERSION".to_owned(), self.dpkg_version()),
        ]);
        self.run(&format!("`{}` preinst", package.name), &[&format!("/{FOLDER}/preinst"), "install"], environment)?;
        self.session.remove(FOLDER)
    }

    /// The version that dpkg inside the tree says it has: its package's.
    fn dpkg_version(&self) -> String {
        let mut all = self.stage.configured.iter().chain(self.stage.packages);
        all.find(|package| package.unpacked.name == "dpkg")
            .map_or_else(String::new, |dpkg| dpkg.unpacked.version.clone())
    }

    fn configure_all(&mut self) -> Result<()> {
        self.dpkg(&["--configure"], &["-a"])?;
        let status = self.session.read("var/lib/dpkg/status")?.unwrap_or_default();
        if let Some((package, state)) = dpkg::unfinished(&String::from_utf8_lossy(&status)).into_iter().next() {
            return Err(Error::new(format!(
                "`{package}` was left `{state}` by its scripts, `install ok installed` was expected"
            )));
        }
        Ok(())
    }

    fn dpkg(&mut self, action: &[&str], packages: &[&str]) -> Result<()> {
        // `--force-depends` as every builder needs it: the Essential set depends on itself in circles.
        let mut arguments = vec!["dpkg", "--status-fd", "3", "--force-depends"];
        arguments.extend(action.iter().chain(packages));
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
        self.took += output.took;
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
    fn finish(mut self, before: &changes::Before) -> Result<Configured> {
        clear_prepared(self.session, &std::mem::take(&mut self.prepared))?;
        for folder in std::mem::take(&mut self.made).iter().rev() {
            if self.session.exists(folder)? && self.session.list(folder)?.is_empty() {
                self.session.remove(folder)?;
            }
        }
        let placed = std::mem::take(&mut self.placed);
        let (ids, renumbering) = self.renumbering()?;
        let diversions = self.diversions()?;
        self.add_accounts()?;
        self.started.sort();
        let found = self.session.changes()?;
        let mut changed = changes::Changed::compare(before, found, self.stage.epoch);
        changed.apply_rules(self.session, before, self.stage.epoch)?;
        changed.renumber(self.session, &renumbering)?;
        let writers = changed.writers(&self.started);
        let (directories, entries) = changed.into_entries(before);
        let part = self.session.pack(&directories, &entries)?;
        let scripts = Duration::from_nanos(self.took);
        Ok(Configured { part, leave_out: placed.leave_out, writers, ids, diversions, scripts })
    }

    fn accounts(&mut self) -> Result<Accounts> {
        let mut read = |path: &str| -> Result<String> {
            Ok(String::from_utf8_lossy(&self.session.read(path)?.unwrap_or_default()).into_owned())
        };
        Ok(Accounts { passwd: read("etc/passwd")?, group: read("etc/group")? })
    }

    /// The ids of the accounts that the scripts have made, and what has to change for these.
    fn renumbering(&mut self) -> Result<(Ids, Renumbering)> {
        let Some(before) = self.before.take() else { return Ok(Default::default()) };
        let line = |path: &str| self.stage.account_lines.get(path).cloned().unwrap_or_default();
        let fixed = Accounts { passwd: line("etc/passwd"), group: line("etc/group") };
        let now = self.accounts()?;
        let (ids, renumbering) = accounts::renumber(&before.ids(), &now.ids(), &fixed.ids(), self.stage.kept);
        if !renumbering.is_empty() {
            // Before the definition's own users are added, whose numbers are what they are.
            self.session.write("etc/passwd", renumbering.passwd(&now.passwd).as_bytes(), 0o644)?;
            self.session.write("etc/group", renumbering.group(&now.group).as_bytes(), 0o644)?;
        }
        Ok((ids, renumbering))
    }

    /// What the stage's packages divert.
    fn diversions(&mut self) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let text = self.session.read("var/lib/dpkg/diversions")?.unwrap_or_default();
        let mut diversions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for diversion in dpkg::diversions(&String::from_utf8_lossy(&text)) {
            if self.unpacked.iter().any(|package| package.unpacked.name == diversion.package) {
                diversions.entry(diversion.package).or_default().insert(format!("/{}", diversion.from));
            }
        }
        Ok(diversions)
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

/// Writes the files that only exist while scripts run, whatever the packages; those that were not there before.
pub(super) fn prepare_everywhere(session: &mut Session) -> Result<Vec<&'static rules::Preparation>> {
    let mut written = Vec::new();
    for preparation in rules::PREPARATIONS.iter().filter(|preparation| preparation.package.is_none()) {
        // Where there is no folder for it, nothing looks for it.
        let folder = preparation.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if session.exists(folder)? && !session.exists(preparation.path)? {
            session.write(preparation.path, preparation.content.as_bytes(), preparation.mode)?;
            written.push(preparation);
        }
    }
    Ok(written)
}

/// Removes what [`prepare_everywhere`] wrote; what a script has made of it stays.
pub(super) fn clear_prepared(session: &mut Session, written: &[&rules::Preparation]) -> Result<()> {
    for preparation in written {
        if session.read(preparation.path).is_ok_and(|found| found == Some(preparation.content.into())) {
            session.remove(preparation.path)?;
        }
    }
    Ok(())
}

/// The environment that scripts see: the same everywhere.
pub fn environment(epoch: u64) -> BTreeMap<String, String> {
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

/// Whether `path`, as a package spells it, is one of `paths`, which have the merged spelling.
fn is_among(path: &str, paths: &BTreeSet<String>) -> bool {
    let path = path.trim_start_matches('/');
    paths.contains(path) || paths.contains(&format!("usr/{path}"))
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
