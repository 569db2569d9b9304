//! Kafka as the pipeline reads it.

use std::time::Duration;

use anyhow::Context as _;
use tidewatch::config::PipelineConfig;
use tidewatch::pipeline::Sources;
use tidewatch_connectors::codec::{self, SourceFormat};
use tidewatch_connectors::kafka::{
    Assigned, KafkaConfig, KafkaReader, OnRetention, SeenRecord, Start, partitions,
};
use tidewatch_dataflow::ingest::ResumePoint;
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};

/// How long to wait for the brokers to say which partitions there are.
const METADATA_WITHIN: Duration = Duration::from_secs(30);

/// The topics of a job, each from its beginning.
pub(crate) struct KafkaSources {
    config: KafkaConfig,
    topics: Topics,
    partitions: Vec<PartitionId>,
    formats: Vec<SourceFormat>,
    on_retention: OnRetention,
}

impl KafkaSources {
    /// Asks the brokers for the partitions.
    pub(crate) fn open(config: &PipelineConfig) -> anyhow::Result<Self> {
        let topics = config.topics();
        let partitions = partitions(&config.kafka, &topics, METADATA_WITHIN)
            .context("could not find the partitions to read")?;
        Ok(KafkaSources {
            config: config.kafka.clone(),
            topics,
            partitions,
            formats: config.formats(),
            on_retention: config.time.on_retention,
        })
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
        let assigned = partitions.into_iter().map(|(partition, point)| Assigned {
            partition,
            start: point.and_then(|p| p.offset).map_or(Start::Earliest, Start::Offset),
            seen: point.and_then(|p| p.before).map(|(offset, hash)| SeenRecord { offset, hash }),
        });
        let assigned: Vec<_> = assigned.collect();
        let reader =
            KafkaReader::open_with(&self.config, &self.topics, &assigned, self.on_retention)?;
        Ok(Box::new(reader))
    }

    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        self.formats.iter().map(codec::for_source).collect()
    }
}
