//! `kiln diff`: how each kind of change is shown, and what others' text cannot do.

use insta::assert_snapshot;

use crate::diff::{commit, diff, later, shop};
use crate::support::context::{TestContext, definition};

/// A lockfile that says everything in another way than the one before it.
fn edited() -> TestContext {
    let context = TestContext::new(&later());
    let steps = "[[run]]\nscript = \"echo one\"\n[[copy]]\nfrom = \"app\"\nto = \"/app\"\n[image]\nuser = \"app\"\n\
                 entrypoint = [\"web\"]\nenv = { GREETING = \"hello\", API_TOKEN = \"abc\" }\n";
    context.write("app/main", "one");
    context.write("envs/api.toml", definition(&["web", "curl"], &["linux/amd64", "linux/arm64"], "") + steps);
    context.ok(&["lock"]);
    let seen = "architecture = \"all\", scripts = \"sandbox\", scripts-sha256 = \"1111111111111111111111111111111111111111111111111111111111111111\" }";
    context.edit_lockfile("api", |text| text.replace("architecture = \"all\" }", seen));
    commit(&context);
    context.edit_lockfile("api", |text| {
        let steps = "[[environment.step]]\nkind = \"copy\"\nfrom = \"app\"\nto = \"/srv/app\"\n\n[[environment.step]]\nkind = \"run\"\nscript = \"\"\"echo one\necho two\"\"\"\n";
        let start = text.find("[[environment.step]]").unwrap();
        let end = text.find("[environment.image]").unwrap();
        let text = format!("{}{steps}\n{}", &text[..start], &text[end..]);
        text.replace("hello", "good day")
            .replace("API_TOKEN = \"abc\"", "API_TOKEN = \"xyz\"")
            .replace("user = \"app\"", "user = \"root\"")
            .replace("date = \"2026-09-21T12:13:20Z\"", "date = \"2026-09-22T12:13:20Z\"")
            .replace("keys = [\"A6CF", "keys = [\"B6CF")
    });
    context
}

/// Changes what follows the row of a package.
fn edit_package(context: &TestContext, name: &str, change: impl FnOnce(&str) -> String) {
    context.edit_lockfile("api", |text| {
        let start = text.find(&format!("name = \"{name}\"\nversion")).unwrap();
        let end = text[start..].find("\n\n").map_or(text.len(), |end| start + end);
        format!("{}{}{}", &text[..start], change(&text[start..end]), &text[end..])
    });
}

/// On one platform, other bytes and scripts; and so on, a package for each class.
fn each_class() -> TestContext {
    let context = edited();
    edit_package(&context, "curl", |text| {
        let at = text.find("artifacts.\"linux/arm64\"").unwrap();
        let hash = text[at..].find("sha256 = \"").unwrap() + at + 10;
        format!("{}{}{}", &text[..hash], "2".repeat(64), &text[hash + 64..])
    });
    edit_package(&context, "lib", |text| text.replace(&"1".repeat(64), &"3".repeat(64)));
    edit_package(&context, "more", |text| {
        text.replace("version = \"1\"", "version = \"1~beta\"").replace("test/stable", "other/stable")
    });
    edit_package(&context, "web", |text| text.replace("requested = \"web\"\n", "required-by = [\"more\"]\n"));
    context
}

