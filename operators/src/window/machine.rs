//! The state machine of windows: panes in, firings out.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::time::{Pane, PaneSize};

use super::column::Column;
use super::tree::Tree;
use super::{Firing, Timing, WindowPlan};
use crate::aggregate::Monoid;
use crate::group::{Grouped, LiveGroups};

/// Tumbling and sliding windows over one partial aggregate. See [`crate::window`] for what fires when.
#[derive(Debug)]
pub struct Windows<P> {
    plan: WindowPlan,
    /// The pane applied last.
    last: Option<Pane>,
    tree: Tree<P>,
    /// Entries that came although [`WindowPlan::is_too_late`] said so.
    refused: u64,
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

/// Corrections of one group in one admission pane.
struct Corrected<P> {
    group: GroupId,
    /// Windows to fire again, in order, with their values before the correction.
    windows: Vec<(u64, Option<P>)>,
}

impl<P: Monoid> Windows<P> {
    /// Windows without state.
    pub fn new(plan: WindowPlan) -> Self {
        Windows { plan, last: None, tree: Tree::new(plan.size_panes()), refused: 0 }
    }

    /// See [`WindowPlan::is_too_late`].
    pub fn is_too_late(&self, event_pane: Pane, admission_pane: Pane) -> bool {
        self.plan.is_too_late(event_pane, admission_pane)
    }

    /// How many entries were refused because they came too late: none if the sender asks
    /// [`Windows::is_too_late`] before it sends.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The state after the pane applied last.
    pub fn snapshot(&self) -> WindowsState<P> {
        let panes = self.tree.panes().map(|(pane, column)| (Pane(pane), column.rows().to_vec()));
        WindowsState { last: self.last, panes: panes.collect(), refused: self.refused }
    }

    /// Windows that go on from `state`, which was taken from windows of the same plan.
    pub fn restore(plan: WindowPlan, state: WindowsState<P>) -> Self {
        let mut windows = Windows::new(plan);
        windows.last = state.last;
        windows.refused = state.refused;
        for (pane, rows) in state.panes {
            windows.tree.add(pane.0, Column::from_rows(rows));
        }
        windows
    }

    /// Merges `corrections`, sorted by (group, event pane, order), into their panes. Returns which fired
    /// windows changed, with their former values.
    fn correct(&mut self, pane: Pane, corrections: Vec<Entry<P>>) -> Vec<Corrected<P>> {
        // 1. Which windows change, and what they said before.
        let mut changed = Vec::new();
        for entries in corrections.chunk_by(|a, b| a.group == b.group) {
            let Some(group) = entries.first().map(|e| e.group) else { continue };
            let mut windows: Vec<u64> = entries
                .chunk_by(|a, b| a.event_pane == b.event_pane)
                .filter_map(|same| same.first())
                .flat_map(|e| self.plan.correctable(e.event_pane, pane))
                .collect();
            windows.sort_unstable();
            windows.dedup();
            let windows = windows.into_iter().map(|k| (k, self.value(k, group))).collect();
            changed.push(Corrected { group, windows });
        }
        // 2. Merge, pane by pane; within a pane the order of groups and partitions is kept.
        let mut corrections = corrections;
        corrections.sort_by_key(|e| e.event_pane);
        let mut column = Column::default();
        let mut corrections = corrections.into_iter().peekable();
        while let Some(Entry { group, event_pane, partial, .. }) = corrections.next() {
            column.append(group, partial);
            if corrections.peek().is_none_or(|next| next.event_pane != event_pane) {
                self.tree.add(event_pane.0, std::mem::take(&mut column));
            }
        }
        changed
    }

    /// The value of window `k` for `group` as of now.
    fn value(&mut self, k: u64, group: GroupId) -> Option<P> {
        let (from, to) = (self.plan.first(k), self.plan.end(k));
        self.tree.ensure(from, to);
        self.tree.value(from, to, group)
    }
}

impl<P: Monoid> PaneMachine for Windows<P> {
    type Partial = P;
    type Output = Firing<P>;

    fn pane_size(&self) -> PaneSize {
        self.plan.pane_size()
    }

    fn apply(&mut self, pane: Pane, entries: &mut Vec<Entry<P>>, out: &mut Vec<Firing<P>>) {
        // 1. On time: one column, appended in order. The rest are corrections, or too late.
        let mut column = Column::default();
        let mut corrections = Vec::new();
        for entry in entries.drain(..) {
            if entry.event_pane == pane {
                column.append(entry.group, entry.partial);
            } else if self.plan.is_too_late(entry.event_pane, pane) {
                self.refused += 1;
            } else {
                corrections.push(entry);
            }
        }
        self.tree.add(pane.0, column);
        // 2. Corrections: windows that have ended fire again, group by group.
        for Corrected { group, windows } in self.correct(pane, corrections) {
            for (k, former) in windows {
                if let Some(value) = self.value(k, group) {
                    let (window, timing) = (self.plan.window(k), Timing::Late);
                    out.push(Firing { group, window, timing, value, former });
                }
            }
        }
        // 3. The window that ends with this pane fires.
        if let Some(k) = self.plan.ending_with(pane) {
            let (window, timing) = (self.plan.window(k), Timing::OnTime);
            self.tree.for_each(self.plan.first(k), self.plan.end(k), |group, value| {
                out.push(Firing { group, window, timing, value, former: None });
            });
        }
        // 4. Forget what no later admission pane can need.
        self.last = Some(pane);
        self.tree.evict(self.plan.horizon(pane.0.saturating_add(1)));
    }

    fn next_due(&self) -> Option<Pane> {
        let next = self.last?.0.saturating_add(1);
        let first = self.plan.first_reaching(next);
        // The windows that end at or after `next` begin at `first`; the first one with samples counts.
        let samples = self.tree.first_pane(self.plan.first(first))?;
        let k = first.max(self.plan.first_reaching(samples));
        Some(Pane(self.plan.end(k).saturating_sub(1)))
    }
}

impl<P: Monoid> LiveGroups for Windows<P> {
    fn for_each_live(&self, visit: &mut dyn FnMut(GroupId)) {
        for (_, column) in self.tree.panes() {
            column.rows().iter().for_each(|(group, _)| visit(*group));
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
