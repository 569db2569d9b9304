//! What one worker knows of one of its own partitions.

use std::time::Duration;

use crate::admission::PartitionClock;
use crate::ingest::board::Report;
use crate::record::PartitionId;
use crate::time::{EventTime, PaneSize};

/// Whether a partition takes part in the minimum.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// It does.
    Live,
    /// It does, and asks to be lifted.
    Silent,
    /// It does not, until its next record.
    Lifted,
}

/// One partition on the worker that reads it.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) id: PartitionId,
    pub(super) clock: PartitionClock,
    phase: Phase,
    /// Counts the times the partition began or ceased to be silent, so that a lift that crosses a
    /// returning record is recognised as stale.
    generation: u32,
    /// Wall clock of the last record, or of the first look.
    last_record: EventTime,
    seen_record: bool,
    reported: Option<Report>,
}

impl Partition {
    pub(super) fn new(id: PartitionId, out_of_orderness: Duration, now: EventTime) -> Self {
        Partition {
            id,
            clock: PartitionClock::new(out_of_orderness),
            phase: Phase::Live,
            generation: 0,
            last_record: now,
            seen_record: false,
            reported: None,
        }
    }

    pub(super) fn is_lifted(&self) -> bool {
        self.phase == Phase::Lifted
    }

    /// A record is about to be admitted. A lifted partition returns at `capability`: nothing before what
    /// this worker may still send.
    pub(super) fn awake(&mut self, now: EventTime, capability: EventTime) {
        self.last_record = now;
        self.seen_record = true;
        if self.phase != Phase::Live {
            if self.phase == Phase::Lifted {
                self.clock.raise_floor(capability);
            }
            self.phase = Phase::Live;
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// The broker says there is nothing more. An empty partition is silent at once, another after
    /// `idle_timeout`.
    pub(super) fn at_end(&mut self, now: EventTime, idle_timeout: Duration) {
        let silent = !self.seen_record || now.since(self.last_record) >= idle_timeout;
        if silent && self.phase == Phase::Live {
            self.phase = Phase::Silent;
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// The director's decision about `generation`; stale ones are ignored.
    pub(super) fn lift(&mut self, generation: u32) {
        if self.phase == Phase::Silent && self.generation == generation {
            self.phase = Phase::Lifted;
        }
    }

    /// A report when there is news: the watermark, floored to the tick, moved or the phase changed.
    pub(super) fn report(&mut self, tick: PaneSize) -> Option<Report> {
        let report = Report {
            partition: self.id,
            generation: self.generation,
            watermark: self.clock.watermark().map(|w| tick.floor(w)),
            silent: self.phase != Phase::Live,
        };
        if self.reported == Some(report) {
            return None;
        }
        self.reported = Some(report);
        Some(report)
    }
}
