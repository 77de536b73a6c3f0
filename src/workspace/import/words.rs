//! Words of instructions and commands: quotes, escapes and variables, as far as they can be known.

use std::collections::BTreeMap;

/// Splits into words as a shell does, quotes removed; nothing if a quote is not closed.
pub(super) fn split(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next()? {
                        '"' => break,
                        '\\' => match characters.next()? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            space if space.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Some(words)
}

/// Puts the values of `$NAME`, `${NAME}` and `${NAME:-default}` in their places; nothing if one is not known. What is
/// inside single quotes stays.
pub(super) fn expand(text: &str, known: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    let mut single = false;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        match character {
            '\\' => {
                let next = after.chars().next().map_or(0, char::len_utf8);
                // The backslash stays, for whoever splits words; before a dollar it has done its work.
                if !after.starts_with('$') {
                    out.push('\\');
                }
                out.push_str(&after[..next]);
                rest = &after[next..];
                continue;
            }
            '\'' => single = !single,
            '$' if !single => {
                let (value, after) = variable(after, known)?;
                out.push_str(&value);
                rest = after;
                continue;
            }
            _ => {}
        }
        out.push(character);
        rest = after;
    }
    Some(out)
}

/// The value of the variable whose name `text` begins with, and what comes after it.
fn variable<'t>(text: &'t str, known: &BTreeMap<String, String>) -> Option<(String, &'t str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(braced) = text.strip_prefix('{') {
        let (inside, after) = braced.split_once('}')?;
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        let good = !name.is_empty() && name.chars().all(is_name) && !default.is_some_and(|text| text.contains('$'));
        let value = known.get(name).filter(|value| default.is_none() || !value.is_empty()).map(String::as_str);
        return Some((value.or(default)?.to_owned(), after)).filter(|_| good);
    }
    let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
    Some((known.get(&text[..end])?.clone(), &text[end..]))
}

/// `NAME=VALUE` pairs, or `NAME VALUE` with the rest of the line as the value (Dockerfile reference, `ENV`).
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let words = split(text)?;
    let first = words.first()?;
    if !first.contains('=') {
        let (name, value) = text.trim().split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    words
        .into_iter()
        .map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.to_owned())).filter(|(name, _)| !name.is_empty())
        })
        .collect()
}
