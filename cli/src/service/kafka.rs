//! The sources of a service: partitions of Kafka topics.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tidewatch_connectors::codec::{self, SourceFormat};
use tidewatch_connectors::kafka::{
    Assigned, KafkaConfig, KafkaHealth, KafkaReader, OnRecreated, OnRetention, PartitionWatch,
    SeenRecord, Start as StartAt, TopicWatch, partitions,
};
use tidewatch_dataflow::ingest::{Breadcrumb, Decision, NoCrumbs, ResumePoint};
use tidewatch_dataflow::record::{PartitionId, Topics};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Codec, SourceReader};
use tidewatch_dataflow::time::{Clock, EventTime};

use super::poison;
use crate::config::PipelineConfig;
use crate::config::file::Start;
use crate::crumb::{Crumb, Suspects};
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
    on_retention: OnRetention,
    on_recreated: OnRecreated,
    health: KafkaClients,
    /// Index of the process, and where its workers lay crumbs, under a supervisor.
    process: usize,
    crumbs: Option<(PathBuf, Arc<Suspects>)>,
    /// Looks for new partitions once the process of worker 0 asks; `None` inside when it cannot.
    watch: Mutex<Option<Option<Watch>>>,
}

/// A watch, and what it has found.
type Watch = (PartitionWatch, Receiver<PartitionId>);

/// How the Kafka clients of a process fare.
pub(super) type KafkaClients = Arc<Mutex<Vec<Arc<KafkaHealth>>>>;

impl KafkaSources {
    /// Asks the brokers for the partitions of all topics.
    pub(super) fn open(
        config: &PipelineConfig,
        clock: &Clock,
        process: usize,
    ) -> anyhow::Result<Self> {
        let topics = config.topics();
        let crumbs = match crate::cluster::crumbs() {
            Some(dir) => {
                let suspects = Suspects::load(&dir)?.of(&topics);
                Some((dir, Arc::new(suspects)))
            }
            None => None,
        };
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
        Ok(KafkaSources {
            config: config.kafka.clone(),
            topics,
            partitions,
            start,
            complete_from,
            formats: config.formats(),
            on_retention: config.time.on_retention,
            on_recreated: match config.checkpoint.enabled {
                true => config.time.on_recreated,
                // The next run would know nothing of it, and use the identities of documents again.
                false => OnRecreated::Error,
            },
            health: KafkaClients::default(),
            process,
            crumbs,
            watch: Mutex::new(None),
        })
    }
}

impl KafkaSources {
    /// Records to pass over and groups to leave out: they have ended earlier runs.
    pub(super) fn convicted(&self) -> Vec<Decision> {
        let poison = self.crumbs.iter().flat_map(|(_, suspects)| suspects.poison());
        let skipped = poison.filter_map(|(topic, partition, offset)| {
            let partition = PartitionId { topic: self.topics.index(&topic)?, partition };
            Some(Decision::Skipped { partition, offset })
        });
        let groups = self.crumbs.iter().flat_map(|(_, suspects)| suspects.quarantined());
        let quarantined =
            groups.map(|what| Decision::Quarantined { what: what.clone(), from: EventTime::MIN });
        skipped.chain(quarantined).collect()
    }

    /// How the clients fare, filled as readers are opened.
    pub(super) fn health(&self) -> KafkaClients {
        Arc::clone(&self.health)
    }

    fn begin_to_watch(&self) -> Option<Watch> {
        let watch = TopicWatch::new(&self.config).and_then(|watch| {
            watch.watch(&self.topics, &self.partitions, PartitionWatch::INTERVAL)
        });
        watch
            .inspect_err(|error| tracing::error!(%error, "new partitions will not be noticed"))
            .ok()
    }

    /// Windows that begin before this are not whole.
    pub(super) fn complete_from(&self) -> EventTime {
        self.complete_from
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
        let is_found = |point: &ResumePoint| point.lifted && point.next.is_none();
        let found = partitions.iter().filter(|(_, point)| point.as_ref().is_some_and(is_found));
        let found = found.map(|(partition, _)| *partition);
        let assigned = partitions.iter().map(|(partition, point)| {
            let (partition, point) = (*partition, *point);
            let seen = point.and_then(|point| point.before);
            Assigned {
                partition,
                start: match point {
                    None => self.start,
                    Some(point) => point.offset.map_or(StartAt::Earliest, StartAt::Offset),
                },
                seen: seen.map(|(offset, hash)| SeenRecord { offset, hash }),
            }
        });
        let assigned: Vec<_> = assigned.collect();
        let found: Vec<_> = found.collect();
        let mut reader =
            KafkaReader::open_with(&self.config, &self.topics, &assigned, self.on_retention)?;
        reader.on_recreated(self.on_recreated);
        for (topic, format) in (0..).zip(&self.formats) {
            let headers = &format.record_labels.headers;
            if !headers.is_empty() {
                reader.read_headers(topic, headers.iter().map(|(name, _)| &**name));
            }
        }
        found.into_iter().for_each(|partition| reader.keep_back(partition));
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.push(Arc::clone(reader.health()));
        Ok(Box::new(reader))
    }

    fn discovered(&self) -> Vec<PartitionId> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let watch = watch.get_or_insert_with(|| self.begin_to_watch());
        watch.iter().flat_map(|(_, found)| found.try_iter()).collect()
    }

    fn codecs(&self) -> Vec<Box<dyn Codec>> {
        self.formats.iter().map(|format| poison::hooked(codec::for_source(format))).collect()
    }

    fn crumb(&self, worker: usize) -> Box<dyn Breadcrumb> {
        let Some((dir, suspects)) = &self.crumbs else { return Box::new(NoCrumbs) };
        let of = (self.process, worker);
        match Crumb::open(dir, of, &self.topics, Arc::clone(suspects)) {
            Ok(crumb) => Box::new(crumb),
            Err(error) => {
                tracing::warn!(%error, "crumbs cannot be laid: a record that crashes us stays unknown");
                Box::new(NoCrumbs)
            }
        }
    }
}
