//! Names for the volumes of images: the same for the same environment and path, and no two alike.

/// A path of an image as a single name of letters, digits, `-` and `_`: `/var/lib/redis` is `var-lib-redis`. A slash
/// is `-`, and every other byte that is neither a letter nor a digit is `_` and two hexadecimal digits.
pub fn name(path: &str) -> String {
    let mut name = String::new();
    for byte in path.trim_matches('/').bytes() {
        match byte {
            b'/' => name.push('-'),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            byte => name.push_str(&format!("_{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::name;

    #[test]
    fn no_two_paths_have_one_name() {
        assert_eq!(name("/var/lib/redis"), "var-lib-redis");
        assert_eq!(name("/srv/../x"), "srv-_2e_2e-x");
        let paths = ["/a/b", "/a-b", "/a_b", "/a_2db", "/a.b", "/a//b", "/ä", "/A/b"];
        let names: BTreeSet<String> = paths.iter().map(|path| name(path)).collect();
        assert_eq!(names.len(), paths.len(), "{names:?}");
    }
}
