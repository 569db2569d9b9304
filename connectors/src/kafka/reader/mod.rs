//! The reader: one queue per assigned partition, polled by the worker that owns them.

mod bounds;
mod care;
mod fault;
mod options;
mod poll;
mod progress;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tidewatch_dataflow::record::{PartitionId, Record, Topics};
use tidewatch_dataflow::sink::ConnectorError;

use self::bounds::BoundsFinder;
use self::progress::Progress;
use super::batch_queue::{HeaderName, PartitionQueue, StartAt, Wake};
use super::config::KafkaConfig;
use super::context::Context;
use super::error::from_kafka;
use super::health::KafkaHealth;
use super::start::resolve;

pub use self::fault::PartitionFault;
pub use self::options::{Assigned, OnRecreated, OnRetention, SeenRecord, Start};

/// No more records than this are handed out at once: with 72 bytes of description each, 576 KiB, the
/// most that stays in a core's second-level cache beside the records themselves.
pub const BUDGET_MAX: usize = 8_192;

/// `prefetch` is shared by at least so many partitions, for those that are assigned while the reader runs: the
/// share is fixed when the client is made. Each partition beyond adds one more share to the memory.
const PARTITIONS_MIN: usize = 4;

/// Reads the partitions of one worker.
///
/// Not a member of any consumer group: nothing is committed to the broker. See the module's
/// documentation for what happens at the end of a partition, in an outage, and after retention.
pub struct KafkaReader {
    // Declared before the consumer's other handle: queues are given back first.
    slots: Vec<Slot>,
    partitions: Vec<PartitionId>,
    consumer: Arc<BaseConsumer<Context>>,
    wake: Arc<Wake>,
    bounds: BoundsFinder,
    on_retention: OnRetention,
    on_recreated: OnRecreated,
    /// Some partition has lost its place.
    recovering: bool,
    /// Reused from poll to poll; always empty between them.
    records: Vec<Record<'static>>,
    /// For each topic, by its index: which headers are handed out with its records.
    headers: Vec<Vec<HeaderName>>,
    topics: Topics,
    brokers: String,
    /// A broker not heard of for so long does not prove that a log has ended.
    idle_max_us: i64,
}

/// What is known of one partition.
struct Slot {
    queue: PartitionQueue,
    progress: Progress,
    /// The broker of the partition answers, as far as is known.
    served: bool,
    /// In how many statistics in a row the brokers knew nothing of the partition.
    denied: u32,
    /// A fault that came behind records, for the next poll.
    fault: Option<ConnectorError>,
    /// Nothing is handed out before this.
    kept_back: Option<Instant>,
}

/// How long a new partition is kept back. That a log is too short is certain after three seconds.
const KEPT_BACK: Duration = Duration::from_secs(5);

impl KafkaReader {
    /// How long [`KafkaReader::open`] waits for the brokers to say where the partitions end.
    pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

    /// Connects and starts to fetch `assignment`, whose topics are indexes into `topics`;
    /// [`KafkaReader::open_with`] without records to compare and with [`OnRetention::Error`].
    ///
    /// # Errors
    /// As [`KafkaReader::open_with`].
    pub fn open(
        config: &KafkaConfig,
        topics: &Topics,
        assignment: &[(PartitionId, Start)],
    ) -> Result<Self, ConnectorError> {
        let assignment: Vec<_> = assignment.iter().copied().map(Assigned::from).collect();
        Self::open_with(config, topics, &assignment, OnRetention::Error)
    }

    /// Connects and starts to fetch `assignment`, whose topics are indexes into `topics`.
    ///
    /// Blocks for at most [`KafkaReader::OPEN_TIMEOUT`] where a start is [`Start::Latest`] or
    /// [`Start::Time`]; returns at once otherwise, connected or not. What is wrong with a start at an
    /// offset is found while reading, and told by
    /// [`SourceReader::poll`](tidewatch_dataflow::source::SourceReader::poll) and [`KafkaReader::fault`].
    ///
    /// # Errors
    /// [`ConnectorError::Permanent`] for a configuration that cannot work,
    /// [`ConnectorError::Refused`] for a topic or partition that does not exist and for credentials that
    /// the brokers do not take, and [`ConnectorError::Transient`] when they did not answer in time.
    pub fn open_with(
        config: &KafkaConfig,
        topics: &Topics,
        assignment: &[Assigned],
        on_retention: OnRetention,
    ) -> Result<Self, ConnectorError> {
        let brokers = config.brokers.join(",");
        let client: ClientConfig = config.consumer_config(assignment.len().max(PARTITIONS_MIN))?;
        let fetch_wait_ms: i64 =
            client.get("fetch.wait.max.ms").and_then(|v| v.parse().ok()).unwrap_or(500);
        let wake = Arc::new(Wake::default());
        let mut consumer: BaseConsumer<Context> = client
            .create_with_context(Context::new(KafkaHealth::new(config)))
            .map_err(|error| from_kafka(&brokers, &error))?;
        let main = Arc::clone(&wake);
        consumer.set_nonempty_callback(move || {
            main.main_ready.store(true, Ordering::Release);
            main.wake();
        });
        // It is called when the queue was empty, which it is not: the client has talked since it was made.
        wake.main_ready.store(true, Ordering::Release);
        let mut reader = KafkaReader {
            slots: Vec::new(),
            partitions: Vec::new(),
            consumer: Arc::new(consumer),
            wake,
            bounds: BoundsFinder::default(),
            on_retention,
            on_recreated: OnRecreated::Error,
            recovering: false,
            records: Vec::new(),
            headers: Vec::new(),
            topics: topics.clone(),
            brokers,
            idle_max_us: (fetch_wait_ms.clamp(0, 600_000) + 5_000) * 1_000,
        };
        reader.add(assignment)?;
        Ok(reader)
    }

