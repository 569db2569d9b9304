//! The bound on what is open ahead of the frontier.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::time::{EventTime, PaneSize};

/// How many points a worker has read whose pane is not applied yet. The source adds, the operator that
/// closes panes subtracts; both live on one worker.
#[derive(Clone, Debug, Default)]
pub struct OpenPoints(Rc<Cell<u64>>);

impl OpenPoints {
    /// `count` more points are open.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get().saturating_add(count));
    }

    /// `count` points are no longer open.
    pub fn remove(&self, count: u64) {
        self.0.set(self.0.get().saturating_sub(count));
    }

    /// How many are open.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// How far time has come, at the source and at the end of the dataflow.
#[derive(Copy, Clone, Debug)]
pub(super) struct Progress {
    /// The frontier of the source streams: the least capability of all sources.
    pub(super) admitted: EventTime,
    /// The frontier at the end of the dataflow: what lies before is applied.
    pub(super) applied: EventTime,
}

/// Which partitions may be read now.
///
/// A partition waits while it leads what is applied by more than `max_lead`, and, when more points are
/// open than allowed, unless it is the one that holds the frontier back: else nothing would ever move.
/// `max_lead` spans several panes, so the operators' one pane of delay cannot bring everything to a halt.
#[derive(Debug)]
pub(super) struct Throttle {
    max_lead: Duration,
    open_points_max: u64,
    tick: PaneSize,
    /// The first watermark known on this worker: leads count from there while the frontier stands at
    /// the beginning of time.
    first_known: Option<EventTime>,
}

impl Throttle {
    pub(super) fn new(max_lead: Duration, open_points_max: u64, tick: PaneSize) -> Self {
        Throttle { max_lead, open_points_max, tick, first_known: None }
    }

    /// Whether a partition with this watermark may be read, while `open` points are open.
    pub(super) fn allows(
        &mut self,
        watermark: Option<EventTime>,
        progress: Progress,
        open: u64,
    ) -> bool {
        // A partition of which nothing is known may be the one that everybody waits for.
        let Some(watermark) = watermark else { return true };
        let first = *self.first_known.get_or_insert(watermark);
        let base = if progress.applied == EventTime::MIN { first } else { progress.applied };
        let holds_back = self.tick.floor(watermark) <= progress.admitted;
        watermark <= base + self.max_lead && (open <= self.open_points_max || holds_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> EventTime {
        EventTime::from_millis(seconds * 1_000)
    }

    fn progress(admitted: u64, applied: u64) -> Progress {
        Progress { admitted: at(admitted), applied: at(applied) }
    }

    #[test]
    fn a_leading_partition_waits_and_the_least_never_does() {
        let tick = PaneSize::new(Duration::from_secs(10)).unwrap();
        let mut throttle = Throttle::new(Duration::from_secs(60), 1_000, tick);
        assert!(throttle.allows(Some(at(100)), progress(0, 0), 0));
        assert!(throttle.allows(Some(at(160)), progress(0, 0), 0));
        assert!(!throttle.allows(Some(at(161)), progress(0, 0), 0));
        assert!(throttle.allows(Some(at(161)), progress(110, 110), 0), "time moved");
        assert!(!throttle.allows(Some(at(161)), progress(110, 110), 1_001), "too much is open");
        assert!(throttle.allows(Some(at(119)), progress(110, 100), 1_001), "it holds time back");
        assert!(throttle.allows(None, progress(110, 100), 1_001), "nothing is known of it");
    }
}
