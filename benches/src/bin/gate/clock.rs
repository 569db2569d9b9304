//! CPU time of this thread, and how two jobs are measured by turns.

use std::time::Duration;

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};

/// Rounds of each job: the least of them is the one that others disturbed least.
const ROUNDS: usize = 9;

/// Time that this thread has been on a processor, to the nanosecond. `schedstat` in `/proc` has it too, but only up to
/// the last tick of the scheduler.
fn on_cpu() -> anyhow::Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    Ok(time.context("could not read this thread's CPU time")?.into())
}

/// The least CPU time of two jobs, which take turns after one turn that does not count.
pub(crate) fn by_turns(
    mut first: impl FnMut() -> anyhow::Result<()>,
    mut second: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<(Duration, Duration)> {
    let time = |job: &mut dyn FnMut() -> anyhow::Result<()>| -> anyhow::Result<Duration> {
        let before = on_cpu()?;
        job()?;
        Ok(on_cpu()?.saturating_sub(before))
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
