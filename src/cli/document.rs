//! A small document of texts, lists and tables in a fixed order, written as YAML 1.2 or as JSON. Every text is
//! quoted, so nothing in it can be read as anything but text. What it says is its maker's business.

use serde::ser::{Serialize, SerializeMap, Serializer};

/// A value of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Text(String),
    List(Vec<Node>),
    /// Keys in the order in which they are written, each once.
    Table(Vec<(String, Node)>),
}

impl Node {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The document in YAML's block style, two spaces a level, each line ended by LF.
    pub fn yaml(&self) -> String {
        let mut out = String::new();
        self.write(0, &mut out);
        out
    }

    /// Writes the lines of a value, each indented.
    fn write(&self, depth: usize, out: &mut String) {
        let indent = "  ".repeat(depth);
        match self {
            Self::Table(pairs) if !pairs.is_empty() => {
                for (key, value) in pairs {
                    let (key, inline) = (key_text(key), value.inline());
                    if inline.is_empty() {
                        out.push_str(&format!("{indent}{key}:\n"));
                        value.write(depth + 1, out);
                    } else {
                        out.push_str(&format!("{indent}{key}: {inline}\n"));
                    }
                }
            }
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    // What an item holds is a level deeper, but for its first line, which the dash begins.
                    let mut lines = String::new();
                    item.write(depth + 1, &mut lines);
                    let first = lines.trim_start_matches(' ');
                    out.push_str(&format!("{indent}- {first}"));
                }
            }
            _ => out.push_str(&format!("{indent}{}\n", self.inline())),
        }
    }

    /// A text, an empty list or an empty table; nothing for others.
    fn inline(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::List(items) if items.is_empty() => "[]".to_owned(),
            Self::Table(pairs) if pairs.is_empty() => "{}".to_owned(),
            _ => String::new(),
        }
    }
}

/// A key that is a word of letters stands as it is, unless YAML 1.1, which many readers still speak, takes it for
/// something else.
fn key_text(key: &str) -> String {
    let is_word = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let meant_otherwise = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&key);
    if is_word && !meant_otherwise { key.to_owned() } else { quoted(key) }
}

/// A double-quoted scalar (YAML 1.2, 7.3.1): what is not printable (5.1), and what some readers take for the end of
/// a line, is escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Table(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn yaml_keeps_order_and_quotes_all_texts() {
        let list = Node::List(vec![Node::text("1"), Node::Table(vec![("a".into(), Node::text("no"))])]);
        let document = Node::Table(vec![
            ("services".into(), Node::Table(vec![("no".into(), list), ("b 1".into(), Node::List(vec![]))])),
            ("empty".into(), Node::Table(vec![])),
        ]);
        insta::assert_snapshot!(document.yaml(), @r#"
        services:
          "no":
            - "1"
            - a: "no"
          "b 1": []
        empty: {}
        "#);
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(json, r#"{"services":{"no":["1",{"a":"no"}],"b 1":[]},"empty":{}}"#);
    }

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        let text = "a\"\\\n\t\r\0\u{1b}\u{7f}\u{85}\u{2028}\u{feff}ä😀: # - {";
        let expected = r#""a\"\\\n\t\u000d\u0000\u001b\u007f\u0085\u2028\ufeffä😀: # - {""#;
        assert_eq!(Node::text(text).yaml(), format!("{expected}\n"));
        // What is written is JSON as well.
        assert_eq!(serde_json::from_str::<String>(expected).unwrap(), text);
    }
}
