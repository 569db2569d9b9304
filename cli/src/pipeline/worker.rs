//! One timely worker: builds the dataflow, drives it, and stops it without firing what is open.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::input::Input as _;
use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::ingest::{
    ControlPlane, Ingest, IngestCounters, OpenPoints, PartitionGauges, ingest,
};
use tidewatch_dataflow::operator::{StopFlag, in_order};
use tidewatch_dataflow::record::PartitionId;
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::alert::{active_incidents, with_inventory};
use tidewatch_operators::feed::{FeedCounters, FeedMachine, FeedOutput, Fold, detect, fold};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Concatenate, Exchange, Operator, Probe};
use timely::dataflow::{ProbeHandle, Scope, StreamVec};
use timely::worker::Worker;

use super::outputs::Outputs;
use super::running::PipelineError;
use super::spec::PipelineSpec;

/// Opens the reader of the partitions that one worker owns, and codecs for all topics by topic index.
pub trait Sources: Send + Sync {
    /// All partitions of the pipeline, sorted.
    fn partitions(&self) -> Vec<PartitionId>;

    /// A reader of `partitions`.
    ///
    /// # Errors
    /// [`ConnectorError`] when the reader cannot be made.
    fn open(&self, partitions: Vec<PartitionId>) -> Result<Box<dyn SourceReader>, ConnectorError>;

    /// One codec for each topic, by topic index.
    fn codecs(&self) -> Vec<Box<dyn Codec>>;
}

/// Counters of a pipeline, shared by all workers of the process.
#[derive(Debug, Default)]
pub struct PipelineCounters {
    /// Of the sources.
    pub ingest: Arc<IngestCounters>,
    /// Of the feeds.
    pub feeds: Arc<FeedCounters>,
    /// Windows fired, corrections included.
    pub firings: AtomicU64,
    /// Transitions, counted on worker 0.
    pub transitions: AtomicU64,
    /// Event time up to which everything is applied, in milliseconds.
    pub applied: AtomicU64,
}

/// Everything the workers of a process share.
pub struct Shared {
    /// What is computed.
    pub spec: PipelineSpec,
    /// Where records come from.
    pub sources: Box<dyn Sources>,
    /// Where results go.
    pub outputs: Arc<dyn Outputs>,
    /// Set from outside to stop all workers of all processes.
    pub stop: Arc<AtomicBool>,
    /// What happened.
    pub counters: Arc<PipelineCounters>,
    /// One for each worker of this process.
    pub gauges: Vec<Arc<PartitionGauges>>,
}

/// The partitions of worker `index` of `peers`: every `peers`-th of the sorted list.
pub fn assignment(partitions: &[PartitionId], index: usize, peers: usize) -> Vec<PartitionId> {
    partitions.iter().skip(index).step_by(peers.max(1)).copied().collect()
}

/// How long a worker sleeps at most with nothing to do: stop requests are seen that soon.
const PARK_MAX: Duration = Duration::from_millis(20);

