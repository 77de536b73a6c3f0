//! How much memory may be used for a tree. Only where a tree lives depends on it, nothing that is in it.

use std::fs;

/// Whether `bytes` of memory are free, by the kernel's own estimate and under the limits of this process'
/// control group (proc_meminfo(5), the kernel's cgroup-v2 and cgroup-v1 documentation).
pub fn has(bytes: u64) -> bool {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let group = |limit: &str, used: &str| Some(number(limit)?.saturating_sub(number(used)?));
    let free = [
        fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text)),
        group("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        group("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ];
    free.into_iter().flatten().min().is_some_and(|free| free >= bytes)
}

fn available(meminfo: &str) -> Option<u64> {
    let value = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::{available, has};

    #[test]
    fn the_estimate_is_read() {
        assert_eq!(available("MemTotal:       24 kB\nMemAvailable:   21 kB\n"), Some(21 << 10));
        assert_eq!(available("MemTotal:       24 kB\n"), None);
        assert!(!has(u64::MAX));
    }
}
