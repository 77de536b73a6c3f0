//! Relations between packages: `Depends`, `Conflicts`, `Provides` and their like (Debian Policy 7.1).
//!
//! Zero-copy: what comes out borrows from the field. Knows neither packages nor what satisfies what.

use std::cmp::Ordering;

use super::version;

/// How a version is restricted (Debian Policy 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the obsolete `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the obsolete `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    /// Whether `version` stands in this relation to `wanted`.
    pub fn holds(self, version: &str, wanted: &str) -> bool {
        let order = version::compare(version, wanted);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::EarlierOrEqual => order != Ordering::Greater,
            Self::Equal => order == Ordering::Equal,
            Self::LaterOrEqual => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }

    /// As it is written today.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

/// One relation, an alternative of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The name with its qualifier (`python3:any`), if it has one.
    pub name: &'a str,
    /// The restriction on the version.
    pub version: Option<(Operator, &'a str)>,
    /// Whether an alternative follows: the relation ended with `|`.
    pub or: bool,
}

/// The relations in a field, in order. A malformed one ends the iteration with an error that quotes it.
#[derive(Clone, Debug)]
pub struct Relations<'a> {
    rest: &'a str,
    or: bool,
}

/// Reads a field: relations separated by commas and bars.
pub fn parse(field: &str) -> Relations<'_> {
    Relations { rest: field, or: false }
}

impl<'a> Iterator for Relations<'a> {
    type Item = Result<Relation<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        // Empty items (`a, , b` and a comma at the end) say nothing.
        while let Some(rest) = self.rest.trim_ascii_start().strip_prefix(',') {
            self.rest = rest;
        }
        self.rest = self.rest.trim_ascii_start();
        if self.rest.is_empty() {
            return self.or.then(|| {
                self.or = false;
                Err("nothing follows the last `|`".to_owned())
            });
        }
        let before = self.rest;
        match one(before) {
            Some((relation, rest)) => {
                self.rest = rest;
                self.or = relation.or;
                Some(Ok(relation))
            }
            None => {
                self.rest = "";
                self.or = false;
                let item = before.split(',').next().unwrap_or_default();
                Some(Err(format!("`{}` is not a relation to a package", item.escape_debug())))
            }
        }
    }
}

/// Reads one relation and the separator after it.
fn one(text: &str) -> Option<(Relation<'_>, &str)> {
    let end = text
        .bytes()
        .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'(' | b',' | b'|' | b'[' | b'<' | b')'))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    rest = rest.trim_ascii_start();
    let mut version = None;
    if let Some(inside) = rest.strip_prefix('(') {
        let (restriction, after) = inside.split_once(')')?;
        version = Some(restriction_of(restriction.trim_ascii())?);
        rest = after.trim_ascii_start();
    }
    // Architectures and build profiles have no meaning in a binary package's fields: tolerated.
    for (open, close) in [('[', ']'), ('<', '>')] {
        while let Some(inside) = rest.strip_prefix(open) {
            rest = inside.split_once(close)?.1.trim_ascii_start();
        }
    }
    match rest.as_bytes().first() {
        None => Some((Relation { name, version, or: false }, rest)),
        Some(b',') => Some((Relation { name, version, or: false }, &rest[1..])),
        Some(b'|') => Some((Relation { name, version, or: true }, &rest[1..])),
        Some(_) => None,
    }
}

fn restriction_of(text: &str) -> Option<(Operator, &str)> {
    let operators = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierOrEqual),
        (">=", Operator::LaterOrEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
        ("<", Operator::EarlierOrEqual),
        (">", Operator::LaterOrEqual),
    ];
    let (prefix, operator) = operators.into_iter().find(|(prefix, _)| text.starts_with(prefix))?;
    let version = text[prefix.len()..].trim_ascii();
    let sane = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_graphic());
    sane.then_some((operator, version))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(field: &str) -> Result<Vec<String>, String> {
        parse(field)
            .map(|relation| {
                let relation = relation?;
                let version = relation.version.map(|(op, version)| format!(" {} {version}", op.as_str()));
                Ok(format!("{}{}{}", relation.name, version.unwrap_or_default(), if relation.or { " |" } else { "" }))
            })
            .collect()
    }

    #[test]
    fn every_form() {
        assert_eq!(
            read("a, b (>= 1) | c(<<2:3-4)|d , python3:any (>=3.11~), e [amd64] <!nocheck>, f (= 1) [i386],").unwrap(),
            ["a", "b >= 1 |", "c << 2:3-4 |", "d", "python3:any >= 3.11~", "e", "f = 1"]
        );
        assert_eq!(read("a (< 1), b (> 2),\n c (<= 3), d (>> 4)").unwrap(), ["a <= 1", "b >= 2", "c <= 3", "d >> 4"]);
        assert_eq!(read("  ").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn malformed() {
        for field in ["a (1)", "a (>= 1", "a b", "(>= 1)", "a |", "a (>=)", "a [amd64", "| a", "é"] {
            assert!(read(field).is_err(), "{field}");
        }
    }

    #[test]
    fn operators() {
        assert!(Operator::LaterOrEqual.holds("1.0", "1.0") && !Operator::Later.holds("1.0", "1.0"));
        assert!(Operator::Earlier.holds("1.0~", "1.0") && Operator::Equal.holds("0:1", "1"));
    }

    proptest! {
        #[test]
        fn never_panics(field in ".{0,60}") {
            let _ = read(&field);
        }

        #[test]
        fn near_misses_never_panic(field in "[a-c |,()<>=\\[\\]:1]{0,40}") {
            let _ = read(&field);
        }
    }
}
