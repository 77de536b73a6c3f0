//! Lists of a definition, changed so that all else about them stays: comments, indentation, and whether they are
//! written on one line. Knows TOML and nothing of what the entries mean.

use toml_edit::{Array, Value};

/// A list that fits into so many columns may stay on one line.
pub(super) const COLUMNS: usize = 100;

/// Where `new` belongs among `old`: where their order has it, if they are in one, else at the end. They are compared by
/// what `keys` makes of them, by the first of these under which the old ones are sorted.
pub(super) fn place(old: &[String], new: &str, keys: &[fn(&str) -> String]) -> usize {
    for key in keys {
        let sorted: Vec<String> = old.iter().map(|text| key(text)).collect();
        if sorted.is_sorted() {
            let new = key(new);
            return sorted.partition_point(|text| *text <= new);
        }
    }
    old.len()
}

/// The texts of a list; what is no text has none.
pub(super) fn texts(array: &Array) -> Vec<String> {
    array.iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
}

/// Puts a text before the entry `at`, or behind the last. `before` is how many columns stand before the list.
pub(super) fn insert(array: &mut Array, at: usize, text: &str, before: usize) {
    let comma = loosen(array);
    let value = if is_spread(array) { spread_entry(array, at, text) } else { inline_entry(array, at, text) };
    array.insert_formatted(at, value);
    tighten(array, comma);
    fit(array, before);
}

/// Writes another text in place of the entry `at`.
pub(super) fn replace(array: &mut Array, at: usize, text: &str, before: usize) {
    let Some(old) = array.get(at) else { return };
    let mut value = Value::from(text);
    *value.decor_mut() = old.decor().clone();
    array.replace_formatted(at, value);
    fit(array, before);
}

/// Takes out the entry `at` with the comment behind it. Comments on lines of their own stay: they may be about more.
pub(super) fn remove(array: &mut Array, at: usize) {
    let comma = loosen(array);
    let own = gap(array, at);
    let next = gap(array, at + 1);
    let is_last = at + 1 == array.len();
    array.remove(at);
    let (head, tail) = split(&own);
    let kept = tail.rfind('\n').map_or("", |end| &tail[..end]);
    let left = match (own.contains('\n'), next.contains('\n')) {
        (true, true) => format!("{head}{kept}{}", split(&next).1),
        (true, false) if !is_last => own.clone(),
        (true, false) if own.contains('#') => format!("{head}{kept}\n{next}"),
        (false, false) if at == 0 && !is_last => own.clone(),
        _ => next.clone(),
    };
    set_gap(array, at, &left);
    if array.is_empty() && left.trim().is_empty() {
        array.set_trailing("");
        array.set_trailing_comma(false);
    } else {
        tighten(array, comma);
    }
}

/// Whether it is written on several lines.
fn is_spread(array: &Array) -> bool {
    (0..=array.len()).any(|at| gap(array, at).contains('\n'))
}

/// What stands before the entry `at`, or before the closing bracket.
fn gap(array: &Array, at: usize) -> String {
    let raw = match array.get(at) {
        Some(value) => value.decor().prefix(),
        None => Some(array.trailing()),
    };
    raw.and_then(|raw| raw.as_str()).unwrap_or_default().to_owned()
}

fn set_gap(array: &mut Array, at: usize, text: &str) {
    match array.get_mut(at) {
        Some(value) => value.decor_mut().set_prefix(text),
        None => array.set_trailing(text),
    }
}

/// The rest of the line, which belongs to what is before it, and the lines after it.
fn split(gap: &str) -> (&str, &str) {
    gap.split_at(gap.find('\n').unwrap_or(gap.len()))
}

/// Without a comma behind the last entry, what is before the closing bracket belongs to that entry. Makes it belong to
/// the bracket, and comments before other commas to what comes after; whether there was a comma.
fn loosen(array: &mut Array) -> bool {
    let comma = array.trailing_comma() || array.is_empty();
    let last = array.len().saturating_sub(1);
    for at in 0..array.len() {
        let closes = at == last && !comma;
        let Some(decor) = array.get_mut(at).map(Value::decor_mut) else { continue };
        let suffix = decor.suffix().and_then(|suffix| suffix.as_str()).unwrap_or_default().to_owned();
        if closes || suffix.contains('\n') {
            decor.set_suffix("");
            let gap = if closes { suffix } else { suffix + &gap(array, at + 1) };
            set_gap(array, at + 1, &gap);
        }
    }
    comma
}

/// Undoes [`loosen`], as far as there are entries.
fn tighten(array: &mut Array, comma: bool) {
    let trailing = gap(array, array.len());
    let last = array.len().checked_sub(1);
    // A comment needs the comma before it, not on the next line.
    let comma = comma && trailing.contains('\n');
    array.set_trailing_comma(comma && last.is_some());
    if let Some(value) = last.filter(|_| !comma).and_then(|last| array.get_mut(last)) {
        value.decor_mut().set_suffix(trailing);
        array.set_trailing("");
    }
}

fn spread_entry(array: &mut Array, at: usize, text: &str) -> Value {
    let following = gap(array, at);
    let lines = (0..array.len()).map(|at| gap(array, at));
    let indent = lines.filter_map(|gap| gap.rsplit_once('\n').map(|(_, indent)| indent.to_owned())).next();
    let indent = indent.unwrap_or_else(|| "    ".to_owned());
    let closes = at == array.len();
    let alone = at.checked_sub(1).is_none_or(|before| gap(array, before).contains('\n'));
    let prefix = if following.contains('\n') {
        let (head, tail) = split(&following);
        // What shares its line with others is followed by more on that line, unless a comment ends it.
        let joins = closes && !alone && head.trim().is_empty();
        let prefix = if joins { " ".to_owned() } else { format!("{head}\n{indent}") };
        set_gap(array, at, tail);
        prefix
    } else if closes && alone {
        format!("\n{indent}")
    } else if at == 0 {
        set_gap(array, 0, " ");
        following
    } else {
        " ".to_owned()
    };
    Value::from(text).decorated(prefix, "")
}

fn inline_entry(array: &mut Array, at: usize, text: &str) -> Value {
    if at > 0 {
        return Value::from(text).decorated(" ", "");
    }
    let prefix = if array.is_empty() { String::new() } else { gap(array, 0) };
    if array.is_empty() {
        array.set_trailing("");
    } else {
        set_gap(array, 0, " ");
    }
    Value::from(text).decorated(prefix, "")
}

/// Spreads a list over several lines if it has grown too long for one.
fn fit(array: &mut Array, before: usize) {
    let text = array.to_string();
    if is_spread(array) || text.contains('\n') || before + text.trim().chars().count() <= COLUMNS {
        return;
    }
    for value in array.iter_mut() {
        value.decor_mut().set_prefix("\n    ");
        value.decor_mut().set_suffix("");
    }
    array.set_trailing("\n");
    array.set_trailing_comma(true);
}
