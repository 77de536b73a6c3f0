//! `[[fetch]]`, `[[copy]]`, `[[run]]` and the rest of `[image]`: from the definition into the image.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use insta::assert_snapshot;
use kiln::Digest;

use crate::support::archive::Files;
use crate::support::context::{TestContext, definition, here, package, package_with};
use crate::support::server::Server;
use crate::support::tiny;

/// A workspace whose environment `api` has the package `lib`, no base, and `more`.
fn context(more: &str) -> TestContext {
    let context = TestContext::new(&[package("lib", "1.2")]);
    define(&context, more);
    context
}

fn define(context: &TestContext, more: &str) {
    let definition = definition(&["lib"], &[here().name()], "");
    context.write("envs/api.toml", format!("{definition}\n{more}"));
}

/// The image's tree as lines `MODE OWNER PATH [-> TARGET]`, without what `lib` and kiln bring.
fn tree(context: &TestContext) -> String {
    context.ok(&["build", "api", "--output", "tar:image.tar"]);
    let listing = Command::new("tar")
        .args(["--numeric-owner", "-tvf"])
        .arg(context.workspace().join("image.tar"))
        .output()
        .unwrap();
    let text = String::from_utf8(listing.stdout).unwrap();
    let own = ["usr/share", "var/", "etc/"];
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.ends_with(" usr/") && !own.iter().any(|own| line.contains(own)))
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            [words[0], words[1], &words[5..].join(" ")].join(" ")
        })
        .collect();
    lines.sort_by_key(|line| line.split(' ').nth(2).map(str::to_owned));
    lines.join("\n")
}

/// A tar archive of files with their content, as this machine's tar makes it.
fn archive(files: &[(&str, &str)], option: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            None => std::fs::write(&path, content).unwrap(),
        }
    }
    let top: Vec<&str> = files.iter().map(|(path, _)| path.split('/').next().unwrap()).collect();
    let mut names = top.clone();
    names.dedup();
    let output = Command::new("tar")
        .args(["--sort=name", "--mtime=@1000000000", "--owner=5", "--group=5", "-P", option, "-cf", "-"])
        .args(names)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn serve(files: &[(&str, Vec<u8>)]) -> Server {
    Server::start(files.iter().map(|(path, content)| ((*path).to_owned(), content.clone())).collect::<Files>())
}

