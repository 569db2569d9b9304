//! Driving machines without timely, as the shell does.

use tidewatch_dataflow::operator::{Entry, Inbox, PaneMachine};
use tidewatch_dataflow::time::Pane;

/// Applies everything in `admitted` and whatever is due after it, to the end of time.
pub(crate) fn drive<M: PaneMachine>(
    machine: &mut M,
    admitted: Vec<(Pane, Entry<M::Partial>)>,
) -> Vec<M::Output> {
    let mut inbox = Inbox::default();
    for (pane, entry) in admitted {
        inbox.admit(pane, entry);
    }
    let mut out = Vec::new();
    let mut last = None;
    while let Some(pane) = inbox.first().into_iter().chain(machine.next_due()).min() {
        assert!(last < Some(pane), "panes must rise: {last:?}, then {pane:?}");
        last = Some(pane);
        machine.apply(pane, &mut inbox.take(pane), &mut out);
    }
    out
}
