//! How far a partition was read, and what to do when the log no longer has that place: a state machine
//! that knows nothing of the client.
//!
//! ```text
//!              out of range, or the log ends too early
//!   reading ─────────────────────────────────────────► ask for the log's bounds ◄──┐
//!      ▲  ▲                                                  │                      │
//!      │  └── first record, or an end that fits ── trying ◄──┴─► wait a second ─────┘
//!      │                                             │             (in range after all, or
//!      └── on_retention = "earliest": lost is counted┘              too short, not yet sure)
//!                                                    └─► stopped: told by every poll
//! ```

use std::time::{Duration, Instant};

use tidewatch_dataflow::record::{Record, record_hash};

use super::super::batch_queue::StartAt;
use super::bounds::Bounds;
use super::fault::{PartitionFault, Verdict, judge};
use super::options::{OnRetention, SeenRecord};

/// Between two attempts at a place that the log did not have. A new leader has caught up by then, mostly.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// A log counts as made anew when it was too short so often, [`RETRY`] apart: right after a crash, a leader
/// may not yet show its newest records, and stopping for that would need a person for nothing.
const TOO_SHORT_MAX: u32 = 3;

/// What is known of the reading of one partition.
#[derive(Debug)]
pub(super) struct Progress {
    /// The least offset that the next record can have; unknown before the first sign of life of a
    /// partition read from its beginning.
    pub(super) next: Option<i64>,
    /// The end was reached and no record came since.
    pub(super) at_end: bool,
    /// The last record that was handed out, or that was met again where reading went on.
    pub(super) last: Option<SeenRecord>,
    /// Records that retention removed unread.
    pub(super) lost: u64,
    /// Why nothing more is read.
    pub(super) stopped: Option<PartitionFault>,
    /// To be compared when it is met again, before anything is handed out.
    seen: Option<SeenRecord>,
    /// Where another record was met than the one to be compared: what the log is remains to be asked.
    differs: Option<i64>,
    recovery: Option<Recovery>,
}

/// The way back into a log that did not have the place.
#[derive(Copy, Clone, Debug)]
struct Recovery {
    step: Step,
    /// How often the verdict was put off.
    tries: u32,
}

#[derive(Copy, Clone, Debug)]
enum Step {
    /// Ask for the log's bounds, not before this instant.
    Ask(Instant),
    /// An answer is awaited.
    Asked,
    /// Try the place again, not before this instant.
    Restart(Instant),
    /// Fetching was started again.
    Trying,
}

/// What a partition needs done.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    /// Nothing now.
    Nothing,
    /// Ask where the log begins and ends.
    Ask,
    /// Fetch from here on.
    Restart(StartAt),
}

impl Progress {
    /// Of a partition that is read from `start` on, where the record `seen` comes before.
    pub(super) fn new(start: StartAt, seen: Option<SeenRecord>) -> Self {
        let next = match start {
            StartAt::Beginning => None,
            StartAt::Offset(offset) => Some(offset.max(0)),
        };
        let seen = seen.filter(|seen| seen.offset >= 0 && next.is_some_and(|n| seen.offset < n));
        Progress {
            next,
            at_end: false,
            last: None,
            lost: 0,
            stopped: None,
            seen,
            differs: None,
            recovery: None,
        }
    }

    /// The last record before the position, whether or not it was met again already.
    pub(super) fn last_seen(&self) -> Option<SeenRecord> {
        self.last.or(self.seen)
    }

    /// Where to fetch from: at the record to be compared, if there is one.
    pub(super) fn place(&self) -> StartAt {
        match (self.seen, self.next) {
            (Some(seen), _) => StartAt::Offset(seen.offset),
            (None, Some(next)) => StartAt::Offset(next),
            (None, None) => StartAt::Beginning,
        }
    }

    /// Takes in a record; whether it is to be handed out.
    pub(super) fn record(&mut self, record: &Record<'_>, now: Instant) -> bool {
        if self.stopped.is_some() || self.differs.is_some() {
            return false;
        }
        if let Some(seen) = self.seen.take() {
            if record.offset == seen.offset {
                if record_hash(record) != seen.hash {
                    self.differs = Some(seen.offset);
                    self.doubt(now);
                    return false;
                }
                self.last = Some(seen);
            }
            self.note_unchecked(seen, record.offset);
        }
        // The client never goes back; if it did, what was read once stays read once.
        if self.next.is_some_and(|next| record.offset < next) {
            return false;
        }
        self.next = Some(record.offset.saturating_add(1));
        self.at_end = false;
        self.recovery = None;
        true
    }

