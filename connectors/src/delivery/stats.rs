//! What became of the items that a sink was offered, in numbers, and how the sink is doing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How a sink is doing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// The last attempt got through, or there was none yet.
    Up,
    /// The last attempt failed; it is repeated until it gets through.
    Retrying,
    /// The other side refuses us until a person acts; everything is held and tried again now and then.
    Refused,
}

impl DeliveryState {
    /// The state as metrics and pages write it.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Up => "up",
            DeliveryState::Retrying => "retrying",
            DeliveryState::Refused => "refused",
        }
    }
}

/// Counters of one sink. They may be read at any time from any thread, and always add up:
/// `offered + restored = delivered + queued + shed + rejected`.
#[derive(Debug)]
pub struct DeliveryStats {
    name: Arc<str>,
    offered: AtomicU64,
    restored: AtomicU64,
    delivered: AtomicU64,
    rejected: AtomicU64,
    shed: AtomicU64,
    retried: AtomicU64,
    spilled: AtomicU64,
    spilled_bytes: AtomicU64,
    segments: AtomicU64,
    full: AtomicBool,
    condition: Mutex<(DeliveryState, Option<Arc<str>>)>,
}

/// The counters of a sink at one moment, in items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySnapshot {
    /// Everything that was handed to the sink.
    pub offered: u64,
    /// What an earlier run had not delivered, and this one has taken over.
    pub restored: u64,
    /// What the other side has taken.
    pub delivered: u64,
    /// What waits, in memory or in segments, or is under way.
    pub queued: u64,
    /// What was dropped because the queue was full, or closed.
    pub shed: u64,
    /// What the other side will never take, and was dead-lettered.
    pub rejected: u64,
    /// Items sent again, once for each time: not part of the sum.
    pub retried: u64,
    /// The part of `queued` that is in segments only.
    pub spilled: u64,
    /// Bytes of all segments that still hold something to deliver, those whose items are in memory as well
    /// included.
    pub spilled_bytes: u64,
    /// Segments written since the start.
    pub segments: u64,
    /// Whether the queue is full, and the spill behind it, if there is one: the source waits, or items are shed.
    pub full: bool,
    /// How the sink is doing.
    pub state: DeliveryState,
    /// Why the last attempt failed; `None` once one got through.
    pub last_error: Option<Arc<str>>,
}

impl DeliveryStats {
    pub(super) fn new(name: Arc<str>) -> Self {
        DeliveryStats {
            name,
            offered: AtomicU64::new(0),
            restored: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            spilled: AtomicU64::new(0),
            spilled_bytes: AtomicU64::new(0),
            segments: AtomicU64::new(0),
            full: AtomicBool::new(false),
            condition: Mutex::new((DeliveryState::Up, None)),
        }
    }

    /// The sink's name: `influxdb`, `slack/oncall`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All counters, adding up.
    pub fn snapshot(&self) -> DeliverySnapshot {
        // What leaves is read before what came: an item is counted as offered before it can leave, so
        // the difference is never negative, and what slips in between counts as queued.
        let delivered = self.delivered.load(Ordering::Acquire);
        let rejected = self.rejected.load(Ordering::Acquire);
        let shed = self.shed.load(Ordering::Acquire);
        let restored = self.restored.load(Ordering::Acquire);
        let offered = self.offered.load(Ordering::Acquire);
        let queued = (offered + restored).saturating_sub(delivered + rejected + shed);
        let (state, last_error) =
            self.condition.lock().unwrap_or_else(PoisonError::into_inner).clone();
        DeliverySnapshot {
            offered,
            restored,
            delivered,
            queued,
            shed,
            rejected,
            retried: self.retried.load(Ordering::Relaxed),
            spilled: self.spilled.load(Ordering::Relaxed).min(queued),
            spilled_bytes: self.spilled_bytes.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
            full: self.is_full(),
            state,
            last_error,
        }
    }

    /// How many items wait, in memory or in segments, or are under way.
    pub fn queued(&self) -> u64 {
        let left = self.delivered.load(Ordering::Acquire)
            + self.rejected.load(Ordering::Acquire)
            + self.shed.load(Ordering::Acquire);
        let restored = self.restored.load(Ordering::Acquire);
        (self.offered.load(Ordering::Acquire) + restored).saturating_sub(left)
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub(super) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// How the sink is doing.
    pub fn state(&self) -> DeliveryState {
        self.condition.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    pub(super) fn add_offered(&self, items: usize) {
        self.offered.fetch_add(items as u64, Ordering::Release);
    }

    pub(super) fn add_restored(&self, items: u64) {
        self.restored.fetch_add(items, Ordering::Release);
    }

    pub(super) fn set_spilled(&self, items: u64, bytes: u64) {
        self.spilled.store(items, Ordering::Relaxed);
        self.spilled_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_segment(&self) {
        self.segments.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_delivered(&self, items: usize) {
        self.delivered.fetch_add(items as u64, Ordering::Release);
    }

    pub(super) fn add_rejected(&self, items: usize) {
        self.rejected.fetch_add(items as u64, Ordering::Release);
    }

    pub(super) fn add_shed(&self, items: usize) {
        self.shed.fetch_add(items as u64, Ordering::Release);
    }

    pub(super) fn add_retried(&self, items: usize) {
        self.retried.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// Changes the state; the one before.
    pub(super) fn set_state(&self, state: DeliveryState, error: Option<&str>) -> DeliveryState {
        let mut condition = self.condition.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *condition, (state, error.map(Arc::from))).0
    }
}
