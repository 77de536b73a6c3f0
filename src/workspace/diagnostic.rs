//! Complaints about TOML that point at the offending text.

use std::ops::Range;
use std::path::Path;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::nearest;
use crate::error::Error;
use crate::tables;

/// An error at `span` of `text`, with the text shown.
pub(super) fn at(path: &Path, text: &str, span: Range<usize>, message: &str) -> Error {
    let start = span.start.min(text.len());
    let line = text[..start].matches('\n').count() + 1;
    let column = text[..start].rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let span = start..span.end.clamp(start, text.len());
    let report = [Level::ERROR
        .primary_title(message)
        .element(Snippet::source(text).path(path.to_string_lossy()).annotation(AnnotationKind::Primary.span(span)))];
    let rendered = Renderer::plain().render(&report);
    // The first line repeats the title, the second the place, which the message carries.
    let shown = rendered.lines().skip(2).collect::<Vec<_>>().join("\n");
    Error::new(format!("{}:{line}:{column}: {message}", path.display())).detail(shown)
}

/// The error for TOML that is malformed or does not fit.
pub(super) fn toml(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let (message, hint) = explain(error.message());
    let deep = || tables::check_depth(text).err().map(|deep| deep.span);
    let located = at(path, text, error.span().or_else(deep).unwrap_or(0..0), &message);
    match hint {
        Some(hint) => located.hint(hint),
        None => located,
    }
}

/// serde's words for kinds of values, as TOML's users say them.
fn plain(kind: &str) -> String {
    match kind {
        "a sequence" | "sequence" => "a list".to_owned(),
        "a map" | "map" => "a table".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "u16" | "u32" | "u64" | "i32" | "i64" => "a whole number".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => match other.split_once(' ') {
            Some(("string" | "integer" | "boolean" | "floating", _)) => {
                format!("the {}", other.replace("floating point", "number"))
            }
            _ => other.to_owned(),
        },
    }
}

/// Turns serde's `unknown field `a`, expected one of `b`, `c`` into a sentence and a hint.
fn explain(message: &str) -> (String, Option<String>) {
    for (prefix, noun) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        let Some((found, rest)) = message.strip_prefix(prefix).and_then(|rest| rest.split_once('`')) else { continue };
        let expected: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let hint = match nearest(found, expected.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", expected.join(", ")),
        };
        return (format!("unknown {noun} `{found}`"), Some(hint));
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        return (format!("expected {}, found {}", plain(expected), plain(found)), None);
    }
    (message.replace('\n', " ").trim().to_owned(), None)
}
