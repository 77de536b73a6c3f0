//! Canonical JSON: the one way in which JSON that is hashed is written.
//!
//! Object keys sorted by their bytes, no white space, strings escaped as little as JSON allows, no
//! floating point numbers. The same value gives the same bytes on every machine and in every version
//! of a given [`crate::FORMAT`].

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// The canonical bytes of `value`.
///
/// Fails if `value` holds a floating point number or cannot be represented in JSON.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let value = serde_json::to_value(value)?;
    let mut out = Vec::new();
    write(&value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Number(number) if number.is_f64() => {
            return Err(Error::new(format!("{number} has no canonical form: only whole numbers have")));
        }
        Value::Number(number) => out.extend(number.to_string().bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(value, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push(b'{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(&map[key], out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            control if control < ' ' => out.extend(format!("\\u{:04x}", control as u32).bytes()),
            other => out.extend(other.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_nothing_is_escaped_needlessly() {
        let value = json!({"b": [1, -2, null], "a": {"é/<": "\u{1}\n\"\\"}, "A": true});
        assert_eq!(
            String::from_utf8(super::to_vec(&value).unwrap()).unwrap(),
            "{\"A\":true,\"a\":{\"é/<\":\"\\u0001\\n\\\"\\\\\"},\"b\":[1,-2,null]}"
        );
    }

    #[test]
    fn floating_point_numbers_are_refused() {
        assert!(super::to_vec(&json!({"a": 1.5})).is_err());
    }
}
