//! The wiring of one worker's dataflow.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use differential_dataflow::consolidation::consolidate;
use differential_dataflow::input::Input as _;
use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::checkpoint::{Participant, Recovery, StateError};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::ingest::{
    Ingest, IngestState, IngestTally, OpenPoints, Shared as Control, SharedCrumb, Tally, ingest,
};
use tidewatch_dataflow::operator::{StopFlag, in_order};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::SourceReader;
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::alert::{active_incidents, with_inventory};
use tidewatch_operators::feed::{
    FeedMachine, FeedOutput, Fold, FoldTally, Outcome, RestoreReport, detect, fold,
};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Concatenate, Exchange, Operator, Probe, ToStream};
use timely::dataflow::{ProbeHandle, Scope, StreamVec};

use super::durability::DurabilityError;
use super::outputs::Outputs;
use super::quarantine;
use super::raw;
use super::running::PipelineError;
use super::worker::Shared;

/// What the dataflow of a worker is wired from.
pub(super) struct Parts<'a> {
    pub(super) shared: &'a Shared,
    pub(super) control: Control,
    pub(super) recovery: Recovery,
    pub(super) state: Arc<IngestState>,
    pub(super) stop: StopFlag,
    pub(super) applied: ProbeHandle<EventTime>,
}

/// The machines of a worker, restored.
pub(super) struct Machines {
    /// What was read.
    ingest_tally: IngestTally,
    /// What was folded.
    fold_tally: FoldTally,
    /// What came out: firings, then transitions.
    result_tally: Tally<2>,
    feeds: Vec<(FeedMachine, Participant)>,
    /// Ends of incidents that no rule watches any more.
    orphans: Vec<Transition>,
    /// Openings of the incidents that were open at the cut.
    openings: Vec<Transition>,
}

/// Makes the machines of a worker, and lets them go on from the state.
pub(super) fn machines(
    shared: &Shared,
    recovery: &Recovery,
    ingest: &IngestState,
    worker: usize,
) -> Result<Machines, PipelineError> {
    let (at, is_restored) = (recovery.resumed_at(), recovery.resumed_at() > EventTime::MIN);
    let complete_from = if is_restored { EventTime::MIN } else { shared.spec.complete_from };
    let grid = shared.spec.ingest.grid;
    let mut machines = Machines {
        ingest_tally: Tally::try_new(recovery.participant("ingest/counts"), grid).map_err(state)?,
        fold_tally: FoldTally::try_new(recovery.participant("fold"), grid).map_err(state)?,
        result_tally: Tally::try_new(recovery.participant("results"), grid).map_err(state)?,
        feeds: Vec::new(),
        orphans: Vec::new(),
        openings: Vec::new(),
    };
    machines.count(shared);
    let mut names = Vec::new();
    for feed in &shared.spec.feeds {
        let mut machine = FeedMachine::try_new(Arc::clone(feed), complete_from)?;
        let name = format!("detect/{}", feed.key());
        let participant = recovery.participant(&name);
        if is_restored {
            let stored = participant.restored();
            let on_change = shared.spec.on_change;
            let report = machine.restore_with(&stored, recovery.shard(), at, on_change);
            machines.take(report.map_err(state)?, &name, worker);
        }
        quarantine::leave_out(&mut machine, ingest, recovery, &shared.counters);
        if let Some(fault) = &shared.spec.fault {
            machine.break_at(fault.clone());
        }
        machines.openings.extend(machine.open_openings());
        machines.feeds.push((machine, participant));
        names.push(name);
    }
    for (operator, stored) in &recovery.state().operators {
        if operator.starts_with("detect/") && !names.iter().any(|name| *name == **operator) {
            let report = RestoreReport::of_dropped(operator, stored, recovery.shard(), at);
            machines.take(report.map_err(state)?, operator, worker);
        }
    }
    Ok(machines)
}

fn state(error: StateError) -> PipelineError {
    DurabilityError::State(error).into()
}

