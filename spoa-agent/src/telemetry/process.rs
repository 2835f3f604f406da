//! What the system says about this process, read from `/proc/self` when somebody asks.

use std::fs;

/// Resident memory in bytes; `None` where `/proc` does not say it.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Open file descriptors; `None` where `/proc` does not say it.
pub(super) fn open_files() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?;
    u64::try_from(entries.count()).ok()
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_the_memory_and_the_files_of_a_process() {
        assert!(super::resident_bytes().unwrap() > 1 << 16);
        assert!(super::open_files().unwrap() > 2);
    }
}
