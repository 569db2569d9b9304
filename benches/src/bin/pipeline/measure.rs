//! CPU time, wall time and memory of this process.

use std::fmt;
use std::time::Instant;

use anyhow::Context;

/// What a run cost.
pub(crate) struct Cost {
    cpu_seconds: f64,
    wall_seconds: f64,
    messages: u64,
    peak_mib: u64,
}

/// A measurement that has begun.
pub(crate) struct Meter {
    cpu: f64,
    wall: Instant,
}

/// The kernel counts in hundredths of a second on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system seconds of all threads so far.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("could not read CPU time")?;
    // The name in parentheses may hold anything; fields are counted after it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("could not read CPU time")?;
    Ok((user + system) / TICKS_PER_SECOND)
}

/// The most memory this process ever held, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1_024
}

impl Meter {
    /// Begins.
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Meter { cpu: cpu_seconds()?, wall: Instant::now() })
    }

    /// Ends, after `messages` were processed.
    pub(crate) fn stop(self, messages: u64) -> anyhow::Result<Cost> {
        Ok(Cost {
            cpu_seconds: cpu_seconds()? - self.cpu,
            wall_seconds: self.wall.elapsed().as_secs_f64(),
            messages,
            peak_mib: peak_mib(),
        })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millions = self.messages as f64 / 1e6;
        write!(
            f,
            "cpu_s_per_million={:.2} msgs_per_s={:.0} rss_mib={}",
            self.cpu_seconds / millions,
            self.messages as f64 / self.wall_seconds,
            self.peak_mib
        )
    }
}
