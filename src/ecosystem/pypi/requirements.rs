//! `requirements.txt` files (pip's "requirements file format"): requirements, constraints and hashes.
//!
//! Takes text; files that it names are read by whoever calls. Where packages come from is the machine's business,
//! so options that say so are refused.

use std::collections::{BTreeMap, BTreeSet};

use super::name::Name;
use super::requirement::Requirement;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};

/// Files that name each other may do so this deep.
const DEEPEST: usize = 16;
/// No set of files has more lines.
const MOST_LINES: usize = 200_000;

/// What a requirements.txt and the files that it names ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    pub requirements: Vec<Requirement>,
    /// From files named with `-c`.
    pub constraints: Vec<Requirement>,
    /// For projects that have any: the only files that may be used.
    pub hashes: BTreeMap<Name, BTreeSet<Digest>>,
}

/// Reads the file `name`. `read` gives the content of a file by its path relative to the workspace; paths that lead
/// out of that are refused before it is asked.
pub fn parse(name: &str, read: &dyn Fn(&str) -> Result<String>) -> Result<Requirements> {
    let mut reader = Reader { read, found: Requirements::default(), open: Vec::new(), lines: 0 };
    let path = inside("", name).context(|| format!("reading {name}"))?;
    reader.file(&path, false)?;
    Ok(reader.found)
}

struct Reader<'a> {
    read: &'a dyn Fn(&str) -> Result<String>,
    found: Requirements,
    /// The files being read, outermost first.
    open: Vec<String>,
    lines: usize,
}

impl Reader<'_> {
    fn file(&mut self, path: &str, constraints: bool) -> Result<()> {
        if self.open.iter().any(|open| open == path) || self.open.len() >= DEEPEST {
            return Err(Error::new(format!("{path} names itself, by way of {}", self.open.join(", ")))
                .hint("remove one of the lines with `-r` or `-c` that lead in a circle"));
        }
        let text = (self.read)(path).context(|| format!("reading {path}"))?;
        self.open.push(path.to_owned());
        for (number, line) in logical_lines(&text) {
            self.lines += 1;
            if self.lines > MOST_LINES {
                return Err(Error::new(format!("{path} has more than {MOST_LINES} lines")));
            }
            let what = || format!("{path}, line {number}");
            self.line(path, &line, constraints).map_err(|error| {
                error.hints().iter().fold(Error::new(what()), |new, hint| new.hint(hint.clone())).caused_by(error)
            })?;
        }
        self.open.pop();
        Ok(())
    }

    fn line(&mut self, path: &str, line: &str, constraints: bool) -> Result<()> {
        if line.starts_with('-') {
            return self.option(path, line);
        }
        if line.contains("${") {
            return Err(Error::new("a variable of the environment is used, which would differ between machines")
                .hint("write its value"));
        }
        let (text, options) = line.split_at(line.find(" --").unwrap_or(line.len()));
        let looks_like_a_path = text.starts_with(['.', '/']) || (text.contains("://") && !text.contains('@'));
        if looks_like_a_path {
            return Err(Error::new(format!("`{}` is a path or an address without a name", text.escape_debug())).hint(
                "write `name @ https://…` for a file on a server; a project's own files are copied by `[[copy]]`",
            ));
        }
        let requirement: Requirement = text.parse()?;
        let mut hashes = BTreeSet::new();
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let (option, value) = word.split_once('=').unwrap_or((word, ""));
            let value = if value.is_empty() { words.next().unwrap_or_default() } else { value };
            if option != "--hash" {
                return Err(Error::new(format!("the option `{}` is not supported here", option.escape_debug()))
                    .hint("only `--hash=sha256:…` may follow a requirement"));
            }
            // Others may be given besides it.
            if let Some(digest) = value.strip_prefix("sha256:") {
                hashes.insert(digest.to_ascii_lowercase().parse::<Digest>()?);
            }
        }
        if options.contains("--hash") && hashes.is_empty() {
            return Err(Error::new(format!("{} has hashes, none of them SHA-256", requirement.name))
                .hint("add `--hash=sha256:…`; other hashes are not checked"));
        }
        if !hashes.is_empty() {
            self.found.hashes.entry(requirement.name.clone()).or_default().extend(hashes);
        }
        let list = if constraints { &mut self.found.constraints } else { &mut self.found.requirements };
        list.push(requirement);
        Ok(())
    }

    fn option(&mut self, path: &str, line: &str) -> Result<()> {
        let end = line.find(|character: char| character == '=' || character.is_whitespace()).unwrap_or(line.len());
        let (mut option, mut value) = (&line[..end], line[end..].trim_start_matches('=').trim());
        // Short options may be written without a space: `-rbase.txt`.
        if !option.starts_with("--") && option.len() > 2 && option.is_char_boundary(2) {
            (option, value) = (&line[..2], line[2..].trim());
        }
        match option {
            "-r" | "--requirement" | "-c" | "--constraint" => {
                let named = inside(path.rsplit_once('/').map_or("", |(folder, _)| folder), value)?;
                self.file(&named, option == "-c" || option == "--constraint")
            }
            // Everything that is locked has its hash.
            "--require-hashes" | "--no-cache-dir" => Ok(()),
            "-e" | "--editable" => Err(Error::new("editable installations are not part of an image")
                .hint("leave the line out, and copy the project's files with `[[copy]]`")),
            "-i" | "--index-url" | "--extra-index-url" | "-f" | "--find-links" | "--no-index" | "--trusted-host" => {
                Err(Error::new(format!("`{option}` says where packages come from, which a lock does not")).hint(
                    "leave the line out and name the address of the origin `pypi`: under `[origins]` in kiln.toml, in \
                     KILN_ORIGIN_PYPI, or in pip's own settings",
                ))
            }
            other => Err(Error::new(format!("the option `{}` is not supported", other.escape_debug()))
                .hint("requirements, `-r`, `-c` and `--hash` are")),
        }
    }
}

