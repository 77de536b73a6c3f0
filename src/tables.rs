//! TOML from anywhere, read without trusting how deep it is.
//!
//! The library limits nesting by counting brackets as it goes, and miscounts where some of them are out of place: a
//! hundred kilobytes of such text let its calls nest until the stack is full. Depth is looked at here before.

use std::ops::Range;

use serde::de::{DeserializeOwned, Error as _};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// How deep lists and tables may be written within each other: as deep as the library reads them.
const DEEPEST: usize = 80;

/// Reads a document.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, toml::de::Error> {
    check_depth(text).map_err(|deep| toml::de::Error::custom(deep.message))?;
    toml::from_str(text)
}

/// Where a document is too deep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooDeep {
    /// The bytes of the bracket that is one too many.
    pub span: Range<usize>,
    pub message: String,
}

/// Says where, if more brackets are open at once than any document needs.
pub fn check_depth(text: &str) -> Result<(), TooDeep> {
    let mut open = Vec::new();
    for token in Source::new(text).lex() {
        match token.kind() {
            kind @ (TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket) => open.push(kind),
            TokenKind::RightSquareBracket => drop(open.pop_if(|last| *last == TokenKind::LeftSquareBracket)),
            TokenKind::RightCurlyBracket => drop(open.pop_if(|last| *last == TokenKind::LeftCurlyBracket)),
            _ => {}
        }
        if open.len() > DEEPEST {
            let message = format!("lists and tables are more than {DEEPEST} deep within each other, or not closed");
            return Err(TooDeep { span: token.span().start()..token.span().end(), message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<toml::Table, String> {
        from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_is_too_deep_is_refused_and_nothing_else() {
        assert!(read(&format!("a = {}{}", "[".repeat(DEEPEST), "]".repeat(DEEPEST))).is_ok());
        assert!(read(&"[[a]]\nb = [1, { c = \"[[[[\" }] # [[[\n".repeat(500)).is_ok());
        for deep in ["[", "{ b = ", "{ c { } ", "{ c=\"\n[i]\nh="] {
            let error = read(&format!("a = {}", deep.repeat(20_000))).unwrap_err();
            assert!(error.contains("more than 80 deep"), "{deep}: {error}");
        }
        assert!(read(&"[table\n".repeat(DEEPEST + 1)).is_err());
    }
}
