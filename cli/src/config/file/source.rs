//! `[[sources]]`: topics to read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tidewatch_connectors::codec::influx_line::Precision;
use tidewatch_connectors::codec::{Format, TimeFrom};
use tidewatch_dataflow::config::HumanDuration;

/// One topic: what is in it, and how it is made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    /// Name of the topic; unique among the sources.
    pub topic: String,
    /// What the records are: `auto`, `telegraf_json`, `influx_line`, `collectd_json`, `otlp`,
    /// `prometheus_remote_write`, `value`, `json_log`, `ecs_json`, `syslog`, `logfmt` or `text_log`. Default
    /// `auto`: each record by its own look, as far as the formats can be told apart.
    #[serde(default)]
    pub format: Format,
    /// For `value` records: the measurement they belong to. Default: the topic's name without a final
    /// `-usage`.
    pub measurement: Option<String>,
    /// For `value` records: the name of their number. Default `value`.
    pub field: Option<String>,
    /// For `value` records: the label that the record's key becomes. Default `host`.
    pub key_label: Option<String>,
    /// For `influx_line`: the unit of times, `ns`, `us`, `ms`, `s` or `auto`. Default `auto`: by the magnitude of
    /// the number.
    #[serde(default)]
    pub precision: Precision,
    /// For `syslog`, `logfmt` and `text_log`: how far from UTC times are that name no zone, as `"+02:00"`. Default
    /// `"Z"`: not at all.
    pub utc_offset: Option<String>,
    /// For `text_log`: a regular expression whose first group is the time. Default: the front of the line.
    pub time_pattern: Option<String>,
    /// For `text_log`: how the time is written, in the words of `strptime`. Default: as ISO 8601 or close to it.
    pub time_format: Option<String>,
    /// For `text_log`: a regular expression whose first group is the level. Default: the first word for one.
    pub level_pattern: Option<String>,
    /// For `otlp`: further attributes of resources that become labels. Default: none.
    #[serde(default)]
    pub resource_labels: Vec<String>,
    /// Parts of a record beside its value that become labels. Default: none.
    #[serde(default)]
    pub labels_from: LabelsFrom,
    /// Whose time counts: `value`, that in the value and Kafka's timestamp where there is none, or `record`, always
    /// Kafka's timestamp. Default `value`.
    #[serde(default)]
    pub time_from: TimeFrom,
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

/// `labels_from = { key = "host", headers = { "x-region" = "region" } }`: labels that records carry beside their
/// values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelsFrom {
    /// The label that the key becomes. Default: none.
    pub key: Option<String>,
    /// For each header that is wanted, the label that it becomes. Default: none.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
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
