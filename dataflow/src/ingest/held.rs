//! Records that are read and wait for a decision about them.

use crate::record::{Header, PartitionId, Record, RecordBatch, RecordTime};

#[derive(Debug)]
struct HeldRecord {
    offset: i64,
    time: RecordTime,
    key: Option<Box<[u8]>>,
    value: Option<Box<[u8]>>,
    headers: Vec<(Box<str>, Box<[u8]>)>,
}

/// A batch with memory of its own. One a partition at most, which is not read further meanwhile.
#[derive(Debug)]
pub(super) struct HeldBatch {
    partition: PartitionId,
    records: Vec<HeldRecord>,
}

impl HeldBatch {
    pub(super) fn copy(batch: &RecordBatch<'_>) -> Self {
        let records = batch.records.iter().map(|record| HeldRecord {
            offset: record.offset,
            time: record.time,
            key: record.key.map(Box::from),
            value: record.value.map(Box::from),
            headers: record.headers.iter().map(|h| (h.name.into(), h.value.into())).collect(),
        });
        HeldBatch { partition: batch.partition, records: records.collect() }
    }

    /// The offset of the first record.
    pub(super) fn first_offset(&self) -> Option<i64> {
        self.records.first().map(|record| record.offset)
    }

    /// Lends the batch to `visit`.
    pub(super) fn lend<R>(&self, visit: impl FnOnce(&RecordBatch<'_>) -> R) -> R {
        let headers: Vec<Vec<_>> = self
            .records
            .iter()
            .map(|record| {
                record.headers.iter().map(|(name, value)| Header { name, value }).collect()
            })
            .collect();
        let records: Vec<_> = self
            .records
            .iter()
            .zip(&headers)
            .map(|(record, headers)| Record {
                offset: record.offset,
                time: record.time,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers,
            })
            .collect();
        visit(&RecordBatch { partition: self.partition, records: &records })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_is_what_was_copied() {
        let partition = PartitionId { topic: 1, partition: 2 };
        let headers = [Header { name: "rack", value: b"r7" }, Header { name: "empty", value: b"" }];
        let record = |offset, key, value, headers| Record {
            offset,
            time: RecordTime::Unknown,
            key,
            value,
            headers,
        };
        let records = [
            record(7, Some(&b"web-1"[..]), Some(&b"85%"[..]), &headers[..]),
            record(9, None, None, &[]),
        ];
        let held = HeldBatch::copy(&RecordBatch { partition, records: &records });
        assert_eq!(held.first_offset(), Some(7));
        held.lend(|batch| {
            assert_eq!((batch.partition, batch.records), (partition, &records[..]));
        });
    }
}
