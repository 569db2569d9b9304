//! Where each item that is not settled is, and the arithmetic of room: no locks, no waiting.
//!
//! ```text
//!  sequence numbers  ──────────────────────────────────────────────────────────────────────────────►
//!  [ under way ]  [ front, in memory ]  [ absent: in segments only ]  [ tail, in memory ]    next offer
//!    in the batch   <= queue_items                                      <= queue_items
//! ```
//! Without anything absent the tail is empty as long as the front has room.
//!
//! # Bounds
//! With `Q = queue_items`: what is under way and the front together are filled by offers up to `Q`, the tail
//! up to `Q`, and both together up to `2 Q`. Reading back adds a slice of at most `Q / 4` items, only to an
//! empty front, and only where what is under way leaves room for it below `Q`. So memory holds at most `2 Q`
//! items, and what [`OnFull::Stall`] lets overshoot.

use std::collections::VecDeque;
use std::ops::Range;

use super::batch::{Batch, Fate};
use super::spill::{Ledger, SegmentRef};
use super::{DeliveryConfig, OnFull};

/// What bounds a queue.
#[derive(Copy, Clone, Debug)]
pub(super) struct Limits {
    queue_items: usize,
    pub(super) on_full: OnFull,
    /// Bytes of segments; 0 when there is no spill, or it serves only for cuts.
    spill_bytes: u64,
}

impl Limits {
    pub(super) fn new(config: &DeliveryConfig, spill_bytes: u64) -> Self {
        let queue_items = config.queue_items.max(1);
        Limits { queue_items, on_full: config.on_full, spill_bytes }
    }

    /// At most this many items are in one segment, or are read back at once.
    pub(super) fn segment_items(&self) -> usize {
        (self.queue_items / 4).max(1)
    }

    fn has_overflow(&self) -> bool {
        self.spill_bytes > 0
    }
}

/// What to do about items beyond `queue_items`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Surplus {
    /// Nothing: there are none, or the spill is full.
    None,
    /// This many at the head of the tail are in a segment already: forget them.
    Drop(usize),
    /// Write what [`Waiting::to_spill`] says.
    Write,
}

/// Items to read back.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) segment: SegmentRef,
    /// Indexes in the segment.
    pub(super) indexes: Range<u64>,
}

/// All items of one sink that are not settled.
#[derive(Debug)]
pub(super) struct Waiting<Item> {
    /// False once the task has ended: nobody would take anything any more.
    pub(super) open: bool,
    /// Sequence numbers of the items of the batch, in its order.
    under_way: Vec<u64>,
    front: VecDeque<Item>,
    /// Sequence number of the first item that is not under way.
    front_first: u64,
    absent: u64,
    tail: VecDeque<Item>,
    pub(super) ledger: Ledger,
    /// Items before this are not to linger.
    pub(super) flush_until: u64,
    /// A segment that was found damaged, and what is wrong with it.
    pub(super) damaged: Option<(String, String)>,
    /// Not even one item more fits into the spill.
    pub(super) exhausted: bool,
}

impl<Item> Waiting<Item> {
    pub(super) fn new() -> Self {
        Waiting {
            open: true,
            under_way: Vec::new(),
            front: VecDeque::new(),
            front_first: 0,
            absent: 0,
            tail: VecDeque::new(),
            ledger: Ledger::default(),
            flush_until: 0,
            damaged: None,
            exhausted: false,
        }
    }

    fn tail_first(&self) -> u64 {
        self.front_first + self.front.len() as u64 + self.absent
    }

    /// The sequence number of the next item offered.
    pub(super) fn next(&self) -> u64 {
        self.tail_first() + self.tail.len() as u64
    }

    /// The sequence number of the first item that is not settled.
    pub(super) fn floor(&self) -> u64 {
        self.under_way.first().copied().unwrap_or(self.front_first)
    }

    /// How many items are in memory.
    pub(super) fn memory(&self) -> usize {
        self.under_way.len() + self.front.len() + self.tail.len()
    }

