//! The configuration of the InfluxDB 1 sink.

use std::num::NonZeroUsize;

use serde::Deserialize;
use tidewatch_dataflow::config::{ByteSize, HumanDuration, Secret};

use super::InfluxWriter;
use super::config::check_retention;
use crate::delivery::{DeliveryConfig, OnFull, default_spill};
use crate::http;
use crate::sinks::OpenError;
use crate::sinks::store::{batch_items, check_credentials, queue_items};

/// `[sinks.influxdb1]`: writes metric points to a database of InfluxDB 1, or of VictoriaMetrics, which takes the
/// same writes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Influx1Config {
    /// Address of the server: `http://127.0.0.1:8086`.
    pub url: String,
    /// Name of the database.
    pub database: String,
    /// Name of the retention policy to write to. Default: the database's own default.
    pub retention_policy: Option<String>,
    /// The database is made before the first write unless it is there, and keeps points this long, at least an
    /// hour; `0s` keeps all. Default: none, the database has to be there.
    pub retention: Option<HumanDuration>,
    /// User name; with `password`.
    pub username: Option<String>,
    /// The user's password: `{ env = "INFLUX_PASSWORD" }`.
    pub password: Option<Secret>,
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

impl Influx1Config {
    /// Checks what can be checked without the password and without the server.
    ///
    /// # Errors
    /// [`OpenError::Invalid`] naming the field.
    pub fn validate(&self) -> Result<(), OpenError> {
        http::parse_url("url", &self.url)?;
        let names = [
            ("database", Some(&self.database)),
            ("retention_policy", self.retention_policy.as_ref()),
        ];
        for (field, name) in names {
            if name.is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
                let reason = "it is empty, or holds a control character".into();
                return Err(OpenError::Invalid { field, reason });
            }
        }
        check_retention("retention", self.retention)?;
        check_credentials(self.username.as_deref(), self.password.as_ref(), None)
    }

    /// How to queue, batch and retry.
    pub fn delivery(&self) -> DeliveryConfig {
        let (queue_items, batch_items) = (self.queue_items.get(), self.batch_items.get());
        DeliveryConfig::store(queue_items, self.spill, batch_items, self.on_full)
    }

    /// Fetches the password and makes the writer. Reaches no server.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration is wrong or the password is not there.
    pub fn open(&self) -> Result<InfluxWriter, OpenError> {
        self.validate()?;
        InfluxWriter::of_database(self, self.password.as_ref().map(Secret::reveal).transpose()?)
    }
}
