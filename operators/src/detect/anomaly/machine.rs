//! The state machine of anomalies: pane means in, episodes out.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::{EndReason, Reading, TransitionKind};
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::model::Level;
use super::{AnomalyConfig, AnomalyError, Direction};
use crate::aggregate::{Moments, Monoid as _};
use crate::detect::{Episode, GroupState};
use crate::evaluation;
use crate::group::{Groups, LiveGroups, Timers};

/// What is kept of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    usual: Level,
    /// The last pane with samples, and its mean.
    last: Pane,
    value: f64,
    run: Option<Box<Run>>,
    /// The pane a timer stands in; one that goes off in another pane is left over.
    timer: Pane,
}

/// Consecutive panes that are not usual, on either side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Run {
    since: Pane,
    /// The first of those up to now that lie on a watched side.
    watched_since: Option<Pane>,
    /// Whether an episode was opened for them.
    is_open: bool,
    /// The level that these panes make: the usual one, if they go on.
    fresh: Level,
}

/// What the module promises for one group, and for a run.
const _: () = assert!(size_of::<Option<State>>() <= 88 && size_of::<Run>() <= 88);

/// The state of one group, opaque.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSnapshot(State);

/// The state of [`Anomaly`] between two panes: what a checkpoint holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnomalyState {
    /// Groups heard of, in order.
    pub groups: Vec<(GroupId, GroupSnapshot)>,
    /// Late entries left out so far.
    pub late: u64,
}

impl GroupState for GroupSnapshot {
    fn is_sound(&self, _size: PaneSize, cut: Pane) -> bool {
        let State { usual, last, value, run, timer } = &self.0;
        let is_sound_run = |run: &Run| {
            let watched = run.watched_since;
            let in_order = watched.is_none_or(|first| run.since <= first && first <= *last);
            let opened = !run.is_open || watched.is_some();
            in_order && opened && run.since <= *last && run.fresh.is_sound(*last)
        };
        let is_sound = *last < cut && *timer >= cut && value.is_finite() && usual.is_sound(*last);
        is_sound && run.as_deref().is_none_or(is_sound_run)
    }

    fn open_since(&self, size: PaneSize) -> Option<EventTime> {
        let run = self.0.run.as_ref().filter(|run| run.is_open)?;
        Some(size.start(run.watched_since?))
    }

    fn look_at(&mut self, cut: Pane) {
        self.0.timer = cut;
    }
}

/// Watches the means of all groups. See [`crate::detect::anomaly`].
#[derive(Debug)]
pub struct Anomaly {
    config: AnomalyConfig,
    groups: Groups<State>,
    /// When to look whether a group has fallen silent: one per group, and what is left over of others.
    timers: Timers,
    late: u64,
}

impl Anomaly {
    /// A detector without state.
    ///
    /// # Errors
    /// What [`AnomalyConfig::validate`] says.
    pub fn try_new(config: AnomalyConfig) -> Result<Self, AnomalyError> {
        config.validate()?;
        Ok(Anomaly { config, groups: Groups::default(), timers: Timers::default(), late: 0 })
    }

    /// Its configuration.
    pub fn config(&self) -> &AnomalyConfig {
        &self.config
    }

    /// How many late entries were left out: none if the sender asks [`crate::detect::is_late`] first.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// [`AnomalyState::groups`] as [`Anomaly::snapshot`] says them, to be written without a copy.
    pub(crate) fn groups(&self) -> impl Serialize + '_ {
        self.groups.iter().collect::<Vec<_>>()
    }

    /// The state after the pane applied last.
    pub fn snapshot(&self) -> AnomalyState {
        let groups = self.groups.iter().map(|(group, state)| (group, GroupSnapshot(state.clone())));
        AnomalyState { groups: groups.collect(), late: self.late }
    }

    /// A detector that goes on from `state`, which was taken from one with the same configuration.
    ///
    /// # Errors
    /// What [`AnomalyConfig::validate`] says.
    pub fn restore(config: AnomalyConfig, state: AnomalyState) -> Result<Self, AnomalyError> {
        let mut anomaly = Anomaly::try_new(config)?;
        anomaly.late = state.late;
        for (group, GroupSnapshot(state)) in state.groups {
            anomaly.timers.arm(state.timer, group);
            *anomaly.groups.slot(group) = Some(state);
        }
        Ok(anomaly)
    }

    /// Judges the mean `x` of one group in `pane`.
    fn judge(&mut self, group: GroupId, pane: Pane, x: f64, out: &mut Vec<Episode>) {
        evaluation::at(group);
        let config = &self.config;
        let mut teller = Teller { config, group, pane, out };
        // The pane in which silence after this one would end a run.
        let timer = Pane(pane.0.saturating_add(config.gap()).saturating_add(1));
        match self.groups.slot(group) {
            Some(state) => {
                let was_silent = pane.0 - state.last.0 > config.gap();
                (state.last, state.value) = (pane, x);
                state.follow(&mut teller);
                if was_silent && state.timer > timer {
                    state.timer = timer;
                    self.timers.arm(timer, group);
                }
            }
            slot @ None => {
                let usual = Level::beginning(pane, x);
                *slot = Some(State { usual, last: pane, value: x, run: None, timer });
                self.timers.arm(timer, group);
            }
        }
    }

    /// Forgets `group`, in silence.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.groups.remove(group);
    }

    /// Looks at the groups that may have fallen silent.
    fn look(&mut self, pane: Pane, out: &mut Vec<Episode>) {
        let config = &self.config;
        for group in self.timers.take_due(pane) {
            evaluation::at(group);
            let Some(state) = self.groups.get_mut(group).filter(|state| state.timer <= pane) else {
                continue;
            };
            let silent = pane.0 - state.last.0;
            if silent > config.memory() {
                self.groups.remove(group);
                continue;
            }
            if silent > config.gap() {
                state.end(EndReason::NoData, &mut Teller { config, group, pane, out });
            }
            let wait = if silent > config.gap() { config.memory() } else { config.gap() };
            state.timer = Pane(state.last.0.saturating_add(wait).saturating_add(1));
            self.timers.arm(state.timer, group);
        }
    }
}

