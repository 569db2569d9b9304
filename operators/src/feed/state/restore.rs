//! Going on from the state of a former run.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewatch_dataflow::checkpoint::{Restored, Shard, StateError};
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::time::{EventTime, Pane};

use super::identity::{ConsumerRecord, Kind};
use super::numbers::{Live, Numbers};
use super::report::orphan;
use super::stored::{OpenRecord, Rows, Stored};
use super::{ConsumerReport, OnChange, Outcome, ResetReason, RestoreReport, names};
use crate::aggregate::Moments;
use crate::detect::anomaly::{Anomaly, AnomalyState};
use crate::detect::burst::{Burst, BurstState};
use crate::detect::sustained::{Sustained, SustainedState};
use crate::detect::{GroupState, anomaly, burst, sustained};
use crate::feed::index::LabelsIndex;
use crate::feed::rule::{Opening, Watcher};
use crate::feed::{Detector, FeedMachine};

/// The state of a rule that goes on, by share.
enum RuleRows {
    Sustained(Vec<Rows<sustained::GroupSnapshot>>),
    Burst(Vec<Rows<burst::GroupSnapshot>>),
    Anomaly(Vec<Rows<anomaly::GroupSnapshot>>),
}

/// A rule that goes on.
struct GoesOn {
    /// Index among the rules of the machine.
    rule: usize,
    rows: RuleRows,
    openings: Vec<OpenRecord>,
}

impl FeedMachine {
    /// The name of the operator in state.
    pub(super) fn operator(&self) -> String {
        format!("detect/{}", self.spec.key())
    }

    /// Goes on from `state`, which was cut at `at`, with the groups that `shard` owns: as if it had applied
    /// everything before. Called on a machine that has applied nothing. `policy` decides about consumers
    /// whose configuration has changed.
    ///
    /// Groups get new numbers, in the order of the former ones; those without state are left behind. Without
    /// any state, windows that begin before `at` are not put out.
    ///
    /// # Errors
    /// [`StateError`] when a piece is missing, damaged or contradicts the others; the machine must not be
    /// used then.
    pub fn restore_with(
        &mut self,
        state: &Restored,
        shard: Shard,
        at: EventTime,
        policy: OnChange,
    ) -> Result<RestoreReport, StateError> {
        let operator = self.operator();
        let mut report = RestoreReport::default();
        let Some(stored) = Stored::read(&operator, state, shard)? else {
            self.begin(at, &mut report);
            return Ok(report);
        };
        let cut = self.spec.pane.pane(at);
        if self.spec.pane.start(cut) != at {
            let reason = format!("it was cut at {at:?}, inside a pane: restore another checkpoint");
            return Err(StateError::Mismatch { operator, reason });
        }
        // 1. What goes on.
        self.decide_windows(&stored, at, policy, &mut report);
        let rules = self.decide_rules(&stored, cut, at, policy, &mut report)?;
        report_dropped(&stored, &self.records(), &mut report);
        let columns = stored.columns(self.windows.horizon_at(cut), cut)?;
        // 2. Numbers for the groups that have anything.
        let mut live = Live::new(&stored);
        for (share, columns) in columns.iter().enumerate() {
            columns.iter().for_each(|(_, rows)| live.mark(share, rows));
        }
        for rule in &rules {
            match &rule.rows {
                RuleRows::Sustained(shares) => live.mark_all(shares),
                RuleRows::Burst(shares) => live.mark_all(shares),
                RuleRows::Anomaly(shares) => live.mark_all(shares),
            }
        }
        let (groups, numbers) = live.number(&stored)?;
        self.groups = Arc::new(groups);
        self.by_labels = LabelsIndex::of(&self.groups);
        // 3. The state under the new numbers.
        let mut panes: BTreeMap<Pane, Rows<Moments>> = BTreeMap::new();
        for (share, columns) in columns.into_iter().enumerate() {
            for (pane, rows) in columns {
                numbers.append(panes.entry(pane).or_default(), share, rows);
            }
        }
        self.windows.restore(cut, panes, 0);
        for rule in rules {
            self.take_over(rule, cut, &numbers).map_err(|piece| {
                stored.unreadable(&piece, "its open episodes are not those of the openings")
            })?;
        }
        Ok(report)
    }