#[test]
fn each_class_in_text() {
    let context = each_class();
    assert_snapshot!(diff(&context, &[]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z
    >>> lockfiles  api  sha256:[HASH]  dated 2026-09-22T12:13:20Z

    Attention
    [B*] deb    curl         8                                               same version, other bytes: sha256 [HASH] -> [HASH]  linux/arm64
    [K ] index  test/stable  2026-09-21T12:13:20Z -> 2026-09-22T12:13:20Z    signed by +B6CFF8FA06EE510DCAC2FA3D2028DED7F3854300 -A6CFF8FA06EE510DCAC2FA3D2028DED7F3854300
    [S.] deb    lib          1:0.9                                           scripts changed: sha256 [HASH] -> [HASH]
    [O.] deb    more         1 -> 1~beta                                     origin test/stable -> other/stable  downgraded

    Steps and files
    [C ] copy  app to /srv/app      to /app -> /srv/app
    [C ] run   echo one             script changed: 1 line -> 2 lines

    Settings
    [C ] setting  image.env.API_TOKEN  (the value is hidden)
    [C ] setting  image.env.GREETING   hello -> good day
    [C ] setting  image.user           app -> root

    Not in the images
    [C-] deb  web  1.0    asked for no longer  needed by +more

    4 need attention, 1 rebuilt, 1 script change, 1 origin change, 1 signature change, 1 downgraded, 1 selection change, 2 steps, 3 image settings, 1 change of words, 1 index; 0 packages unchanged
    ");
}

#[test]
fn each_class_in_markdown() {
    let context = each_class();
    assert_snapshot!(diff(&context, &["--format", "markdown"]), @"
    exit 0
    --- stdout
    <!-- kiln diff -->
    ### kiln diff

    <code>git&#58;HEAD ([COMMIT])</code> -> <code>lockfiles</code>

    4 need attention, 1 rebuilt, 1 script change, 1 origin change, 1 signature change, 1 downgraded, 1 selection change, 2 steps, 3 image settings, 1 change of words, 1 index; 0 packages unchanged

    #### Attention

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | rebuilt (asked for) | <code>deb</code> | <code>curl</code> | <code>8</code> |  | <code>same version, other bytes&#58; sha256 [HASH] -&#62; [HASH]  linux/arm64</code> |
    | keys | <code>index</code> | <code>test/stable</code> | <code>2026-09-21T12&#58;13&#58;20Z -&#62; 2026-09-22T12&#58;13&#58;20Z</code> |  | <code>signed by +B6CFF8FA06EE510DCAC2FA3D2028DED7F3854300 -A6CFF8FA06EE510DCAC2FA3D2028DED7F3854300</code> |
    | scripts | <code>deb</code> | <code>lib</code> | <code>1&#58;0.9</code> |  | <code>scripts changed&#58; sha256 [HASH] -&#62; [HASH]</code> |
    | origin | <code>deb</code> | <code>more</code> | <code>1 -&#62; 1&#126;beta</code> |  | <code>origin test/stable -&#62; other/stable  downgraded</code> |

    #### Steps and files

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed | <code>copy</code> | <code>app to /srv/app</code> |  |  | <code>to /app -&#62; /srv/app</code> |
    | changed | <code>run</code> | <code>echo one</code> |  |  | <code>script changed&#58; 1 line -&#62; 2 lines</code> |

    #### Settings

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed | <code>setting</code> | <code>image.env.API&#95;TOKEN</code> | <code>(the value is hidden)</code> |  |  |
    | changed | <code>setting</code> | <code>image.env.GREETING</code> | <code>hello -&#62; good day</code> |  |  |
    | changed | <code>setting</code> | <code>image.user</code> | <code>app -&#62; root</code> |  |  |

    #### Not in the images

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed (asked for no longer) | <code>deb</code> | <code>web</code> | <code>1.0</code> |  | <code>asked for no longer  needed by +more</code> |
    ");
}

/// The classes that the lockfiles above do not have between them.
fn the_others() -> TestContext {
    let context = TestContext::new(&later());
    let steps =
        "[[copy]]\nfrom = \"app\"\nto = \"/app\"\n[[run]]\nscript = \"echo one\"\n[[run]]\nscript = \"echo two\"\n";
    context.write("app/main", "one");
    context.write("envs/api.toml", definition(&["web", "curl"], &["linux/amd64", "linux/arm64"], "") + steps);
    context.ok(&["lock"]);
    let ending = |image: &str, uid: u32| {
        format!(
            "\n[accounts.\"linux/amd64\".users]\napp = {uid}\n\n[[output]]\nplatform = \"linux/amd64\"\nplatform-lock = \"{}\"\n\
             image = \"{}\"\nlayers = [\n    {{ name = \"base\", diff-id = \"{}\", digest = \"{}\", size = 1000 }},\n]\n",
            "5".repeat(64),
            image.repeat(64),
            image.repeat(64),
            image.repeat(64),
        )
    };
    edit_package(&context, "curl", |text| text.replace(" }", ", scripts = \"none\", licences = [\"MIT\"] }"));
    context.edit_lockfile("api", |text| format!("{text}{}", ending("6", 100)));
    commit(&context);
    context.edit_lockfile("api", |text| {
        let text = text.replace(&ending("6", 100), &ending("7", 101));
        let text = text
            .replace("platforms = [\n    \"linux/amd64\",\n    \"linux/arm64\",\n]", "platforms = [\"linux/amd64\"]");
        let local = text.find("[[local]]").unwrap();
        let hash = local + text[local..].find("sha256 = \"").unwrap() + 10;
        let text = format!("{}{}{}", &text[..hash], "8".repeat(64), &text[hash + 64..]);
        text.replace("echo one", "echo")
            .replace("echo two", "echo one")
            .replace("script = \"echo\"", "script = \"echo two\"")
    });
    let bytes = |text: &str| {
        let hash = text.find("sha256 = \"").unwrap() + 10;
        format!("{}{}{}", &text[..hash], "9".repeat(64), &text[hash + 64..]).replace("MIT", "GPL-3+")
    };
    edit_package(&context, "curl", |text| bytes(&text.replace("version = \"8\"", "version = \"8.0\"")));
    edit_package(&context, "lib", |text| text.replace("source = \"lib\"", "source = \"libs\""));
    edit_package(&context, "web", |text| text.replace("architecture = \"all\"", "architecture = \"amd64\""));
    edit_package(&context, "more", |text| text.replace(" }", ", scripts = \"none\" }"));
    context
}

#[test]
fn the_other_classes_in_text() {
    let context = the_others();
    assert_snapshot!(diff(&context, &[]), @"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z
    >>> lockfiles  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z

    Attention
    [! ] api   [PLATFORM]  sha256:[HASH] -> sha256:[HASH]    the same lock gave another image (drift)  1 of 1 layer changed
    [C ] user  app          100 -> 101                                      another number: volumes are owned by numbers

    Environments and platforms
    [R ] platform  linux/arm64

    Packages
    [U*] deb  curl  8 -> 8.0    licences +GPL-3+ -MIT
    [C*] deb  web   1.0         differs in architecture
    [C.] deb  lib   1:0.9       source lib 1:0.9 -> libs 1:0.9

    Steps and files
    [C ] files  app       1 file, [HASH] -> 1 file, [HASH]
    [C ] run    echo one  step 2 -> step 3
    [C ] run    echo two  step 3 -> step 2

    Not in the images
    [C ] seen  1 package  what was seen in them (scripts, licences, sizes) is noted on one side only, or more of it

    2 need attention, 1 drift, 1 renumbered, 1 upgraded, 1 licence change, 1 source change, 1 placement change, 1 platform, 2 steps, 1 folder or file copied, 1 observed; 0 packages unchanged
    ");
    let names = "drift,renumbered,licence,source,placement,platform,step,files,observed";
    for name in names.split(',') {
        assert_eq!(context.kiln(&["diff", "--fail-on", name]).code, Some(1), "{name}");
    }
}

#[test]
fn the_other_classes_in_markdown() {
    let context = the_others();
    assert_snapshot!(diff(&context, &["--format", "markdown"]), @"
    exit 0
    --- stdout
    <!-- kiln diff -->
    ### kiln diff

    <code>git&#58;HEAD ([COMMIT])</code> -> <code>lockfiles</code>

    2 need attention, 1 drift, 1 renumbered, 1 upgraded, 1 licence change, 1 source change, 1 placement change, 1 platform, 2 steps, 1 folder or file copied, 1 observed; 0 packages unchanged

    #### Attention

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | drift | <code>api</code> | <code>[PLATFORM]</code> | <code>sha256&#58;[HASH] -&#62; sha256&#58;[HASH]</code> |  | <code>the same lock gave another image (drift)  1 of 1 layer changed</code> |
    | changed | <code>user</code> | <code>app</code> | <code>100 -&#62; 101</code> |  | <code>another number&#58; volumes are owned by numbers</code> |

    #### Environments and platforms

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | removed | <code>platform</code> | <code>linux/arm64</code> |  |  |  |

    #### Packages

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | upgraded (asked for) | <code>deb</code> | <code>curl</code> | <code>8 -&#62; 8.0</code> |  | <code>licences +GPL-3+ -MIT</code> |
    | changed (asked for) | <code>deb</code> | <code>web</code> | <code>1.0</code> |  | <code>differs in architecture</code> |
    | changed | <code>deb</code> | <code>lib</code> | <code>1&#58;0.9</code> |  | <code>source lib 1&#58;0.9 -&#62; libs 1&#58;0.9</code> |

    #### Steps and files

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed | <code>files</code> | <code>app</code> | <code>1 file, [HASH] -&#62; 1 file, [HASH]</code> |  |  |
    | changed | <code>run</code> | <code>echo one</code> | <code>step 2 -&#62; step 3</code> |  |  |
    | changed | <code>run</code> | <code>echo two</code> | <code>step 3 -&#62; step 2</code> |  |  |

    #### Not in the images

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | changed | <code>seen</code> | <code>1 package</code> | <code>what was seen in them (scripts, licences, sizes) is noted on one side only, or more of it</code> |  |  |
    ");
}

#[test]
fn a_change_in_json() {
    let context = each_class();
    let run = context.kiln(&["diff", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["schema"], serde_json::json!({ "name": "kiln/diff", "version": 1 }));
    assert_snapshot!(serde_json::to_string_pretty(&json["diff"]["summary"]).unwrap(), @r#"
    {
      "attention": 4,
      "classes": {
        "downgraded": 1,
        "image": 3,
        "index": 1,
        "origin": 1,
        "rebuilt": 1,
        "scripts": 1,
        "selection": 1,
        "signature": 1,
        "step": 2,
        "words": 1
      },
      "same": false,
      "same-content": false,
      "unchanged": 0
    }
    "#);
    let packages = &json["diff"]["environments"][0]["packages"];
    let curl = packages.as_array().unwrap().iter().find(|change| change["new"]["name"] == "curl").unwrap();
    assert_snapshot!(context.filter(&serde_json::to_string_pretty(curl).unwrap()), @r#"
    {
      "classes": [
        "rebuilt"
      ],
      "new": {
        "artifacts": {
          "linux/arm64": {
            "architecture": "all",
            "built": false,
            "diversions": [],
            "licences": [],
            "links": {},
            "path": "pool/main/curl_8_all.deb",
            "places": [],
            "scripts": "sandbox",
            "scripts-sha256": "[HASH]",
            "sha256": "[HASH]",
            "size": 664
          }
        },
        "base": false,
        "build-for": [],
        "ecosystem": "debian",
        "name": "curl",
        "origin": "test/stable",
        "requested": "curl",
        "required-by": [],
        "source": "curl",
        "source-version": "8",
        "version": "8"
      },
      "old": {
        "artifacts": {
          "linux/arm64": {
            "architecture": "all",
            "built": false,
            "diversions": [],
            "licences": [],
            "links": {},
            "path": "pool/main/curl_8_all.deb",
            "places": [],
            "scripts": "sandbox",
            "scripts-sha256": "[HASH]",
            "sha256": "[HASH]",
            "size": 664
          }
        },
        "base": false,
        "build-for": [],
        "ecosystem": "debian",
        "name": "curl",
        "origin": "test/stable",
        "requested": "curl",
        "required-by": [],
        "source": "curl",
        "source-version": "8",
        "version": "8"
      },
      "platforms": [
        "linux/arm64"
      ]
    }
    "#);
    assert_eq!(run.stdout, context.kiln(&["diff", "--format", "json"]).stdout, "the same question, the same answer");
}

/// Names and versions that would like to be more than that.
const HOSTILE: [&str; 6] = [
    "\\u001b[31mred\\u001b[0m",
    "a|b`c`@someone #1 <img src=x>",
    "[link](https://example.org) www.example.org",
    "one\\ntwo\\r\\n::error::three",
    "\\u202eesrever\\u2066\\u200b",
    "-->\\\\|</code></details>*_~$x$:smile:",
];

#[test]
fn hostile_names_are_text() {
    let context = TestContext::new(&shop());
    context.define("api", &["curl"]);
    context.ok(&["lock"]);
    commit(&context);
    context.edit_lockfile("api", |text| {
        let mut text = text.to_owned();
        for name in HOSTILE {
            text.push_str(&format!(
                "\n[[package]]\necosystem = \"npm\"\nname = \"{name}\"\nversion = \"{name}\"\nsource = \"x\"\nsource-version = \"1\"\n\
                 origin = \"npm\"\nartifacts.\"linux/amd64\" = {{ path = \"x\", sha256 = \"{}\", architecture = \"all\" }}\n\
                 artifacts.\"linux/arm64\" = {{ path = \"x\", sha256 = \"{}\", architecture = \"all\" }}\n",
                "1".repeat(64),
                "1".repeat(64),
            ));
        }
        text
    });
    let text = diff(&context, &[]);
    assert_snapshot!(text, @r"
    exit 0
    --- stdout
    <<< git:HEAD ([COMMIT])  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z
    >>> lockfiles  api  sha256:[HASH]  dated 2026-09-21T12:13:20Z

    Packages
    [A.] npm  �[31mred�[0m                              �[31mred�[0m
    [A.] npm  -->\|</code></details>*_~$x$:smile:       -->\|</code></details>*_~$x$:smile:
    [A.] npm  [link](https://example.org) www.example.org  [link](https://example.org) www.example.org
    [A.] npm  a|b`c`@someone #1 <img src=x>             a|b`c`@someone #1 <img src=x>
    [A.] npm  one�two��::error::three                   one�two��::error::three
    [A.] npm  �esrever��                                �esrever��

    6 added; 1 package unchanged
    ");
    assert!(!text.contains(['\u{1b}', '\r', '\u{202e}', '\u{200b}']));
    let markdown = diff(&context, &["--format", "markdown"]);
    assert_snapshot!(markdown, @"
    exit 0
    --- stdout
    <!-- kiln diff -->
    ### kiln diff

    <code>git&#58;HEAD ([COMMIT])</code> -> <code>lockfiles</code>

    6 added; 1 package unchanged

    #### Packages

    | | | name | change | size | |
    |---|---|---|---|---:|---|
    | added | <code>npm</code> | <code>�&#91;31mred�&#91;0m</code> | <code>�&#91;31mred�&#91;0m</code> |  |  |
    | added | <code>npm</code> | <code>--&#62;&#92;&#124;&#60;/code&#62;&#60;/details&#62;&#42;&#95;&#126;&#36;x&#36;&#58;smile&#58;</code> | <code>--&#62;&#92;&#124;&#60;/code&#62;&#60;/details&#62;&#42;&#95;&#126;&#36;x&#36;&#58;smile&#58;</code> |  |  |
    | added | <code>npm</code> | <code>&#91;link&#93;(https&#58;//example.org) www&#46;example.org</code> | <code>&#91;link&#93;(https&#58;//example.org) www&#46;example.org</code> |  |  |
    | added | <code>npm</code> | <code>a&#124;b&#96;c&#96;&#64;someone &#35;1 &#60;img src=x&#62;</code> | <code>a&#124;b&#96;c&#96;&#64;someone &#35;1 &#60;img src=x&#62;</code> |  |  |
    | added | <code>npm</code> | <code>one�two��&#58;&#58;error&#58;&#58;three</code> | <code>one�two��&#58;&#58;error&#58;&#58;three</code> |  |  |
    | added | <code>npm</code> | <code>�esrever��</code> | <code>�esrever��</code> |  |  |
    ");
}

#[test]
fn markdown_is_cut_off_and_says_by_how_much() {
    let context = TestContext::new(&shop());
    context.define("api", &["curl"]);
    context.ok(&["lock"]);
    commit(&context);
    context.edit_lockfile("api", |text| {
        let mut text = text.to_owned();
        for number in 0..300 {
            text.push_str(&format!(
                "\n[[package]]\necosystem = \"npm\"\nname = \"package-{number:03}\"\nversion = \"1.0.0\"\nsource = \"x\"\n\
                 source-version = \"1\"\norigin = \"npm\"\nartifacts.\"linux/amd64\" = {{ path = \"x\", sha256 = \"{0}\", \
                 architecture = \"all\" }}\nartifacts.\"linux/arm64\" = {{ path = \"x\", sha256 = \"{0}\", architecture = \"all\" }}\n",
                "1".repeat(64),
            ));
        }
        text
    });
    let whole = context.kiln(&["diff", "--format", "markdown"]).stdout;
    assert!(whole.contains("<details><summary>Packages (300)</summary>") && whole.contains("</details>"), "{whole}");
    assert!(!whole.contains("more rows"), "{whole}");
    for most in [1000, 1500, 4000, 20_000] {
        let cut = context.kiln(&["diff", "--format", "markdown", "--max-bytes", &most.to_string()]).stdout;
        assert!(cut.trim_end().len() <= most, "{} of {most}: {cut}", cut.len());
        let written = cut.matches("package-").count();
        assert!(cut.contains(&format!("… {} more rows", 300 - written)), "{cut}");
        assert_eq!(cut.matches("<details>").count(), cut.matches("</details>").count());
    }
}
