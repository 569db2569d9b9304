//! CPU time of this thread, and how two jobs are measured by turns.

use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Rounds of each job: the least of them is the one that others disturbed least.
const ROUNDS: usize = 9;

/// Nanoseconds that this thread has been on a processor, as Linux counts them; elsewhere the wall clock.
fn on_cpu(start: Instant) -> anyhow::Result<Duration> {
    let Ok(text) = std::fs::read_to_string("/proc/thread-self/schedstat") else {
        return Ok(start.elapsed());
    };
    let first = text.split_whitespace().next().context("schedstat is empty")?;
    Ok(Duration::from_nanos(first.parse().context("schedstat does not begin with a number")?))
}

/// The least CPU time of two jobs, which take turns after one turn that does not count.
pub(crate) fn by_turns(
    mut first: impl FnMut() -> anyhow::Result<()>,
    mut second: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(Duration, Duration)> {
    let start = Instant::now();
    let time = |job: &mut dyn FnMut() -> anyhow::Result<()>| -> anyhow::Result<Duration> {
        let before = on_cpu(start)?;
        job()?;
        Ok(on_cpu(start)?.saturating_sub(before))
    };
    let mut least = (Duration::MAX, Duration::MAX);
    for round in 0..=ROUNDS {
        let (a, b) = (time(&mut first)?, time(&mut second)?);
        if round > 0 {
            least = (least.0.min(a), least.1.min(b));
        }
    }
    Ok(least)
}