impl Machines {
    /// Lets the counters begin with what earlier runs have counted.
    fn count(&self, shared: &Shared) {
        let counters = &shared.counters;
        counters.ingest.go_on_from(&self.ingest_tally);
        let late = counters.feeds.go_on_from(&self.fold_tally);
        counters.ingest.count_dead_letters(Reason::Late, late);
        let [firings, transitions] = *self.result_tally.before();
        counters.firings.fetch_add(firings, Ordering::Relaxed);
        counters.transitions.fetch_add(transitions, Ordering::Relaxed);
    }

    fn take(&mut self, report: RestoreReport, operator: &str, worker: usize) {
        // All workers say the same of consumers: one says it in the log.
        for consumer in report.consumers.iter().filter(|_| worker == 0) {
            let (name, outcome) = (&consumer.consumer, consumer.outcome);
            if outcome == Outcome::Kept {
                tracing::debug!(operator, consumer = name, %outcome, "state");
            } else {
                tracing::info!(operator, consumer = name, %outcome, "state");
            }
        }
        self.orphans.extend(report.orphans);
    }
}

/// Wires the dataflow of one worker.
pub(super) fn build(
    scope: Scope<'_, EventTime>,
    parts: Parts<'_>,
    machines: Machines,
    reader: Box<dyn SourceReader>,
) {
    let Parts { shared, control, recovery, state, stop, applied } = parts;
    let Shared { spec, outputs, counters, .. } = shared;
    let series = SeriesTable::new(spec.series_max);
    let series = Rc::new(RefCell::new(match spec.raw {
        // What is passed on as it was read is read.
        Some(_) => series,
        None => series.only_fields(spec.feeds.iter().map(|feed| &feed.selector.field)),
    }));
    let open_points = OpenPoints::default();
    let local = scope.index() % shared.gauges.len().max(1);
    let full = Arc::clone(outputs);
    let crumb: SharedCrumb = Rc::new(RefCell::new(shared.sources.crumb(scope.index())));
    let source = ingest(
        scope,
        "ingest",
        reader,
        Ingest {
            codecs: shared.sources.codecs(),
            series: Rc::clone(&series),
            config: spec.ingest.clone(),
            control,
            stop: stop.clone(),
            applied: applied.clone(),
            open_points: open_points.clone(),
            is_full: Box::new(move || full.is_full()),
            counters: Arc::clone(&counters.ingest),
            gauges: shared.gauges.get(local).cloned().unwrap_or_default(),
            state,
            tally: machines.ingest_tally,
            crumb: Rc::clone(&crumb),
        },
    );
    let panes: Vec<_> = spec.feeds.iter().map(|feed| feed.pane).collect();
    let feeds = Arc::clone(&counters.feeds);
    let mut state = Fold::new(&spec.feeds, scope.index(), feeds, machines.fold_tally);
    if let Some(fault) = &spec.fault {
        state.break_at(fault.clone());
    }
    let batches = match &spec.raw {
        Some(which) => {
            let (series, outputs) = (Rc::clone(&series), Arc::clone(outputs));
            raw::hand_out(source.batches, which.clone(), series, outputs)
        }
        None => source.batches,
    };
    let folded = fold(batches, &panes, state, series, open_points, crumb, stop.clone());

    let mut detected = Vec::new();
    for ((feed, (machine, participant)), messages) in
        spec.feeds.iter().zip(machines.feeds).zip(folded.feeds)
    {
        let selector = &feed.selector;
        let name = format!("detect/{}.{}", selector.measurement, selector.field);
        detected.push(detect(messages, &name, machine, participant, stop.clone()));
    }
    let results = scope.concatenate(detected);
    let sink = Arc::clone(outputs);
    let logs = deliver(source.logs, "sink/logs", move |lines| sink.logs(lines));
    let sink = Arc::clone(outputs);
    let write = move |letters| sink.dead_letters(letters);
    let letters = deliver(source.dead_letters, "sink/dead_letters", write);
    let (sink, ingest_counters) = (Arc::clone(outputs), Arc::clone(&counters.ingest));
    let late = deliver(folded.late, "sink/late", move |letters| {
        if let Some(first) = letters.first() {
            ingest_counters.count_dead_letters(first.reason, letters.len() as u64);
        }
        sink.dead_letters(letters);
    });
    let transitions = points_out(results, shared, machines.result_tally);
    let told = alerts(transitions, machines.orphans, machines.openings, shared, &recovery, &stop);
    // Whoever knows this frontier knows what has been handed to the outputs, whatever it is.
    scope.concatenate([logs, letters, late, told]).probe_with(&applied);
}