    /// Takes in that the log ended at `offset` when the broker was asked.
    pub(super) fn end(&mut self, offset: i64, now: Instant) {
        if self.stopped.is_some() || self.differs.is_some() {
            return;
        }
        if self.next.is_some_and(|next| offset < next) {
            // It ends before what was read already.
            return self.doubt(now);
        }
        if let Some(seen) = self.seen.take() {
            self.note_unchecked(seen, offset);
        }
        self.next = Some(offset);
        self.at_end = true;
        self.recovery = None;
    }

    /// Takes in that the log does not have the place `offset` that was asked for.
    pub(super) fn out_of_range(&mut self, offset: i64, now: Instant) {
        if let Some(next) = self.next {
            // Behind the last record handed out, markers and removed records may have been passed already.
            self.next = Some(next.max(offset));
        }
        self.doubt(now);
    }

    /// Takes in that the brokers no longer know the partition. Should it come back, its log may be another:
    /// the last record is fetched again then and compared.
    pub(super) fn vanished(&mut self) -> Option<StartAt> {
        self.at_end = false;
        if self.stopped.is_some() || self.recovery.is_some() {
            return None;
        }
        self.seen = self.seen.or(self.last);
        self.seen.map(|_| self.place())
    }

    /// Takes in that the topic is another one than that which was read.
    pub(super) fn replaced(&mut self) {
        if self.stopped.is_none() {
            self.stop(PartitionFault::Replaced);
        }
    }

    /// What there is to do now.
    pub(super) fn todo(&mut self, now: Instant) -> Todo {
        let Some(recovery) = &mut self.recovery else { return Todo::Nothing };
        match recovery.step {
            Step::Ask(at) if at <= now && self.next.is_some() => {
                recovery.step = Step::Asked;
                Todo::Ask
            }
            // Whatever is oldest was wanted, so nothing is lost when something else has become the oldest.
            Step::Ask(at) | Step::Restart(at) if at <= now => {
                recovery.step = Step::Trying;
                Todo::Restart(self.place())
            }
            Step::Ask(_) | Step::Asked | Step::Restart(_) | Step::Trying => Todo::Nothing,
        }
    }

    /// Whether [`Progress::todo`] has to be asked.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// The question for the bounds failed: it is asked again.
    pub(super) fn unanswered(&mut self, now: Instant) {
        if let Some(recovery) = &mut self.recovery {
            recovery.step = Step::Ask(now + RETRY);
        }
    }

    /// Takes in the bounds of the log; how many records turned out to be lost.
    pub(super) fn judged(&mut self, bounds: Bounds, policy: OnRetention, now: Instant) -> u64 {
        let (Some(recovery), Some(wanted)) = (&mut self.recovery, self.next) else { return 0 };
        recovery.tries += 1;
        let tries = recovery.tries;
        if let Some(offset) = self.differs {
            self.stop(PartitionFault::Different { offset, first: bounds.0 });
            return 0;
        }
        match judge(wanted, bounds, policy) {
            Verdict::GoOn => {
                recovery.step = Step::Restart(if tries == 1 { now } else { now + RETRY });
                // What there was in its place may have been cut off: look at what was read last.
                let seen = self.seen.or(self.last);
                self.seen = seen.filter(|seen| seen.offset >= bounds.0);
                if let (Some(seen), None) = (seen, self.seen) {
                    self.note_unchecked(seen, bounds.0);
                }
                0
            }
            Verdict::Skip { first, lost } => {
                recovery.step = Step::Restart(now);
                self.lost = self.lost.saturating_add(lost);
                self.next = Some(first);
                (self.seen, self.last) = (None, None);
                lost
            }
            Verdict::Stop(PartitionFault::Shorter { .. }) if tries < TOO_SHORT_MAX => {
                recovery.step = Step::Restart(now + RETRY);
                0
            }
            Verdict::Stop(fault) => {
                self.stop(fault);
                0
            }
        }
    }

    fn stop(&mut self, fault: PartitionFault) {
        self.at_end = false;
        self.recovery = None;
        (self.seen, self.differs) = (None, None);
        self.stopped = Some(fault);
    }

    fn doubt(&mut self, now: Instant) {
        self.at_end = false;
        if self.stopped.is_none() {
            let tries = self.recovery.map_or(0, |recovery| recovery.tries);
            self.recovery = Some(Recovery { step: Step::Ask(now), tries });
        }
    }

    /// Says that `seen` is gone, if what was met instead lies behind it.
    fn note_unchecked(&self, seen: SeenRecord, met: i64) {
        if met > seen.offset {
            tracing::debug!(
                offset = seen.offset,
                met,
                "the record that would prove the log to be the same is gone, going on without it"
            );
        }
    }
}
