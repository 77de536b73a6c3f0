//! `--format github`: annotations and the summary of a step.

use crate::support::context::{TestContext, package};

#[test]
fn errors_stand_at_their_place_and_results_in_the_summary() {
    let mut context = TestContext::new(&[package("lib", "1.2")]);
    let summary = context.folder().join("summary.md");
    context.set("GITHUB_STEP_SUMMARY", summary.display().to_string());
    context.define("api", &["lib"]);
    context.ok(&["lock", "--format", "github"]);
    let built = context.ok(&["build", "--format", "github"]);
    assert!(built.stdout.starts_with("api linux/") && !built.stderr.contains("::"), "{}", built.shown);
    let digest = built.stdout.split_whitespace().last().unwrap().to_owned();
    let text = std::fs::read_to_string(&summary).unwrap();
    assert!(
        text.contains("### kiln build\n\n| environment |") && text.contains(&format!("`{digest}` | baked |")),
        "{text}"
    );
    // Other formats leave the summary alone.
    context.ok(&["build"]);
    assert_eq!(std::fs::read_to_string(&summary).unwrap(), text);

    context.write("envs/api.toml", "[debian]\nsiute = \"x\"\n");
    let wrong = context.kiln(&["lock", "--check", "--format", "github"]);
    let first = wrong.stderr.lines().next().unwrap();
    assert!(first.starts_with("::error file=envs/api.toml,line=2,col=1,title=kiln::"), "{}", wrong.shown);
    assert_eq!(wrong.stderr.matches("::error").count(), 1, "{}", wrong.shown);
    assert!(wrong.stderr.contains("\nerror: envs/api.toml:2:1:"), "{}", wrong.shown);

    context.define("api", &["lib", "more"]);
    let stale = context.kiln(&["lock", "--check", "--format", "github"]);
    assert_eq!(stale.code, Some(1));
    let first = stale.stderr.lines().next().unwrap();
    assert!(first.starts_with("::error title=kiln::") && first.contains("requirement-added"), "{}", stale.shown);
}
