//! What topics there are and how many partitions they have.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::sink::ConnectorError;

use super::config::KafkaConfig;
use super::context::LogContext;
use super::error::{classify, from_kafka};

/// A topic that was just made may be unknown to some brokers for a moment.
const UNKNOWN_GRACE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

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
    /// Whether every partition has a leader.
    pub(super) led: bool,
}

impl TopicWatch {
    /// A client for the brokers of `config`; connects when it is first asked.
    ///
    /// # Errors
    /// [`ConnectorError::Permanent`] for a configuration that cannot work.
    pub fn new(config: &KafkaConfig) -> Result<Self, ConnectorError> {
        let brokers = config.brokers.join(",");
        let mut client = config.client_config()?;
        // Asking must not create.
        client.set("allow.auto.create.topics", "false");
        let client = client
            .create_with_context(LogContext)
            .map_err(|error| from_kafka(&format!("kafka at {brokers}"), &error))?;
        Ok(TopicWatch { client, brokers })
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

    fn ask(&self, name: &str, deadline: Instant) -> Result<Option<Layout>, ConnectorError> {
        let endpoint = format!("kafka topic {name} at {}", self.brokers);
        let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
        let metadata = match self.client.fetch_metadata(Some(name), left) {
            Ok(metadata) => metadata,
            Err(error) if is_unknown(error.rdkafka_error_code()) => return Ok(None),
            Err(error) => return Err(from_kafka(&endpoint, &error)),
        };
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
            led: all.iter().all(|partition| partition.leader() >= 0),
        }))
    }
}

fn is_unknown(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(code, Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic))
}
