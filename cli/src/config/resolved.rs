//! What a running pipeline uses: checked, with every default filled in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidewatch_connectors::codec::{LogLabels, SourceFormat};
use tidewatch_connectors::kafka::{KafkaConfig, OnRecreated, OnRetention};
use tidewatch_connectors::sinks::ReceiverConfig;
use tidewatch_connectors::state::Location;
use tidewatch_dataflow::config::Secret;
use tidewatch_dataflow::record::{LOG_MEASUREMENT, Topics};
use tidewatch_dataflow::time::PaneSize;
use tidewatch_operators::feed::{Detector, FeedSpec, OnChange, RuleSpec, Selector, StatisticSpec};

use super::file::{SinksSection, Start};
use super::inventory::Inventory;
use super::problem::Problem;

/// A pipeline file, checked and resolved.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// How to reach the brokers.
    pub kafka: KafkaConfig,
    /// The topics to read, sorted by name; at least one.
    pub sources: Vec<Source>,
    /// How event time advances.
    pub time: TimeConfig,
    /// Statistics, in the order of the file.
    pub statistics: Vec<Statistic>,
    /// Rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// Receivers by name.
    pub receivers: BTreeMap<String, ReceiverConfig>,
    /// Where metrics and logs go. Paths are resolved.
    pub sinks: SinksSection,
    /// The topic for what cannot be processed. Without one, dead letters are counted and logged.
    pub dead_letters: Option<String>,
    /// Where the inventory is.
    pub inventory_file: Option<PathBuf>,
    /// What is known about groups; empty until the file is loaded, which [`super::load`] does.
    pub inventory: Inventory,
    /// What is kept of the state, where, and how often.
    pub checkpoint: CheckpointConfig,
    /// Where page, API and metrics are served.
    pub listen: SocketAddr,
    /// At most this many series are known to a worker.
    pub series_max: usize,
    /// Every secret that the file names.
    pub secrets: Vec<Secret>,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
}

/// What is kept of the state; see [`super::file::CheckpointSection`] for what each means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// Whether state is kept at all.
    pub enabled: bool,
    /// Where it is kept. Resolved: `store.open(runtime)` opens it.
    pub store: Location,
    /// Whose state it is.
    pub pipeline: String,
    /// How often a checkpoint is written; at least a second.
    pub interval: Duration,
    /// How many checkpoints are kept; from 1 to 1,000.
    pub keep: usize,
    /// What becomes of the state of what has changed.
    pub on_change: OnChange,
}

/// A topic that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the topic.
    pub topic: String,
    /// How its records are decoded, each log line under all of its labels; see [`PipelineConfig::formats`].
    pub format: SourceFormat,
    /// Partitions to create the topic with.
    pub partitions: u32,
    /// Copies of each partition to create the topic with.
    pub replication: u16,
    /// How long the brokers are to keep records.
    pub retention: Duration,
}

/// How event time advances; see [`super::file::TimeSection`] for what each means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeConfig {
    /// How far behind the newest record a record is still on time.
    pub out_of_orderness: Duration,
    /// How long past its end a window accepts corrections, where a statistic does not say otherwise.
    /// Already in the windows of [`PipelineConfig::statistics`].
    pub allowed_lateness: Duration,
    /// After this silence a partition no longer holds time back.
    pub idle_timeout: Duration,
    /// Records further ahead of the clock than this are refused.
    pub future_tolerance: Duration,
    /// Where to begin without a checkpoint.
    pub start: Start,
    /// What to do when records between the checkpoint and now are gone.
    pub on_retention: OnRetention,
    /// What to do when a topic was made anew.
    pub on_recreated: OnRecreated,
    /// Episodes that were over longer ago than this are summarised.
    pub stale_after: Duration,
    /// How far a partition may lead what is applied; at least two of the longest panes.
    pub max_lead: Duration,
}

/// A statistic and the feed it needs.
#[derive(Clone, Debug)]
pub struct Statistic {
    /// Which samples.
    pub selector: Selector,
    /// The panes they are cut into.
    pub pane: PaneSize,
    /// What is computed of them.
    pub spec: StatisticSpec,
}

/// A rule and the feed it needs.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which samples.
    pub selector: Selector,
    /// The panes they are cut into.
    pub pane: PaneSize,
    /// What is looked for.
    pub spec: RuleSpec,
    /// Names of the receivers that are told: keys of [`PipelineConfig::receivers`].
    pub receivers: Vec<String>,
}

impl PipelineConfig {
    /// The greatest common divisor of all panes: capabilities are floored to it. At least one second.
    pub fn tick(&self) -> PaneSize {
        PaneSize::tick(self.panes())
    }

    /// The feeds of the pipeline: statistics and rules over the same samples in the same panes share one.
    pub fn feeds(&self) -> Vec<FeedSpec> {
        let statistics = self.statistics.iter();
        let rules = self.rules.iter();
        FeedSpec::shared(
            statistics.map(|s| (s.selector.clone(), s.pane, s.spec.clone())),
            rules.map(|r| (r.selector.clone(), r.pane, r.spec.clone())),
        )
    }

    /// The panes of all statistics and rules.
    pub fn panes(&self) -> impl Iterator<Item = PaneSize> {
        let statistics = self.statistics.iter().map(|statistic| statistic.pane);
        statistics.chain(self.rules.iter().map(|rule| rule.pane))
    }

    /// The longest window of any statistic, or condition of any rule: how far before the end of the log a
    /// first start begins, so that its first windows and conditions are whole.
    pub fn longest_window(&self) -> Duration {
        let windows = self.statistics.iter().flat_map(|statistic| &statistic.spec.windows);
        let windows = windows.map(|window| window.size);
        let conditions = self.rules.iter().map(|rule| match &rule.spec.detector {
            Detector::Sustained(config) => config.for_,
            Detector::Burst(config) => config.window,
            Detector::Anomaly(config) => config.for_,
        });
        windows.chain(conditions).max().unwrap_or_default()
    }

    /// How the records of each source are decoded, log lines under the labels that are asked for.
    pub fn formats(&self) -> Vec<SourceFormat> {
        let log_labels = self.log_labels();
        let formats = self.sources.iter().map(|source| source.format.clone());
        formats.map(|format| SourceFormat { log_labels, ..format }).collect()
    }

    /// The labels of log lines that a statistic or a rule asks for, to select or to group by. Nothing else sees the
    /// series of a line: raw points are those of metrics only, inventory, silences and quarantines are about groups,
    /// and checkpoints have groups and no series, so the next run may ask for other labels.
    fn log_labels(&self) -> LogLabels {
        let mut asked = LogLabels::NONE;
        let statistics = self.statistics.iter().map(|statistic| &statistic.selector);
        let selectors = statistics.chain(self.rules.iter().map(|rule| &rule.selector));
        for selector in selectors.filter(|selector| *selector.measurement == *LOG_MEASUREMENT) {
            selector.filters.iter().for_each(|(name, _)| asked.add(name));
            selector.group_by.iter().for_each(|name| asked.add(name));
        }
        asked
    }

    /// The topics that are read; [`tidewatch_dataflow::record::PartitionId`] counts in them.
    pub fn topics(&self) -> Topics {
        Topics::new(self.sources.iter().map(|source| &source.topic))
    }
}
