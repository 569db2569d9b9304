//! The task of one sink: takes batches from the queue and repeats each attempt until it is settled.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, error, info, warn};

use super::backoff::Backoff;
use super::batch::{Batch, Fate};
use super::handle::Shared;
use super::stats::DeliveryState;
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
    pub(super) batch: Batch<W::Item>,
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
    /// Runs until it is closed; what is left undelivered, in order.
    pub(super) async fn run(mut self) -> Vec<W::Item> {
        while self.fill().await == Next::Go && self.attempt().await == Next::Go {}
        let stats = &self.shared.stats;
        let mut left = self.batch.into_items();
        left.extend(self.shared.queue.close());
        if !left.is_empty() {
            warn!(sink = stats.name(), left = left.len(), "stopped with undelivered items");
        }
        left
    }

    /// Step 1: tops the batch up from the queue, waiting for a first item and then for `linger`.
    async fn fill(&mut self) -> Next {
        let batch_items = self.config.batch_items.max(1);
        let mut linger_until = None;
        loop {
            let had = self.batch.len();
            let room = self.batch.room(batch_items);
            if room > 0 {
                self.shared.queue.take(room, |items| self.batch.extend(items));
            }
            let closing = *self.closing.borrow_and_update();
            if closing.is_some_and(|deadline| deadline <= Instant::now()) {
                return Next::Stop;
            }
            // What was there before waits for nothing: it is being sent again.
            let complete = (linger_until.is_none() && had > 0)
                || self.batch.room(batch_items) == 0
                || closing.is_some();
            if complete && !self.batch.is_empty() {
                return Next::Go;
            }
            if complete && closing.is_some() {
                return Next::Stop;
            }
            if !self.batch.is_empty() && self.config.linger.is_zero() {
                return Next::Go;
            }
            if !self.batch.is_empty() && linger_until.is_none() {
                linger_until = Some(Instant::now() + self.config.linger);
            }
            tokio::select! {
                () = self.shared.queue.arrival() => {}
                () = sleep_until(linger_until.unwrap_or_else(Instant::now)),
                    if linger_until.is_some() => return Next::Go,
                changed = self.closing.changed() => if changed.is_err() { return Next::Stop },
            }
        }
    }

    /// Step 2: sends the next part once, and waits when it did not get through.
    async fn attempt(&mut self) -> Next {
        let written = tokio::select! {
            biased;
            written = self.writer.write(self.batch.part()) => written,
            () = gone(&mut self.closing) => return Next::Stop,
        };
        let sent = self.batch.part().len();
        let delay = match written {
            Ok(receipt) => match self.settle(sent, &receipt) {
                0 => return Next::Go,
                again => {
                    let text = format!("{again} of {sent} items are to be sent again");
                    self.fail(DeliveryState::Retrying, &text, again);
                    self.backoff.next(None)
                }
            },
            Err(failure @ ConnectorError::Permanent { .. }) => {
                self.search(sent, &failure);
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

    /// Takes out what is settled; how many items are to be sent again.
    fn settle(&mut self, sent: usize, receipt: &Receipt) -> usize {
        let stats = &self.shared.stats;
        let mut fates = vec![Fate::Delivered; sent];
        for index in &receipt.retry {
            if let Some(fate) = fates.get_mut(*index) {
                *fate = Fate::Again;
            }
        }
        for fault in &receipt.rejected {
            let item = self.batch.part().get(fault.index);
            if let Some((item, fate)) = item.zip(fates.get_mut(fault.index)) {
                if *fate != Fate::Rejected {
                    (self.on_rejected)(item, fault);
                }
                *fate = Fate::Rejected;
            }
        }
        let count = |of: Fate| fates.iter().filter(|fate| **fate == of).count();
        let (delivered, rejected) = (count(Fate::Delivered), count(Fate::Rejected));
        let again = self.batch.settle(&fates);
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
        stats.add_delivered(delivered);
        stats.add_rejected(rejected);
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
    fn search(&mut self, sent: usize, failure: &ConnectorError) {
        if sent > 1 {
            debug!(sink = self.shared.stats.name(), sent, %failure, "batch rejected, halving it");
            self.batch.halve();
            return;
        }
        let detail = chain(failure);
        let rejected = vec![RejectedItem { index: 0, reason: Reason::Rejected, detail }];
        self.settle(sent, &Receipt { accepted: 0, rejected, retry: Vec::new() });
    }

    /// Notes a failed attempt; says so in the log when the state changes.
    fn fail(&mut self, state: DeliveryState, text: &str, again: usize) {
        let stats = &self.shared.stats;
        stats.add_retried(again);
        let before = stats.set_state(state, Some(text));
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
