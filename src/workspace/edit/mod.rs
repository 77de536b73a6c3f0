//! Changing what a definition asks for: TOML text in, TOML text out, and all that is not asked about stays as it was
//! written. Reads and writes no file, and does not know whether what is asked for exists.

mod list;

use std::path::Path;

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use super::asked::{Asked, Ecosystem};
use super::diagnostic;
use crate::error::{Error, Result};
use crate::tables;

/// A definition that is being changed.
#[derive(Clone, Debug)]
pub struct Edit {
    document: DocumentMut,
    /// What ends its lines, and what some editors write before all text.
    crlf: bool,
    mark: bool,
}

/// What an addition has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Added,
    /// It was asked for otherwise before.
    Changed {
        before: String,
        after: String,
    },
    /// It is asked for as this already.
    Same {
        text: String,
    },
}

impl Edit {
    /// Takes a definition's text. `shown` is what it is called in complaints.
    pub fn new(shown: &Path, text: &str) -> Result<Self> {
        let (mark, plain) = match text.strip_prefix('\u{feff}') {
            Some(plain) => (true, plain),
            None => (false, text),
        };
        tables::check_depth(plain).map_err(|deep| diagnostic::at(shown, plain, deep.span, &deep.message))?;
        let mut document = plain.parse::<DocumentMut>().map_err(|error| {
            let message = error.message().replace('\n', " ");
            diagnostic::at(shown, plain, error.span().unwrap_or(0..0), message.trim())
        })?;
        make_room(&mut document);
        Ok(Self { document, crlf: plain.contains("\r\n"), mark })
    }

    /// The definition's text.
    pub fn text(&self) -> String {
        let mut text = self.document.to_string();
        if self.crlf {
            text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        if self.mark { format!("\u{feff}{text}") } else { text }
    }

    /// What the definition itself asks of an ecosystem, in its order.
    pub fn asked(&self, ecosystem: Ecosystem) -> Vec<Asked> {
        let Some(item) = self.item(ecosystem) else { return Vec::new() };
        if let Some(array) = item.as_array() {
            return list::texts(array).iter().filter_map(|text| Asked::in_list(ecosystem, text)).collect();
        }
        let pairs = item.as_table_like().into_iter().flat_map(|table| table.iter());
        pairs
            .filter_map(|(name, range)| {
                Some(Asked { ecosystem, name: name.to_owned(), text: range.as_str()?.to_owned() })
            })
            .collect()
    }

    /// Asks for something, or for something else of what is asked for already.
    pub fn add(&mut self, asked: &Asked) -> Result<Effect> {
        let mut known = self.asked(asked.ecosystem).into_iter().filter(|known| known.name == asked.name);
        let (old, more) = (known.next(), known.next());
        let Some(old) = old else {
            self.write(asked, None)?;
            return Ok(Effect::Added);
        };
        if more.is_some() {
            return Err(Error::new(format!("`{}` is asked for several times, under different conditions", asked.name))
                .hint("change the one that is meant in the definition itself"));
        }
        let Some(new) = asked.over(&old) else { return Ok(Effect::Same { text: old.text }) };
        self.write(&new, Some(&old))?;
        Ok(Effect::Changed { before: old.text, after: new.text })
    }

    /// Asks for what is said, in place of what was asked for before: both are of the same package.
    pub fn set(&mut self, old: &Asked, new: &Asked) -> Result<()> {
        self.write(new, Some(old))
    }

    /// Asks no longer for a package, by its name or by the whole of what is asked; what was removed.
    pub fn remove(&mut self, asked: &Asked) -> Result<Vec<Asked>> {
        let means = |known: &Asked| known.name == asked.name && (asked.is_bare() || known.text == asked.text);
        let gone: Vec<Asked> = self.asked(asked.ecosystem).into_iter().filter(means).collect();
        if gone.is_empty() {
            return Ok(gone);
        }
        let (table, key) = keys(asked.ecosystem);
        let item = self.document.get_mut(table).and_then(|table| table.as_table_like_mut()?.get_mut(key));
        match item {
            Some(Item::Value(Value::Array(array))) => {
                let ecosystem = asked.ecosystem;
                for at in (0..array.len()).rev() {
                    let text = array.get(at).and_then(Value::as_str).unwrap_or_default();
                    if Asked::in_list(ecosystem, text).as_ref().is_some_and(means) {
                        list::remove(array, at);
                    }
                }
            }
            Some(Item::Value(Value::InlineTable(inline))) => {
                inline.remove(&asked.name);
                tidy(inline);
            }
            Some(Item::Table(table)) => {
                table.remove(&asked.name);
            }
            _ => {}
        }
        self.drop_empty(asked.ecosystem);
        Ok(gone)
    }

    /// Drops an ecosystem's table if it asks for nothing, says nothing else, and nobody has said anything about it:
    /// while it is there, languages need their interpreters. Debian's stays.
    fn drop_empty(&mut self, ecosystem: Ecosystem) {
        let (name, _) = keys(ecosystem);
        let empty = self.document.get(name).and_then(Item::as_table).is_some_and(|table| {
            let header = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
            table.len() == 1 && !header.contains('#') && !table.to_string().contains('#')
        });
        if empty && ecosystem != Ecosystem::Debian && self.asked(ecosystem).is_empty() {
            self.document.remove(name);
        }
    }

    fn item(&self, ecosystem: Ecosystem) -> Option<&Item> {
        let (table, key) = keys(ecosystem);
        self.document.get(table)?.as_table_like()?.get(key)
    }

    fn write(&mut self, new: &Asked, old: Option<&Asked>) -> Result<()> {
        let (name, key) = keys(new.ecosystem);
        self.make_table(name);
        let wrong = |what: &str| {
            Error::new(format!("`{what}` in the definition is not what it should be"))
                .hint("`packages` are a list, npm's `dependencies` a table: `kiln lock` says where it is otherwise")
        };
        let table = self.document.get_mut(name).and_then(Item::as_table_like_mut).ok_or_else(|| wrong(name))?;
        if !table.contains_key(key) {
            let empty = match new.ecosystem {
                Ecosystem::Npm => Value::InlineTable(InlineTable::new()),
                _ => Value::Array(Array::new()),
            };
            table.insert(key, Item::Value(empty));
        }
        let before = columns(table, key);
        let path = format!("{name}.{key}");
        let mut outgrown = false;
        let pairs = new.ecosystem == Ecosystem::Npm;
        match table.get_mut(key) {
            Some(Item::Value(Value::Array(array))) if !pairs => write_text(array, new, old, before),
            Some(Item::Value(Value::InlineTable(inline))) if pairs => {
                write_pair(inline, new);
                tidy(inline);
                outgrown = before + inline.to_string().trim().chars().count() > list::COLUMNS;
            }
            Some(Item::Table(table)) if pairs => write_pair(table, new),
            _ => return Err(wrong(&path)),
        }
        if outgrown {
            self.spread(name, key);
        }
        Ok(())
    }

    /// Makes sure that there is such a table, behind those that usually come before it.
    fn make_table(&mut self, name: &str) {
        if self.document.contains_key(name) {
            return;
        }
        let usual = Ecosystem::ALL.map(|ecosystem| keys(ecosystem).0);
        let rank = usual.iter().take_while(|other| **other != name).count();
        let position = usual[..rank].iter().filter_map(|other| last_position(self.document.get(other)?)).max();
        let mut table = Table::new();
        let first = self.document.is_empty() && self.document.trailing().as_str().unwrap_or_default().is_empty();
        table.decor_mut().set_prefix(if first { "" } else { "\n" });
        let position = position.unwrap_or(0).div_euclid(ROOM) * ROOM;
        table.set_position(Some(position + 1 + rank as isize));
        self.document.insert(name, Item::Table(table));
    }

    /// Writes an inline table as one with a line for each key.
    fn spread(&mut self, name: &str, key: &str) {
        let Some(Item::Table(parent)) = self.document.get_mut(name) else { return };
        if parent.is_dotted() {
            return;
        }
        let Some(Item::Value(Value::InlineTable(inline))) = parent.get(key) else { return };
        let mut table = inline.clone().into_table();
        table.fmt();
        table.decor_mut().set_prefix("\n");
        table.set_position(parent.position());
        parent.remove(key);
        parent.insert(key, Item::Table(table));
    }
}

/// Table headers are numbered in steps of so many, which leaves room for new ones between them.
const ROOM: isize = 8;

/// Numbers the headers of a table and of all below it in larger steps.
fn make_room(table: &mut Table) {
    table.set_position(table.position().map(|position| position * ROOM));
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => make_room(table),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(make_room),
            _ => {}
        }
    }
}

