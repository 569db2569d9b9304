//! The source operator: poll, decode, admit, emit, downgrade.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::dataflow::operators::{Capability, Probe};
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use super::IngestConfig;
use super::control::{Control, Shared};
use super::counters::{IngestCounters, PartitionGauges};
use super::crumb::SharedCrumb;
use super::journal::Decision;
use super::ledger::IngestTally;
use super::partition::Partition;
use super::state::{IngestState, put};
use super::throttle::{OpenPoints, Progress, Throttle};
use crate::checkpoint::Participant;
use crate::dead_letter::DeadLetter;
use crate::operator::StopFlag;
use crate::record::{Decoded, LogLine, PartitionId};
use crate::series::SeriesTable;
use crate::source::{Codec, SourceReader};
use crate::time::EventTime;

/// Admitted points of one partition, in offset order, with the numbers they refer to.
#[derive(Clone, Debug)]
pub struct PointBatch {
    /// Partition they were read from.
    pub partition: PartitionId,
    /// Which topic of its name that is.
    pub generation: u32,
    /// The columns; `logs` and `rejected` are empty, they travel on streams of their own.
    pub decoded: Decoded,
}

/// Everything a source operator works with.
pub struct Ingest {
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
    /// What all sources had put at the cut that is gone on from.
    pub state: Arc<IngestState>,
    /// What is counted, and goes on over restarts.
    pub tally: IngestTally,
    /// Remembers what is being read, for the case that reading it ends the process.
    pub crumb: SharedCrumb,
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
pub(super) const BATCH_RECORDS: usize = 4_096;
/// Records in one activation, so that other operators get their turn.
const ACTIVATION_RECORDS: usize = 4 * BATCH_RECORDS;

/// Builds the source operator of this worker, which reads from `reader`.
pub fn ingest<'scope>(
    scope: Scope<'scope, EventTime>,
    name: &str,
    mut reader: Box<dyn SourceReader>,
    ingest: Ingest,
) -> IngestOutput<'scope> {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let address = builder.operator_info().address;
    let activator = scope.activator_for(Rc::clone(&address));
    *ingest.control.wake.borrow_mut() = Some(scope.activator_for(Rc::clone(&address)));
    let remote = scope.worker().sync_activator_for(address.to_vec());
    reader.on_arrival(Box::new(move || {
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
        let mut held: Vec<Capability<EventTime>> = capabilities;
        let mut source = Source::new(reader, ingest, watch, &mut held);
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

pub(super) type Session<'a, D> =
    OutputBuilderSession<'a, EventTime, CapacityContainerBuilder<Vec<D>>>;

pub(super) struct Sessions<'a> {
    pub(super) batches: Session<'a, PointBatch>,
    pub(super) logs: Session<'a, LogLine>,
    pub(super) letters: Session<'a, DeadLetter>,
}

pub(super) struct Source {
    pub(super) reader: Box<dyn SourceReader>,
    pub(super) ingest: Ingest,
    /// Watches this source's own stream: the least capability of all sources.
    admitted: ProbeHandle<EventTime>,
    pub(super) partitions: Vec<Partition>,
    throttle: Throttle,
    pub(super) participant: Participant,
}

impl Source {
    fn new(
        reader: Box<dyn SourceReader>,
        ingest: Ingest,
        admitted: ProbeHandle<EventTime>,
        held: &mut [Capability<EventTime>],
    ) -> Self {
        let recovery = &ingest.control.recovery;
        let (participant, resumed_at) = (recovery.participant("ingest"), recovery.resumed_at());
        held.iter_mut().for_each(|capability| capability.downgrade(&resumed_at));
        ingest.control.capability.set(resumed_at);
        let now = ingest.config.clock.now();
        let config = &ingest.config;
        let facts = ingest.control.facts.borrow();
        let partition = |id: &PartitionId| {
            let mut partition = Partition::new(*id, config.out_of_orderness, config.grid, now);
            match ingest.state.points.get(id) {
                Some(point) => {
                    partition.resume(point, resumed_at, config.out_of_orderness, &facts);
                }
                None if ingest.state.begins_anew(*id) => {
                    // What lies before the cut would count as known.
                    let floor = facts.generation(id.topic).floor.max(resumed_at);
                    partition.begin_anew(floor, &facts);
                }
                // It was found after the cut, while others were read already.
                None if resumed_at > EventTime::MIN => {
                    partition.resume_found(resumed_at, &facts);
                }
                None => partition.begin(&facts),
            }
            partition
        };
        let partitions: Vec<_> = reader.partitions().iter().map(partition).collect();
        drop(facts);
        let (lead, open) = (config.max_lead, config.open_points_max);
        let throttle = Throttle::new(lead, open, config.tick);
        Source { reader, ingest, admitted, partitions, throttle, participant }
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
        self.checkpoint();
        self.ingest.gauges.open_points.store(self.ingest.open_points.get(), Ordering::Relaxed);
        more
    }

    /// Applies what the director decided since the last activation.
    fn hear(&mut self) {
        let incoming = std::mem::take(&mut *self.ingest.control.incoming.borrow_mut());
        let mut facts = self.ingest.control.facts.borrow_mut();
        for message in incoming {
            match message {
                Control::Lift { partition, generation, from } => {
                    for own in self.partitions.iter_mut().filter(|p| p.id == partition) {
                        facts.learn(Decision::Lifted { partition, from });
                        own.lift(generation);
                    }
                }
                Control::Advance { to } => {
                    for partition in self.partitions.iter_mut().filter(|p| p.is_lifted()) {
                        let position = self.reader.position(partition.id);
                        let (id, from) = (partition.id, partition.next(position).unwrap_or(0));
                        facts.learn(Decision::Floor { partition: id, from, floor: to });
                        partition.clock.raise_floor(to);
                    }
                }
                Control::Return { partition, generation, from, floor } => {
                    for own in self.partitions.iter_mut().filter(|p| p.id == partition) {
                        facts.learn(Decision::Floor { partition, from, floor });
                        facts.learn(Decision::Returned { partition, from });
                        own.return_at(generation, floor);
                    }
                }
                Control::Refused { partition, offsets } => {
                    for own in self.partitions.iter_mut().filter(|p| p.id == partition) {
                        let refused = offsets.iter();
                        let refused = refused.map(|o| Decision::Refused { partition, offset: *o });
                        refused.for_each(|decision| facts.learn(decision));
                        own.refusal_asked = false;
                    }
                }
                Control::Discovered { partition } => {
                    if let Some(found) = discovered(&mut *self.reader, &self.ingest, partition) {
                        self.partitions.push(found);
                    }
                }
                _ => {}
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
                open.map(|(at, (p, _))| (at, p.watermark())).min_by_key(|(_, w)| *w)
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
        let all_at_end = self.partitions.iter().all(|partition| partition.caught_up);
        self.ingest.gauges.caught_up.store(u64::from(all_at_end), Ordering::Relaxed);
        let lag = self.partitions.iter().filter_map(|p| self.reader.lag(p.id)).sum();
        self.ingest.gauges.lag.store(lag, Ordering::Relaxed);
        budget == 0
    }

    /// The least watermark of the worker's own partitions that take part; `None` when none does.
    fn least_live(&self) -> Option<EventTime> {
        let live = self.partitions.iter().filter(|p| !p.is_lifted());
        live.map(|p| p.watermark().unwrap_or(EventTime::MIN)).min()
    }

    /// Reports news, and moves the capabilities to where nothing of this worker can come before.
    fn downgrade(&mut self, held: &mut [Capability<EventTime>]) {
        let tick = self.ingest.config.tick;
        let reader = &self.reader;
        let news = self.partitions.iter_mut().filter_map(|p| p.report(tick, reader.position(p.id)));
        self.ingest.control.outgoing.borrow_mut().extend(news.map(Control::Report));
        let least = self.least_live().unwrap_or_else(|| self.ingest.control.board.borrow().least());
        let hold = self.ingest.control.hold.get().unwrap_or(EventTime::MAX);
        let to = tick.floor(least).min(hold);
        for capability in held.iter_mut().filter(|c| *c.time() < to) {
            capability.downgrade(&to);
        }
        if let Some(capability) = held.first() {
            self.ingest.control.capability.set(*capability.time());
            self.ingest.gauges.set_capability(*capability.time());
        }
    }

    /// Puts where reading goes on, once nothing of this worker can come before an announced cut.
    fn checkpoint(&mut self) {
        let capability = self.ingest.control.capability.get();
        if self.participant.due(capability) {
            put(self);
        }
        self.ingest.tally.put_if_due(capability);
        let applied = self.ingest.applied.with_frontier(|f| f.first().copied());
        let applied = applied.unwrap_or(EventTime::MIN);
        self.partitions.iter_mut().for_each(|p| p.bookmarks.forget_before(applied));
    }
}

/// Begins to read a partition found at run time, if this worker is the one to do it.
fn discovered(
    reader: &mut dyn SourceReader,
    ingest: &Ingest,
    id: PartitionId,
) -> Option<Partition> {
    let shard = ingest.control.recovery.shard();
    let number = u64::from(id.topic).wrapping_add(u64::from(id.partition.unsigned_abs()));
    if number % shard.peers.max(1) as u64 != shard.index as u64 {
        return None;
    }
    if ingest.control.is_recreated(id.topic) {
        // It is of the new topic, for the next run.
        let ended = Control::Ended { partition: id, end: EventTime::MIN };
        ingest.control.outgoing.borrow_mut().push(ended);
        return None;
    }
    if let Err(error) = reader.assign(id, None) {
        // It will be read after the next start: from its beginning, so nothing is lost.
        tracing::error!(partition = ?id, %error, "could not begin to read a new partition");
        return None;
    }
    tracing::info!(partition = ?id, "reading a new partition");
    let config = &ingest.config;
    let now = config.clock.now();
    let mut partition = Partition::new(id, config.out_of_orderness, config.grid, now);
    partition.lift_from_the_start();
    Some(partition)
}
