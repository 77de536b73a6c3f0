//! Text from outside, made fit for a terminal's line, and the few ways in which values are shown.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::output::bytes;
use crate::digest::Digest;

/// The most characters of one cell.
const LONGEST: usize = 200;

/// Text from outside on one line, cut off where it is too long for a cell; see [`visible`].
pub fn plain(text: &str) -> String {
    let mut line: String = text.chars().take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    visible(&line)
}

/// Text from outside in which nothing steers a terminal, turns the direction of what follows, or hides.
pub fn visible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// The beginning of a hash.
pub fn short(digest: &Digest) -> String {
    format!("{}…", &digest.to_string()[..12])
}

/// `old -> new`, or the one there is.
pub fn arrow(old: Option<String>, new: Option<String>) -> String {
    match (old, new) {
        (Some(old), Some(new)) if old == new => new,
        (Some(old), Some(new)) => format!("{old} -> {new}"),
        (old, new) => new.or(old).unwrap_or_default(),
    }
}

/// By how many bytes something grew or shrank: `+1.2 KiB`; nothing if it did neither.
pub fn delta(old: u64, new: u64) -> String {
    if old == new {
        return String::new();
    }
    let sign = if new < old { '-' } else { '+' };
    format!("{sign}{}", bytes(new.abs_diff(old)))
}

/// What came into a list and what left it: `+a -b`.
pub fn members<T: AsRef<str> + Ord>(old: impl IntoIterator<Item = T>, new: impl IntoIterator<Item = T>) -> String {
    let (old, new): (BTreeSet<T>, BTreeSet<T>) = (old.into_iter().collect(), new.into_iter().collect());
    let come = new.difference(&old).map(|one| format!("+{}", one.as_ref()));
    let gone = old.difference(&new).map(|one| format!("-{}", one.as_ref()));
    come.chain(gone).collect::<Vec<_>>().join(" ")
}

/// A setting's value in few words.
pub fn value(value: &Value) -> String {
    match value {
        Value::String(text) => match text.trim().lines().count() {
            0 | 1 => text.clone(),
            lines => format!("{}… ({lines} lines)", text.trim().lines().next().unwrap_or_default()),
        },
        other => other.to_string(),
    }
}

/// How a setting changed. Lists are shown by what came and went; if that is nothing, their order did.
pub fn values(old: Option<&Value>, new: Option<&Value>) -> String {
    if let (Some(Value::Array(old)), Some(Value::Array(new))) = (old, new) {
        let changed = members(old.iter().map(value), new.iter().map(value));
        return if changed.is_empty() { "in another order".to_owned() } else { changed };
    }
    match (old.map(value), new.map(value)) {
        (Some(old), Some(new)) => format!("{old} -> {new}"),
        (None, Some(new)) => format!("+{new}"),
        (Some(old), None) => format!("-{old}"),
        (None, None) => String::new(),
    }
}

/// Whether the name of a variable or a label says that its value is nobody's business.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["password", "passwd", "secret", "token", "credential", "private", "api_key", "apikey", "access_key"]
        .iter()
        .any(|word| key.contains(word))
}
