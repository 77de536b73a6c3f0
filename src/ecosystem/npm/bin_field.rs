//! Programs that a package has: its manifest's field `bin` (npm's documentation of package.json), cleaned up.

use std::collections::BTreeMap;

use serde_json::Value;

/// The programs in a manifest's `bin`, as npm cleans them up: names without folders, files that stay below the
/// package. A text is the one program of a package, with its name.
pub(super) fn normalize(package: &str, bin: &Value) -> BTreeMap<String, String> {
    let pairs: Vec<(String, &Value)> = match bin {
        Value::String(_) => vec![(package.to_owned(), bin)],
        Value::Array(files) => files.iter().filter_map(|file| Some((base(file.as_str()?).to_owned(), file))).collect(),
        Value::Object(map) => map.iter().map(|(name, file)| (name.clone(), file)).collect(),
        _ => Vec::new(),
    };
    let mut bins = BTreeMap::new();
    for (name, file) in pairs {
        let slashes = name.replace(['\\', ':'], "/");
        let name = base(slashes.trim_end_matches('/'));
        let Some(file) = file.as_str() else { continue };
        let file = inside(file);
        if !matches!(name, "" | "." | "..") && !name.contains('\0') && !file.is_empty() && !file.contains('\0') {
            bins.insert(name.to_owned(), file);
        }
    }
    bins
}

/// The last part of a path.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// A path below the package: `..` leads no further up than to it.
pub(super) fn inside(file: &str) -> String {
    let file = file.replace('\\', "/");
    let mut names: Vec<&str> = Vec::new();
    for name in file.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    names.join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_and_files_are_cleaned_up() {
        let bins = |value: Value| normalize("@scope/tool", &value).into_iter().collect::<Vec<_>>();
        let pair = |name: &str, file: &str| (name.to_owned(), file.to_owned());
        assert_eq!(bins(json!("./cli.js")), [pair("tool", "cli.js")]);
        assert_eq!(bins(json!(["bin/a", "bin/b"])), [pair("a", "bin/a"), pair("b", "bin/b")]);
        assert_eq!(
            bins(json!({"../../etc/x": "../../../etc/passwd", "a\\b": "c\\d", "y": 1})),
            [pair("b", "c/d"), pair("x", "etc/passwd")]
        );
        for nothing in [json!(null), json!(false), json!(""), json!({"..": "x"}), json!({"x": "/"}), json!({"": "x"})] {
            assert_eq!(bins(nothing.clone()), [], "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn no_program_leads_out_of_its_package(name in ".{0,20}", file in "[a./\\\\]{0,20}") {
            for (name, file) in normalize("a", &json!({name: file})) {
                prop_assert!(!name.contains('/') && name != ".." && !file.starts_with('/'));
                prop_assert!(file.split('/').all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
