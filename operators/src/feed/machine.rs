//! The machine behind a feed: all its windows and detectors, on the worker that owns the groups.

use std::num::NonZeroU32;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::operator::{Entry, GroupId, Inbox, PaneMachine};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::index::LabelsIndex;
use super::points::Blocks;
use super::quarantine::{self, Quarantine, WINDOWS};
use super::rule::{Rule, project};
use super::statistic::WindowConsumer;
use super::{Fault, FeedMessage, FeedPartial, FeedSpec, OperatorId};
use crate::aggregate::Moments;
use crate::detect::anomaly::AnomalyError;
use crate::detect::burst::BurstError;
use crate::detect::sustained::SustainedError;
use crate::evaluation::{self, Evaluation};
use crate::window::{WindowError, WindowSet};

/// What a feed puts out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FeedOutput {
    /// Windows fired: points of one pane, in order, 1,024 at most and none without any.
    Points(Vec<MetricPoint>),
    /// An incident opened or ended.
    Transition(Transition),
}

/// Why a feed cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FeedError {
    /// A window does not fit.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// A sustained rule makes no sense.
    #[error(transparent)]
    Sustained(#[from] SustainedError),
    /// A burst rule makes no sense.
    #[error(transparent)]
    Burst(#[from] BurstError),
    /// An anomaly rule makes no sense.
    #[error(transparent)]
    Anomaly(#[from] AnomalyError),
}

/// Drives every consumer of one feed. All windows share one tree of partial aggregates.
pub struct FeedMachine {
    pub(super) spec: Arc<FeedSpec>,
    pub(super) windows: WindowSet<Moments>,
    /// One for each window, in the same order.
    pub(super) consumers: Vec<WindowConsumer>,
    /// Every sample of this time or later is in the windows' panes, as far as any window needs it.
    pub(super) columns_from: EventTime,
    /// One for each rule of the specification, in the same order.
    pub(super) rules: Vec<Rule>,
    /// Labels by number. Shared with [`evaluation`](crate::evaluation) while a pane is applied.
    pub(super) groups: Arc<Vec<Labels>>,
    pub(super) by_labels: LabelsIndex,
    /// For each sender the numbers of its slots.
    by_slot: FxHashMap<u32, Vec<Option<NonZeroU32>>>,
    /// Windows, then rules.
    pub(super) operators: Arc<[OperatorId]>,
    pub(super) quarantine: Quarantine,
    /// Points of the last pane that had any: most have as many as the one before.
    room: usize,
    fault: Option<Fault>,
}

impl FeedMachine {
    /// The machine of `spec`, with no groups yet. Windows that begin before `complete_from` are computed and
    /// not put out: a reader that started inside them has seen a part of their samples only, and their
    /// points would overwrite the whole ones of an earlier run.
    ///
    /// # Errors
    /// [`FeedError`] when a window or detector makes no sense over the feed's panes.
    pub fn try_new(spec: Arc<FeedSpec>, complete_from: EventTime) -> Result<Self, FeedError> {
        let (mut plans, mut consumers) = (Vec::new(), Vec::new());
        for statistic in &spec.statistics {
            for config in &statistic.windows {
                plans.push(config.plan(spec.pane)?);
                consumers.push(WindowConsumer::new(statistic, config, complete_from));
            }
        }
        let mut conditions = 0..;
        let rules = spec.rules.iter().map(|rule| Rule::try_new(rule, &mut conditions));
        let rules = rules.collect::<Result<_, _>>()?;
        Ok(FeedMachine {
            operators: spec.operators().into(),
            quarantine: Quarantine::default(),
            room: 0,
            fault: None,
            spec,
            windows: WindowSet::new(plans),
            consumers,
            columns_from: complete_from,
            rules,
            groups: Arc::default(),
            by_labels: LabelsIndex::default(),
            by_slot: FxHashMap::default(),
        })
    }

    /// Takes in a message of any sender.
    pub fn receive(&mut self, message: FeedMessage, inbox: &mut Inbox<FeedPartial>) {
        match message {
            FeedMessage::Group { sender, slot, labels, .. } => {
                // Nobody else has them between two panes.
                let groups = Arc::make_mut(&mut self.groups);
                let (group, is_new) = self.by_labels.find_or_push(labels, groups);
                if is_new && let Some(labels) = groups.last() {
                    self.quarantine.number(labels, GroupId(group));
                }
                let slots = self.by_slot.entry(sender).or_default();
                if slots.len() <= slot as usize {
                    slots.resize(slot as usize + 1, None);
                }
                if let Some(entry) = slots.get_mut(slot as usize) {
                    // There are fewer groups than that.
                    *entry = NonZeroU32::new(group.saturating_add(1));
                }
            }
            FeedMessage::Partial {
                sender,
                slot,
                order,
                event_pane,
                admission_pane,
                partial,
                ..
            } => {
                // A sender announces every slot before its first use, on the same channel.
                let slots = self.by_slot.get(&sender);
                let group = slots.and_then(|slots| slots.get(slot as usize).copied()?);
                let Some(group) = group.map(|number| GroupId(number.get() - 1)) else { return };
                inbox.admit(admission_pane, Entry { group, event_pane, order, partial });
            }
        }
    }

    /// Panics at `fault`: for tests of what becomes of a panic.
    pub fn break_at(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// Panics if the operator with this index takes in the group of the fault.
    fn strike(&self, operator: usize, entries: &[Entry<FeedPartial>]) {
        let (Some(fault), Some(OperatorId { name, .. })) =
            (&self.fault, self.operators.get(operator))
        else {
            return;
        };
        let left_out = self.quarantine.of(operator);
        for entry in entries.iter().filter(|entry| !left_out.contains(&entry.group)) {
            let labels = self.groups.get(entry.group.0 as usize);
            if labels.is_some_and(|labels| fault.strikes(name, labels)) {
                evaluation::at(entry.group);
                fault.panic();
            }
        }
    }

    /// The openings of all incidents that are open, as they were told, in order. After a restore they are
    /// what the collection of active incidents begins with.
    pub fn open_openings(&self) -> Vec<Transition> {
        let mut openings = Vec::new();
        for (spec, rule) in self.spec.rules.iter().zip(&self.rules) {
            openings.extend(rule.open.iter().filter_map(|(group, opening)| {
                Some(opening.transition(&spec.name, self.groups.get(group.0 as usize)?))
            }));
        }
        openings.sort();
        openings
    }
}

impl PaneMachine for FeedMachine {
    type Partial = FeedPartial;
    type Output = FeedOutput;

    fn pane_size(&self) -> PaneSize {
        self.spec.pane
    }

    fn apply(
        &mut self,
        pane: Pane,
        entries: &mut Vec<Entry<FeedPartial>>,
        out: &mut Vec<FeedOutput>,
    ) {
        if !self.quarantine.is_empty() {
            self.look_at_quarantine(pane, entries, out);
        }
        let groups = Arc::clone(&self.groups);
        let evaluation = Evaluation::enter(&self.operators, &groups, self.spec.pane.start(pane));
        if !self.consumers.is_empty() {
            evaluation.operator(WINDOWS);
            self.strike(WINDOWS, entries);
            let left_out = self.quarantine.of(WINDOWS);
            let moments = project(entries, left_out, |e| Some(e.partial.moments));
            let (consumers, mut blocks) = (&mut self.consumers, Blocks::new(out, self.room));
            self.windows.apply(pane, moments, |window, firing| {
                if let Some(consumer) = consumers.get_mut(window) {
                    consumer.put(&groups, firing, blocks.block());
                }
            });
            match blocks.finish() {
                0 => {}
                points => self.room = points,
            }
        }
        let mut told = Vec::new();
        for index in 0..self.rules.len() {
            let operator = quarantine::rule(index);
            evaluation.operator(operator);
            self.strike(operator, entries);
            let left_out = self.quarantine.of(operator);
            if let (Some(spec), Some(rule)) =
                (self.spec.rules.get(index), self.rules.get_mut(index))
            {
                rule.apply((spec, &groups), pane, entries, left_out, &mut told);
            }
        }
        out.extend(told.into_iter().map(FeedOutput::Transition));
    }

    fn next_due(&self) -> Option<Pane> {
        let rules = self.rules.iter().filter_map(Rule::next_due);
        let ends = self.next_quarantine();
        self.windows.next_due().into_iter().chain(rules).chain(ends).min()
    }
}
