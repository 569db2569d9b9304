//! The state machine of sustained conditions: instants in, episodes out.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tidewatch_dataflow::alert::{EndReason, Reading, TransitionKind};
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::partial::{Instant, merge_instants};
use super::{Class, ConditionPartial, SustainedConfig, SustainedError};
use crate::detect::{Episode, GroupState};
use crate::evaluation;
use crate::group::{Groups, LiveGroups, Timers};

/// Where a group is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Holding, not yet for long enough.
    Holding { since: EventTime },
    /// Open, and clear since then if it is.
    Open { started_at: EventTime, clear_since: Option<EventTime> },
}

/// What is kept of a group that holds or is open. A group in neither phase has no state.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    phase: Phase,
    /// The last instant with samples, and its value.
    last: EventTime,
    value: f64,
    /// The pane a timer stands in; one that goes off in another pane is left over from a former run.
    timer: Pane,
}

/// What the module promises for one group.
const _: () = assert!(size_of::<Option<State>>() <= 64);

/// The state of one group, opaque.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSnapshot(State);

impl GroupState for GroupSnapshot {
    fn is_sound(&self, size: PaneSize, cut: Pane) -> bool {
        let State { phase, last, value, timer } = self.0;
        let (began, clear) = match phase {
            Phase::Holding { since } => (since, None),
            Phase::Open { started_at, clear_since } => (started_at, clear_since),
        };
        let in_order = began <= last && clear.is_none_or(|since| began <= since && since <= last);
        in_order && last < size.start(cut) && value.is_finite() && timer >= cut
    }

    fn open_since(&self, _size: PaneSize) -> Option<EventTime> {
        match self.0.phase {
            Phase::Open { started_at, .. } => Some(started_at),
            Phase::Holding { .. } => None,
        }
    }

    fn look_at(&mut self, cut: Pane) {
        self.0.timer = cut;
    }
}

/// The state of [`Sustained`] between two panes: what a checkpoint holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SustainedState {
    /// Groups that hold or are open, in order.
    pub groups: Vec<(GroupId, GroupSnapshot)>,
    /// Late entries left out so far.
    pub late: u64,
}

/// Watches one condition over all groups. See [`crate::detect::sustained`].
#[derive(Debug)]
pub struct Sustained {
    config: SustainedConfig,
    groups: Groups<State>,
    /// When a group might have been without samples for too long. One per group, set anew when it goes
    /// off too early, so samples cost nothing here.
    timers: Timers,
    late: u64,
    /// Reused between calls: the instants of a group fed by several partitions.
    merged: SmallVec<[Instant; 16]>,
}

impl Sustained {
    /// A detector without state.
    ///
    /// # Errors
    /// What [`SustainedConfig::validate`] says.
    pub fn try_new(config: SustainedConfig) -> Result<Self, SustainedError> {
        config.validate()?;
        let (groups, timers) = (Groups::default(), Timers::default());
        Ok(Sustained { config, groups, timers, late: 0, merged: SmallVec::new() })
    }

    /// Its configuration.
    pub fn config(&self) -> &SustainedConfig {
        &self.config
    }

    /// How many late entries were left out: none if the sender asks [`crate::detect::is_late`] first.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// [`SustainedState::groups`] as [`Sustained::snapshot`] says them, to be written without a copy.
    pub(crate) fn groups(&self) -> impl Serialize + '_ {
        self.groups.iter().collect::<Vec<_>>()
    }

    /// The state after the pane applied last.
    pub fn snapshot(&self) -> SustainedState {
        let groups = self.groups.iter().map(|(group, state)| (group, GroupSnapshot(*state)));
        SustainedState { groups: groups.collect(), late: self.late }
    }

    /// A detector that goes on from `state`, which was taken from one with the same configuration.
    ///
    /// # Errors
    /// What [`SustainedConfig::validate`] says.
    pub fn restore(config: SustainedConfig, state: SustainedState) -> Result<Self, SustainedError> {
        let mut sustained = Sustained::try_new(config)?;
        sustained.late = state.late;
        for (group, GroupSnapshot(state)) in state.groups {
            sustained.timers.arm(state.timer, group);
            *sustained.groups.slot(group) = Some(state);
        }
        Ok(sustained)
    }

    /// Follows `group` through the instants of `pane`.
    fn follow(&mut self, group: GroupId, pane: Pane, instants: &[Instant], out: &mut Vec<Episode>) {
        evaluation::at(group);
        let before = self.groups.get_mut(group).copied();
        if before.is_none() && instants.iter().all(|i| i.class != Class::Holding) {
            return;
        }
        let start = self.config.pane.start(pane);
        let mut teller = Teller { group, decided_at: self.config.pane.end(pane), out };
        let mut state = before;
        for instant in instants {
            let time = start + Duration::from_millis(u64::from(instant.offset));
            state = step(&self.config, state, time, *instant, &mut teller);
        }
        match state {
            Some(state) => {
                let timer = match before {
                    Some(before) => before.timer,
                    None => {
                        let timer = self.gap_pane(&state);
                        self.timers.arm(timer, group);
                        timer
                    }
                };
                *self.groups.slot(group) = Some(State { timer, ..state });
            }
            None => {
                self.groups.remove(group);
            }
        }
    }

    /// Forgets `group`, in silence.
    pub(crate) fn forget(&mut self, group: GroupId) {
        self.groups.remove(group);
    }

    /// The pane with which it is certain that no sample came in time after the last one.
    fn gap_pane(&self, state: &State) -> Pane {
        self.config.pane.pane(state.last + self.config.gap_tolerance)
    }

    /// A timer of `group` went off.
    fn expire(&mut self, group: GroupId, pane: Pane, out: &mut Vec<Episode>) {
        evaluation::at(group);
        let Some(state) = self.groups.get_mut(group).copied() else { return };
        if state.timer > pane {
            return;
        }
        let due = self.gap_pane(&state);
        if due > pane {
            *self.groups.slot(group) = Some(State { timer: due, ..state });
            self.timers.arm(due, group);
        } else {
            let decided_at = self.config.pane.end(pane);
            no_data(&self.config, &state, &mut Teller { group, decided_at, out });
            self.groups.remove(group);
        }
    }
}

