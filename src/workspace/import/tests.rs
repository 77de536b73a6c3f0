use std::fs;

use insta::assert_snapshot;
use proptest::prelude::*;

use super::{Imported, dockerfile, package_json, requirements};
use crate::workspace::{Settings, Workspace, load};

/// The definition's text, which must be one that kiln takes.
fn definition(imported: &Imported, folder: &str) -> (String, Settings) {
    let text = imported.definition("Dockerfile", folder);
    let root = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("kiln.toml", ""),
        ("requirements.txt", "flask\n"),
        ("package-lock.json", "{}"),
        ("api/requirements.txt", "flask\n"),
    ] {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        fs::write(root.path().join(path), content).unwrap();
    }
    let workspace = Workspace::find(root.path()).unwrap().with_draft("a", text.clone());
    let settings = load(&workspace, "a").unwrap_or_else(|error| panic!("{error}\n{text}"));
    (text, settings)
}

const FULL: &str = r#"# syntax=docker/dockerfile:1
ARG SUITE=bookworm
FROM golang:1.22 AS build
RUN go build ./...

FROM --platform=linux/amd64 debian:${SUITE}-slim AS final
ENV APP=/srv/app PORT=5000
ENV MODE production mode
RUN apt-get update && apt-get install -y --no-install-recommends \
        # what the service runs on
        python3 python3-pip \
        'ca-certificates' curl=7.88* \
    && rm -rf /var/lib/apt/lists/* && curl -sSL https://example.org/x | sh
RUN pip3 install --no-cache-dir -r requirements.txt "celery[redis]>=5" && useradd -u 1000 app
RUN npm install -g bootstrap@5 left-pad
WORKDIR $APP
COPY --chown=app:app --chmod=750 services/api ./
COPY a.txt b.txt /etc/app/
COPY . .
COPY *.py /x/
COPY --from=build /go/bin/x /usr/bin/x
ADD https://example.org/tool.tar.gz /opt/
ADD data.tar.gz /data
EXPOSE 5000 9000/UDP
VOLUME ["/data", "/logs"]
LABEL org.example.title="An app" org.example.x='y $z'
STOPSIGNAL SIGQUIT
USER app
HEALTHCHECK --interval=30s --timeout=3s --retries=3 CMD curl -f http://localhost:$PORT/
ENTRYPOINT ["python3", "-m", "flask"]
CMD ["run", "--port", "5000"]
ONBUILD RUN true
"#;

#[test]
fn a_dockerfile_becomes_a_definition() {
    let imported = dockerfile(FULL, &|path| path == "requirements.txt");
    assert_snapshot!(definition(&imported, "").0, @r#"
    # Made from Dockerfile by `kiln init --from`.

    [debian]
    suite = "bookworm"
    packages = ["ca-certificates", "curl=7.88*", "nodejs", "python3", "python3-pip"]

    [python]
    packages = ["celery[redis]>=5"]
    requirements = ["requirements.txt"]

    [npm]
    dependencies.bootstrap = "5"
    dependencies.left-pad = "*"

    [[copy]]
    from = "services/api"
    to = "/srv/app/"
    mode = "0750"
    owner = "app:app"

    [[copy]]
    from = "a.txt"
    to = "/etc/app/"

    [[copy]]
    from = "b.txt"
    to = "/etc/app/"

    [[copy]]
    from = "."
    to = "/srv/app"
    ignore = ["/envs", "/lockfiles", "/kiln.toml", "/.kiln"]

    [[fetch]]
    url = "https://example.org/tool.tar.gz"
    to = "/opt/"
    unpack = false

    [[fetch]]
    path = "data.tar.gz"
    to = "/data"

    [image]
    entrypoint = ["python3", "-m", "flask"]
    command = ["run", "--port", "5000"]
    user = "app"
    workdir = "/srv/app"
    env.APP = "/srv/app"
    env.MODE = "production mode"
    env.PORT = "5000"
    ports = ["5000/tcp", "9000/udp"]
    volumes = ["/data", "/logs"]
    stop-signal = "SIGQUIT"
    labels."org.example.title" = "An app"
    labels."org.example.x" = "y $z"

    [image.healthcheck]
    command = ["/bin/sh", "-c", "curl -f http://localhost:$PORT/"]
    interval = "30s"
    timeout = "3s"
    retries = 3

    # Left to do, by the lines of Dockerfile:
    #   3: FROM golang:1.22 AS build
    #      a stage of its own: make it another environment, or a `[[run]]`
    #   9: RUN curl -sSL https://example.org/x | sh
    #      what needs no network can be a `[[run]]`; files from elsewhere are a `[[fetch]]`
    #   14: RUN useradd -u 1000 app
    #      users are tables: `[users.NAME]` with `uid`
    #   20: COPY *.py /x/
    #      name files and folders of the workspace one by one, or copy their folder with `ignore`
    #   21: COPY --from=build /go/bin/x /usr/bin/x
    #      files of another stage or image: a `[[fetch]]`, or a `[[run]]` that makes them
    #   28: USER app
    #      if no package makes this user: `[users.NAME]` with `uid`
    #   32: ONBUILD RUN true
    #      kiln has nothing like it
    "#);
    let (inside, _) = definition(&imported, "api");
    assert!(
        inside.contains("requirements = [\"api/requirements.txt\"]")
            && inside.contains("from = \"api\"\nto = \"/srv/app\"\n"),
        "{inside}"
    );
}

#[test]
fn suites_and_bases() {
    for (from, suite, left) in [
        ("debian:trixie", "trixie", 0),
        ("docker.io/library/debian:12.5-slim@sha256:0", "bookworm", 0),
        ("debian", "trixie", 0),
        ("registry.example:5000/debian:11", "bullseye", 0),
        ("python:3.12-slim-bookworm", "bookworm", 1),
        ("node:22", "trixie", 1),
        ("alpine", "trixie", 1),
        ("$BASE", "trixie", 1),
    ] {
        let imported = dockerfile(&format!("FROM {from}\n"), &|_| false);
        let (text, _) = definition(&imported, "");
        assert!(text.contains(&format!("suite = \"{suite}\"")), "{from}: {text}");
        assert_eq!(imported.left.len(), left, "{from}: {:?}", imported.left);
    }
}

#[test]
fn requirements_become_a_definition() {
    let text = "# all\nflask>=3 # the web\n-i https://example.org/simple\ncelery[redis] \\\n  >=5\nx==1 --hash=sha256:00\n./own\n";
    assert_snapshot!(definition(&requirements("requirements.txt", text, false), "").0, @r#"
    # Made from Dockerfile by `kiln init --from`.

    [debian]
    suite = "trixie"
    packages = ["python3"]

    [python]
    packages = ["celery[redis] >=5", "flask>=3"]

    # Left to do, by the lines of Dockerfile:
    #   3: -i https://example.org/simple
    #      where packages come from is an origin: `kiln store origins`
    #   6: x==1 --hash=sha256:00
    #      hashes are read from files named by `requirements` in `[python]`
    #   7: ./own
    #      requirements are written as in PEP 508
    "#);
    let (text, settings) = definition(&requirements("requirements.txt", text, true), "");
    assert!(text.contains("requirements = [\"requirements.txt\"]"), "{text}");
    assert_eq!(settings.python.unwrap().packages, ["flask"]);
}

#[test]
fn a_package_json_becomes_a_definition() {
    let text = r#"{
  "name": "site",
  "scripts": { "start": "node 'my server.js' --port 80", "test": "x" },
  "engines": { "node": ">=22" },
  "dependencies": {
    "bootstrap": "^5",
    "@a/b": "npm:c@1",
    "own": "git+ssh://example.org/own"
  },
  "overrides": { "x": "1", "y": { "z": "2" } },
  "devDependencies": { "jest": "29" }
}"#;
    assert_snapshot!(definition(&package_json(text, &|_| false).unwrap(), "").0, @r#"
    # Made from Dockerfile by `kiln init --from`.

    [debian]
    suite = "trixie"
    packages = ["nodejs"]

    [npm]
    dependencies."@a/b" = "npm:c@1"
    dependencies.bootstrap = "^5"
    overrides.x = "1"

    [image]
    entrypoint = ["node", "my server.js", "--port", "80"]

    # Left to do, by the lines of Dockerfile:
    #   1: the project's own files
    #      `[[copy]]` with `from` and `to` copies them
    #   4: engines: {"node":">=22"}
    #      the interpreter is Debian's `nodejs`, of the suite
    #   8: own: "git+ssh://example.org/own"
    #      only packages of a registry can be locked
    #   10: y: {"z":"2"}
    #      overrides are names with one version each
    #   11: devDependencies
    #      an image has what is needed at run time: what is needed there is a dependency
    "#);
    let locked = package_json(text, &|path| path == "package-lock.json").unwrap();
    assert!(definition(&locked, "").0.contains("[npm]\nlock = \"package-lock.json\"\n"));
    for text in ["", "[]", "{", "{\"dependencies\": 1, \"scripts\": []}"] {
        let read = package_json(text, &|_| false);
        assert_eq!(read.is_some(), text.len() > 10);
    }
}

fn dockerfiles() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("FROM debian:12"),
        Just("RUN apt-get install"),
        Just("RUN pip install -r requirements.txt"),
        Just("RUN npm ci"),
        Just("COPY --chmod=7 a"),
        Just("ADD http://"),
        Just("ENV A=$B"),
        Just("ENV"),
        Just("EXPOSE 99999"),
        Just("WORKDIR ../"),
        Just("HEALTHCHECK --interval=1"),
        Just("CMD [\"\\u0000\"]"),
        Just("LABEL \"=\"=\"'"),
        Just("VOLUME ["),
        Just("USER \"\""),
        Just("RUN <<EOF"),
        Just("\nEOF"),
        Just("\\\n"),
        Just("\n"),
        Just(" "),
        Just("\""),
        Just("'"),
        Just("\\"),
        Just("`"),
        Just("${"),
        Just("$A"),
        Just("}"),
        Just("é"),
        Just("\u{1b}[31m"),
        Just("\u{2028}"),
        Just("\r\n"),
        Just("#"),
        Just("&&"),
        Just("a=b"),
        Just("/"),
        Just("."),
    ];
    prop_oneof![prop::collection::vec(word, 0..30).prop_map(|words| words.concat()), any::<String>(),]
}

proptest! {
    #[test]
    fn whatever_is_read_is_a_definition(text in dockerfiles(), there in any::<bool>()) {
        let imported = dockerfile(&text, &|path| there && path == "requirements.txt");
        let (written, _) = definition(&imported, "");
        let odd = |c: char| c.is_control() && c != '\n';
        prop_assert!(!written.contains(odd), "{written}");
        prop_assert!(imported.left.iter().all(|left| left.line > 0 && !left.text.contains(|c: char| c.is_control())));
        definition(&requirements("requirements.txt", &text, false), "");
        if let Some(imported) = package_json(&text, &|_| there) {
            definition(&imported, "");
        }
    }

    #[test]
    fn whatever_a_package_json_holds(name in any::<String>(), range in any::<String>(), start in any::<String>()) {
        let text = serde_json::json!({
            "dependencies": { &name: &range, "ok": "1" }, "overrides": { &name: &range }, "scripts": { "start": start },
        });
        let imported = package_json(&text.to_string(), &|_| false).unwrap();
        let (_, settings) = definition(&imported, "");
        prop_assert_eq!(&settings.npm.unwrap().dependencies["ok"], "1");
    }
}
