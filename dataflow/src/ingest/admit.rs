//! Gives decoded points their admission times, and turns what is refused into dead letters.

use std::collections::BTreeSet;
use std::time::Duration;

use super::journal::Facts;
use super::ledger::{IngestTally, Unit};
use super::partition::Partition;
use crate::dead_letter::{DeadLetter, Malformed, Reason};
use crate::record::{Decoded, Point, Record, RecordBatch, record_hash};
use crate::time::EventTime;

/// What a batch is admitted under.
pub(super) struct Admission<'a> {
    /// The present, by the wall clock.
    pub(super) now: EventTime,
    /// How far in the future a record may lie.
    pub(super) tolerance: Duration,
    /// Everything before this is in the restored state and is left out.
    pub(super) resumed_at: EventTime,
    /// Decisions about records.
    pub(super) facts: &'a Facts,
}

/// Offsets of records with a point beyond the tolerance of the broker's append time, or of now when the broker
/// did not stamp it. Kafka's own create time comes from the sender's clock and proves nothing.
fn in_the_future(batch: &RecordBatch<'_>, points: &[Point], with: &Admission<'_>) -> BTreeSet<i64> {
    // Whether the broker stamps at append is a setting of the topic: the first record tells for all.
    let stamped = batch.records.first().is_some_and(|record| record.appended().is_some());
    let latest = (with.now + with.tolerance).min(EventTime::MAX);
    let mut refused = BTreeSet::new();
    for point in points {
        let appended = if stamped { find(batch, point.offset) } else { None };
        let latest = match appended.and_then(Record::appended) {
            Some(time) => (time + with.tolerance).min(EventTime::MAX),
            None => latest,
        };
        if point.event_time > latest {
            refused.insert(point.offset);
        }
    }
    refused
}

fn find<'b, 'a>(batch: &'b RecordBatch<'a>, offset: i64) -> Option<&'b Record<'a>> {
    let at = batch.records.binary_search_by_key(&offset, |r| r.offset).ok()?;
    batch.records.get(at)
}

/// The records of `batch` that lie too far in the future and are not known as refused yet: they are to be
/// journaled before the batch is admitted, since a later look at the clock would say otherwise.
pub(super) fn to_refuse(
    batch: &RecordBatch<'_>,
    decoded: &Decoded,
    with: &Admission<'_>,
) -> Vec<i64> {
    let refused = in_the_future(batch, &decoded.points, with).into_iter();
    refused.filter(|offset| !with.facts.is_refused(batch.partition, *offset)).collect()
}

/// What admission leaves besides the points.
pub(super) struct Admitted {
    /// Refused and malformed records.
    pub(super) letters: Vec<DeadLetter>,
    /// How many records are part of the restored state already.
    pub(super) restored: usize,
}

/// Admits what was decoded from `batch`, in offset order, and takes out what is refused or restored already.
///
/// A record whose point is refused is taken out whole and does not move the watermark. Refused and malformed
/// records come back as dead letters.
pub(super) fn admit(
    batch: &RecordBatch<'_>,
    decoded: &mut Decoded,
    partition: &mut Partition,
    tally: &mut IngestTally,
    with: &Admission<'_>,
) -> Admitted {
    let mut letters = refuse(batch, decoded, with);
    let (mut points, mut lines) = (0, 0);
    let last = partition.last();
    let mut rejected = decoded.rejected.drain(..).peekable();
    let mut restored = Vec::new();
    for (index, record) in batch.records.iter().enumerate() {
        let offset = record.offset;
        partition.pass(offset);
        let clock = partition.clock.clone();
        let mut newest = None;
        while let Some(point) = decoded.points.get_mut(points)
            && point.offset <= offset
        {
            let admission = partition.clock.admit(point.event_time);
            point.admission_time = admission;
            newest = newest.max(Some(admission));
            tally.count(Unit::Points, admission);
            let before = || before(batch, index, last);
            partition.bookmarks.note(admission, offset, &clock, before);
            points += 1;
        }
        // A record counts, as a whole, where its last point does; one without points at the watermark.
        let belongs = newest.or(partition.clock.watermark()).unwrap_or(EventTime::MIN);
        let before = || before(batch, index, last);
        partition.bookmarks.note(belongs, offset, &clock, before);
        tally.count(Unit::Records, belongs);
        while decoded.logs.get(lines).is_some_and(|line| line.offset <= offset) {
            tally.count(Unit::LogLines, belongs);
            lines += 1;
        }
        if with.facts.is_refused(batch.partition, offset) {
            tally.count_letter(Reason::Future, belongs);
        }
        if belongs < with.resumed_at {
            restored.push(offset);
        }
        while let Some(why) = rejected.next_if(|rejected| rejected.offset <= offset) {
            tally.count_letter(why.why.reason, belongs);
            letters.push(letter(batch, Some(record), offset, why.why, None));
        }
    }
    drop(rejected);
    letters.sort_by_key(|letter| letter.offset);
    if with.resumed_at > EventTime::MIN {
        decoded.points.retain(|point| point.admission_time >= with.resumed_at);
        if !restored.is_empty() {
            let is_new = |offset: i64| restored.binary_search(&offset).is_err();
            decoded.logs.retain(|line| is_new(line.offset));
            letters.retain(|letter| is_new(letter.offset));
        }
    }
    Admitted { letters, restored: restored.len() }
}

/// Offset and hash of the record before the one at `index`.
fn before(batch: &RecordBatch<'_>, index: usize, last: Option<(i64, u64)>) -> Option<(i64, u64)> {
    match index.checked_sub(1).and_then(|index| batch.records.get(index)) {
        Some(record) => Some((record.offset, record_hash(record))),
        None => last,
    }
}

/// Takes the records out that lie too far in the future, by what is journaled.
fn refuse(batch: &RecordBatch<'_>, decoded: &mut Decoded, with: &Admission<'_>) -> Vec<DeadLetter> {
    let is_refused = |offset: i64| with.facts.is_refused(batch.partition, offset);
    let refused = batch.records.iter().filter(|record| is_refused(record.offset));
    let mut letters = Vec::new();
    for record in refused {
        let times = decoded.points.iter().filter(|p| p.offset == record.offset);
        let time = times.map(|p| p.event_time).max().unwrap_or_default();
        let detail = format!(
            "event time {} ms is more than {:?} ahead: check the clock of the sender",
            time.as_millis(),
            with.tolerance
        );
        let why = Malformed::new(Reason::Future, detail);
        letters.push(letter(batch, Some(record), record.offset, why, Some(time)));
    }
    if !letters.is_empty() {
        decoded.points.retain(|p| !is_refused(p.offset));
        decoded.logs.retain(|l| !is_refused(l.offset));
    }
    letters
}

/// The dead letter of a record of `batch`, in the first generation of its topic.
pub(super) fn letter(
    batch: &RecordBatch<'_>,
    record: Option<&Record<'_>>,
    offset: i64,
    why: Malformed,
    event_time: Option<EventTime>,
) -> DeadLetter {
    DeadLetter {
        partition: batch.partition,
        offset,
        generation: 0,
        reason: why.reason,
        detail: why.detail,
        key: record.and_then(|r| r.key).map(Box::from),
        value: record.and_then(|r| r.value).map(Box::from).unwrap_or_default(),
        event_time,
    }
}
