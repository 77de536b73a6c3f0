//! What is baked both ways: sets of packages of different character.

pub struct Set {
    pub name: &'static str,
    /// Packages, by spaces.
    pub packages: &'static str,
    /// The suite that they are of.
    pub suite: &'static str,
    /// Whether it runs without being asked for by name.
    pub always: bool,
}

const fn always(name: &'static str, packages: &'static str) -> Set {
    Set { name, packages, suite: "trixie", always: true }
}

const fn on_request(name: &'static str, packages: &'static str) -> Set {
    Set { name, packages, suite: "trixie", always: false }
}

/// Packages of an older suite, which has no links of a merged `/usr` in any package.
const fn older(name: &'static str, suite: &'static str, packages: &'static str) -> Set {
    Set { name, packages, suite, always: true }
}

pub const SETS: &[Set] = &[
    // What Debian's own packages hardly do any more; see crafted.rs.
    always("crafted", "craft-through craft-diverter craft-late craft-replacer craft-changes craft-trigger"),
    older("bookworm", "bookworm", "ca-certificates python3 redis-server"),
    older("bullseye", "bullseye", "ca-certificates postgresql-client python2.7"),
    on_request("queue", "redis-sentinel redis-server"),
    always("userdb", "postgresql"),
    on_request("website", "ca-certificates libnginx-mod-http-modsecurity nginx openssl"),
    // Those two in the time of one.
    always(
        "queue-and-website",
        "ca-certificates libnginx-mod-http-modsecurity nginx openssl redis-sentinel redis-server",
    ),
    on_request("shells", "zsh fish tcsh bash-completion"),
    on_request("python", "python3 python3-venv python3-yaml"),
    always("init", "systemd systemd-sysv dbus openssh-server udev"),
    on_request("perl", "perl libwww-perl libdbd-sqlite3-perl libjson-xs-perl libxml-parser-perl"),
    always(
        "python-and-perl",
        "python3 python3-venv python3-yaml perl libwww-perl libdbd-sqlite3-perl libjson-xs-perl libxml-parser-perl",
    ),
    on_request("java", "openjdk-21-jre-headless ca-certificates-java"),
    on_request(
        "desktop",
        "libgtk-3-0t64 fontconfig fonts-dejavu shared-mime-info hicolor-icon-theme desktop-file-utils",
    ),
    on_request("mariadb", "mariadb-server"),
    always("postfix", "postfix"),
    on_request("exim", "exim4-daemon-light mailutils"),
    on_request("editors", "vim-tiny emacs-nox nano ed"),
    on_request("diversions", "molly-guard zutils"),
    on_request("debconf", "tzdata locales console-setup keyboard-configuration"),
    on_request("manual", "man-db groff info texinfo"),
    on_request("apt", "apt apt-utils debian-archive-keyring gnupg"),
    on_request("cron", "cron anacron at logrotate rsyslog"),
    on_request("certificates", "ssl-cert ca-certificates"),
    on_request("ruby", "ruby ruby-dev rake"),
    on_request("network", "iputils-ping sudo bind9 chrony snmpd avahi-daemon"),
    on_request("compilers", "gcc g++ make libc6-dev dpkg-dev"),
    on_request("node", "nodejs npm"),
    on_request("php", "php-fpm php-mysql apache2 libapache2-mod-php"),
    on_request("lisp", "guile-3.0 sbcl sgml-base docbook-xml xfonts-base"),
];
