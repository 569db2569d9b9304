//! The machine behind a feed: all its windows and detectors, on the worker that owns the groups.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tidewatch_dataflow::alert::{IncidentId, Transition};
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::operator::{Entry, GroupId, Inbox, PaneMachine};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{EventTime, Pane, PaneSize};

use super::{Aggregate, Detector, FeedMessage, FeedPartial, FeedSpec};
use crate::aggregate::Moments;
use crate::detect::Episode;
use crate::detect::anomaly::{Anomaly, AnomalyError};
use crate::detect::burst::{Burst, BurstError};
use crate::detect::sustained::{Sustained, SustainedError};
use crate::window::{Firing, WindowConfig, WindowError, Windows};

/// What a feed puts out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FeedOutput {
    /// A window fired.
    Point(MetricPoint),
    /// An incident opened or ended.
    Transition(Transition),
}

/// One window of one statistic.
struct WindowConsumer {
    measurement: Arc<str>,
    /// `10s`, or `5m/10s` when it slides.
    label: String,
    aggregates: Vec<(Aggregate, Arc<str>)>,
    windows: Windows<Moments>,
    /// For each group the labels of its points, made at its first firing.
    labels: Vec<Option<Arc<Labels>>>,
}

enum RuleMachine {
    /// With the index of its condition among those of the feed.
    Sustained(usize, Sustained),
    Burst(Burst),
    Anomaly(Anomaly),
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

/// Drives every consumer of one feed.
pub struct FeedMachine {
    spec: Arc<FeedSpec>,
    complete_from: EventTime,
    windows: Vec<WindowConsumer>,
    rules: Vec<RuleMachine>,
    groups: Vec<Labels>,
    by_labels: FxHashMap<Labels, GroupId>,
    by_slot: FxHashMap<(u32, u32), GroupId>,
}

/// The name of a window in labels: its size, and its slide where that differs.
fn window_label(config: &WindowConfig) -> String {
    let size = HumanDuration::from(config.size);
    if config.slide == config.size {
        size.to_string()
    } else {
        format!("{size}/{}", HumanDuration::from(config.slide))
    }
}

impl FeedMachine {
    /// The machine of `spec`, with no groups yet. Windows that begin before `complete_from` are computed and
    /// not put out: a reader that started inside them has seen a part of their samples only, and their
    /// points would overwrite the whole ones of an earlier run.
    ///
    /// # Errors
    /// [`FeedError`] when a window or detector makes no sense over the feed's panes.
    pub fn try_new(spec: Arc<FeedSpec>, complete_from: EventTime) -> Result<Self, FeedError> {
        let mut windows = Vec::new();
        for statistic in &spec.statistics {
            for config in &statistic.windows {
                windows.push(WindowConsumer {
                    measurement: Arc::clone(&statistic.name),
                    label: window_label(config),
                    aggregates: statistic
                        .aggregates
                        .iter()
                        .map(|a| (*a, Arc::from(a.as_str())))
                        .collect(),
                    windows: Windows::new(config.plan(spec.pane)?),
                    labels: Vec::new(),
                });
            }
        }
        let mut conditions = 0..;
        let mut rules = Vec::new();
        for rule in &spec.rules {
            rules.push(match &rule.detector {
                Detector::Sustained(config) => RuleMachine::Sustained(
                    conditions.next().unwrap_or_default(),
                    Sustained::try_new(*config)?,
                ),
                Detector::Burst(config) => RuleMachine::Burst(Burst::try_new(*config)?),
                Detector::Anomaly(config) => RuleMachine::Anomaly(Anomaly::try_new(*config)?),
            });
        }
        Ok(FeedMachine {
            spec,
            complete_from,
            windows,
            rules,
            groups: Vec::new(),
            by_labels: FxHashMap::default(),
            by_slot: FxHashMap::default(),
        })
    }

