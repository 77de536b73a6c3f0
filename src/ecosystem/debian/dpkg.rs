//! dpkg's database, written as dpkg itself would have left it after unpacking.
//!
//! Packages are unpacked natively, so nothing has told dpkg about them. This module makes the files of
//! `/var/lib/dpkg` that do: status, `info/`, interests in triggers and the triggers that unpacking
//! activates (`deb-triggers(5)`, and dpkg's own `doc/spec/triggers`). Pure: values in, files out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::error::{Error, Result};

/// A package as the database has to know it.
#[derive(Clone, Debug)]
pub struct Unpacked {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// `Multi-Arch: same`: its files in `info/` carry the architecture.
    pub multi_arch_same: bool,
    /// The paragraph of its `control` file.
    pub paragraph: String,
    /// The other members of its control archive: mode, modification time, content.
    pub members: BTreeMap<String, Member>,
    /// What it ships, as in `info/*.list`: absolute, in the archive's order, `/.` first.
    pub paths: Vec<String>,
    /// Conffiles, with the MD5 of their content in hexadecimal or what dpkg writes instead.
    pub conffiles: Vec<(String, String)>,
    /// `path` to MD5 of its other files, for packages that ship no `md5sums`.
    pub generated_md5sums: Option<String>,
}

/// A member of a control archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub mode: u32,
    pub mtime: u64,
    pub content: Vec<u8>,
}

/// What state a package is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its scripts are still to run.
    Unpacked,
    /// It has none that must.
    Installed,
}

/// The database's files, by path from the root.
pub type Files = BTreeMap<String, Member>;

const ADMIN: &str = "var/lib/dpkg";

impl Unpacked {
    /// The name in `info/` and in triggers' files: with the architecture where several may be installed.
    pub fn instance(&self) -> String {
        if self.multi_arch_same { format!("{}:{}", self.name, self.architecture) } else { self.name.clone() }
    }

    /// The text of a member, if it is there.
    pub fn text(&self, member: &str) -> Option<String> {
        self.members.get(member).map(|member| String::from_utf8_lossy(&member.content).into_owned())
    }

    /// Whether unpacking it or configuring it runs a script.
    pub fn has_scripts(&self) -> bool {
        has_scripts(&self.members)
    }

    fn stanza(&self, state: State) -> String {
        let state = match state {
            State::Unpacked => "unpacked",
            State::Installed => "installed",
        };
        let mut stanza = String::new();
        let mut lines = self.paragraph.trim_end().lines();
        if let Some(first) = lines.next() {
            let _ = writeln!(stanza, "{first}");
        }
        let _ = writeln!(stanza, "Status: install ok {state}");
        for line in lines {
            let _ = writeln!(stanza, "{line}");
        }
        if !self.conffiles.is_empty() {
            stanza.push_str("Conffiles:\n");
            for (path, md5) in &self.conffiles {
                let _ = writeln!(stanza, " {path} {md5}");
            }
        }
        stanza.push('\n');
        stanza
    }
}

/// Whether there is one among the members of a control archive that unpacking or configuring runs.
pub fn has_scripts(members: &BTreeMap<String, Member>) -> bool {
    ["preinst", "postinst"].iter().any(|script| members.contains_key(*script))
}

/// What the database holds already, for a stage that adds to it.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// `status`.
    pub status: String,
    /// `triggers/File`.
    pub file_interests: String,
    /// The other files in `triggers/` by name: who is interested in each named trigger.
    pub named_interests: BTreeMap<String, String>,
    /// `triggers/Unincorp`: what scripts have activated and dpkg has not taken up yet.
    pub activated: String,
}

/// The files that make `packages` known, on top of what `existing` says. `epoch` is the time of files
/// that dpkg itself would have written now.
pub fn database(existing: &Existing, packages: &[Unpacked], state: State, epoch: u64) -> Result<Files> {
    let mut files = Files::new();
    let mut put = |path: String, content: String| {
        files.insert(path, Member { mode: 0o644, mtime: epoch, content: content.into_bytes() });
    };
    let mut status = existing.status.clone();
    for package in packages {
        status.push_str(&package.stanza(state));
    }
    put(format!("{ADMIN}/status"), status);
    if existing.status.is_empty() {
        put(format!("{ADMIN}/info/format"), "1\n".to_owned());
        put(format!("{ADMIN}/diversions"), String::new());
        // As debootstrap and mmdebstrap write it: dpkg's own architecture is the first.
        if let Some(native) = packages.iter().map(|package| &package.architecture).find(|name| *name != "all") {
            put(format!("{ADMIN}/arch"), format!("{native}\n"));
        }
    }

    let interests = Interests::read(existing, packages)?;
    for (name, text) in interests.files() {
        put(format!("{ADMIN}/triggers/{name}"), text);
    }
    if state == State::Unpacked {
        put(format!("{ADMIN}/triggers/Unincorp"), interests.activated_by(packages, &existing.activated)?);
    }
    for package in packages {
        let base = format!("{ADMIN}/info/{}", package.instance());
        put(format!("{base}.list"), package.paths.iter().fold(String::new(), |list, path| list + path + "\n"));
        if let Some(sums) = &package.generated_md5sums {
            put(format!("{base}.md5sums"), sums.clone());
        }
    }
    for package in packages {
        for (name, member) in &package.members {
            files.insert(format!("{ADMIN}/info/{}.{name}", package.instance()), member.clone());
        }
    }
    Ok(files)
}

