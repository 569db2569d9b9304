//! Admission: when a record is applied, decided per partition and by nothing but its own prefix.
//!
//! With `W` the partition watermark after a prefix, `W = max(event time seen) - out_of_orderness` and
//! never going back, a record `r` read after that prefix is admitted at
//! `max(event_time(r), W, floor)`. On time: at its event time. A pure function of the log and of the
//! floors, so every run, interleaving and worker count admits alike.

use std::time::Duration;

use crate::time::EventTime;

/// The watermark of one partition.
///
/// ```
/// use tidewatch_dataflow::{admission::PartitionClock, time::EventTime};
/// use std::time::Duration;
/// let at = |s: u64| EventTime::from_millis(s * 1_000);
/// let mut clock = PartitionClock::new(Duration::from_secs(5));
/// assert_eq!(clock.admit(at(100)), at(100));
/// assert_eq!(clock.watermark(), Some(at(95)));
/// assert_eq!(clock.admit(at(97)), at(97), "out of order, inside the bound");
/// assert_eq!(clock.admit(at(80)), at(95), "late: admitted at the watermark");
/// ```
#[derive(Clone, Debug)]
pub struct PartitionClock {
    out_of_orderness: Duration,
    /// `None` before the first record or floor.
    watermark: Option<EventTime>,
    floor: EventTime,
}

impl PartitionClock {
    /// A clock before its first record.
    pub fn new(out_of_orderness: Duration) -> Self {
        PartitionClock { out_of_orderness, watermark: None, floor: EventTime::MIN }
    }

    /// The admission time of the next record, whose event time is `event_time`; advances the watermark.
    pub fn admit(&mut self, event_time: EventTime) -> EventTime {
        let admission = event_time.max(self.watermark.unwrap_or(EventTime::MIN)).max(self.floor);
        let candidate = event_time.saturating_sub(self.out_of_orderness);
        self.watermark = Some(self.watermark.map_or(candidate, |w| w.max(candidate)));
        admission
    }

    /// Nothing will be admitted before the greater of this and the floor; `None` when nothing is known.
    pub fn watermark(&self) -> Option<EventTime> {
        match self.watermark {
            Some(watermark) => Some(watermark.max(self.floor)),
            None => (self.floor > EventTime::MIN).then_some(self.floor),
        }
    }

    /// A clock as it was: the greatest event time seen less the bound, and the floor.
    pub fn from_parts(
        out_of_orderness: Duration,
        watermark: Option<EventTime>,
        floor: EventTime,
    ) -> Self {
        PartitionClock { out_of_orderness, watermark, floor }
    }

    /// How far behind the greatest event time the watermark stays.
    pub fn bound(&self) -> Duration {
        self.out_of_orderness
    }

    /// Changes the bound for the records that follow; the watermark does not go back.
    pub fn set_bound(&mut self, out_of_orderness: Duration) {
        self.out_of_orderness = out_of_orderness;
    }

    /// Watermark and floor, as [`PartitionClock::from_parts`] takes them.
    pub fn parts(&self) -> (Option<EventTime>, EventTime) {
        (self.watermark, self.floor)
    }

    /// Raises the floor: nothing will be admitted before `to`. A journaled decision.
    pub fn raise_floor(&mut self, to: EventTime) {
        self.floor = self.floor.max(to);
    }
}
