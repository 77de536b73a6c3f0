//! `kiln tree`: what needs what.

use std::collections::BTreeSet;

use serde::Serialize;

use super::arguments::Tree;
use super::context::Context;
use super::diff::words::plain;
use super::lock::locked;
use super::output::count;
use crate::error::{Error, Kind, Result};
use crate::lock::needs::{Id, Needs};
use crate::workspace::nearest;

/// The most levels that are shown, whatever a lockfile says.
const DEEPEST: usize = 200;

/// A package where it stands in a tree.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Branch {
    ecosystem: String,
    name: String,
    versions: Vec<String>,
    /// The definition's words that ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<String>,
    base: bool,
    /// Whether it is only there to build what needs it, and not in the image.
    tool: bool,
    /// Whether what is below it has been shown already.
    again: bool,
    /// Whether there is more below it than was asked for.
    cut: bool,
    /// What it needs, or with `--invert`, what needs it.
    below: Vec<Branch>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct EnvironmentTree {
    environment: String,
    roots: Vec<Branch>,
    /// Packages of the base that are not shown.
    hidden: usize,
}

pub fn run(context: &Context, arguments: &Tree) -> Result<u8> {
    let workspace = context.workspace()?;
    let mut trees = Vec::new();
    let mut known = BTreeSet::new();
    for environment in workspace.select(&arguments.environments)? {
        let lockfile = locked(&workspace, &environment)?;
        let needs = Needs::new(&lockfile);
        let mut roots = match &arguments.invert {
            Some(name) => needs.named(name),
            None => needs.roots(),
        };
        known.extend(needs.iter().map(|((_, name), _)| name.to_owned()));
        let all = roots.len();
        let is_base = |id: &Id<'_>| needs.get(*id).is_some_and(|node| node.is_base() && node.requested().is_none());
        if arguments.invert.is_none() && !arguments.base {
            roots.retain(|id| !is_base(id));
        }
        let hidden = if all == roots.len() { 0 } else { needs.iter().filter(|(id, _)| is_base(id)).count() };
        let mut growing = Growing { needs: &needs, arguments, shown: BTreeSet::new() };
        let roots: Vec<Branch> = roots.into_iter().filter_map(|id| growing.branch(id, 0)).collect();
        if arguments.invert.is_none() || !roots.is_empty() {
            trees.push(EnvironmentTree { environment, roots, hidden });
        }
    }
    if let (Some(name), true) = (&arguments.invert, trees.is_empty()) {
        return Err(unknown(name, &known));
    }
    context.report("tree", &trees, || trees.iter().flat_map(lines).collect())?;
    Ok(0)
}

/// The error that no lock holds a package of that name.
pub fn unknown(name: &str, known: &BTreeSet<String>) -> Error {
    let error = Error::new(format!("no lock holds a package `{name}`")).kind(Kind::NotFound);
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`kiln list` lists all packages"),
    }
}

struct Growing<'t, 'l> {
    needs: &'t Needs<'l>,
    arguments: &'t Tree,
    shown: BTreeSet<Id<'l>>,
}

impl<'l> Growing<'_, 'l> {
    fn branch(&mut self, id: Id<'l>, depth: usize) -> Option<Branch> {
        let node = self.needs.get(id)?;
        let below = if self.arguments.invert.is_some() { &node.needed_by } else { &node.needs };
        // What the base is made of is the same everywhere, and deep.
        let folded = node.is_base() && !self.arguments.base && self.arguments.invert.is_none();
        let deepest = depth >= self.arguments.depth.unwrap_or(DEEPEST).min(DEEPEST);
        let again = !below.is_empty() && !folded && !deepest && !self.shown.insert(id);
        let open = !folded && !deepest && !again;
        let versions = node.versions().into_iter().map(str::to_owned).collect();
        let (requested, base) = (node.requested().map(str::to_owned), node.is_base());
        let cut = deepest && !folded && !below.is_empty();
        let below = below.clone().into_iter().filter(|_| open).filter_map(|id| self.branch(id, depth + 1)).collect();
        let (ecosystem, name, tool) = (id.0.to_owned(), id.1.to_owned(), node.is_tool());
        Some(Branch { ecosystem, name, versions, requested, base, tool, again, cut, below })
    }
}

fn lines(tree: &EnvironmentTree) -> Vec<String> {
    let mut lines = vec![tree.environment.clone()];
    let last = tree.roots.len();
    for (index, root) in tree.roots.iter().enumerate() {
        grow(root, "", index + 1 == last && tree.hidden == 0, &mut lines);
    }
    if tree.hidden > 0 {
        lines.push(format!("└── the base: {} (`--base` shows them)", count(tree.hidden, "package")));
    }
    lines
}

fn grow(branch: &Branch, indent: &str, last: bool, lines: &mut Vec<String>) {
    let (corner, beneath) = if last { ("└── ", "    ") } else { ("├── ", "│   ") };
    let mark = if branch.requested.is_some() { "* " } else { "" };
    let versions: Vec<String> = branch.versions.iter().map(|version| plain(version)).collect();
    let tool = if branch.tool { " (to build it)" } else { "" };
    let note = match (branch.again, branch.cut, branch.base) {
        (true, ..) => " (again)",
        (_, true, _) => " …",
        (_, _, true) => " (base)",
        _ => "",
    };
    let (ecosystem, name) = (plain(&branch.ecosystem), plain(&branch.name));
    lines.push(format!("{indent}{corner}{mark}{ecosystem}:{name} {}{tool}{note}", versions.join(", ")));
    let indent = format!("{indent}{beneath}");
    let count = branch.below.len();
    for (index, below) in branch.below.iter().enumerate() {
        grow(below, &indent, index + 1 == count, lines);
    }
}
