//! The reader: one queue per assigned partition, polled by the worker that owns them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use tidewatch_dataflow::record::{PartitionId, Record, RecordBatch, Topics};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Poll, SourceReader};
use tidewatch_dataflow::time::EventTime;

use super::batch_queue::{Entry, PartitionQueue, StartAt, Wake};
use super::config::KafkaConfig;
use super::context::Context;
use super::error::{classify, from_kafka};
use super::start::resolve;

/// Where to begin in a partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is left.
    Earliest,
    /// After the newest record at the moment of opening.
    Latest,
    /// At this offset. When the log does not have it any more, the partition cannot be read.
    Offset(i64),
    /// At the first record whose Kafka timestamp is this or later; at the end when there is none yet.
    Time(EventTime),
}

/// No more records than this are handed out at once: with 56 bytes of description each, 448 KiB, the
/// most that stays in a core's second-level cache beside the records themselves.
pub const BUDGET_MAX: usize = 8_192;

/// A partition that the brokers knew nothing of for so many seconds does not exist: a topic that was just
/// made, or whose partitions are being moved, is known to them sooner. Told anew after as many again.
const DENIED_MAX: u32 = 10;

/// At most so many log lines, errors and statistics are taken from the client in one go, so that a
/// client in distress cannot keep its worker from reading.
const EVENTS_MAX: usize = 64;

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
    /// Reused from poll to poll; always empty between them.
    records: Vec<Record<'static>>,
    topics: Topics,
    brokers: String,
    /// A broker not heard of for so long does not prove that a log has ended.
    idle_max_us: i64,
    open_timeout: Duration,
}

/// What is known of one partition.
struct Slot {
    queue: PartitionQueue,
    /// The least offset that the next record can have; unknown before the first sign of life of a
    /// partition read from its beginning.
    next: Option<i64>,
    /// The end was reached and no record came since.
    at_end: bool,
    /// The broker of the partition answers, as far as is known.
    served: bool,
    /// In how many statistics in a row the brokers knew nothing of the partition.
    denied: u32,
    /// The client has given the partition up; told again at every poll.
    stopped: Option<(RDKafkaErrorCode, String)>,
    /// A fault that came behind records, for the next poll.
    fault: Option<ConnectorError>,
}

impl KafkaReader {
    /// How long [`KafkaReader::open`] waits for the brokers to say where the partitions end.
    pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

    /// Connects and starts to fetch `assignment`, whose topics are indexes into `topics`.
    ///
    /// Blocks for at most [`KafkaReader::OPEN_TIMEOUT`] where a start is [`Start::Latest`] or
    /// [`Start::Time`]; returns at once otherwise, connected or not.
    ///
    /// # Errors
    /// [`ConnectorError::Permanent`] for a configuration that cannot work,
    /// [`ConnectorError::Refused`] for a topic or partition that does not exist, and
    /// [`ConnectorError::Transient`] when the brokers did not answer in time.
    pub fn open(
        config: &KafkaConfig,
        topics: &Topics,
        assignment: &[(PartitionId, Start)],
    ) -> Result<Self, ConnectorError> {
        let brokers = config.brokers.join(",");
        let client: ClientConfig = config.consumer_config(assignment.len())?;
        let fetch_wait_ms: i64 =
            client.get("fetch.wait.max.ms").and_then(|v| v.parse().ok()).unwrap_or(500);
        let wake = Arc::new(Wake::default());
        let mut consumer: BaseConsumer<Context> = client
            .create_with_context(Context::default())
            .map_err(|error| from_kafka(&brokers, &error))?;
        let main = Arc::clone(&wake);
        consumer.set_nonempty_callback(move || {
            main.main_ready.store(true, Ordering::Release);
            main.wake();
        });
        let mut reader = KafkaReader {
            slots: Vec::new(),
            partitions: Vec::new(),
            consumer: Arc::new(consumer),
            wake,
            records: Vec::new(),
            topics: topics.clone(),
            brokers,
            idle_max_us: (fetch_wait_ms.clamp(0, 600_000) + 5_000) * 1_000,
            open_timeout: Self::OPEN_TIMEOUT,
        };
        reader.assign(assignment)?;
        Ok(reader)
    }

    /// Starts to fetch further partitions, such as those found after a topic grew. Blocks as
    /// [`KafkaReader::open`] does.
    ///
    /// # Errors
    /// As [`KafkaReader::open`]; none of `assignment` is added then.
    pub fn assign(&mut self, assignment: &[(PartitionId, Start)]) -> Result<(), ConnectorError> {
        let starts =
            resolve(&self.consumer, &self.topics, assignment, &self.brokers, self.open_timeout)?;
        let mut added = Vec::with_capacity(starts.len());
        for (partition, start) in starts {
            let topic = self.topics.name(partition.topic);
            let queue = PartitionQueue::start(
                &self.consumer,
                &self.wake,
                topic,
                partition.partition,
                start,
            )
            .map_err(|error| from_kafka(&endpoint(topic, partition, &self.brokers), &error))?;
            let next = match start {
                StartAt::Beginning => None,
                StartAt::Offset(offset) => Some(offset),
            };
            added.push((
                partition,
                Slot {
                    queue,
                    next,
                    at_end: false,
                    served: true,
                    denied: 0,
                    stopped: None,
                    fault: None,
                },
            ));
        }
        let old = std::mem::take(&mut self.partitions);
        let mut all: Vec<(PartitionId, Slot)> =
            old.into_iter().zip(std::mem::take(&mut self.slots)).collect();
        for (partition, slot) in added {
            match all.binary_search_by_key(&partition, |(p, _)| *p) {
                // Assigned already: the one that is being read stays.
                Ok(_) => {}
                Err(at) => all.insert(at, (partition, slot)),
            }
        }
        (self.partitions, self.slots) = all.into_iter().unzip();
        Ok(())
    }

