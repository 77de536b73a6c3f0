//! Reading files of the workspace into the store.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;

use super::{Content, Listed, Listing};
use crate::canonical;
use crate::digest::Digest;
use crate::error::{Context, Error, Kind, Result};
use crate::store::Store;

/// Names that are copied at once.
const LIMIT_ENTRIES: usize = 1_000_000;

/// The list of what is at `from`, relative to the workspace at `root`. With a store, the files and the list are put
/// in it. What `.gitignore` and `.ignore` files of the workspace name stays out, as does what `patterns` match and `.git`.
pub fn import(root: &Path, store: Option<&Store>, from: &str, patterns: &[String]) -> Result<Listing> {
    read(root, store, from, patterns).context(|| format!("reading the local files `{from}`"))
}

fn read(root: &Path, store: Option<&Store>, from: &str, patterns: &[String]) -> Result<Listing> {
    let root = root.canonicalize().context(|| format!("finding {}", root.display()))?;
    let place = root.join(from).canonicalize().map_err(|error| {
        let missing = Error::new(format!("there is no `{from}` in the workspace")).kind(Kind::NotFound);
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                missing.hint("`from` in `[[copy]]` is relative to the folder with `kiln.toml`")
            }
            _ => Error::new(format!("finding `{from}`")).caused_by(error),
        }
    })?;
    if !place.starts_with(&root) {
        return Err(Error::new(format!("`{from}` is a link that leads out of the workspace"))
            .hint("another machine has something else there: copy what it leads to into the workspace"));
    }
    let listing = if place.is_file() {
        let name = place.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Listing { single: true, entries: vec![Listed { path: name, content: content(&place, store)? }] }
    } else {
        Listing { single: false, entries: folder(&root, &place, store, patterns)? }
    };
    if let Some(store) = store {
        store.put(&canonical::to_vec(&listing)?)?;
    }
    Ok(listing)
}

fn folder(root: &Path, place: &Path, store: Option<&Store>, patterns: &[String]) -> Result<Vec<Listed>> {
    // Ignore files above the folder count as well, unless they name the folder itself: it was asked for.
    let mut found = walk(root, place, patterns)?;
    if !found.contains(&place.to_owned()) {
        found = walk(place, place, patterns)?;
    }
    let mut entries = Vec::new();
    for path in found.into_iter().filter(|path| path != place) {
        let relative = path.strip_prefix(place)?.to_str();
        let relative = relative.ok_or_else(|| {
            Error::new(format!("the name {} is not UTF-8", path.display()))
                .hint("rename it, or leave it out with `ignore = [...]`")
        })?;
        let path_in_image = crate::layer::entry::normalize(relative)?;
        entries.push(Listed { path: path_in_image, content: content(&path, store)? });
        if entries.len() > LIMIT_ENTRIES {
            return Err(Error::new(format!("it holds more than {LIMIT_ENTRIES} names"))
                .hint("`ignore = [...]` and `.gitignore` files leave out what the image does not need"));
        }
    }
    entries.sort();
    Ok(entries)
}

/// Everything at and below `place` that nothing ignores, walking down from `start`.
fn walk(start: &Path, place: &Path, patterns: &[String]) -> Result<Vec<PathBuf>> {
    let mut overrides = OverrideBuilder::new(place);
    for pattern in patterns {
        overrides.add(&format!("!{pattern}")).context(|| format!("reading the pattern `{pattern}` of `ignore`"))?;
    }
    let (place_of_filter, start_of_filter) = (place.to_owned(), start.to_owned());
    let mut walk = WalkBuilder::new(start);
    // Nothing that belongs to the machine or the user, such as their own ignore files, may matter.
    walk.hidden(false).parents(false).git_global(false).git_exclude(false).require_git(false).follow_links(false);
    walk.overrides(overrides.build()?);
    walk.filter_entry(move |entry| {
        let path = entry.path();
        let on_the_way = place_of_filter.starts_with(path) && path.starts_with(&start_of_filter);
        (on_the_way || path.starts_with(&place_of_filter)) && entry.file_name() != ".git"
    });
    let mut found = Vec::new();
    for entry in walk.build() {
        let entry = entry?;
        if entry.path().starts_with(place) {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

fn content(path: &Path, store: Option<&Store>) -> Result<Content> {
    let metadata = fs::symlink_metadata(path).context(|| format!("reading {}", path.display()))?;
    if metadata.is_dir() {
        return Ok(Content::Directory);
    }
    if metadata.is_symlink() {
        let target = fs::read_link(path)?.into_os_string().into_string();
        let target = target.map_err(|_| Error::new(format!("the link {} leads to no UTF-8 name", path.display())))?;
        return Ok(Content::Symlink { target });
    }
    if !metadata.is_file() {
        return Err(Error::new(format!("{} is neither a file, a folder nor a link", path.display()))
            .hint("sockets and pipes are made when a program runs: leave it out with `ignore = [...]`"));
    }
    let mut file = File::open(path).context(|| format!("reading {}", path.display()))?;
    let (mut sha256, mut size) = Digest::of_reader(&mut file).context(|| format!("reading {}", path.display()))?;
    if let Some(store) = store.filter(|store| !store.contains(&sha256)) {
        let mut writer = store.writer()?;
        std::io::copy(&mut BufReader::new(File::open(path)?), &mut writer)
            .and_then(|_| writer.flush())
            .context(|| format!("copying {} into the store", path.display()))?;
        // What was copied counts, if it has changed in between.
        (sha256, size) = writer.finish()?;
    }
    Ok(Content::File { size, sha256, executable: metadata.permissions().mode() & 0o111 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Path, from: &str, patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        let listing = import(root, None, from, &patterns).unwrap();
        listing.entries.into_iter().map(|entry| entry.path).collect()
    }

    #[test]
    fn what_is_ignored_stays_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["app/.git/x", "app/a.py", "app/a.pyc", "app/sub/b.py", "app/sub/c.log", "app/.env", "dist/out.js"]
        {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), path).unwrap();
        }
        fs::write(root.join(".gitignore"), "*.pyc\n/dist\n").unwrap();
        assert_eq!(paths(root, "app", &["*.log"]), [".env", "a.py", "sub", "sub/b.py"]);
        // A folder that is asked for by name is there, whatever git thinks of it.
        assert_eq!(paths(root, "dist", &[]), ["out.js"]);
        assert_eq!(paths(root, "app/sub/b.py", &[]), ["b.py"]);
    }

    #[test]
    fn the_list_is_the_same_wherever_the_workspace_is() {
        let make = |umask: u32| {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("app")).unwrap();
            fs::write(folder.path().join("app/run"), "#!/bin/sh\n").unwrap();
            fs::set_permissions(folder.path().join("app/run"), fs::Permissions::from_mode(0o777 & !umask)).unwrap();
            import(folder.path(), None, "app", &[]).unwrap().digest().unwrap()
        };
        assert_eq!(make(0o022), make(0o077));
    }

    #[test]
    fn nothing_outside_the_workspace_is_read() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(other.path(), folder.path().join("out")).unwrap();
        assert!(import(folder.path(), None, "out", &[]).is_err());
        assert!(import(folder.path(), None, "missing", &[]).is_err());
    }
}
