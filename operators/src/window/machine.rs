//! The state machine of windows: panes in, firings out.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::time::{Pane, PaneSize};

use super::{Firing, WindowPlan, WindowSet};
use crate::aggregate::Monoid;
use crate::group::{Grouped, LiveGroups};

/// Tumbling or sliding windows over one partial aggregate. See [`crate::window`] for what fires when.
#[derive(Debug)]
pub struct Windows<P> {
    plan: WindowPlan,
    set: WindowSet<P>,
}

/// The state of [`Windows`] between two panes: what a checkpoint holds.
///
/// Only panes are kept, not the nodes above them: those are functions of the panes, computed again when
/// needed, with the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowsState<P> {
    /// The pane applied last.
    pub last: Option<Pane>,
    /// Per pane with samples, in order, the partial aggregate of each group, in order.
    pub panes: Vec<(Pane, Vec<(GroupId, P)>)>,
    /// Entries refused so far because they came too late.
    pub refused: u64,
}

impl<P: Monoid> Windows<P> {
    /// Windows without state.
    pub fn new(plan: WindowPlan) -> Self {
        Windows { plan, set: WindowSet::new(vec![plan]) }
    }

    /// See [`WindowPlan::is_too_late`].
    pub fn is_too_late(&self, event_pane: Pane, admission_pane: Pane) -> bool {
        self.plan.is_too_late(event_pane, admission_pane)
    }

    /// How many entries were refused because they came too late: none if the sender asks
    /// [`Windows::is_too_late`] before it sends.
    pub fn refused(&self) -> u64 {
        self.set.refused()
    }

    /// The state after the pane applied last.
    pub fn snapshot(&self) -> WindowsState<P> {
        let panes = self.set.columns().map(|(pane, _, rows)| (pane, rows.to_vec()));
        WindowsState { last: self.set.last(), panes: panes.collect(), refused: self.set.refused() }
    }

    /// Windows that go on from `state`, which was taken from windows of the same plan.
    pub fn restore(plan: WindowPlan, state: WindowsState<P>) -> Self {
        let mut windows = Windows::new(plan);
        let next = state.last.map_or(Pane(0), |last| Pane(last.0.saturating_add(1)));
        windows.set.restore(next, state.panes, state.refused);
        windows
    }
}

impl<P: Monoid> PaneMachine for Windows<P> {
    type Partial = P;
    type Output = Firing<P>;

    fn pane_size(&self) -> PaneSize {
        self.plan.pane_size()
    }

    fn apply(&mut self, pane: Pane, entries: &mut Vec<Entry<P>>, out: &mut Vec<Firing<P>>) {
        self.set.apply(pane, entries.drain(..), |_, firing| out.push(firing));
    }

    fn next_due(&self) -> Option<Pane> {
        self.set.next_due()
    }
}

impl<P: Monoid> LiveGroups for Windows<P> {
    fn for_each_live(&self, visit: &mut dyn FnMut(GroupId)) {
        for (_, _, rows) in self.set.columns() {
            rows.iter().for_each(|(group, _)| visit(*group));
        }
    }
}

impl<P> Grouped for Firing<P> {
    type Named<G> = Firing<P, G>;

    fn group(&self) -> GroupId {
        self.group
    }

    fn named<G>(self, group: G) -> Firing<P, G> {
        self.with_group(group)
    }
}
