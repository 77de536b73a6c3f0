//! How much memory may be used for a tree. Only where a tree lives depends on it, nothing that is in it.

use std::fs;
use std::path::Path;

/// Whether `bytes` of memory are free, by the kernel's own estimate and under the limits of this process' control
/// group and those above it (proc_meminfo(5), the kernel's cgroup-v2 and cgroup-v1 documentation).
pub fn has(bytes: u64) -> bool {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let free = |folder: &Path, limit: &str, used: &str| {
        Some(number(&folder.join(limit))?.saturating_sub(number(&folder.join(used))?))
    };
    let mut all = vec![fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text))];
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for (root, group) in groups.lines().filter_map(memory_group) {
        // In a namespace of control groups, the group is at the root.
        for folder in Path::new(&group).ancestors().filter_map(|folder| folder.strip_prefix("/").ok()) {
            let folder = Path::new(root).join(folder);
            all.push(free(&folder, "memory.max", "memory.current"));
            all.push(free(&folder, "memory.limit_in_bytes", "memory.usage_in_bytes"));
        }
    }
    all.into_iter().flatten().min().is_some_and(|free| free >= bytes)
}

/// Where a line of `/proc/self/cgroup` has its limits of memory: the mount point, and the path below it.
fn memory_group(line: &str) -> Option<(&'static str, String)> {
    let mut fields = line.splitn(3, ':');
    let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    match controllers {
        "" => Some(("/sys/fs/cgroup", path.to_owned())),
        _ if controllers.split(',').any(|name| name == "memory") => Some(("/sys/fs/cgroup/memory", path.to_owned())),
        _ => None,
    }
}

fn available(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::{available, has, memory_group};

    #[test]
    fn the_estimate_is_read() {
        assert_eq!(available("MemTotal:       24 kB\nMemAvailable:   21 kB\n"), Some(21 << 10));
        assert_eq!(available("MemTotal:       24 kB\n"), None);
        assert!(!has(u64::MAX));
        assert!(has(1));
        assert_eq!(memory_group("0::/a/b"), Some(("/sys/fs/cgroup", "/a/b".to_owned())));
        assert_eq!(memory_group("4:memory:/x:y"), Some(("/sys/fs/cgroup/memory", "/x:y".to_owned())));
        assert_eq!(memory_group("3:cpu,cpuacct:/"), None);
    }
}