    fn slot(&self, partition: PartitionId) -> Option<&Slot> {
        self.slots.get(self.partitions.binary_search(&partition).ok()?)
    }

    /// Takes log lines, errors and statistics from the client.
    fn serve_client(&mut self) -> Result<(), ConnectorError> {
        if !self.wake.main_ready.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let context = Arc::clone(self.consumer.context());
        let mut left = EVENTS_MAX;
        loop {
            // What an event says goes to the context; `poll` itself answers `None` both for an empty
            // queue and for an event that the context dealt with.
            let before = context.events();
            let error = self.consumer.poll(Duration::ZERO).is_some();
            if !error && context.events() == before {
                break;
            }
            left -= 1;
            if left == 0 {
                // The queue is told of only when it was empty, so the rest must be remembered here.
                self.wake.main_ready.store(true, Ordering::Release);
                break;
            }
        }
        if let Some(reach) = context.take_reach() {
            for (partition, slot) in self.partitions.iter().zip(&mut self.slots) {
                let topic = self.topics.name(partition.topic);
                slot.served = reach.serves(topic, partition.partition, self.idle_max_us);
                if !reach.denies(topic, partition.partition) {
                    slot.denied = 0;
                    continue;
                }
                slot.denied += 1;
                if slot.denied % DENIED_MAX == 0 {
                    slot.fault = Some(classify(
                        &endpoint(topic, *partition, &self.brokers),
                        RDKafkaErrorCode::UnknownTopicOrPartition,
                        "the brokers do not know of the partition",
                    ));
                }
            }
        }
        match context.take_refusal() {
            Some((code, text)) => Err(classify(&self.brokers, code, &text)),
            None => Ok(()),
        }
    }
}

/// What errors call a partition.
pub(super) fn endpoint(topic: &str, partition: PartitionId, brokers: &str) -> String {
    format!("kafka partition {topic}/{} at {brokers}", partition.partition)
}

/// The same memory, for records of another lifetime.
fn recycle<'a>(mut records: Vec<Record<'_>>) -> Vec<Record<'a>> {
    records.clear();
    // Nothing is left to map; the collection is made in place and keeps the memory.
    records
        .into_iter()
        .map(|record| Record { offset: record.offset, time: record.time, key: None, value: None })
        .collect()
}

impl SourceReader for KafkaReader {
    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn poll(
        &mut self,
        partition: PartitionId,
        budget: NonZeroUsize,
        visit: &mut dyn FnMut(RecordBatch<'_>),
    ) -> Result<Poll, ConnectorError> {
        self.serve_client()?;
        let topic = self.topics.name(partition.topic);
        let slot = self
            .partitions
            .binary_search(&partition)
            .ok()
            .and_then(|at| self.slots.get_mut(at))
            .ok_or_else(|| ConnectorError::Permanent {
                endpoint: endpoint(topic, partition, &self.brokers),
                reason: "this reader was not opened with the partition".to_owned(),
            })?;
        if let Some(error) = slot.fault.take() {
            return Err(error);
        }
        if let Some((code, text)) = &slot.stopped {
            return Err(classify(&endpoint(topic, partition, &self.brokers), *code, text));
        }
        let batch = slot.queue.take(budget.get().min(BUDGET_MAX));
        let mut records = recycle(std::mem::take(&mut self.records));
        let mut fault = None;
        for entry in batch.entries() {
            match entry {
                Entry::Record(record) => {
                    // The client never goes back; if it did, what was read once stays read once.
                    if slot.next.is_none_or(|next| record.offset >= next) {
                        slot.next = Some(record.offset.saturating_add(1));
                        slot.at_end = false;
                        records.push(record);
                    }
                }
                Entry::End(offset) => {
                    slot.next = Some(slot.next.map_or(offset, |next| next.max(offset)));
                    slot.at_end = true;
                    slot.served = true;
                }
                Entry::Fault(code, text) => {
                    slot.at_end = false;
                    let at = endpoint(topic, partition, &self.brokers);
                    match classify(&at, code, &text) {
                        // The client tries again by itself.
                        ConnectorError::Transient { .. } => {
                            tracing::warn!(partition = at, %code, text, "kafka fetch failed, trying again");
                        }
                        error => fault = Some(error),
                    }
                    if code == RDKafkaErrorCode::AutoOffsetReset {
                        slot.stopped = Some((code, text));
                    }
                }
            }
        }
        let found = !records.is_empty();
        if found {
            visit(RecordBatch { partition, records: &records });
        }
        self.records = recycle(records);
        drop(batch);
        match (found, fault) {
            (true, fault) => {
                slot.fault = fault;
                Ok(Poll::Ready)
            }
            (false, Some(error)) => Err(error),
            (false, None) if slot.at_end && slot.served => Ok(Poll::AtEnd),
            (false, None) => Ok(Poll::Pending),
        }
    }

    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        // The driver calls this once; a second function would never be called.
        let _ = self.wake.call.set(wake);
        // What arrived before there was anybody to tell.
        self.wake.wake();
    }

    fn position(&self, partition: PartitionId) -> Option<i64> {
        self.slot(partition)?.next
    }

    fn assign(
        &mut self,
        partition: PartitionId,
        offset: Option<i64>,
    ) -> Result<(), ConnectorError> {
        let start = offset.map_or(Start::Earliest, Start::Offset);
        KafkaReader::assign(self, &[(partition, start)])
    }

    fn lag(&self, partition: PartitionId) -> Option<u64> {
        let slot = self.slot(partition)?;
        let behind = slot.queue.high_watermark()?.saturating_sub(slot.next?);
        Some(u64::try_from(behind).unwrap_or(0))
    }
}
