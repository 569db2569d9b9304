//! `[[sources]]`: topics to read.

use std::time::Duration;

use serde::Deserialize;
use tidewatch_connectors::codec::Format;
use tidewatch_dataflow::config::HumanDuration;

/// One topic: what is in it, and how it is made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// Name of the topic; unique among the sources.
    pub topic: String,
    /// What the records are: `auto`, `telegraf_json`, `value`, `json_log` or `text_log`. Default `auto`:
    /// each record by its own look.
    #[serde(default)]
    pub format: Format,
    /// For `value` records: the measurement they belong to. Default: the topic's name without a final
    /// `-usage`.
    pub measurement: Option<String>,
    /// For `value` records: the name of their number. Default `value`.
    pub field: Option<String>,
    /// For `value` records: the label that the record's key becomes. Default `host`.
    pub key_label: Option<String>,
    /// Partitions that `tidewatch topics` creates the topic with. Default 12: divides evenly among 1, 2,
    /// 3, 4, 6 and 12 workers.
    #[serde(default = "default_partitions")]
    pub partitions: u32,
    /// Copies of each partition that `tidewatch topics` asks for. Default 3: one broker may fail while
    /// another is being restarted.
    #[serde(default = "default_replication")]
    pub replication: u16,
    /// How long the brokers keep records. Default 7 days.
    #[serde(default = "default_retention")]
    pub retention: HumanDuration,
}

fn default_partitions() -> u32 {
    12
}

fn default_replication() -> u16 {
    3
}

fn default_retention() -> HumanDuration {
    Duration::from_secs(7 * 86_400).into()
}
