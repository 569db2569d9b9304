//! The reader as the driver sees it.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;
use tidewatch_dataflow::record::{PartitionId, Record, RecordBatch, record_hash};
use tidewatch_dataflow::sink::ConnectorError;
use tidewatch_dataflow::source::{Poll, SourceReader};

use super::super::batch_queue::Entry;
use super::super::error::classify;
use super::care::hear;
use super::{Assigned, BUDGET_MAX, KafkaReader, OnRecreated, SeenRecord, Start, endpoint};

/// The same memory, for records of another lifetime.
fn recycle<'a>(mut records: Vec<Record<'_>>) -> Vec<Record<'a>> {
    records.clear();
    // Nothing is left to map; the collection is made in place and keeps the memory.
    records
        .into_iter()
        .map(|record| Record { key: None, value: None, headers: &[], ..record })
        .collect()
}

/// What a batch said besides records.
#[derive(Default)]
struct Trouble {
    error: Option<ConnectorError>,
    /// The log does not have this place.
    out_of_range: Option<i64>,
}

impl Trouble {
    fn note(&mut self, at: &str, code: RDKafkaErrorCode, text: &str, offset: i64) {
        if matches!(code, RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) {
            tracing::warn!(
                partition = at,
                offset,
                text,
                "the log does not have the offset, asking what it has"
            );
            self.out_of_range = Some(offset);
            return;
        }
        match classify(at, code, text) {
            // The client tries again by itself.
            ConnectorError::Transient { .. } => {
                tracing::warn!(partition = at, %code, text, "kafka fetch failed, trying again");
            }
            error => self.error = Some(error),
        }
    }
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
        if self.recovering {
            self.recover();
        }
        let (topics, brokers, policy) = (&self.topics, &self.brokers, self.on_recreated);
        let at = || endpoint(topics.name(partition.topic), partition, brokers);
        let index = self.partitions.binary_search(&partition).ok();
        let slot = index.and_then(|index| self.slots.get_mut(index)).ok_or_else(|| {
            let reason = "the partition was not assigned to this reader".to_owned();
            ConnectorError::Permanent { endpoint: at(), reason }
        })?;
        if let Some(fault) = slot.progress.stopped {
            return Err(fault.error(at(), policy));
        }
        if let Some(error) = slot.fault.take() {
            return Err(error);
        }
        if let Some(until) = slot.kept_back {
            if Instant::now() < until {
                return Ok(Poll::Pending);
            }
            slot.kept_back = None;
        }
        let budget = budget.get().min(BUDGET_MAX);
        let batch = slot.queue.take(budget);
        if self.wake.main_ready.load(Ordering::Acquire) {
            // What the client has said meanwhile may be that this is another topic.
            hear(&self.consumer, &self.wake);
            self.wake.main_ready.store(true, Ordering::Release);
            if self.consumer.context().is_renewed(topics.name(partition.topic)) {
                self.wake.wake();
                return Ok(Poll::Pending);
            }
        }
        let mut records = recycle(std::mem::take(&mut self.records));
        let wanted = self.headers.get(partition.topic as usize).map_or(&[][..], Vec::as_slice);
        let (mut headers, mut ends) = (Vec::new(), Vec::new());
        let (mut taken, now) = (0, Instant::now());
        let mut trouble = Trouble::default();
        for entry in batch.entries() {
            taken += 1;
            match entry {
                Entry::Record(record) => {
                    if slot.progress.record(&record, now) {
                        records.push(record);
                        if !wanted.is_empty() {
                            batch.headers(taken - 1, wanted, &mut headers);
                            ends.push(headers.len());
                        }
                    }
                }
                Entry::End(offset) => {
                    slot.progress.end(offset, now);
                    slot.served = true;
                }
                Entry::Fault(code, text, offset) => {
                    slot.progress.at_end = false;
                    trouble.note(&at(), code, &text, offset);
                }
            }
        }
        let mut begin = 0;
        for (record, end) in records.iter_mut().zip(ends) {
            record.headers = headers.get(begin..end).unwrap_or_default();
            begin = end;
        }
        let found = !records.is_empty();
        if let Some(record) = records.last() {
            let hash = record_hash(record);
            slot.progress.last = Some(SeenRecord { offset: record.offset, hash });
            visit(RecordBatch { partition, records: &records });
        }
        self.records = recycle(records);
        drop(batch);
        if let Some(offset) = trouble.out_of_range {
            slot.progress.out_of_range(offset, now);
        }
        let stopped = slot.progress.stopped.map(|fault| fault.error(at(), policy));
        let at_end = slot.progress.at_end && slot.served;
        let fault = stopped.or(trouble.error);
        let answer = match (found, fault) {
            (true, fault) => {
                slot.fault = fault;
                Ok(Poll::Ready)
            }
            (false, Some(error)) => Err(error),
            (false, None) if at_end => Ok(Poll::AtEnd),
            (false, None) => {
                if taken == budget {
                    // All that was taken was known already, and there may be more.
                    self.wake.wake();
                }
                Ok(Poll::Pending)
            }
        };
        if slot.progress.is_recovering() {
            self.recovering = true;
            self.recover();
        }
        if answer.is_err() {
            self.publish();
        }
        answer
    }

    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        // The driver calls this once; a second function would never be called.
        let _ = self.wake.call.set(wake);
        // What arrived before there was anybody to tell.
        self.wake.wake();
    }

    fn position(&self, partition: PartitionId) -> Option<i64> {
        self.slot(partition)?.progress.next
    }

    /// As the trait says; nothing is asked of the brokers, so a new partition is read from its beginning, after
    /// [`KafkaReader::keep_back`].
    fn assign(
        &mut self,
        partition: PartitionId,
        offset: Option<i64>,
    ) -> Result<(), ConnectorError> {
        let is_new = self.slot(partition).is_none();
        let start = offset.map_or(Start::Earliest, Start::Offset);
        self.add(&[Assigned { partition, start, seen: None }])?;
        if is_new {
            self.keep_back(partition);
        }
        Ok(())
    }

    fn is_recreated(&self, partition: PartitionId) -> bool {
        let fault = self.fault(partition).filter(|_| self.on_recreated == OnRecreated::Restart);
        fault.is_some_and(|fault| fault.is_recreated())
    }

    fn lag(&self, partition: PartitionId) -> Option<u64> {
        let slot = self.slot(partition)?;
        let behind = slot.queue.high_watermark()?.saturating_sub(slot.progress.next?);
        Some(u64::try_from(behind).unwrap_or(0))
    }
}
