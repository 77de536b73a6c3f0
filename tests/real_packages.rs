//! Second tier: this machine's real packages, against what dpkg makes of them. Runs where KILN_TEST_REAL
//! is set, and takes the packages from the folder in KILN_TEST_DEBS, or downloads some with apt-get.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// How fast something was, by the clock and by the processor time of all threads.
struct Watch(Instant, f64);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), Self::processor())
    }

    /// User and system time of this process in seconds (proc(5), stat; 100 ticks a second).
    fn processor() -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
    }

    fn rate(&self, bytes: u64) -> String {
        let rate = |seconds: f64| bytes as f64 / 1e6 / seconds.max(0.01);
        let (clock, processor) = (rate(self.0.elapsed().as_secs_f64()), rate(Self::processor() - self.1));
        format!("{clock:.0} MB/s, {processor:.0} MB per second of processor time")
    }
}

use kiln::digest::Digest;
use kiln::ecosystem::debian::exclusions::Exclusions;
use kiln::ecosystem::debian::part::{DebPart, PartOptions, deb_part};
use kiln::layer::{Kind, assemble, flatten, unpack_plain};
use kiln::store::Store;

const PACKAGES: &str = "coreutils bash base-files base-passwd libc6 dash login passwd util-linux mount git perl-base \
     openssh-client cron at mailutils man-db iputils-ping systemd udev sudo e2fsprogs dpkg apt tzdata locales \
     ca-certificates openssl bsdutils zsh-common python3-minimal";

#[expect(clippy::disallowed_methods, reason = "a test of the second tier is switched on from outside")]
fn setting(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

fn packages(folder: &Path) -> Vec<PathBuf> {
    let folder = setting("KILN_TEST_DEBS").unwrap_or_else(|| {
        let status =
            Command::new("apt-get").arg("download").args(PACKAGES.split_whitespace()).current_dir(folder).status();
        assert!(status.unwrap().success(), "apt-get download failed");
        folder.to_owned()
    });
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    found.sort();
    found
}

/// What dpkg-deb unpacks, as lines that say all that a part holds of it.
fn unpacked(root: &Path, folder: &Path, lines: &mut BTreeSet<String>, inodes: &mut BTreeMap<u64, BTreeSet<String>>) {
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let (mode, uid, gid, mtime) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid(), metadata.mtime());
        let what = if kind.is_dir() {
            unpacked(root, &path, lines, inodes);
            lines.insert(format!("{name} directory {mode:o} {uid}:{gid}"));
            continue;
        } else if kind.is_symlink() {
            format!("link {}", std::fs::read_link(&path).unwrap().display())
        } else if kind.is_file() {
            inodes.entry(metadata.ino()).or_default().insert(name.clone());
            let digest = Digest::of_reader(&mut std::fs::File::open(&path).unwrap()).unwrap().0;
            format!("file {digest} {mode:o}")
        } else {
            assert!(kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
            format!("special {} {mode:o}", metadata.rdev())
        };
        lines.insert(format!("{name} {what} {uid}:{gid} {mtime}"));
    }
}

fn described(part: &DebPart) -> (BTreeSet<String>, BTreeSet<BTreeSet<String>>) {
    let mut lines = BTreeSet::new();
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in part.part.directories.iter().chain(&part.part.entries) {
        let (path, mode, uid, gid, mtime) = (&entry.path, entry.mode, entry.uid, entry.gid, entry.mtime);
        let (what, root) = match &entry.kind {
            Kind::Directory => {
                lines.insert(format!("{path} directory {mode:o} {uid}:{gid}"));
                continue;
            }
            Kind::File { sha256, .. } => (format!("file {sha256} {mode:o}"), path.clone()),
            Kind::HardLink { target } => (files[target].clone(), target.clone()),
            Kind::Symlink { target } => (format!("link {target}"), String::new()),
            other => panic!("{other:?} in a package that was taken for ordinary"),
        };
        files.insert(path.clone(), what.clone());
        if !root.is_empty() {
            names.entry(root).or_default().insert(path.clone());
        }
        lines.insert(format!("{path} {what} {uid}:{gid} {mtime}"));
    }
    (lines, names.into_values().filter(|names| names.len() > 1).collect())
}

