//! `kiln push` and `[base] image` against a real registry with passwords, on an image that another tool has made:
//! umoci's, with what its layers remove and replace.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use super::engines::Podman;
use super::workspace::{Folder, in_private_network, installed, real, say, succeed};
use super::{Registry, registry_with};

/// The image of a shell in three layers; the third removes, replaces and leaves opaque what the first two have.
fn foreign_image(folder: &Path) -> String {
    let image = format!("{}:base", folder.join("umoci").display());
    let umoci = |arguments: &[&str]| succeed(Command::new("umoci").args(arguments));
    umoci(&["init", "--layout", folder.join("umoci").to_str().unwrap()]);
    umoci(&["new", "--image", &image]);
    let steps = [
        "mkdir -p bin etc gone/deep turned opaque tmp; cp \"$(command -v busybox)\" bin/busybox; ln -s busybox bin/sh; \
         ln -s busybox bin/cat; ln -s busybox bin/ls; ln -s busybox bin/rm; ln -s busybox bin/id; \
         echo root:x:0:0:root:/:/bin/sh > etc/passwd; echo root:x:0: > etc/group; chmod 1777 tmp; \
         echo 1 > gone/deep/file; echo 1 > turned/file; echo 1 > opaque/old",
        "echo 2 > etc/second; ln etc/second etc/name",
        "rm -r gone turned opaque; echo now a file > turned; mkdir opaque; echo 3 > opaque/new; echo 3 > etc/second",
    ];
    for (number, step) in steps.iter().enumerate() {
        let bundle = folder.join(format!("bundle-{number}"));
        let bundle = bundle.to_str().unwrap();
        umoci(&["unpack", "--image", &image, bundle]);
        succeed(Command::new("sh").args(["-euc", step]).current_dir(Path::new(bundle).join("rootfs")));
        umoci(&["repack", "--image", &image, bundle]);
    }
    umoci(&["config", "--image", &image, "--config.env", "FROM=below", "--config.cmd", "/bin/ls"]);
    image
}

#[test]
fn an_image_of_others_is_stood_on_and_pushed() {
    if !real("an_image_of_others_is_stood_on_and_pushed") {
        return;
    }
    for program in ["umoci", "skopeo", "podman"] {
        assert!(installed(program), "{program} is not installed");
    }
    let folder = Folder::new("base");
    let image = foreign_image(folder.path());
    in_private_network(|| {
        let Registry { service, port } = registry_with(folder.path(), Some("me:secret"));
        let place = format!("127.0.0.1:{port}/other/base:1");
        let to = format!("docker://{place}");
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "me:secret"]);
        succeed(copy.arg(format!("oci:{image}")).arg(&to));
        let logins = folder.path().join("auth.json");
        let login = ["login", "--tls-verify=false", "-u", "me", "-p", "secret", "--authfile", logins.to_str().unwrap()];
        succeed(Command::new("podman").args(login).arg(format!("127.0.0.1:{port}")));

        let workspace_folder = folder.path().join("workspace");
        std::fs::create_dir_all(workspace_folder.join("envs")).unwrap();
        std::fs::write(workspace_folder.join("kiln.toml"), "").unwrap();
        let definition = format!(
            "platforms = [\"linux/amd64\"]\n[base]\nimage = \"{place}\"\n[[run]]\n\
             script = \"cat /etc/second /etc/name > /made; rm /etc/name; ls / /opaque >> /made\"\n\
             [users.app]\nuid = 7\n[image]\nuser = \"app\"\ncommand = [\"/bin/sh\", \"-c\", \"id -u; cat /made; echo $FROM\"]\n"
        );
        std::fs::write(workspace_folder.join("envs/api.toml"), definition).unwrap();
        let command = |logins: &Path| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
            command.arg("--store").arg(folder.path().join("store")).arg("-C").arg(&workspace_folder);
            command.env("REGISTRY_AUTH_FILE", logins);
            command
        };
        let kiln = |arguments: &[&str]| succeed(command(&logins).args(arguments));
        kiln(&["lock"]);
        kiln(&["build", "--check"]);
        let expected = "7\n3\n3\n/:\nbin\netc\nmade\nopaque\nproc\ntmp\nturned\n\n\
                        /opaque:\nnew\nbelow\n";
        // What mounts make folders for is not the image's.
        let tidy = |text: &str| -> String {
            let mounts = ["dev", "sys", "run", "proc"];
            text.lines().filter(|line| !mounts.contains(line)).map(|line| format!("{line}\n")).collect()
        };
        assert_eq!(tidy(&kiln(&["run", "api"])), tidy(expected));

        let pushed = kiln(&["push", "api", &format!("127.0.0.1:{port}/team/api:1")]);
        let podman = Podman::new(folder.path());
        let pull = ["pull", "--quiet", "--tls-verify=false", "--authfile", logins.to_str().unwrap()];
        succeed(podman.command().args(pull).arg(pushed.trim()));
        let mut container = podman.run("api", pushed.trim(), &[], &[]);
        assert!(container.wait().success(), "{}", container.printed());
        assert_eq!(tidy(&container.printed()), tidy(expected));
        // The layers below are the very blobs of the image below.
        let layers = |reference: &str| -> Vec<String> {
            let raw = ["inspect", "--raw", "--tls-verify=false", "--creds", "me:secret"];
            let text = succeed(Command::new("skopeo").args(raw).arg(format!("docker://{reference}")));
            let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
            let layers = manifest["layers"].as_array().unwrap().iter();
            layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
        };
        let (below, all) = (layers(&place), layers(pushed.trim()));
        assert_eq!((below.len(), &all[..3]), (3, &below[..]));
        // Without the login nobody gets anything.
        std::fs::write(folder.path().join("none"), "{}").unwrap();
        let refused = command(&folder.path().join("none")).args(["push", "api", &place]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("no login for 127.0.0.1"), "{said}");
        service.stop(Signal::TERM);
    });
    say("an_image_of_others_is_stood_on_and_pushed: umoci's image, skopeo, docker-registry, podman");
}
