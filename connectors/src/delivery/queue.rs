//! The queue between the dataflow and a sink's task.
//!
//! # Where a disk spill goes
//! Items enter by [`Queue::offer`] and leave by [`Queue::take`], both in order and both under one lock;
//! nothing else touches them. A spill takes over in `offer` what goes beyond `queue_items`, and `take`
//! reads it back once memory is empty: the oldest items are then in memory, all others in segments.
//! `is_full` then asks the spill, and closing hands its segments to the checkpoint instead of returning
//! the items.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::stats::DeliveryStats;
use super::{DeliveryConfig, OnFull};

/// Items in order, bounded by `queue_items` as [`OnFull`] says.
#[derive(Debug)]
pub(super) struct Queue<Item> {
    waiting: Mutex<Waiting<Item>>,
    arrived: Notify,
    queue_items: usize,
    on_full: OnFull,
}

#[derive(Debug)]
struct Waiting<Item> {
    items: VecDeque<Item>,
    /// False once the task has ended: nobody would take anything any more.
    open: bool,
}

impl<Item> Queue<Item> {
    pub(super) fn new(config: &DeliveryConfig) -> Self {
        Queue {
            waiting: Mutex::new(Waiting { items: VecDeque::new(), open: true }),
            arrived: Notify::new(),
            queue_items: config.queue_items.max(1),
            on_full: config.on_full,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<Item>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what there is room for; how many were shed.
    pub(super) fn offer(&self, mut items: Vec<Item>, stats: &DeliveryStats) -> usize {
        let mut waiting = self.lock();
        let room = match (waiting.open, self.on_full) {
            (false, _) => 0,
            (true, OnFull::Stall) => usize::MAX,
            (true, OnFull::Shed) => {
                let queued = usize::try_from(stats.queued()).unwrap_or(usize::MAX);
                self.queue_items.saturating_sub(queued)
            }
        };
        let shed = items.len().saturating_sub(room);
        stats.add_offered(items.len());
        stats.add_shed(shed);
        items.truncate(room);
        waiting.items.extend(items);
        drop(waiting);
        self.arrived.notify_one();
        shed
    }

    /// Hands the oldest items, at most `max`, to `into`.
    pub(super) fn take(&self, max: usize, into: impl FnOnce(&mut dyn Iterator<Item = Item>)) {
        let mut waiting = self.lock();
        let count = max.min(waiting.items.len());
        into(&mut waiting.items.drain(..count));
    }

    /// Resolves when items were offered since it last resolved.
    pub(super) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    pub(super) fn is_full(&self, stats: &DeliveryStats) -> bool {
        stats.queued() >= self.queue_items as u64
    }

    /// Whether a full queue holds up the source instead of shedding.
    pub(super) fn may_lose_nothing(&self) -> bool {
        self.on_full == OnFull::Stall
    }

    /// Ends it: what is left, and from now on everything is shed.
    pub(super) fn close(&self) -> VecDeque<Item> {
        let mut waiting = self.lock();
        waiting.open = false;
        std::mem::take(&mut waiting.items)
    }
}
