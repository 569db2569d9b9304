//! A source and a state store in memory, for tests and embedding.
//!
//! It is a real source: it keeps every promise of [`SourceReader`], and the engine cannot tell it from a
//! broker. A seed decides how much each poll hands out and when it pretends that nothing arrived yet, so
//! that tests can try many interleavings.

mod store;

pub use store::MemoryStore;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock};

use crate::ingest::ResumePoint;
use crate::record::{PartitionId, Record, RecordBatch, RecordTime, record_hash};
use crate::sink::ConnectorError;
use crate::source::{Poll, SourceReader};
use crate::time::EventTime;

/// One record of a [`MemoryLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryRecord {
    /// The key, if any.
    pub key: Option<Vec<u8>>,
    /// The value, if any.
    pub value: Option<Vec<u8>>,
    /// The producer's timestamp.
    pub created: EventTime,
}

/// Partitions in memory; offsets count from 0. Clones share them, so that a test can append to what is
/// being read.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<RwLock<BTreeMap<PartitionId, Partition>>>);

/// One partition of a [`MemoryLog`].
#[derive(Clone, Debug, Default)]
struct Partition {
    records: Vec<MemoryRecord>,
    /// How often its topic was made anew.
    made: u64,
}

impl MemoryLog {
    /// A log of these partitions.
    pub fn new(partitions: BTreeMap<PartitionId, Vec<MemoryRecord>>) -> Self {
        let partitions = partitions.into_iter();
        let whole = partitions.map(|(id, records)| (id, Partition { records, made: 0 }));
        MemoryLog(Arc::new(RwLock::new(whole.collect())))
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Appends records to `partition`, which is made when it is not there.
    pub fn append(&self, partition: PartitionId, records: impl IntoIterator<Item = MemoryRecord>) {
        let mut partitions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        partitions.entry(partition).or_default().records.extend(records);
    }

    /// Deletes the topic with this index, and makes it anew with so many empty partitions. Readers find out: those
    /// that are reading it, and those that are to go on behind a record that is not there.
    pub fn recreate(&self, topic: u32, count: i32) {
        let mut partitions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let made = partitions.values().map(|partition| partition.made).max().unwrap_or(0) + 1;
        partitions.retain(|id, _| id.topic != topic);
        let new = (0..count).map(|partition| PartitionId { topic, partition });
        partitions.extend(new.map(|id| (id, Partition { records: Vec::new(), made })));
    }

    /// A reader of `partitions` from their beginning, whose batches and pauses depend on `seed`.
    pub fn reader(&self, partitions: Vec<PartitionId>, seed: u64) -> MemoryReader {
        self.reader_at(partitions.into_iter().map(|p| (p, 0)), seed)
    }

    /// A reader of partitions from where a checkpoint says, or from their beginning, as `open` of a pipeline's
    /// sources is asked for; `seed` counts for all workers, which read in interleavings of their own.
    pub fn reader_resuming(
        &self,
        partitions: Vec<(PartitionId, Option<ResumePoint>)>,
        seed: u64,
    ) -> MemoryReader {
        let first =
            partitions.first().map_or(0, |(p, _)| u64::from(p.partition.unsigned_abs()) + 1);
        let mut befores = Vec::new();
        let starts = partitions.into_iter().map(|(p, point)| {
            let offset = point.and_then(|point| point.offset).unwrap_or(0);
            befores.extend(point.and_then(|point| point.before).map(|before| (p, before)));
            (p, usize::try_from(offset).unwrap_or(0))
        });
        let mut reader = self.reader_at(starts, seed ^ first);
        let log = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for (id, (offset, hash)) in befores {
            let found = log.get(&id).and_then(|p| p.records.get(usize::try_from(offset).ok()?));
            if found.is_none_or(|record| record_hash(&record.lend(offset)) != hash) {
                reader.made.remove(&id);
            }
        }
        drop(log);
        reader
    }

    /// A reader of partitions from these offsets.
    pub fn reader_at(
        &self,
        starts: impl IntoIterator<Item = (PartitionId, usize)>,
        seed: u64,
    ) -> MemoryReader {
        let next: BTreeMap<_, _> = starts.into_iter().collect();
        let partitions = next.keys().copied().collect();
        let log = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let made = next.keys().map(|id| (*id, log.get(id).map_or(0, |partition| partition.made)));
        let made = made.collect();
        drop(log);
        MemoryReader { log: self.clone(), partitions, next, made, random: seed | 1, wake: None }
    }
}

impl MemoryRecord {
    fn lend(&self, offset: i64) -> Record<'_> {
        Record {
            offset,
            time: RecordTime::Created(self.created),
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &[],
        }
    }
}

