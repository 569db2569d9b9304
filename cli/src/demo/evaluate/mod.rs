//! Judges a demo run: were all faults found that had to be, and nothing else?
//!
//! # What counts
//!
//! - A fault that must alert is **detected** by an opening of its rule for its group whose instant
//!   (`at`) lies between the fault's start and [`SLACK`] after its end.
//! - It is **missed** when no such opening came although its detection was due: the run went on for at
//!   least [`GRACE`] beyond the instant at which the rule's condition held. Otherwise it is **not due**
//!   and counts neither way.
//! - A **false alarm** is every opening that is not the first one of a fault that must alert: of a fault
//!   that must not, of nothing at all, or a second one of the same fault.
//!
//! A transition that was told twice (same identity) counts once; telling is the channels' business.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;
use tidewatch_dataflow::alert::{IncidentId, Transition};
use tidewatch_dataflow::time::EventTime;

use super::fleet::{Fault, FaultKind};

/// From the instant a rule's condition holds to the incident: up to 10 s until the pane or slide ends,
/// 10 s until the next sample of a partition that has few hosts moves its watermark that far, 2 s that the
/// sample is under way, 5 s of out-of-orderness, and 8 s for fetching, deciding and a busy machine.
pub const GRACE: Duration = Duration::from_secs(35);

/// An opening this long after a fault's end still belongs to it: a burst fills its window of 60 s until
/// then.
pub const SLACK: Duration = Duration::from_secs(60);

/// A transition, and when it came out of the engine by the wall clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What was said.
    pub transition: Transition,
    /// When.
    pub seen_at: EventTime,
}

/// What the run was, as its parts have counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFacts {
    /// The fleet's seed.
    pub seed: u64,
    /// How many hosts it has.
    pub hosts: usize,
    /// When live data began.
    pub start: EventTime,
    /// When the run was asked to stop: the fleet's time then.
    pub end: EventTime,
    /// Records read from Kafka.
    pub records_read: u64,
    /// Windows fired, corrections included.
    pub windows_fired: u64,
    /// Of these records, those read until the backlog was caught up with.
    pub catch_up_records: u64,
    /// How long that took; `None` when the run stopped before.
    pub catch_up: Option<Duration>,
}

/// What became of one fault.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It had to alert and did.
    Detected,
    /// It had to alert and did not.
    Missed,
    /// The run ended before its detection was due, and none had come.
    NotDue,
    /// It must not alert and did not.
    Quiet,
    /// It must not alert and did.
    FalseAlarm,
}

/// One line of the report: a fault and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultReport {
    /// What was wrong.
    pub kind: FaultKind,
    /// The rule that watches for it.
    pub rule: &'static str,
    /// Whom it concerns: `host=mail-03`.
    pub group: String,
    /// When it began (RFC 3339).
    pub start: String,
    /// When it ended (RFC 3339).
    pub end: String,
    /// Whether it had to alert.
    pub must_alert: bool,
    /// Whether an incident was opened for it.
    pub detected: bool,
    /// How it counts.
    pub outcome: Outcome,
    /// The incident that was opened for it.
    pub incident: Option<String>,
    /// Event time from the instant its rule's condition held to the end of the pane that decided it, in
    /// seconds; below zero when the rule was quicker than the bound it is given.
    pub delay_seconds: Option<f64>,
    /// Wall time until the incident was seen, in seconds: from the instant its condition held or, for the
    /// backlog, from the start of live data.
    pub wall_delay_seconds: Option<f64>,
}

/// An opening that nothing explains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalseAlarm {
    /// The incident.
    pub incident: String,
    /// Its rule.
    pub rule: String,
    /// Its group.
    pub group: String,
    /// The instant it speaks of (RFC 3339).
    pub at: String,
    /// What it says.
    pub summary: String,
}

/// How many transitions of each kind there were.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertCounts {
    /// Incidents opened.
    pub opened: usize,
    /// Incidents ended.
    pub ended: usize,
}

/// How fast the backlog was read.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub struct CatchUp {
    /// Records.
    pub records: u64,
    /// Seconds.
    pub seconds: f64,
    /// Records per second.
    pub records_per_second: f64,
}

/// The judgement of a run: what `--report` writes as JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// `pass` or `fail`.
    pub verdict: &'static str,
    /// The fleet's seed.
    pub seed: u64,
    /// How many hosts it had.
    pub hosts: usize,
    /// When live data began (RFC 3339).
    pub start: String,
    /// When the run was asked to stop (RFC 3339).
    pub end: String,
    /// Records read from Kafka.
    pub records_read: u64,
    /// Windows fired.
    pub windows_fired: u64,
    /// Incidents opened and ended.
    pub alerts: AlertCounts,
    /// How fast the backlog was read; absent when the run stopped before it was through.
    pub catch_up: Option<CatchUp>,
    /// How many faults had to be detected by the end of the run and were not.
    pub missed: usize,
    /// Openings that no fault explains.
    pub false_alarms: Vec<FalseAlarm>,
    /// Every fault that had begun.
    pub faults: Vec<FaultReport>,
}

