//! `kiln init --from`: definitions made of what other tools read.

use std::fs;

use insta::assert_snapshot;

use crate::support::context::TestContext;
use crate::support::schema::check_workspace;

#[test]
fn a_dockerfile_starts_a_workspace() {
    let context = TestContext::new(&[]);
    let dockerfile = "FROM debian:12\nRUN apt-get update && apt-get install -y redis-server\nRUN make\u{1b}[31m all\nCMD [\"redis-server\"]\n";
    context.write("new/api/Dockerfile", dockerfile);
    let run = context.kiln(&["init", "new", "--from", "new/api/Dockerfile"]);
    assert_snapshot!(run.shown, @"
    exit 0
    --- stderr
    Wrote envs/api.toml, made from new/api/Dockerfile
    Left to do, and listed at its end:
      line 3: RUN make�[31m all
          what needs no network can be a `[[run]]`; files from elsewhere are a `[[fetch]]`
    Next: `kiln lock api`, then `kiln build api`
    ");
    let text = fs::read_to_string(context.workspace().join("new/envs/api.toml")).unwrap();
    assert!(
        text.contains("packages = [\"redis-server\"]") && text.contains("#   3: RUN make\u{fffd}[31m all\n"),
        "{text}"
    );
    assert!(context.workspace().join("new/kiln.toml").is_file());
    assert_eq!(context.kiln(&["-C", "new", "lock", "--check"]).code, Some(1));
    // Nothing is written over.
    let again = context.kiln(&["init", "new", "--from", "new/api/Dockerfile"]);
    assert!(again.code == Some(2) && again.stderr.contains("envs/api.toml is there already"), "{}", again.shown);
}

#[test]
fn a_workspace_gets_one_more_environment() {
    let context = TestContext::new(&[]);
    context.write("services/web/requirements.txt", "flask>=3\ncelery[redis]\n");
    context.ok(&["init", "--from", "services/web/requirements.txt"]);
    let text = fs::read_to_string(context.workspace().join("envs/web.toml")).unwrap();
    assert!(text.contains("requirements = [\"services/web/requirements.txt\"]"), "{text}");
    context.write("services/web/package.json", "{\"dependencies\": {\"bootstrap\": \"^5\"}}");
    context.ok(&["init", "--from", "services/web/package.json", "--name", "site"]);
    assert!(
        fs::read_to_string(context.workspace().join("envs/site.toml"))
            .unwrap()
            .contains("dependencies.bootstrap = \"^5\"")
    );
    check_workspace(&context.workspace());
    context.write("Dockerfile.batch", "FROM debian:13\n");
    context.ok(&["init", "--from", "Dockerfile.batch"]);
    assert!(context.workspace().join("envs/batch.toml").is_file());
    for (arguments, expected) in [
        (&["init", "--from", "Makefile"][..], "finding [WORKSPACE]/Makefile"),
        (&["init", "--from", "kiln.toml"], "there are: Dockerfile, requirements.txt, package.json"),
        (&["init", "--from", "Dockerfile.batch", "--name", "../x"], "`../x` is no name of an environment"),
        (&["init", "--name", "x"], "--from <FILE>"),
    ] {
        let run = context.kiln(arguments);
        assert!(run.code == Some(2) && run.shown.contains(expected), "{}", run.shown);
    }
}
