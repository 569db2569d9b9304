//! Memory that is at hand before a run.
//!
//! The host of a virtual machine takes back memory that has been free for some seconds (free page reporting). Touching
//! it again then costs a program 1 to 2 CPU seconds for a GiB instead of 0.05: as much as some of the systems take for
//! a million messages, and by chance. So before each run some memory is touched and given back, which the kernel
//! hands out first. It is touched in huge pages, as allocators ask for them, since small ones come from elsewhere.

use std::fs;

use anyhow::{Context as _, Result};
use memmap2::{Advice, MmapMut};

/// More than most of the systems take: 2 GiB.
const BYTES_MAX: u64 = 2 << 30;
/// The smallest page.
const PAGE: usize = 4_096;

/// Touches up to 2 GiB, at most a quarter of what is available, and gives them back; returns how many bytes.
pub(super) fn memory() -> Result<usize> {
    let share = available(&fs::read_to_string("/proc/meminfo").unwrap_or_default()) / 4;
    let bytes = usize::try_from(share.min(BYTES_MAX)).unwrap_or_default();
    if bytes == 0 {
        return Ok(0);
    }
    let mut memory = MmapMut::map_anon(bytes).context("could not touch memory before a run")?;
    // A kernel without huge pages says no, and small ones are better than none.
    let _ = memory.advise(Advice::HugePage);
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    Ok(bytes)
}

/// Bytes that can be had without swapping, by `/proc/meminfo`; 0 where it does not say.
fn available(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_how_much_there_is() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   20480 kB\n"), 20_480 * 1_024);
        assert_eq!(available("MemTotal: 9 kB\n"), 0);
    }

    #[test]
    fn no_more_is_touched_than_it_says() {
        assert!(memory().unwrap() as u64 <= BYTES_MAX);
    }
}
