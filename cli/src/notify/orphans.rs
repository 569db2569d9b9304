//! Openings that a run has told after the last cut, and that the rules of the next may never decide again.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewatch_dataflow::alert::{EndReason, IncidentId, Transition, TransitionKind};
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::feed::Detector;

/// How long after an incident was opened by an earlier form of its rule, or after the cut if that is later,
/// `detector` may open it again, in event time and at most: an incident is known by its start, so what is opened
/// later is another one.
///
/// ```
/// # use std::time::Duration;
/// use tidewatch::notify::reopens_within;
/// use tidewatch_dataflow::time::PaneSize;
/// use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
/// use tidewatch_operators::feed::Detector;
/// let sustained = SustainedConfig {
///     condition: Condition::Above(90.0),
///     clear: 90.0,
///     for_: Duration::from_secs(300),
///     clear_for: Duration::from_secs(60),
///     gap_tolerance: Duration::from_secs(120),
///     pane: PaneSize::new(Duration::from_secs(10)).unwrap(),
/// };
/// assert_eq!(reopens_within(&Detector::Sustained(sustained)), Duration::from_secs(440));
/// ```
pub fn reopens_within(detector: &Detector) -> Duration {
    match detector {
        // The instant that opens it may come a whole gap after the condition has held long enough; the pane of its
        // start, and its own, may each be a whole one.
        Detector::Sustained(c) => {
            let longest = c.for_.saturating_add(c.gap_tolerance);
            longest.saturating_add(c.pane.duration() * 2)
        }
        // The first window that is over starts it.
        Detector::Burst(c) => c.window.saturating_add(c.slide),
        // Panes without samples in between end it once they are more than the greater of `for` and six.
        Detector::Anomaly(c) => {
            let pane = c.pane.duration();
            c.for_.saturating_add(c.for_.max(pane * 6)).saturating_add(pane * 2)
        }
    }
}

/// The openings, and how long each may have to wait.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// Each with the time from which on it may be opened again.
    openings: BTreeMap<IncidentId, (EventTime, Transition)>,
    /// By rule; none for rules that are gone.
    reopens_within: BTreeMap<Box<str>, Duration>,
}

impl Orphans {
    pub(super) fn watch<'a>(&mut self, rules: impl IntoIterator<Item = (&'a str, &'a Detector)>) {
        let rules = rules.into_iter().map(|(rule, d)| (rule.into(), reopens_within(d)));
        self.reopens_within = rules.collect();
    }

    pub(super) fn add(&mut self, openings: impl IntoIterator<Item = (EventTime, Transition)>) {
        self.openings.extend(openings.into_iter().map(|opening| (opening.1.incident, opening)));
    }

    /// The incident is open again.
    pub(super) fn remove(&mut self, incident: IncidentId) {
        self.openings.remove(&incident);
    }

    pub(super) fn openings(&self) -> Vec<(EventTime, Transition)> {
        self.openings.values().cloned().collect()
    }

    /// Takes those that nothing can open again once event time is applied up to `applied`, and makes their ends, in
    /// order.
    pub(super) fn take_until(&mut self, applied: EventTime) -> Vec<Transition> {
        let ends = self.openings.values().filter_map(|(since, opening)| {
            let wait = self.reopens_within.get(&opening.rule).copied().unwrap_or_default();
            let (at, kind) = (*since + wait, TransitionKind::Ended(EndReason::RuleChanged));
            let end = || Transition { decided_at: at, at, sequence: 1, kind, ..opening.clone() };
            (at <= applied).then(end)
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort();
        ends.iter().for_each(|end| self.remove(end.incident));
        ends
    }
}
