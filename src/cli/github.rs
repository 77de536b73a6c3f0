//! `--format github`: what a GitHub Actions run shows of a command besides its log: annotations, which are lines of
//! the log in a form of their own, and the summary of the step, a file that is appended to.
//!
//! Everything in them may come from outside: nothing of it can become a command of the workflow.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::error::{Context as _, Error, Result};

/// GitHub takes no larger summary of a step, in bytes.
const LARGEST_SUMMARY: u64 = 1 << 20;

/// How loud an annotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Warning,
    Error,
}

/// The annotation of an error, at the place in a file that it names, if it names one.
pub fn annotated(error: &Error) -> String {
    let place = error.chain().iter().find_map(|text| place(text));
    let message = match place {
        // The place is shown beside it.
        Some((file, line, column)) => {
            let prefix = format!("{file}:{line}:{column}: ");
            error.chain().iter().map(|text| text.strip_prefix(&prefix).unwrap_or(text)).collect::<Vec<_>>().join("\n")
        }
        None => error.chain().join("\n"),
    };
    let detail = error.details().map(|detail| format!("\n{detail}")).unwrap_or_default();
    let hints: String = error.hints().iter().map(|hint| format!("\nhint: {hint}")).collect();
    annotation(Level::Error, place, &format!("{message}{detail}{hints}"))
}

/// A line that GitHub shows beside the file, or beside the run.
pub fn annotation(level: Level, place: Option<(&str, u64, u64)>, message: &str) -> String {
    let command = match level {
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let place = place.map(|(file, line, column)| format!("file={},line={line},col={column},", property(file)));
    format!("::{command} {}title=kiln::{}", place.unwrap_or_default(), data(message))
}

/// `envs/api.toml:3:9` at the beginning of a message.
fn place(text: &str) -> Option<(&str, u64, u64)> {
    let mut fields = text.splitn(4, ':');
    let (file, line, column) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (!file.is_empty() && !file.contains(' ')).then_some((file, line, column))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Adds Markdown to the summary of the step, unless it is full.
pub fn summarize(path: &Path, markdown: &str) -> Result<()> {
    let what = || format!("adding to the summary of the step, {}", path.display());
    let mut file = OpenOptions::new().append(true).create(true).open(path).context(what)?;
    let size = file.metadata().context(what)?.len();
    if size + markdown.len() as u64 + 2 > LARGEST_SUMMARY {
        return Ok(());
    }
    writeln!(file, "{}\n", markdown.trim_end()).context(what)
}

/// Lines as Markdown shows them untouched.
pub fn preformatted(title: &str, lines: &[String]) -> String {
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("### kiln {title}\n\n{fence}text\n{}\n{fence}\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_one_line_at_the_place() {
        let error = Error::new("envs/api.toml:3:9: `x, y` is 100% wrong").detail("1 | a\n  | ^").hint("try\nz");
        assert_eq!(
            annotated(&error),
            "::error file=envs/api.toml,line=3,col=9,title=kiln::`x, y` is 100%25 wrong%0A1 | a%0A  | ^%0Ahint: try%0Az"
        );
        let elsewhere = Error::new("no: 1:2: place");
        assert_eq!(annotated(&elsewhere), "::error title=kiln::no: 1:2: place");
        assert_eq!(
            annotation(Level::Warning, Some(("a,b:c", 1, 2)), "x"),
            "::warning file=a%2Cb%3Ac,line=1,col=2,title=kiln::x"
        );
    }

    #[test]
    fn nothing_leaves_its_fence() {
        let text = preformatted("build", &["a ``` b".to_owned(), "````".to_owned()]);
        assert!(text.contains("`````text\n") && text.ends_with("\n`````\n"), "{text}");
    }

    #[test]
    fn a_summary_grows_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary");
        summarize(&path, "one\n").unwrap();
        summarize(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n\ntwo\n\n");
        summarize(&path, &"x".repeat(1 << 20)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 10);
    }
}
