use std::fs;

use super::super::Workspace;
use super::load;
use crate::error::{Error, Result};
use crate::workspace::{Base, Settings, Step};

fn workspace(files: &[(&str, &str)]) -> (tempfile::TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("envs")).unwrap();
    fs::write(folder.path().join("kiln.toml"), "").unwrap();
    for (name, text) in files {
        fs::write(folder.path().join("envs").join(name), text).unwrap();
    }
    let workspace = Workspace::find(&folder.path().join("envs")).unwrap();
    (folder, workspace)
}

fn one(text: &str) -> Result<Settings> {
    let (_folder, workspace) = workspace(&[("api.toml", text)]);
    load(&workspace, "api")
}

fn shown(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some(detail) = error.details() {
        text = format!("{text}\n{detail}");
    }
    for hint in error.hints() {
        text = format!("{text}\nhint: {hint}");
    }
    text
}

#[test]
fn a_suite_brings_its_updates_and_security_and_slim_exclusions() {
    let settings = one("[debian]\nsuite = \"trixie\"\npackages = [\"b\", \"a\"]\n").unwrap();
    let suites: Vec<_> =
        settings.debian.suites.iter().map(|suite| (suite.origin.as_str(), suite.name.as_str())).collect();
    assert_eq!(suites, [("debian", "trixie"), ("debian", "trixie-updates"), ("debian-security", "trixie-security")]);
    assert_eq!(settings.debian.packages, ["a", "b"]);
    assert_eq!(settings.debian.exclude, ["docs", "locales", "man"]);
    assert_eq!(settings.debian.base, Base::Essential);
}

#[test]
fn definitions_extend_one_another_in_order() {
    let (_folder, workspace) = workspace(&[
        (
            "_base.toml",
            "platforms = [\"linux/arm64\", \"linux/amd64\"]\n[debian]\nsuite = \"trixie\"\npackages = [\"curl\"]\n[image]\ncommand = [\"x\"]\nenv = { A = \"1\", B = \"1\" }\n",
        ),
        (
            "api.toml",
            "extends = [\"_base\"]\n[debian]\npackages = [\"redis\"]\n[image]\nentrypoint = [\"y\"]\nenv = { B = \"2\" }\n",
        ),
    ]);
    let settings = load(&workspace, "api").unwrap();
    assert_eq!(settings.debian.packages, ["curl", "redis"]);
    assert_eq!(settings.platforms.len(), 2);
    assert_eq!(settings.image.entrypoint, ["y"]);
    assert!(settings.image.command.is_empty(), "the command belonged to another program");
    assert_eq!(settings.image.env["B"], "2");
    assert_eq!(workspace.environments().unwrap(), ["api"], "`_base` is only there to be extended");
}

#[test]
fn a_circle_is_refused() {
    let (_folder, workspace) = workspace(&[("a.toml", "extends = [\"b\"]"), ("b.toml", "extends = [\"a\"]")]);
    let error = load(&workspace, "a").unwrap_err();
    assert!(error.to_string().contains("a -> b -> a"), "{error}");
}

#[test]
fn complaints_point_at_the_text() {
    let error = one("[debian]\nsuite = \"trixie\"\npackges = [\"a\"]\n").unwrap_err();
    insta::assert_snapshot!(shown(&error), @r#"
    envs/api.toml:3:1: unknown key `packges`
      |
    3 | packges = ["a"]
      | ^^^^^^^
    hint: did you mean `packages`?
    "#);
    let error = one("platforms = [\"linux/amd46\"]\n").unwrap_err();
    insta::assert_snapshot!(shown(&error), @r#"
    envs/api.toml:1:14: `linux/amd46` is not a platform that kiln knows
      |
    1 | platforms = ["linux/amd46"]
      |              ^^^^^^^^^^^^^
    hint: there are: linux/amd64, linux/arm64
    "#);
    let error = one("[debian]\nsuite = \"trixie\"\nexclude = [\"mans\"]\n").unwrap_err();
    assert!(shown(&error).contains("did you mean `man`?"));
    let error = one("[python]\npackages = [\" \"]\n").unwrap_err();
    assert!(shown(&error).contains("envs/api.toml:2:13: a requirement names a package"), "{error}");
    assert!(
        one("[debian]\nsuite = \"trixie\"\nbase = \"none\"\nbase = \"none\"")
            .unwrap_err()
            .to_string()
            .contains("duplicate key")
    );
}

#[test]
fn a_misspelt_environment_is_named_with_the_nearest() {
    let (_folder, workspace) = workspace(&[("queue.toml", "")]);
    let error = workspace.select(&["queu".to_owned()]).unwrap_err();
    assert_eq!(error.hints(), ["did you mean `queue`?"]);
}

#[test]
fn steps_keep_the_order_of_the_file() {
    let text = "[debian]\nsuite = \"trixie\"\n\
                [[run]]\nscript = \"a\"\n[[copy]]\nfrom = \"x\"\nto = \"/x\"\n[[run]]\nscript = \"b\"\n\
                [[fetch]]\nurl = \"https://example.org/x.tar\"\n";
    let (_folder, workspace) = workspace(&[
        ("_base.toml", "[[run]]\nscript = \"first\"\n"),
        ("api.toml", &format!("extends = [\"_base\"]\n{text}")),
    ]);
    let settings = load(&workspace, "api").unwrap();
    let names: Vec<String> = settings
        .steps
        .iter()
        .map(|step| match step {
            Step::Run(run) => run.script.clone(),
            Step::Copy(copy) => copy.from.clone(),
            Step::Fetch(fetch) => fetch.name().to_owned(),
        })
        .collect();
    assert_eq!(names, ["first", "a", "x", "b", "x.tar"]);
}
