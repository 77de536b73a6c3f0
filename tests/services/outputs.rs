//! What `kiln build --output` writes, as other tools read it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use kiln::digest::Digest;

use crate::engines::Podman;
use crate::workspace::{Folder, real, succeed, workspace};

/// A line for all that a tree says of each of its files, and the names of each that has several.
type Tree = (BTreeSet<String>, BTreeSet<BTreeSet<String>>);

fn tree(root: &Path) -> Tree {
    let (mut lines, mut inodes) = (BTreeSet::new(), BTreeMap::new());
    look(root, root, &mut lines, &mut inodes);
    (lines, inodes.into_values().filter(|names| names.len() > 1).collect())
}

fn look(root: &Path, folder: &Path, lines: &mut BTreeSet<String>, inodes: &mut BTreeMap<u64, BTreeSet<String>>) {
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let what = if kind.is_dir() {
            look(root, &path, lines, inodes);
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("link {}", std::fs::read_link(&path).unwrap().display())
        } else if kind.is_file() {
            inodes.entry(metadata.ino()).or_default().insert(name.clone());
            format!("file {}", Digest::of_reader(&mut std::fs::File::open(&path).unwrap()).unwrap().0)
        } else {
            assert!(kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
            format!("special {}", metadata.rdev())
        };
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        lines.insert(format!("{name}: {what} {mode:o} {uid}:{gid} at {}", metadata.mtime()));
    }
}

fn same(found: &Tree, expected: &Tree, what: &str) {
    let difference: Vec<_> = found.0.symmetric_difference(&expected.0).take(8).collect();
    assert!(difference.is_empty(), "{what}: {difference:#?}");
    assert_eq!(found.1, expected.1, "{what}: names of the same file");
}

fn skopeo(arguments: &[&str]) -> String {
    succeed(Command::new("skopeo").args(arguments))
}

#[test]
fn other_tools_read_what_is_written() {
    if !real("other_tools_read_what_is_written") {
        return;
    }
    let folder = Folder::new("outputs");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let outputs = ["oci:layout", "oci-archive:oci.tar", "docker-archive:docker.tar", "rootfs:tree", "tar:tree.tar"]
        .map(|output| output.split_once(':').map(|(kind, name)| format!("{kind}:{}", at(name))).unwrap());
    let digest = workspace().build("queue", &outputs);

    let images = [&outputs[0], &outputs[1], &outputs[2]];
    for image in &images[..2] {
        assert_eq!(skopeo(&["inspect", "--format", "{{.Digest}}", image]).trim(), digest, "{image}");
    }
    let configurations: BTreeSet<String> =
        images.iter().map(|image| skopeo(&["inspect", "--config", "--raw", image])).collect();
    assert_eq!(configurations.len(), 1, "one configuration, byte for byte: {configurations:#?}");
    let configuration = Digest::of(configurations.first().unwrap().as_bytes());

    // What skopeo copies out of the archive is what the layout holds.
    skopeo(&["copy", "--quiet", &outputs[1], &format!("oci:{}:queue", at("copy"))]);
    let blobs = |name: &str| -> BTreeSet<_> {
        std::fs::read_dir(folder.path().join(name).join("blobs/sha256"))
            .unwrap()
            .map(|x| x.unwrap().file_name())
            .collect()
    };
    assert_eq!(blobs("copy"), blobs("layout"));

    let bundle = at("bundle");
    succeed(Command::new("umoci").args(["unpack", "--image", &format!("{}:queue", at("layout")), &bundle]));
    let expected = tree(&Path::new(&bundle).join("rootfs"));
    assert!(expected.0.iter().any(|line| line.starts_with("usr/share/kiln/lock.json: file ")));
    assert!(expected.0.iter().any(|line| line.starts_with("usr/bin/redis-server: link ")));
    assert!(expected.0.len() > 2000, "{} files", expected.0.len());
    same(&tree(Path::new(&at("tree"))), &expected, "rootfs: and umoci");
    let unpacked = at("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    // `Carp.pm` comes between the folder `Carp` and what is in it: GNU tar by itself would set the folder's
    // time too early.
    let options = ["--numeric-owner", "--delay-directory-restore", "-xpf", &at("tree.tar"), "-C", &unpacked];
    succeed(Command::new("tar").args(options));
    same(&tree(Path::new(&unpacked)), &expected, "tar: and umoci");

    let podman = Podman::new(folder.path());
    let loaded = succeed(podman.command().args(["load", "--input", &at("docker.tar")]));
    assert!(loaded.contains("localhost/queue:latest"), "{loaded}");
    let inspected = succeed(podman.command().args(["image", "inspect", "localhost/queue:latest"]));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected[0]["Id"], configuration.to_string());
    let config = &inspected[0]["Config"];
    assert_eq!(config["User"], "redis");
    assert_eq!(config["Entrypoint"], serde_json::json!(["redis-server"]));
    assert_eq!(config["Cmd"][0], "--bind");
    assert_eq!(config["WorkingDir"], "/var/lib/redis");
    assert_eq!(config["ExposedPorts"], serde_json::json!({ "6379/tcp": {}, "26379/tcp": {} }));
    assert_eq!(config["Volumes"], serde_json::json!({ "/var/lib/redis": {} }));
    assert!(config["Env"][0].as_str().unwrap().starts_with("PATH="), "{config}");
}
