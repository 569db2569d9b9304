//! The state machine of anomalies: pane means in, episodes out.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::{EndReason, Reading, TransitionKind};
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::{AnomalyConfig, AnomalyError, Direction};
use crate::aggregate::{Moments, Monoid as _};
use crate::detect::Episode;
use crate::group::{Groups, LiveGroups, Timers};

/// What is known of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Model {
    mean: f64,
    variance: f64,
    /// First pane of the present model: its warm-up counts from here.
    since: Pane,
    /// The last pane with samples.
    last: Pane,
    /// The last pane learned: the past fades from here.
    learned: Pane,
    /// The first pane of the present run of anomalies, and whether its episode was opened.
    run: Option<(Pane, bool)>,
    value: Reading,
}

/// The state of [`Anomaly`] between two panes: what a checkpoint holds. Opaque but for its size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AnomalyState {
    groups: Vec<(GroupId, Model)>,
    late: u64,
}

/// Watches the means of all groups. See [`crate::detect::anomaly`].
#[derive(Debug)]
pub struct Anomaly {
    config: AnomalyConfig,
    groups: Groups<Model>,
    /// When to look at a group that may have fallen silent: at least one for each group, and one more for a
    /// run; they meet when they are armed again.
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

    /// How many late entries were left out: none if the sender asks [`crate::detect::is_late`] first.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// The state after the pane applied last.
    pub fn snapshot(&self) -> AnomalyState {
        let groups = self.groups.iter().map(|(group, model)| (group, model.clone()));
        AnomalyState { groups: groups.collect(), late: self.late }
    }

    /// A detector that goes on from `state`, which was taken from one with the same configuration.
    ///
    /// # Errors
    /// What [`AnomalyConfig::validate`] says.
    pub fn restore(config: AnomalyConfig, state: AnomalyState) -> Result<Self, AnomalyError> {
        let mut anomaly = Anomaly::try_new(config)?;
        anomaly.late = state.late;
        for (group, model) in state.groups {
            anomaly.timers.arm(model.due(&config), group);
            *anomaly.groups.slot(group) = Some(model);
        }
        Ok(anomaly)
    }

    /// Judges the mean of one group in `pane`.
    fn judge(&mut self, group: GroupId, pane: Pane, x: f64, out: &mut Vec<Episode>) {
        let config = &self.config;
        let slot = self.groups.slot(group);
        if slot.is_none() {
            self.timers.arm(Pane(pane.0.saturating_add(config.gap() + 1)), group);
        }
        let model = slot.get_or_insert_with(|| Model::beginning(pane, x));
        if model.last != pane {
            model.last = pane;
            model.value = Reading(x);
            if model.is_anomaly(config, pane, x) {
                if model.run.is_none() {
                    // Silence ends a run much sooner than it makes forget.
                    self.timers.arm(Pane(pane.0.saturating_add(config.gap() + 1)), group);
                }
                out.extend(model.suspect(config, group, pane, x));
            } else {
                out.extend(model.end(config, group, pane, EndReason::Recovered));
                model.learn(config, pane, x);
            }
        }
    }

    /// Looks at groups that may have fallen silent.
    fn look(&mut self, pane: Pane, out: &mut Vec<Episode>) {
        let config = &self.config;
        for group in self.timers.take_due(pane) {
            let Some(model) = self.groups.get_mut(group) else { continue };
            let silent = pane.0.saturating_sub(model.last.0);
            if silent > config.gap() {
                out.extend(model.end(config, group, pane, EndReason::NoData));
                model.run = None;
            }
            if silent > config.memory() {
                self.groups.remove(group);
            } else {
                let due = model.due(config).max(Pane(pane.0.saturating_add(1)));
                self.timers.arm(due, group);
            }
        }
    }
}

impl Model {
    fn beginning(pane: Pane, x: f64) -> Self {
        let value = Reading(x);
        // `last` before the pane, so that the first pane is judged like any other.
        let last = Pane(pane.0.saturating_sub(1));
        Model { mean: x, variance: 0.0, since: pane, last, learned: pane, run: None, value }
    }

