//! Packages that do what is allowed and hardly done, in an archive of their own.

use crate::support::archive::{Package, Scenario};
use crate::support::deb;
use crate::support::keys::{Flaw, Signer};
use crate::support::server::Server;

pub struct Archive {
    server: Server,
    signer: Signer,
}

impl Archive {
    pub fn start() -> Self {
        let signer = Signer::new(1, Flaw::None);
        let scenario = Scenario {
            origin: "Crafted".into(),
            label: "Crafted".into(),
            suite: "crafted".into(),
            codename: "crafted".into(),
            valid_until: None,
            packages: packages(),
            ..Scenario::default()
        };
        Self { server: Server::start(scenario.signed("/crafted", &signer)), signer }
    }

    pub fn url(&self) -> String {
        self.server.url("/crafted")
    }

    pub fn key(&self) -> Vec<u8> {
        self.signer.public()
    }
}

/// A package with its relations, its maintainer scripts and other members, and its files.
fn package(
    name: &str,
    fields: &[(&str, &str)],
    members: &[(&str, &str)],
    fill: impl FnOnce(deb::Package) -> deb::Package,
) -> Package {
    let mut deb = fill(deb::Package::new().dir("./usr/", 0o755).dir("./usr/share/", 0o755));
    deb.control = format!("Package: {name}\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Test <test@example.org>\n");
    for (field, value) in fields {
        deb.control += &format!("{field}: {value}\n");
    }
    deb.control += "Description: a test\n";
    for (member, content) in members {
        let script = ["preinst", "postinst"].contains(member);
        let content = if script { format!("#!/bin/sh\nset -e\n{content}\n") } else { (*content).to_owned() };
        deb = deb.member(member, if script { 0o755 } else { 0o644 }, &content);
    }
    let mut package = Package::new(name, "1.0-1", "all").deb(deb.build());
    for (field, value) in fields {
        package = package.field(field, value);
    }
    package
}

fn packages() -> Vec<Package> {
    vec![
        owner(),
        package(
            "craft-diverter",
            &[("Depends", "craft-owner")],
            &[(
                "preinst",
                "mkdir -p /usr/share/craft/elsewhere\n\
                 dpkg-divert --package craft-diverter --rename --add --divert /usr/share/craft/one.orig /usr/share/craft/one\n\
                 dpkg-divert --package craft-diverter --rename --add --divert /usr/share/craft/elsewhere/two /usr/share/craft/two",
            )],
            |deb| deb.dir("./usr/share/craft/", 0o755).file("./usr/share/craft/one", b"the diverter's"),
        ),
        package("craft-deeper", &[], &[("postinst", "mkdir -p /var/lib/craft; touch /var/lib/craft/deeper")], |deb| {
            deb
        }),
        package(
            "craft-early",
            &[("Depends", "craft-deeper")],
            &[(
                "postinst",
                "test -e /var/lib/craft/deeper; touch /var/lib/craft/early\n\
                 dpkg-statoverride --add root tty 2751 /usr/share/craft/tool\n\
                 dpkg-trigger --no-await craft-asked-early",
            )],
            |deb| deb,
        ),
        late(),
        replacer(),
        changes(),
        link(),
        package("craft-through", &[("Pre-Depends", "craft-link")], &[], |deb| {
            deb.dir("./usr/share/craft/", 0o755)
                .dir("./usr/share/craft/link/", 0o755)
                .dir("./usr/share/craft/link/below/", 0o755)
                .file("./usr/share/craft/link/file", b"through a link")
                .file("./usr/share/craft/link/below/file", b"further through a link")
        }),
        package(
            "craft-trigger",
            &[],
            &[
                (
                    "triggers",
                    "interest-noawait /usr/share/craft/triggered\ninterest craft-asked-late\ninterest craft-asked-early\n",
                ),
                (
                    "postinst",
                    "mkdir -p /var/lib/craft; (echo \"$2\"; ls /usr/share/craft/triggered | sort) >> /var/lib/craft/\"$1\"",
                ),
            ],
            |deb| deb.dir("./usr/share/craft/", 0o755).dir("./usr/share/craft/triggered/", 0o755),
        ),
        package(
            "craft-failing",
            &[],
            &[("postinst", "echo the first words of a script; echo the last words of a script >&2; exit 3")],
            |deb| deb,
        ),
    ]
}

