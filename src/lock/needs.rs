//! Who needs whom among the packages of a lockfile. Packages are told by ecosystem and name: who needs one version of
//! several, as npm has them side by side, needs them all here, because a lockfile says no more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::model::{Lockfile, Package};

/// A package: its ecosystem and its name.
pub type Id<'l> = (&'l str, &'l str);

/// One package, in as many versions as are locked.
#[derive(Clone, Debug, Default)]
pub struct Node<'l> {
    /// Its rows in the lockfile; never empty.
    pub rows: Vec<&'l Package>,
    /// What needs it, in order.
    pub needed_by: BTreeSet<Id<'l>>,
    /// What it needs, in order.
    pub needs: BTreeSet<Id<'l>>,
}

impl<'l> Node<'l> {
    /// The definition's words that ask for it. What is only there to build others is asked for by these.
    pub fn requested(&self) -> Option<&'l str> {
        let rows = self.rows.iter().filter(|row| row.build_for.is_empty());
        rows.filter_map(|row| row.requested.as_deref()).next()
    }

    /// Whether it is only there to build others, and not in the image.
    pub fn is_tool(&self) -> bool {
        self.rows.iter().all(|row| !row.build_for.is_empty())
    }

    /// Whether it belongs to the Essential set that the environment stands on.
    pub fn is_base(&self) -> bool {
        self.rows.iter().any(|row| row.base)
    }

    /// The versions, in the lockfile's order, each once.
    pub fn versions(&self) -> Vec<&'l str> {
        let mut versions: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !versions.contains(&row.version.as_str()) {
                versions.push(&row.version);
            }
        }
        versions
    }
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Needs<'l> {
    nodes: BTreeMap<Id<'l>, Node<'l>>,
}

impl<'l> Needs<'l> {
    pub fn new(lockfile: &'l Lockfile) -> Self {
        let mut nodes: BTreeMap<Id<'l>, Node<'l>> = BTreeMap::new();
        for package in &lockfile.packages {
            nodes.entry((&package.ecosystem, &package.name)).or_default().rows.push(package);
        }
        for package in &lockfile.packages {
            let id = (package.ecosystem.as_str(), package.name.as_str());
            for name in package.required_by.iter().chain(&package.build_for) {
                let other = (package.ecosystem.as_str(), name.as_str());
                // What is not locked needs nothing; a package that needs itself says nothing.
                if other != id && nodes.contains_key(&other) {
                    nodes.entry(id).or_default().needed_by.insert(other);
                    nodes.entry(other).or_default().needs.insert(id);
                }
            }
        }
        Self { nodes }
    }

    pub fn get(&self, id: Id<'l>) -> Option<&Node<'l>> {
        self.nodes.get(&id)
    }

    /// All packages, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Id<'l>, &Node<'l>)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// The packages of that name, or of that name in the ecosystem before a colon: `pypi:redis`.
    pub fn named(&self, name: &str) -> Vec<Id<'l>> {
        let matches = |id: &Id<'l>| id.1 == name || name.split_once(':') == Some(*id);
        self.nodes.keys().copied().filter(matches).collect()
    }

