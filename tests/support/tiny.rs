//! The smallest Essential set in which scripts run: this machine's dpkg with its libraries, and busybox.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::archive::Package;
use super::context::{here, not_run};
use super::deb;

/// What dpkg asks for, and what the tests' scripts use.
const APPLETS: [&str; 12] =
    ["sh", "rm", "tar", "diff", "cat", "sleep", "mkdir", "touch", "chmod", "chown", "chgrp", "date"];

/// The package `tiny`; `None`, said, where this machine has no dpkg or no static busybox.
pub fn essential() -> Option<Package> {
    let output = Command::new("ldd").arg("/usr/bin/dpkg").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries: BTreeSet<String> =
        text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect();
    let is_static = Command::new("ldd").arg("/usr/bin/busybox").output().is_ok_and(|output| !output.status.success());
    let (Ok(dpkg), Ok(busybox), true) = (fs::read("/usr/bin/dpkg"), fs::read("/usr/bin/busybox"), is_static) else {
        not_run("this machine has no /usr/bin/dpkg or no static /usr/bin/busybox");
        return None;
    };
    let architecture = here().architecture();
    let control = format!(
        "Package: tiny\nVersion: 1\nArchitecture: {architecture}\nEssential: yes\n\
         Maintainer: A <a@example.org>\nDescription: the smallest base\n"
    );
    let mut deb = deb::Package { control, data_name: "data.tar.gz", ..deb::Package::new() };
    for folder in ["etc", "root", "tmp", "usr", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var", "var/lib"] {
        deb = deb.dir(&format!("./{folder}/"), 0o755);
    }
    for folder in ["bin", "sbin", "lib", "lib64"] {
        deb = deb.symlink(&format!("./{folder}"), &format!("usr/{folder}"));
    }
    deb = deb.file("./etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n").file("./etc/group", b"root:x:0:\n");
    for (path, content) in [("usr/bin/dpkg", dpkg), ("usr/bin/busybox", busybox)] {
        deb = deb.file_with(&format!("./{path}"), &content, |header| header.set_mode(0o755));
    }
    for applet in APPLETS {
        deb = deb.symlink(&format!("./usr/bin/{applet}"), "busybox");
    }
    for tool in ["dpkg-deb", "ldconfig", "start-stop-daemon"] {
        deb = deb.file_with(&format!("./usr/sbin/{tool}"), b"#!/bin/sh\n", |header| header.set_mode(0o755));
    }
    let mut folders = BTreeSet::new();
    for library in libraries {
        let path = format!("usr{}", library.trim_start_matches("/usr"));
        let folder = path.rsplit_once('/').unwrap().0.to_owned();
        if folders.insert(folder.clone()) && !["usr/lib", "usr/lib64"].contains(&folder.as_str()) {
            deb = deb.dir(&format!("./{folder}/"), 0o755);
        }
        let content = fs::read(&library).unwrap();
        deb = deb.file_with(&format!("./{path}"), &content, |header| header.set_mode(0o755));
    }
    Some(Package::new("tiny", "1", architecture).field("Essential", "yes").deb(deb.build()))
}
