//! Leaving out groups that have crashed an operator of the feed.
//!
//! A quarantine begins at an instant of event time that is part of the decision, with the first pane from there on
//! that is applied: what the operator knew of the group is forgotten, an incident that was open ends, and entries
//! of the group are passed over and counted. So the output is a function of the log and of the decision, wherever
//! a run begins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidewatch_dataflow::checkpoint::Shard;
use tidewatch_dataflow::ingest::Quarantined;
use tidewatch_dataflow::operator::{Entry, GroupId};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{EventTime, Pane};

use super::state::operators;
use super::{FeedCounters, FeedMachine, FeedOutput, FeedPartial, FeedSpec};

/// An operator of a feed, as quarantines know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorId {
    /// `detect/KEY/windows` for all windows of a feed, which share their panes; `detect/KEY/rule NAME` for a rule.
    pub name: Box<str>,
    /// A hash of what it computes and of the version of this crate: a later one may fare better.
    pub content: u64,
}

impl OperatorId {
    /// Whether `what` is about this operator as it is.
    pub fn is_of(&self, what: &Quarantined) -> bool {
        self.content == what.content && self.name == what.operator
    }
}

impl FeedSpec {
    /// The operators of the feed: all windows together, then the rules in order.
    pub fn operators(&self) -> Vec<OperatorId> {
        operators(self)
    }
}

/// The index of the windows among the operators; rules follow.
pub(super) const WINDOWS: usize = 0;

/// The index of a rule among the operators.
pub(super) fn rule(index: usize) -> usize {
    index + 1
}

/// One group that one operator leaves out.
#[derive(Debug)]
struct Held {
    operator: usize,
    group: Labels,
    /// The first pane that it holds for.
    from: Pane,
    has_begun: bool,
}

/// What the operators of one feed leave out. Bound: [`Quarantined::MAX`] groups of all feeds.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    held: Vec<Held>,
    /// By operator, the groups that are left out now.
    out: Vec<BTreeSet<GroupId>>,
    counters: Arc<FeedCounters>,
}

/// Nothing is left out.
static NOTHING: BTreeSet<GroupId> = BTreeSet::new();

impl Quarantine {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The groups that an operator leaves out.
    pub(super) fn of(&self, operator: usize) -> &BTreeSet<GroupId> {
        self.out.get(operator).unwrap_or(&NOTHING)
    }

    /// A group came that had no number before.
    pub(super) fn number(&mut self, labels: &Labels, group: GroupId) {
        for held in self.held.iter().filter(|held| held.has_begun && held.group == *labels) {
            if let Some(out) = self.out.get_mut(held.operator) {
                out.insert(group);
            }
        }
    }

    /// Begins what has to have begun when `pane` is applied: operators, and groups that have a number.
    fn begin(
        &mut self,
        pane: Pane,
        number: impl Fn(&Labels) -> Option<GroupId>,
    ) -> Vec<(usize, GroupId)> {
        let mut begun = Vec::new();
        for held in self.held.iter_mut().filter(|held| !held.has_begun && held.from <= pane) {
            held.has_begun = true;
            if let Some(group) = number(&held.group) {
                begun.push((held.operator, group));
                if let Some(out) = self.out.get_mut(held.operator) {
                    out.insert(group);
                }
            }
        }
        begun
    }

    /// Counts the samples that operators pass over.
    fn count(&self, entries: &[Entry<FeedPartial>]) {
        let mut samples = 0;
        for out in self.out.iter().filter(|out| !out.is_empty()) {
            let left = entries.iter().filter(|entry| out.contains(&entry.group));
            samples += left.map(|entry| entry.partial.moments.count).sum::<u64>();
        }
        self.counters.quarantined.fetch_add(samples, Ordering::Relaxed);
    }
}

impl FeedMachine {
    /// Leaves out those of `quarantined` that are about this feed as it is and that `shard` owns, each from the
    /// instant beside it on, in a run that goes on from `at`. Called at most once, on a machine that has applied
    /// nothing, after a restore. Returns those that are left out.
    pub fn leave_out<'a>(
        &mut self,
        quarantined: impl IntoIterator<Item = (&'a Quarantined, EventTime)>,
        shard: Shard,
        at: EventTime,
        counters: Arc<FeedCounters>,
    ) -> Vec<&'a Quarantined> {
        let mut taken = Vec::new();
        let out = vec![BTreeSet::new(); self.operators.len()];
        let mut quarantine = Quarantine { held: Vec::new(), out, counters };
        for (what, from) in quarantined {
            let operator = self.operators.iter().position(|operator| operator.is_of(what));
            if let Some(operator) = operator
                && shard.owns(what.group.stable_hash())
            {
                let (group, from) = (what.group.clone(), self.spec.pane.pane(from.max(at)));
                quarantine.held.push(Held { operator, group, from, has_begun: false });
                taken.push(what);
            }
        }
        quarantine.counters.quarantined_groups.fetch_add(taken.len() as u64, Ordering::Relaxed);
        self.quarantine = quarantine;
        taken
    }

    /// Before `pane` is applied: begins the quarantines that are due, and counts what is passed over.
    pub(super) fn look_at_quarantine(
        &mut self,
        pane: Pane,
        entries: &[Entry<FeedPartial>],
        out: &mut Vec<FeedOutput>,
    ) {
        let (index, groups) = (&self.by_labels, &self.groups);
        let number = |labels: &Labels| index.find(labels, groups).map(GroupId);
        for (operator, group) in self.quarantine.begin(pane, number) {
            if operator == WINDOWS {
                self.windows.forget(group);
            }
            let rules = self.spec.rules.iter().zip(&mut self.rules).enumerate();
            for (_, (spec, state)) in rules.filter(|(index, _)| rule(*index) == operator) {
                let Some(labels) = self.groups.get(group.0 as usize) else { continue };
                let end = state.forget(spec, (group, labels), (self.spec.pane, pane));
                out.extend(end.map(FeedOutput::Transition));
            }
        }
        self.quarantine.count(entries);
    }

    /// The next pane with which a quarantine ends an incident.
    pub(super) fn next_quarantine(&self) -> Option<Pane> {
        let waiting = self.quarantine.held.iter().filter(|held| !held.has_begun);
        let ending = waiting.filter(|held| {
            let group = self.by_labels.find(&held.group, &self.groups).map(GroupId);
            let mut rules = self.rules.iter().enumerate();
            rules.any(|(index, state)| {
                rule(index) == held.operator && group.is_some_and(|g| state.open.contains_key(&g))
            })
        });
        ending.map(|held| held.from).min()
    }
}

/// A defect that there is not, for tests of what becomes of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How the name of the operator ends: `rule cpu_high`, `windows`.
    pub operator: String,
    /// What the labels of a group contain, written `name=value,name=value`.
    pub group: String,
}

impl Fault {
    /// Whether an operator of this name, taking in `group`, is at fault.
    pub(super) fn strikes(&self, operator: &str, group: &Labels) -> bool {
        operator.ends_with(&self.operator) && group.to_string().contains(&self.group)
    }

    /// What the operator does then.
    #[expect(clippy::panic, reason = "a test has asked for it")]
    pub(super) fn panic(&self) -> ! {
        std::panic::panic_any("a panic that a test has asked for")
    }
}
