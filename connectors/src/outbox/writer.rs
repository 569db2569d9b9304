//! A channel behind the outbox.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidewatch_dataflow::alert::{Notification, Transition};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};

use super::Outbox;
use super::event::{Event, What};
use super::state::Verdict;
use super::stats::count;

/// Tells notifications on one channel, each after its intent and before its receipt.
///
/// One notification after another, in order: whatever holds one up holds up all after it. A notification
/// that an earlier run has told, or an opening that comes after a later step of its incident, counts as
/// accepted and is not told.
///
/// ```
/// use std::sync::Arc;
/// use tidewatch_connectors::outbox::{Outbox, OutboxState, Outboxed};
/// use tidewatch_connectors::sinks::console::ConsoleWriter;
/// use tidewatch_dataflow::checkpoint::{Fence, RunInfo, StateStore};
/// use tidewatch_dataflow::testing::MemoryStore;
/// use tidewatch_dataflow::time::EventTime;
///
/// let store: Arc<dyn StateStore> = Arc::new(MemoryStore::default());
/// let info = RunInfo { started_at: EventTime::MIN, pid: 1, workers: 1 };
/// let fence = Fence::claim(Arc::clone(&store), &info).unwrap();
/// let outbox = Outbox::open(store, fence, OutboxState::default(), EventTime::MIN, 3).unwrap();
/// let console = Outboxed::new(&outbox, "console/oncall", ConsoleWriter::stdout());
/// ```
pub struct Outboxed<W> {
    inner: W,
    outbox: Arc<Outbox>,
    channel: Arc<str>,
    /// The channel has decided, and that is not durable yet: nothing else is told before it is.
    owed: Option<Event>,
    /// Raised when nothing more is to be begun.
    time_is_up: Arc<AtomicBool>,
}

/// How long a notification that is under way has when time is up: what a channel and the state store take when they are
/// slow. Without it, each stop in the middle of much to tell would tell something twice.
const LAST_ONE_WITHIN: Duration = Duration::from_secs(5);

impl<W: fmt::Debug> fmt::Debug for Outboxed<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outboxed")
            .field("channel", &self.channel)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<W: SinkWriter<Item = Notification>> Outboxed<W> {
    /// `inner` as the channel `channel`: `slack/oncall`. There is one writer for each channel.
    pub fn new(outbox: &Arc<Outbox>, channel: &str, inner: W) -> Self {
        let channel: Arc<str> = channel.into();
        outbox.configure(&channel);
        let (outbox, time_is_up) = (Arc::clone(outbox), Arc::default());
        Outboxed { inner, outbox, channel, owed: None, time_is_up }
    }

    fn event(&self, transition: &Transition, what: What) -> Event {
        let mut event = Event::new(&self.channel, transition, what);
        if !self.outbox.decides(transition) {
            // It was waiting at the cut that this run goes on from, whose state has the incident, open or ended.
            event.opening = None;
        }
        event
    }

    fn given_up(&self, reason: &str) -> ConnectorError {
        let (endpoint, reason) = (self.channel.to_string(), reason.to_owned());
        ConnectorError::Permanent { endpoint, reason }
    }

    /// Makes durable what is owed; what that was.
    async fn settle(&mut self) -> Result<Option<Event>, ConnectorError> {
        if let Some(event) = &self.owed {
            self.outbox.record(vec![event.clone()]).await?;
        }
        Ok(self.owed.take())
    }

    /// Tells `notification`, unless that is done or too late. A permanent error: the channel has rejected it.
    async fn tell(&mut self, notification: &Notification) -> Result<(), ConnectorError> {
        let transition = &notification.transition;
        let settled = self.settle().await?;
        if settled.is_some_and(|e| e.what == What::Receipt && e.is_about(transition)) {
            return Ok(());
        }
        let counters = &self.outbox.shared.counters;
        match self.outbox.judge(&self.channel, transition) {
            Verdict::Told => {
                count(&counters.suppressed);
                return Ok(());
            }
            Verdict::GivenUp => return Err(self.given_up("it was rejected at an earlier attempt")),
            Verdict::Superseded { is_known } => {
                if !is_known {
                    self.outbox.record(vec![self.event(transition, What::Superseded)]).await?;
                }
                return Ok(());
            }
            Verdict::Begin { attempt } => {
                let intent = self.event(transition, What::Intent { attempt });
                self.outbox.record(vec![intent]).await?;
                if attempt > 1 {
                    count(&counters.repeated);
                }
            }
            // Nothing to write, but a run that was fenced meanwhile must not try again.
            Verdict::Again => self.outbox.record(Vec::new()).await?,
        }
        let told = match self.inner.write(std::slice::from_ref(notification)).await {
            Ok(receipt) => match receipt.rejected.first() {
                _ if !receipt.retry.is_empty() => return Err(put_off(&self.channel)),
                Some(fault) => Err(self.given_up(&fault.detail)),
                None => Ok(()),
            },
            Err(failure @ ConnectorError::Permanent { .. }) => Err(failure),
            Err(failure) => return Err(failure),
        };
        let what = if told.is_ok() { What::Receipt } else { What::GaveUp };
        self.owed = Some(self.event(transition, what));
        if let Err(failure) = self.settle().await {
            if let Err(rejection) = &told {
                tracing::warn!(channel = &*self.channel, id = transition.id(), %rejection, "rejected");
            }
            return Err(failure);
        }
        told
    }
}

fn put_off(channel: &str) -> ConnectorError {
    ConnectorError::Transient {
        endpoint: channel.to_owned(),
        retry_after: None,
        source: "it is to be sent again".into(),
    }
}

impl<W: SinkWriter<Item = Notification>> SinkWriter for Outboxed<W> {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        let mut receipt = Receipt::default();
        for (index, notification) in batch.iter().enumerate() {
            if self.time_is_up.load(Ordering::Relaxed) {
                receipt.retry.extend(index..batch.len());
                break;
            }
            match self.tell(notification).await {
                Ok(()) => receipt.accepted += 1,
                Err(ConnectorError::Permanent { reason, .. }) => {
                    let (reason, detail) = (Reason::Rejected, reason);
                    receipt.rejected.push(RejectedItem { index, reason, detail });
                }
                // Told as the failure of the whole batch, with its reason, unless some of it is settled.
                Err(failure) if index == 0 => return Err(failure),
                Err(_) => {
                    receipt.retry.extend(index..batch.len());
                    break;
                }
            }
        }
        Ok(receipt)
    }

    fn heed(&mut self, time_is_up: Arc<AtomicBool>) -> Duration {
        self.time_is_up = time_is_up;
        LAST_ONE_WITHIN
    }
}