impl Report {
    /// The exit code of the demo: 1 when a fault was missed or an alarm was false, otherwise 0.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.missed > 0 || !self.false_alarms.is_empty())
    }

    /// How many faults have this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.faults.iter().filter(|fault| fault.outcome == outcome).count()
    }
}

/// Compares the labels of `faults` with what was seen until the end of the run. Faults that begin after
/// the end are left out.
pub fn evaluate(faults: &[Fault], seen: &[Seen], facts: &RunFacts) -> Report {
    let mut told = BTreeSet::new();
    let distinct: Vec<&Seen> = seen
        .iter()
        .filter(|seen| told.insert((seen.transition.incident, seen.transition.sequence)))
        .collect();
    let openings: Vec<&Seen> =
        distinct.iter().copied().filter(|seen| seen.transition.is_opening()).collect();
    let mut explained: BTreeSet<IncidentId> = BTreeSet::new();
    let mut reports = Vec::new();
    for fault in faults.iter().filter(|fault| fault.start <= facts.end) {
        let opening = openings
            .iter()
            .filter(|seen| belongs(&seen.transition, fault))
            .min_by_key(|seen| seen.transition.at);
        if let Some(opening) = opening.filter(|_| fault.must_alert) {
            explained.insert(opening.transition.incident);
        }
        reports.push(report_fault(fault, opening.copied(), facts));
    }
    let false_alarms: Vec<FalseAlarm> = openings
        .iter()
        .map(|seen| &seen.transition)
        .filter(|transition| !explained.contains(&transition.incident))
        .map(|transition| FalseAlarm {
            incident: transition.incident.to_string(),
            rule: transition.rule.to_string(),
            group: transition.group.to_string(),
            at: rfc3339(transition.at),
            summary: transition.summary.to_string(),
        })
        .collect();
    let missed = reports.iter().filter(|fault| fault.outcome == Outcome::Missed).count();
    Report {
        verdict: if missed == 0 && false_alarms.is_empty() { "pass" } else { "fail" },
        seed: facts.seed,
        hosts: facts.hosts,
        start: rfc3339(facts.start),
        end: rfc3339(facts.end),
        records_read: facts.records_read,
        windows_fired: facts.windows_fired,
        alerts: AlertCounts { opened: openings.len(), ended: distinct.len() - openings.len() },
        catch_up: facts.catch_up.map(|took| CatchUp {
            records: facts.catch_up_records,
            seconds: took.as_secs_f64(),
            records_per_second: facts.catch_up_records as f64 / took.as_secs_f64().max(1e-3),
        }),
        missed,
        false_alarms,
        faults: reports,
    }
}

/// Whether `opening` speaks of `fault`.
fn belongs(opening: &Transition, fault: &Fault) -> bool {
    *opening.rule == *fault.rule
        && opening.group == fault.group
        && fault.start <= opening.at
        && opening.at <= fault.end + SLACK
}

fn report_fault(fault: &Fault, opening: Option<&Seen>, facts: &RunFacts) -> FaultReport {
    let outcome = match (fault.must_alert, opening) {
        (true, Some(_)) => Outcome::Detected,
        (true, None) if fault.due + GRACE <= facts.end => Outcome::Missed,
        (true, None) => Outcome::NotDue,
        (false, Some(_)) => Outcome::FalseAlarm,
        (false, None) if fault.due + GRACE <= facts.end => Outcome::Quiet,
        (false, None) => Outcome::NotDue,
    };
    let expected_by = fault.due.max(facts.start);
    FaultReport {
        kind: fault.kind,
        rule: fault.rule,
        group: fault.group.to_string(),
        start: rfc3339(fault.start),
        end: rfc3339(fault.end),
        must_alert: fault.must_alert,
        detected: opening.is_some(),
        outcome,
        incident: opening.map(|seen| seen.transition.incident.to_string()),
        delay_seconds: opening.map(|seen| seconds_from(fault.due, seen.transition.decided_at)),
        wall_delay_seconds: opening.map(|seen| seconds_from(expected_by, seen.seen_at)),
    }
}

/// Seconds from `from` to `to`, below zero when `to` is earlier.
fn seconds_from(from: EventTime, to: EventTime) -> f64 {
    to.since(from).as_secs_f64() - from.since(to).as_secs_f64()
}

/// `time` as RFC 3339 with milliseconds; empty beyond the year 9999.
fn rfc3339(time: EventTime) -> String {
    let millis = i64::try_from(time.as_millis()).ok();
    let stamp = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok());
    stamp.map(|stamp| format!("{stamp:.3}")).unwrap_or_default()
}
