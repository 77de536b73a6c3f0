use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{Edit, Effect};
use crate::workspace::asked::{Asked, Ecosystem};

fn asked(text: &str) -> Asked {
    let (ecosystem, rest) = Ecosystem::split(text).unwrap();
    Asked::parse(ecosystem.unwrap_or(Ecosystem::Debian), rest).unwrap()
}

fn edit(text: &str) -> Edit {
    Edit::new(Path::new("envs/a.toml"), text).unwrap()
}

fn add(text: &str, words: &[&str]) -> String {
    let mut edit = edit(text);
    for word in words {
        edit.add(&asked(word)).unwrap();
    }
    edit.text()
}

fn remove(text: &str, words: &[&str]) -> String {
    let mut edit = edit(text);
    for word in words {
        assert_eq!(edit.remove(&asked(word)).unwrap().len(), 1, "{word}");
    }
    edit.text()
}

#[test]
fn a_list_on_one_line_stays_on_it() {
    let text = "[debian]\nsuite = \"trixie\"\npackages = [\"curl\", \"zsh\"] # all\nexclude = []\n";
    assert_eq!(add(text, &["git"]), text.replace("\"zsh\"", "\"git\", \"zsh\""));
    assert_eq!(add(text, &["apt"]), text.replace("\"curl\"", "\"apt\", \"curl\""));
    assert_eq!(add(text, &["zstd"]), text.replace("\"zsh\"", "\"zsh\", \"zstd\""));
    assert_eq!(remove(text, &["curl"]), text.replace("\"curl\", ", ""));
    assert_eq!(remove(text, &["zsh"]), text.replace(", \"zsh\"", ""));
    assert_eq!(remove(text, &["zsh", "curl"]), text.replace("\"curl\", \"zsh\"", ""));
    let spaced = "debian = { packages = [ \"a\", \"c\" ] }\n";
    assert_eq!(add(spaced, &["b"]), spaced.replace("\"c\"", "\"b\", \"c\""));
    assert_eq!(add(spaced, &["d"]), spaced.replace("\"c\"", "\"c\", \"d\""));
    assert_eq!(add("debian.packages = []\n", &["d"]), "debian.packages = [\"d\"]\n");
}

#[test]
fn a_list_that_is_not_sorted_grows_at_its_end() {
    let text = "[debian]\npackages = [\"b\", \"a\"]\n";
    assert_eq!(add(text, &["aa"]), text.replace("\"a\"", "\"a\", \"aa\""));
    // Sorted by names alone, or without regard to case.
    let text = "[python]\npackages = [\"celery\", \"Django>=5\", \"django-cors\", \"flask\"]\n";
    assert_eq!(
        add(text, &["pypi:requests", "pypi:Eve"]),
        text.replace("\"flask\"", "\"Eve\", \"flask\", \"requests\"")
    );
}

