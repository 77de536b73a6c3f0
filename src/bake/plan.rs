//! The layers of an image as they are planned: what each is put together of, and what lies below it.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::stage_result::StageResult;
use crate::error::Result;
use crate::layer::{Entry, Kind, Layer, Part, content_of};
use crate::sandbox::Extraction;

/// A layer to be put together: its name, what its history says, its folders and its parts.
#[derive(Clone, Debug)]
pub struct Planned {
    pub name: String,
    pub note: String,
    pub directories: Vec<Entry>,
    pub parts: Vec<Part>,
    /// The package that each part is of, with its version; none where no package is.
    pub owners: Vec<String>,
    /// Whether it shares nothing but folders with the layers beside it that say so too.
    pub disjoint: bool,
    /// The layer itself, if another tool has made it: the parts are what it holds.
    pub foreign: Option<Layer>,
}

/// The effective metadata of every folder, as layers are stacked.
#[derive(Clone, Debug, Default)]
pub struct Folders(BTreeMap<String, Entry>);

impl Folders {
    /// The first package to ship a folder decides its mode and owner.
    pub fn add(&mut self, directories: &[Entry]) {
        for directory in directories {
            self.0.entry(directory.path.clone()).or_insert_with(|| directory.clone());
        }
    }

    /// Scripts have made them what they are now.
    pub fn replace(&mut self, directories: &[Entry]) {
        for directory in directories {
            self.0.insert(directory.path.clone(), directory.clone());
        }
    }

    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// The folders of some parts, as they are by now.
    pub fn of(&self, parts: &[Part]) -> Vec<Entry> {
        let paths: BTreeSet<&str> =
            parts.iter().flat_map(|part| part.directories.iter().map(|entry| entry.path.as_str())).collect();
        paths.into_iter().filter_map(|path| self.0.get(path).cloned()).collect()
    }
}

impl Planned {
    /// What a stage's scripts, or a step's, have changed.
    pub fn changed(name: &str, note: &str, stage: &StageResult) -> Self {
        Self {
            name: name.to_owned(),
            note: note.to_owned(),
            directories: stage.part.directories.clone(),
            parts: vec![stage.part.clone()],
            owners: Vec::new(),
            disjoint: false,
            foreign: None,
        }
    }

    pub fn assembled(&self, graph: &Graph<'_>) -> Result<Layer> {
        match &self.foreign {
            Some(layer) => Ok(layer.clone()),
            None => graph.layer(&self.directories, &self.parts),
        }
    }
}

/// What a tree is made of that has these layers. Layers that share nothing but folders are placed together.
pub fn extractions(layers: &[Planned]) -> Vec<Extraction> {
    let mut all: Vec<Extraction> = Vec::new();
    let mut known: BTreeMap<&str, &Entry> = BTreeMap::new();
    let mut open = false;
    for layer in layers {
        let news = layer.directories.iter().filter(|entry| known.insert(&entry.path, entry) != Some(entry));
        let news: Vec<Entry> = news.cloned().collect();
        match all.last_mut().filter(|_| open && layer.disjoint) {
            Some(together) => {
                together.directories.extend(news);
                together.parts.extend(layer.parts.iter().cloned());
            }
            None => all.push(Extraction { directories: news, parts: layer.parts.clone(), ..Extraction::default() }),
        }
        open = layer.disjoint;
    }
    for extraction in &mut all {
        extraction.directories.sort_by(|one, other| one.path.cmp(&other.path));
        extraction.directories.dedup_by(|later, earlier| later.path == earlier.path);
    }
    all
}

/// The names in the tree below a layer, as far as they matter to what is put on top.
#[derive(Debug)]
pub struct Below<'a> {
    layers: &'a [Planned],
    /// Symbolic links and where they lead.
    links: BTreeMap<&'a str, &'a str>,
    /// Everything else that is no folder.
    files: BTreeSet<&'a str>,
}

impl<'a> Below<'a> {
    /// What a layer has removed is still among it: putting something in its place needs another name.
    pub fn new(layers: &'a [Planned]) -> Self {
        let (mut links, mut files) = (BTreeMap::new(), BTreeSet::new());
        for entry in layers.iter().flat_map(|layer| &layer.parts).flat_map(|part| &part.entries) {
            match &entry.kind {
                Kind::Symlink { target } => {
                    links.insert(entry.path.as_str(), target.as_str());
                }
                _ => {
                    files.insert(entry.path.as_str());
                }
            }
        }
        Self { layers, links, files }
    }

    /// The links among the folders of `part`, each with the folder that it leads to.
    pub fn links_among(&self, part: &Part) -> BTreeMap<String, String> {
        let among = part.directories.iter().filter(|folder| !folder.path.is_empty());
        let resolved = among.map(|folder| (folder.path.clone(), self.resolve(&folder.path)));
        resolved.filter(|(path, real)| path != real && self.links.contains_key(path.as_str())).collect()
    }

    /// The path without links; a circle of links is left as it is.
    fn resolve(&self, path: &str) -> String {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut real: Vec<String> = Vec::new();
        let mut followed = 0;
        while let Some(name) = left.pop() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    real.pop();
                    continue;
                }
                _ => real.push(name),
            }
            if let Some(target) = self.links.get(real.join("/").as_str()).filter(|_| followed < 40) {
                followed += 1;
                real.pop();
                if target.starts_with('/') {
                    real.clear();
                }
                left.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        real.join("/")
    }

    /// A path of `part` that is a folder where the tree has a file.
    pub fn file_in_the_way(&self, part: &Part) -> Option<String> {
        let mut folders = part.directories.iter().map(|folder| folder.path.as_str());
        folders.find(|path| self.files.contains(path)).map(str::to_owned)
    }

    /// The topmost entry that is no folder under this path.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let mut parts = self.layers.iter().rev().flat_map(|layer| &layer.parts);
        parts.find_map(|part| part.entries.iter().find(|entry| entry.path == path))
    }

    /// A file of the tree, if it has it.
    pub fn read(&self, graph: &Graph<'_>, path: &str) -> Result<Option<Vec<u8>>> {
        let parts = self.layers.iter().rev().flat_map(|layer| &layer.parts);
        for part in parts {
            if let Some(content) = content_of(graph.bakery.store, part, path)? {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::part::default_directory;

    fn part(directories: &[&str], links: &[(&str, &str)]) -> Part {
        let link = |(path, target): &(&str, &str)| Entry {
            kind: Kind::Symlink { target: (*target).to_owned() },
            ..default_directory(path)
        };
        Part {
            directories: directories.iter().map(|path| default_directory(path)).collect(),
            entries: links.iter().map(link).collect(),
            content: crate::Digest::of(b""),
            size: 0,
            tar_size: 0,
            members: Vec::new(),
            plain: None,
        }
    }

    #[test]
    fn folders_that_are_links_below_are_found() {
        let layers = [Planned {
            name: String::new(),
            note: String::new(),
            directories: Vec::new(),
            parts: vec![part(&["usr/lib"], &[("lib", "usr/lib"), ("var/run", "/run"), ("a", "b"), ("b", "a")])],
            owners: Vec::new(),
            disjoint: false,
            foreign: None,
        }];
        let below = Below::new(&layers);
        let found = below.links_among(&part(&["lib", "lib/x", "var", "var/run", "usr/lib"], &[]));
        assert_eq!(
            found,
            BTreeMap::from([("lib".to_owned(), "usr/lib".to_owned()), ("var/run".to_owned(), "run".to_owned())])
        );
        assert_eq!(below.resolve("lib/x"), "usr/lib/x");
        below.resolve("a/x");
    }
}
