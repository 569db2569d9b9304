//! The timely side of a feed: fold where the samples are read, detect where the group lives.

use std::cell::RefCell;
use std::rc::Rc;

use tidewatch_dataflow::checkpoint::Participant;
use tidewatch_dataflow::dead_letter::{DeadLetter, Reason};
use tidewatch_dataflow::ingest::{OpenPoints, PointBatch, SharedCrumb};
use tidewatch_dataflow::operator::{StopFlag, apply_panes_checkpointed};
use tidewatch_dataflow::record::Point;
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::time::{EventTime, PaneSize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ExchangeCore, Pipeline};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Stream, StreamVec};

use super::fold::{Fold, LatePoint};
use super::machine::{FeedMachine, FeedOutput};
use super::{FeedBatch, FeedMessage};

/// After so many messages those behind have their turn: at about 100 bytes each, 1.6 MB.
const HANDED_OUT_MAX: u64 = 16_384;

/// The streams of [`fold`].
pub struct Folded<'scope> {
    /// For each feed its messages, not yet exchanged.
    pub feeds: Vec<Stream<'scope, EventTime, FeedBatch>>,
    /// Points that came too late.
    pub late: StreamVec<'scope, EventTime, DeadLetter>,
}

/// Folds the points of `batches` on the worker that read them.
///
/// Each feed has its own output and holds its own capability, at the start of the first pane that is not
/// closed: one pane behind its input at most. Feeds with rules close first, and after much was handed out the
/// operators behind are given their turn: so an alert does not wait for the other feeds, nor is everything held
/// in memory that all of them say of one pane.
///
/// A batch is named by `crumb` while it is taken in. Offsets of its points stand in order.
pub fn fold<'scope>(
    batches: StreamVec<'scope, EventTime, PointBatch>,
    panes: &[PaneSize],
    mut state: Fold,
    series: Rc<RefCell<SeriesTable>>,
    open: OpenPoints,
    crumb: SharedCrumb,
    stop: StopFlag,
) -> Folded<'scope> {
    let batches_scope = batches.scope();
    let mut builder = OperatorBuilder::new("fold".to_owned(), batches.scope());
    let mut input = builder.new_input(batches, Pipeline);
    let panes = panes.to_vec();
    let mut outputs = Vec::new();
    let mut feeds = Vec::new();
    for _ in &panes {
        let (output, stream) = builder.new_output::<FeedBatch>();
        outputs.push(OutputBuilder::from(output));
        feeds.push(stream);
    }
    let (letters, late_stream) = builder.new_output::<Vec<DeadLetter>>();
    let mut letters = OutputBuilder::from(letters);
    let activator = batches_scope.activator_for(builder.operator_info().address);
    let mut order: Vec<usize> = (0..panes.len()).collect();
    order.sort_by_key(|feed| !state.has_rules(*feed));
    builder.build(move |mut capabilities| {
        // Late points travel with the batch that brought them.
        capabilities.truncate(panes.len());
        let mut held: Vec<_> = capabilities.into_iter().map(Some).collect();
        let mut late = Vec::new();
        move |frontiers| {
            // 1. Admit: samples become rows in their admission panes.
            let mut letters = letters.activate();
            input.for_each(|capability, batches| {
                for batch in batches.drain(..) {
                    let offsets = |point: Option<&Point>| point.map(|point| point.offset);
                    let points = &batch.decoded.points;
                    if let Some((first, last)) = offsets(points.first()).zip(offsets(points.last()))
                    {
                        crumb.borrow_mut().set(batch.partition, first, last);
                    }
                    let rows = state.admit(&batch, &mut series.borrow_mut(), &mut late);
                    crumb.borrow_mut().clear();
                    open.add(rows);
                    open.remove(batch.decoded.points.len() as u64);
                }
                if !late.is_empty() {
                    letters.session(&capability).give_iterator(late.drain(..).map(dead_letter));
                }
            });
            if stop.is_stopped() {
                return;
            }
            let passed = frontiers.first().and_then(|f| f.frontier().first().copied());
            let mut handed_out = 0;
            for feed in &order {
                let (Some(size), Some(held), Some(output)) =
                    (panes.get(*feed), held.get_mut(*feed), outputs.get_mut(*feed))
                else {
                    continue;
                };
                let Some(capability) = held.as_mut() else { continue };
                // 2. Close: every pane that the frontier has passed, in order.
                while let Some(pane) = state.first_open(*feed)
                    && passed.is_none_or(|time| size.end(pane) <= time)
                {
                    if handed_out > HANDED_OUT_MAX {
                        activator.activate();
                        return;
                    }
                    let at = size.start(pane).max(*capability.time());
                    let mut output = output.activate();
                    let at = capability.delayed(&at);
                    let mut session = output.session(&at);
                    open.remove(state.close(*feed, pane, |message| {
                        handed_out += 1;
                        session.give(message);
                    }));
                }
                // 3. Release.
                match passed {
                    Some(time) if *capability.time() < size.floor(time) => {
                        capability.downgrade(&size.floor(time));
                    }
                    Some(_) => {}
                    None => *held = None,
                }
            }
            if let Some(time) = passed {
                state.put_if_due(time);
                // 4. Do ahead what can be done for the next panes.
                state.settle(time);
            }
        }
    });
    Folded { feeds, late: late_stream }
}

fn dead_letter(late: LatePoint) -> DeadLetter {
    let behind = late.admission_time.since(late.event_time);
    DeadLetter {
        partition: late.partition,
        offset: late.offset,
        generation: late.generation,
        reason: Reason::Late,
        detail: format!("{} s behind its partition", behind.as_secs()).into(),
        key: None,
        value: Box::default(),
        event_time: Some(late.event_time),
    }
}

/// Exchanges the messages of one feed to the workers that own the groups, and drives its machine there. The
/// machine has been restored already; `participant` puts its state into every checkpoint.
pub fn detect<'scope>(
    messages: Stream<'scope, EventTime, FeedBatch>,
    name: &str,
    machine: FeedMachine,
    participant: Participant,
    stop: StopFlag,
) -> StreamVec<'scope, EventTime, FeedOutput> {
    let pact =
        ExchangeCore::<CapacityContainerBuilder<FeedBatch>, _>::new_core(FeedMessage::bucket);
    let admit = |_stamp, message, inbox: &mut _, machine: &mut FeedMachine| {
        machine.receive(message, inbox);
    };
    apply_panes_checkpointed(messages, pact, name, stop, machine, participant, admit)
}
