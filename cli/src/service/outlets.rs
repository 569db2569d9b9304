//! Where results go: every store, channel and page of a service behind its own delivery.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tidewatch_connectors::delivery::{DeliveryStats, SinkHandle};
use tidewatch_connectors::outbox::Outbox;
use tidewatch_connectors::sinks::sqlite::SqliteStore;
use tidewatch_dataflow::alert::{Incident, Notification, Transition};
use tidewatch_dataflow::checkpoint::{Cut, Piece, PieceContent, PieceWriter, encode};
use tidewatch_dataflow::dead_letter::DeadLetter;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{Clock, EventTime};
use tokio::runtime;
use tokio::task::JoinHandle;

use super::channels;
use super::kept::{self, Kept, Starter};
use super::stores::{Stores, offer_all};
use crate::config::PipelineConfig;
use crate::notify::{Attempts, Decision, Notifier};
use crate::page::LiveState;
use crate::pipeline::{DurabilityError, Durable, Outputs, PipelineCounters, Resumption};
use crate::telemetry::Opened;

/// How often held openings are looked at.
const RELEASE_EVERY: Duration = Duration::from_secs(1);

/// What the outlets write to, once it is known what they go on from.
struct Open {
    stores: Stores,
    channels: BTreeMap<String, Vec<SinkHandle<Notification>>>,
    notifier: Mutex<Notifier>,
    outbox: Option<Arc<Outbox>>,
    is_first: bool,
    /// How far the channels had been offered when the notifier's state was put at the announced cut: what is
    /// told later follows from transitions that are decided again after a restore.
    channel_marks: Mutex<Vec<Marked>>,
}

/// A sink, and how far it has been offered.
type Marked = (Arc<dyn Kept>, u64);

fn marked(sinks: Vec<Arc<dyn Kept>>) -> Vec<Marked> {
    let marked = sinks.into_iter().map(|sink| {
        let mark = sink.mark();
        (sink, mark)
    });
    marked.collect()
}

