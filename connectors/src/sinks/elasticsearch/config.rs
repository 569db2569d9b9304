//! The configuration of the Elasticsearch sink.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use tidewatch_dataflow::config::{ByteSize, HumanDuration, Secret};
use tidewatch_dataflow::record::Topics;

use super::document::Naming;
use super::template::Purpose;
use super::{ElasticsearchAlerts, ElasticsearchWriter};
use crate::delivery::{DeliveryConfig, OnFull, default_spill};
use crate::http;
use crate::sinks::OpenError;
use crate::sinks::store::{batch_items, check_credentials, queue_items};

/// `[sinks.elasticsearch]`: writes log lines to daily indexes of Elasticsearch 8 or OpenSearch 2.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElasticsearchConfig {
    /// Address of the cluster: `http://127.0.0.1:9200`.
    pub url: String,
    /// Beginning of the indexes' names: a line goes to `<index>-YYYY.MM.DD`, by its own day in UTC.
    /// Lower case. Default: `tidewatch-logs`.
    #[serde(default = "index")]
    pub index: String,
    /// Beginning of the names of the indexes for alerts: the opening and the end of an incident go to
    /// `<alerts>-YYYY.MM.DD`, one document each. Default: `tidewatch-alerts`.
    #[serde(default = "alerts")]
    pub alerts: String,
    /// An index of log lines is deleted once its day has been over for this long; `0s` keeps all. Default: a week.
    #[serde(default = "retention")]
    pub retention: HumanDuration,
    /// The same for the indexes of alerts. Default: that of `retention`.
    pub alerts_retention: Option<HumanDuration>,
    /// User name; with `password`.
    pub username: Option<String>,
    /// The user's password: `{ env = "ELASTICSEARCH_PASSWORD" }`.
    pub password: Option<Secret>,
    /// An encoded API key, instead of user and password.
    pub api_key: Option<Secret>,
    /// What happens when the queue and the spill are full: `stall` (default) or `shed`.
    #[serde(default)]
    pub on_full: OnFull,
    /// The queue is full from this many lines on. Default: 100,000.
    #[serde(default = "queue_items")]
    pub queue_items: NonZeroUsize,
    /// Bytes behind the queue, in the state store of `[checkpoint]`, for what finds it full. Default: 1 GiB.
    #[serde(default = "default_spill")]
    pub spill: ByteSize,
    /// Lines in a request, at most. Default: 5,000.
    #[serde(default = "batch_items")]
    pub batch_items: NonZeroUsize,
}

impl ElasticsearchConfig {
    /// Checks what can be checked without secrets and without the cluster.
    ///
    /// # Errors
    /// [`OpenError::Invalid`] naming the field.
    pub fn validate(&self) -> Result<(), OpenError> {
        let invalid =
            |field, reason: &str| Err(OpenError::Invalid { field, reason: reason.into() });
        http::parse_url("url", &self.url)?;
        for (field, name) in [("index", &self.index), ("alerts", &self.alerts)] {
            if !is_index_name(name) {
                return invalid(
                    field,
                    "write lower-case letters, digits, `-`, `_` and `.`, beginning with a letter or digit, at most 200 characters",
                );
            }
        }
        if self.alerts == self.index {
            return invalid(
                "alerts",
                "it is the same as `index`: alerts have indexes of their own",
            );
        }
        let api_key = self.api_key.as_ref();
        let api_key = api_key.map(|_| ("api_key", "give either a key or user and password"));
        check_credentials(self.username.as_deref(), self.password.as_ref(), api_key)
    }

    /// How to queue, batch and retry.
    pub fn delivery(&self) -> DeliveryConfig {
        let (queue_items, batch_items) = (self.queue_items.get(), self.batch_items.get());
        DeliveryConfig::store(queue_items, self.spill, batch_items, self.on_full)
    }

    /// Fetches the secrets and makes the writer. Reaches no cluster.
    ///
    /// `topics` names the topics that lines come from, for the identities of their documents.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration is wrong or a secret is not there.
    pub fn open(&self, topics: Topics) -> Result<ElasticsearchWriter, OpenError> {
        self.validate()?;
        ElasticsearchWriter::new(self, Purpose::Logs, Naming { index: self.index.clone(), topics })
    }

    /// Fetches the secrets and makes the writer of alerts. Reaches no cluster.
    ///
    /// # Errors
    /// [`OpenError`] when the configuration is wrong or a secret is not there.
    pub fn open_alerts(&self) -> Result<ElasticsearchAlerts, OpenError> {
        self.validate()?;
        let naming = Naming { index: self.alerts.clone(), topics: Topics::default() };
        Ok(ElasticsearchAlerts::new(ElasticsearchWriter::new(self, Purpose::Alerts, naming)?))
    }
}

/// Whether `text` with a day behind it is an index name on every supported server.
fn is_index_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let first = text.bytes().next();
    first.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && text.len() <= 200
        && text.bytes().all(allowed)
}

fn index() -> String {
    "tidewatch-logs".to_owned()
}

fn alerts() -> String {
    "tidewatch-alerts".to_owned()
}

fn retention() -> HumanDuration {
    Duration::from_secs(7 * 86_400).into()
}