    /// Begins without any state.
    fn begin(&mut self, at: EventTime, report: &mut RestoreReport) {
        self.columns_from = self.columns_from.max(at);
        for consumer in &mut self.consumers {
            consumer.complete_from = consumer.complete_from.max(at);
        }
        for record in self.records() {
            let mut new = ConsumerReport::new(record.kind, &record.name, Outcome::New);
            new.complete_from = (record.kind == Kind::Window).then_some(record.complete_from);
            report.consumers.push(new);
        }
    }

    fn decide_windows(
        &mut self,
        stored: &Stored<'_>,
        at: EventTime,
        policy: OnChange,
        report: &mut RestoreReport,
    ) {
        self.columns_from = stored.columns_from.unwrap_or(at);
        let carried = policy == OnChange::Carry && self.columns_from < at;
        for (record, consumer) in self.records().iter().zip(&mut self.consumers) {
            let former = former(stored, record);
            let (outcome, complete_from) = match former {
                Some(former) if former.content == record.content => {
                    (Outcome::Kept, former.complete_from)
                }
                _ if carried => (Outcome::Carried, self.columns_from),
                Some(_) => (Outcome::Reset(ResetReason::Changed), at),
                None => (Outcome::New, at),
            };
            consumer.complete_from = complete_from;
            let mut decided = ConsumerReport::new(Kind::Window, &record.name, outcome);
            decided.complete_from = Some(complete_from);
            report.consumers.push(decided);
        }
    }

    /// Decides about every rule, reads the state of those that go on, and reports the incidents of others.
    fn decide_rules(
        &self,
        stored: &Stored<'_>,
        cut: Pane,
        at: EventTime,
        policy: OnChange,
        report: &mut RestoreReport,
    ) -> Result<Vec<GoesOn>, StateError> {
        let mut open = stored.open()?;
        let mut going_on = Vec::new();
        let records = self.records();
        let records = records.iter().filter(|record| record.kind == Kind::Rule);
        for (rule, (record, spec)) in records.zip(&self.spec.rules).enumerate() {
            let outcome = match former(stored, record) {
                None => Outcome::New,
                Some(former) if former.content == record.content => Outcome::Kept,
                Some(_) if policy == OnChange::Reset => Outcome::Reset(ResetReason::Changed),
                Some(former) if former.shape == record.shape => Outcome::Carried,
                Some(_) => Outcome::Reset(ResetReason::Unfit),
            };
            report.consumers.push(ConsumerReport::new(Kind::Rule, &record.name, outcome));
            if !matches!(outcome, Outcome::Kept | Outcome::Carried) {
                continue;
            }
            let look = outcome == Outcome::Carried;
            let rows = match &spec.detector {
                Detector::Sustained(_) => {
                    RuleRows::Sustained(self.read_rule(stored, &record.name, cut, look)?)
                }
                Detector::Burst(_) => {
                    RuleRows::Burst(self.read_rule(stored, &record.name, cut, look)?)
                }
                Detector::Anomaly(_) => {
                    RuleRows::Anomaly(self.read_rule(stored, &record.name, cut, look)?)
                }
            };
            let (mut openings, mut others) = (Vec::new(), Vec::new());
            for record in open {
                let is_mine = stored.rule_name(record.rule)? == spec.name.as_ref();
                if is_mine { openings.push(record) } else { others.push(record) }
            }
            open = others;
            going_on.push(GoesOn { rule, rows, openings });
        }
        for record in open {
            report.orphans.push(orphan(stored, &record, at)?);
        }
        report.orphans.sort();
        Ok(going_on)
    }

