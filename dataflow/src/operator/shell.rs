//! The timely side of a [`PaneMachine`]: admit, apply, release.

use std::cell::Cell;
use std::rc::Rc;

use timely::Container;
use timely::container::DrainContainer;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Operator;
use timely::dataflow::{Stream, StreamVec};

use super::{Inbox, PaneMachine};
use crate::checkpoint::{Checkpointed, Participant, PieceWriter};
use crate::time::{EventTime, EventTimestamp, Pane};

/// Set on a worker when it is told to stop: an empty frontier is then the end of the run and not the
/// end of time, and nothing more is applied. Shared by all operators of the worker.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Rc<Cell<bool>>);

impl StopFlag {
    /// From now on no pane is applied.
    pub fn stop(&self) {
        self.0.set(true);
    }

    /// Whether the worker was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.get()
    }
}

/// Drives `machine` with the messages of `stream`, which `admit` puts into the inbox.
///
/// `admit` is given the event time of the message's stamp and the message; it must use an admission pane
/// that does not lie before that stamp's pane. The output of pane `P` travels at the last instant of `P`, so
/// that a frontier at `t` says that everything decided before `t` has been handed on. When the input ends (an
/// empty frontier) and `stop` is not set, everything that waits is applied: the end of time.
pub fn apply_panes<'scope, T, D, C, P, M, A>(
    stream: Stream<'scope, T, C>,
    pact: P,
    name: &str,
    stop: StopFlag,
    machine: M,
    admit: A,
) -> StreamVec<'scope, T, M::Output>
where
    T: EventTimestamp,
    C: Container + for<'a> DrainContainer<Item<'a> = D>,
    P: ParallelizationContract<T, C>,
    M: PaneMachine,
    M::Output: Clone,
    A: FnMut(EventTime, D, &mut Inbox<M::Partial>, &mut M) + 'static,
{
    drive(stream, pact, name, stop, machine, None, admit)
}

/// As [`apply_panes`], for a machine whose state is part of every checkpoint: it is put between two panes,
/// when everything before the cut is applied and nothing else. `machine` has been restored already.
pub fn apply_panes_checkpointed<'scope, T, D, C, P, M, A>(
    stream: Stream<'scope, T, C>,
    pact: P,
    name: &str,
    stop: StopFlag,
    machine: M,
    participant: Participant,
    admit: A,
) -> StreamVec<'scope, T, M::Output>
where
    T: EventTimestamp,
    C: Container + for<'a> DrainContainer<Item<'a> = D>,
    P: ParallelizationContract<T, C>,
    M: PaneMachine + Checkpointed,
    M::Output: Clone,
    A: FnMut(EventTime, D, &mut Inbox<M::Partial>, &mut M) + 'static,
{
    let checkpoint = (participant, M::snapshot as Snapshot<M>);
    drive(stream, pact, name, stop, machine, Some(checkpoint), admit)
}

/// Room for at most so many outputs is made before a pane is applied: at 200 bytes each, 3.3 MB.
const ROOM_MAX: usize = 16_384;

type Snapshot<M> = fn(&mut M, &mut PieceWriter<'_>);

fn drive<'scope, T, D, C, P, M, A>(
    stream: Stream<'scope, T, C>,
    pact: P,
    name: &str,
    stop: StopFlag,
    mut machine: M,
    checkpoint: Option<(Participant, Snapshot<M>)>,
    mut admit: A,
) -> StreamVec<'scope, T, M::Output>
where
    T: EventTimestamp,
    C: Container + for<'a> DrainContainer<Item<'a> = D>,
    P: ParallelizationContract<T, C>,
    M: PaneMachine,
    M::Output: Clone,
    A: FnMut(EventTime, D, &mut Inbox<M::Partial>, &mut M) + 'static,
{
    let size = machine.pane_size();
    stream.unary_frontier(pact, name, move |capability, _info| {
        let mut held = Some(capability);
        let mut inbox = Inbox::default();
        let (mut outputs, mut room) = (Vec::new(), 0);
        move |(input, frontier), output| {
            // 1. Admit: every message waits in its admission pane.
            input.for_each(|capability, batch| {
                let stamp = capability.least().map_or(EventTime::MIN, EventTimestamp::event_time);
                for message in batch.drain() {
                    admit(stamp, message, &mut inbox, &mut machine);
                }
            });
            if stop.is_stopped() {
                return;
            }
            let Some(capability) = held.as_mut() else { return };
            // 2. Apply: every pane that the frontier has passed, in order; a cut comes between two panes.
            let passed = frontier.frontier().first().map(EventTimestamp::event_time);
            let due = |pane: Pane| passed.is_none_or(|time| size.end(pane) <= time);
            while let Some(pane) = inbox.first().into_iter().chain(machine.next_due()).min()
                && due(pane)
            {
                let before = EventTime::from_millis(size.end(pane).as_millis() - 1);
                cut(&checkpoint, before, &mut machine);
                outputs.reserve(room);
                machine.apply(pane, &mut inbox.take(pane), &mut outputs);
                if !outputs.is_empty() {
                    // Most panes give as many as the one before. They are handed on as they lie: a copy of each, and a
                    // message for every few of them, would cost more than most have cost to make.
                    room = outputs.len().min(ROOM_MAX);
                    let at = T::at(before).max(capability.time().clone());
                    output.session(&capability.delayed(&at)).give_container(&mut outputs);
                    outputs.clear();
                }
            }
            if let Some(time) = passed {
                cut(&checkpoint, time, &mut machine);
            }
            // 3. Release: no output can travel before the pane the frontier is in.
            match passed {
                Some(time) => {
                    let floor = T::at(size.floor(time));
                    if *capability.time() < floor {
                        capability.downgrade(&floor);
                    }
                }
                None => held = None,
            }
        }
    })
}

/// Puts the machine's state if a cut is announced that does not lie after `time`.
fn cut<M>(checkpoint: &Option<(Participant, Snapshot<M>)>, time: EventTime, machine: &mut M) {
    if let Some((participant, snapshot)) = checkpoint
        && participant.due(time)
    {
        participant.put(|pieces| snapshot(machine, pieces));
    }
}
