//! Kafka as the workloads read and write it.

use std::time::{Duration, Instant};

use tidewatch::pipeline::Sources;
use tidewatch_connectors::codec::{self, Format, SourceFormat};
use tidewatch_connectors::kafka::producer::{Message, Producer};
use tidewatch_connectors::kafka::{KafkaConfig, KafkaReader, Start, partitions};
use tidewatch_dataflow::ingest::ResumePoint;
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};

use super::fleet::{Draft, Scribe};

/// How long a request may take.
const WITHIN: Duration = Duration::from_secs(60);

/// All partitions of one topic.
pub(crate) struct KafkaSources {
    config: KafkaConfig,
    topics: Topics,
    partitions: Vec<PartitionId>,
    start: Start,
}

impl KafkaSources {
    /// Asks the brokers for the partitions; reads them from `start`.
    pub(crate) fn open(brokers: &str, topic: &'static str, start: Start) -> anyhow::Result<Self> {
        let (config, topics) = (KafkaConfig::new([brokers]), Topics::new([topic]));
        let partitions = partitions(&config, &topics, WITHIN)?;
        Ok(KafkaSources { config, topics, partitions, start })
    }
}

impl Sources for KafkaSources {
    fn partitions(&self) -> Vec<PartitionId> {
        self.partitions.clone()
    }

    fn open(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let starts: Vec<_> = partitions.into_iter().map(|(p, _)| (p, self.start)).collect();
        Ok(Box::new(KafkaReader::open(&self.config, &self.topics, &starts)?))
    }

    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        let formats =
            self.topics.iter().map(|topic| SourceFormat::new(topic, Format::TelegrafJson));
        formats.map(|format| codec::for_source(&format)).collect()
    }
}

/// Writes messages of a fleet, uncompressed; a host's partition is its number modulo `partitions`.
pub(crate) struct Loader {
    producer: Producer,
    scribe: Scribe,
    topic: &'static str,
    partitions: u64,
    /// Reused from message to message.
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Loader {
    pub(crate) fn new(brokers: &str, topic: &'static str, partitions: u64) -> anyhow::Result<Self> {
        let mut config = KafkaConfig::new([brokers]);
        config.properties.insert("compression.type".to_owned(), "none".to_owned());
        let (producer, scribe) = (Producer::new(&config)?, Scribe::new());
        Ok(Loader { producer, scribe, topic, partitions, key: Vec::new(), value: Vec::new() })
    }

    /// Queues one message, waiting for room.
    pub(crate) fn send(&mut self, draft: Draft) -> anyhow::Result<()> {
        self.key.clear();
        self.value.clear();
        Scribe::key(draft.host, &mut self.key);
        self.scribe.value(draft, &mut self.value);
        let message = Message {
            topic: self.topic,
            partition: i32::try_from(draft.host % self.partitions).ok(),
            key: Some(&self.key),
            value: Some(&self.value),
            ..Message::default()
        };
        self.producer.send(&message, WITHIN)?;
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        self.producer.flush(WITHIN)?;
        Ok(())
    }
}

/// Calls `send` with the number of each message that is due, `rate` a second for `span`; returns how many there
/// were, and by how much the worst was behind its time.
pub(crate) fn pace(
    rate: f64,
    span: Duration,
    mut send: impl FnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<(u64, Duration)> {
    let (began, mut sent, mut behind) = (Instant::now(), 0u64, Duration::ZERO);
    loop {
        let age = began.elapsed();
        let due = (age.min(span).as_secs_f64() * rate) as u64;
        while sent < due {
            send(sent)?;
            sent += 1;
        }
        let last = Duration::from_secs_f64(sent as f64 / rate);
        behind = behind.max(began.elapsed().saturating_sub(last));
        if age >= span {
            return Ok((sent, behind));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