    /// How many items are in segments only.
    pub(super) fn absent(&self) -> u64 {
        self.absent
    }

    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        let q = limits.queue_items;
        match limits.has_overflow() {
            false => self.memory() >= q,
            true => self.tail.len() >= q || self.memory() >= q.saturating_mul(2),
        }
    }

    fn front_room(&self, limits: &Limits) -> usize {
        if self.absent > 0 || !self.tail.is_empty() {
            return 0;
        }
        match limits.has_overflow() {
            false => usize::MAX,
            true => limits.queue_items.saturating_sub(self.under_way.len() + self.front.len()),
        }
    }

    fn room(&self, limits: &Limits) -> usize {
        let q = limits.queue_items;
        match (self.open, limits.on_full, limits.has_overflow()) {
            (false, _, _) => 0,
            (true, OnFull::Stall, _) => usize::MAX,
            (true, OnFull::Shed, false) => q.saturating_sub(self.memory()),
            (true, OnFull::Shed, true) => {
                let tail = q.saturating_sub(self.tail.len());
                let both = q.saturating_mul(2).saturating_sub(self.memory());
                both.min(self.front_room(limits).saturating_add(tail))
            }
        }
    }

    /// Adds what there is room for; how many items were shed.
    pub(super) fn offer(&mut self, mut items: Vec<Item>, limits: &Limits) -> usize {
        let offered = items.len();
        items.truncate(self.room(limits));
        let shed = offered - items.len();
        let front_room = self.front_room(limits);
        if front_room >= items.len() {
            self.front.extend(items);
        } else {
            self.tail.extend(items.split_off(front_room));
            self.front.extend(items);
        }
        shed
    }

    /// Moves the oldest items, at most `max`, into the batch.
    pub(super) fn take(&mut self, max: usize, batch: &mut Batch<Item>) {
        let mut room = max;
        while room > 0 {
            if self.front.is_empty() && self.absent == 0 {
                std::mem::swap(&mut self.front, &mut self.tail);
            }
            let count = room.min(self.front.len());
            if count == 0 {
                return;
            }
            let end = self.front_first + count as u64;
            self.under_way.extend(self.front_first..end);
            self.front_first = end;
            batch.extend(self.front.drain(..count));
            room -= count;
        }
    }

    /// Ends an attempt, as [`Batch::settle`] does; whether segments were freed.
    pub(super) fn settle(&mut self, fates: &[Fate]) -> bool {
        if fates.contains(&Fate::Again) {
            let mut fates = fates.iter();
            self.under_way.retain(|_| fates.next().is_none_or(|fate| *fate == Fate::Again));
        } else {
            self.under_way.drain(..fates.len().min(self.under_way.len()));
        }
        self.prune()
    }

    /// Forgets segments that are settled; whether there were any.
    pub(super) fn prune(&mut self) -> bool {
        let pruned = !self.ledger.is_empty() && self.ledger.prune(self.floor());
        self.exhausted &= !pruned;
        pruned
    }

    /// Whether the batch has items that are not to linger.
    pub(super) fn is_flushing(&self) -> bool {
        self.under_way.first().is_some_and(|first| *first < self.flush_until)
    }

    /// What to read back, when the batch has room and memory before the absent items is empty.
    pub(super) fn to_read(&self, limits: &Limits) -> Option<Read> {
        let slice = limits.segment_items();
        let fits = self.under_way.is_empty() || self.under_way.len() + slice <= limits.queue_items;
        if self.absent == 0 || !self.front.is_empty() || !fits {
            return None;
        }
        let (segment, index, end) = self.ledger.find(self.front_first)?;
        let count = end.min(self.tail_first()) - self.front_first;
        let indexes = index..index + count.min(slice as u64);
        Some(Read { segment: segment.clone(), indexes })
    }

    /// Takes in what was read back.
    pub(super) fn put_front(&mut self, items: Vec<Item>) {
        self.absent = self.absent.saturating_sub(items.len() as u64);
        self.front.extend(items);
    }

    /// Sequence numbers of all unsettled items before `mark`, ascending.
    pub(super) fn unsettled(&self, mark: u64) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        let before = self.under_way.iter().copied().take_while(|sequence| *sequence < mark);
        for sequence in before {
            match ranges.last_mut() {
                Some(range) if range.end == sequence => range.end += 1,
                _ => ranges.push(sequence..sequence + 1),
            }
        }
        let rest = self.front_first..self.next().min(mark);
        if !rest.is_empty() {
            ranges.push(rest);
        }
        ranges
    }

    /// How many unsettled items are in segments.
    pub(super) fn covered(&self) -> u64 {
        let unsettled = self.unsettled(u64::MAX);
        let count = |ranges: &[Range<u64>]| -> u64 { ranges.iter().map(|r| r.end - r.start).sum() };
        let uncovered: u64 =
            self.ledger.uncovered(&unsettled).iter().map(|stretch| count(stretch)).sum();
        count(&unsettled) - uncovered
    }

    /// The first stretch of items before `mark` that are in memory only, cut to what one segment holds.
    pub(super) fn uncovered(&self, mark: u64, limits: &Limits) -> Option<Vec<Range<u64>>> {
        let stretch = self.ledger.uncovered(&self.unsettled(mark)).into_iter().next()?;
        let mut room = limits.segment_items() as u64;
        let mut ranges = Vec::new();
        for range in stretch {
            let end = range.end.min(range.start + room);
            room -= end - range.start;
            if end > range.start {
                ranges.push(range.start..end);
            }
        }
        Some(ranges)
    }

    /// The item with this sequence number, when it is in memory.
    pub(super) fn item<'a>(&'a self, batch: &'a Batch<Item>, sequence: u64) -> Option<&'a Item> {
        if sequence < self.front_first {
            return batch.get(self.under_way.binary_search(&sequence).ok()?);
        }
        let in_front = usize::try_from(sequence - self.front_first).ok()?;
        if let Some(item) = self.front.get(in_front) {
            return Some(item);
        }
        self.tail.get(usize::try_from(sequence.checked_sub(self.tail_first())?).ok()?)
    }

    /// Whether [`Waiting::surplus`] is worth asking.
    pub(super) fn may_spill(&self, limits: &Limits) -> bool {
        limits.has_overflow()
            && self.tail.len() >= limits.segment_items()
            && (self.absent > 0 || self.memory() > limits.queue_items)
            && self.open
    }

    /// What to do about items beyond `queue_items`.
    pub(super) fn surplus(&self, limits: &Limits) -> Surplus {
        let slice = limits.segment_items();
        if !self.may_spill(limits) {
            return Surplus::None;
        }
        let (first, bytes) = (self.tail_first(), self.ledger.bytes());
        if let Some((_, _, end)) = self.ledger.find(first) {
            // What cuts have written beyond the bound of the spill stays in memory too, which then fills up.
            let count = usize::try_from(end - first).map_or(slice, |count| count.min(slice));
            return match bytes <= limits.spill_bytes {
                true => Surplus::Drop(count),
                false => Surplus::None,
            };
        }
        match self.exhausted || bytes >= limits.spill_bytes {
            true => Surplus::None,
            false => Surplus::Write,
        }
    }

    /// What to move out of memory: sequence numbers, and how large the segment may be.
    pub(super) fn to_spill(&self, limits: &Limits) -> Option<(Vec<Range<u64>>, u64)> {
        if self.surplus(limits) != Surplus::Write {
            return None;
        }
        let first = self.tail_first();
        let slice = first..first + limits.segment_items() as u64;
        let ranges = self.ledger.uncovered(std::slice::from_ref(&slice)).into_iter().next()?;
        Some((ranges, limits.spill_bytes.saturating_sub(self.ledger.bytes())))
    }

    /// Forgets items at the head of the tail, which a segment holds; the caller drops them.
    pub(super) fn drop_tail(&mut self, count: usize) -> Vec<Item> {
        let count = count.min(self.tail.len());
        self.absent += count as u64;
        self.tail.drain(..count).collect()
    }

    /// Takes over segments of an earlier run, whose items are sent first. False when something was offered before.
    pub(super) fn restore(&mut self, segments: Vec<SegmentRef>) -> bool {
        if self.next() > 0 || !self.open {
            return false;
        }
        for segment in segments.into_iter().filter(|segment| segment.take > 0) {
            let run = self.absent..self.absent + segment.take;
            self.absent = run.end;
            self.ledger.add(segment, vec![run], true);
        }
        true
    }

    /// Ends it: from now on everything is shed. The items that are in no segment, those of the batch first.
    pub(super) fn close(&mut self, batch: Vec<Item>) -> Vec<Item> {
        self.open = false;
        let (front_first, tail_first, next) = (self.front_first, self.tail_first(), self.next());
        let under_way = self.under_way.iter().copied().zip(batch);
        let front = (front_first..).zip(std::mem::take(&mut self.front));
        let tail = (tail_first..).zip(std::mem::take(&mut self.tail));
        self.absent = next - front_first;
        let all = under_way.chain(front).chain(tail);
        let ledger = &self.ledger;
        all.filter(|(sequence, _)| ledger.find(*sequence).is_none()).map(|(_, item)| item).collect()
    }
}
