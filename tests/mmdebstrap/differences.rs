//! Where an image is not mmdebstrap's tree, and why. The same list, for readers, is docs/differences.md.

/// Names in which the two trees may differ.
pub struct Difference {
    /// Paths from the root; `*` stands for any run of characters except `/`, `/**` at the end for all below.
    pub paths: &'static [&'static str],
    pub why: &'static str,
}

pub const DIFFERENCES: &[Difference] = &[
    Difference { paths: &["usr/share/kiln/**"], why: "the lock that the image was made from" },
    Difference { paths: &["dev/**"], why: "device nodes are the container engine's" },
    Difference {
        paths: &["etc/fstab", "etc/hostname", "etc/resolv.conf"],
        why: "the machine's: the engine provides them, mmdebstrap copies the build host's",
    },
];
