//! Where an image is not mmdebstrap's tree, and why. The same list, for readers, is docs/differences.md.

/// What may differ.
pub enum Aspect {
    Anything,
    /// The permissions.
    Mode,
    /// The time of modification.
    Time,
    /// The order of lines.
    Order,
    /// Python's byte-code, but neither the version nor the source that it names.
    Bytecode,
}

/// Names in which the two trees may differ.
pub struct Difference {
    pub aspect: Aspect,
    /// Paths from the root; `*` stands for any run of characters except `/`, `/**` at the end for the folder and
    /// all below.
    pub paths: &'static [&'static str],
    pub why: &'static str,
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        aspect: Aspect::Anything,
        paths: &["usr/share/kiln/**"],
        why: "the lock that the image was made from",
    },
    Difference { aspect: Aspect::Anything, paths: &["dev/**"], why: "what starts a container makes its devices" },
    Difference {
        aspect: Aspect::Anything,
        paths: &["etc/fstab", "etc/hostname", "etc/resolv.conf"],
        why: "the machine's own: what starts a container provides them, mmdebstrap copies those of the host it ran on",
    },
    Difference {
        aspect: Aspect::Anything,
        paths: &[
            "etc/apt/apt.conf.d/99mmdebstrap",
            "etc/apt/sources.list",
            "etc/apt/sources.list.d",
            "etc/apt/preferences.d",
            "var/cache/apt/**",
            "var/lib/apt/**",
            "var/log/apt/**",
        ],
        why: "apt ran for mmdebstrap, with sources of its own; kiln has no apt, and an image names no archive's host",
    },
    Difference {
        aspect: Aspect::Mode,
        paths: &["etc/machine-id"],
        why: "empty in both; kiln leaves it the mode that systemd gave it, mmdebstrap gives it one",
    },
    Difference {
        aspect: Aspect::Time,
        paths: &["bin", "lib", "lib64", "sbin"],
        why: "before trixie no package ships these links: whoever makes a root makes them; kiln gives them the time of `base-files`' folders",
    },
    Difference {
        aspect: Aspect::Order,
        paths: &["etc/shells", "var/lib/dpkg/triggers/File"],
        why: "the order in which packages were unpacked, which means nothing",
    },
    Difference {
        aspect: Aspect::Bytecode,
        paths: &["usr/lib/python3*/__pycache__/*.pyc", "usr/lib/python3/dist-packages/**", "usr/share/python3/**"],
        why: "Python marks in byte-code which objects were shared when it was written; kiln fixes the seed of its hashes, mmdebstrap does not",
    },
    Difference {
        aspect: Aspect::Anything,
        paths: &["var/lib/sgml-base/supercatalog.old"],
        why: "the catalogue before the last package was added to it: which one comes last is the order of configuring, free where no package needs another",
    },
    Difference {
        aspect: Aspect::Anything,
        paths: &["etc/postgresql/*", "var/lib/postgresql/*", "etc/apt/apt.conf.d/02autoremove-postgresql"],
        why: "a database cluster is made at first start, not baked; these come with it, or name its version",
    },
];
