//! The configuration of the Prometheus sink.

use std::num::NonZeroUsize;

use serde::Deserialize;
use tidewatch_dataflow::config::{ByteSize, Secret};

use super::PrometheusWriter;
use crate::delivery::{DeliveryConfig, OnFull, default_spill};
use crate::http;
use crate::sinks::OpenError;
use crate::sinks::store::{batch_items, check_credentials, queue_items};

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
        let url = http::parse_url("url", &self.url)?;
        if url.path() == "/" {
            let reason =
                "the path is missing: write http://host:9090/api/v1/write, for Prometheus".into();
            return Err(OpenError::Invalid { field: "url", reason });
        }
        let token = self.token.as_ref();
        let token = token.map(|_| ("token", "give either a token or user and password"));
        check_credentials(self.username.as_deref(), self.password.as_ref(), token)
    }

    /// How to queue, batch and retry.
    pub fn delivery(&self) -> DeliveryConfig {
        let (queue_items, batch_items) = (self.queue_items.get(), self.batch_items.get());
        DeliveryConfig::store(queue_items, self.spill, batch_items, self.on_full)
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
