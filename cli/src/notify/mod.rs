//! Who is told what: transitions become notifications of receivers.
//!
//! # What is told
//! One notification for each opening and one for each end, in the order of the transition log. An opening
//! goes to the receivers of the rule; its end goes to exactly those whom the opening was for, whatever the
//! configuration says by then, also when the rule is gone.
//!
//! # What is summarised
//! An opening that was decided longer than `stale_after` ago is held back: catching up with a backlog
//! must not page anybody about history. If its incident ends while it is held, opening and end become one
//! line of a summary; if it is still open once event time has come within `stale_after` of now, it is told
//! after all. Suppression touches creation only: whatever was told as open is told as ended, and an end
//! whose opening nobody was told of is told to nobody.
//!
//! # After a crash
//! Transitions since the cut are decided again, perhaps hours later, when they are history. The notifier goes
//! on from its state at the cut; where a run after the cut has told an opening already, which [`Attempts`]
//! knows, it is told again rather than held (the outbox drops what has a receipt), so that its end follows.
//!
//! # After a change of the rules
//! Openings of after the cut are not in the checkpoint: only the outbox knows of them. Where the rule is as it
//! was, it opens them again. Where it has changed or is gone, it may not, so that nothing would ever end them:
//! once the rule could no longer open the same incident again ([`reopens_within`]), the notifier ends it with
//! the reason `rule_changed`.
//!
//! # State
//! One transition for each held opening, as many as there are open incidents in the backlog; the
//! receivers of each incident that was told as open; and the openings of after the cut until they are decided again.

mod attempts;
mod orphans;
mod state;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::alert::{IncidentId, Notification, Transition, TransitionKind};
use tidewatch_dataflow::time::EventTime;
use tidewatch_operators::feed::Detector;

use crate::config::Inventory;
use orphans::Orphans;

pub use attempts::{Attempts, NoAttempts};
pub use orphans::reopens_within;
pub use state::NotifierState;

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
    /// The end of an incident whose opening was never told, not even held: nobody is waiting for it.
    Unheard,
}

