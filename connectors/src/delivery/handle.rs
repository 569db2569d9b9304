//! The dataflow's end of a delivery: offers items, never waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::queue::Queue;
use super::stats::{DeliverySnapshot, DeliveryStats};

/// What handle and task share.
#[derive(Debug)]
pub(super) struct Shared<Item> {
    pub(super) queue: Queue<Item>,
    pub(super) stats: Arc<DeliveryStats>,
}

/// Offers items to a sink. Cheap to clone; all clones feed the same queue.
///
/// When the last clone is dropped without [`SinkHandle::close`], the sink's task ends at once and says in
/// the log how much it left behind.
#[derive(Debug)]
pub struct SinkHandle<Item> {
    inner: Arc<Inner<Item>>,
}

#[derive(Debug)]
struct Inner<Item> {
    shared: Arc<Shared<Item>>,
    /// The deadline of closing; `None` while open. Held here only, so that the task notices when the
    /// last handle is gone.
    closing: watch::Sender<Option<Instant>>,
    task: Mutex<Option<JoinHandle<Vec<Item>>>>,
    /// Whether the last offer was shed in part, so that a flood of them makes one line in the log.
    shedding: AtomicBool,
}

/// What a closed delivery leaves behind.
#[derive(Debug)]
#[must_use = "what is left has not been delivered"]
pub struct Closed<Item> {
    /// The items that were not delivered, in the order they were offered. An attempt that was cut off by
    /// the deadline may have got through all the same; its items are among these.
    pub left: Vec<Item>,
    /// The final counters: `queued` is the number of items left.
    pub snapshot: DeliverySnapshot,
}

impl<Item> Clone for SinkHandle<Item> {
    fn clone(&self) -> Self {
        SinkHandle { inner: Arc::clone(&self.inner) }
    }
}

impl<Item> SinkHandle<Item> {
    pub(super) fn new(
        shared: Arc<Shared<Item>>,
        closing: watch::Sender<Option<Instant>>,
        task: JoinHandle<Vec<Item>>,
    ) -> Self {
        let (task, shedding) = (Mutex::new(Some(task)), AtomicBool::new(false));
        SinkHandle { inner: Arc::new(Inner { shared, closing, task, shedding }) }
    }

    /// Hands `items` over, in order. Never blocks: a lock is held for as long as it takes to move them.
    ///
    /// With [`OnFull::Stall`](super::OnFull::Stall) everything is taken, also when the queue is full:
    /// whoever reads the source is to look at [`SinkHandle::is_full`] and pause. The queue then
    /// overshoots by what is on its way from the source to here, which the source's own throttle bounds.
    /// With [`OnFull::Shed`](super::OnFull::Shed) what does not fit is dropped, newest first, and counted.
    /// After closing, everything is.
    pub fn offer(&self, items: Vec<Item>) {
        if items.is_empty() {
            return;
        }
        let Shared { queue, stats } = &*self.inner.shared;
        let shed = queue.offer(items, stats);
        let was_shedding = self.inner.shedding.swap(shed > 0, Ordering::Relaxed);
        if shed > 0 && !was_shedding {
            warn!(sink = stats.name(), shed, "queue full, shedding");
        }
    }

    /// Whether the queue holds `queue_items` or more.
    pub fn is_full(&self) -> bool {
        self.inner.shared.queue.is_full(&self.inner.shared.stats)
    }

    /// Whether the source must pause: the queue is full and may lose nothing.
    pub fn must_stall(&self) -> bool {
        self.inner.shared.queue.may_lose_nothing() && self.is_full()
    }

    /// The sink's counters; they outlive the handle.
    pub fn stats(&self) -> Arc<DeliveryStats> {
        Arc::clone(&self.inner.shared.stats)
    }

    /// Stops: tries to deliver what is queued until `deadline` from now, then gives up.
    ///
    /// A sink that waits for its next attempt tries at once. Items offered from now on may still get
    /// through; once this returns they are shed. A second call finds nothing left.
    pub async fn close(&self, deadline: Duration) -> Closed<Item> {
        let task = self.inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inner.closing.send_replace(Some(Instant::now() + deadline));
        let stats = &self.inner.shared.stats;
        let left = match task {
            None => Vec::new(),
            Some(task) => task.await.unwrap_or_else(|failure| {
                error!(sink = stats.name(), %failure, "the task of the sink failed");
                self.inner.shared.queue.close().into()
            }),
        };
        let snapshot = stats.snapshot();
        info!(
            sink = stats.name(),
            delivered = snapshot.delivered,
            left = left.len(),
            "sink closed"
        );
        Closed { left, snapshot }
    }
}