    /// Takes in a message of any sender.
    pub fn receive(&mut self, message: FeedMessage, inbox: &mut Inbox<FeedPartial>) {
        match message {
            FeedMessage::Group { sender, slot, labels, .. } => {
                let next = GroupId(u32::try_from(self.groups.len()).unwrap_or(u32::MAX));
                let group = *self.by_labels.entry(labels).or_insert_with_key(|labels| {
                    self.groups.push(labels.clone());
                    next
                });
                self.by_slot.insert((sender, slot), group);
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
                let Some(group) = self.by_slot.get(&(sender, slot)).copied() else { return };
                inbox.admit(admission_pane, Entry { group, event_pane, order, partial });
            }
        }
    }
}

/// The entries of a pane with only the part that one consumer wants.
fn project<P>(
    entries: &[Entry<FeedPartial>],
    mut part: impl FnMut(&Entry<FeedPartial>) -> Option<P>,
) -> Vec<Entry<P>> {
    let projected = entries.iter().filter_map(|entry| {
        let partial = part(entry)?;
        let (group, event_pane, order) = (entry.group, entry.event_pane, entry.order);
        Some(Entry { group, event_pane, order, partial })
    });
    projected.collect()
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
        for consumer in &mut self.windows {
            let mut moments = project(entries, |e| Some(e.partial.moments));
            let mut firings = Vec::new();
            consumer.windows.apply(pane, &mut moments, &mut firings);
            firings.retain(|firing| firing.window.start >= self.complete_from);
            out.extend(firings.into_iter().filter_map(|f| consumer.point(&self.groups, f)));
        }
        for (rule, machine) in self.spec.rules.iter().zip(&mut self.rules) {
            let mut episodes = Vec::new();
            // A detector decides once: corrections are late for it.
            let on_time = |e: &&Entry<FeedPartial>| e.event_pane == pane;
            match machine {
                RuleMachine::Sustained(index, machine) => {
                    let part =
                        |e: &Entry<FeedPartial>| e.partial.conditions.get(*index).cloned()?;
                    machine.apply(pane, &mut project(entries, part), &mut episodes);
                }
                RuleMachine::Burst(machine) => {
                    let part = |e: &Entry<FeedPartial>| {
                        Some(e).filter(on_time).map(|e| e.partial.moments.count)
                    };
                    machine.apply(pane, &mut project(entries, part), &mut episodes);
                }
                RuleMachine::Anomaly(machine) => {
                    let part =
                        |e: &Entry<FeedPartial>| Some(e).filter(on_time).map(|e| e.partial.moments);
                    machine.apply(pane, &mut project(entries, part), &mut episodes);
                }
            }
            let transitions = episodes.into_iter().filter_map(|episode: Episode| {
                let group = self.groups.get(episode.group.0 as usize)?;
                Some(FeedOutput::Transition(Transition {
                    decided_at: episode.decided_at,
                    incident: IncidentId::new(&rule.name, group, episode.started_at),
                    sequence: episode.sequence,
                    kind: episode.kind,
                    rule: rule.name.clone(),
                    group: group.clone(),
                    severity: rule.severity,
                    started_at: episode.started_at,
                    at: episode.at,
                    value: episode.value,
                    summary: rule.summary.clone(),
                }))
            });
            out.extend(transitions);
        }
    }

    fn next_due(&self) -> Option<Pane> {
        let windows = self.windows.iter().filter_map(|c| c.windows.next_due());
        let rules = self.rules.iter().filter_map(|rule| match rule {
            RuleMachine::Sustained(_, machine) => machine.next_due(),
            RuleMachine::Burst(machine) => machine.next_due(),
            RuleMachine::Anomaly(machine) => machine.next_due(),
        });
        windows.chain(rules).min()
    }
}

impl WindowConsumer {
    fn point(&mut self, groups: &[Labels], firing: Firing<Moments>) -> Option<FeedOutput> {
        let at = firing.group.0 as usize;
        if self.labels.len() <= at {
            self.labels.resize(at + 1, None);
        }
        let entry = self.labels.get_mut(at)?;
        if entry.is_none() {
            let group = groups.get(at)?;
            let window = std::iter::once(("window", self.label.as_str()));
            *entry = Some(Arc::new(Labels::from_pairs(group.iter().chain(window))));
        }
        let labels = entry.clone()?;
        let value = firing.value;
        let fields: SmallVec<_> = self
            .aggregates
            .iter()
            .map(|(aggregate, name)| {
                let number = match aggregate {
                    Aggregate::Count => value.count as f64,
                    Aggregate::Sum => value.sum,
                    Aggregate::Mean => value.mean(),
                    Aggregate::Min => value.min,
                    Aggregate::Max => value.max,
                    Aggregate::Stddev => value.stddev(),
                };
                (Arc::clone(name), number)
            })
            .collect();
        let (measurement, time) = (Arc::clone(&self.measurement), firing.window.end);
        Some(FeedOutput::Point(MetricPoint { measurement, labels, time, fields }))
    }
}