#[test]
fn a_list_that_gets_too_long_is_spread() {
    let text = "[debian]\npackages = [\"libxmlsec1-openssl\", \"postgresql-client\", \"python3-cryptography\"]\n";
    assert_snapshot!(add(text, &["ca-certificates", "redis"]), @r#"
    [debian]
    packages = [
        "ca-certificates",
        "libxmlsec1-openssl",
        "postgresql-client",
        "python3-cryptography",
        "redis",
    ]
    "#);
}

const SPREAD: &str = r#"# What it needs.
[debian]
packages = [ # sorted
    "apt", # first
    # The client alone:
    "curl",

    "zsh", # last
]
# The end.
"#;

#[test]
fn a_list_on_several_lines_keeps_its_comments() {
    assert_snapshot!(add(SPREAD, &["bash", "zstd", "acl"]), @r#"
    # What it needs.
    [debian]
    packages = [ # sorted
        "acl",
        "apt", # first
        "bash",
        # The client alone:
        "curl",

        "zsh", # last
        "zstd",
    ]
    # The end.
    "#);
    assert_snapshot!(remove(SPREAD, &["apt", "curl"]), @r#"
    # What it needs.
    [debian]
    packages = [ # sorted
        # The client alone:

        "zsh", # last
    ]
    # The end.
    "#);
    assert_snapshot!(remove(SPREAD, &["zsh"]), @r#"
    # What it needs.
    [debian]
    packages = [ # sorted
        "apt", # first
        # The client alone:
        "curl",

    ]
    # The end.
    "#);
    assert_snapshot!(remove(SPREAD, &["zsh", "apt", "curl"]), @"
    # What it needs.
    [debian]
    packages = [ # sorted
        # The client alone:

    ]
    # The end.
    ");
}

#[test]
fn other_ways_to_write_lists_are_kept() {
    let bare = "debian.packages = [\n  \"a\",\n  \"c\" # why\n]\n";
    assert_eq!(add(bare, &["d"]), "debian.packages = [\n  \"a\",\n  \"c\", # why\n  \"d\"\n]\n");
    assert_eq!(add(bare, &["b"]), "debian.packages = [\n  \"a\",\n  \"b\",\n  \"c\" # why\n]\n");
    assert_eq!(remove(bare, &["c"]), "debian.packages = [\n  \"a\"\n]\n");
    let pairs = "debian.packages = [\n\t\"a\", \"b\",\n\t\"d\", \"e\",\n]\n";
    assert_eq!(add(pairs, &["f"]), pairs.replace("\"e\"", "\"e\", \"f\""));
    assert_eq!(remove(pairs, &["a"]), pairs.replace("\"a\", ", ""));
    assert_eq!(remove(pairs, &["e"]), pairs.replace(", \"e\"", ""));
    let hugging = "debian.packages = [\"a\",\n  \"c\"]\n";
    assert_eq!(add(hugging, &["d"]), "debian.packages = [\"a\",\n  \"c\",\n  \"d\"]\n");
    let windows = "[debian]\r\npackages = [\r\n  \"a\",\r\n]\r\n";
    assert_eq!(add(windows, &["b"]), windows.replace("\"a\",\r\n", "\"a\",\r\n  \"b\",\r\n"));
    assert_eq!(add("\u{feff}[debian]\n", &["b"]), "\u{feff}[debian]\npackages = [\"b\"]\n");
}

#[test]
fn tables_come_where_they_are_looked_for() {
    let text = "extends = [\"_base\"]\n\n# Who runs it.\n[users.app]\nuid = 1\n\n[image]\nuser = \"app\"\n";
    assert_snapshot!(add(text, &["npm:bootstrap@5", "pypi:flask>=3", "curl"]), @r#"
    extends = ["_base"]

    [debian]
    packages = ["curl"]

    [python]
    packages = ["flask>=3"]

    [npm]
    dependencies = { bootstrap = "5" }

    # Who runs it.
    [users.app]
    uid = 1

    [image]
    user = "app"
    "#);
    let text = "[debian]\nsuite = \"trixie\"\n\n[[debian.source]]\norigin = \"vendor\"\n\n# Last.\n[image]\n";
    assert_snapshot!(add(text, &["pypi:flask", "curl"]), @r#"
    [debian]
    suite = "trixie"
    packages = ["curl"]

    [[debian.source]]
    origin = "vendor"

    [python]
    packages = ["flask"]

    # Last.
    [image]
    "#);
    assert_snapshot!(add("", &["pypi:flask"]), @r#"
    [python]
    packages = ["flask"]
    "#);
    assert_snapshot!(add("[[debian.source]]\norigin = \"vendor\"\n", &["curl"]), @r#"
    [debian]
    packages = ["curl"]
    [[debian.source]]
    origin = "vendor"
    "#);
}

#[test]
fn npm_packages_are_pairs() {
    let text = "[npm]\nprefix = \"/srv\"\ndependencies = { a = \"1\", c = \"^2\" } # two\n";
    assert_eq!(add(text, &["npm:b@~3"]), text.replace("c =", "b = \"~3\", c ="));
    assert_eq!(add(text, &["npm:a@2"]), text.replace("\"1\"", "\"2\""));
    assert_eq!(remove(text, &["npm:a"]), text.replace("a = \"1\", ", ""));
    assert_eq!(remove(text, &["npm:c"]), text.replace(", c = \"^2\"", ""));
    let table =
        "[npm]\nprefix = \"/srv\"\n[npm.dependencies]\n# The first.\n\"@a/b\" = \"1\"   # one\nz = \"1\"\n\n[image]\n";
    assert_snapshot!(add(table, &["npm:@a/b@2", "npm:c@1"]), @r#"
    [npm]
    prefix = "/srv"
    [npm.dependencies]
    # The first.
    "@a/b" = "2"   # one
    c = "1"
    z = "1"

    [image]
    "#);
    assert_eq!(remove(table, &["npm:z"]), table.replace("z = \"1\"\n", ""));
    let long =
        format!("[npm]\ndependencies = {{ a = \"1\", {} = \"1\" }}\nprefix = \"/srv\"\n\n[image]\n", "b".repeat(70));
    let spread = add(&long, &["npm:c@1"]);
    let rows = format!(
        "[npm]\nprefix = \"/srv\"\n\n[npm.dependencies]\na = \"1\"\n{} = \"1\"\nc = \"1\"\n\n[image]\n",
        "b".repeat(70)
    );
    assert_eq!(spread, rows);
}

#[test]
fn what_is_there_is_changed_or_left() {
    let mut edit = edit("[debian]\npackages = [\"curl=8*\", 'a | b'] # x\n[python]\npackages = [\"Flask>=3\"]\n");
    assert_eq!(edit.add(&asked("curl")).unwrap(), Effect::Same { text: "curl=8*".into() });
    assert_eq!(edit.add(&asked("a|b")).unwrap(), Effect::Same { text: "a | b".into() });
    assert_eq!(
        edit.add(&asked("curl=9*")).unwrap(),
        Effect::Changed { before: "curl=8*".into(), after: "curl=9*".into() }
    );
    assert_eq!(
        edit.add(&asked("pypi:flask[async]<4")).unwrap(),
        Effect::Changed { before: "Flask>=3".into(), after: "Flask[async]<4".into() }
    );
    assert_snapshot!(edit.text(), @r#"
    [debian]
    packages = ["curl=9*", 'a | b'] # x
    [python]
    packages = ["Flask[async]<4"]
    "#);
    assert_eq!(edit.remove(&asked("curl=8*")).unwrap(), []);
    assert_eq!(edit.remove(&asked("curl=9*")).unwrap().len(), 1);
    let twice = "[python]\npackages = [\"a<2 ; python_version < '3'\", \"a>=2 ; python_version >= '3'\"]\n";
    let error = Edit::new(Path::new("x"), twice).unwrap().add(&asked("pypi:a==3")).unwrap_err();
    assert!(error.message().contains("several times"), "{error}");
}

#[test]
fn what_is_no_definition_is_refused() {
    // A table that says nothing any more goes, too, unless someone has said something about it.
    let text = "[debian]\n\n[python]\npackages = [\"a\"]\n";
    assert_eq!(remove(text, &["pypi:a"]), "[debian]\n");
    let text = "[debian]\n\n# Mine.\n[python]\npackages = [\"a\"]\n";
    assert_eq!(remove(text, &["pypi:a"]), text.replace("\"a\"", ""));
    let error = Edit::new(Path::new("envs/a.toml"), "[debian\n").unwrap_err();
    assert!(error.message().starts_with("envs/a.toml:1:8: "), "{error}");
    for text in ["debian = 1\n", "[debian]\npackages = \"a\"\n", "[[debian]]\n"] {
        assert!(edit(text).add(&asked("curl")).is_err(), "{text}");
        assert!(edit(text).remove(&asked("curl")).unwrap().is_empty(), "{text}");
    }
    // A list where pairs belong, and the other way round.
    assert!(edit("[npm]\ndependencies = [\"a\"]\n").add(&asked("npm:b@1")).is_err());
    assert!(edit("[python]\npackages = { a = \"1\" }\n").add(&asked("pypi:b")).is_err());
}

/// A list as people may write it: what stands before and behind each entry, and at its end.
fn lists() -> impl Strategy<Value = String> {
    let gap = prop_oneof![
        Just(""),
        Just(" "),
        Just("\n"),
        Just("\n  "),
        Just("\n\n\t"),
        Just(" # c\n    "),
        Just("\n # \"x\", [\n ")
    ];
    let behind = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n"), 1 => Just(" # c\n")];
    let entry = (gap.clone(), "[a-f]{1,3}", behind);
    (prop::collection::vec(entry, 0..6), any::<bool>(), gap).prop_map(|(entries, comma, end)| {
        let entries: Vec<String> =
            entries.into_iter().map(|(gap, name, behind)| format!("{gap}\"{name}\"{behind}")).collect();
        let comma = if comma && !entries.is_empty() { "," } else { "" };
        format!("# top\n[debian]\npackages = [{}{comma}{end}] # end\nsuite = \"trixie\"\n", entries.join(","))
    })
}

proptest! {
    #[test]
    fn adding_and_removing_leaves_the_rest_as_it_was(text in lists(), name in "[a-f]{1,3}") {
        let names = |edit: &Edit| edit.asked(Ecosystem::Debian).into_iter().map(|asked| asked.name).collect::<Vec<_>>();
        let mut changed = edit(&text);
        let before = names(&changed);
        prop_assert_eq!(changed.text(), text.clone());
        let new = asked(&name);
        // Asked for twice: to be told, not to be changed.
        let times = before.iter().filter(|known| **known == name).count();
        prop_assume!(times <= 1);
        let effect = changed.add(&new).unwrap();
        prop_assert_eq!(effect == Effect::Added, times == 0);
        let mut added = edit(&changed.text());
        let mut after = names(&added);
        prop_assert!(!before.is_sorted() || after.is_sorted());
        prop_assert!(changed.text().starts_with("# top\n[debian]\npackages = ["), "{}", changed.text());
        prop_assert!(changed.text().ends_with("] # end\nsuite = \"trixie\"\n"), "{}", changed.text());
        let comments = text.matches('#').count();
        prop_assert_eq!(changed.text().matches('#').count(), comments, "a comment was lost:\n{}", changed.text());
        after.retain(|known| *known != name);
        prop_assert_eq!(added.remove(&new).unwrap().len(), 1);
        let removed = edit(&added.text());
        prop_assert_eq!(names(&removed), after);
    }
}
