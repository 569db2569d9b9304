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
use crate::record::{PartitionId, Record, RecordBatch, RecordTime};
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
pub struct MemoryLog(Arc<RwLock<BTreeMap<PartitionId, Vec<MemoryRecord>>>>);

impl MemoryLog {
    /// A log of these partitions.
    pub fn new(partitions: BTreeMap<PartitionId, Vec<MemoryRecord>>) -> Self {
        MemoryLog(Arc::new(RwLock::new(partitions)))
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Appends records to `partition`, which is made when it is not there.
    pub fn append(&self, partition: PartitionId, records: impl IntoIterator<Item = MemoryRecord>) {
        let mut partitions = self.0.write().unwrap_or_else(PoisonError::into_inner);
        partitions.entry(partition).or_default().extend(records);
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
        let starts = partitions.into_iter().map(|(p, point)| {
            let offset = point.and_then(|point| point.offset).unwrap_or(0);
            (p, usize::try_from(offset).unwrap_or(0))
        });
        self.reader_at(starts, seed ^ first)
    }

    /// A reader of partitions from these offsets.
    pub fn reader_at(
        &self,
        starts: impl IntoIterator<Item = (PartitionId, usize)>,
        seed: u64,
    ) -> MemoryReader {
        let next: BTreeMap<_, _> = starts.into_iter().collect();
        let partitions = next.keys().copied().collect();
        MemoryReader { log: self.clone(), partitions, next, random: seed | 1, wake: None }
    }
}

/// Reads a [`MemoryLog`].
pub struct MemoryReader {
    log: MemoryLog,
    partitions: Vec<PartitionId>,
    next: BTreeMap<PartitionId, usize>,
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
        let log = Arc::clone(&self.log.0);
        let log = log.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(records), Some(next)) = (log.get(&partition), self.next.get_mut(&partition))
        else {
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
            .map(|(offset, record)| Record {
                offset: i64::try_from(offset).unwrap_or(i64::MAX),
                time: RecordTime::Created(record.created),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
            })
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
        }
        Ok(())
    }

    fn lag(&self, partition: PartitionId) -> Option<u64> {
        let log = self.log.0.read().unwrap_or_else(PoisonError::into_inner);
        let length = log.get(&partition)?.len();
        Some(length.saturating_sub(*self.next.get(&partition)?) as u64)
    }
}
