//! The way of a transition to people, as a service has it: notifier, outbox, the delivery of a channel; the
//! channel itself looks at the clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tidewatch::config::Inventory;
use tidewatch::notify::{Attempts, Decision, Notifier};
use tidewatch::pipeline::{DurabilityError, Outputs, Resumption};
use tidewatch_connectors::delivery::{Delivery, DeliveryConfig, SinkHandle};
use tidewatch_connectors::outbox::{Outbox, Outboxed};
use tidewatch_dataflow::alert::{Incident, Notification, Transition};
use tidewatch_dataflow::checkpoint::Cut;
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};
use tidewatch_dataflow::time::Clock;
use tokio::runtime;

use super::super::feeds::BUSY;
use super::stamps::{Stamps, now};

/// The receiver of all incidents, and its only channel.
const RECEIVER: &str = "people";

/// A notification on its way, by the end of the pane that decided it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Heard {
    pub(super) decided_at: u64,
    /// When it was offered to the channel's queue, or handed to its writer.
    pub(super) at: f64,
}

/// What was heard where.
#[derive(Default)]
pub(super) struct Log(Mutex<Vec<Heard>>);

impl Log {
    fn add(&self, transition: &Transition) {
        let heard = Heard { decided_at: transition.decided_at.as_millis(), at: now() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(heard);
    }

    pub(super) fn all(&self) -> Vec<Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A channel that tells nobody.
struct Watchful(Arc<Log>);

impl SinkWriter for Watchful {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        batch.iter().for_each(|notification| self.0.add(&notification.transition));
        Ok(Receipt { accepted: batch.len(), ..Receipt::default() })
    }
}

/// What is open once it is known what the run goes on from.
struct Open {
    notifier: Mutex<Notifier>,
    channel: SinkHandle<Notification>,
    outbox: Option<Arc<Outbox>>,
}

/// The outputs of the workload.
pub(super) struct Path {
    runtime: runtime::Handle,
    stamps: Arc<Stamps>,
    open: OnceLock<Open>,
    /// Offered to the channel's queue.
    pub(super) offered: Log,
    /// Handed to the channel's writer, the intent being durable.
    pub(super) told: Arc<Log>,
    pub(super) points: AtomicU64,
}

impl Path {
    pub(super) fn new(runtime: runtime::Handle, stamps: Arc<Stamps>) -> Arc<Self> {
        Arc::new(Path {
            runtime,
            stamps,
            open: OnceLock::new(),
            offered: Log::default(),
            told: Arc::default(),
            points: AtomicU64::new(0),
        })
    }
}

impl Outputs for Path {
    fn points(&self, points: Vec<MetricPoint>) {
        self.points.fetch_add(points.len() as u64, Ordering::Relaxed);
    }
    fn logs(&self, _: Vec<LogLine>) {}
    fn dead_letters(&self, _: Vec<DeadLetter>) {}
    fn active(&self, _: Vec<((Incident, Labels), isize)>) {}
    fn is_full(&self) -> bool {
        false
    }

    fn transitions(&self, transitions: Vec<Transition>) {
        let fired = now();
        let Some(open) = self.open.get() else { return };
        let mut notifier = open.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        for transition in transitions {
            let end = transition.decided_at.as_millis();
            self.stamps.note(end, |moments| {
                moments.fired.get_or_insert(fired);
            });
            if let Decision::Tell { notification, receivers } =
                notifier.decide(transition.clone(), Clock::System.now())
                && !receivers.is_empty()
            {
                open.channel.offer(vec![notification]);
                self.offered.add(&transition);
            }
        }
    }

    fn resume(&self, resumption: &Resumption) -> Result<(), DurabilityError> {
        let (rule, people) = (BUSY.into(), vec![RECEIVER.to_owned()]);
        let stale_after = Duration::from_secs(600);
        let mut notifier = Notifier::new([(rule, people)], Inventory::default(), stale_after);
        let mut outbox = None;
        if let Some((fence, store)) = &resumption.fence {
            let (store, fence) = (Arc::clone(store), fence.clone());
            let at = resumption.state.at;
            let opened = Outbox::open(store, fence, Default::default(), at, resumption.keep)
                .map_err(|error| DurabilityError::Outputs(error.to_string()))?;
            notifier = notifier.with_attempts(Arc::clone(&opened) as Arc<dyn Attempts>);
            outbox = Some(opened);
        }
        let (config, writer) = (DeliveryConfig::channel(), Watchful(Arc::clone(&self.told)));
        let channel = match &outbox {
            Some(outbox) => {
                let writer = Outboxed::new(outbox, RECEIVER, writer);
                Delivery::spawn(&self.runtime, RECEIVER, writer, config, |_, _| {})
            }
            None => Delivery::spawn(&self.runtime, RECEIVER, writer, config, |_, _| {}),
        };
        // Set once: a process resumes once.
        let _ = self.open.set(Open { notifier: Mutex::new(notifier), channel, outbox });
        Ok(())
    }

    fn committed(&self, cut: Cut) {
        if let Some(outbox) = self.open.get().and_then(|open| open.outbox.as_ref()) {
            outbox.committed(cut.at);
        }
    }
}