/// Reads a [`MemoryLog`].
pub struct MemoryReader {
    log: MemoryLog,
    partitions: Vec<PartitionId>,
    next: BTreeMap<PartitionId, usize>,
    /// Which of the topics of a name it reads; none where it is to go on in another.
    made: BTreeMap<PartitionId, u64>,
    random: u64,
    wake: Option<Box<dyn Fn() + Send + Sync>>,
}

impl MemoryReader {
    /// The next pseudo-random number (xorshift64).
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl SourceReader for MemoryReader {
    fn partitions(&self) -> &[PartitionId] {
        &self.partitions
    }

    fn poll(
        &mut self,
        partition: PartitionId,
        budget: NonZeroUsize,
        visit: &mut dyn FnMut(RecordBatch<'_>),
    ) -> Result<Poll, ConnectorError> {
        let chance = self.draw();
        if self.is_recreated(partition) {
            return Err(ConnectorError::Refused {
                endpoint: format!("{partition:?}"),
                reason: "the topic was recreated".to_owned(),
            });
        }
        let log = Arc::clone(&self.log.0);
        let log = log.read().unwrap_or_else(PoisonError::into_inner);
        let records = log.get(&partition).map(|partition| &partition.records);
        let (Some(records), Some(next)) = (records, self.next.get_mut(&partition)) else {
            return Ok(Poll::AtEnd);
        };
        if *next >= records.len() {
            return Ok(Poll::AtEnd);
        }
        if chance.is_multiple_of(4) {
            // "Arrives" at once: whoever waits for it is woken.
            self.wake.iter().for_each(|wake| wake());
            return Ok(Poll::Pending);
        }
        let most = usize::try_from(chance >> 32).unwrap_or(usize::MAX) % 64 + 1;
        let from = *next;
        let upto = records.len().min(from + budget.get().min(most));
        let borrowed: Vec<_> = records
            .iter()
            .enumerate()
            .take(upto)
            .skip(from)
            .map(|(offset, record)| record.lend(i64::try_from(offset).unwrap_or(i64::MAX)))
            .collect();
        visit(RecordBatch { partition, records: &borrowed });
        *next = upto;
        Ok(Poll::Ready)
    }

    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.wake = Some(wake);
    }

    fn position(&self, partition: PartitionId) -> Option<i64> {
        i64::try_from(*self.next.get(&partition)?).ok()
    }

    fn assign(
        &mut self,
        partition: PartitionId,
        offset: Option<i64>,
    ) -> Result<(), ConnectorError> {
        if let Err(at) = self.partitions.binary_search(&partition) {
            self.partitions.insert(at, partition);
            let offset = usize::try_from(offset.unwrap_or(0)).unwrap_or(0);
            self.next.insert(partition, offset);
            let log = self.log.0.read().unwrap_or_else(PoisonError::into_inner);
            self.made.insert(partition, log.get(&partition).map_or(0, |partition| partition.made));
        }
        Ok(())
    }

    fn is_recreated(&self, partition: PartitionId) -> bool {
        let log = self.log.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = log.get(&partition).map(|partition| partition.made);
        let is_another = |made| self.made.get(&partition) != Some(&made);
        self.partitions.contains(&partition) && found.is_some_and(is_another)
    }

    fn lag(&self, partition: PartitionId) -> Option<u64> {
        let log = self.log.0.read().unwrap_or_else(PoisonError::into_inner);
        let length = log.get(&partition)?.records.len();
        Some(length.saturating_sub(*self.next.get(&partition)?) as u64)
    }
}
