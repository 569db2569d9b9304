//! Two topics of a cluster, made for the workload.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_connectors::kafka::admin::{TopicOutcome, TopicSpec, ensure_topics, inspect_topics};
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::time::EventTime;

use super::super::{Labels, PARTITIONS, Record, Topic, Workload};
use super::{Writer, write_all};

/// How long the brokers may take to answer, to take one more record, and to acknowledge the last ones.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a workload is written.
#[derive(Clone, Debug)]
pub struct Target {
    /// Some brokers of the cluster, as `host:port`.
    pub brokers: Vec<String>,
    /// How batches are compressed, in Kafka's words: `none`, `lz4`, `zstd`, `gzip` or `snappy`.
    pub compression: &'static str,
    /// The name of the topic of metrics.
    pub metrics_topic: String,
    /// The name of the topic of logs.
    pub logs_topic: String,
}

impl Target {
    fn topic(&self, topic: Topic) -> &str {
        match topic {
            Topic::Metrics => &self.metrics_topic,
            Topic::Logs => &self.logs_topic,
        }
    }
}

/// Why a workload could not be written to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A topic is there already: its records would be mixed with the workload's.
    #[error("topic `{0}` is there already: delete it, or choose another name")]
    Taken(String),
    /// The cluster cannot be reached, or refuses.
    #[error("could not {0}")]
    Cluster(&'static str, #[source] ConnectorError),
}

/// Makes the topics and writes `workload` to them: each record to the partition that the workload says, with its
/// event time as Kafka's timestamp. Retention is off, so that an event time of long ago does no harm.
///
/// # Errors
/// [`KafkaError`]. Topics that were made stay, with what was written to them.
pub fn write(
    workload: &Workload,
    target: &Target,
    threads: usize,
    progress: impl FnMut(u64),
) -> Result<Labels, KafkaError> {
    let mut config = KafkaConfig::new(target.brokers.iter().map(String::as_str));
    let settings = [
        ("compression.type", target.compression),
        // Batches of 1 MB, which is what a broker takes unless told otherwise.
        ("batch.size", "1000000"),
        ("linger.ms", "50"),
        ("queue.buffering.max.messages", "1000000"),
        ("queue.buffering.max.kbytes", "262144"),
    ];
    make_topics(&config, target)?;
    // Only a producer has these settings, so the topics are made without them.
    config.properties =
        settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let producer = Producer::new(&config)
        .map_err(|error| KafkaError::Cluster("write to the topics", error))?;
    let open = |topic, partition| {
        let partition = i32::try_from(partition).unwrap_or(i32::MAX);
        Ok(Partition { producer: &producer, topic: target.topic(topic), partition })
    };
    let labels = write_all(workload, threads, open, progress)?;
    let done = producer.flush(PATIENCE);
    done.map_err(|error| KafkaError::Cluster("write the last records", error))?;
    Ok(labels)
}

/// Makes both topics, or none when one of them is there.
fn make_topics(config: &KafkaConfig, target: &Target) -> Result<(), KafkaError> {
    // Kafka writes -1 for ever.
    let forever = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    let specs = Topic::ALL.map(|topic| TopicSpec {
        name: target.topic(topic).to_owned(),
        partitions: i32::try_from(PARTITIONS).unwrap_or(i32::MAX),
        replication: 1,
        retention: None,
        extra: forever.clone(),
    });
    let found = inspect_topics(config, &specs, PATIENCE)
        .map_err(|error| KafkaError::Cluster("look for the topics", error))?;
    if let Some((spec, _)) = specs.iter().zip(found).find(|(_, found)| found.is_some()) {
        return Err(KafkaError::Taken(spec.name.clone()));
    }
    let made = ensure_topics(config, &specs, PATIENCE)
        .map_err(|error| KafkaError::Cluster("create the topics", error))?;
    let taken = specs.iter().zip(made).find(|(_, outcome)| *outcome != TopicOutcome::Created);
    taken.map_or(Ok(()), |(spec, _)| Err(KafkaError::Taken(spec.name.clone())))
}

/// One partition of a topic.
struct Partition<'a> {
    producer: &'a Producer,
    topic: &'a str,
    partition: i32,
}

impl Writer for Partition<'_> {
    type Error = KafkaError;

    fn write(&mut self, record: &Record<'_>) -> Result<(), KafkaError> {
        let message = Message {
            topic: self.topic,
            partition: Some(self.partition),
            key: Some(record.key.as_bytes()),
            value: Some(record.payload),
            time: Some(EventTime::from_millis(record.event_time)),
            headers: &[],
        };
        let sent = self.producer.send(&message, PATIENCE);
        sent.map_err(|error| KafkaError::Cluster("write a record", error))
    }

    fn finish(&mut self) -> Result<(), KafkaError> {
        Ok(())
    }
}
