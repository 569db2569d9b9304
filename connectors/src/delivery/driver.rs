//! The task of one sink: takes batches from the queue and repeats each attempt until it is settled.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidewatch_dataflow::checkpoint::StoreError;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::backoff::Backoff;
use super::batch::Fate;
use super::handle::Shared;
use super::spill::SpillError;
use super::stats::DeliveryState;
use super::waiting::Read;
use super::{DeliveryConfig, chain};

/// When to stop: `None` while open, then the deadline that closing gave.
pub(super) type Closing = watch::Receiver<Option<Instant>>;

/// Everything that the task owns.
pub(super) struct Driver<W: SinkWriter, R> {
    pub(super) writer: W,
    pub(super) on_rejected: R,
    pub(super) shared: Arc<Shared<W::Item>>,
    pub(super) config: DeliveryConfig,
    pub(super) backoff: Backoff,
    pub(super) closing: Closing,
    pub(super) last_item: LastItem,
}

/// What an attempt is told and given that is under way when time is up.
pub(super) struct LastItem {
    time_is_up: Arc<AtomicBool>,
    within: Duration,
}

impl LastItem {
    /// As `writer` has it.
    pub(super) fn of(writer: &mut impl SinkWriter) -> Self {
        let time_is_up = Arc::new(AtomicBool::new(false));
        LastItem { within: writer.heed(Arc::clone(&time_is_up)), time_is_up }
    }
}

/// Whether to go on.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