/// A path relative to `folder`, which must stay in the workspace.
fn inside(folder: &str, path: &str) -> Result<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    let wrong = path.is_empty() || path.starts_with(['/', '~']) || path.contains(['\\', ':', '\0']);
    let mut fits = !wrong;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => fits &= parts.pop().is_some(),
            part => parts.push(part),
        }
    }
    if !fits || parts.is_empty() {
        return Err(Error::new(format!("`{}` is no path inside the workspace", path.escape_debug()))
            .hint("name a file of the workspace by its relative path"));
    }
    Ok(parts.join("/"))
}

/// The lines with those that they continue on, without comments, and the number of the first one of each.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut current: Option<(usize, String)> = None;
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = without_comment(line);
        let (line, continues) = match line.trim_end().strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let (_, so_far) = current.get_or_insert_with(|| (index + 1, String::new()));
        if !so_far.is_empty() {
            so_far.push(' ');
        }
        so_far.push_str(line.trim());
        if !continues {
            lines.extend(current.take());
        }
    }
    lines.extend(current);
    lines.retain(|(_, line)| !line.trim().is_empty());
    lines
}

/// A comment begins at the line's beginning or after a space: a fragment's `#` does not.
fn without_comment(line: &str) -> &str {
    let mut after_space = true;
    for (at, character) in line.char_indices() {
        if character == '#' && after_space {
            return &line[..at];
        }
        after_space = character.is_whitespace();
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

    fn read(files: &[(&str, &str)]) -> Result<Requirements> {
        let find = |path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned()).context(|| "no such file")
        };
        parse(files[0].0, &find)
    }

    fn names(requirements: &[Requirement]) -> Vec<&str> {
        requirements.iter().map(Requirement::text).collect()
    }

    #[test]
    fn files_are_read_with_those_they_name() {
        let main = format!(
            "\u{feff}# comment\n-r sub/base.txt\n--constraint=limits.txt\nflask[async] >=3 ; python_version >= '3.8' # why\n\
             redis==5.0 \\\n    --hash=sha256:{A} \\\n    --hash=sha512:00\nb @ https://h.example/b-1.zip#sha256={A}\n"
        );
        let found = read(&[
            ("req/all.txt", &main),
            ("req/sub/base.txt", "-r../more.txt\nclick\n"),
            ("req/more.txt", "attrs"),
            ("req/limits.txt", "click<9"),
        ])
        .unwrap();
        assert_eq!(names(&found.requirements)[..3], ["attrs", "click", "flask[async] >=3 ; python_version >= '3.8'"]);
        assert_eq!(
            names(&found.requirements)[3..],
            ["redis==5.0", &format!("b @ https://h.example/b-1.zip#sha256={A}")]
        );
        assert_eq!(names(&found.constraints), ["click<9"]);
        assert_eq!(found.hashes[&"redis".parse().unwrap()].len(), 1);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_line() {
        for (text, expected) in [
            ("a\n--index-url https://h.example/", "says where packages come from"),
            ("a\n-e .", "editable"),
            ("a\n./local", "without a name"),
            ("a\nhttps://h.example/a-1.whl", "without a name"),
            ("a\nb ${X}", "variable of the environment"),
            ("a\nb --hash=md5:00", "none of them SHA-256"),
            ("a\nb --hash=sha256:00", "is not a SHA-256 digest"),
            ("a\nb --install-option=x", "not supported here"),
            ("a\n--pre", "`--pre` is not supported"),
            ("a\n-r ../../etc/passwd", "no path inside the workspace"),
            ("a\n-r /etc/passwd", "no path inside the workspace"),
            ("a\n-r r.txt", "names itself"),
            ("a\n-r none.txt", "no such file"),
            ("a\nb >= x", "is not a requirement"),
        ] {
            let error = read(&[("r.txt", text)]).unwrap_err();
            let whole = error.to_string();
            assert!(whole.starts_with("r.txt, line 2") && whole.contains(expected), "{whole}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(-r|-c|--hash|=|sha256:|a|b|>|1| |\\\\|\n|#|\\.|/|\\PC){0,40}") {
            let _ = read(&[("r.txt", &text)]);
        }
    }
}
