//! The counts of one group: its present window, and the past it is compared with.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::time::{EventTime, Pane};

use super::config::Plan;

/// A burst that is going on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) started_at: EventTime,
    /// Nothing was known of the group's past when it opened, so its own panes are learned on trial.
    is_blind: bool,
    /// The first pane of the present sequence of windows that are not over the bound.
    clear_since: Option<Pane>,
    /// Panes with events from `clear_since` on that have left the window: learned when the burst ends.
    cleared: Vec<(Pane, u64)>,
}

/// The counts of one group.
///
/// Time runs on for the window, but stands still for the past while a burst is open: learned panes are
/// numbered by how many were learned before them, so what was left out leaves no hole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    /// Panes of the present window with events, oldest first, and the sum of their counts.
    window: VecDeque<(Pane, u64)>,
    count: u64,
    /// Learned panes of the baseline with events: their numbers and counts, and the sum of these.
    past: VecDeque<(u64, u64)>,
    past_sum: u64,
    /// How many panes were learned, with events or without.
    learned: u64,
    /// The first pane that is neither learned nor left out.
    learn_from: Pane,
    pub(super) open: Option<Open>,
}

/// No pane counts more, so that no sum over a window and its baseline can overflow.
const EVENTS_MAX: u64 = u64::MAX >> 20;

/// The sum of `counts`, unless one of them is out of bounds.
fn sum(mut counts: impl Iterator<Item = u64>) -> Option<u64> {
    counts.try_fold(0u64, |sum, count| sum.checked_add(count).filter(|_| count <= EVENTS_MAX))
}

impl History {
    /// Whether it can be the history of a group when everything before pane `cut` is applied.
    pub(super) fn is_sound(&self, cut: Pane) -> bool {
        let in_order = self.window.iter().is_sorted_by(|a, b| a.0 < b.0);
        let cleared = self.open.iter().flat_map(|open| &open.cleared);
        let panes = self.window.iter().chain(cleared.clone()).map(|(pane, _)| *pane);
        let mut panes = panes.chain([self.learn_from]);
        let clear_since = self.open.as_ref().and_then(|open| open.clear_since);
        in_order
            && panes.all(|pane| pane < cut)
            && clear_since.is_none_or(|since| since < cut)
            && self.learned <= cut.0
            && sum(self.window.iter().map(|(_, count)| *count)) == Some(self.count)
            && sum(self.past.iter().map(|(_, count)| *count)) == Some(self.past_sum)
            && sum(cleared.map(|(_, count)| *count)).is_some()
    }

    /// A group whose first event falls into `pane`: nothing of it is known before.
    pub(super) fn beginning(pane: Pane) -> Self {
        History {
            window: VecDeque::new(),
            count: 0,
            past: VecDeque::new(),
            past_sum: 0,
            learned: 0,
            learn_from: pane,
            open: None,
        }
    }

    /// Moves on to the window that ends with `pane`.
    pub(super) fn advance(&mut self, plan: &Plan, pane: Pane) {
        let Some(left) = pane.0.checked_sub(plan.window) else { return };
        while let Some((index, count)) = self.window.pop_front_if(|(index, _)| index.0 <= left) {
            self.count -= count;
            if let Some(open) = &mut self.open
                && open.clear_since.is_some_and(|since| since <= index)
            {
                open.cleared.push((index, count));
            }
            if self.is_learning() {
                self.learn(index, count);
            }
        }
        if self.is_learning() && self.learn_from.0 <= left {
            self.learned += left + 1 - self.learn_from.0;
            self.learn_from = Pane(left + 1);
        }
        let oldest = self.learned.saturating_sub(plan.baseline);
        while let Some((_, count)) = self.past.pop_front_if(|(number, _)| *number < oldest) {
            self.past_sum -= count;
        }
    }

    fn is_learning(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.is_blind)
    }

    /// How many panes of the past are known.
    fn known(&self, plan: &Plan) -> u64 {
        self.learned.min(plan.baseline)
    }

    /// Notes a pane that has left the window, unless it is left out.
    fn learn(&mut self, pane: Pane, count: u64) {
        if let Some(after) = pane.0.checked_sub(self.learn_from.0) {
            self.past.push_back((self.learned + after, count));
            self.past_sum = self.past_sum.saturating_add(count);
        }
    }

    /// Counts `events` in `pane`, to which it has been advanced.
    pub(super) fn add(&mut self, pane: Pane, events: u64) {
        let events = events.min(EVENTS_MAX);
        self.window.push_back((pane, events));
        self.count += events;
    }

    /// Whether neither the window nor the past has any event, and no burst is open: a group like any other
    /// that was never heard of.
    pub(super) fn is_blank(&self) -> bool {
        self.count == 0 && self.past_sum == 0 && self.open.is_none()
    }

    /// Events in the present window.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether the present window is over the bound.
    pub(super) fn is_over(&self, plan: &Plan) -> bool {
        let known = self.known(plan);
        let on_trial = self.open.as_ref().is_some_and(|open| open.is_blind);
        let needed = if on_trial { plan.baseline } else { 1 };
        self.count > plan.config.above
            && plan.config.factor.is_none_or(|factor| {
                let present = self.count as f64 * known as f64;
                let usual = self.past_sum as f64 * plan.window as f64;
                known < needed || present > factor * usual
            })
    }

    /// Whether the verdict can change without an event.
    pub(super) fn is_restless(&self, plan: &Plan) -> bool {
        self.open.is_some() || self.count > plan.config.above
    }

    /// Opens a burst with the window that ends with `pane`.
    pub(super) fn begin(&mut self, plan: &Plan, pane: Pane) -> EventTime {
        let first = (pane.0 + 1).saturating_sub(plan.window);
        let started_at = plan.pane.start(Pane(first));
        let is_blind = self.known(plan) == 0;
        self.open = Some(Open { started_at, is_blind, clear_since: None, cleared: Vec::new() });
        started_at
    }

    /// Notes whether the window that ends with `pane` is over the bound while a burst is open. Returns its
    /// start and the end of the first clear window once it has been clear for long enough.
    pub(super) fn go_on(
        &mut self,
        plan: &Plan,
        pane: Pane,
        is_over: bool,
    ) -> Option<(EventTime, EventTime)> {
        let open = self.open.as_mut()?;
        if is_over {
            open.clear_since = None;
            open.cleared.clear();
            return None;
        }
        let since = *open.clear_since.get_or_insert(pane);
        let clear_at = plan.pane.end(since);
        if plan.pane.end(pane).since(clear_at) < plan.config.clear_for {
            return None;
        }
        let Open { started_at, is_blind, cleared, .. } = self.open.take()?;
        if is_blind && self.known(plan) < plan.baseline {
            // The trial was not finished: forget what was learned in it.
            (self.past, self.past_sum, self.learned) = (VecDeque::new(), 0, 0);
        }
        if !is_blind || self.learned == 0 {
            self.learn_from = since;
            cleared.into_iter().for_each(|(index, count)| self.learn(index, count));
        }
        Some((started_at, clear_at))
    }
}