impl<W, R> Driver<W, R>
where
    W: SinkWriter,
    R: Fn(&W::Item, &RejectedItem) + Send + 'static,
{
    /// Runs until it is closed; what is left undelivered and is in no segment, in order.
    pub(super) async fn run(mut self) -> Vec<W::Item> {
        while self.fill().await == Next::Go && self.attempt().await == Next::Go {}
        let left = self.shared.leave().await;
        if !left.is_empty() {
            let sink = self.shared.stats.name();
            warn!(sink, left = left.len(), "stopped with undelivered items");
        }
        left
    }

    /// Step 1: tops the batch up from the queue, waiting for a first item and then for `linger`.
    async fn fill(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        let queue = &shared.queue;
        let batch_items = self.config.batch_items.max(1);
        let mut linger_until = None;
        let mut had = None;
        loop {
            let upkeep = tokio::select! {
                biased;
                wait = self.writer.upkeep() => wait.map(|wait| Instant::now() + wait),
                () = gone(&mut self.closing) => return Next::Stop,
            };
            let (len, room) = {
                let mut batch = shared.batch.write().await;
                // What was there before waits for nothing: it is being sent again.
                had.get_or_insert(batch.len());
                queue.take(batch_items, &mut batch);
                (batch.len(), batch.room(batch_items))
            };
            let closing = *self.closing.borrow_and_update();
            if closing.is_some_and(|deadline| deadline <= Instant::now()) {
                return Next::Stop;
            }
            let to_read = if room > 0 { queue.to_read() } else { None };
            if let Some(read) = to_read {
                match (self.read(read).await, len) {
                    (Some(Ok(())), _) => continue,
                    (Some(Err(_)), 1..) => return Next::Go,
                    (Some(Err(delay)), 0) => match self.pause(delay).await {
                        Next::Go => continue,
                        Next::Stop => return Next::Stop,
                    },
                    (None, _) => return Next::Stop,
                }
            }
            let complete =
                had > Some(0) || room == 0 || closing.is_some() || queue.lock().is_flushing();
            if complete && len > 0 {
                return Next::Go;
            }
            if complete && closing.is_some() {
                return Next::Stop;
            }
            if len > 0 && self.config.linger.is_zero() {
                return Next::Go;
            }
            if len > 0 && linger_until.is_none() {
                linger_until = Some(Instant::now() + self.config.linger);
            }
            tokio::select! {
                () = queue.arrival() => {}
                () = sleep_until(upkeep.unwrap_or_else(Instant::now)), if upkeep.is_some() => {}
                () = sleep_until(linger_until.unwrap_or_else(Instant::now)),
                    if linger_until.is_some() => return Next::Go,
                changed = self.closing.changed() => if changed.is_err() { return Next::Stop },
            }
        }
    }

    /// Reads items back from a segment, or says how long to wait before the next attempt; `None` when closing
    /// cuts it off.
    async fn read(&mut self, read: Read) -> Option<Result<(), Duration>> {
        let shared = Arc::clone(&self.shared);
        let spiller = shared.spiller.as_ref()?;
        let read = tokio::select! {
            read = spiller.read(read) => read,
            () = gone(&mut self.closing) => return None,
        };
        let failure = match read {
            Ok(items) => {
                shared.queue.put_front(items);
                return Some(Ok(()));
            }
            Err(failure) => failure,
        };
        // A segment that is gone or damaged holds everything up: were it skipped, its items would be lost. No
        // checkpoint is completed meanwhile, so that a restart takes them from the source again.
        let lost = match &failure {
            SpillError::Damaged { name, .. } => Some(name),
            SpillError::Unreadable { name, source: StoreError::Missing { .. } } => Some(name),
            _ => None,
        };
        let text = chain(&failure);
        let damaged = lost.map(|name| (name.clone(), text.clone()));
        let state = if lost.is_some() { DeliveryState::Refused } else { DeliveryState::Retrying };
        shared.queue.lock().damaged = damaged;
        self.fail(state, &text, 0);
        Some(Err(self.backoff.next(None)))
    }

    /// Step 2: sends the next part once, and waits when it did not get through.
    async fn attempt(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        // Cuts read the batch too, meanwhile.
        let batch = shared.batch.read().await;
        let written = self.write(batch.part()).await;
        let sent = batch.part().len();
        drop(batch);
        let Some(written) = written else { return Next::Stop };
        let delay = match written {
            Ok(receipt) => match self.settle(sent, &receipt).await {
                0 => return Next::Go,
                again => {
                    let text = format!("{again} of {sent} items are to be sent again");
                    self.fail(DeliveryState::Retrying, &text, again);
                    self.backoff.next(None)
                }
            },
            Err(failure @ ConnectorError::Permanent { .. }) => {
                self.search(sent, &failure).await;
                return Next::Go;
            }
            Err(failure @ ConnectorError::Transient { retry_after, .. }) => {
                self.fail(DeliveryState::Retrying, &chain(&failure), sent);
                self.backoff.next(retry_after)
            }
            Err(failure @ ConnectorError::Refused { .. }) => {
                self.fail(DeliveryState::Refused, &chain(&failure), sent);
                self.backoff.next(None)
            }
        };
        self.pause(delay).await
    }

    /// Writes `part`; `None` when closing has cut it off.
    async fn write(&mut self, part: &[W::Item]) -> Option<Result<Receipt, ConnectorError>> {
        let mut write = pin!(self.writer.write(part));
        tokio::select! {
            biased;
            written = &mut write => Some(written),
            () = gone(&mut self.closing) => {
                self.last_item.time_is_up.store(true, Ordering::Relaxed);
                timeout(self.last_item.within, write).await.ok()
            }
        }
    }

    /// Takes out what is settled; how many items are to be sent again.
    async fn settle(&mut self, sent: usize, receipt: &Receipt) -> usize {
        let shared = Arc::clone(&self.shared);
        let stats = &shared.stats;
        let mut batch = shared.batch.write().await;
        let mut fates = vec![Fate::Delivered; sent];
        for index in &receipt.retry {
            if let Some(fate) = fates.get_mut(*index) {
                *fate = Fate::Again;
            }
        }
        for fault in &receipt.rejected {
            let item = batch.part().get(fault.index);
            if let Some((item, fate)) = item.zip(fates.get_mut(fault.index)) {
                if *fate != Fate::Rejected {
                    (self.on_rejected)(item, fault);
                }
                *fate = Fate::Rejected;
            }
        }
        let count = |of: Fate| fates.iter().filter(|fate| **fate == of).count();
        let (delivered, rejected) = (count(Fate::Delivered), count(Fate::Rejected));
        let again = batch.settle(&fates);
        stats.add_delivered(delivered);
        stats.add_rejected(rejected);
        shared.queue.settle(&fates);
        drop(batch);
        if delivered != receipt.accepted {
            error!(
                sink = stats.name(),
                sent,
                accepted = receipt.accepted,
                rejected,
                again,
                "a receipt does not add up: items that are neither rejected nor to be sent again count as delivered"
            );
        }
        if let Some(first) = receipt.rejected.first() {
            warn!(sink = stats.name(), rejected, first = first.detail, "items rejected for good");
        }
        if again < sent {
            self.backoff.reset();
        }
        if again == 0 {
            self.succeed();
        }
        again
    }

    /// The part was rejected as a whole: halves it, or dead-letters its only item.
    async fn search(&mut self, sent: usize, failure: &ConnectorError) {
        if sent > 1 {
            debug!(sink = self.shared.stats.name(), sent, %failure, "batch rejected, halving it");
            self.shared.batch.write().await.halve();
            return;
        }
        let detail = chain(failure);
        let rejected = vec![RejectedItem { index: 0, reason: Reason::Rejected, detail }];
        self.settle(sent, &Receipt { accepted: 0, rejected, retry: Vec::new() }).await;
    }

    /// Notes a failed attempt; says so in the log when the state changes.
    fn fail(&mut self, state: DeliveryState, text: &str, again: usize) {
        let stats = &self.shared.stats;
        stats.add_retried(again);
        let before = stats.set_state(state, Some(text));
        self.shared.queue.settled.notify_waiters();
        match (before == state, state) {
            (true, _) => debug!(sink = stats.name(), error = text, "attempt failed"),
            (false, DeliveryState::Refused) => {
                error!(
                    sink = stats.name(),
                    error = text,
                    "refused: holding everything until a person acts"
                );
            }
            (false, _) => warn!(sink = stats.name(), error = text, "attempt failed, retrying"),
        }
    }

    fn succeed(&mut self) {
        let stats = &self.shared.stats;
        if stats.set_state(DeliveryState::Up, None) != DeliveryState::Up {
            info!(sink = stats.name(), queued = stats.queued(), "delivering again");
        }
    }

    /// Step 3: waits before the next attempt; closing cuts the wait short.
    async fn pause(&mut self, delay: Duration) -> Next {
        let deadline = *self.closing.borrow_and_update();
        tokio::select! {
            () = sleep(delay) => Next::Go,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Next::Stop,
            changed = self.closing.changed() => if changed.is_ok() { Next::Go } else { Next::Stop },
        }
    }
}

/// Resolves when the deadline of closing has passed, or when nobody holds a handle any more.
async fn gone(closing: &mut Closing) {
    loop {
        let deadline = *closing.borrow_and_update();
        tokio::select! {
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return,
            changed = closing.changed() => if changed.is_err() { return },
        }
    }
}