/// Ships what others divert, in a folder with a mode of its own.
fn owner() -> Package {
    package("craft-owner", &[], &[], |deb| {
        deb.dir("./usr/share/craft/", 0o755)
            .file("./usr/share/craft/one", b"the owner's")
            .file("./usr/share/craft/two", b"diverted, and nobody's then")
            .file("./usr/share/craft/three", b"diverted late")
            .dir("./usr/share/craft/triggered/", 0o755)
            .file("./usr/share/craft/triggered/owner", b"")
    })
}

/// Its preinst needs another package configured, and diverts, overrides and makes a folder.
fn late() -> Package {
    package(
        "craft-late",
        &[("Pre-Depends", "craft-early")],
        &[(
            "preinst",
            "test -e /var/lib/craft/early\n\
             dpkg-divert --package craft-late --rename --add --divert /usr/share/craft/three.orig /usr/share/craft/three\n\
             dpkg-statoverride --add root tty 2755 /usr/share/craft/program\n\
             dpkg-trigger --no-await craft-asked-late\n\
             install -d -m 700 /usr/share/craft/private",
        )],
        |deb| {
            deb.dir("./usr/share/craft/", 0o755)
                .file("./usr/share/craft/three", b"late's")
                .file("./usr/share/craft/program", b"too late for its override")
                .file("./usr/share/craft/tool", b"in time for its override")
                .dir("./usr/share/craft/private/", 0o755)
                .file("./usr/share/craft/private/file", b"")
                .dir("./usr/share/craft/triggered/", 0o755)
                .file("./usr/share/craft/triggered/late", b"")
        },
    )
}

/// Takes over a file of a package beside it, and one of the base.
fn replacer() -> Package {
    package(
        "craft-replacer",
        &[("Depends", "craft-changes"), ("Replaces", "craft-changes (<< 2), base-files")],
        &[],
        |deb| {
            deb.dir("./usr/share/craft/", 0o755)
                .file("./usr/share/craft/replaced", b"the replacer's")
                .dir("./usr/share/base-files/", 0o755)
                .file("./usr/share/base-files/dot.bashrc", b"the replacer's")
        },
    )
}

/// Its postinst changes what it ships, in every way.
fn changes() -> Package {
    let postinst = "cd /usr/share/craft\n\
        chmod 600 hard-2\n\
        echo changed > changed-2\n\
        cp broken-1 new; mv new broken-2\n\
        ln linked linked-again\n\
        mv folder folder.real; ln -s folder.real folder\n\
        rm -r gone gone-x; rm -r anew; mkdir anew; echo new > anew/new\n\
        rm pointer; mkdir pointer; touch pointer/file\n\
        mkfifo pipe; mkdir -m 1777 sticky; chown 7:8 sticky; rm -r emptied/*";
    package(
        "craft-changes",
        &[],
        &[("conffiles", "/etc/craft/kept\nremove-on-upgrade /etc/craft/removed\n"), ("postinst", postinst)],
        |deb| {
            deb.dir("./etc/", 0o755)
                .dir("./etc/craft/", 0o755)
                .file("./etc/craft/kept", b"a conffile\n")
                .dir("./usr/share/craft/", 0o755)
                .file("./usr/share/craft/replaced", b"to be replaced")
                .file("./usr/share/craft/hard-1", b"hard")
                .hard_link("./usr/share/craft/hard-2", "./usr/share/craft/hard-1")
                .file("./usr/share/craft/changed-1", b"to be changed")
                .hard_link("./usr/share/craft/changed-2", "./usr/share/craft/changed-1")
                .file("./usr/share/craft/broken-1", b"broken")
                .hard_link("./usr/share/craft/broken-2", "./usr/share/craft/broken-1")
                .file("./usr/share/craft/linked", b"linked")
                .dir("./usr/share/craft/folder/", 0o755)
                .file("./usr/share/craft/folder/file", b"in a folder")
                .dir("./usr/share/craft/gone/", 0o755)
                .file("./usr/share/craft/gone/file", b"")
                .dir("./usr/share/craft/gone-x/", 0o755)
                .file("./usr/share/craft/gone-x/file", b"")
                .dir("./usr/share/craft/anew/", 0o755)
                .file("./usr/share/craft/anew/old", b"")
                .symlink("./usr/share/craft/pointer", "anew")
                .dir("./usr/share/craft/emptied/", 0o750)
                .file("./usr/share/craft/emptied/file", b"")
        },
    )
}

/// Ships a link to a folder that another package takes for a folder.
fn link() -> Package {
    package("craft-link", &[], &[], |deb| {
        deb.dir("./usr/share/craft/", 0o755)
            .dir("./usr/share/craft/target/", 0o755)
            .file("./usr/share/craft/target/own", b"")
            .symlink("./usr/share/craft/link", "target")
    })
}
