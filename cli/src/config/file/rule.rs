//! `[[rules]]`: what is worth telling people.

use std::time::Duration;

use serde::Deserialize;
use tidewatch_dataflow::alert::Severity;
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::record::{LOG_FIELD, LOG_MEASUREMENT};
use tidewatch_operators::detect::anomaly::Direction;

use super::Filters;

/// The kinds of rules.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// A number stays beyond a threshold.
    Sustained,
    /// Many log lines of a kind in a short time.
    ErrorBurst,
    /// A number unlike its own past.
    Anomaly,
}

impl RuleKind {
    /// All kinds.
    pub const ALL: [RuleKind; 3] = [RuleKind::Sustained, RuleKind::ErrorBurst, RuleKind::Anomaly];

    /// The kind as the file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleKind::Sustained => "sustained",
            RuleKind::ErrorBurst => "error_burst",
            RuleKind::Anomaly => "anomaly",
        }
    }
}

/// What rules of every kind have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleCommon {
    /// Name of the rule; unique among the rules. Part of the identity of its incidents.
    pub name: String,
    /// The kind of rule.
    pub kind: RuleKind,
    /// Labels that make up the group that is judged and named in the alert. An empty list makes one group
    /// of everything.
    pub group_by: Vec<String>,
    /// How much its incidents matter: `info`, `warning` or `critical`. Default `warning`.
    #[serde(default)]
    pub severity: Severity,
    /// Names of the receivers that are told. Default: nobody; the page shows the incidents all the same.
    #[serde(default)]
    pub receivers: Vec<String>,
}

/// `kind = "sustained"`: a number stays above (or below) a threshold, without a break, for some time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SustainedSection {
    /// The measurement that is judged: `cpu`.
    pub measurement: String,
    /// The field that is judged: `usage_active`.
    pub field: String,
    /// Labels that must hold. Default: none.
    #[serde(default, rename = "where")]
    pub filters: Filters,
    /// The condition holds for samples greater than this. Either this or `below`.
    pub above: Option<f64>,
    /// The condition holds for samples less than this. Either this or `above`.
    pub below: Option<f64>,
    /// How long the condition must hold before the incident opens, from its first sample; whole seconds.
    #[serde(rename = "for")]
    pub dwell: HumanDuration,
    /// With `above`: the incident ends once samples stay at or below this. Default: `above`.
    pub clear_below: Option<f64>,
    /// With `below`: the incident ends once samples stay at or above this. Default: `below`.
    pub clear_above: Option<f64>,
    /// How long it must stay clear before the incident ends; whole seconds. Default: one pane, which is
    /// the longest of at most 10 s that divides `for`.
    pub clear_for: Option<HumanDuration>,
    /// A time without samples longer than this breaks the condition, and ends an open incident. Default
    /// 1 min: six missed samples of the usual interval.
    #[serde(default = "default_gap_tolerance")]
    pub gap_tolerance: HumanDuration,
}

/// `kind = "error_burst"`: more log lines of a kind than is normal within a short window.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorBurstSection {
    /// The measurement whose samples are counted. Default `log`: one sample for each log line.
    #[serde(default = "default_burst_measurement")]
    pub measurement: String,
    /// The field whose samples are counted. Default `lines`, the one field of `log`.
    #[serde(default = "default_burst_field")]
    pub field: String,
    /// Labels that must hold. Default `{ level = ["ERROR", "FATAL"] }` for `log`, else none.
    #[serde(rename = "where")]
    pub filters: Option<Filters>,
    /// How far back is counted; a whole multiple of `slide`. Default 60 s.
    #[serde(default = "default_burst_window")]
    pub window: HumanDuration,
    /// How often is counted; whole seconds. Default 10 s.
    #[serde(default = "default_burst_slide")]
    pub slide: HumanDuration,
    /// More than this many in the window are a burst. Should lie over the normal level of a group, since it
    /// alone decides about a group that is new.
    pub above: u64,
    /// And more than this many times the group's own mean over `baseline`. Default: not compared.
    pub factor: Option<f64>,
    /// How much of the past is averaged for `factor`; a whole multiple of `slide`.
    pub baseline: Option<HumanDuration>,
    /// How long the count must stay normal before the incident ends; a whole multiple of `slide`. Default:
    /// one window, so that the lines that opened it have left it.
    pub clear_for: Option<HumanDuration>,
}

/// `kind = "anomaly"`: a number far from the exponentially weighted mean of its own past.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnomalySection {
    /// The measurement that is judged: `mem`.
    pub measurement: String,
    /// The field that is judged: `used_percent`.
    pub field: String,
    /// Labels that must hold. Default: none.
    #[serde(default, rename = "where")]
    pub filters: Filters,
    /// Samples are averaged over panes of this length before they are judged; whole seconds. Default 10 s.
    #[serde(default = "default_anomaly_pane")]
    pub pane: HumanDuration,
    /// After this time the past weighs half. Default 10 min: follows the load of a day, not of a minute.
    #[serde(default = "default_half_life")]
    pub half_life: HumanDuration,
    /// How long a group is only learned and never judged. Default 10 min.
    #[serde(default = "default_warm_up")]
    pub warm_up: HumanDuration,
    /// How many deviations from the mean are an anomaly. Default 6: measured noise has heavier tails than
    /// the normal distribution.
    #[serde(default = "default_score")]
    pub score: f64,
    /// Differences less than this are never an anomaly, in the field's unit. Without a default, since only
    /// you know the unit.
    pub min_deviation: f64,
    /// Which side of the usual level is unusual: `up`, `down` or `both`. Default `both`.
    #[serde(default)]
    pub direction: Direction,
    /// How long it must last before the incident opens; whole panes, and well under `half_life`, after
    /// which a level counts as usual. Default 30 s.
    #[serde(default = "default_anomaly_for", rename = "for")]
    pub dwell: HumanDuration,
}

fn seconds(seconds: u64) -> HumanDuration {
    Duration::from_secs(seconds).into()
}

fn default_gap_tolerance() -> HumanDuration {
    seconds(60)
}

fn default_burst_measurement() -> String {
    LOG_MEASUREMENT.to_owned()
}

fn default_burst_field() -> String {
    LOG_FIELD.to_owned()
}

fn default_burst_window() -> HumanDuration {
    seconds(60)
}

fn default_burst_slide() -> HumanDuration {
    seconds(10)
}

fn default_anomaly_pane() -> HumanDuration {
    seconds(10)
}

fn default_half_life() -> HumanDuration {
    seconds(600)
}

fn default_warm_up() -> HumanDuration {
    seconds(600)
}

fn default_score() -> f64 {
    6.0
}

fn default_anomaly_for() -> HumanDuration {
    seconds(30)
}