/// Writes the points of `results` out and returns the transitions.
fn points_out<'scope>(
    results: StreamVec<'scope, EventTime, FeedOutput>,
    shared: &Shared,
    mut tally: Tally<2>,
) -> StreamVec<'scope, EventTime, Transition> {
    let (outputs, counters) = (Arc::clone(&shared.outputs), Arc::clone(&shared.counters));
    results.unary_frontier::<CapacityContainerBuilder<Vec<Transition>>, _, _, _>(
        Pipeline,
        "sink/points",
        move |capability, _info| {
            drop(capability);
            move |(input, frontier), output| {
                input.for_each(|capability, results| {
                    let at = capability.least().copied().unwrap_or_default();
                    let mut session = output.session(&capability);
                    for result in results.drain(..) {
                        match result {
                            FeedOutput::Points(points) => {
                                tally.add(0, at, points.len() as u64);
                                counters.firings.fetch_add(points.len() as u64, Ordering::Relaxed);
                                outputs.points(points);
                            }
                            FeedOutput::Transition(transition) => {
                                tally.add(1, at, 1);
                                session.give(transition);
                            }
                        }
                    }
                });
                if let Some(time) = frontier.frontier().first() {
                    tally.put_if_due(*time);
                }
            }
        },
    )
}

/// The transition log and the active incidents, both on worker 0. Returns a stream that ends with them.
///
/// `orphans` are ends of incidents that no rule watches any more: they are told first. `openings` are those of
/// the incidents that were open at the cut: they have been told, and the active incidents begin with them.
fn alerts<'scope>(
    transitions: StreamVec<'scope, EventTime, Transition>,
    orphans: Vec<Transition>,
    openings: Vec<Transition>,
    shared: &Shared,
    recovery: &Recovery,
    stop: &StopFlag,
) -> StreamVec<'scope, EventTime, ()> {
    let scope = transitions.scope();
    let transitions = scope.concatenate([transitions, orphans.to_stream(scope)]);
    let log = in_order(transitions, "alert/log", stop.clone());
    let told = tell(log.clone(), shared, recovery.participant("alerts"));
    let inventory = if scope.index() == 0 { shared.spec.inventory.clone() } else { Vec::new() };
    let inventory = scope.new_collection_from(inventory).1;
    let since_the_beginning = scope.concatenate([log, openings.to_stream(scope)]);
    let active = with_inventory(active_incidents(since_the_beginning), inventory);
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

/// Hands the transition log on, and between two transitions puts what follows from it into checkpoints.
fn tell<'scope>(
    log: StreamVec<'scope, EventTime, Transition>,
    shared: &Shared,
    participant: Participant,
) -> StreamVec<'scope, EventTime, ()> {
    let (outputs, counters) = (Arc::clone(&shared.outputs), Arc::clone(&shared.counters));
    let is_first = log.scope().index() == 0;
    log.unary_frontier::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
        Pipeline,
        "sink/transitions",
        move |capability, _info| {
            drop(capability);
            let put = move |outputs: &dyn Outputs, upto: EventTime| {
                if participant.due(upto) {
                    participant.put(|pieces| {
                        if is_first {
                            outputs.put(pieces);
                        }
                    });
                }
            };
            move |(input, frontier), _output| {
                // The log comes in order of time, one time in a batch.
                input.for_each(|capability, transitions| {
                    if let Some(time) = capability.least() {
                        put(&*outputs, *time);
                    }
                    let count = transitions.len() as u64;
                    counters.transitions.fetch_add(count, Ordering::Relaxed);
                    outputs.transitions(std::mem::take(transitions));
                });
                if let Some(time) = frontier.frontier().first() {
                    put(&*outputs, *time);
                }
            }
        },
    )
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