    /// What nothing that is locked needs: where a tree begins. What is asked for goes first; then what is left, such
    /// as the base, and of packages that only need each other, the first.
    pub fn roots(&self) -> Vec<Id<'l>> {
        let asked = self.iter().filter(|(_, node)| node.requested().is_some()).map(|(id, _)| id);
        let mut roots: Vec<Id<'l>> = asked.collect();
        let mut reached = BTreeSet::new();
        roots.iter().for_each(|root| self.reach(*root, &mut reached));
        let lonely = |node: &Node<'l>| node.needed_by.is_empty();
        for first in [true, false] {
            for (id, node) in self.iter() {
                if !reached.contains(&id) && (lonely(node) || !first) {
                    roots.push(id);
                    self.reach(id, &mut reached);
                }
            }
        }
        roots
    }

    /// Adds what `from` needs, however far away, and itself.
    fn reach(&self, from: Id<'l>, reached: &mut BTreeSet<Id<'l>>) {
        let mut waiting = vec![from];
        while let Some(id) = waiting.pop() {
            if reached.insert(id)
                && let Some(node) = self.get(id)
            {
                waiting.extend(&node.needs);
            }
        }
    }

    /// For each package that is asked for, or belongs to the base, and leads to `target`: the shortest chain from the
    /// one to the other, both included. The shortest first.
    pub fn chains(&self, target: Id<'l>) -> Vec<Vec<Id<'l>>> {
        let mut towards: BTreeMap<Id<'l>, Option<Id<'l>>> = BTreeMap::from([(target, None)]);
        let mut waiting = VecDeque::from([target]);
        let mut starts = Vec::new();
        while let Some(id) = waiting.pop_front() {
            let Some(node) = self.get(id) else { continue };
            if node.requested().is_some() || node.is_base() {
                starts.push(id);
            }
            for by in &node.needed_by {
                if !towards.contains_key(by) {
                    towards.insert(*by, Some(id));
                    waiting.push_back(*by);
                }
            }
        }
        let chain = |start: &Id<'l>| {
            let next = |id: &Id<'l>| towards.get(id).copied().flatten();
            std::iter::successors(Some(*start), next).collect::<Vec<_>>()
        };
        let mut chains: Vec<Vec<Id<'l>>> = starts.iter().map(chain).collect();
        // What is asked for says more than what is there anyhow.
        let asked = |chain: &[Id<'l>]| self.get(chain[0]).is_some_and(|node| node.requested().is_some());
        chains.sort_by_key(|chain| (!asked(chain), chain.len(), chain.clone()));
        chains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lockfile(packages: &[(&str, Option<&str>, &[&str])]) -> Lockfile {
        let mut text = String::from(
            "version = 1\nrevision = 0\nformat = 1\n[environment]\nplatforms = [\"linux/amd64\"]\n\
             [environment.debian]\nsuites = []\npackages = []\nexclude = []\nbase = \"none\"\n",
        );
        for (name, requested, by) in packages {
            let requested = requested.map(|words| format!("requested = \"{words}\"\n")).unwrap_or_default();
            text.push_str(&format!(
                "[[package]]\necosystem = \"debian\"\nname = \"{name}\"\nversion = \"1\"\nsource = \"s\"\n\
                 source-version = \"1\"\norigin = \"o\"\n{requested}required-by = {by:?}\nartifacts = {{}}\n"
            ));
        }
        Lockfile::parse(&text).unwrap()
    }

    fn names(ids: Vec<Id<'_>>) -> Vec<&str> {
        ids.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn chains_are_the_shortest_of_each_start() {
        let lockfile = lockfile(&[
            ("web", Some("web"), &[]),
            ("lib", None, &["web", "tool"]),
            ("libc", None, &["lib", "web"]),
            ("tool", Some("tool"), &[]),
            ("other", Some("other"), &[]),
        ]);
        let needs = Needs::new(&lockfile);
        let chains: Vec<Vec<&str>> = needs.chains(("debian", "libc")).into_iter().map(names).collect();
        assert_eq!(chains, [vec!["web", "libc"], vec!["tool", "lib", "libc"]]);
        assert_eq!(names(needs.chains(("debian", "web")).remove(0)), ["web"]);
    }

    #[test]
    fn packages_that_only_need_each_other_are_in_the_tree() {
        let lockfile = lockfile(&[
            ("asked", Some("asked"), &["asked"]),
            ("a", None, &["b"]),
            ("b", None, &["a"]),
            ("c", None, &["b", "who is not there"]),
        ]);
        let needs = Needs::new(&lockfile);
        assert_eq!(names(needs.roots()), ["asked", "a"]);
        assert!(needs.chains(("debian", "c")).is_empty());
    }

    #[test]
    fn names_may_say_their_ecosystem() {
        let lockfile = lockfile(&[("a", None, &[])]);
        let needs = Needs::new(&lockfile);
        assert_eq!(names(needs.named("a")), ["a"]);
        assert_eq!(names(needs.named("debian:a")), ["a"]);
        assert!(needs.named("pypi:a").is_empty() && needs.named("b").is_empty());
    }
}
