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
    /// Numbers that said that there is none, in records decoded in this run: see [`Decoded::no_numbers`].
    ///
    /// [`Decoded::no_numbers`]: crate::record::Decoded::no_numbers
    pub no_numbers: AtomicU64,
    /// Read attempts that failed.
    pub read_errors: AtomicU64,
    /// How often topics have been made anew, over all runs; on the process of worker 0.
    pub recreated: AtomicU64,
    dead_letters: [AtomicU64; Reason::ALL.len()],
    decisions: [AtomicU64; DecisionKind::ALL.len()],
}

/// What the director on worker 0 decides beside the log, as it is counted.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DecisionKind {
    /// A silent partition was lifted out of the least watermark.
    Lifted,
    /// A lifted partition takes part again.
    Returned,
    /// From an offset on, records of a partition are admitted no earlier than a floor: with every return, and
    /// for every partition when time is advanced.
    Floor,
    /// Time was advanced with the clock.
    Advanced,
    /// The bound that time stops at was moved on.
    Reached,
    /// A record that lies too far in the future was refused.
    Refused,
    /// A partition was found at run time.
    Discovered,
    /// Silence of all partitions began.
    AllSilent,
}

impl DecisionKind {
    /// All of them.
    pub const ALL: [DecisionKind; 8] = [
        DecisionKind::Lifted,
        DecisionKind::Returned,
        DecisionKind::Floor,
        DecisionKind::Advanced,
        DecisionKind::Reached,
        DecisionKind::Refused,
        DecisionKind::Discovered,
        DecisionKind::AllSilent,
    ];

    /// The kind as metrics label it.
    pub fn as_str(self) -> &'static str {
        match self {
            DecisionKind::Lifted => "lifted",
            DecisionKind::Returned => "returned",
            DecisionKind::Floor => "floor",
            DecisionKind::Advanced => "advanced",
            DecisionKind::Reached => "reached",
            DecisionKind::Refused => "refused",
            DecisionKind::Discovered => "discovered",
            DecisionKind::AllSilent => "all_silent",
        }
    }
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

    /// Counts `count` decisions of this kind.
    pub(super) fn count_decisions(&self, kind: DecisionKind, count: usize) {
        if let Some(counter) = self.decisions.get(kind as usize) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// Decisions of this run, on the process of worker 0; every kind is listed.
    pub fn decisions(&self) -> impl Iterator<Item = (DecisionKind, u64)> + '_ {
        let kinds = DecisionKind::ALL.iter().zip(&self.decisions);
        kinds.map(|(kind, count)| (*kind, count.load(Ordering::Relaxed)))
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
