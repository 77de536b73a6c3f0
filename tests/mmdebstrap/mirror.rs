//! mmdebstrap's side: an archive of exactly the locked packages, and the root it makes of them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln::digest::Digest;
use kiln::lock::Lockfile;
use kiln::workspace::Platform;

use super::sets::Set;

/// Makes the links of a merged `/usr`.
const MERGE: &str =
    "--setup-hook=for name in bin sbin lib lib64; do mkdir -p \"$1/usr/$name\"; ln -s \"usr/$name\" \"$1/$name\"; done";

const PLATFORM: &str = "linux/amd64";

/// The tar archive of mmdebstrap's root for the packages of `lock`; one made before is taken again.
pub fn mmdebstrap(work: &Path, lock: &Lockfile, set: &Set, epoch: u64) -> PathBuf {
    let (name, suite) = (set.name, set.suite);
    let archive = work.join("mirror").join(name);
    let (index, include) = packages(work, &archive, lock);
    let tag = Digest::of(index.as_bytes()).to_string();
    let result = work.join(format!("{name}.{}.mmdebstrap.tar", &tag[..12]));
    if result.exists() {
        return result;
    }
    write_archive(&archive, suite, &index);
    let partial = result.with_extension("partial");
    // The same conditions as kiln's: the machine's name, and the order of hashes.
    let hostname = work.join("hostname");
    fs::write(&hostname, "kiln\n").unwrap();
    let script = "mount --bind \"$0\" /etc/hostname; hostname -F /etc/hostname; exec mmdebstrap \"$@\"";
    let output = Command::new("unshare")
        .args(["--uts", "--mount", "sh", "-e", "-c", script])
        .arg(&hostname)
        .env_clear()
        .env("PERL_HASH_SEED", "0")
        .env("PERL_PERTURB_KEYS", "0")
        .env("PYTHONHASHSEED", "0")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .args(["--mode=root", "--variant=essential", "--architectures=amd64", "--format=tar"])
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args((!include.is_empty()).then(|| format!("--include={}", include.join(","))))
        // Before trixie no package brings the links, and who makes a root asks for them.
        .args((suite != "trixie").then_some(MERGE))
        .arg(suite)
        .arg(&partial)
        .arg(format!("deb [trusted=yes] copy:{} {suite} main", archive.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "mmdebstrap of {name}: {}", String::from_utf8_lossy(&output.stderr));
    fs::write(work.join(format!("{name}.mmdebstrap.log")), output.stderr).unwrap();
    fs::rename(&partial, &result).unwrap();
    result
}

/// The archive's index, and what is to be installed on the Essential set.
fn packages(work: &Path, archive: &Path, lock: &Lockfile) -> (String, Vec<String>) {
    let platform = PLATFORM.parse::<Platform>().unwrap();
    let pool = archive.join("pool");
    fs::create_dir_all(&pool).unwrap();
    let mut index = String::new();
    let mut include = Vec::new();
    for package in &lock.packages {
        let Some(artifact) = package.artifacts.get(&platform) else { continue };
        let digest = artifact.sha256.to_string();
        let blob = work.join("store/blobs/sha256").join(&digest[..2]).join(&digest);
        let file = format!("{}.deb", &digest[..32]);
        if !pool.join(&file).exists() {
            fs::copy(&blob, pool.join(&file)).unwrap();
        }
        let control = Command::new("dpkg-deb").arg("--field").arg(&blob).output().unwrap();
        assert!(control.status.success());
        let _ = write!(
            index,
            "{}\nFilename: pool/{file}\nSize: {}\nSHA256: {digest}\n\n",
            String::from_utf8(control.stdout).unwrap().trim_end(),
            artifact.size
        );
        if !package.base {
            include.push(format!("{}={}", package.name, package.version));
        }
    }
    (index, include)
}

fn write_archive(archive: &Path, suite: &str, index: &str) {
    let dists = archive.join("dists").join(suite);
    let folder = dists.join("main/binary-amd64");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("Packages"), index).unwrap();
    let release = format!(
        "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: {suite}\nDate: Sat, 01 Nov 2025 00:00:00 UTC\n\
         Architectures: amd64\nComponents: main\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        Digest::of(index.as_bytes()),
        index.len()
    );
    fs::write(dists.join("Release"), release).unwrap();
}
