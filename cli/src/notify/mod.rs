//! Who is told what: transitions become notifications of receivers.
//!
//! # What is told
//! One notification for each opening and one for each end, to the receivers of the rule, in the order of
//! the transition log.
//!
//! # What is summarised
//! An opening that was decided longer than `stale_after` ago is held back: catching up with a backlog
//! must not page anybody about history. If its incident ends while it is held, opening and end become one
//! line of a summary; if it is still open once event time has come within `stale_after` of now, it is told
//! after all. Suppression touches creation only: whatever was told as open is told as ended.
//!
//! # State
//! One transition for each held opening: as many as there are open incidents in the backlog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::alert::{IncidentId, Notification, Transition};
use tidewatch_dataflow::time::EventTime;

use crate::config::Inventory;

/// What the notifier decides about a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Tell these receivers.
    Tell {
        /// What.
        notification: Notification,
        /// Names of the receivers; empty when nobody listens to the rule.
        receivers: Arc<[String]>,
    },
    /// An old opening: wait whether its incident is over.
    Held,
    /// An old incident was over before anybody was told.
    Summarised,
}

/// Turns the transition log into notifications. Knows no clock: the present is passed in.
#[derive(Debug)]
pub struct Notifier {
    receivers: BTreeMap<Box<str>, Arc<[String]>>,
    inventory: Inventory,
    stale_after: Duration,
    held: BTreeMap<IncidentId, Transition>,
    summarised: u64,
}

impl Notifier {
    /// A notifier for rules with these receivers.
    pub fn new(
        receivers: impl IntoIterator<Item = (Box<str>, Vec<String>)>,
        inventory: Inventory,
        stale_after: Duration,
    ) -> Self {
        let receivers = receivers.into_iter().map(|(rule, names)| (rule, names.into()));
        Notifier {
            receivers: receivers.collect(),
            inventory,
            stale_after,
            held: BTreeMap::new(),
            summarised: 0,
        }
    }

    /// Decides about the next transition of the log.
    pub fn decide(&mut self, transition: Transition, now: EventTime) -> Decision {
        let is_old = now.since(transition.decided_at) > self.stale_after;
        if transition.is_opening() && is_old {
            self.held.insert(transition.incident, transition);
            return Decision::Held;
        }
        if !transition.is_opening() && self.held.remove(&transition.incident).is_some() {
            self.summarised += 1;
            return Decision::Summarised;
        }
        self.tell(transition)
    }

    /// Held openings to tell after all: event time, applied up to `applied`, has come within
    /// `stale_after` of `now`, and they are still open.
    pub fn release(&mut self, applied: EventTime, now: EventTime) -> Vec<Decision> {
        if self.held.is_empty() || now.since(applied) > self.stale_after {
            return Vec::new();
        }
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_values().collect();
        held.sort();
        held.into_iter().map(|transition| self.tell(transition)).collect()
    }

    /// How many incidents were summarised so far.
    pub fn summarised(&self) -> u64 {
        self.summarised
    }

    fn tell(&self, transition: Transition) -> Decision {
        let receivers = self.receivers.get(&transition.rule).cloned().unwrap_or_default();
        let inventory = self.inventory.labels_of(&transition.group);
        Decision::Tell { notification: Notification { transition, inventory }, receivers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::InventoryEntry;
    use tidewatch_dataflow::alert::{EndReason, Reading, Severity, TransitionKind};
    use tidewatch_dataflow::series::Labels;

    fn at(minutes: u64) -> EventTime {
        EventTime::from_millis(minutes * 60_000)
    }

    fn transition(host: &str, kind: TransitionKind, minute: u64) -> Transition {
        let group = Labels::from_pairs([("host", host)]);
        Transition {
            decided_at: at(minute),
            incident: IncidentId::new("cpu", &group, at(1)),
            sequence: u32::from(kind != TransitionKind::Opened),
            kind,
            rule: "cpu".into(),
            group,
            severity: Severity::Critical,
            started_at: at(1),
            at: at(minute),
            value: Reading(95.0),
            summary: "usage_active above 90".into(),
        }
    }

    fn notifier() -> Notifier {
        let receivers = [("cpu".into(), vec!["oncall".to_owned()])];
        let (matches, labels) =
            (Labels::from_pairs([("host", "a")]), Labels::from_pairs([("owner", "web")]));
        let inventory = Inventory { entries: vec![InventoryEntry { matches, labels }] };
        Notifier::new(receivers, inventory, Duration::from_secs(900))
    }

    const END: TransitionKind = TransitionKind::Ended(EndReason::Recovered);

    #[test]
    fn fresh_transitions_are_told_with_what_the_inventory_knows() {
        let mut notifier = notifier();
        let decision = notifier.decide(transition("a", TransitionKind::Opened, 100), at(101));
        let Decision::Tell { notification, receivers } = decision else { panic!("{decision:?}") };
        assert_eq!(notification.inventory.get("owner"), Some("web"));
        assert_eq!(receivers.as_ref(), ["oncall"]);
        assert!(matches!(
            notifier.decide(transition("a", END, 102), at(103)),
            Decision::Tell { .. }
        ));
    }

    #[test]
    fn history_is_summarised_and_what_is_still_open_is_told() {
        let mut notifier = notifier();
        let now = at(1_000);
        for host in ["a", "b"] {
            let opened = transition(host, TransitionKind::Opened, 100);
            assert_eq!(notifier.decide(opened, now), Decision::Held);
        }
        assert_eq!(notifier.decide(transition("b", END, 200), now), Decision::Summarised);
        assert_eq!(notifier.release(at(900), now), [], "still catching up");
        let told = notifier.release(at(990), now);
        let [Decision::Tell { notification, .. }] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(notification.transition.group.get("host"), Some("a"));
        assert!(
            matches!(notifier.decide(transition("a", END, 500), now), Decision::Tell { .. }),
            "what was told as open is told as ended, however old the end is"
        );
        assert_eq!(notifier.summarised(), 1);
    }
}
