//! Where results go: every store, channel and page of a service behind its own delivery.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidewatch_connectors::delivery::{DeliveryStats, SinkHandle};
use tidewatch_connectors::sinks::sqlite::SqliteStore;
use tidewatch_dataflow::alert::{Incident, Notification, Transition};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{Clock, EventTime};
use tokio::runtime;
use tokio::task::JoinHandle;

use super::channels;
use super::stores::{Stores, offer_all};
use crate::config::PipelineConfig;
use crate::notify::{Decision, Notifier};
use crate::page::LiveState;
use crate::pipeline::{Outputs, PipelineCounters};

/// How often held openings are looked at.
const RELEASE_EVERY: Duration = Duration::from_secs(1);

/// The far side of the dataflow for a service.
pub struct Outlets {
    stores: Stores,
    channels: BTreeMap<String, Vec<SinkHandle<Notification>>>,
    notifier: Mutex<Notifier>,
    live: Arc<LiveState>,
    clock: Clock,
    counters: Arc<PipelineCounters>,
    release: Mutex<Option<JoinHandle<()>>>,
    observer: Option<Mutex<Sender<Transition>>>,
}

/// What outlets are opened with besides the configuration.
pub(super) struct Opening {
    pub(super) store: Option<SqliteStore>,
    pub(super) live: Arc<LiveState>,
    pub(super) clock: Clock,
    pub(super) counters: Arc<PipelineCounters>,
    pub(super) observer: Option<Sender<Transition>>,
}

/// The inventory as pairs of what must match and what is known then.
pub(super) fn inventory(config: &PipelineConfig) -> Vec<(Labels, Labels)> {
    config.inventory.entries.iter().map(|e| (e.matches.clone(), e.labels.clone())).collect()
}

impl Outlets {
    /// Opens all stores and channels of `config`.
    pub(super) fn open(
        config: &PipelineConfig,
        opening: Opening,
        runtime: &runtime::Handle,
    ) -> anyhow::Result<Arc<Self>> {
        let Opening { store, live, clock, counters, observer } = opening;
        let rules = config.rules.iter().map(|r| (r.spec.name.clone(), r.receivers.clone()));
        let outlets = Arc::new(Outlets {
            stores: Stores::open(config, store, &live, &counters, runtime)?,
            channels: channels::open(config, runtime)?,
            notifier: Mutex::new(Notifier::new(
                rules,
                config.inventory.clone(),
                config.time.stale_after,
            )),
            live,
            clock,
            counters,
            release: Mutex::new(None),
            observer: observer.map(Mutex::new),
        });
        let weak = Arc::downgrade(&outlets);
        let task = runtime.spawn(async move {
            let mut every = tokio::time::interval(RELEASE_EVERY);
            loop {
                every.tick().await;
                let Some(outlets) = weak.upgrade() else { return };
                outlets.release();
            }
        });
        *outlets.release.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(outlets)
    }

    /// The counters of every sink.
    pub fn stats(&self) -> Vec<Arc<DeliveryStats>> {
        let channels = self.channels.values().flatten().map(SinkHandle::stats);
        self.stores.stats().into_iter().chain(channels).collect()
    }

    /// How many old incidents were over before anybody was told.
    pub fn summarised(&self) -> u64 {
        self.notifier.lock().unwrap_or_else(PoisonError::into_inner).summarised()
    }

    /// Tells held openings once event time has caught up.
    fn release(&self) {
        let applied = EventTime::from_millis(self.counters.applied.load(Ordering::Relaxed));
        let mut notifier = self.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        let decisions = notifier.release(applied, self.clock.now());
        // Under the lock, so that an end cannot overtake its opening.
        decisions.into_iter().for_each(|decision| self.tell(decision));
    }

    fn tell(&self, decision: Decision) {
        let Decision::Tell { notification, receivers } = decision else { return };
        for handle in receivers.iter().filter_map(|name| self.channels.get(name)).flatten() {
            handle.offer(vec![notification.clone()]);
        }
    }

    /// Flushes all sinks at once; what is left undelivered is told in the log.
    pub(super) async fn close(&self, deadline: Duration) {
        let release = self.release.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = release {
            task.abort();
        }
        let summarised = self.summarised();
        if summarised > 0 {
            tracing::info!(summarised, "old incidents were over before anybody was told");
        }
        let channels = async {
            for handle in self.channels.values().flatten() {
                let closed = handle.close(deadline).await;
                super::stores::report_left(&closed);
            }
        };
        tokio::join!(self.stores.close(deadline), channels);
    }
}

impl Outputs for Outlets {
    fn points(&self, points: Vec<MetricPoint>) {
        offer_all(&self.stores.points, points);
    }

    fn logs(&self, lines: Vec<LogLine>) {
        offer_all(&self.stores.logs, lines);
    }

    fn dead_letters(&self, letters: Vec<DeadLetter>) {
        if let Some(first) = letters.first() {
            tracing::debug!(
                count = letters.len(),
                reason = first.reason.as_str(),
                detail = %first.detail,
                offset = first.offset,
                "dead letters"
            );
        }
        offer_all(&self.stores.letters, letters);
    }

    fn transitions(&self, transitions: Vec<Transition>) {
        let now = self.clock.now();
        let mut notifier = self.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        for transition in &transitions {
            if let Some(observer) = &self.observer {
                // An observer that has gone has heard enough.
                let _ = observer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .send(transition.clone());
            }
            let decision = notifier.decide(transition.clone(), now);
            self.tell(decision);
        }
        drop(notifier);
        offer_all(&self.stores.transitions, transitions);
    }

    fn active(&self, changes: Vec<((Incident, Labels), isize)>) {
        self.live.change_active(changes);
    }

    fn is_full(&self) -> bool {
        self.stores.is_full()
    }
}