    /// The next pane at which silence can mean something.
    fn due(&self, config: &AnomalyConfig) -> Pane {
        let wait = if self.run.is_some() { config.gap() } else { config.memory() };
        Pane(self.last.0.saturating_add(wait).saturating_add(1))
    }

    fn is_anomaly(&self, config: &AnomalyConfig, pane: Pane, x: f64) -> bool {
        let warm = pane.0.saturating_sub(self.since.0) >= config.panes(config.warm_up);
        let difference = x - self.mean;
        let side = match config.direction {
            Direction::Up => difference > 0.0,
            Direction::Down => difference < 0.0,
            Direction::Both => difference != 0.0,
        };
        let distance = difference.abs();
        warm && side
            && distance >= config.min_deviation
            && distance >= config.score * self.variance.sqrt()
    }

    /// One more pane of anomaly: opens the episode when it has lasted, ends it when it has lasted so long
    /// that it is the rule.
    fn suspect(
        &mut self,
        config: &AnomalyConfig,
        group: GroupId,
        pane: Pane,
        x: f64,
    ) -> Option<Episode> {
        let (first, is_open) = *self.run.get_or_insert((pane, false));
        let panes = pane.0 + 1 - first.0;
        if !is_open && panes >= config.panes(config.for_) {
            self.run = Some((first, true));
            let at = config.pane.end(pane);
            return Some(self.step(config, group, pane, (first, TransitionKind::Opened), at));
        }
        if is_open && panes > config.panes(config.half_life).max(config.panes(config.for_)) {
            let ended = self.end(config, group, pane, EndReason::Recovered);
            *self = Model { last: pane, ..Model::beginning(pane, x) };
            return ended;
        }
        None
    }

    /// Ends the run of anomalies, with an episode if one was open.
    fn end(
        &mut self,
        config: &AnomalyConfig,
        group: GroupId,
        pane: Pane,
        reason: EndReason,
    ) -> Option<Episode> {
        let (first, is_open) = self.run.take()?;
        let at = config.pane.start(pane);
        let kind = TransitionKind::Ended(reason);
        is_open.then(|| self.step(config, group, pane, (first, kind), at))
    }

    fn step(
        &self,
        config: &AnomalyConfig,
        group: GroupId,
        pane: Pane,
        (first, kind): (Pane, TransitionKind),
        at: EventTime,
    ) -> Episode {
        Episode {
            group,
            sequence: u32::from(kind != TransitionKind::Opened),
            kind,
            started_at: config.pane.start(first),
            at,
            decided_at: config.pane.end(pane),
            value: self.value,
        }
    }

    fn learn(&mut self, config: &AnomalyConfig, pane: Pane, x: f64) {
        let elapsed = pane.0.saturating_sub(self.learned.0) as f64;
        self.learned = pane;
        let half_lives = elapsed / config.panes(config.half_life) as f64;
        let weight = 1.0 - (-half_lives).exp2();
        let difference = x - self.mean;
        self.mean += weight * difference;
        self.variance = (1.0 - weight) * (self.variance + weight * difference * difference);
    }
}

impl PaneMachine for Anomaly {
    type Partial = Moments;
    type Output = Episode;

    fn pane_size(&self) -> PaneSize {
        self.config.pane
    }

    fn apply(&mut self, pane: Pane, entries: &mut Vec<Entry<Moments>>, out: &mut Vec<Episode>) {
        let before = entries.len();
        entries.retain(|entry| !crate::detect::is_late(entry.event_pane, pane));
        self.late += (before - entries.len()) as u64;
        for run in entries.chunk_by(|a, b| a.group == b.group) {
            let Some((first, others)) = run.split_first() else { continue };
            let mut moments = first.partial.clone();
            others.iter().for_each(|entry| moments.merge(&entry.partial));
            if moments.count > 0 {
                self.judge(first.group, pane, moments.mean(), out);
            }
        }
        self.look(pane, out);
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