/// The far side of the dataflow for a service.
pub struct Outlets {
    config: PipelineConfig,
    store: Option<SqliteStore>,
    runtime: runtime::Handle,
    open: OnceLock<Open>,
    opened: Arc<OnceLock<Opened>>,
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
    /// Outlets for `config`, opened when it is known what they go on from.
    pub(super) fn new(
        config: &PipelineConfig,
        opening: Opening,
        runtime: &runtime::Handle,
    ) -> Arc<Self> {
        let Opening { store, live, clock, counters, observer } = opening;
        let outlets = Arc::new(Outlets {
            config: config.clone(),
            store,
            runtime: runtime.clone(),
            open: OnceLock::new(),
            opened: Arc::default(),
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
        outlets
    }

    /// Opens all stores and channels; what is to be told at once comes with them.
    fn open(&self, resumption: &Resumption) -> anyhow::Result<(Open, Vec<Decision>)> {
        let (config, state) = (&self.config, &resumption.state);
        let fence = resumption.fence.as_ref();
        // Worker 0, which hears of all transitions, lives in the first process.
        let is_first = resumption.process.0 == 0;
        let starter = Starter {
            runtime: self.runtime.clone(),
            state: fence
                .map(|(fence, store)| (Arc::clone(store), fence.run(), resumption.process.0)),
            is_first,
        };
        let outbox = match fence {
            Some((fence, store)) if is_first => {
                let shares = state.operators.get("outbox").map(|restored| &restored.shares);
                let restored =
                    shares.and_then(|s| s.first()).map(|s| s.get("state")).transpose()?;
                let restored = restored.flatten().unwrap_or_default();
                let (store, fence) = (Arc::clone(store), fence.clone());
                let outbox = Outbox::open(store, fence, restored, state.at, resumption.keep);
                Some(outbox.context("could not open the outbox")?)
            }
            _ => None,
        };
        let rules = config.rules.iter().map(|r| (r.spec.name.clone(), r.receivers.clone()));
        let detectors = config.rules.iter().map(|r| (&*r.spec.name, &r.spec.detector));
        let mut notifier = Notifier::new(rules, config.inventory.clone(), config.time.stale_after)
            .with_detectors(detectors);
        if let Some(outbox) = &outbox {
            notifier = notifier.with_attempts(Arc::clone(outbox) as Arc<dyn Attempts>);
        }
        let mut first = Vec::new();
        // The notifiers of other processes hear of nothing: one that had state would go on to end or release, on its
        // own account, what the first has long been told of.
        if let Some(restored) = state.operators.get("alerts").filter(|_| is_first) {
            for share in &restored.shares {
                if let Some(state) = share.get("notifier")? {
                    first.extend(notifier.restore(state));
                }
            }
        }
        let store = self.store.clone();
        let stores = Stores::open(config, store, &self.live, &self.counters, &starter)?;
        let channels = channels::open(config, &starter, outbox.as_ref())?;
        let notifier = Mutex::new(notifier);
        let channel_marks = Mutex::default();
        let open = Open { stores, channels, notifier, outbox, is_first, channel_marks };
        Ok((open, first))
    }

    /// What telemetry can tell once everything is open.
    pub fn opened(&self) -> Arc<OnceLock<Opened>> {
        Arc::clone(&self.opened)
    }

    /// How many old incidents were over before anybody was told.
    pub fn summarised(&self) -> u64 {
        let Some(open) = self.open.get() else { return 0 };
        open.notifier.lock().unwrap_or_else(PoisonError::into_inner).summarised()
    }

    /// Tells held openings once event time has caught up.
    fn release(&self) {
        let Some(open) = self.open.get() else { return };
        let applied = EventTime::from_millis(self.counters.applied.load(Ordering::Relaxed));
        let mut notifier = open.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that an end cannot overtake its opening.
        open.abandon(&mut notifier, applied);
        let decisions = notifier.release(applied, self.clock.now());
        decisions.into_iter().for_each(|decision| open.tell(decision));
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
        let Some(open) = self.open.get() else { return };
        let is_kept = self.config.checkpoint.enabled;
        let channels = async {
            let handles = open.channels.values().flatten();
            let closing = handles.map(|handle| handle.close(deadline));
            for closed in futures_util::future::join_all(closing).await {
                super::stores::report_left(&closed, is_kept);
            }
        };
        tokio::join!(open.stores.close(deadline, is_kept), channels);
    }
}

impl Open {
    fn tell(&self, decision: Decision) {
        let Decision::Tell { notification, receivers } = decision else { return };
        for handle in receivers.iter().filter_map(|name| self.channels.get(name)).flatten() {
            handle.offer(vec![notification.clone()]);
        }
    }

    /// Ends what nothing will open again, in the stores of transitions too: the dataflow does not know of it.
    fn abandon(&self, notifier: &mut Notifier, applied: EventTime) {
        for (end, decision) in notifier.abandon(applied) {
            offer_all(&self.stores.transitions, vec![end]);
            self.tell(decision);
        }
    }

    /// The channels, as sinks whose items survive.
    fn kept_channels(&self) -> Vec<Arc<dyn Kept>> {
        let channels = self.channels.values().flatten();
        channels.map(|sink| Arc::new(sink.clone()) as Arc<dyn Kept>).collect()
    }

    fn stats(&self) -> Vec<Arc<DeliveryStats>> {
        let channels = self.channels.values().flatten().map(SinkHandle::stats);
        self.stores.stats().into_iter().chain(channels).collect()
    }

    /// Hands every sink what it had not delivered.
    async fn restore(&self, resumption: &Resumption) -> Result<(), DurabilityError> {
        let (process, processes) = resumption.process;
        let stores: Vec<_> =
            self.stores.kept().into_iter().chain(self.stores.kept_letters()).collect();
        kept::restore(&stores, &resumption.state, (process, processes)).await?;
        let mut names: Vec<_> = stores.iter().map(|sink| sink.name()).collect();
        if self.is_first {
            // Only the first process tells people: it takes over what any had.
            let channels = self.kept_channels();
            kept::restore(&channels, &resumption.state, (0, 1)).await?;
            names.extend(channels.iter().map(|sink| sink.name()));
            kept::report_dropped(&names, &resumption.state);
        }
        Ok(())
    }
}

impl Outputs for Outlets {
    fn points(&self, points: Vec<MetricPoint>) {
        if let Some(open) = self.open.get() {
            open.stores.offer_points(points);
        }
    }

    fn raw(&self, points: Vec<MetricPoint>) {
        if let Some(open) = self.open.get() {
            open.stores.offer_raw(points);
        }
    }

    fn logs(&self, lines: Vec<LogLine>) {
        if let Some(open) = self.open.get() {
            offer_all(&open.stores.logs, lines);
        }
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
        if let Some(open) = self.open.get() {
            offer_all(&open.stores.letters, letters);
        }
    }

    fn transitions(&self, transitions: Vec<Transition>) {
        let Some(open) = self.open.get() else { return };
        let now = self.clock.now();
        let mut notifier = open.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        for transition in &transitions {
            if let Some(observer) = &self.observer {
                // An observer that has gone has heard enough.
                let _ = observer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .send(transition.clone());
            }
            open.abandon(&mut notifier, transition.decided_at);
            let decision = notifier.decide(transition.clone(), now);
            open.tell(decision);
        }
        drop(notifier);
        offer_all(&open.stores.transitions, transitions);
    }

    fn active(&self, changes: Vec<((Incident, Labels), isize)>) {
        self.live.change_active(changes);
    }

    fn resume(&self, resumption: &Resumption) -> Result<(), DurabilityError> {
        let open = self.open(resumption);
        let (open, first) = open.map_err(|error| DurabilityError::Outputs(format!("{error:#}")))?;
        // On a worker's thread, which may block as long as nothing runs yet.
        self.runtime.block_on(open.restore(resumption))?;
        first.into_iter().for_each(|decision| open.tell(decision));
        // Both are set once: a process resumes once.
        let _ = self.opened.set(Opened {
            sinks: open.stats(),
            keeper: resumption.keeper.clone(),
            outbox: open.outbox.clone(),
        });
        let _ = self.open.set(open);
        Ok(())
    }

    fn put(&self, pieces: &mut PieceWriter<'_>) {
        let Some(open) = self.open.get() else { return };
        let notifier = open.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.put_version("notifier", notifier.version(), || notifier.snapshot());
        // While nothing can be told: the state knows of exactly what lies before the marks.
        let marks = marked(open.kept_channels());
        *open.channel_marks.lock().unwrap_or_else(PoisonError::into_inner) = marks;
    }

    fn make_durable(&self, _cut: Cut, done: Durable) {
        let Some(open) = self.open.get() else { return };
        let channels = &mut *open.channel_marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sinks = marked(open.stores.kept());
        sinks.append(channels);
        let letters = open.stores.kept_letters();
        let outbox = open.outbox.clone();
        self.runtime.spawn(async move {
            let (mut pieces, mut others) = (Vec::new(), Vec::new());
            kept::make_durable(sinks, &mut pieces, &mut others).await;
            // Only now, since what the others have settled may have become a dead letter.
            kept::make_durable(marked(letters), &mut pieces, &mut others).await;
            if let Some(outbox) = outbox {
                let content = PieceContent::New(encode(&outbox.snapshot()));
                let piece = Piece { name: "state".into(), content };
                pieces.push(("outbox".into(), vec![piece]));
            }
            done(pieces, others);
        });
    }

    fn committed(&self, cut: Cut) {
        if let Some(outbox) = self.open.get().and_then(|open| open.outbox.as_ref()) {
            outbox.committed(cut.at);
        }
    }

    fn is_full(&self) -> bool {
        self.open.get().is_none_or(|open| open.stores.is_full())
    }
}
