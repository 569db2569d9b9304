//! The state machine of bursts: counts in, episodes out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::{EndReason, Reading, TransitionKind};
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::config::Plan;
use super::history::History;
use super::{BurstConfig, BurstError};
use crate::detect::{Episode, GroupState};
use crate::evaluation;
use crate::group::{Groups, LiveGroups, Timers};

/// What the module promises for one group, beside its panes.
const _: () = assert!(size_of::<Option<History>>() <= 160);

/// The state of one group, opaque.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSnapshot(History);

impl GroupState for GroupSnapshot {
    fn is_sound(&self, _size: PaneSize, cut: Pane) -> bool {
        self.0.is_sound(cut)
    }

    fn open_since(&self, _size: PaneSize) -> Option<EventTime> {
        Some(self.0.open.as_ref()?.started_at)
    }

    fn look_at(&mut self, _cut: Pane) {
        // While a burst is open every pane is judged anyway.
    }
}

/// The state of [`Burst`] between two panes: what a checkpoint holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BurstState {
    /// The pane applied last.
    pub last: Option<Pane>,
    /// Groups with events, in order.
    pub groups: Vec<(GroupId, GroupSnapshot)>,
    /// Late entries left out so far.
    pub late: u64,
}

/// Counts events of all groups. See [`crate::detect::burst`].
#[derive(Debug)]
pub struct Burst {
    plan: Plan,
    last: Option<Pane>,
    groups: Groups<History>,
    /// Groups whose verdict can change with the next pane, even without events.
    restless: BTreeSet<GroupId>,
    /// When a group might have become blank: one per group with state.
    timers: Timers,
    late: u64,
}

impl Burst {
    /// A detector without state.
    ///
    /// # Errors
    /// What [`BurstConfig::validate`] says.
    pub fn try_new(config: BurstConfig) -> Result<Self, BurstError> {
        Ok(Burst {
            plan: config.plan()?,
            last: None,
            groups: Groups::default(),
            restless: BTreeSet::new(),
            timers: Timers::default(),
            late: 0,
        })
    }

    /// Its configuration.
    pub fn config(&self) -> &BurstConfig {
        &self.plan.config
    }

    /// How many late entries were left out: none if the sender asks [`crate::detect::is_late`] first.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// [`BurstState::groups`] as [`Burst::snapshot`] says them, to be written without a copy.
    pub(crate) fn groups(&self) -> impl Serialize + '_ {
        self.groups.iter().collect::<Vec<_>>()
    }

    /// The state after the pane applied last.
    pub fn snapshot(&self) -> BurstState {
        let groups = self.groups.iter();
        let groups = groups.map(|(group, history)| (group, GroupSnapshot(history.clone())));
        BurstState { last: self.last, groups: groups.collect(), late: self.late }
    }

    /// A detector that goes on from `state`, which was taken from one with the same configuration.
    ///
    /// # Errors
    /// What [`BurstConfig::validate`] says.
    pub fn restore(config: BurstConfig, state: BurstState) -> Result<Self, BurstError> {
        let mut burst = Burst::try_new(config)?;
        (burst.last, burst.late) = (state.last, state.late);
        for (group, GroupSnapshot(history)) in state.groups {
            if history.is_restless(&burst.plan) {
                burst.restless.insert(group);
            }
            *burst.groups.slot(group) = Some(history);
            burst.arm(group, state.last.unwrap_or_default());
        }
        Ok(burst)
    }

    /// Looks at `group` again once everything it knows as of `pane` has been forgotten.
    fn arm(&mut self, group: GroupId, pane: Pane) {
        let remembered = self.plan.window.saturating_add(self.plan.baseline);
        self.timers.arm(Pane(pane.0.saturating_add(remembered)), group);
    }

    /// Counts `events` of `group` in `pane` and says what that changes.
    fn judge(&mut self, group: GroupId, pane: Pane, events: u64, out: &mut Vec<Episode>) {
        evaluation::at(group);
        let plan = &self.plan;
        let slot = self.groups.slot(group);
        let is_new = slot.is_none();
        if is_new && events == 0 {
            return;
        }
        let history = slot.get_or_insert_with(|| History::beginning(pane));
        history.advance(plan, pane);
        if events > 0 {
            if history.is_blank() {
                *history = History::beginning(pane);
            }
            history.add(pane, events);
        }
        let is_over = history.is_over(plan);
        let end = plan.pane.end(pane);
        let step = if history.open.is_some() {
            let ended = TransitionKind::Ended(EndReason::Recovered);
            history.go_on(plan, pane, is_over).map(|(started_at, at)| (1, ended, started_at, at))
        } else if is_over {
            Some((0, TransitionKind::Opened, history.begin(plan, pane), end))
        } else {
            None
        };
        if let Some((sequence, kind, started_at, at)) = step {
            let value = Reading(history.count() as f64);
            out.push(Episode { group, sequence, kind, started_at, at, decided_at: end, value });
        }
        if history.is_restless(plan) {
            self.restless.insert(group);
        } else {
            self.restless.remove(&group);
        }
        if is_new {
            self.arm(group, pane);
        }
    }

    /// Forgets `group`, in silence.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.groups.remove(group);
        self.restless.remove(&group);
    }

    /// Forgets the groups that have become blank.
    fn forget_blank(&mut self, pane: Pane) {
        for group in self.timers.take_due(pane) {
            evaluation::at(group);
            let Some(history) = self.groups.get_mut(group) else { continue };
            history.advance(&self.plan, pane);
            if history.is_blank() {
                self.groups.remove(group);
            } else {
                self.arm(group, pane);
            }
        }
    }
}

impl PaneMachine for Burst {
    type Partial = u64;
    type Output = Episode;

    fn pane_size(&self) -> PaneSize {
        self.plan.pane
    }

    fn apply(&mut self, pane: Pane, entries: &mut Vec<Entry<u64>>, out: &mut Vec<Episode>) {
        // 1. Events of this pane per group; groups whose verdict may change without any join in.
        let all = entries.len();
        entries.retain(|entry| entry.event_pane == pane);
        self.late += (all - entries.len()) as u64;
        let events = entries.drain(..).map(|entry| (entry.group, entry.partial));
        let mut changes: Vec<(GroupId, u64)> =
            events.chain(self.restless.iter().map(|group| (*group, 0))).collect();
        changes.sort_unstable_by_key(|(group, _)| *group);
        // 2. A verdict for each of them.
        for same in changes.chunk_by(|a, b| a.0 == b.0) {
            let events = same.iter().fold(0u64, |sum, (_, events)| sum.saturating_add(*events));
            if let Some((group, _)) = same.first() {
                self.judge(*group, pane, events, out);
            }
        }
        // 3. Forget.
        self.last = Some(pane);
        self.forget_blank(pane);
        evaluation::between();
    }

    fn next_due(&self) -> Option<Pane> {
        let last = self.last.filter(|_| !self.restless.is_empty())?;
        Some(Pane(last.0.saturating_add(1)))
    }
}

impl LiveGroups for Burst {
    fn for_each_live(&self, visit: &mut dyn FnMut(GroupId)) {
        self.groups.iter().for_each(|(group, _)| visit(group));
    }
}
