//! The dataflow's end of a delivery: offers items, never waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidewatch_dataflow::checkpoint::StoreError;
use tokio::runtime;
use tokio::sync::{RwLock, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::batch::Batch;
use super::queue::Queue;
use super::spill::{SegmentRef, SinkState, SpillError, Spiller, make_durable};
use super::stats::{DeliverySnapshot, DeliveryStats};

/// What handle and tasks share.
#[derive(Debug)]
pub(super) struct Shared<Item> {
    pub(super) queue: Queue<Item>,
    pub(super) stats: Arc<DeliveryStats>,
    /// The items under way. Only the sink's task changes it; who holds it keeps items from leaving it and the
    /// queue. It is locked before the queue.
    pub(super) batch: Arc<RwLock<Batch<Item>>>,
    pub(super) spiller: Option<Spiller<Item>>,
}

impl<Item> Shared<Item> {
    /// Ends the queue; what is in memory only, in order.
    pub(super) async fn leave(&self) -> Vec<Item> {
        let mut batch = self.batch.write().await;
        let batch = std::mem::replace(&mut *batch, Batch::new());
        self.queue.close(batch.into_items())
    }
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
    /// Where cuts are made, so that one whose future is dropped leaves nothing half done.
    runtime: runtime::Handle,
    /// Whether the last offer was shed in part, so that a flood of them makes one line in the log.
    shedding: AtomicBool,
}

/// What a closed delivery leaves behind.
#[derive(Debug)]
#[must_use = "what is left has not been delivered"]
pub struct Closed<Item> {
    /// The items that were not delivered and are in no segment, in the order they were offered: without a
    /// spill all that were not delivered. Nobody has them but the caller. An attempt that was cut off by the
    /// deadline may have got through all the same; its items are among these.
    pub left: Vec<Item>,
    /// How many items were not delivered but are in segments: the next run sends them, if a checkpoint names
    /// what [`SinkHandle::make_durable`] returns, now or at the last cut.
    pub spilled: u64,
    /// The final counters: `queued` is the number of items left and of those spilled.
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
        runtime: runtime::Handle,
    ) -> Self {
        let (task, shedding) = (Mutex::new(Some(task)), AtomicBool::new(false));
        SinkHandle { inner: Arc::new(Inner { shared, closing, task, runtime, shedding }) }
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
        let Shared { queue, stats, .. } = &*self.inner.shared;
        let shed = queue.offer(items);
        let was_shedding = self.inner.shedding.swap(shed > 0, Ordering::Relaxed);
        if shed > 0 && !was_shedding {
            warn!(sink = stats.name(), shed, "queue full, shedding");
        }
    }

    /// Whether memory holds `queue_items` or more; with a spill, whether it holds so many behind what is
    /// spilled, or twice as many: the spill has no room or does not keep up.
    pub fn is_full(&self) -> bool {
        self.inner.shared.queue.is_full()
    }

    /// Whether the source must pause: the queue is full and may lose nothing.
    pub fn must_stall(&self) -> bool {
        self.inner.shared.queue.may_lose_nothing() && self.is_full()
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> Arc<Shared<Item>> {
        Arc::clone(&self.inner.shared)
    }

    /// The sink's counters; they outlive the handle.
    pub fn stats(&self) -> Arc<DeliveryStats> {
        Arc::clone(&self.inner.shared.stats)
    }

    /// The sequence number after the last item offered. Items are numbered from 0 in the order they are
    /// offered, restored ones first; those that are shed get no number.
    pub fn mark(&self) -> u64 {
        self.inner.shared.queue.lock().next()
    }

    /// Stops: tries to deliver what is queued until `deadline` from now, then gives up.
    ///
    /// A sink that waits for its next attempt tries at once. Items offered from now on may still get
    /// through; once this returns they are shed. A second call finds nothing left.
    ///
    /// With a spill, what is left and in a segment stays there. So that nothing is in memory only, call
    /// [`SinkHandle::make_durable`] before; calling it once more afterwards returns at once, and tells what
    /// got through in between.
    pub async fn close(&self, deadline: Duration) -> Closed<Item> {
        let task = self.inner.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.inner.closing.send_replace(Some(Instant::now() + deadline));
        let Shared { stats, .. } = &*self.inner.shared;
        let left = match task {
            None => Vec::new(),
            Some(task) => match task.await {
                Ok(left) => left,
                Err(failure) => {
                    error!(sink = stats.name(), %failure, "the task of the sink failed");
                    self.inner.shared.leave().await
                }
            },
        };
        let snapshot = stats.snapshot();
        let spilled = self.inner.shared.queue.lock().covered();
        let (delivered, left_items) = (snapshot.delivered, left.len());
        info!(sink = stats.name(), delivered, left = left_items, spilled, "sink closed");
        Closed { left, spilled, snapshot }
    }
}

impl<Item: Send + Sync + 'static> SinkHandle<Item> {
    /// Resolves once every item before `mark` is delivered, rejected or in a segment, and tells what a restore
    /// needs to send those that are not settled. Items in segments remain in memory too, and are delivered as
    /// ever.
    ///
    /// The sink gets 0.2 s to deliver, unless its last attempt failed; then what is in memory only is written,
    /// in as few segments as their bounds allow: nothing in the normal case. Without a spill it resolves only
    /// when everything before `mark` is settled.
    ///
    /// Objects that the result names are not deleted by the sink any more. Dropping the future stops nothing.
    ///
    /// # Errors
    /// When the store fails for about three seconds; what was written until then counts, and the next call
    /// goes on from there. When a segment was found damaged, so that no checkpoint names it. When the sink is
    /// closed and items before `mark` were handed back.
    pub fn make_durable(
        &self,
        mark: u64,
    ) -> impl Future<Output = Result<SinkState, StoreError>> + Send + use<Item> {
        let inner = &self.inner;
        let cut = inner.runtime.spawn(make_durable(Arc::clone(&inner.shared), mark));
        let name = inner.shared.stats.name().to_owned();
        async move {
            cut.await.unwrap_or_else(|failure| {
                let source = failure.into();
                Err(StoreError::Failed { action: "create", name, source })
            })
        }
    }

    /// Takes over what sinks of an earlier run had not delivered: it is sent first, in the order of `segments`,
    /// and read a slice at a time. Every segment is read once here, to verify it.
    ///
    /// # Errors
    /// [`SpillError`], which names the segment that is missing or damaged; nothing is taken over then. Call it
    /// before the first offer.
    pub async fn restore(&self, segments: Vec<SegmentRef>) -> Result<(), SpillError> {
        if segments.is_empty() {
            return Ok(());
        }
        let Shared { queue, stats, spiller, .. } = &*self.inner.shared;
        let sink = || stats.name().to_owned();
        let spiller = spiller.as_ref().ok_or_else(|| SpillError::NoSpill { sink: sink() })?;
        for segment in &segments {
            spiller.verify(segment).await?;
        }
        let restored: u64 = segments.iter().map(|segment| segment.take).sum();
        let taken = queue.update(|waiting| {
            let taken = waiting.restore(segments);
            if taken {
                stats.add_restored(restored);
            }
            taken
        });
        if !taken {
            return Err(SpillError::Late { sink: sink() });
        }
        info!(sink = stats.name(), restored, "taking over what an earlier run had not delivered");
        Ok(())
    }
}
