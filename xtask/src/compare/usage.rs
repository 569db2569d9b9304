//! What processes use, as the kernel tells it in `/proc`.

use std::fs;

/// The number of KiB behind `name`, in a text with lines like `MemTotal: 123 kB`; 0 where it is not said.
pub(super) fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Resident memory of a process in KiB, from its `status`; 0 for one that has ended.
fn resident_kib(status: &str) -> u64 {
    kib(status, "VmRSS:")
}

/// Resident memory of all `processes` together, in KiB. What they share is counted for each of them.
pub(super) fn memory_kib(processes: &[u32]) -> u64 {
    let statuses = processes.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/status")));
    statuses.map(|status| resident_kib(&status.unwrap_or_default())).sum()
}

/// The first of the three averages: of the last minute.
fn first_average(loadavg: &str) -> Option<f64> {
    loadavg.split_whitespace().next()?.parse().ok()
}

/// How many threads of the machine have wanted to run in the last minute; 0 where it cannot be known.
pub(super) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    first_average(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_status() {
        let status =
            "Name:\tjava (x) VmRSS: 1\nVmHWM:\t  999 kB\nVmRSS:\t  123456 kB\nThreads:\t2\n";
        assert_eq!(resident_kib(status), 123_456);
        assert_eq!(resident_kib("Name:\tkthreadd\nState:\tZ (zombie)\n"), 0);
        assert_eq!(resident_kib(""), 0);
        assert!(memory_kib(&[std::process::id()]) > 500);
    }

    #[test]
    fn the_load_is_that_of_the_last_minute() {
        assert_eq!(first_average("2.51 0.94 0.49 3/321 12345\n"), Some(2.51));
        assert_eq!(first_average(""), None);
    }
}
