//! The configuration of the Prometheus sink.

use std::num::NonZeroUsize;

use serde::Deserialize;
use tidewatch_dataflow::config::{ByteSize, Secret};

use super::PrometheusWriter;
use crate::delivery::{
    DeliveryConfig, OnFull, default_batch_items, default_queue_items, default_spill,
};
use crate::http;
use crate::sinks::OpenError;

/// `[sinks.prometheus]`: writes metric points by remote write.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Where to write, with the path: `http://127.0.0.1:9090/api/v1/write`.
    pub url: String,
    /// User name; with `password`.
    pub username: Option<String>,
    /// The user's password: `{ env = "PROMETHEUS_PASSWORD" }`.
    pub password: Option<Secret>,
    /// A bearer token, instead of user and password.
    pub token: Option<Secret>,
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

impl PrometheusConfig {
    /// Checks what can be checked without secrets and without the server.
    ///
    /// # Errors
    /// [`OpenError::Invalid`] naming the field.
    pub fn validate(&self) -> Result<(), OpenError> {
        let invalid =
            |field, reason: &str| Err(OpenError::Invalid { field, reason: reason.into() });
        let url = http::parse_url("url", &self.url)?;
        if url.path() == "/" {
            let reason = "the path is missing: write http://host:9090/api/v1/write, for Prometheus";
            return invalid("url", reason);
        }
        match (&self.username, &self.password, &self.token) {
            (None, None, _) | (Some(_), Some(_), None) => Ok(()),
            (Some(_), None, None) => invalid("username", "`password` is missing beside it"),
            (None, Some(_), None) => invalid("password", "`username` is missing beside it"),
            (_, _, Some(_)) => invalid("token", "give either a token or user and password"),
        }
    }

    /// How to queue, batch and retry.
    pub fn delivery(&self) -> DeliveryConfig {
        DeliveryConfig {
            queue_items: self.queue_items.get(),
            spill: self.spill.bytes(),
            batch_items: self.batch_items.get(),
            on_full: self.on_full,
            ..DeliveryConfig::default()
        }
    }

    /// Fetches the secrets and makes the writer. Reaches no server.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration is wrong or a secret is not there.
    pub fn open(&self) -> Result<PrometheusWriter, OpenError> {
        self.validate()?;
        PrometheusWriter::new(self)
    }
}

fn queue_items() -> NonZeroUsize {
    NonZeroUsize::new(default_queue_items()).unwrap_or(NonZeroUsize::MIN)
}

fn batch_items() -> NonZeroUsize {
    NonZeroUsize::new(default_batch_items()).unwrap_or(NonZeroUsize::MIN)
}
