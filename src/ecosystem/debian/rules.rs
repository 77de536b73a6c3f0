//! What may not be baked into an image, by named rules.
//!
//! Scripts leave behind what belongs to one machine or one moment: keys, identities, logs, caches that
//! hold inode numbers or times. Each rule names what it concerns, what it does about it and why; the
//! list is the documentation (`kiln rules`, `docs/rules.md`), and part of the format.

use serde::Serialize;

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The file, link or folder goes, with what is in it.
    Remove,
    /// What is in the folder goes, the folder stays.
    Clear,
    /// The file stays and is made empty.
    Empty,
    /// The day of the last change of password becomes the stage's epoch.
    ShadowDay,
    /// The creation times in the Java keystore become the stage's epoch.
    KeystoreTime,
    /// Folders and names in a listing of TeX's files are sorted.
    ListingOrder,
    /// Categories and entries of the directory of Info documents are sorted.
    InfoOrder,
    /// The time in the database of mail aliases becomes the stage's epoch, its identity a hash of the rest.
    AliasTime,
}

/// A rule.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rule {
    pub name: &'static str,
    /// Paths from the root; `*` stands for any run of characters except `/`.
    pub paths: &'static [&'static str],
    pub action: Action,
    pub why: &'static str,
}

/// Every rule, in the order of application.
pub const RULES: &[Rule] = &[
    Rule {
        name: "snakeoil-certificate",
        paths: &["etc/ssl/certs/ssl-cert-snakeoil.pem", "etc/ssl/private/ssl-cert-snakeoil.key"],
        action: Action::Remove,
        why: "a private key made while baking would be shared by everyone who has the image; `make-ssl-cert generate-default-snakeoil` makes one at first start",
    },
    Rule {
        name: "ssh-host-keys",
        paths: &["etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub"],
        action: Action::Remove,
        why: "a host's identity; `ssh-keygen -A` makes them at first start",
    },
    Rule {
        name: "bind-control-key",
        paths: &["etc/bind/rndc.key"],
        action: Action::Remove,
        why: "the secret with which the name server is controlled; `rndc-confgen -a` makes one at first start",
    },
    Rule {
        name: "database-clusters",
        paths: &["var/lib/postgresql/*/main", "etc/postgresql/*/main"],
        action: Action::Remove,
        why: "a database cluster has an identifier and times of its own; `pg_createcluster` makes one at first start",
    },
    Rule {
        name: "directory-servers",
        paths: &["etc/ldap/slapd.d", "var/lib/ldap/*"],
        action: Action::Remove,
        why: "a directory has identifiers, times and an administrator's password of its own; `dpkg-reconfigure slapd` makes one at first start",
    },
    Rule {
        name: "mariadb-data",
        paths: &["var/lib/mysql/*"],
        action: Action::Remove,
        why: "a database's files have identifiers, keys and times of their own; `mariadb-install-db` makes them at first start",
    },
    Rule {
        name: "erlang-cookies",
        paths: &["var/lib/rabbitmq/.erlang.cookie", "var/lib/ejabberd/.erlang.cookie"],
        action: Action::Remove,
        why: "the secret by which nodes trust each other would be shared by everyone who has the image; the server makes one at first start",
    },
    Rule {
        name: "varnish-secret",
        paths: &["etc/varnish/secret"],
        action: Action::Remove,
        why: "the secret of the control terminal would be shared by everyone who has the image; `varnishd` makes one when it is started without `-S`",
    },
    Rule {
        name: "freeradius-parameters",
        paths: &["etc/freeradius/*/certs/dh"],
        action: Action::Remove,
        why: "random parameters for exchanging keys; `openssl dhparam` makes them",
    },
    Rule {
        name: "munin-plugins",
        paths: &["etc/munin/plugins/*", "var/log/munin/*"],
        action: Action::Remove,
        why: "what there is to be watched differs between machines; `munin-node-configure --shell` finds it out at first start",
    },
    Rule {
        name: "machine-id",
        paths: &["etc/machine-id"],
        action: Action::Empty,
        why: "a machine's identity; systemd makes one at first start when the file is empty",
    },
    Rule {
        name: "identities",
        paths: &[
            "var/lib/dbus/machine-id",
            "var/lib/systemd/random-seed",
            "var/lib/systemd/credential.secret",
            "var/lib/urandom/random-seed",
            "etc/machine-info",
        ],
        action: Action::Remove,
        why: "identity, secrets and randomness of one machine",
    },
    Rule {
        name: "java-keystore",
        paths: &["etc/ssl/certs/java/cacerts"],
        action: Action::KeystoreTime,
        why: "a keystore records when each certificate was added",
    },
    Rule {
        name: "info-directory",
        paths: &["usr/share/info/dir", "usr/share/info/dir.old"],
        action: Action::InfoOrder,
        why: "documents are added in the order in which a disk lists them",
    },
    Rule {
        name: "tex-listings",
        paths: &["var/lib/texmf/ls-R*"],
        action: Action::ListingOrder,
        why: "files are listed in the order in which a disk lists them",
    },
    Rule {
        name: "mail-aliases",
        paths: &["etc/aliases.db"],
        action: Action::AliasTime,
        why: "the database records when and on which disk it was made",
    },
    Rule {
        name: "shadow-day",
        paths: &["etc/shadow", "etc/shadow-"],
        action: Action::ShadowDay,
        why: "the day on which a script made a user is the day of the build",
    },
    Rule {
        name: "logs",
        paths: &[
            "var/log/dpkg.log",
            "var/log/alternatives.log",
            "var/log/bootstrap.log",
            "var/log/fontconfig.log",
            "var/log/apt/*",
            "var/log/postgresql/*",
            "var/log/journal/*",
        ],
        action: Action::Remove,
        why: "logs of the build, with its times",
    },
    Rule {
        name: "linker-cache-inodes",
        paths: &["var/cache/ldconfig/aux-cache"],
        action: Action::Remove,
        why: "holds inode numbers and times of the tree it was made in; ldconfig makes it again",
    },
    Rule {
        name: "font-caches",
        paths: &["var/cache/fontconfig/*"],
        action: Action::Remove,
        why: "holds times of folders; fontconfig makes them again",
    },
    Rule {
        name: "player-plugins",
        paths: &["usr/lib/*/vlc/plugins/plugins.dat"],
        action: Action::Remove,
        why: "lists plugins as a disk does, with their times; `vlc-cache-gen` makes it again",
    },
    Rule {
        name: "haskell-packages",
        paths: &["var/lib/ghc/package.conf.d/package.cache"],
        action: Action::Remove,
        why: "holds the packages as a disk lists them; `ghc-pkg recache` makes it again",
    },
    Rule {
        name: "octave-packages",
        paths: &["usr/share/octave/octave_packages"],
        action: Action::Remove,
        why: "records when it was made; `octave --eval 'pkg rebuild -global'` makes it again",
    },
    Rule {
        name: "tex-formats",
        paths: &["var/lib/texmf/web2c/lua*tex/*.fmt", "var/lib/texmf/web2c/*.log", "var/lib/texmf/web2c/*/*.log"],
        action: Action::Remove,
        why: "Lua orders its tables by time and address, and logs have times; `fmtutil-sys --all` makes the formats again",
    },
    Rule {
        name: "manual-index",
        paths: &["var/cache/man/*"],
        action: Action::Remove,
        why: "an index with times in a format that depends on the machine; `mandb` makes it again",
    },
    Rule {
        name: "systemd-catalog",
        paths: &["var/lib/systemd/catalog/database"],
        action: Action::Remove,
        why: "holds a random identity; `journalctl --update-catalog` makes it again",
    },
    Rule {
        name: "package-manager-leftovers",
        paths: &[
            "var/lib/dpkg/status-old",
            "var/lib/dpkg/diversions-old",
            "var/lib/dpkg/statoverride-old",
            "var/lib/dpkg/available",
            "var/lib/dpkg/available-old",
            "var/lib/dpkg/lock",
            "var/lib/dpkg/lock-frontend",
            "var/lib/dpkg/triggers/Lock",
            "var/cache/debconf/*-old",
            "var/cache/apt/*.bin",
            "var/cache/apt/archives/*",
            "var/lib/apt/lists/*",
        ],
        action: Action::Remove,
        why: "backups, locks and caches that the next run makes again",
    },
    Rule {
        name: "run-time-folders",
        paths: &["run", "tmp", "var/tmp"],
        action: Action::Clear,
        why: "filled when a container starts; what is there comes from programs that ran during the build",
    },
];

