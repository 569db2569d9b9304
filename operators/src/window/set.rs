//! Any number of windows over the same samples and panes, with one tree of partial aggregates for all.
//!
//! Sharing is exact. A pane's column holds every entry admitted so far that was not too late for **some**
//! window; an entry too late for one window lies before that window's horizon, where it never looks
//! again. A node of the tree is a function of the columns below it, whichever window asked for it first.

use tidewatch_dataflow::operator::{Entry, GroupId};
use tidewatch_dataflow::time::Pane;

use super::column::Column;
use super::tree::Tree;
use super::{Firing, Timing, WindowPlan};
use crate::aggregate::Monoid;
use crate::evaluation;

/// Windows by their index. See [`crate::window`] for what fires when.
#[derive(Debug)]
pub(crate) struct WindowSet<P> {
    plans: Vec<WindowPlan>,
    /// The pane applied last.
    last: Option<Pane>,
    tree: Tree<P>,
    /// Entries that came too late for all windows.
    refused: u64,
    /// Groups of the last pane that had any: most have as many as the one before.
    room: usize,
}

/// A window to fire again for a group, and what it said before the correction.
struct Corrected<P> {
    window: usize,
    k: u64,
    group: GroupId,
    former: Option<P>,
}

impl<P: Monoid> WindowSet<P> {
    /// Windows of `plans`, all over panes of one size, without state.
    pub(crate) fn new(plans: Vec<WindowPlan>) -> Self {
        let panes = plans.iter().map(WindowPlan::size_panes).max().unwrap_or(1);
        WindowSet { plans, last: None, tree: Tree::new(panes), refused: 0, room: 0 }
    }

    /// Takes over the columns of panes before `next`, up to which everything is applied.
    pub(crate) fn restore(
        &mut self,
        next: Pane,
        columns: impl IntoIterator<Item = (Pane, Vec<(GroupId, P)>)>,
        refused: u64,
    ) {
        self.last = next.0.checked_sub(1).map(Pane);
        self.refused = refused;
        for (pane, rows) in columns {
            self.tree.add(pane.0, Column::from_rows(rows));
        }
        self.tree.evict(self.horizon_at(next).0);
    }

