//! Reads one batch of one partition: decode, admit, emit.

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use timely::dataflow::operators::Capability;

use super::admit::{self, Admission, Admitted};
use super::control::Control;
use super::held::HeldBatch;
use super::partition::Partition;
use super::source::{Ingest, PointBatch, Sessions, Source};
use crate::dead_letter::{Malformed, Reason};
use crate::record::{Decoded, Record, RecordBatch, Rejected};
use crate::source::Poll;
use crate::time::EventTime;

/// Records read of a partition that returns, before its floor is known.
const RETURNING_RECORDS: usize = 64;

/// What became of a batch.
enum Read {
    /// So many records are admitted.
    Admitted(usize),
    /// It waits for a decision.
    Held,
}

impl Source {
    /// Reads one batch of one partition and emits it; returns how many records it had.
    pub(super) fn read_one(
        &mut self,
        at: usize,
        budget: usize,
        now: EventTime,
        held: &[Capability<EventTime>],
        out: &mut Sessions<'_>,
    ) -> usize {
        let Source { reader, ingest, partitions, .. } = self;
        let Some(partition) = partitions.get_mut(at) else { return 0 };
        if partition.is_waiting() {
            return 0;
        }
        if let Some(batch) = partition.held.take() {
            return match batch.lend(|batch| take(ingest, partition, batch, now, held, out)) {
                Read::Admitted(records) => records,
                Read::Held => 0,
            };
        }
        if ingest.control.is_recreated(partition.id.topic) {
            // What is in the log now is for the next run.
            let admitted = partition.log_ended(now, ingest.control.capability.get());
            let ended = admitted.map(|end| Control::Ended { partition: partition.id, end });
            ingest.control.outgoing.borrow_mut().extend(ended);
            return 0;
        }
        let position = reader.position(partition.id);
        partition.reach(position);
        let is_live = partition.is_live();
        let mut budget = if is_live { budget } else { budget.min(RETURNING_RECORDS) };
        // A batch lies before the record that time has gone on without, or begins with it.
        let last = position.unwrap_or(0).saturating_add(budget as i64);
        if is_live && partition.is_left_behind(last) {
            budget = 1;
        }
        // Records that may have ended an earlier process are read one at a time; before the first record of a
        // partition nobody knows which come.
        let span = i64::try_from(budget).unwrap_or(i64::MAX);
        let (first, last) = match position {
            Some(first) => (first, first.saturating_add(span)),
            None => (0, i64::MAX),
        };
        if ingest.crumb.borrow().singly(partition.id, first, last) {
            budget = 1;
        }
        let Some(budget) = NonZeroUsize::new(budget) else { return 0 };
        let (mut read, mut arrived) = (0, None);
        let polled = reader.poll(partition.id, budget, &mut |batch| {
            let is_behind = |record: &Record<'_>| partition.is_left_behind(record.offset);
            if !is_live || batch.records.first().is_some_and(is_behind) {
                arrived = Some(HeldBatch::copy(&batch));
            } else if let Read::Admitted(records) = take(ingest, partition, &batch, now, held, out)
            {
                read = records;
            }
        });
        if let (Some(batch), Some(capability)) = (arrived, held.first()) {
            partition.ask_to_return(batch, *capability.time());
        }
        match polled {
            Ok(Poll::AtEnd) => partition.at_end(now, ingest.config.idle_timeout),
            Ok(Poll::Ready | Poll::Pending) => {}
            Err(error) => {
                ingest.counters.read_errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(partition = ?partition.id, %error, "could not read partition");
                if reader.is_recreated(partition.id) {
                    let found = Control::Recreated { topic: partition.id.topic };
                    ingest.control.outgoing.borrow_mut().push(found);
                }
            }
        }
        read
    }
}