/// A file that exists only while scripts run. One that is there already stays as it is, and so does what a script has
/// made of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Preparation {
    /// It is there if this package is; always if `None`.
    pub package: Option<&'static str>,
    pub path: &'static str,
    pub mode: u32,
    pub content: &'static str,
    pub why: &'static str,
}

/// Every preparation.
pub const PREPARATIONS: &[Preparation] = &[
    Preparation {
        package: None,
        path: "usr/sbin/policy-rc.d",
        mode: 0o755,
        content: "#!/bin/sh\nexit 101\n",
        why: "no service starts while an image is baked (`invoke-rc.d(8)`)",
    },
    Preparation {
        package: None,
        path: "etc/hostname",
        mode: 0o644,
        content: "kiln\n",
        why: "scripts that write down the machine's name find the same one everywhere, and not none",
    },
    Preparation {
        package: None,
        path: "etc/resolv.conf",
        mode: 0o644,
        content: "",
        why: "scripts that copy it find one without a name server",
    },
    Preparation {
        package: Some("postgresql-common"),
        path: "etc/postgresql-common/createcluster.d/kiln.conf",
        mode: 0o644,
        content: "create_main_cluster = false\n",
        why: "a database cluster is made at first start, not baked: see the rule `database-clusters`",
    },
];

