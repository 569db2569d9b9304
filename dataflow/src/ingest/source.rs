//! The source operator: poll, decode, admit, emit, downgrade.

use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::dataflow::operators::{Capability, Probe};
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use super::control::{Control, Shared};
use super::counters::{IngestCounters, PartitionGauges};
use super::partition::Partition;
use super::throttle::{OpenPoints, Progress, Throttle};
use super::{IngestConfig, admit};
use crate::dead_letter::DeadLetter;
use crate::operator::StopFlag;
use crate::record::{Decoded, LogLine, PartitionId};
use crate::series::SeriesTable;
use crate::source::{Codec, Poll, SourceReader};
use crate::time::EventTime;

/// Admitted points of one partition, in offset order, with the numbers they refer to.
#[derive(Clone, Debug)]
pub struct PointBatch {
    /// Partition they were read from.
    pub partition: PartitionId,
    /// The columns; `logs` and `rejected` are empty, they travel on streams of their own.
    pub decoded: Decoded,
}

/// Everything a source operator works with.
pub struct Ingest {
    /// Reads this worker's partitions.
    pub reader: Box<dyn SourceReader>,
    /// One codec for each topic of the pipeline, by topic index.
    pub codecs: Vec<Box<dyn Codec>>,
    /// The worker's series, shared with the operators behind.
    pub series: Rc<std::cell::RefCell<SeriesTable>>,
    /// Time and bounds.
    pub config: IngestConfig,
    /// The control plane's share.
    pub control: Shared,
    /// Set when the worker is to stop.
    pub stop: StopFlag,
    /// Watches the end of the dataflow: the frontier that leads are measured from.
    pub applied: ProbeHandle<EventTime>,
    /// Points read and not applied.
    pub open_points: OpenPoints,
    /// Whether reading must pause because a sink that may not lose anything is full.
    pub is_full: Box<dyn Fn() -> bool>,
    /// Counters of the process.
    pub counters: Arc<IngestCounters>,
    /// Gauges of this worker.
    pub gauges: Arc<PartitionGauges>,
}

/// The streams of a source.
pub struct IngestOutput<'scope> {
    /// Admitted points.
    pub batches: StreamVec<'scope, EventTime, PointBatch>,
    /// Log lines, for the stores.
    pub logs: StreamVec<'scope, EventTime, LogLine>,
    /// Refused records.
    pub dead_letters: StreamVec<'scope, EventTime, DeadLetter>,
}

/// Records of one partition in one batch: large enough to spread the cost of a batch, small enough to stay in cache.
const BATCH_RECORDS: usize = 4_096;
/// Records in one activation, so that other operators get their turn.
const ACTIVATION_RECORDS: usize = 4 * BATCH_RECORDS;

/// Builds the source operator of this worker.
pub fn ingest<'scope>(
    scope: Scope<'scope, EventTime>,
    name: &str,
    mut ingest: Ingest,
) -> IngestOutput<'scope> {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let address = builder.operator_info().address;
    let activator = scope.activator_for(Rc::clone(&address));
    *ingest.control.wake.borrow_mut() = Some(scope.activator_for(Rc::clone(&address)));
    let remote = scope.worker().sync_activator_for(address.to_vec());
    ingest.reader.on_arrival(Box::new(move || {
        // The worker is gone when this fails: nobody needs waking.
        let _ = remote.activate();
    }));

    let admitted = ProbeHandle::new();
    let (batches, batch_stream) = builder.new_output::<Vec<PointBatch>>();
    let (logs, log_stream) = builder.new_output::<Vec<LogLine>>();
    let (letters, letter_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut outputs =
        (OutputBuilder::from(batches), OutputBuilder::from(logs), OutputBuilder::from(letters));
    let watch = admitted.clone();
    builder.build(move |capabilities| {
        let mut source = Source::new(ingest, watch);
        let mut held: Vec<Capability<EventTime>> = capabilities;
        move |_frontiers| {
            let mut sessions = Sessions {
                batches: outputs.0.activate(),
                logs: outputs.1.activate(),
                letters: outputs.2.activate(),
            };
            if source.activate(&mut held, &mut sessions) {
                activator.activate();
            }
        }
    });
    let batch_stream = batch_stream.probe_with(&admitted);
    IngestOutput { batches: batch_stream, logs: log_stream, dead_letters: letter_stream }
}

