//! Open alerts, as the active incidents have them, and past ones, as the transitions tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;
use tidewatch_connectors::sinks::sqlite::StoredIncident;
use tidewatch_dataflow::alert::{EndReason, Incident, Transition, TransitionKind};
use tidewatch_dataflow::series::Labels;

/// Open alerts shown; all are counted.
const OPEN_MAX: usize = 1_000;
/// Past alerts kept.
pub(super) const PAST_MAX: usize = 1_000;

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertView {
    /// Its incident.
    pub id: String,
    /// Its rule.
    pub rule: String,
    /// The group, as text: `host=web-1`.
    pub group: String,
    /// The group's host, if it has one.
    pub host: Option<String>,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// When it began, in milliseconds.
    pub started_at: u64,
    /// When it had held long enough to open, in milliseconds.
    pub opened_at: u64,
    /// When it ended, in milliseconds.
    pub ended_at: Option<u64>,
    /// Why it ended: `recovered`, `no_data`, `merged`.
    pub end: Option<String>,
    /// The number that opened it.
    pub value: f64,
    /// One sentence.
    pub summary: String,
    /// What the inventory knows of the group: `owner=web-team`.
    pub inventory: String,
}

/// Open and past alerts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertsView {
    /// Open ones, the newest first.
    pub open: Vec<AlertView>,
    /// How many are open, those left out of `open` included.
    pub open_count: usize,
    /// Ended ones, the newest first.
    pub past: Vec<AlertView>,
    /// Counts up with every change.
    pub version: u64,
}

#[derive(Debug, Default)]
pub(super) struct Alerts {
    open: BTreeSet<(Incident, Labels)>,
    /// In order of opening, those still open included.
    noted: VecDeque<AlertView>,
    version: u64,
}

impl Alerts {
    /// Takes over alerts of former runs, given the newest first.
    pub(super) fn load(&mut self, former: Vec<StoredIncident>) {
        self.noted = former.into_iter().rev().map(from_stored).collect();
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(super) fn set_active(&mut self, active: Vec<(Incident, Labels)>) {
        self.open = active.into_iter().collect();
        self.version += 1;
    }

    pub(super) fn change_active(&mut self, changes: Vec<((Incident, Labels), isize)>) {
        // The collection is a set; what is replaced goes before its successor comes.
        for (element, _) in changes.iter().filter(|(_, diff)| *diff < 0) {
            self.open.remove(element);
        }
        self.open.extend(changes.into_iter().filter(|(_, diff)| *diff > 0).map(|(e, _)| e));
        self.version += 1;
    }

    pub(super) fn note(&mut self, transition: &Transition) {
        let id = transition.incident.to_string();
        let known = self.noted.iter_mut().rev().find(|alert| alert.id == id);
        match (transition.kind, known) {
            (TransitionKind::Opened, None) => {
                if self.noted.len() >= PAST_MAX {
                    self.noted.pop_front();
                }
                self.noted.push_back(from_transition(transition));
            }
            (TransitionKind::Ended(reason), Some(alert)) => {
                alert.ended_at = Some(transition.at.as_millis());
                alert.end = Some(end_text(reason).to_owned());
            }
            // Told twice, or the opening was so long ago that it is no longer kept.
            (TransitionKind::Opened, Some(_)) | (TransitionKind::Ended(_), None) => return,
        }
        self.version += 1;
    }

    pub(super) fn open_by_host(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for host in self.open.iter().filter_map(|(incident, _)| incident.group.get("host")) {
            *counts.entry(host.to_owned()).or_default() += 1;
        }
        counts
    }

    pub(super) fn view(&self) -> AlertsView {
        let mut open: Vec<AlertView> = self.open.iter().map(from_incident).collect();
        open.sort_by(|a, b| (b.opened_at, &b.id).cmp(&(a.opened_at, &a.id)));
        open.truncate(OPEN_MAX);
        let mut past: Vec<AlertView> =
            self.noted.iter().filter(|alert| alert.ended_at.is_some()).cloned().collect();
        past.sort_by_key(|alert| std::cmp::Reverse(alert.ended_at));
        AlertsView { open, open_count: self.open.len(), past, version: self.version }
    }
}

fn end_text(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Recovered => "recovered",
        EndReason::NoData => "no_data",
        EndReason::Merged => "merged",
        EndReason::RuleChanged => "rule_changed",
        EndReason::Quarantined => "quarantined",
    }
}

fn from_incident((incident, inventory): &(Incident, Labels)) -> AlertView {
    AlertView {
        id: incident.id.to_string(),
        rule: incident.rule.to_string(),
        group: incident.group.to_string(),
        host: incident.group.get("host").map(str::to_owned),
        severity: incident.severity.as_str().to_owned(),
        started_at: incident.started_at.as_millis(),
        opened_at: incident.opened_at.as_millis(),
        ended_at: None,
        end: None,
        value: incident.value.0,
        summary: incident.summary.to_string(),
        inventory: inventory.to_string(),
    }
}

fn from_transition(transition: &Transition) -> AlertView {
    AlertView {
        id: transition.incident.to_string(),
        rule: transition.rule.to_string(),
        group: transition.group.to_string(),
        host: transition.group.get("host").map(str::to_owned),
        severity: transition.severity.as_str().to_owned(),
        started_at: transition.started_at.as_millis(),
        opened_at: transition.at.as_millis(),
        ended_at: None,
        end: None,
        value: transition.value.0,
        summary: transition.summary.to_string(),
        inventory: String::new(),
    }
}

fn from_stored(stored: StoredIncident) -> AlertView {
    AlertView {
        id: stored.incident,
        rule: stored.rule,
        group: stored.group.to_string(),
        host: stored.group.get("host").map(str::to_owned),
        severity: stored.severity,
        started_at: stored.started_at,
        opened_at: stored.opened_at,
        ended_at: stored.ended_at,
        end: stored.end,
        value: stored.value,
        summary: stored.summary,
        inventory: String::new(),
    }
}