#[test]
fn real_packages_give_what_dpkg_unpacks() {
    if setting("KILN_TEST_REAL").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let (exclusions, leave_out) = (Exclusions::default(), BTreeSet::new());
    let options = PartOptions { exclusions: &exclusions, merged_usr: false, leave_out: &leave_out };
    let mut report = String::new();
    let mut parts = Vec::new();
    let mut plain = 0;
    for path in packages(folder.path()) {
        let deb = store.put(&std::fs::read(&path).unwrap()).unwrap();
        let watch = Watch::start();
        let part = deb_part(&store, &deb, &options).unwrap();
        let rate = watch.rate(part.part.tar_size);
        if part.part.tar_size > 20_000_000 {
            report += &format!("{:?}: {} plain bytes, {rate}\n", path.file_name().unwrap(), part.part.tar_size);
        }
        let tree = tempfile::tempdir().unwrap();
        assert!(Command::new("dpkg-deb").arg("-x").args([&path, tree.path()]).status().unwrap().success());
        let (mut lines, mut inodes) = (BTreeSet::new(), BTreeMap::new());
        unpacked(tree.path(), tree.path(), &mut lines, &mut inodes);
        let linked: BTreeSet<_> = inodes.into_values().filter(|names| names.len() > 1).collect();
        let (found, found_linked) = described(&part);
        let difference: Vec<_> = lines.symmetric_difference(&found).take(5).collect();
        assert!(difference.is_empty(), "{}: {difference:#?}", path.display());
        assert_eq!(found_linked, linked, "{}", path.display());
        let listed = Command::new("dpkg-deb").arg("-c").arg(&path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), part.paths.len(), "{}", path.display());
        plain += part.part.tar_size;
        parts.push(part);
    }
    assert!(parts.len() >= 20);
    let mut seen = BTreeSet::new();
    let apart: Vec<_> = parts
        .iter()
        .map(|part| &part.part)
        .filter(|part| {
            // Packages of one machine can ship the same path by way of diversions; a layer cannot.
            let paths: Vec<_> = part.entries.iter().map(|entry| entry.path.clone()).collect();
            paths.iter().all(|path| !seen.contains(path)) && {
                seen.extend(paths);
                true
            }
        })
        .collect();
    let directories: BTreeMap<_, _> =
        apart.iter().flat_map(|part| &part.directories).map(|entry| (entry.path.clone(), entry.clone())).collect();
    let directories: Vec<_> = directories.into_values().collect();
    let watch = Watch::start();
    let layer = assemble(&store, &directories, &apart).unwrap();
    let rate = watch.rate(layer.tar_size);
    report += &format!("assembled {} plain bytes of {plain}, {rate}\n", layer.tar_size);
    let watch = Watch::start();
    let flattened = flatten(&store, std::slice::from_ref(&layer)).unwrap();
    let rate = watch.rate(layer.tar_size);
    report += &format!("flattened {} entries, {rate}\n", flattened.entries.len());
    other_readers(&store, &layer, folder.path(), flattened.entries.len());
    std::io::Write::write_all(&mut std::io::stderr(), report.as_bytes()).unwrap();
}

/// gzip, GNU tar and Python must read the layer, and see as many entries.
fn other_readers(store: &Store, layer: &kiln::layer::Layer, folder: &Path, count: usize) {
    let blob = store.blob_path(&layer.digest);
    let gzip = folder.join("layer.tar.gz");
    std::fs::copy(&blob, &gzip).unwrap();
    assert!(Command::new("gzip").arg("-t").arg(&gzip).status().unwrap().success());
    let listed = Command::new("tar").arg("--numeric-owner").arg("-tvzf").arg(&gzip).output().unwrap();
    assert!(listed.status.success() && listed.stderr.is_empty(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), count);
    let script = "import sys, tarfile; print(len(tarfile.open(sys.argv[1]).getmembers()))";
    if let Ok(python) = Command::new("python3").args(["-c", script]).arg(&gzip).output() {
        assert_eq!(String::from_utf8_lossy(&python.stdout).trim(), count.to_string());
    }
    let mut plain = Vec::new();
    unpack_plain(store, layer).unwrap().into_inner().read_to_end(&mut plain).unwrap();
    assert_eq!(Digest::of(&plain), layer.diff_id);
}
