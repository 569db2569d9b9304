//! Progress of the pipeline for the page, about once a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidewatch_dataflow::time::EventTime;
use tokio::runtime;
use tokio::time::{Instant, interval};

use crate::page::{LiveState, Phase, Status};
use crate::telemetry::Telemetry;

const EVERY: Duration = Duration::from_secs(1);

/// Tells `live` how far the pipeline is, until the page's state is dropped or says that it stopped.
pub(super) fn keep(live: &Arc<LiveState>, telemetry: Telemetry, runtime: &runtime::Handle) {
    let live = Arc::downgrade(live);
    runtime.spawn(async move {
        let (mut every, mut before) = (interval(EVERY), (Instant::now(), 0));
        loop {
            let now = every.tick().await;
            let Some(live) = live.upgrade().filter(|live| !live.has_stopped()) else { return };
            let records = telemetry.counters.ingest.records.load(Ordering::Relaxed);
            let seconds = now.duration_since(before.0).as_secs_f64().max(1e-3);
            let records_per_second = records.saturating_sub(before.1) as f64 / seconds;
            before = (now, records);
            let phase = match (records, telemetry.caught_up()) {
                (0, false) => Phase::Starting,
                (_, true) => Phase::Live,
                (_, false) => Phase::CatchingUp { percent: percent(&telemetry, records) },
            };
            live.set_status(status(&telemetry, phase, records_per_second));
        }
    });
}

/// Tells `live` that the pipeline no longer reads.
pub(super) fn stopped(live: &LiveState, telemetry: &Telemetry) {
    live.set_status(status(telemetry, Phase::Stopped, 0.0));
}

/// How much of what was there has been read; `None` while the lag is not known.
fn percent(telemetry: &Telemetry, records: u64) -> Option<f64> {
    let lag: u64 = telemetry.gauges.iter().map(|g| g.lag.load(Ordering::Relaxed)).sum();
    (lag > 0).then(|| 100.0 * records as f64 / (records + lag) as f64)
}

fn status(telemetry: &Telemetry, phase: Phase, records_per_second: f64) -> Status {
    let applied = EventTime::from_millis(telemetry.counters.applied.load(Ordering::Relaxed));
    Status {
        phase,
        records: telemetry.counters.ingest.records.load(Ordering::Relaxed),
        records_per_second,
        watermark: (applied > EventTime::MIN).then_some(applied),
    }
}