type Session<'a, D> = OutputBuilderSession<'a, EventTime, CapacityContainerBuilder<Vec<D>>>;

struct Sessions<'a> {
    batches: Session<'a, PointBatch>,
    logs: Session<'a, LogLine>,
    letters: Session<'a, DeadLetter>,
}

struct Source {
    ingest: Ingest,
    /// Watches this source's own stream: the least capability of all sources.
    admitted: ProbeHandle<EventTime>,
    partitions: Vec<Partition>,
    throttle: Throttle,
    was_at_end: Vec<bool>,
}

impl Source {
    fn new(ingest: Ingest, admitted: ProbeHandle<EventTime>) -> Self {
        let now = ingest.config.clock.now();
        let bound = ingest.config.out_of_orderness;
        let partitions: Vec<_> =
            ingest.reader.partitions().iter().map(|p| Partition::new(*p, bound, now)).collect();
        let (lead, open) = (ingest.config.max_lead, ingest.config.open_points_max);
        let throttle = Throttle::new(lead, open, ingest.config.tick);
        let was_at_end = vec![false; partitions.len()];
        Source { ingest, admitted, partitions, throttle, was_at_end }
    }

    /// One turn; whether there is more to read at once. Otherwise arrivals, the frontier's advance or the
    /// control plane's pace wake the source.
    fn activate(&mut self, held: &mut [Capability<EventTime>], out: &mut Sessions<'_>) -> bool {
        // A stopping worker keeps its capabilities until all have stopped: dropping them is not progress.
        if self.ingest.stop.is_stopped() {
            return false;
        }
        let now = self.ingest.config.clock.now();
        self.hear();
        let more = self.read(now, held, out);
        self.downgrade(held);
        self.ingest.gauges.open_points.store(self.ingest.open_points.get(), Ordering::Relaxed);
        more
    }

    /// Applies what the director decided since the last activation.
    fn hear(&mut self) {
        for message in self.ingest.control.incoming.borrow_mut().drain(..) {
            match message {
                Control::Lift { partition, generation } => {
                    let own = self.partitions.iter_mut().filter(|p| p.id == partition);
                    own.for_each(|p| p.lift(generation));
                }
                Control::Advance { to } => {
                    let lifted = self.partitions.iter_mut().filter(|p| p.is_lifted());
                    lifted.for_each(|p| p.clock.raise_floor(to));
                }
                Control::Report(_) | Control::Stop => {}
            }
        }
    }

    /// Reads partitions, the least watermark first, until the budget is spent (then there may be more)
    /// or nothing is to be had.
    fn read(
        &mut self,
        now: EventTime,
        held: &[Capability<EventTime>],
        out: &mut Sessions<'_>,
    ) -> bool {
        if (self.ingest.is_full)() {
            return false;
        }
        let at = |probe: &ProbeHandle<EventTime>| {
            probe.with_frontier(|f| f.first().copied()).unwrap_or(EventTime::MIN)
        };
        let progress = Progress { admitted: at(&self.admitted), applied: at(&self.ingest.applied) };
        let mut budget = ACTIVATION_RECORDS;
        let mut done = vec![false; self.partitions.len()];
        while budget > 0 {
            let candidates = self.partitions.iter().zip(&done).enumerate();
            let open = candidates.filter(|(_, (_, done))| !**done);
            let Some((at, watermark)) =
                open.map(|(at, (p, _))| (at, p.clock.watermark())).min_by_key(|(_, w)| *w)
            else {
                break;
            };
            let points = self.ingest.open_points.get();
            if !self.throttle.allows(watermark, progress, points) {
                // Every other partition leads by more.
                break;
            }
            let read = self.read_one(at, budget.min(BATCH_RECORDS), now, held, out);
            budget = budget.saturating_sub(read);
            if read == 0
                && let Some(done) = done.get_mut(at)
            {
                *done = true;
            }
        }
        let all_at_end = self.was_at_end.iter().all(|end| *end);
        self.ingest.gauges.caught_up.store(u64::from(all_at_end), Ordering::Relaxed);
        let lag = self.partitions.iter().filter_map(|p| self.ingest.reader.lag(p.id)).sum();
        self.ingest.gauges.lag.store(lag, Ordering::Relaxed);
        budget == 0
    }