#[test]
fn a_fetched_archive_is_locked_by_its_hash_and_unpacked() {
    let tool =
        [("tool-1/bin/tool", "#!/bin/sh\n"), ("tool-1/lib/a", "a"), ("tool-1/lib/b", "-> a"), ("tool-1/doc/x", "x")];
    let server = serve(&[("/tool-1.tar.gz", archive(&tool, "-z")), ("/LICENSE", b"MIT".to_vec())]);
    let context = context(&format!(
        "[[fetch]]\nurl = \"{0}\"\nto = \"/opt/tool\"\nstrip = 1\nselect = [\"*/bin\", \"**/lib/*\"]\n\
         [[fetch]]\nurl = \"{1}\"\nto = \"/opt/tool/\"\nmode = \"0600\"\nowner = \"33:44\"\n",
        server.url("/tool-1.tar.gz"),
        server.url("/LICENSE"),
    ));
    context.ok(&["lock"]);
    assert_snapshot!(tree(&context), @"
    drwxr-xr-x 0/0 opt/
    drwxr-xr-x 0/0 opt/tool/
    -rw------- 33/44 opt/tool/LICENSE
    drwxr-xr-x 0/0 opt/tool/bin/
    -rw-r--r-- 0/0 opt/tool/bin/tool
    drwxr-xr-x 0/0 opt/tool/lib/
    -rw-r--r-- 0/0 opt/tool/lib/a
    lrwxrwxrwx 0/0 opt/tool/lib/b -> a
    ");
    let lock = context.lockfile("api");
    assert!(lock.contains("ecosystem = \"fetch\"") && lock.contains("name = \"tool-1.tar.gz\""), "{lock}");
    // What is locked is not asked for again, and what has changed there is no other image.
    drop(server);
    context.ok(&["lock"]);
    context.ok(&["build", "--locked", "--offline"]);
}

#[test]
fn another_file_than_the_one_named_is_refused() {
    let server = serve(&[("/tool", b"good".to_vec())]);
    let fetch =
        |sha256: &str| format!("[[fetch]]\nurl = \"{}\"\nto = \"/opt/\"\nsha256 = \"{sha256}\"\n", server.url("/tool"));
    let context = context(&fetch(&Digest::of(b"good").to_string()));
    context.ok(&["lock"]);
    define(&context, &fetch(&Digest::of(b"evil").to_string()));
    let refused = context.kiln(&["lock"]);
    assert_eq!(refused.code, Some(2), "{}", refused.shown);
    assert!(refused.stderr.contains("expected sha256"), "{}", refused.shown);
}

#[test]
fn every_compression_gives_the_same_tree() {
    let files = [("a/b", "content"), ("a/c", "-> b")];
    let kinds = [("tar", "--sort=name"), ("tar.gz", "-z"), ("tar.bz2", "-j"), ("tar.xz", "-J"), ("tar.zst", "--zstd")];
    let mut trees = Vec::new();
    for (ending, option) in kinds {
        let server = serve(&[("/x", archive(&files, option))]);
        let context = context(&format!("[[fetch]]\npath = \"x.{ending}\"\nto = \"/opt\"\n"));
        drop(server);
        context.write(&format!("x.{ending}"), archive(&files, option));
        context.ok(&["lock"]);
        trees.push(tree(&context));
    }
    assert!(trees[0].contains("opt/a/b") && trees.iter().all(|tree| *tree == trees[0]), "{trees:?}");
}

#[test]
fn zip_archives_and_packages_are_unpacked() {
    let context = context(
        "[[fetch]]\npath = \"x.zip\"\nto = \"/opt/zip\"\n[[fetch]]\npath = \"x.zip\"\nto = \"/opt/\"\nunpack = false\n",
    );
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.add_directory("sub", options).unwrap();
    zip.start_file("sub/run", options.unix_permissions(0o755)).unwrap();
    zip.write_all(b"#!/bin/sh\n").unwrap();
    zip.add_symlink("sub/link", "run", options).unwrap();
    context.write("x.zip", zip.finish().unwrap().into_inner());
    context.ok(&["lock"]);
    let tree = tree(&context);
    for line in ["-rwxr-xr-x 0/0 opt/zip/sub/run", "lrwxrwxrwx 0/0 opt/zip/sub/link -> run", "-rw-r--r-- 0/0 opt/x.zip"]
    {
        assert!(tree.contains(line), "{tree}");
    }
}

#[test]
fn hostile_archives_are_refused() {
    for (files, reason) in [
        (vec![("../x", "x")], "leaves its folder"),
        (vec![("a/link", "-> ../../etc/passwd")], "out of its folder"),
        (vec![("a/link", "-> /etc/passwd")], "out of its folder"),
        (vec![("a/.wh.x", "x")], "layers use to remove files"),
    ] {
        let files: Vec<(&str, &str)> = files;
        let context = context("[[fetch]]\npath = \"x.tar\"\nto = \"/opt/x\"\n");
        let archive = if files[0].0.starts_with("..") {
            // tar would not make it.
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[..4].copy_from_slice(b"../x");
            header.set_size(1);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append(&header, &b"x"[..]).unwrap();
            archive.into_inner().unwrap()
        } else {
            archive(&files, "--sort=name")
        };
        context.write("x.tar", archive);
        context.ok(&["lock"]);
        let refused = context.kiln(&["build"]);
        assert_eq!(refused.code, Some(2), "{}", refused.shown);
        assert!(refused.stderr.contains(reason), "{files:?}: {}", refused.shown);
    }
}

#[test]
fn a_bomb_is_refused() {
    let context = context("[[fetch]]\npath = \"x.tar.gz\"\nto = \"/opt/x\"\n");
    let mut child = Command::new("sh")
        .args(["-c", "mkdir -p t && truncate -s 1100M t/zeros && tar -czf x.tar.gz t && rm -r t"])
        .current_dir(context.workspace())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    context.ok(&["lock"]);
    let refused = context.kiln(&["build"]);
    assert_eq!(refused.code, Some(2), "{}", refused.shown);
    assert!(refused.stderr.contains("grows beyond every measure"), "{}", refused.shown);
}

#[test]
fn copied_files_are_hashed_into_the_lock() {
    let context = context("[[copy]]\nfrom = \"app\"\nto = \"/app\"\nignore = [\"*.log\"]\nowner = \"7\"\n");
    context.write("app/main.py", "print(1)\n");
    context.write("app/run", "#!/bin/sh\n");
    context.write("app/x.log", "noise");
    context.write(".gitignore", "*.pyc\n");
    context.write("app/main.pyc", "noise");
    std::fs::set_permissions(context.workspace().join("app/run"), std::fs::Permissions::from_mode(0o700)).unwrap();
    context.ok(&["lock"]);
    assert_snapshot!(tree(&context), @"
    drwxr-xr-x 7/7 app/
    -rw-r--r-- 7/7 app/main.py
    -rwxr-xr-x 7/7 app/run
    ");
    let first = context.lockfile("api");
    // Changed content is no staleness: building writes it down, unless it may not.
    context.write("app/main.py", "print(2)\n");
    assert_snapshot!(context.kiln(&["build", "--locked"]).shown, @"
    exit 1
    --- stderr
    error: the lock of `api` is stale
        api: copy-changed: the files of `app` are not what was locked

    hint: run `kiln lock api` to bring it up to date
    ");
    assert_eq!(context.lockfile("api"), first);
    assert_eq!(context.kiln(&["lock", "--check"]).code, Some(1));
    context.ok(&["build"]);
    let second = context.lockfile("api");
    assert_ne!(first, second);
    context.ok(&["build", "--locked"]);
    // Back again: the same bytes, the same lock.
    context.write("app/main.py", "print(1)\n");
    context.ok(&["build"]);
    assert_eq!(context.lockfile("api"), first);
}

#[test]
fn what_is_copied_goes_through_the_links_below() {
    let linked = package_with("lib", "1.2", &[], |deb| {
        deb.dir("./usr/", 0o755).dir("./usr/lib/", 0o755).symlink("./lib", "usr/lib")
    });
    let context = TestContext::new(&[linked]);
    define(&context, "[[copy]]\nfrom = \"x\"\nto = \"/lib/app/\"\n");
    context.write("x", "x");
    context.ok(&["lock"]);
    let tree = tree(&context);
    assert!(tree.contains("usr/lib/app/x") && tree.contains("lib -> usr/lib"), "{tree}");
}

#[test]
fn a_file_cannot_replace_a_folder() {
    let context = context("[[copy]]\nfrom = \"x\"\nto = \"/usr/share\"\n");
    context.write("x", "x");
    context.ok(&["lock"]);
    let refused = context.kiln(&["build"]);
    assert!(refused.stderr.contains("/usr/share is a folder in what is below"), "{}", refused.shown);
}

#[test]
fn a_script_runs_on_what_is_before_it_and_its_changes_are_a_layer() {
    let Some(tiny) = tiny::essential() else { return };
    let context = TestContext::new(&[tiny, package("lib", "1.2")]);
    let define = |script: &str| {
        let definition = definition(&["lib"], &[here().name()], "").replace("base = \"none\"\n", "");
        let steps = format!(
            "[[copy]]\nfrom = \"app\"\nto = \"/app\"\n[[run]]\nscript = '''{script}'''\nworkdir = \"/app\"\nenv = {{ WORD = \"it's\" }}\n\
             [[copy]]\nfrom = \"late\"\nto = \"/app/\"\n"
        );
        context.write("envs/api.toml", format!("{definition}\n{steps}"));
    };
    context.write("app/in", "in");
    context.write("late", "late");
    define(
        "cat in > out; echo \"$WORD\" >> out; rm in; test ! -e late; chmod 0750 .; mkdir -p /var/log; echo x > /var/log/noise",
    );
    context.ok(&["lock"]);
    let built = context.kiln(&["build", "--check"]);
    assert_eq!(built.code, Some(0), "{}", built.shown);
    let tree = tree(&context);
    assert!(tree.contains("drwxr-x--- 0/0 app/\n") && tree.contains("app/out") && tree.contains("app/late"), "{tree}");
    assert!(!tree.contains("app/in") && !tree.contains("noise"), "{tree}");
    let lock = context.lockfile("api");
    assert!(lock.contains("name = \"run-1\"") && lock.contains("name = \"copy-2\""), "{lock}");
    // What comes later in the file moves nothing below it.
    let layer = |lock: &str| lock.lines().find(|line| line.contains("name = \"run-1\"")).map(str::to_owned);
    context.write("late", "later");
    context.ok(&["build"]);
    assert_eq!(layer(&context.lockfile("api")), layer(&lock));
    // What fails says what it said, and what differs is named with the step.
    define("echo broken; exit 3");
    context.ok(&["lock"]);
    let failed = context.kiln(&["build"]);
    assert!(failed.stderr.contains("ended with exit code 3") && failed.stderr.contains("broken"), "{}", failed.shown);
    define("date +%s%N > /app/now; cat /proc/uptime >> /app/now 2>/dev/null || true");
    context.ok(&["lock"]);
    let differs = context.kiln(&["build", "--check"]);
    assert_eq!(differs.code, Some(1), "{}", differs.shown);
    assert!(differs.stderr.contains("/app/now") && differs.stderr.contains("run-1"), "{}", differs.shown);
}

#[test]
fn the_image_says_how_it_is_checked() {
    let context = context(
        "[image]\nvolumes = [\"/data\"]\nstop-signal = \"SIGQUIT\"\nlabels = { a = \"b\" }\n\
         [image.healthcheck]\ncommand = [\"/bin/check\", \"-q\"]\ninterval = \"1m30s\"\nretries = 3\n",
    );
    context.ok(&["lock"]);
    context.ok(&["build", "--output", "docker-archive:image.tar"]);
    let archive = std::fs::File::open(context.workspace().join("image.tar")).unwrap();
    let config = tar::Archive::new(archive)
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.size() < 100_000)
        .map(|mut entry| {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        })
        .find(|text| text.contains("Healthcheck"))
        .expect("a configuration with a healthcheck");
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        config["config"]["Healthcheck"],
        serde_json::json!({ "Test": ["CMD", "/bin/check", "-q"], "Interval": 90_000_000_000u64, "Retries": 3 })
    );
    assert_eq!(config["config"]["StopSignal"], "SIGQUIT");
    define(&context, "[image.healthcheck]\ncommand = [\"x\"]\ninterval = \"soon\"\n");
    assert!(context.kiln(&["lock"]).stderr.contains("`soon` in the healthcheck is not a duration"));
}

#[test]
fn mistakes_in_steps_are_shown_where_they_are() {
    let context = context("[[fetch]]\nto = \"/x\"\n");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: envs/api.toml:13:1: it does not say what is fetched
           |
        13 | [[fetch]]
           | ^^^^^^^^^

    hint: give a `url`, a `path` in the workspace, or an `origin` with the name of a `file` there
    ");
    define(&context, "[[copy]]\nfrom = \"missing\"\nto = \"/x\"\n");
    assert_snapshot!(context.kiln(&["lock"]).shown, @"
    exit 2
    --- stderr
    error: locking `api`
      caused by: reading the local files `missing`
      caused by: there is no `missing` in the workspace

    hint: `from` in `[[copy]]` is relative to the folder with `kiln.toml`
    ");
}
