//! The queue between the dataflow and a sink's task: [`Waiting`] under one lock, and who is told of what.
//!
//! Offers, the sink's task, the spill and cuts meet here. Nothing is done under the lock that takes longer
//! than moving the items of one call, or encoding a slice of 256 of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::OnFull;
use super::batch::{Batch, Fate};
use super::stats::DeliveryStats;
use super::waiting::{Limits, Read, Waiting};

/// Items in order, bounded by [`Limits`].
#[derive(Debug)]
pub(super) struct Queue<Item> {
    waiting: Mutex<Waiting<Item>>,
    pub(super) limits: Limits,
    stats: Arc<DeliveryStats>,
    /// For the sink's task: items came, or are not to linger any more.
    arrived: Notify,
    /// For cuts: items were settled, the sink's state changed, or it was closed.
    pub(super) settled: Notify,
    /// For the spill: there may be a surplus, or objects to delete, or it was closed.
    pub(super) surplus: Notify,
    /// For the spill, while it waits after a failure.
    pub(super) closed: Notify,
}

impl<Item> Queue<Item> {
    pub(super) fn new(limits: Limits, stats: Arc<DeliveryStats>) -> Self {
        Queue {
            waiting: Mutex::new(Waiting::new()),
            limits,
            stats,
            arrived: Notify::new(),
            settled: Notify::new(),
            surplus: Notify::new(),
            closed: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Waiting<Item>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody what has changed.
    fn publish(&self, waiting: &Waiting<Item>) {
        self.stats.set_full(waiting.is_full(&self.limits));
        self.stats.set_spilled(waiting.absent(), waiting.ledger.bytes());
        if waiting.may_spill(&self.limits) {
            self.surplus.notify_one();
        }
    }

    /// Adds what there is room for; how many were shed.
    pub(super) fn offer(&self, items: Vec<Item>) -> usize {
        let mut waiting = self.lock();
        let offered = items.len();
        let shed = waiting.offer(items, &self.limits);
        self.stats.add_offered(offered);
        self.stats.add_shed(shed);
        self.publish(&waiting);
        drop(waiting);
        self.arrived.notify_one();
        shed
    }

    /// Moves the oldest items into the batch, which then holds at most `batch_items`.
    pub(super) fn take(&self, batch_items: usize, batch: &mut Batch<Item>) {
        let room = batch.room(batch_items);
        if room > 0 {
            let mut waiting = self.lock();
            waiting.take(room, batch);
            self.publish(&waiting);
        }
    }

    /// Notes how an attempt ended.
    pub(super) fn settle(&self, fates: &[Fate]) {
        let mut waiting = self.lock();
        if waiting.settle(fates) {
            self.surplus.notify_one();
        }
        self.publish(&waiting);
        drop(waiting);
        self.settled.notify_waiters();
    }

    /// What the sink's task is to read back now.
    pub(super) fn to_read(&self) -> Option<Read> {
        self.lock().to_read(&self.limits)
    }

    /// Takes in what was read back.
    pub(super) fn put_front(&self, items: Vec<Item>) {
        let mut waiting = self.lock();
        waiting.damaged = None;
        waiting.put_front(items);
        self.publish(&waiting);
    }

    /// Forgets items that a segment holds.
    pub(super) fn drop_tail(&self, count: usize) {
        let mut waiting = self.lock();
        let dropped = waiting.drop_tail(count);
        self.publish(&waiting);
        drop(waiting);
        // Freed outside the lock, since 25,000 items take a while.
        drop(dropped);
    }

    /// Asks the sink's task not to let items before `mark` linger.
    pub(super) fn flush(&self, mark: u64) {
        let mut waiting = self.lock();
        waiting.flush_until = waiting.flush_until.max(mark);
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Changes what has to do with segments, and tells everybody.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Waiting<Item>) -> T) -> T {
        let mut waiting = self.lock();
        let result = change(&mut waiting);
        self.publish(&waiting);
        drop(waiting);
        self.arrived.notify_one();
        result
    }

    /// Resolves when something arrived since it last resolved.
    pub(super) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    pub(super) fn is_full(&self) -> bool {
        self.stats.is_full()
    }

    /// Whether a full queue holds up the source instead of shedding.
    pub(super) fn may_lose_nothing(&self) -> bool {
        self.limits.on_full == OnFull::Stall
    }

    /// Ends it: what is in memory only, and from now on everything is shed.
    pub(super) fn close(&self, batch: Vec<Item>) -> Vec<Item> {
        let mut waiting = self.lock();
        let left = waiting.close(batch);
        self.publish(&waiting);
        drop(waiting);
        self.settled.notify_waiters();
        self.surplus.notify_one();
        self.closed.notify_one();
        left
    }
}