/// Whether `pattern` matches `path`: names are compared one by one, `*` inside a name as in a shell.
pub fn matches(pattern: &str, path: &str) -> bool {
    let mut patterns = pattern.split('/');
    let mut names = path.split('/');
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if name_matches(pattern, name) => {}
            _ => return false,
        }
    }
}

fn name_matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(tail) = name.strip_prefix(head) else { return false };
    (0..=tail.len()).any(|start| tail.is_char_boundary(start) && name_matches(rest, &tail[start..]))
}

/// `/etc/shadow` with the third field of each line (the day of the last change) not later than `day`.
pub fn shadow_day(text: &str, day: u64) -> String {
    text.lines()
        .map(|line| {
            let mut fields: Vec<&str> = line.split(':').collect();
            let clamped = day.to_string();
            if fields.get(2).and_then(|field| field.parse::<u64>().ok()).is_some_and(|changed| changed > day) {
                fields[2] = &clamped;
            }
            fields.join(":") + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{RULES, matches, shadow_day};

    #[test]
    fn patterns_match_name_by_name() {
        assert!(matches("etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_ed25519_key"));
        assert!(!matches("etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_ed25519_key.pub"));
        assert!(matches("var/log/apt/*", "var/log/apt/term.log"));
        assert!(!matches("var/log/apt/*", "var/log/apt/old/term.log"));
        assert!(matches("var/cache/debconf/*-old", "var/cache/debconf/templates.dat-old"));
    }

    #[test]
    fn the_day_in_shadow_is_clamped_and_nothing_else_moves() {
        assert_eq!(
            shadow_day("root:*:20700:0:99999:7:::\nredis:!:20000::::::\nx:!::::::\n", 20500),
            "root:*:20500:0:99999:7:::\nredis:!:20000::::::\nx:!::::::\n"
        );
    }

    #[test]
    fn rules_have_distinct_names_and_relative_paths() {
        let mut names: Vec<_> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
        assert!(RULES.iter().flat_map(|rule| rule.paths).all(|path| !path.starts_with('/') && !path.ends_with('/')));
    }
}