    /// Forgets everything of `group`.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.tree.forget(group);
    }

    /// The pane applied last.
    pub(crate) fn last(&self) -> Option<Pane> {
        self.last
    }

    /// How many entries were refused because they came too late for every window.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// First pane that something admitted in `next` or later can still need.
    pub(crate) fn horizon_at(&self, next: Pane) -> Pane {
        let horizons = self.plans.iter().map(|plan| plan.horizon(next.0));
        horizons.min().map_or(next, Pane)
    }

    /// The most panes that can be held.
    pub(crate) fn panes_max(&self) -> u64 {
        let spans = self.plans.iter().map(WindowPlan::span_panes);
        spans.max().unwrap_or(0)
    }

    /// Every pane with samples, in order: its stamp, which is greater than all that were given out before
    /// the pane last changed, and the partial aggregate of each group, in order of groups.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (Pane, u64, &[(GroupId, P)])> {
        self.tree.panes().map(|(pane, column)| (Pane(pane), column.stamp, column.rows()))
    }

    /// Applies admission pane `pane` with its entries, sorted by (group, event pane, order); `fire` is told the index of
    /// the window with each firing, in order.
    pub(crate) fn apply(
        &mut self,
        pane: Pane,
        entries: impl Iterator<Item = Entry<P>>,
        mut fire: impl FnMut(usize, Firing<P>),
    ) {
        // 1. On time: one column, appended in order. The rest are corrections, or too late.
        let entries_max = entries.size_hint().1.unwrap_or(self.room);
        let mut column = Column::with_room(self.room.min(entries_max));
        let mut corrections = Vec::new();
        for entry in entries {
            evaluation::at(entry.group);
            if entry.event_pane == pane {
                column.append(entry.group, entry.partial);
            } else if self.plans.iter().all(|plan| plan.is_too_late(entry.event_pane, pane)) {
                self.refused += 1;
            } else {
                corrections.push(entry);
            }
        }
        evaluation::between();
        if !column.is_empty() {
            self.room = column.rows().len();
        }
        self.tree.add(pane.0, column);
        let mut changed = self.correct(pane, corrections).into_iter().peekable();
        let WindowSet { plans, tree, .. } = self;
        for (window, plan) in plans.iter().enumerate() {
            // 2. Corrections: windows that have ended fire again, group by group.
            while let Some(Corrected { k, group, former, .. }) =
                changed.next_if(|corrected| corrected.window == window)
            {
                if let Some(value) = value(tree, plan, k, group) {
                    let (span, timing) = (plan.window(k), Timing::Late);
                    fire(window, Firing { group, window: span, timing, value, former });
                }
            }
            // 3. The window that ends with this pane fires.
            if let Some(k) = plan.ending_with(pane) {
                let (span, timing) = (plan.window(k), Timing::OnTime);
                tree.for_each(plan.first(k), plan.end(k), |group, value| {
                    fire(window, Firing { group, window: span, timing, value, former: None });
                });
            }
        }
        // 4. Forget what no later admission pane can need.
        evaluation::between();
        self.last = Some(pane);
        self.tree.evict(self.horizon_at(Pane(pane.0.saturating_add(1))).0);
    }

    /// Merges `corrections`, sorted by (group, event pane, order), into their panes. Returns which fired
    /// windows changed, by window, group and `k`.
    fn correct(&mut self, pane: Pane, corrections: Vec<Entry<P>>) -> Vec<Corrected<P>> {
        // 1. Which windows change, and what they said before.
        let mut changed = Vec::new();
        for (window, plan) in self.plans.iter().enumerate() {
            for entries in corrections.chunk_by(|a, b| a.group == b.group) {
                let Some(group) = entries.first().map(|e| e.group) else { continue };
                evaluation::at(group);
                let mut windows: Vec<u64> = entries
                    .chunk_by(|a, b| a.event_pane == b.event_pane)
                    .filter_map(|same| same.first())
                    .flat_map(|e| plan.correctable(e.event_pane, pane))
                    .collect();
                windows.sort_unstable();
                windows.dedup();
                let tree = &mut self.tree;
                changed.extend(windows.into_iter().map(|k| {
                    let former = value(tree, plan, k, group);
                    Corrected { window, k, group, former }
                }));
            }
        }
        // 2. Merge, pane by pane; within a pane the order of groups and partitions is kept.
        let mut corrections = corrections;
        corrections.sort_by_key(|e| e.event_pane);
        let mut column = Column::default();
        let mut corrections = corrections.into_iter().peekable();
        while let Some(Entry { group, event_pane, partial, .. }) = corrections.next() {
            evaluation::at(group);
            column.append(group, partial);
            if corrections.peek().is_none_or(|next| next.event_pane != event_pane) {
                self.tree.add(event_pane.0, std::mem::take(&mut column));
            }
        }
        changed
    }

    /// The next pane in which a window with samples ends.
    pub(crate) fn next_due(&self) -> Option<Pane> {
        let next = self.last?.0.saturating_add(1);
        let ends = self.plans.iter().filter_map(|plan| {
            let first = plan.first_reaching(next);
            // The windows that end at or after `next` begin at `first`; the first one with samples counts.
            let samples = self.tree.first_pane(plan.first(first))?;
            let k = first.max(plan.first_reaching(samples));
            Some(Pane(plan.end(k).saturating_sub(1)))
        });
        ends.min()
    }
}

/// The value of window `k` of `plan` for `group` as of now.
fn value<P: Monoid>(tree: &mut Tree<P>, plan: &WindowPlan, k: u64, group: GroupId) -> Option<P> {
    let (from, to) = (plan.first(k), plan.end(k));
    tree.ensure(from, to);
    evaluation::at(group);
    tree.value(from, to, group)
}
