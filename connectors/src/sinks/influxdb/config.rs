//! The configuration of the InfluxDB sink.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use tidewatch_dataflow::config::{ByteSize, HumanDuration, Secret};
use tidewatch_dataflow::metric::MetricPoint;

use super::InfluxWriter;
use crate::delivery::{DeliveryConfig, OnFull, default_spill};
use crate::http;
use crate::sinks::OpenError;
use crate::sinks::store::{batch_items, queue_items};

/// `[sinks.influxdb]`: writes metric points to a bucket of InfluxDB 2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfluxConfig {
    /// Address of the server: `http://127.0.0.1:8086`.
    pub url: String,
    /// Name of the organisation.
    pub org: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Token that may write to the bucket: `{ env = "INFLUX_TOKEN" }`.
    pub token: Secret,
    /// The bucket is made before the first write unless it is there, and keeps points this long, at least an hour;
    /// `0s` keeps all. Default: none, the bucket has to be there.
    pub retention: Option<HumanDuration>,
    /// A second bucket, of the same organisation, for what is kept long. Default: none.
    pub long_term: Option<LongTerm>,
    /// A bucket, of the same organisation, for points as they were read. Default: none.
    pub raw: Option<Raw>,
    /// What happens when the queue and the spill are full: `stall` (default) or `shed`.
    #[serde(default)]
    pub on_full: OnFull,
    /// The queue is full from this many points on. Default: 100,000.
    #[serde(default = "queue_items")]
    pub queue_items: NonZeroUsize,
    /// Bytes behind the queue, in the state store of `[checkpoint]`, for what finds it full. Default: 1 GiB.
    #[serde(default = "default_spill")]
    pub spill: ByteSize,
    /// Points in a request, at most. Default: 5,000.
    #[serde(default = "batch_items")]
    pub batch_items: NonZeroUsize,
}

/// `[sinks.influxdb.long_term]`: a bucket for points of long windows only, which are few. The first bucket has them too.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongTerm {
    /// Name of the bucket.
    pub bucket: String,
    /// As `retention` of `[sinks.influxdb]`.
    pub retention: Option<HumanDuration>,
    /// Points of windows at least this long are written there. Default: an hour.
    #[serde(default = "least_window")]
    pub least_window: HumanDuration,
}

impl LongTerm {
    /// Whether `point` is of a window that is long enough.
    pub fn takes(&self, point: &MetricPoint) -> bool {
        // `1h`, or `1h/1m` when it slides.
        let size = point.labels.get("window").and_then(|window| window.split('/').next());
        let size = size.and_then(|size| size.parse::<HumanDuration>().ok());
        size.is_some_and(|size| size.get() >= self.least_window.get())
    }
}

/// `[sinks.influxdb.raw]`: a bucket for points as they were read: all their fields, at the times and with the labels that
/// they came with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Name of the bucket.
    pub bucket: String,
    /// As `retention` of `[sinks.influxdb]`.
    pub retention: Option<HumanDuration>,
    /// Points of these measurements; of all, when it is empty. Default: all.
    #[serde(default)]
    pub measurements: Vec<String>,
}

fn least_window() -> HumanDuration {
    Duration::from_secs(3_600).into()
}

/// InfluxDB refuses a shorter retention than an hour.
pub(super) fn check_retention(
    field: &'static str,
    retention: Option<HumanDuration>,
) -> Result<(), OpenError> {
    let seconds = retention.map_or(0, |retention| retention.get().as_secs());
    if (1..3_600).contains(&seconds) {
        let reason = "InfluxDB keeps at least an hour: write \"1h\" or more".into();
        return Err(OpenError::Invalid { field, reason });
    }
    Ok(())
}

impl InfluxConfig {
    /// Checks what can be checked without the token and without the server.
    ///
    /// # Errors
    /// [`OpenError::Invalid`] naming the field.
    pub fn validate(&self) -> Result<(), OpenError> {
        http::parse_url("url", &self.url)?;
        for (field, value) in [("org", &self.org), ("bucket", &self.bucket)] {
            if value.is_empty() {
                return Err(OpenError::Invalid { field, reason: "it is empty".into() });
            }
        }
        check_retention("retention", self.retention)?;
        let long_term = self.long_term.as_ref().map(|l| ("long_term", &l.bucket, l.retention));
        let raw = self.raw.as_ref().map(|raw| ("raw", &raw.bucket, raw.retention));
        let mut taken = vec![&self.bucket];
        for (field, bucket, retention) in long_term.into_iter().chain(raw) {
            if bucket.is_empty() || taken.contains(&bucket) {
                let reason = "it needs a `bucket` of its own".into();
                return Err(OpenError::Invalid { field, reason });
            }
            taken.push(bucket);
            check_retention(field, retention)?;
        }
        Ok(())
    }

    /// The configuration of the bucket for what is kept long, where there is one.
    pub fn long_term(&self) -> Option<InfluxConfig> {
        let LongTerm { bucket, retention, .. } = self.long_term.clone()?;
        Some(self.beside(bucket, retention))
    }

    /// The configuration of the bucket for points as they were read, where there is one.
    pub fn raw(&self) -> Option<InfluxConfig> {
        let Raw { bucket, retention, .. } = self.raw.clone()?;
        Some(self.beside(bucket, retention))
    }

    /// The same with another bucket.
    fn beside(&self, bucket: String, retention: Option<HumanDuration>) -> InfluxConfig {
        InfluxConfig { bucket, retention, long_term: None, raw: None, ..self.clone() }
    }

    /// How to queue, batch and retry.
    pub fn delivery(&self) -> DeliveryConfig {
        let (queue_items, batch_items) = (self.queue_items.get(), self.batch_items.get());
        DeliveryConfig::store(queue_items, self.spill, batch_items, self.on_full)
    }

    /// Fetches the token and makes the writer. Reaches no server.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration is wrong or the token is not there.
    pub fn open(&self) -> Result<InfluxWriter, OpenError> {
        self.validate()?;
        InfluxWriter::new(self, self.token.reveal()?)
    }
}
