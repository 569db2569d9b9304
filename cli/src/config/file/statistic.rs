//! `[[statistics]]`: numbers over windows, written to the stores.

use serde::Deserialize;
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_operators::feed::Aggregate;

use super::Filters;

/// Numbers computed over windows of the samples of one field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticSection {
    /// Name of the measurement in the stores; unique among the statistics.
    pub name: String,
    /// The measurement that is read: `cpu`.
    pub measurement: String,
    /// The field that is read: `usage_active`.
    pub field: String,
    /// Labels that must hold, each a value or a list of values. Default: none.
    #[serde(default, rename = "where")]
    pub filters: Filters,
    /// Labels that make up the group: one line of numbers for each combination of their values. An empty
    /// list makes one group of everything. Never guessed, since either mistake looks plausible.
    pub group_by: Vec<String>,
    /// The windows; at least one.
    pub windows: Vec<WindowSection>,
    /// What to compute: `count`, `sum`, `mean`, `min`, `max`, `stddev`. Default: count, mean, min, max,
    /// which a chart needs and which cost nothing beside each other.
    #[serde(default = "default_aggregates")]
    pub aggregates: Vec<Aggregate>,
    /// How long past its end a window accepts corrections. Default: that of `[time]`.
    pub allowed_lateness: Option<HumanDuration>,
}

fn default_aggregates() -> Vec<Aggregate> {
    vec![Aggregate::Count, Aggregate::Mean, Aggregate::Min, Aggregate::Max]
}

/// How to cut event time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowSection {
    /// Length of a window, in whole seconds.
    pub size: HumanDuration,
    /// Distance from one window's start to the next, in whole seconds and at most `size`. Default:
    /// `size`, so that windows tile time.
    pub slide: Option<HumanDuration>,
}
