//! The sources of a service: partitions of Kafka topics.

use std::time::Duration;

use anyhow::Context;
use tidewatch_connectors::codec::{self, SourceFormat};
use tidewatch_connectors::kafka::{KafkaConfig, KafkaReader, Start as StartAt, partitions};
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::time::{Clock, EventTime};

use crate::config::PipelineConfig;
use crate::config::file::Start;
use crate::pipeline::Sources;

/// How long to wait for the brokers to say which partitions there are.
const METADATA_WITHIN: Duration = Duration::from_secs(30);

/// Opens Kafka readers for the workers of a process.
pub(super) struct KafkaSources {
    config: KafkaConfig,
    topics: Topics,
    partitions: Vec<PartitionId>,
    start: StartAt,
    /// From here on all records are read.
    complete_from: EventTime,
    formats: Vec<SourceFormat>,
}

impl KafkaSources {
    /// Asks the brokers for the partitions of all topics.
    pub(super) fn open(config: &PipelineConfig, clock: &Clock) -> anyhow::Result<Self> {
        let topics = config.topics();
        let partitions = partitions(&config.kafka, &topics, METADATA_WITHIN)
            .context("could not find the partitions to read")?;
        let slack = config.time.out_of_orderness;
        let start = match config.time.start {
            Start::Earliest => StartAt::Earliest,
            Start::At(time) => StartAt::Time(time),
            Start::Latest => {
                let reach = super::reach(config);
                tracing::info!(
                    ?reach,
                    "first start at the end of the log, less the longest window"
                );
                StartAt::Time(clock.now().saturating_sub(reach))
            }
        };
        let complete_from = match start {
            StartAt::Time(time) => time + slack,
            StartAt::Earliest | StartAt::Latest | StartAt::Offset(_) => EventTime::MIN,
        };
        tracing::info!(
            topics = topics.iter().count(),
            partitions = partitions.len(),
            ?start,
            "reading"
        );
        let formats = config.sources.iter().map(|source| source.format.clone()).collect();
        Ok(KafkaSources {
            config: config.kafka.clone(),
            topics,
            partitions,
            start,
            complete_from,
            formats,
        })
    }
}

impl KafkaSources {
    /// Windows that begin before this are not whole.
    pub(super) fn complete_from(&self) -> EventTime {
        self.complete_from
    }
}

impl Sources for KafkaSources {
    fn partitions(&self) -> Vec<PartitionId> {
        self.partitions.clone()
    }

    fn open(&self, partitions: Vec<PartitionId>) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let assignment: Vec<_> = partitions.into_iter().map(|p| (p, self.start)).collect();
        Ok(Box::new(KafkaReader::open(&self.config, &self.topics, &assignment)?))
    }

    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        self.formats.iter().map(codec::for_source).collect()
    }
}
