//! What a client tells on its main queue: log lines, errors, and which brokers answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::health::{KafkaHealth, is_refusal};
use super::statistics::Statistics;

/// Receives what a reader's client says; shared by the client's threads and the reader.
#[derive(Debug)]
pub(super) struct Context {
    health: Arc<KafkaHealth>,
    /// The newest statistics not yet taken.
    statistics: Mutex<Option<Statistics>>,
    /// How many events were received.
    events: AtomicU64,
    /// Whether all brokers were unreachable when last heard of, to say it once.
    down: AtomicBool,
}

impl Context {
    /// Of a client that fares as `health` will say.
    pub(super) fn new(health: Arc<KafkaHealth>) -> Self {
        Context {
            health,
            statistics: Mutex::default(),
            events: AtomicU64::new(0),
            down: AtomicBool::new(false),
        }
    }

    /// How the client fares.
    pub(super) fn health(&self) -> &Arc<KafkaHealth> {
        &self.health
    }

    /// How many events were received so far.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The newest statistics, once.
    pub(super) fn take_statistics(&self) -> Option<Statistics> {
        self.statistics.lock().ok()?.take()
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
            code if is_refusal(code) => self.health.refused(code, reason),
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
        let Some(statistics) = parse(json) else { return };
        if self.health.hear(&statistics) && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("kafka brokers can be reached again");
        }
        let (leaderless, unknown) = statistics.troubled();
        self.health.update(|snapshot| {
            snapshot.leaderless = leaderless;
            snapshot.unknown = unknown;
        });
        if let Ok(mut latest) = self.statistics.lock() {
            *latest = Some(statistics);
        }
    }
}

impl ConsumerContext for Context {}

/// A context for clients whose brokers matter and whose partitions do not.
#[derive(Clone, Debug, Default)]
pub(super) struct LogContext {
    pub(super) health: Arc<KafkaHealth>,
}

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log_line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(code) if is_refusal(code) => self.health.refused(code, reason),
            _ => tracing::warn!(%error, reason, "kafka client error"),
        }
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(statistics) = parse(json) {
            self.health.hear(&statistics);
        }
    }
}

impl ConsumerContext for LogContext {}

/// Reads the client's statistics.
pub(super) fn parse(json: &[u8]) -> Option<Statistics> {
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::warn!(%error, "kafka client statistics cannot be read"))
        .ok()
}

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