/// Decodes, admits and emits a batch, or holds it when records are to be refused first.
fn take(
    ingest: &mut Ingest,
    partition: &mut Partition,
    batch: &RecordBatch<'_>,
    now: EventTime,
    held: &[Capability<EventTime>],
    out: &mut Sessions<'_>,
) -> Read {
    let [batch_capability, log_capability, letter_capability] = held else {
        return Read::Admitted(0);
    };
    let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) else {
        return Read::Admitted(0);
    };
    let facts = ingest.control.facts.clone();
    let facts = facts.borrow();
    let with = Admission {
        now,
        tolerance: ingest.config.future_tolerance,
        resumed_at: ingest.control.recovery.resumed_at(),
        facts: &facts,
    };
    ingest.crumb.borrow_mut().set(partition.id, first.offset, last.offset);
    let (before, mark) = partition.before;
    let mut decoded = Decoded::with_room(batch.records.len(), before, mark);
    decode(ingest, batch, &with, &mut decoded);
    partition.before = (batch.records.len(), decoded.mark());
    let offsets = admit::to_refuse(batch, &decoded, &with);
    if !offsets.is_empty() {
        ingest.crumb.borrow_mut().clear();
        partition.held = Some(HeldBatch::copy(batch));
        partition.refusal_asked = true;
        let refuse = Control::Refuse { partition: partition.id, offsets };
        ingest.control.outgoing.borrow_mut().push(refuse);
        return Read::Held;
    }
    let Admitted { mut letters, restored } =
        admit::admit(batch, &mut decoded, partition, &mut ingest.tally, &with);
    ingest.crumb.borrow_mut().clear();
    partition.admitted(last, now);
    let counters = &ingest.counters;
    let bytes = batch
        .records
        .iter()
        .map(|r| r.key.map_or(0, <[u8]>::len) as u64 + r.value.map_or(0, <[u8]>::len) as u64);
    counters.bytes.fetch_add(bytes.sum(), Ordering::Relaxed);
    let records = batch.records.len();
    counters.records.fetch_add((records - restored) as u64, Ordering::Relaxed);
    counters.points.fetch_add(decoded.points.len() as u64, Ordering::Relaxed);
    counters.log_lines.fetch_add(decoded.logs.len() as u64, Ordering::Relaxed);
    counters.no_numbers.fetch_add(decoded.no_numbers, Ordering::Relaxed);
    for letter in &letters {
        counters.count_dead_letters(letter.reason, 1);
    }
    let generation = facts.generation(batch.partition.topic).number;
    if generation > 0 {
        letters.iter_mut().for_each(|letter| letter.generation = generation);
        decoded.logs.iter_mut().for_each(|line| line.generation = generation);
    }
    ingest.open_points.add(decoded.points.len() as u64);
    if !letters.is_empty() {
        out.letters.session(letter_capability).give_container(&mut letters);
    }
    if !decoded.logs.is_empty() {
        out.logs.session(log_capability).give_container(&mut decoded.logs);
        decoded.logs = Vec::new();
    }
    if !decoded.points.is_empty() {
        let batch = PointBatch { partition: partition.id, generation, decoded };
        out.batches.session(batch_capability).give(batch);
    }
    Read::Admitted(records)
}

/// Decodes a batch, without the records that are to be passed over unread.
fn decode(
    ingest: &mut Ingest,
    batch: &RecordBatch<'_>,
    with: &Admission<'_>,
    decoded: &mut Decoded,
) {
    let Some(codec) = ingest.codecs.get_mut(batch.partition.topic as usize) else { return };
    let mut series = ingest.series.borrow_mut();
    let is_skipped = |record: &&Record<'_>| with.facts.is_skipped(batch.partition, record.offset);
    let skipped: Vec<_> = batch.records.iter().filter(is_skipped).map(|r| r.offset).collect();
    if skipped.is_empty() {
        codec.decode(batch, &mut series, decoded);
        return;
    }
    let records: Vec<_> = batch.records.iter().filter(|r| !is_skipped(r)).copied().collect();
    let others = RecordBatch { partition: batch.partition, records: &records };
    codec.decode(&others, &mut series, decoded);
    decoded.rejected.extend(skipped.into_iter().map(|offset| {
        let detail = "reading this record has ended the process twice";
        Rejected { offset, why: Malformed::new(Reason::Poison, detail) }
    }));
    decoded.rejected.sort_by_key(|rejected| rejected.offset);
}