/// Who is interested in which trigger: lines of `package` or `package/noawait`.
struct Interests {
    /// File triggers: `(path, package)` in the order of the file.
    paths: Vec<(String, String)>,
    named: BTreeMap<String, Vec<String>>,
}

impl Interests {
    fn read(existing: &Existing, packages: &[Unpacked]) -> Result<Self> {
        let mut paths = Vec::new();
        for line in existing.file_interests.lines() {
            if let Some((path, package)) = line.rsplit_once(' ') {
                paths.push((path.to_owned(), package.to_owned()));
            }
        }
        let mut named: BTreeMap<String, Vec<String>> = existing
            .named_interests
            .iter()
            .map(|(name, text)| (name.clone(), text.lines().map(str::to_owned).collect()))
            .collect();
        for package in packages {
            for (directive, trigger) in directives(package)? {
                let interested = match directive.as_str() {
                    "interest" | "interest-await" => package.instance(),
                    "interest-noawait" => format!("{}/noawait", package.instance()),
                    _ => continue,
                };
                if trigger.starts_with('/') {
                    paths.push((trigger, interested));
                } else {
                    named.entry(trigger).or_default().push(interested);
                }
            }
        }
        Ok(Self { paths, named })
    }

    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let lines = self.paths.iter().fold(String::new(), |text, (path, package)| text + path + " " + package + "\n");
        files.insert("File".to_owned(), lines);
        for (name, packages) in &self.named {
            files.insert(name.clone(), packages.iter().fold(String::new(), |text, package| text + package + "\n"));
        }
        files
    }

    /// `triggers/Unincorp`: what unpacking `packages` activates besides `before`, each trigger with the
    /// packages that wait for it, or `-`.
    fn activated_by(&self, packages: &[Unpacked], before: &str) -> Result<String> {
        let mut activated: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for line in before.lines() {
            let mut words = line.split(' ').map(str::to_owned);
            if let Some(trigger) = words.next() {
                activated.entry(trigger).or_default().extend(words);
            }
        }
        for package in packages {
            for (directive, trigger) in directives(package)? {
                match directive.as_str() {
                    "activate" | "activate-await" => activated.entry(trigger).or_default().insert(package.instance()),
                    "activate-noawait" => activated.entry(trigger).or_default().insert("-".to_owned()),
                    _ => continue,
                };
            }
            let mut shipped: Vec<&str> = package.paths.iter().map(String::as_str).collect();
            shipped.sort_unstable();
            for (path, interested) in &self.paths {
                let noawait = interested.ends_with("/noawait");
                // A package does not trigger itself by the files that it ships.
                if is_or_is_above_any(path, &shipped) {
                    let waiting = if noawait { "-".to_owned() } else { package.instance() };
                    activated.entry(path.clone()).or_default().insert(waiting);
                }
            }
        }
        let mut text = String::new();
        for (trigger, mut waiting) in activated {
            if waiting.len() > 1 {
                waiting.remove("-");
            }
            text.push_str(&trigger);
            for package in waiting {
                text.push(' ');
                text.push_str(&package);
            }
            text.push('\n');
        }
        Ok(text)
    }
}

/// Whether one of the paths, which are sorted, is `path` or below it. Packages may ship many files and be interested
/// in many folders: not each is compared with each.
fn is_or_is_above_any(path: &str, shipped: &[&str]) -> bool {
    let below = format!("{path}/");
    let first = shipped.partition_point(|other| *other < below.as_str());
    shipped.binary_search(&path).is_ok() || shipped.get(first).is_some_and(|other| other.starts_with(&below))
}

/// The directives of a package's `triggers` member.
fn directives(package: &Unpacked) -> Result<Vec<(String, String)>> {
    let Some(text) = package.text("triggers") else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (directive, trigger) = line.split_once(char::is_whitespace).ok_or_else(|| {
            Error::new(format!("the `triggers` file of `{}` has a line without a trigger: `{line}`", package.name))
        })?;
        let trigger = trigger.trim();
        // A name becomes a file name below `triggers/`.
        if !trigger.starts_with('/')
            && (trigger.contains('/') || trigger.starts_with('.') || trigger.chars().any(|c| !c.is_ascii_graphic()))
        {
            return Err(Error::new(format!(
                "the `triggers` file of `{}` names an impossible trigger, `{trigger}`",
                package.name
            )));
        }
        found.push((directive.to_owned(), trigger.to_owned()));
    }
    Ok(found)
}

/// A diversion: the file of every package but `package` at `from` goes to `to`
/// (`/var/lib/dpkg/diversions`, three lines each, `:` for a local one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diversion {
    pub from: String,
    pub to: String,
    pub package: String,
}