/// Writes the episodes of one group in one pane.
struct Teller<'a> {
    config: &'a AnomalyConfig,
    group: GroupId,
    pane: Pane,
    out: &'a mut Vec<Episode>,
}

impl Teller<'_> {
    /// A step of the episode that began with pane `first`.
    fn tell(&mut self, kind: TransitionKind, first: Pane, at: EventTime, value: f64) {
        let size = self.config.pane;
        self.out.push(Episode {
            group: self.group,
            sequence: u32::from(kind != TransitionKind::Opened),
            kind,
            started_at: size.start(first),
            at,
            decided_at: size.end(self.pane),
            value: Reading(value),
        });
    }
}

impl State {
    /// Judges and learns the pane just noted in `last` and `value`.
    fn follow(&mut self, teller: &mut Teller<'_>) {
        let (config, pane, x) = (teller.config, self.last, self.value);
        let Some(side) = self.usual.side(config, pane, x) else {
            self.end(EndReason::Recovered, teller);
            self.usual.learn(config, pane, x);
            return;
        };
        // 1. Not usual: learned on trial only.
        match &mut self.run {
            Some(run) => run.fresh.learn(config, pane, x),
            None => {
                let fresh = Level::beginning(pane, x);
                let run = Run { since: pane, watched_since: None, is_open: false, fresh };
                self.run = Some(Box::new(run));
            }
        }
        // 2. On a watched side for long enough: an episode.
        let is_watched = match config.direction {
            Direction::Up => side == Ordering::Greater,
            Direction::Down => side == Ordering::Less,
            Direction::Both => true,
        };
        if !is_watched {
            self.close(EndReason::Recovered, teller);
        }
        let Some(run) = &mut self.run else { return };
        if is_watched {
            let first = *run.watched_since.get_or_insert(pane);
            if !run.is_open && pane.0 + 1 - first.0 >= config.panes(config.for_) {
                run.is_open = true;
                teller.tell(TransitionKind::Opened, first, config.pane.end(pane), x);
            }
        }
        // 3. So long that it is the rule: what was learned on trial is the usual level from now on.
        if pane.0 + 1 - run.since.0 > config.relearn() {
            self.usual = run.fresh;
            self.end(EndReason::Recovered, teller);
        }
    }

    /// Ends the run, with its episode if one is open.
    fn end(&mut self, reason: EndReason, teller: &mut Teller<'_>) {
        self.close(reason, teller);
        self.run = None;
    }

    /// Ends the episode, if one is open, at the start of the present pane; the run goes on.
    fn close(&mut self, reason: EndReason, teller: &mut Teller<'_>) {
        let Some(run) = &mut self.run else { return };
        let (first, was_open) = (run.watched_since.take(), std::mem::take(&mut run.is_open));
        if let Some(first) = first.filter(|_| was_open) {
            let at = teller.config.pane.start(teller.pane);
            teller.tell(TransitionKind::Ended(reason), first, at, self.value);
        }
    }
}

impl PaneMachine for Anomaly {
    type Partial = Moments;
    type Output = Episode;

    fn pane_size(&self) -> PaneSize {
        self.config.pane
    }

    fn apply(&mut self, pane: Pane, entries: &mut Vec<Entry<Moments>>, out: &mut Vec<Episode>) {
        let told = out.len();
        let all = entries.len();
        entries.retain(|entry| entry.event_pane == pane);
        self.late += (all - entries.len()) as u64;
        for same in entries.chunk_by(|a, b| a.group == b.group) {
            let Some((first, others)) = same.split_first() else { continue };
            let mut moments = first.partial;
            others.iter().for_each(|entry| moments.merge(&entry.partial));
            if moments.count > 0 {
                self.judge(first.group, pane, moments.mean(), out);
            }
        }
        self.look(pane, out);
        evaluation::between();
        out[told..].sort_by_key(|episode| episode.group);
    }

    fn next_due(&self) -> Option<Pane> {
        self.timers.first()
    }
}

impl LiveGroups for Anomaly {
    fn for_each_live(&self, visit: &mut dyn FnMut(GroupId)) {
        self.groups.iter().for_each(|(group, _)| visit(group));
    }
}