/// Where a definition says what it asks of an ecosystem.
fn keys(ecosystem: Ecosystem) -> (&'static str, &'static str) {
    match ecosystem {
        Ecosystem::Debian => ("debian", "packages"),
        Ecosystem::Pypi => ("python", "packages"),
        Ecosystem::Npm => ("npm", "dependencies"),
    }
}

/// How many columns stand before the value of `key`.
fn columns(table: &dyn TableLike, key: &str) -> usize {
    let indent = table.key(key).and_then(|key| key.leaf_decor().prefix()?.as_str().map(str::to_owned));
    let indent = indent.as_deref().unwrap_or_default().rsplit('\n').next().unwrap_or_default().chars().count();
    indent + key.chars().count() + " = ".len()
}

fn write_text(array: &mut Array, new: &Asked, old: Option<&Asked>, before: usize) {
    let texts = list::texts(array);
    let is_old = |text: &String| old.is_some() && Asked::in_list(new.ecosystem, text).as_ref() == old;
    match texts.iter().position(is_old) {
        Some(at) => list::replace(array, at, &new.text, before),
        None => {
            let keys: [fn(&str) -> String; 3] = [
                |text| text.to_owned(),
                |text| text.to_lowercase(),
                |text| {
                    text.split(['=', '<', '>', '!', '~', '[', ' ', ';', '/', '@']).next().unwrap_or("").to_lowercase()
                },
            ];
            let at = list::place(&texts, &new.text, &keys);
            list::insert(array, at, &new.text, before);
        }
    }
}

fn write_pair(table: &mut dyn TableLike, new: &Asked) {
    if let Some(Item::Value(value)) = table.get_mut(&new.name) {
        let mut text = Value::from(new.text.as_str());
        *text.decor_mut() = value.decor().clone();
        *value = text;
        return;
    }
    let sorted = table.iter().map(|(name, _)| name).is_sorted();
    table.insert(&new.name, toml_edit::value(new.text.as_str()));
    if sorted {
        table.sort_values();
    }
}

/// Spaces as usual in an inline table, unless someone has given it lines of its own.
fn tidy(inline: &mut InlineTable) {
    if !inline.to_string().contains('\n') {
        inline.fmt();
    }
}

/// The position of the last table header that belongs to `item`.
fn last_position(item: &Item) -> Option<isize> {
    match item {
        Item::Table(table) => table.iter().filter_map(|(_, item)| last_position(item)).chain(table.position()).max(),
        Item::ArrayOfTables(tables) => {
            tables.iter().filter_map(|table| last_position(&Item::Table(table.clone()))).max()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
