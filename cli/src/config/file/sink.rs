//! `[sinks]`: where metrics and logs are written.

use serde::Deserialize;
use tidewatch_connectors::sinks::elasticsearch::ElasticsearchConfig;
use tidewatch_connectors::sinks::influxdb::{Influx1Config, InfluxConfig};
use tidewatch_connectors::sinks::prometheus::PrometheusConfig;
use tidewatch_connectors::sinks::sqlite::SqliteConfig;

/// The stores. Each has its own queue and its own retries: one that is down holds up no other until its
/// queue is full, and then as its `on_full` says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinksSection {
    /// `[sinks.influxdb]`: metrics to InfluxDB 2. Default: none.
    pub influxdb: Option<InfluxConfig>,
    /// `[sinks.influxdb1]`: metrics to InfluxDB 1 or VictoriaMetrics. Default: none.
    pub influxdb1: Option<Influx1Config>,
    /// `[sinks.prometheus]`: metrics by remote write. Default: none.
    pub prometheus: Option<PrometheusConfig>,
    /// `[sinks.elasticsearch]`: log lines to Elasticsearch or OpenSearch. Default: none.
    pub elasticsearch: Option<ElasticsearchConfig>,
    /// `[sinks.sqlite]`: both to a file. Default: none.
    pub sqlite: Option<SqliteConfig>,
}
