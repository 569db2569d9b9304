//! The timely side of a [`PaneMachine`]: admit, apply, release.

use std::cell::Cell;
use std::rc::Rc;

use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::Operator;

use super::{Inbox, PaneMachine};
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
/// that does not lie before that stamp's pane. The output of pane `P` travels at the end of `P`. When the
/// input ends (an empty frontier) and `stop` is not set, everything that waits is applied: the end of time.
pub fn apply_panes<'scope, T, D, P, M, A>(
    stream: StreamVec<'scope, T, D>,
    pact: P,
    name: &str,
    stop: StopFlag,
    mut machine: M,
    mut admit: A,
) -> StreamVec<'scope, T, M::Output>
where
    T: EventTimestamp,
    D: Clone + 'static,
    P: ParallelizationContract<T, Vec<D>>,
    M: PaneMachine,
    M::Output: Clone,
    A: FnMut(EventTime, D, &mut Inbox<M::Partial>, &mut M) + 'static,
{
    let size = machine.pane_size();
    stream.unary_frontier(pact, name, move |capability, _info| {
        let mut held = Some(capability);
        let mut inbox = Inbox::default();
        let mut outputs = Vec::new();
        move |(input, frontier), output| {
            // 1. Admit: every message waits in its admission pane.
            input.for_each(|capability, batch| {
                let stamp = capability.least().map_or(EventTime::MIN, EventTimestamp::event_time);
                for message in batch.drain(..) {
                    admit(stamp, message, &mut inbox, &mut machine);
                }
            });
            if stop.is_stopped() {
                return;
            }
            let Some(capability) = held.as_mut() else { return };
            // 2. Apply: every pane that the frontier has passed, in order.
            let passed = frontier.frontier().first().map(EventTimestamp::event_time);
            let due = |pane: Pane| passed.is_none_or(|time| size.end(pane) <= time);
            while let Some(pane) = inbox.first().into_iter().chain(machine.next_due()).min()
                && due(pane)
            {
                machine.apply(pane, &mut inbox.take(pane), &mut outputs);
                if !outputs.is_empty() {
                    let at = T::at(size.end(pane)).max(capability.time().clone());
                    output.session(&capability.delayed(&at)).give_iterator(outputs.drain(..));
                }
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