    /// Sets what is said of topics that were made anew; [`OnRecreated::Error`] until then.
    pub fn on_recreated(&mut self, policy: OnRecreated) {
        self.on_recreated = policy;
    }

    /// Sets which headers are handed out with the records of the topic with index `topic`; until then, none. What
    /// is not asked for is not looked at.
    pub fn read_headers<'n>(&mut self, topic: u32, names: impl IntoIterator<Item = &'n str>) {
        let at = topic as usize;
        if at >= self.headers.len() {
            self.headers.resize(at + 1, Vec::new());
        }
        if let Some(of_topic) = self.headers.get_mut(at) {
            *of_topic = names.into_iter().filter_map(HeaderName::new).collect();
        }
    }

    /// Hands out nothing of `partition`, which is new, for five seconds: its topic may have been made anew, and by
    /// then the readers of its other partitions have found out.
    pub fn keep_back(&mut self, partition: PartitionId) {
        if let Ok(slot) = self.slot_mut(partition) {
            slot.kept_back = Some(Instant::now() + KEPT_BACK);
        }
    }

    /// How the reader's client fares.
    pub fn health(&self) -> &Arc<KafkaHealth> {
        self.consumer.context().health()
    }

    /// Why `partition` is read no further, if it is not.
    pub fn fault(&self, partition: PartitionId) -> Option<PartitionFault> {
        self.slot(partition)?.progress.stopped
    }

    /// The last record of `partition` that was handed out, or before the first one that which reading
    /// was told to go on behind: what to remember beside [`SourceReader::position`]. `None` where there is
    /// none, or none that is left.
    ///
    /// [`SourceReader::position`]: tidewatch_dataflow::source::SourceReader::position
    pub fn last_seen(&self, partition: PartitionId) -> Option<SeenRecord> {
        self.slot(partition)?.progress.last_seen()
    }

    /// How many records retention removed before they were read, under [`OnRetention::Earliest`]. Offsets
    /// are counted: where the log had gaps, fewer records were lost.
    pub fn lost(&self) -> u64 {
        self.slots.iter().map(|slot| slot.progress.lost).sum()
    }

    /// The same of one partition.
    pub fn lost_of(&self, partition: PartitionId) -> u64 {
        self.slot(partition).map_or(0, |slot| slot.progress.lost)
    }

    /// Goes on with `partition`, which is being read or has stopped, at `offset` or at the oldest record
    /// that is left. Does not block. What was fetched already and not handed out is forgotten.
    ///
    /// # Errors
    /// [`ConnectorError`] when the partition was never assigned or the client refuses.
    pub fn restart(
        &mut self,
        partition: PartitionId,
        offset: Option<i64>,
    ) -> Result<(), ConnectorError> {
        let at = endpoint(self.topics.name(partition.topic), partition, &self.brokers);
        let slot = self.slot_mut(partition)?;
        let start = offset.map_or(StartAt::Beginning, StartAt::Offset);
        let lost = slot.progress.lost;
        slot.progress = Progress::new(start, None);
        slot.progress.lost = lost;
        slot.fault = None;
        slot.queue.restart(start).map_err(|error| from_kafka(&at, &error))?;
        self.publish();
        Ok(())
    }

    /// Starts to fetch those of `assignment` that are not being read already. Blocks as
    /// [`KafkaReader::open_with`] does.
    fn add(&mut self, assignment: &[Assigned]) -> Result<(), ConnectorError> {
        let is_new = |a: &&Assigned| self.partitions.binary_search(&a.partition).is_err();
        let assignment: Vec<Assigned> = assignment.iter().filter(is_new).copied().collect();
        let wanted: Vec<_> = assignment.iter().map(|a| (a.partition, a.start)).collect();
        let starts =
            resolve(&self.consumer, &self.topics, &wanted, &self.brokers, Self::OPEN_TIMEOUT)?;
        for (assigned, (partition, start)) in assignment.iter().zip(starts) {
            let Err(at) = self.partitions.binary_search(&partition) else { continue };
            let topic = self.topics.name(partition.topic);
            let seen = assigned.seen.filter(|_| matches!(assigned.start, Start::Offset(_)));
            let progress = Progress::new(start, seen);
            let (number, place) = (partition.partition, progress.place());
            let queue = PartitionQueue::start(&self.consumer, &self.wake, topic, number, place)
                .map_err(|error| from_kafka(&endpoint(topic, partition, &self.brokers), &error))?;
            let slot =
                Slot { queue, progress, served: true, denied: 0, fault: None, kept_back: None };
            self.partitions.insert(at, partition);
            self.slots.insert(at, slot);
        }
        Ok(())
    }

    fn slot(&self, partition: PartitionId) -> Option<&Slot> {
        self.slots.get(self.partitions.binary_search(&partition).ok()?)
    }

    fn slot_mut(&mut self, partition: PartitionId) -> Result<&mut Slot, ConnectorError> {
        let at = self.partitions.binary_search(&partition).ok();
        at.and_then(|at| self.slots.get_mut(at)).ok_or_else(|| ConnectorError::Permanent {
            endpoint: endpoint(self.topics.name(partition.topic), partition, &self.brokers),
            reason: "the partition was not assigned to this reader".to_owned(),
        })
    }
}

/// What errors call a partition.
pub(super) fn endpoint(topic: &str, partition: PartitionId, brokers: &str) -> String {
    format!("kafka partition {topic}/{} at {brokers}", partition.partition)
}
