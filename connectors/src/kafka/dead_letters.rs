//! The dead-letter topic: refused records with the reason and where they came from in their headers.
//!
//! A dead letter has the value and the key of the record it stands for, and these headers, all of them
//! text:
//!
//! | header | what |
//! | --- | --- |
//! | `tidewatch.reason` | [why it was refused](tidewatch_dataflow::dead_letter::Reason), for machines |
//! | `tidewatch.detail` | what exactly, for people |
//! | `tidewatch.topic` | the topic it was read from |
//! | `tidewatch.partition` | the partition |
//! | `tidewatch.offset` | the offset |
//! | `tidewatch.generation` | how often the topic has been made anew: offsets begin again then |
//! | `tidewatch.event_time` | its event time in RFC 3339, where one was read |
//!
//! Topic, generation, partition and offset identify it, so the same letter written twice, after a restart, can be
//! told from two letters. Letters of one key stay in order.

use std::sync::Arc;

use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use tidewatch_dataflow::dead_letter::{DeadLetter, Reason};
use tidewatch_dataflow::record::Topics;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem, SinkWriter};

use super::config::KafkaConfig;
use super::context::LogContext;
use super::error::{classify, from_kafka};
use super::health::KafkaHealth;
use super::producer::{owned_headers, producer_config};

/// Writes dead letters to a topic.
pub struct DeadLetterWriter {
    producer: FutureProducer<LogContext>,
    topic: String,
    topics: Topics,
    brokers: String,
    health: Arc<KafkaHealth>,
}

impl DeadLetterWriter {
    /// A writer to `topic`; `topics` are those that the letters' partitions are indexes into. Connects in
    /// the background.
    ///
    /// # Errors
    /// [`ConnectorError::Permanent`] for a configuration that cannot work.
    pub fn open(
        config: &KafkaConfig,
        topics: &Topics,
        topic: &str,
    ) -> Result<Self, ConnectorError> {
        let brokers = config.brokers.join(",");
        let health = KafkaHealth::new(config);
        let producer = producer_config(config)?
            .create_with_context(LogContext { health: Arc::clone(&health) })
            .map_err(|error| from_kafka(&format!("kafka at {brokers}"), &error))?;
        let (topic, topics) = (topic.to_owned(), topics.clone());
        Ok(DeadLetterWriter { producer, topic, topics, brokers, health })
    }

    /// How the producer's connection to the brokers fares.
    pub fn health(&self) -> &Arc<KafkaHealth> {
        &self.health
    }

    fn endpoint(&self) -> String {
        format!("kafka topic {} at {}", self.topic, self.brokers)
    }
}

impl SinkWriter for DeadLetterWriter {
    type Item = DeadLetter;

    async fn write(&mut self, batch: &[DeadLetter]) -> Result<Receipt, ConnectorError> {
        let mut receipt = Receipt::default();
        let mut waiting = Vec::with_capacity(batch.len());
        let mut last_error = None;
        for (index, letter) in batch.iter().enumerate() {
            let partition = letter.partition.partition.to_string();
            let offset = letter.offset.to_string();
            let generation = letter.generation.to_string();
            let time = letter.event_time.map(|time| {
                let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
                match jiff::Timestamp::from_millisecond(millis) {
                    Ok(time) => format!("{time:.3}"),
                    Err(_) => millis.to_string(),
                }
            });
            let mut headers: Vec<(&str, &[u8])> = vec![
                ("tidewatch.reason", letter.reason.as_str().as_bytes()),
                ("tidewatch.detail", letter.detail.as_bytes()),
                ("tidewatch.topic", self.topics.name(letter.partition.topic).as_bytes()),
                ("tidewatch.partition", partition.as_bytes()),
                ("tidewatch.offset", offset.as_bytes()),
                ("tidewatch.generation", generation.as_bytes()),
            ];
            if let Some(time) = &time {
                headers.push(("tidewatch.event_time", time.as_bytes()));
            }
            let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.topic)
                .payload(&*letter.value)
                .headers(owned_headers(&headers));
            record.key = letter.key.as_deref();
            match self.producer.send_result(record) {
                Ok(delivery) => waiting.push((index, delivery)),
                Err((error, _)) => last_error = note(&mut receipt, index, error),
            }
        }
        for (index, delivery) in waiting {
            match delivery.await {
                Ok(Ok(_)) => receipt.accepted += 1,
                Ok(Err((error, _))) => last_error = note(&mut receipt, index, error),
                // The producer went away, which it does not while `self` is borrowed.
                Err(_) => receipt.retry.push(index),
            }
        }
        match last_error {
            // Nothing went through: say why instead of asking for the same again.
            Some(error) if receipt.accepted == 0 && receipt.rejected.is_empty() => {
                Err(match self.health.refusal() {
                    Some((code, reason)) => classify(&self.endpoint(), code, &reason),
                    None => from_kafka(&self.endpoint(), &error),
                })
            }
            _ => {
                receipt.retry.sort_unstable();
                Ok(receipt)
            }
        }
    }
}

/// Sorts the failure of one letter: rejected for good when it is too large, else to be sent again.
fn note(
    receipt: &mut Receipt,
    index: usize,
    error: rdkafka::error::KafkaError,
) -> Option<rdkafka::error::KafkaError> {
    let too_large = matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
    );
    if too_large {
        let detail = error.to_string();
        receipt.rejected.push(RejectedItem { index, reason: Reason::TooLarge, detail });
        return None;
    }
    receipt.retry.push(index);
    Some(error)
}