    fn read_rule<S: GroupState>(
        &self,
        stored: &Stored<'_>,
        name: &str,
        cut: Pane,
        look: bool,
    ) -> Result<Vec<Rows<S>>, StateError> {
        let mut shares = stored.rule(name, |state: &S| state.is_sound(self.spec.pane, cut))?;
        if look {
            shares.iter_mut().flatten().for_each(|(_, state)| state.look_at(cut));
        }
        Ok(shares)
    }

    /// Sets a rule going; fails with the name of its piece when openings and episodes differ.
    fn take_over(&mut self, goes_on: GoesOn, cut: Pane, numbers: &Numbers) -> Result<(), String> {
        let GoesOn { rule, rows, openings } = goes_on;
        let (Some(spec), Some(machine)) = (self.spec.rules.get(rule), self.rules.get_mut(rule))
        else {
            return Ok(());
        };
        let size = self.spec.pane;
        let contradiction = || names::rule(&spec.name);
        for OpenRecord { share, group, opening, .. } in openings {
            let group = numbers.of(share, group).ok_or_else(contradiction)?;
            machine.open.insert(group, opening);
        }
        let open = &machine.open;
        let is_told = match (&mut machine.watcher, rows) {
            (Watcher::Sustained(_, watcher), RuleRows::Sustained(shares)) => {
                let groups = numbers.merge(shares);
                let is_told = agree(&groups, open, |state| state.open_since(size));
                let state = SustainedState { groups, late: 0 };
                *watcher =
                    Sustained::restore(*watcher.config(), state).map_err(|_| contradiction())?;
                is_told
            }
            (Watcher::Burst(watcher), RuleRows::Burst(shares)) => {
                let groups = numbers.merge(shares);
                let is_told = agree(&groups, open, |state| state.open_since(size));
                let last = cut.0.checked_sub(1).map(Pane);
                let state = BurstState { last, groups, late: 0 };
                *watcher = Burst::restore(*watcher.config(), state).map_err(|_| contradiction())?;
                is_told
            }
            (Watcher::Anomaly(watcher), RuleRows::Anomaly(shares)) => {
                let groups = numbers.merge(shares);
                let is_told = agree(&groups, open, |state| state.open_since(size));
                let state = AnomalyState { groups, late: 0 };
                *watcher =
                    Anomaly::restore(*watcher.config(), state).map_err(|_| contradiction())?;
                is_told
            }
            _ => false,
        };
        if is_told { Ok(()) } else { Err(contradiction()) }
    }
}

/// The consumer of the state with the name of `record`.
fn former<'a>(stored: &'a Stored<'_>, record: &ConsumerRecord) -> Option<&'a ConsumerRecord> {
    stored.consumers.iter().find(|c| (c.kind, &c.name) == (record.kind, &record.name))
}

/// Reports what only the state knows.
fn report_dropped(stored: &Stored<'_>, records: &[ConsumerRecord], report: &mut RestoreReport) {
    let is_known = |c: &ConsumerRecord| {
        records.iter().any(|record| (c.kind, &c.name) == (record.kind, &record.name))
    };
    let dropped = stored.consumers.iter().filter(|consumer| !is_known(consumer));
    let dropped = dropped.map(|c| ConsumerReport::new(c.kind, &c.name, Outcome::Dropped));
    report.consumers.extend(dropped);
}

/// Whether the groups with an open episode are those with an opening, of the same episode.
fn agree<S>(
    groups: &Rows<S>,
    open: &BTreeMap<GroupId, Opening>,
    open_since: impl Fn(&S) -> Option<EventTime>,
) -> bool {
    let episodes = groups.iter().filter_map(|(group, state)| Some((*group, open_since(state)?)));
    episodes.eq(open.iter().map(|(group, opening)| (*group, opening.started_at)))
}
