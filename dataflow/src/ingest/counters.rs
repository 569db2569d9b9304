//! Counters of the ingest, shared by all workers of a process and read by telemetry.

use std::sync::atomic::{AtomicU64, Ordering};

use super::ledger::IngestTally;
use crate::dead_letter::Reason;
use crate::time::EventTime;

/// Counters that only rise. In = decoded + dead-lettered, record by record.
#[derive(Debug, Default)]
pub struct IngestCounters {
    /// Records read.
    pub records: AtomicU64,
    /// Bytes of their keys and values.
    pub bytes: AtomicU64,
    /// Measurements decoded and admitted.
    pub points: AtomicU64,
    /// Log lines decoded and admitted.
    pub log_lines: AtomicU64,
    /// Read attempts that failed.
    pub read_errors: AtomicU64,
    dead_letters: [AtomicU64; Reason::ALL.len()],
}

impl IngestCounters {
    /// Counts `count` dead letters with `reason`.
    pub fn count_dead_letters(&self, reason: Reason, count: u64) {
        if let Some(at) = Reason::ALL.iter().position(|r| *r == reason)
            && let Some(counter) = self.dead_letters.get(at)
        {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Begins with what an earlier run has counted.
    pub fn go_on_from(&self, tally: &IngestTally) {
        let ([records, points, log_lines], letters) = tally.totals();
        self.records.fetch_add(records, Ordering::Relaxed);
        self.points.fetch_add(points, Ordering::Relaxed);
        self.log_lines.fetch_add(log_lines, Ordering::Relaxed);
        for (reason, count) in Reason::ALL.iter().zip(letters) {
            self.count_dead_letters(*reason, *count);
        }
    }

    /// Dead letters so far, by reason; every reason is listed.
    pub fn dead_letters(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().zip(&self.dead_letters).map(|(r, n)| (*r, n.load(Ordering::Relaxed)))
    }
}

/// Gauges of one worker's partitions taken together.
#[derive(Debug, Default)]
pub struct PartitionGauges {
    /// Records between our position and the end of the log, all partitions of the worker.
    pub lag: AtomicU64,
    /// Where the worker's capability stands, in milliseconds of event time.
    pub capability: AtomicU64,
    /// Points read and not yet applied.
    pub open_points: AtomicU64,
    /// 1 once every partition of the worker has been at the end of its log.
    pub caught_up: AtomicU64,
}

impl PartitionGauges {
    pub(super) fn set_capability(&self, time: EventTime) {
        self.capability.store(time.as_millis(), Ordering::Relaxed);
    }
}
