//! What the client tells on its main queue: log lines, errors, and which brokers answer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use serde::Deserialize;

/// Receives what a client says; shared by the client's threads and the reader.
#[derive(Debug, Default)]
pub(super) struct Context {
    /// The newest statistics not yet taken.
    reach: Mutex<Option<Reach>>,
    /// The last error that a person must mend, not yet taken.
    refusal: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// How many events were received.
    events: AtomicU64,
    /// Whether all brokers were unreachable when last heard of, to say it once.
    down: AtomicBool,
}

impl Context {
    /// How many events were received so far.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The newest statistics, once.
    pub(super) fn take_reach(&self) -> Option<Reach> {
        self.reach.lock().ok()?.take()
    }

    /// The last refusal (authentication, TLS), once.
    pub(super) fn take_refusal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.refusal.lock().ok()?.take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.events.fetch_add(1, Ordering::Relaxed);
        log_line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.fetch_add(1, Ordering::Relaxed);
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        match code {
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::Fatal => {
                tracing::error!(%code, reason, "kafka refuses this client");
                if let Ok(mut refusal) = self.refusal.lock() {
                    *refusal = Some((code, reason.to_owned()));
                }
            }
            RDKafkaErrorCode::AllBrokersDown => {
                if !self.down.swap(true, Ordering::Relaxed) {
                    tracing::warn!(reason, "no kafka broker can be reached, trying again");
                }
            }
            _ => tracing::warn!(%code, reason, "kafka client error"),
        }
    }

    fn stats_raw(&self, json: &[u8]) {
        self.events.fetch_add(1, Ordering::Relaxed);
        match serde_json::from_slice::<Reach>(json) {
            Ok(reach) => {
                if reach.any_up() && self.down.swap(false, Ordering::Relaxed) {
                    tracing::info!("kafka brokers can be reached again");
                }
                if let Ok(mut latest) = self.reach.lock() {
                    *latest = Some(reach);
                }
            }
            Err(error) => tracing::warn!(%error, "kafka client statistics cannot be read"),
        }
    }
}

impl ConsumerContext for Context {}

/// Passes a log line of librdkafka on.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(facility, text, "librdkafka"),
        RDKafkaLogLevel::Warning => tracing::warn!(facility, text, "librdkafka"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(facility, text, "librdkafka");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(facility, text, "librdkafka"),
    }
}

/// The part of librdkafka's statistics that says which partitions are being served.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Reach {
    #[serde(default)]
    brokers: HashMap<String, Broker>,
    #[serde(default)]
    topics: HashMap<String, Topic>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    nodeid: i32,
    state: String,
    /// Microseconds since the last byte from it; negative when there was none.
    #[serde(default)]
    rxidle: i64,
}

#[derive(Debug, Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: HashMap<String, Partition>,
}

#[derive(Debug, Deserialize)]
struct Partition {
    /// The broker it is fetched from, -1 when there is none.
    broker: i32,
    /// The brokers do not know of it.
    #[serde(default)]
    unknown: bool,
}

impl Reach {
    fn any_up(&self) -> bool {
        self.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP")
    }

    fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(&partition.to_string())
    }

    /// Whether brokers can be reached and know nothing of the partition.
    pub(super) fn denies(&self, topic: &str, partition: i32) -> bool {
        self.any_up() && self.partition(topic, partition).is_some_and(|p| p.unknown)
    }

    /// Whether the broker of the partition is connected and was heard of within `idle_max_us`
    /// microseconds. A fetch at the end of the log is answered after `fetch.wait.max.ms`, so a broker
    /// that is well is heard of several times a second.
    pub(super) fn serves(&self, topic: &str, partition: i32, idle_max_us: i64) -> bool {
        self.partition(topic, partition).is_some_and(|p| {
            p.broker >= 0
                && self.brokers.values().any(|broker| {
                    broker.nodeid == p.broker
                        && broker.state == "UP"
                        && (0..=idle_max_us).contains(&broker.rxidle)
                })
        })
    }
}

/// A context for clients that have nothing to say but log lines and errors.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct LogContext;

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log_line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka client error");
    }
}

impl ConsumerContext for LogContext {}
