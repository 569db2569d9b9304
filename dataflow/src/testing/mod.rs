//! A source in memory for tests and embedding: partitions that are lists, read in any interleaving.
//!
//! It is a real source: it keeps every promise of [`SourceReader`], and the engine cannot tell it from a
//! broker. A seed decides how much each poll hands out and when it pretends that nothing arrived yet, so
//! that tests can try many interleavings.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

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

/// Partitions in memory; offsets count from 0.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<BTreeMap<PartitionId, Vec<MemoryRecord>>>);

impl MemoryLog {
    /// A log of these partitions.
    pub fn new(partitions: BTreeMap<PartitionId, Vec<MemoryRecord>>) -> Self {
        MemoryLog(Arc::new(partitions))
    }

    /// All partitions, in order.
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.0.keys().copied().collect()
    }

    /// A reader of `partitions` from their beginning, whose batches and pauses depend on `seed`.
    pub fn reader(&self, partitions: Vec<PartitionId>, seed: u64) -> MemoryReader {
        let next = partitions.iter().map(|p| (*p, 0)).collect();
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

    fn lag(&self, partition: PartitionId) -> Option<u64> {
        let length = self.log.0.get(&partition)?.len();
        Some(length.saturating_sub(*self.next.get(&partition)?) as u64)
    }
}
