//! Incidents and their transitions: what detectors say and channels tell.
//!
//! An **incident** is one episode of one rule for one group: it opens, may change, and ends. A
//! **transition** is one such step, with an identity of its own, so that telling it twice can be
//! recognised. The order of transitions of an incident is the order of their [`Transition::sequence`].

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::series::{Labels, StableHash};
use crate::time::EventTime;

/// How much an incident matters. The order is the order of seriousness.
#[derive(
    Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To know.
    Info,
    /// To look at in working hours.
    #[default]
    Warning,
    /// To get up for.
    Critical,
}

impl Severity {
    /// The severity as configurations, channels and labels write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// A finite measured number that can be compared, hashed and kept in a differential collection.
#[derive(Copy, Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reading(pub f64);

impl PartialEq for Reading {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Reading {}
impl PartialOrd for Reading {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Reading {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}
impl Hash for Reading {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// The identity of an incident: a hash of rule, group and start as first opened. PagerDuty's
/// `dedup_key` and the thread key of other channels.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IncidentId(pub u64);

impl IncidentId {
    /// The identity of the incident of `rule` for `group` that first opened with start `started_at`.
    pub fn new(rule: &str, group: &Labels, started_at: EventTime) -> Self {
        let mut hash = StableHash::default();
        hash.write(rule.as_bytes());
        hash.write(&group.stable_hash().to_le_bytes());
        hash.write(&started_at.as_millis().to_le_bytes());
        IncidentId(hash.finish())
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tw-{:016x}", self.0)
    }
}

impl fmt::Debug for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Why an incident ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The condition no longer holds.
    Recovered,
    /// No samples came for longer than the rule's `gap_tolerance`.
    NoData,
    /// A correction joined it with an earlier incident.
    Merged,
    /// Its rule was changed or taken away while it was open, so nothing watches it any more.
    RuleChanged,
    /// Its rule crashed at the group, over and over, and leaves the group out: nothing watches it any more.
    Quarantined,
}

/// What happened to an incident.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// It began.
    Opened,
    /// It is over.
    Ended(EndReason),
}

/// One step in the life of an incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transition {
    /// End of the pane that decided it. It travels at the last instant before.
    pub decided_at: EventTime,
    /// Which incident.
    pub incident: IncidentId,
    /// 0 for the opening, then counting up.
    pub sequence: u32,
    /// What happened.
    pub kind: TransitionKind,
    /// Name of the rule.
    pub rule: Box<str>,
    /// The group the rule speaks of: `host=web-1`.
    pub group: Labels,
    /// How much it matters.
    pub severity: Severity,
    /// When the episode began.
    pub started_at: EventTime,
    /// When this step is true, in event time, exact to the sample: for an opening the instant at which
    /// the condition had held long enough, for an end the instant at which it first failed.
    pub at: EventTime,
    /// The number that decided it: the last sample, the count, the score.
    pub value: Reading,
    /// One sentence for people, without the group's name: `usage_active above 90 for 5m`.
    pub summary: Box<str>,
}

impl Transition {
    /// The identity of this step: stable across retries, restarts and replays.
    pub fn id(&self) -> String {
        format!("{}-{}", self.incident, self.sequence)
    }

    /// From the beginning of the episode until this step.
    pub fn lasted(&self) -> Duration {
        self.at.since(self.started_at)
    }

    /// Whether it opens its incident.
    pub fn is_opening(&self) -> bool {
        self.kind == TransitionKind::Opened
    }
}

/// An incident that is open now: an element of the differential collection of active incidents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incident {
    /// Its identity.
    pub id: IncidentId,
    /// Name of the rule.
    pub rule: Box<str>,
    /// The group the rule speaks of.
    pub group: Labels,
    /// How much it matters.
    pub severity: Severity,
    /// When the episode began.
    pub started_at: EventTime,
    /// When it had held long enough to open.
    pub opened_at: EventTime,
    /// The number that opened it.
    pub value: Reading,
    /// One sentence for people.
    pub summary: Box<str>,
}

/// A transition on its way to people, with what the inventory knows of its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// What happened.
    pub transition: Transition,
    /// Labels of the group from the inventory (owner, tier); empty when it is not listed.
    pub inventory: Labels,
}
