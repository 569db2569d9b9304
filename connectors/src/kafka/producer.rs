//! A producer: a bounded queue that librdkafka's own threads empty, with delivery counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::time::EventTime;

use super::config::KafkaConfig;
use super::context::{log_line, parse};
use super::error::{classify, from_kafka};
use super::health::{KafkaHealth, is_refusal};

/// A record to write.
#[derive(Copy, Clone, Debug, Default)]
pub struct Message<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Which partition; by hash of the key (as Java's producers do) when absent.
    pub partition: Option<i32>,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; `None` writes a tombstone.
    pub value: Option<&'a [u8]>,
    /// Kafka's timestamp; the time of sending when absent.
    pub time: Option<EventTime>,
    /// Headers, in order.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Whether a record found room in the queue.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It will be delivered or counted as failed.
    Yes,
    /// The queue is full; nothing was done.
    Full,
}

/// What became of the records given to a [`Producer`].
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerCounts {
    /// Taken into the queue.
    pub queued: u64,
    /// Acknowledged by all in-sync replicas.
    pub delivered: u64,
    /// Given up.
    pub failed: u64,
}

/// Writes records in the background.
///
/// Ordered and free of duplicates within a partition (idempotent, `acks=all`). The queue holds at most
/// 100,000 records and 64 MiB. What is still queued when the producer is dropped is lost: call
/// [`Producer::flush`] first.
pub struct Producer {
    inner: ThreadedProducer<Counting>,
    brokers: String,
}

impl Producer {
    /// A producer for the brokers of `config`; connects in the background.
    ///
    /// # Errors
    /// [`ConnectorError::Permanent`] for a configuration that cannot work.
    pub fn new(config: &KafkaConfig) -> Result<Self, ConnectorError> {
        let brokers = config.brokers.join(",");
        let inner = producer_config(config)?
            .create_with_context(Counting {
                health: KafkaHealth::new(config),
                ..Counting::default()
            })
            .map_err(|error| from_kafka(&format!("kafka at {brokers}"), &error))?;
        Ok(Producer { inner, brokers })
    }

    /// Queues `message` if there is room. Never waits.
    ///
    /// # Errors
    /// [`ConnectorError`] when the record can never be written (too large, no such partition).
    pub fn try_send(&self, message: &Message<'_>) -> Result<Queued, ConnectorError> {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(message.topic);
        record.key = message.key;
        record.payload = message.value;
        record.partition = message.partition;
        record.timestamp =
            message.time.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        if !message.headers.is_empty() {
            record = record.headers(owned_headers(message.headers));
        }
        match self.inner.send(record) {
            Ok(()) => {
                self.counts_of().queued.fetch_add(1, Ordering::Relaxed);
                Ok(Queued::Yes)
            }
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Ok(Queued::Full)
            }
            Err((error, _)) => Err(from_kafka(&self.endpoint(message.topic), &error)),
        }
    }

    /// Queues `message`, waiting for room for at most `timeout`.
    ///
    /// # Errors
    /// As [`Producer::try_send`], and [`ConnectorError::Transient`] when the queue stayed full.
    pub fn send(&self, message: &Message<'_>, timeout: Duration) -> Result<(), ConnectorError> {
        let deadline = Instant::now() + timeout;
        while self.try_send(message)? == Queued::Full {
            if Instant::now() >= deadline {
                return Err(classify(
                    &self.endpoint(message.topic),
                    RDKafkaErrorCode::QueueFull,
                    "the brokers do not keep up with what is written",
                ));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits until everything queued is delivered or given up, for at most `timeout`.
    ///
    /// # Errors
    /// [`ConnectorError::Transient`] when the time was too short, or the cause of the last failure when
    /// records were given up since the last flush.
    pub fn flush(&self, timeout: Duration) -> Result<ProducerCounts, ConnectorError> {
        let endpoint = self.endpoint("*");
        let failed = |error: &KafkaError| match self.health().refusal() {
            Some((code, reason)) => classify(&endpoint, code, &reason),
            None => from_kafka(&endpoint, error),
        };
        self.inner.flush(timeout).map_err(|error| failed(&error))?;
        match self.counts_of().last_failure.lock().ok().and_then(|mut f| f.take()) {
            Some(error) => Err(failed(&error)),
            None => Ok(self.counts()),
        }
    }

    /// How the producer's connection to the brokers fares.
    pub fn health(&self) -> &Arc<KafkaHealth> {
        &self.counts_of().health
    }

    /// What became of the records so far.
    pub fn counts(&self) -> ProducerCounts {
        let counts = self.counts_of();
        ProducerCounts {
            queued: counts.queued.load(Ordering::Relaxed),
            delivered: counts.delivered.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
        }
    }

    fn counts_of(&self) -> &Counting {
        self.inner.client().context()
    }

    fn endpoint(&self, topic: &str) -> String {
        format!("kafka topic {topic} at {}", self.brokers)
    }
}

/// The settings that both producers share.
pub(super) fn producer_config(config: &KafkaConfig) -> Result<ClientConfig, ConnectorError> {
    let mut client = config.client_config()?;
    let wanted = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.type", "lz4"),
        ("partitioner", "murmur2_random"),
        ("linger.ms", "5"),
        ("queue.buffering.max.messages", "100000"),
        ("queue.buffering.max.kbytes", "65536"),
        ("message.timeout.ms", "60000"),
        // So often the client says which brokers it is connected to.
        ("statistics.interval.ms", "1000"),
    ];
    for (name, value) in wanted {
        if !config.properties.contains_key(name) {
            client.set(name, value);
        }
    }
    Ok(client)
}

/// Headers as the client keeps them.
pub(super) fn owned_headers(headers: &[(&str, &[u8])]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
        all.insert(Header { key, value: Some(*value) })
    })
}

/// Counts what was delivered.
#[derive(Debug, Default)]
struct Counting {
    queued: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    last_failure: Mutex<Option<KafkaError>>,
    health: Arc<KafkaHealth>,
}

impl ClientContext for Counting {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log_line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(code) if is_refusal(code) => self.health.refused(code, reason),
            _ => tracing::warn!(%error, reason, "kafka producer error"),
        }
    }

    fn stats_raw(&self, json: &[u8]) {
        if let Some(statistics) = parse(json) {
            self.health.hear(&statistics);
        }
    }
}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut last) = self.last_failure.lock() {
                    *last = Some(error.clone());
                }
            }
        }
    }
}
