//! The links in `node_modules/.bin` through which programs are found.

use std::collections::{BTreeMap, BTreeSet};

use super::collation;
use super::tree::Placed;

/// A link in a `.bin` folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bin {
    /// Below the project: `node_modules/.bin/x`.
    pub path: String,
    /// Relative to the folder of the link.
    pub target: String,
    /// The path of the package below the project.
    pub package: String,
    /// The file, relative to the package. The link is made only if the tarball has it.
    pub file: String,
}

/// The links for a tree. Where several packages claim a name, the one nearest to the top has it; among equals
/// the first by its path. A claim stands even if the tarball lacks the file.
pub fn links(placed: &[Placed]) -> Vec<Bin> {
    let mut order: Vec<&Placed> = placed.iter().collect();
    let depth = |path: &str| path.split('/').filter(|name| *name == "node_modules").count();
    order.sort_by(|one, other| {
        depth(&one.path).cmp(&depth(&other.path)).then_with(|| collation::compare(&one.path, &other.path))
    });
    let mut links: BTreeMap<String, Bin> = BTreeMap::new();
    for package in order {
        let Some((_, folder)) = package.path.rsplit_once("node_modules/") else { continue };
        let modules = &package.path[..package.path.len() - folder.len()];
        for (name, file) in &package.bin {
            let path = format!("{modules}.bin/{name}");
            links.entry(path.clone()).or_insert_with(|| Bin {
                path,
                target: format!("../{folder}/{file}"),
                package: package.path.clone(),
                file: file.clone(),
            });
        }
    }
    links.into_values().collect()
}

/// The files that links lead to, by the path of the package in whose tarball they are.
pub fn programs(placed: &[Placed], links: &[Bin]) -> BTreeMap<String, BTreeSet<String>> {
    let outer: BTreeSet<&str> = placed.iter().filter(|one| !one.bundled).map(|one| one.path.as_str()).collect();
    let mut programs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for link in links {
        let whole = format!("{}/{}", link.package, link.file);
        let mut above = link.package.as_str();
        while !outer.contains(above) {
            let Some((shorter, _)) = above.rsplit_once("/node_modules/") else { break };
            above = shorter;
        }
        if let Some(file) = whole.strip_prefix(&format!("{above}/")) {
            programs.entry(above.to_owned()).or_default().insert(file.to_owned());
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(path: &str, bundled: bool, bins: &[(&str, &str)]) -> Placed {
        Placed {
            path: path.into(),
            bundled,
            bin: bins.iter().map(|(name, file)| ((*name).to_owned(), (*file).to_owned())).collect(),
            ..Placed::default()
        }
    }

    #[test]
    fn the_nearest_package_has_a_name() {
        let placed = [
            package("node_modules/@s/b", false, &[("x", "b.js"), ("y", "y.js")]),
            package("node_modules/a", false, &[("x", "a.js")]),
            package("node_modules/a/node_modules/c", false, &[("x", "bin/c.js")]),
            package("node_modules/a/node_modules/c/node_modules/d", true, &[("d", "d.js")]),
        ];
        let links = links(&placed);
        let shown: Vec<(&str, &str)> = links.iter().map(|link| (link.path.as_str(), link.target.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("node_modules/.bin/x", "../@s/b/b.js"),
                ("node_modules/.bin/y", "../@s/b/y.js"),
                ("node_modules/a/node_modules/.bin/x", "../c/bin/c.js"),
                ("node_modules/a/node_modules/c/node_modules/.bin/d", "../d/d.js"),
            ]
        );
        let programs = programs(&placed, &links);
        let of = |path: &str| programs.get(path).map(|files| files.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(of("node_modules/@s/b").unwrap(), ["b.js", "y.js"]);
        assert_eq!(of("node_modules/a"), None);
        assert_eq!(of("node_modules/a/node_modules/c").unwrap(), ["bin/c.js", "node_modules/d/d.js"]);
    }
}
