//! The outbox in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// What an outbox has done in this run, and what it remembers. One notification of an incident on each of
/// two channels counts twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Intents written: notifications begun.
    pub intents: u64,
    /// Receipts written: notifications told.
    pub receipts: u64,
    /// Intents without a receipt, from an earlier run, that were told again: the only ones that may have
    /// been told twice.
    pub repeated: u64,
    /// Openings not told because a later step of their incident had been attempted.
    pub superseded: u64,
    /// Notifications not told because an earlier run has a receipt.
    pub suppressed: u64,
    /// Notifications that a channel has rejected for good.
    pub given_up: u64,
    /// Objects written.
    pub objects: u64,
    /// Objects deleted because every kept checkpoint covers them.
    pub pruned: u64,
    /// Incidents remembered now, counted once for each channel.
    pub incidents: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) intents: AtomicU64,
    pub(super) receipts: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) superseded: AtomicU64,
    pub(super) suppressed: AtomicU64,
    pub(super) given_up: AtomicU64,
    pub(super) objects: AtomicU64,
    pub(super) pruned: AtomicU64,
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn snapshot(&self, incidents: usize) -> OutboxStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OutboxStats {
            intents: get(&self.intents),
            receipts: get(&self.receipts),
            repeated: get(&self.repeated),
            superseded: get(&self.superseded),
            suppressed: get(&self.suppressed),
            given_up: get(&self.given_up),
            objects: get(&self.objects),
            pruned: get(&self.pruned),
            incidents: incidents as u64,
        }
    }
}
