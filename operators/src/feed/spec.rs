//! What a feed selects, and what consumes it.

use std::sync::Arc;

use serde::Deserialize;
use tidewatch_dataflow::alert::Severity;
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::series::Series;
use tidewatch_dataflow::time::{Pane, PaneSize};

use super::state::samples_hash;
use crate::detect::anomaly::AnomalyConfig;
use crate::detect::burst::BurstConfig;
use crate::detect::sustained::SustainedConfig;
use crate::window::WindowConfig;

/// Which samples, and how they are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The measurement: `cpu`.
    pub measurement: Box<str>,
    /// The field: `usage_active`.
    pub field: Box<str>,
    /// Labels that must have one of the listed values.
    pub filters: Vec<(String, Vec<String>)>,
    /// Labels that make up the group; a series without one of them is not selected.
    pub group_by: Vec<String>,
}

impl Selector {
    /// The selector with everything whose order means nothing in order.
    fn canonical(mut self) -> Self {
        self.group_by.sort();
        self.filters.iter_mut().for_each(|(_, values)| values.sort());
        self.filters.sort();
        self
    }

    /// Whether the samples of `series` in the selector's field belong to it.
    pub fn matches(&self, series: &Series) -> bool {
        *series.measurement == *self.measurement
            && self.filters.iter().all(|(name, values)| {
                series.labels.get(name).is_some_and(|v| values.iter().any(|w| w == v))
            })
    }
}

/// A number computed for each window.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    /// How many samples.
    Count,
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The population standard deviation.
    Stddev,
}

impl Aggregate {
    /// The field name in the stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Aggregate::Count => "count",
            Aggregate::Sum => "sum",
            Aggregate::Mean => "mean",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Stddev => "stddev",
        }
    }
}

/// Windows over a feed that are written to the stores.
#[derive(Clone, Debug)]
pub struct StatisticSpec {
    /// Name of the measurement in the stores.
    pub name: Arc<str>,
    /// The windows.
    pub windows: Vec<WindowConfig>,
    /// What is written of each.
    pub aggregates: Vec<Aggregate>,
}

/// What a rule looks for.
#[derive(Clone, Debug)]
pub enum Detector {
    /// A condition that holds for long.
    Sustained(SustainedConfig),
    /// Too many samples in a window.
    Burst(BurstConfig),
    /// A value unlike the group's own past.
    Anomaly(AnomalyConfig),
}

/// A rule over a feed.
#[derive(Clone, Debug)]
pub struct RuleSpec {
    /// Its name, unique in the pipeline.
    pub name: Box<str>,
    /// Of its incidents.
    pub severity: Severity,
    /// What it says in one sentence: `usage_active above 90 for 5m`.
    pub summary: Box<str>,
    /// What it looks for.
    pub detector: Detector,
}

/// Samples cut into panes for statistics and rules alike.
#[derive(Clone, Debug)]
pub struct FeedSpec {
    /// Which samples.
    pub selector: Selector,
    /// The panes they are cut into.
    pub pane: PaneSize,
    /// Statistics over it.
    pub statistics: Vec<StatisticSpec>,
    /// Rules over it.
    pub rules: Vec<RuleSpec>,
}

impl FeedSpec {
    /// The feeds of these statistics and rules, each with its selector and pane: those with equal selector
    /// and pane share one, so that samples are cut and shipped once.
    pub fn shared(
        statistics: impl IntoIterator<Item = (Selector, PaneSize, StatisticSpec)>,
        rules: impl IntoIterator<Item = (Selector, PaneSize, RuleSpec)>,
    ) -> Vec<FeedSpec> {
        let mut feeds = Vec::new();
        for (selector, pane, statistic) in statistics {
            feed_of(&mut feeds, selector, pane).statistics.push(statistic);
        }
        for (selector, pane, rule) in rules {
            feed_of(&mut feeds, selector, pane).rules.push(rule);
        }
        feeds
    }

    /// The feed's name in state and logs: `cpu.usage_active/10s#` and a hash of selector and pane. The same in
    /// every run and build; no two feeds of [`FeedSpec::shared`] have the same.
    pub fn key(&self) -> String {
        let Selector { measurement, field, .. } = &self.selector;
        let pane = HumanDuration::from(self.pane.duration());
        format!("{measurement}.{field}/{pane}#{:016x}", samples_hash(self))
    }

    /// Whether a sample of `event_pane`, admitted in `admission_pane`, is too late for everything: no
    /// window that holds it still accepts corrections. Detectors never do.
    pub(super) fn is_too_late(&self, event_pane: Pane, admission_pane: Pane) -> bool {
        let mut windows = self.statistics.iter().flat_map(|s| &s.windows);
        !windows.any(|window| {
            let plan = window.plan(self.pane);
            plan.is_ok_and(|plan| !plan.is_too_late(event_pane, admission_pane))
        })
    }
}

/// The feed of `selector` and `pane`, made when it is not there.
fn feed_of(feeds: &mut Vec<FeedSpec>, selector: Selector, pane: PaneSize) -> &mut FeedSpec {
    let selector = selector.canonical();
    let known = feeds.iter().position(|f| f.selector == selector && f.pane == pane);
    let at = known.unwrap_or(feeds.len());
    if known.is_none() {
        feeds.push(FeedSpec { selector, pane, statistics: Vec::new(), rules: Vec::new() });
    }
    &mut feeds[at]
}
