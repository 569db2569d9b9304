//! A stretch of event time of a [synthetic](super::synthetic) fleet, measured in this process.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidewatch::pipeline::PipelineCounters;
use tidewatch_operators::feed::FeedSpec;

use super::engine::{Counted, Engine, Plan};
use super::process::{Cpu, CpuClock};
use super::synthetic::{Rhythm, SyntheticSources, TOPIC};

/// What a stretch cost, and what was read in it.
pub(crate) struct Stretch {
    pub(crate) cpu: Cpu,
    pub(crate) messages: u64,
    /// Of keys and values.
    pub(crate) bytes: u64,
}

/// Runs `feeds` over a fleet on one worker, and measures from the moment at which everything before `from` is applied
/// to that of `to`, both in milliseconds. `groups` have a window every ten seconds.
///
/// # Errors
/// When a sample was late or a record refused, or when it is not about as many windows as there must be.
pub(crate) fn measure(
    rhythm: Rhythm,
    feeds: Vec<FeedSpec>,
    groups: u64,
    (from, to): (u64, u64),
) -> anyhow::Result<Stretch> {
    let counters = Arc::new(PipelineCounters::default());
    let counted = Arc::new(Counted::default());
    let plan = Plan {
        topic: TOPIC,
        feeds,
        workers: NonZeroUsize::MIN,
        max_lead: Duration::from_secs(120),
        checkpoints: None,
    };
    let sources = SyntheticSources::start(rhythm, Arc::clone(&counters))?;
    let engine = Engine::start(plan, counters, Box::new(sources), counted.clone())?;
    let seen = |engine: &Engine| {
        let bytes = engine.counters.ingest.bytes.load(Ordering::Relaxed);
        (engine.records(), bytes, counted.points.load(Ordering::Relaxed))
    };
    engine.watch(|engine| engine.applied().as_millis() >= from)?;
    let (clock, before) = (CpuClock::now()?, seen(&engine));
    engine.watch(|engine| engine.applied().as_millis() >= to)?;
    let (cpu, after) = (clock.until(&CpuClock::now()?), seen(&engine));
    engine.check_clean()?;
    engine.stop()?;
    let (messages, bytes, fired) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    // The looks come a little late, so the edges are not exact.
    let expected = groups * (to - from) / 10_000;
    anyhow::ensure!(
        fired.abs_diff(expected) <= expected / 10 + groups * 2,
        "{fired} windows fired, about {expected} were due"
    );
    Ok(Stretch { cpu, messages, bytes })
}