/// Writes the episodes of one group in one pane.
struct Teller<'a> {
    group: GroupId,
    decided_at: EventTime,
    out: &'a mut Vec<Episode>,
}

impl Teller<'_> {
    fn tell(&mut self, kind: TransitionKind, started_at: EventTime, at: EventTime, value: f64) {
        let sequence = u32::from(kind != TransitionKind::Opened);
        let (group, decided_at, value) = (self.group, self.decided_at, Reading(value));
        self.out.push(Episode { group, sequence, kind, started_at, at, decided_at, value });
    }
}

/// Ends the episode of `state`, if it is open, at the end of the tolerated gap after its last sample.
fn no_data(config: &SustainedConfig, state: &State, teller: &mut Teller<'_>) {
    if let Phase::Open { started_at, .. } = state.phase {
        let ended = TransitionKind::Ended(EndReason::NoData);
        teller.tell(ended, started_at, state.last + config.gap_tolerance, state.value);
    }
}

/// The state after one more instant; the timer is the caller's business.
fn step(
    config: &SustainedConfig,
    before: Option<State>,
    time: EventTime,
    Instant { value, class, .. }: Instant,
    teller: &mut Teller<'_>,
) -> Option<State> {
    // 1. A gap ends whatever was.
    let before = before.filter(|state| {
        let gap = time.since(state.last) > config.gap_tolerance;
        if gap {
            no_data(config, state, teller);
        }
        !gap
    });
    // 2. One step of the run, or of the clear run.
    let phase = match (before.map(|state| state.phase), class) {
        (None, Class::Holding) => Phase::Holding { since: time },
        (None, _) | (Some(Phase::Holding { .. }), Class::Between | Class::Clear) => return None,
        (Some(Phase::Holding { since }), Class::Holding) => {
            if time.since(since) >= config.for_ {
                teller.tell(TransitionKind::Opened, since, time, value);
                Phase::Open { started_at: since, clear_since: None }
            } else {
                Phase::Holding { since }
            }
        }
        (Some(Phase::Open { started_at, clear_since }), Class::Clear) => {
            let since = clear_since.unwrap_or(time);
            if time.since(since) >= config.clear_for {
                let ended = TransitionKind::Ended(EndReason::Recovered);
                teller.tell(ended, started_at, since, value);
                return None;
            }
            Phase::Open { started_at, clear_since: Some(since) }
        }
        (Some(Phase::Open { started_at, .. }), Class::Holding | Class::Between) => {
            Phase::Open { started_at, clear_since: None }
        }
    };
    Some(State { phase, last: time, value, timer: Pane(0) })
}

impl PaneMachine for Sustained {
    type Partial = ConditionPartial;
    type Output = Episode;

    fn pane_size(&self) -> PaneSize {
        self.config.pane
    }

    fn apply(
        &mut self,
        pane: Pane,
        entries: &mut Vec<Entry<ConditionPartial>>,
        out: &mut Vec<Episode>,
    ) {
        let told = out.len();
        // 1. Samples, group by group; several partitions are put in order first.
        let all = entries.len();
        entries.retain(|entry| entry.event_pane == pane);
        self.late += (all - entries.len()) as u64;
        for same in entries.chunk_by(|a, b| a.group == b.group) {
            match same {
                [] => {}
                [one] => self.follow(one.group, pane, one.partial.instants(), out),
                [first, ..] => {
                    let mut merged = std::mem::take(&mut self.merged);
                    merged.clear();
                    merged.extend(same.iter().flat_map(|e| e.partial.instants().iter().copied()));
                    merge_instants(&mut merged, self.config.condition);
                    self.follow(first.group, pane, &merged, out);
                    self.merged = merged;
                }
            }
        }
        // 2. Silence.
        for group in self.timers.take_due(pane) {
            self.expire(group, pane, out);
        }
        evaluation::between();
        out[told..].sort_by_key(|episode| episode.group);
    }

    fn next_due(&self) -> Option<Pane> {
        self.timers.first()
    }
}

impl LiveGroups for Sustained {
    fn for_each_live(&self, visit: &mut dyn FnMut(GroupId)) {
        self.groups.iter().for_each(|(group, _)| visit(group));
    }
}
