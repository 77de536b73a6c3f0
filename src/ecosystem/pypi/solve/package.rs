//! The packages of the search: projects, and stand-ins for a project with an extra or under a marker.

use std::fmt;
use std::sync::Arc;

use pep508_rs::MarkerTree;

use crate::ecosystem::pypi::name::Name;
use crate::ecosystem::pypi::requirement::Requirement;

/// A condition under which something was required, as text; `None` is always.
pub(super) type Condition = Option<Arc<str>>;

/// See the module's documentation. The stand-ins are uv's: which of them there are, and the order in which they
/// were met, steer the search.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Package {
    /// What was asked for.
    Root,
    /// The interpreter: it never has a version, so what depends on another one is out.
    Python,
    /// A project itself, or the requirements of one of its extras.
    Project { name: Name, extra: Option<Name>, condition: Condition },
    /// Stands for a project and its extra, both of the same version.
    Extra { name: Name, extra: Name, condition: Condition },
    /// Stands for a project that was required under a condition.
    Conditional { name: Name, condition: Condition },
}

impl Package {
    /// The project itself.
    pub fn project(name: &Name) -> Self {
        Self::Project { name: name.clone(), extra: None, condition: None }
    }

    /// What a requirement asks for: one package, or one for each of its extras.
    pub fn required(requirement: &Requirement) -> Vec<Self> {
        let name = &requirement.name;
        let condition = condition(&requirement.marker);
        if requirement.extras.is_empty() {
            return vec![match condition {
                None => Self::project(name),
                condition => Self::Conditional { name: name.clone(), condition },
            }];
        }
        let extra =
            |extra: &Name| Self::Extra { name: name.clone(), extra: extra.clone(), condition: condition.clone() };
        requirement.extras.iter().map(extra).collect()
    }

    /// The project whose version it has.
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Root | Self::Python => None,
            Self::Project { name, .. } | Self::Extra { name, .. } | Self::Conditional { name, .. } => Some(name),
        }
    }

    /// The project for which it stands.
    pub fn base(&self) -> Option<Self> {
        match self {
            Self::Root | Self::Python | Self::Project { .. } => None,
            Self::Extra { name, .. } | Self::Conditional { name, .. } => Some(Self::project(name)),
        }
    }

    /// Its name, if it is a project itself.
    pub fn plain(&self) -> Option<&Name> {
        match self {
            Self::Project { name, extra: None, condition: None } => Some(name),
            _ => None,
        }
    }

    /// What a stand-in depends on, in exactly its own version.
    pub fn stands_for(&self) -> Vec<Self> {
        let project = |name: &Name, extra: Option<&Name>, condition: Condition| Self::Project {
            name: name.clone(),
            extra: extra.cloned(),
            condition,
        };
        let (name, extra, condition) = match self {
            Self::Root | Self::Python | Self::Project { .. } => return Vec::new(),
            Self::Extra { name, extra, condition } => (name, Some(extra), condition),
            Self::Conditional { name, condition } => (name, None, condition),
        };
        let mut packages = vec![project(name, None, None)];
        packages.extend(extra.map(|extra| project(name, Some(extra), None)));
        if condition.is_some() {
            packages.push(project(name, None, condition.clone()));
            packages.extend(extra.map(|extra| project(name, Some(extra), condition.clone())));
        }
        packages
    }
}

/// The condition that a marker is, extras apart: those are packages of their own.
fn condition(marker: &MarkerTree) -> Condition {
    if marker.is_true() {
        return None;
    }
    marker.clone().simplify_extras_with(|_| true).try_to_string().map(Into::into)
}

impl fmt::Display for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => formatter.write_str("what was asked for"),
            Self::Python => formatter.write_str("Python"),
            Self::Project { name, extra: None, .. } | Self::Conditional { name, .. } => write!(formatter, "{name}"),
            Self::Project { name, extra: Some(extra), .. } | Self::Extra { name, extra, .. } => {
                write!(formatter, "{name}[{extra}]")
            }
        }
    }
}
