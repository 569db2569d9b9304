//! Memory that is at hand before a run.
//!
//! The host of a virtual machine takes back memory that has been free for some seconds (free page reporting). Touching
//! it again then costs a program 1 to 2 CPU seconds for a GiB instead of 0.05: as much as some of the systems take for
//! a million messages, and by chance. So before each run some memory is touched and given back, which the kernel
//! hands out first. It is touched in huge pages, as allocators ask for them, since small ones come from elsewhere.

use std::fs;

use anyhow::{Context as _, Result};
use memmap2::{Advice, MmapMut};

use super::usage::kib;

/// More than most of the systems take: 2 GiB.
const BYTES_MAX: u64 = 2 << 30;
/// The smallest page.
const PAGE: usize = 4_096;

/// Touches up to 2 GiB, at most a quarter of what is available, and gives them back.
pub(super) fn memory() -> Result<()> {
    touch(share(&fs::read_to_string("/proc/meminfo").unwrap_or_default()))
}

/// How many bytes to touch on a machine that says `meminfo`; none where it does not say what is available.
fn share(meminfo: &str) -> u64 {
    (kib(meminfo, "MemAvailable:").saturating_mul(1_024) / 4).min(BYTES_MAX)
}

fn touch(bytes: u64) -> Result<()> {
    let bytes = usize::try_from(bytes).unwrap_or_default();
    if bytes == 0 {
        return Ok(());
    }
    let mut memory = MmapMut::map_anon(bytes).context("could not touch memory before a run")?;
    // A kernel without huge pages says no, and small ones are better than none.
    let _ = memory.advise(Advice::HugePage);
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_touched_than_a_quarter_of_what_the_kernel_says() {
        assert_eq!(share("MemTotal: 9 kB\nMemAvailable:   20480 kB\n"), 5_120 * 1_024);
        assert_eq!(share("MemAvailable: 24000000 kB\n"), BYTES_MAX);
        assert_eq!(share("MemTotal: 9 kB\n"), 0);
    }

    #[test]
    fn any_number_of_bytes_can_be_touched() {
        for bytes in [0, 1, 4_096, 1 << 22] {
            touch(bytes).unwrap();
        }
    }
}
