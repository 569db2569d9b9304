//! Driving the detector of a rule, and making transitions of what it says.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::{
    EndReason, IncidentId, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::operator::{Entry, GroupId, PaneMachine};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::{Detector, FeedError, FeedPartial, RuleSpec};
use crate::detect::Episode;
use crate::detect::anomaly::Anomaly;
use crate::detect::burst::Burst;
use crate::detect::sustained::Sustained;
use crate::evaluation;

/// The detector of a rule.
#[derive(Debug)]
pub(super) enum Watcher {
    /// With the index of its condition among those of the feed.
    Sustained(usize, Sustained),
    Burst(Burst),
    Anomaly(Anomaly),
}

/// How an incident was opened, so that whatever follows tells of the same incident, even after the rule's
/// severity or words have changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Opening {
    pub(super) started_at: EventTime,
    at: EventTime,
    decided_at: EventTime,
    pub(super) value: Reading,
    severity: Severity,
    summary: Box<str>,
}

impl Opening {
    /// The opening as it was told.
    pub(super) fn transition(&self, rule: &str, group: &Labels) -> Transition {
        Transition {
            decided_at: self.decided_at,
            incident: IncidentId::new(rule, group, self.started_at),
            sequence: 0,
            kind: TransitionKind::Opened,
            rule: rule.into(),
            group: group.clone(),
            severity: self.severity,
            started_at: self.started_at,
            at: self.at,
            value: self.value,
            summary: self.summary.clone(),
        }
    }
}

/// One rule at work.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) watcher: Watcher,
    /// Grows with every pane that may have changed the watcher's state.
    pub(super) changes: u64,
    /// The openings of all episodes that are open.
    pub(super) open: BTreeMap<GroupId, Opening>,
    /// Grows with every change of `open`.
    pub(super) open_changes: u64,
}

/// The entries of a pane with only the part that one consumer wants, without those of the groups in `left_out`.
pub(super) fn project<P, F: FnMut(&mut Entry<FeedPartial>) -> Option<P>>(
    entries: &mut [Entry<FeedPartial>],
    left_out: &BTreeSet<GroupId>,
    mut part: F,
) -> impl Iterator<Item = Entry<P>> {
    let entries = entries.iter_mut().filter(|entry| !left_out.contains(&entry.group));
    entries.filter_map(move |entry| {
        let partial = part(entry)?;
        let (group, event_pane, order) = (entry.group, entry.event_pane, entry.order);
        Some(Entry { group, event_pane, order, partial })
    })
}

impl Rule {
    /// The rule of `spec` without state; `conditions` numbers the sustained ones of the feed.
    pub(super) fn try_new(
        spec: &RuleSpec,
        conditions: &mut impl Iterator<Item = usize>,
    ) -> Result<Self, FeedError> {
        let watcher = match &spec.detector {
            Detector::Sustained(config) => Watcher::Sustained(
                conditions.next().unwrap_or_default(),
                Sustained::try_new(*config)?,
            ),
            Detector::Burst(config) => Watcher::Burst(Burst::try_new(*config)?),
            Detector::Anomaly(config) => Watcher::Anomaly(Anomaly::try_new(*config)?),
        };
        Ok(Rule { watcher, changes: 0, open: BTreeMap::new(), open_changes: 0 })
    }

    /// Applies admission pane `pane`, but for the groups in `left_out`, and puts the transitions it makes into
    /// `told`. What only this rule looks at is taken out of `entries`.
    pub(super) fn apply(
        &mut self,
        (spec, groups): (&RuleSpec, &[Labels]),
        pane: Pane,
        entries: &mut [Entry<FeedPartial>],
        left_out: &BTreeSet<GroupId>,
        told: &mut impl Extend<Transition>,
    ) {
        // A detector decides once: corrections are late for it.
        let on_time = |e: &&mut Entry<FeedPartial>| e.event_pane == pane;
        let is_due = self.next_due().is_some_and(|due| due <= pane);
        let (episodes, all) = match &mut self.watcher {
            Watcher::Sustained(index, machine) => {
                let part =
                    |e: &mut Entry<FeedPartial>| e.partial.conditions.get_mut(*index)?.take();
                drive(machine, pane, project(entries, left_out, part))
            }
            Watcher::Burst(machine) => {
                let part = |e: &mut Entry<FeedPartial>| {
                    Some(e).filter(on_time).map(|e| e.partial.moments.count)
                };
                drive(machine, pane, project(entries, left_out, part))
            }
            Watcher::Anomaly(machine) => {
                let part =
                    |e: &mut Entry<FeedPartial>| Some(e).filter(on_time).map(|e| e.partial.moments);
                drive(machine, pane, project(entries, left_out, part))
            }
        };
        self.changes += u64::from(is_due || all > 0);
        for episode in episodes {
            evaluation::at(episode.group);
            if let Some(group) = groups.get(episode.group.0 as usize) {
                told.extend([self.tell(spec, group, episode)]);
            }
        }
    }

    /// The transition that `episode` makes; remembers openings until their end.
    fn tell(&mut self, spec: &RuleSpec, group: &Labels, episode: Episode) -> Transition {
        self.open_changes += 1;
        let Episode { group: id, sequence, kind, started_at, at, decided_at, value } = episode;
        let here = || Opening {
            started_at,
            at,
            decided_at,
            value,
            severity: spec.severity,
            summary: spec.summary.clone(),
        };
        if kind == TransitionKind::Opened {
            let opening = here();
            let transition = opening.transition(&spec.name, group);
            self.open.insert(id, opening);
            return transition;
        }
        let opening = self.open.remove(&id).unwrap_or_else(here);
        let opened = opening.transition(&spec.name, group);
        Transition { decided_at, sequence, kind, at, value, ..opened }
    }

    /// Forgets `group` before `pane` is applied; returns the end of its incident, if one is open.
    pub(super) fn forget(
        &mut self,
        spec: &RuleSpec,
        (group, labels): (GroupId, &Labels),
        (size, pane): (PaneSize, Pane),
    ) -> Option<Transition> {
        match &mut self.watcher {
            Watcher::Sustained(_, machine) => machine.forget(group),
            Watcher::Burst(machine) => machine.forget(group),
            Watcher::Anomaly(machine) => machine.forget(group),
        }
        self.changes += 1;
        let opened = self.open.remove(&group)?.transition(&spec.name, labels);
        self.open_changes += 1;
        let kind = TransitionKind::Ended(EndReason::Quarantined);
        let (at, decided_at) = (size.start(pane), size.end(pane));
        Some(Transition { decided_at, sequence: 1, kind, at, ..opened })
    }

    pub(super) fn next_due(&self) -> Option<Pane> {
        match &self.watcher {
            Watcher::Sustained(_, machine) => machine.next_due(),
            Watcher::Burst(machine) => machine.next_due(),
            Watcher::Anomaly(machine) => machine.next_due(),
        }
    }
}

/// Applies one pane; returns what the machine says and how many entries there were.
fn drive<M: PaneMachine<Output = Episode>>(
    machine: &mut M,
    pane: Pane,
    projected: impl Iterator<Item = Entry<M::Partial>>,
) -> (Vec<Episode>, usize) {
    // Most consumers want a part of every entry.
    let mut entries = Vec::with_capacity(projected.size_hint().1.unwrap_or_default());
    entries.extend(projected);
    let (mut episodes, all) = (Vec::new(), entries.len());
    machine.apply(pane, &mut entries, &mut episodes);
    (episodes, all)
}