/// Turns the transition log into notifications. Knows no clock: the present is passed in.
pub struct Notifier {
    receivers: BTreeMap<Box<str>, Arc<[String]>>,
    inventory: Inventory,
    stale_after: Duration,
    attempts: Arc<dyn Attempts>,
    held: BTreeMap<IncidentId, Transition>,
    orphans: Orphans,
    /// Incidents told as open, with the receivers of the opening; those without any are not in here.
    told: BTreeMap<IncidentId, Arc<[String]>>,
    summarised: u64,
    version: u64,
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier")
            .field("held", &self.held.len())
            .field("told", &self.told.len())
            .field("orphans", &self.orphans)
            .field("summarised", &self.summarised)
            .finish_non_exhaustive()
    }
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
            attempts: Arc::new(NoAttempts),
            held: BTreeMap::new(),
            orphans: Orphans::default(),
            told: BTreeMap::new(),
            summarised: 0,
            version: 0,
        }
    }

    /// Lets it ask `attempts` what was told before. The default is [`NoAttempts`].
    #[must_use]
    pub fn with_attempts(mut self, attempts: Arc<dyn Attempts>) -> Self {
        self.orphans.add(attempts.openings());
        Notifier { attempts, ..self }
    }

    /// Lets it know what each rule looks for, by its name: how long an incident that was opened before may wait to
    /// be opened again. Those of other rules are not waited for.
    #[must_use]
    pub fn with_detectors<'a>(
        mut self,
        detectors: impl IntoIterator<Item = (&'a str, &'a Detector)>,
    ) -> Self {
        self.orphans.watch(detectors);
        self
    }

    /// Goes on from `state`, the checkpoint's. To be told at once: openings that were held at the cut and
    /// told since, so that no end comes before them. Held openings of rules that are gone are dropped, and
    /// counted as summarised: nobody was told of them.
    #[must_use]
    pub fn restore(&mut self, state: NotifierState) -> Vec<Decision> {
        self.version += 1;
        self.told = state.told();
        self.orphans.add(state.orphaned.iter().cloned());
        // What was open at the cut has a rule that watches it, or is ended with its rule.
        let held = state.held.iter().map(|transition| transition.incident);
        let open = self.told.keys().copied().chain(held);
        open.for_each(|incident| self.orphans.remove(incident));
        self.summarised = state.summarised;
        let mut decisions = Vec::new();
        for transition in state.held {
            if !self.attempts.receivers(transition.incident).is_empty() {
                decisions.push(self.tell_opening(transition));
            } else if self.receivers.contains_key(&transition.rule) {
                self.held.insert(transition.incident, transition);
            } else {
                self.summarised += 1;
            }
        }
        decisions
    }

    /// The state at this moment: everything decided so far is in it and nothing else.
    ///
    /// What it counts as told must be durable with it, and nothing else: the marks up to which the queues of
    /// the channels are kept are taken together with it, with nothing decided or released in between. An
    /// opening kept in a queue but not in here could be held by the next run, and its end summarised.
    pub fn snapshot(&self) -> NotifierState {
        let (held, orphaned) = (self.held.values().cloned().collect(), self.orphans.openings());
        NotifierState::new(held, orphaned, &self.told, self.summarised)
    }

    /// A number that changes whenever [`Notifier::snapshot`] would.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Decides about the next transition of the log.
    pub fn decide(&mut self, transition: Transition, now: EventTime) -> Decision {
        self.version += 1;
        match transition.kind {
            TransitionKind::Opened => self.open(transition, now),
            TransitionKind::Ended(_) => self.end(transition),
        }
    }

    /// Held openings to tell after all: event time, applied up to `applied`, has come within
    /// `stale_after` of `now`, and they are still open.
    pub fn release(&mut self, applied: EventTime, now: EventTime) -> Vec<Decision> {
        if self.held.is_empty() || now.since(applied) > self.stale_after {
            return Vec::new();
        }
        self.version += 1;
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_values().collect();
        held.sort();
        held.into_iter().map(|transition| self.tell_opening(transition)).collect()
    }

    /// Ends of incidents that earlier runs have told as open and that nothing will open again or end, now that
    /// event time is applied up to `applied`. To be asked before each [`Notifier::decide`], with the time of its
    /// transition, so that what is told stays in the order of event time. They are no part of the transition log;
    /// an incident that a run has ended before it died has another end there.
    pub fn abandon(&mut self, applied: EventTime) -> Vec<(Transition, Decision)> {
        let ends = self.orphans.take_until(applied);
        self.version += ends.len() as u64;
        ends.into_iter().map(|end| (end.clone(), self.end(end))).collect()
    }

    /// How many incidents were summarised so far.
    pub fn summarised(&self) -> u64 {
        self.summarised
    }

    /// How many incidents were told as open and have not ended.
    pub fn told(&self) -> usize {
        self.told.len()
    }

    fn open(&mut self, transition: Transition, now: EventTime) -> Decision {
        self.orphans.remove(transition.incident);
        let is_old = now.since(transition.decided_at) > self.stale_after;
        let is_told = || {
            self.told.contains_key(&transition.incident)
                || !self.attempts.receivers(transition.incident).is_empty()
        };
        if is_old && !is_told() {
            self.held.insert(transition.incident, transition);
            return Decision::Held;
        }
        self.held.remove(&transition.incident);
        self.tell_opening(transition)
    }

    fn end(&mut self, transition: Transition) -> Decision {
        if self.held.remove(&transition.incident).is_some() {
            self.summarised += 1;
            return Decision::Summarised;
        }
        let receivers = match self.told.remove(&transition.incident) {
            Some(receivers) => receivers,
            None => self.attempts.receivers(transition.incident).into(),
        };
        if receivers.is_empty() {
            return Decision::Unheard;
        }
        self.tell(transition, receivers)
    }

    /// Tells an opening to the receivers of its rule and to those who may have heard of it before.
    fn tell_opening(&mut self, transition: Transition) -> Decision {
        let mut receivers = self.receivers.get(&transition.rule).cloned().unwrap_or_default();
        let mut before = self.attempts.receivers(transition.incident);
        before.extend(self.told.get(&transition.incident).into_iter().flat_map(|r| r.to_vec()));
        before.retain(|name| !receivers.contains(name));
        if !before.is_empty() {
            let before: BTreeSet<String> = before.into_iter().collect();
            receivers = receivers.iter().cloned().chain(before).collect();
        }
        if !receivers.is_empty() {
            self.told.insert(transition.incident, Arc::clone(&receivers));
        }
        self.tell(transition, receivers)
    }

    fn tell(&self, transition: Transition, receivers: Arc<[String]>) -> Decision {
        let inventory = self.inventory.labels_of(&transition.group);
        Decision::Tell { notification: Notification { transition, inventory }, receivers }
    }
}