/// Builds and drives the pipeline on `worker` until a stop is requested on any worker of any process.
///
/// # Errors
/// [`PipelineError`] when the reader cannot be opened or a feed makes no sense; the run is stopped then.
pub fn run(worker: &mut Worker, shared: &Shared) -> Result<(), PipelineError> {
    let stop = StopFlag::default();
    let partitions = shared.sources.partitions();
    let own = assignment(&partitions, worker.index(), worker.peers());
    let mut control = ControlPlane::new(worker, &partitions, &shared.spec.ingest, stop.clone());
    let applied = ProbeHandle::new();
    let complete_from = shared.spec.complete_from;
    let machines =
        shared.spec.feeds.iter().map(|feed| FeedMachine::try_new(Arc::clone(feed), complete_from));
    let machines = machines.collect::<Result<Vec<_>, _>>().map_err(PipelineError::from);
    let opened = machines.and_then(|machines| Ok((machines, shared.sources.open(own)?)));
    let outcome = match opened {
        Ok((machines, reader)) => {
            worker.dataflow_named::<EventTime, _, _>("pipeline", |scope| {
                build(scope, shared, machines, reader, &control, &stop, &applied);
            });
            Ok(())
        }
        Err(error) => {
            // The others wait for this worker's share of the dataflow: they are told to stop.
            shared.stop.store(true, Ordering::Relaxed);
            Err(error)
        }
    };
    let mut requested = false;
    let mut seen = None;
    loop {
        if !requested && shared.stop.load(Ordering::Relaxed) {
            requested = true;
            control.request_stop();
        }
        control.pump();
        if control.all_stopped() {
            break;
        }
        worker.step_or_park(Some(PARK_MAX));
        let now = applied.with_frontier(|f| f.first().copied());
        if now != seen {
            seen = now;
            control.wake_source();
            if let Some(time) = now {
                shared.counters.applied.store(time.as_millis(), Ordering::Relaxed);
            }
        }
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    outcome
}

/// Wires the dataflow of one worker.
fn build(
    scope: Scope<'_, EventTime>,
    shared: &Shared,
    machines: Vec<FeedMachine>,
    reader: Box<dyn SourceReader>,
    control: &ControlPlane,
    stop: &StopFlag,
    applied: &ProbeHandle<EventTime>,
) {
    let Shared { spec, outputs, counters, .. } = shared;
    let series = Rc::new(RefCell::new(SeriesTable::new(spec.series_max)));
    let open_points = OpenPoints::default();
    let local = scope.index() % shared.gauges.len().max(1);
    let full = Arc::clone(outputs);
    let source = ingest(
        scope,
        "ingest",
        Ingest {
            reader,
            codecs: shared.sources.codecs(),
            series: Rc::clone(&series),
            config: spec.ingest.clone(),
            control: control.shared(),
            stop: stop.clone(),
            applied: applied.clone(),
            open_points: open_points.clone(),
            is_full: Box::new(move || full.is_full()),
            counters: Arc::clone(&counters.ingest),
            gauges: shared.gauges.get(local).cloned().unwrap_or_default(),
        },
    );
    let panes: Vec<_> = spec.feeds.iter().map(|feed| feed.pane).collect();
    let state = Fold::new(&spec.feeds, scope.index(), Arc::clone(&counters.feeds));
    let folded = fold(source.batches, &panes, state, series, open_points, stop.clone());

    let mut detected = Vec::new();
    for ((feed, machine), messages) in spec.feeds.iter().zip(machines).zip(folded.feeds) {
        let selector = &feed.selector;
        let name = format!("detect/{}.{}", selector.measurement, selector.field);
        detected.push(detect(messages, &name, machine, stop.clone()));
    }
    let results = scope.concatenate(detected);
    let sink = Arc::clone(outputs);
    deliver(source.logs, "sink/logs", move |lines| sink.logs(lines));
    let sink = Arc::clone(outputs);
    deliver(source.dead_letters, "sink/dead_letters", move |letters| sink.dead_letters(letters));
    let (sink, ingest_counters) = (Arc::clone(outputs), Arc::clone(&counters.ingest));
    deliver(folded.late, "sink/late", move |letters| {
        if let Some(first) = letters.first() {
            ingest_counters.count_dead_letters(first.reason, letters.len() as u64);
        }
        sink.dead_letters(letters);
    });
    let transitions = points_out(results, shared);
    alerts(transitions, shared, stop).probe_with(applied);
}

/// Writes the points of `results` out and returns the transitions.
fn points_out<'scope>(
    results: StreamVec<'scope, EventTime, FeedOutput>,
    shared: &Shared,
) -> StreamVec<'scope, EventTime, Transition> {
    let (outputs, counters) = (Arc::clone(&shared.outputs), Arc::clone(&shared.counters));
    results.unary::<CapacityContainerBuilder<Vec<Transition>>, _, _, _>(
        Pipeline,
        "sink/points",
        move |_, _| {
            move |input, output| {
                input.for_each(|capability, results| {
                    let mut points = Vec::with_capacity(results.len());
                    let mut session = output.session(&capability);
                    for result in results.drain(..) {
                        match result {
                            FeedOutput::Point(point) => points.push(point),
                            FeedOutput::Transition(transition) => session.give(transition),
                        }
                    }
                    if !points.is_empty() {
                        counters.firings.fetch_add(points.len() as u64, Ordering::Relaxed);
                        outputs.points(points);
                    }
                });
            }
        },
    )
}

/// The transition log and the active incidents, both on worker 0. Returns a stream that ends with them.
fn alerts<'scope>(
    transitions: StreamVec<'scope, EventTime, Transition>,
    shared: &Shared,
    stop: &StopFlag,
) -> StreamVec<'scope, EventTime, ()> {
    let scope = transitions.scope();
    let log = in_order(transitions, "alert/log", stop.clone());
    let (outputs, counters) = (Arc::clone(&shared.outputs), Arc::clone(&shared.counters));
    let told = deliver(log.clone(), "sink/transitions", move |transitions| {
        counters.transitions.fetch_add(transitions.len() as u64, Ordering::Relaxed);
        outputs.transitions(transitions);
    });
    let inventory = if scope.index() == 0 { shared.spec.inventory.clone() } else { Vec::new() };
    let inventory = scope.new_collection_from(inventory).1;
    let active = with_inventory(active_incidents(log), inventory);
    let outputs = Arc::clone(&shared.outputs);
    let active = active.consolidate().inner.exchange(|_| 0);
    let shown = deliver(active, "sink/active", move |changes| {
        // One batch may span many times, in no order of them: what counts is the sum.
        let mut changes = changes.into_iter().map(|(incident, _, diff)| (incident, diff)).collect();
        consolidate(&mut changes);
        outputs.active(changes);
    });
    scope.concatenate([told, shown])
}

/// Hands every batch of `stream` to `write`, and returns a stream that says when.
fn deliver<'scope, D: Clone + 'static>(
    stream: StreamVec<'scope, EventTime, D>,
    name: &str,
    mut write: impl FnMut(Vec<D>) + 'static,
) -> StreamVec<'scope, EventTime, ()> {
    stream.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, name, move |_, _| {
        move |input, _output| {
            input.for_each(|_, items| write(std::mem::take(items)));
        }
    })
}