    /// Reads one batch of one partition and emits it; returns how many records it had.
    fn read_one(
        &mut self,
        at: usize,
        budget: usize,
        now: EventTime,
        held: &[Capability<EventTime>],
        out: &mut Sessions<'_>,
    ) -> usize {
        let (Some(partition), Some(budget)) =
            (self.partitions.get_mut(at), NonZeroUsize::new(budget))
        else {
            return 0;
        };
        let [batch_capability, log_capability, letter_capability] = held else { return 0 };
        let ingest = &mut self.ingest;
        let topic = partition.id.topic as usize;
        let Some(codec) = ingest.codecs.get_mut(topic) else { return 0 };
        let mut decoded = Decoded::default();
        let mut letters = Vec::new();
        let mut records = 0;
        let polled = ingest.reader.poll(partition.id, budget, &mut |batch| {
            records = batch.records.len();
            partition.awake(now, *batch_capability.time());
            codec.decode(&batch, &mut ingest.series.borrow_mut(), &mut decoded);
            let tolerance = ingest.config.future_tolerance;
            letters = admit::admit(&batch, &mut decoded, &mut partition.clock, now, tolerance);
            let bytes = batch.records.iter().map(|r| {
                r.key.map_or(0, <[u8]>::len) as u64 + r.value.map_or(0, <[u8]>::len) as u64
            });
            ingest.counters.bytes.fetch_add(bytes.sum(), Ordering::Relaxed);
        });
        let at_end = match polled {
            Ok(poll) => poll == Poll::AtEnd,
            Err(error) => {
                ingest.counters.read_errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(partition = ?partition.id, %error, "could not read partition");
                false
            }
        };
        if at_end {
            partition.at_end(now, ingest.config.idle_timeout);
            if let Some(end) = self.was_at_end.get_mut(at) {
                *end = true;
            }
        }
        if records > 0 {
            let counters = &ingest.counters;
            counters.records.fetch_add(records as u64, Ordering::Relaxed);
            counters.points.fetch_add(decoded.points.len() as u64, Ordering::Relaxed);
            counters.log_lines.fetch_add(decoded.logs.len() as u64, Ordering::Relaxed);
            for letter in &letters {
                counters.count_dead_letters(letter.reason, 1);
            }
            ingest.open_points.add(decoded.points.len() as u64);
            if !letters.is_empty() {
                out.letters.session(letter_capability).give_container(&mut letters);
            }
            if !decoded.logs.is_empty() {
                out.logs.session(log_capability).give_container(&mut decoded.logs);
                decoded.logs = Vec::new();
            }
            if !decoded.points.is_empty() {
                let batch = PointBatch { partition: partition.id, decoded };
                out.batches.session(batch_capability).give(batch);
            }
        }
        records
    }

    /// The least watermark of the worker's own partitions that take part; `None` when none does.
    fn least_live(&self) -> Option<EventTime> {
        let live = self.partitions.iter().filter(|p| !p.is_lifted());
        live.map(|p| p.clock.watermark().unwrap_or(EventTime::MIN)).min()
    }

    /// Reports news, and moves the capabilities to where nothing of this worker can come before.
    fn downgrade(&mut self, held: &mut [Capability<EventTime>]) {
        let tick = self.ingest.config.tick;
        let news = self.partitions.iter_mut().filter_map(|p| p.report(tick));
        self.ingest.control.outgoing.borrow_mut().extend(news.map(Control::Report));
        let least = self.least_live().unwrap_or_else(|| self.ingest.control.board.borrow().least());
        let to = tick.floor(least);
        for capability in held.iter_mut().filter(|c| *c.time() < to) {
            capability.downgrade(&to);
        }
        if let Some(capability) = held.first() {
            self.ingest.gauges.set_capability(*capability.time());
        }
    }
}
