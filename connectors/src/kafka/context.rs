//! What a client tells on its main queue: log lines, errors, and which brokers answer.

use std::collections::BTreeSet;
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
    /// Topics that have another id than before, not yet taken.
    renewed: Mutex<BTreeSet<String>>,
    /// Whether there are any.
    is_renewed: AtomicBool,
}

impl Context {
    /// Of a client that fares as `health` will say.
    pub(super) fn new(health: Arc<KafkaHealth>) -> Self {
        Context {
            health,
            statistics: Mutex::default(),
            events: AtomicU64::new(0),
            down: AtomicBool::new(false),
            renewed: Mutex::default(),
            is_renewed: AtomicBool::new(false),
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

    /// Whether `topic` was found to have another id and nobody has taken note of it.
    pub(super) fn is_renewed(&self, topic: &str) -> bool {
        self.is_renewed.load(Ordering::Acquire)
            && self.renewed.lock().is_ok_and(|renewed| renewed.contains(topic))
    }

    /// Topics that were found to have another id than before, once.
    pub(super) fn take_renewed(&self) -> BTreeSet<String> {
        if !self.is_renewed.swap(false, Ordering::AcqRel) {
            return BTreeSet::new();
        }
        self.renewed.lock().map(|mut renewed| std::mem::take(&mut *renewed)).unwrap_or_default()
    }

    /// The newest statistics, once.
    pub(super) fn take_statistics(&self) -> Option<Statistics> {
        self.statistics.lock().ok()?.take()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.events.fetch_add(1, Ordering::Relaxed);
        if let Some(topic) = renewed(facility, text)
            && let Ok(mut topics) = self.renewed.lock()
        {
            topics.insert(topic.to_owned());
            self.is_renewed.store(true, Ordering::Release);
        }
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

/// The topic that has another id than before, if a log line of librdkafka says so of one. It says it nowhere
/// else: its fetches go on in the new topic, at the offset that they have come to in the old one. The line comes
/// before any record of the new topic.
fn renewed<'a>(facility: &str, text: &'a str) -> Option<&'a str> {
    if facility != "METADATA" {
        return None;
    }
    let (topic, ids) = text.split_once(" changed id from ")?;
    let (before, _) = ids.split_once(" to ")?;
    // Of a topic that it has just heard of, the id before is zero.
    let is_known = before.bytes().any(|byte| byte != b'A');
    topic.rsplit_once("Topic ").map(|(_, topic)| topic).filter(|_| is_known)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_with_another_id_is_recognised() {
        let line = |from: &str| {
            format!(
                "[thrd:main]: Topic cpu-usage.1 changed id from {from} to 3cdhSAPqR1WVvS5nqrLkTw"
            )
        };
        let known = line("bGPnhNJFR9SwmhV1CgK8Ug");
        assert_eq!(renewed("METADATA", &known), Some("cpu-usage.1"));
        assert_eq!(renewed("TOPIC", &known), None);
        assert_eq!(renewed("METADATA", &line("AAAAAAAAAAAAAAAAAAAAAA")), None, "the first look");
        assert_eq!(renewed("METADATA", "[thrd:main]: Topic t [0] Leader 1 Epoch 0"), None);
    }
}