/// Reads `diversions`.
pub fn diversions(text: &str) -> Vec<Diversion> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(3)
        .map(|lines| Diversion {
            from: lines[0].trim_start_matches('/').to_owned(),
            to: lines[1].trim_start_matches('/').to_owned(),
            package: lines[2].to_owned(),
        })
        .collect()
}

/// An override of owner and mode (`/var/lib/dpkg/statoverride`: user, group, mode, path).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatOverride {
    pub user: String,
    pub group: String,
    pub mode: String,
    pub path: String,
}

/// Reads `statoverride`.
pub fn stat_overrides(text: &str) -> Vec<StatOverride> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(4, ' ').map(str::to_owned);
            Some(StatOverride {
                user: fields.next()?,
                group: fields.next()?,
                mode: fields.next()?,
                path: fields.next()?,
            })
        })
        .collect()
}

/// The names of packages in a `status` file that are not fully installed, with their states.
pub fn unfinished(status: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for stanza in status.split("\n\n") {
        let field =
            |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        if let (Some(name), Some(status)) = (field("Package:"), field("Status:"))
            && status != "install ok installed"
        {
            found.push((name, status));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, triggers: &str, paths: &[&str]) -> Unpacked {
        let mut members = BTreeMap::new();
        if !triggers.is_empty() {
            members
                .insert("triggers".to_owned(), Member { mode: 0o644, mtime: 1, content: triggers.as_bytes().to_vec() });
        }
        Unpacked {
            name: name.to_owned(),
            version: "1".to_owned(),
            architecture: "amd64".to_owned(),
            multi_arch_same: name.starts_with("lib"),
            paragraph: format!("Package: {name}\nVersion: 1\nArchitecture: amd64\n"),
            members,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            conffiles: vec![("/etc/x".to_owned(), "d41d8cd98f00b204e9800998ecf8427e".to_owned())],
            generated_md5sums: None,
        }
    }

    fn text(files: &Files, path: &str) -> String {
        String::from_utf8(files[&format!("{ADMIN}/{path}")].content.clone()).unwrap()
    }

    #[test]
    fn the_status_says_unpacked_with_conffiles_in_place() {
        let files = database(&Existing::default(), &[package("a", "", &["/."])], State::Unpacked, 7).unwrap();
        assert_eq!(
            text(&files, "status"),
            "Package: a\nStatus: install ok unpacked\nVersion: 1\nArchitecture: amd64\nConffiles:\n /etc/x d41d8cd98f00b204e9800998ecf8427e\n\n"
        );
        assert_eq!(text(&files, "info/a.list"), "/.\n");
        assert_eq!(text(&files, "info/format"), "1\n");
        assert_eq!(text(&files, "arch"), "amd64\n");
        assert!(!files.contains_key("var/lib/dpkg/statoverride"));
    }

    #[test]
    fn unpacking_activates_file_triggers_of_packages_already_there() {
        let existing = Existing {
            status: "Package: debianutils\nStatus: install ok installed\n\n".to_owned(),
            file_interests: "/usr/share/debianutils/shells.d debianutils\n/usr/share/man man-db/noawait\n".to_owned(),
            named_interests: BTreeMap::from([("ldconfig".to_owned(), "libc-bin\n".to_owned())]),
            activated: "by-hand -\n/usr/share/debianutils/shells.d -\n".to_owned(),
        };
        let packages = [
            package("zsh", "", &["/.", "/usr/share/debianutils/shells.d/zsh", "/usr/share/manual"]),
            package("libz", "activate-noawait ldconfig # comment\ninterest-noawait new-one\n", &["/."]),
        ];
        let files = database(&existing, &packages, State::Unpacked, 7).unwrap();
        assert_eq!(text(&files, "triggers/Unincorp"), "/usr/share/debianutils/shells.d zsh\nby-hand -\nldconfig -\n");
        assert_eq!(text(&files, "triggers/new-one"), "libz:amd64/noawait\n");
        assert_eq!(text(&files, "triggers/ldconfig"), "libc-bin\n");
        assert!(files.contains_key("var/lib/dpkg/info/libz:amd64.triggers"));
    }

    #[test]
    fn hostile_trigger_names_are_refused() {
        for name in ["../x", "a/b", ".hidden"] {
            let packages = [package("a", &format!("interest {name}\n"), &[])];
            assert!(database(&Existing::default(), &packages, State::Unpacked, 7).is_err(), "{name}");
        }
    }

    #[test]
    fn diversions_overrides_and_unfinished_packages_are_read() {
        assert_eq!(
            diversions("/bin/sh\n/bin/sh.distrib\ndash\n"),
            [Diversion { from: "bin/sh".to_owned(), to: "bin/sh.distrib".to_owned(), package: "dash".to_owned() }]
        );
        assert_eq!(stat_overrides("root crontab 2755 /usr/bin/crontab\n")[0].group, "crontab");
        assert_eq!(
            unfinished("Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: install ok half-configured\n"),
            [("b".to_owned(), "install ok half-configured".to_owned())]
        );
    }
}
