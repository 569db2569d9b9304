//! Gives decoded points their admission times, and turns what is refused into dead letters.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::admission::PartitionClock;
use crate::dead_letter::{DeadLetter, Malformed, Reason};
use crate::record::{Decoded, Record, RecordBatch, RecordTime};
use crate::time::EventTime;

/// Admits the points of `decoded`, which were decoded from `batch`, in offset order.
///
/// Records with a point beyond `tolerance` of the broker's append time (or of `now`, when the broker did
/// not stamp it) are taken out whole, do not move the watermark, and come back as dead letters
/// together with the records the codec rejected.
pub(super) fn admit(
    batch: &RecordBatch<'_>,
    decoded: &mut Decoded,
    clock: &mut PartitionClock,
    now: EventTime,
    tolerance: Duration,
) -> Vec<DeadLetter> {
    let find = |offset: i64| {
        let at = batch.records.binary_search_by_key(&offset, |r| r.offset).ok()?;
        batch.records.get(at)
    };
    let mut refused = BTreeSet::new();
    let mut letters = Vec::new();
    // Whether the broker stamps at append is a setting of the topic: the first record tells for all.
    let stamped =
        matches!(batch.records.first(), Some(Record { time: RecordTime::Appended(_), .. }));
    let latest = (now + tolerance).min(EventTime::MAX);
    for point in &decoded.points {
        let record = if stamped { find(point.offset) } else { None };
        let latest = match record.map(|r| r.time) {
            Some(RecordTime::Appended(time)) => (time + tolerance).min(EventTime::MAX),
            _ => latest,
        };
        if point.event_time > latest {
            refused.insert(point.offset);
        }
    }
    if !refused.is_empty() {
        for offset in &refused {
            let times = decoded.points.iter().filter(|p| p.offset == *offset).map(|p| p.event_time);
            let time = times.max().unwrap_or_default();
            let detail = format!(
                "event time {} ms is more than {tolerance:?} ahead: check the clock of the sender",
                time.as_millis()
            );
            let why = Malformed::new(Reason::Future, detail);
            letters.push(letter(batch, find(*offset), *offset, why, Some(time)));
        }
        decoded.points.retain(|p| !refused.contains(&p.offset));
        decoded.logs.retain(|l| !refused.contains(&l.offset));
    }
    for point in &mut decoded.points {
        point.admission_time = clock.admit(point.event_time);
    }
    let rejected = decoded.rejected.drain(..);
    letters.extend(rejected.map(|r| letter(batch, find(r.offset), r.offset, r.why, None)));
    letters
}

fn letter(
    batch: &RecordBatch<'_>,
    record: Option<&Record<'_>>,
    offset: i64,
    why: Malformed,
    event_time: Option<EventTime>,
) -> DeadLetter {
    DeadLetter {
        partition: batch.partition,
        offset,
        reason: why.reason,
        detail: why.detail,
        key: record.and_then(|r| r.key).map(Box::from),
        value: record.and_then(|r| r.value).map(Box::from).unwrap_or_default(),
        event_time,
    }
}
