//! What topics there are and how many partitions they have.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::sink::ConnectorError;

use super::config::{KafkaConfig, STATISTICS_INTERVAL_MS};
use super::context::LogContext;
use super::error::{classify, from_kafka};
use super::health::KafkaHealth;

/// A topic that was just made may be unknown to some brokers for a moment.
const UNKNOWN_GRACE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);
/// One request waits no longer for an answer, so that a refusal (a wrong password) is noticed soon. Asking
/// again starts no new connection, so one that is slow to make is waited for all the same.
const REQUEST_MAX: Duration = Duration::from_secs(1);
/// No more log lines, errors and statistics are taken from the client between two requests.
const EVENTS_MAX: usize = 64;

/// The partitions of all `topics`, sorted.
///
/// Makes a client for this one question; ask a [`TopicWatch`] where it is asked again and again.
///
/// # Errors
/// [`ConnectorError::Refused`] naming the topics that do not exist and the remedy;
/// [`ConnectorError::Transient`] when no broker answered within `timeout`.
pub fn partitions(
    config: &KafkaConfig,
    topics: &Topics,
    timeout: Duration,
) -> Result<Vec<PartitionId>, ConnectorError> {
    TopicWatch::new(config)?.partitions(topics, timeout)
}

/// A client that answers what topics there are.
pub struct TopicWatch {
    client: BaseConsumer<LogContext>,
    brokers: String,
}

/// The shape of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The numbers of its partitions, rising.
    pub(super) partitions: Vec<i32>,
    /// The fewest replicas that a partition has.
    pub(super) replication: usize,
    /// The numbers of those that have no leader.
    pub(super) leaderless: Vec<i32>,
}

impl TopicWatch {
    /// A client for the brokers of `config`; connects when it is first asked.
    ///
    /// # Errors
    /// [`ConnectorError::Permanent`] for a configuration that cannot work.
    pub fn new(config: &KafkaConfig) -> Result<Self, ConnectorError> {
        let brokers = config.brokers.join(",");
        let health = KafkaHealth::new(config);
        let mut client = config.client_config()?;
        // Asking must not create.
        client
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string());
        let client = client
            .create_with_context(LogContext { health })
            .map_err(|error| from_kafka(&format!("kafka at {brokers}"), &error))?;
        Ok(TopicWatch { client, brokers })
    }

    /// How the client fares; brought up to date whenever the brokers are asked.
    pub fn health(&self) -> &Arc<KafkaHealth> {
        &self.client.context().health
    }

    /// The partitions of all `topics`, sorted.
    ///
    /// # Errors
    /// As [`partitions`].
    pub fn partitions(
        &self,
        topics: &Topics,
        timeout: Duration,
    ) -> Result<Vec<PartitionId>, ConnectorError> {
        let deadline = Instant::now() + timeout;
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (index, name) in (0..).zip(topics.iter()) {
            match self.layout(name, deadline)? {
                Some(layout) => found.extend(
                    layout
                        .partitions
                        .into_iter()
                        .map(|partition| PartitionId { topic: index, partition }),
                ),
                None => missing.push(format!("`{name}`")),
            }
        }
        if missing.is_empty() {
            found.sort_unstable();
            return Ok(found);
        }
        let (noun, pronoun) = if missing.len() == 1 { ("topic", "it") } else { ("topics", "them") };
        Err(ConnectorError::Refused {
            endpoint: format!("kafka at {}", self.brokers),
            reason: format!(
                "no such {noun}: {}; create {pronoun} with `tidewatch topics`, or correct the name under `[[sources]]`",
                missing.join(", ")
            ),
        })
    }

    /// The shape of topic `name`, or `None` when there is no such topic.
    pub(super) fn layout(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Layout>, ConnectorError> {
        let unknown_until = deadline.min(Instant::now() + UNKNOWN_GRACE);
        loop {
            let answer = self.ask(name, deadline);
            let now = Instant::now();
            match answer {
                Ok(Some(layout)) => return Ok(Some(layout)),
                Ok(None) if now + PAUSE >= unknown_until => return Ok(None),
                Ok(None) => {}
                Err(ConnectorError::Transient { .. }) if now + PAUSE < deadline => {}
                Err(error) => return Err(error),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Takes log lines, errors and statistics from the client, which tell how it fares.
    fn serve(&self) {
        for _ in 0..EVENTS_MAX {
            // Errors go to the context as well; there are no records.
            let _ = self.client.poll(Duration::ZERO);
        }
    }

    /// One request for the shape of topic `name`; `None` when there is no such topic.
    pub(super) fn ask(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Layout>, ConnectorError> {
        let endpoint = format!("kafka topic {name} at {}", self.brokers);
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = self.client.fetch_metadata(Some(name), left.clamp(PAUSE, REQUEST_MAX));
        self.serve();
        let metadata = match answer {
            Ok(metadata) => metadata,
            Err(error) if is_unknown(error.rdkafka_error_code()) => return Ok(None),
            Err(error) => {
                return Err(match self.health().refusal() {
                    Some((code, reason)) => classify(&endpoint, code, &reason),
                    None => from_kafka(&endpoint, &error),
                });
            }
        };
        self.health().answered();
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        if let Some(error) = topic.error() {
            let code = RDKafkaErrorCode::from(error);
            if is_unknown(Some(code)) {
                return Ok(None);
            }
            return Err(classify(&endpoint, code, "the broker does not describe the topic"));
        }
        let all = topic.partitions();
        let mut partitions: Vec<i32> = all.iter().map(|partition| partition.id()).collect();
        partitions.sort_unstable();
        Ok(Some(Layout {
            partitions,
            replication: all.iter().map(|p| p.replicas().len()).min().unwrap_or(0),
            leaderless: all.iter().filter(|p| p.leader() < 0).map(|p| p.id()).collect(),
        }))
    }
}

fn is_unknown(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(code, Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic))
}
