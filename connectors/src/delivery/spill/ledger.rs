//! Which items are in which segments: arithmetic on sequence numbers, nothing else.
//!
//! A segment knows the sequence numbers of its items as runs; nearly always there is one. Two arise when a
//! receipt had singled out items for another attempt: those around them are settled, and in no segment.

use std::collections::VecDeque;
use std::ops::Range;

use super::segment::{SegmentRef, SinkState};

/// At most this many names of objects wait to be deleted: 10,000 names of 60 bytes are 0.6 MB. The object of
/// a name beyond that is left to the sweep that the next run begins with.
const CONDEMNED_MAX: usize = 10_000;

#[derive(Debug)]
struct Segment {
    /// What names it; its `skip` and `take` are those it was made or restored with.
    reference: SegmentRef,
    /// Sequence numbers of the items taken, ascending; none is empty.
    runs: Vec<Range<u64>>,
    /// Whether a checkpoint may name it: it is not ours to delete then.
    named: bool,
}

impl Segment {
    fn end(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.end)
    }

    fn first(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.start)
    }

    /// How many of its items come before `sequence`.
    fn count_before(&self, sequence: u64) -> u64 {
        self.runs.iter().map(|run| sequence.clamp(run.start, run.end) - run.start).sum()
    }
}

/// The segments that may hold items to deliver, in order.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Ledger {
    segments: VecDeque<Segment>,
    bytes: u64,
    /// Objects to delete: wholly settled, and named by no checkpoint.
    condemned: Vec<String>,
}

impl Ledger {
    pub(in crate::delivery) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes of all segments.
    pub(in crate::delivery) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a segment whose items have these sequence numbers.
    pub(in crate::delivery) fn add(
        &mut self,
        reference: SegmentRef,
        runs: Vec<Range<u64>>,
        named: bool,
    ) {
        self.bytes += reference.bytes;
        let segment = Segment { reference, runs, named };
        let at = self.segments.partition_point(|other| other.first() < segment.first());
        self.segments.insert(at, segment);
    }

    /// The segment with the item, the item's index there, and the end of its run.
    pub(in crate::delivery) fn find(&self, sequence: u64) -> Option<(&SegmentRef, u64, u64)> {
        self.segments.iter().find_map(|segment| {
            let run = segment.runs.iter().find(|run| run.contains(&sequence))?;
            let index = segment.reference.skip + segment.count_before(sequence);
            Some((&segment.reference, index, run.end))
        })
    }

    /// The parts of `unsettled` (ascending) that are in no segment, as stretches: between the items of one
    /// stretch lies none that is unsettled and in a segment, so that it may become one.
    pub(in crate::delivery) fn uncovered(&self, unsettled: &[Range<u64>]) -> Vec<Vec<Range<u64>>> {
        let runs = self.segments.iter().flat_map(|segment| segment.runs.iter().cloned());
        let mut covered: Vec<Range<u64>> = runs.collect();
        covered.sort_unstable_by_key(|run| run.start);
        let mut stretches = Vec::new();
        let mut stretch = Vec::new();
        for range in unsettled {
            let mut at = range.start;
            while at < range.end {
                let next = covered.partition_point(|run| run.end <= at);
                match covered.get(next) {
                    Some(run) if run.start <= at => {
                        stretches.extend(Some(std::mem::take(&mut stretch)));
                        at = run.end.min(range.end);
                    }
                    run => {
                        let end = run.map_or(range.end, |run| run.start.min(range.end));
                        stretch.push(at..end);
                        at = end;
                    }
                }
            }
        }
        stretches.push(stretch);
        stretches.retain(|stretch| !stretch.is_empty());
        stretches
    }

    /// What a restore needs for these unsettled items (ascending, all before `mark` and in segments); from
    /// now on a checkpoint may name the segments.
    pub(in crate::delivery) fn state(&mut self, unsettled: &[Range<u64>], mark: u64) -> SinkState {
        let count: u64 = unsettled.iter().map(|range| range.end - range.start).sum();
        let mut segments = Vec::new();
        for segment in &mut self.segments {
            let common = segment.runs.iter().flat_map(|run| {
                let common =
                    move |range: &Range<u64>| range.start.max(run.start)..range.end.min(run.end);
                unsettled.iter().map(common).filter(|range| !range.is_empty())
            });
            let hull = common.reduce(|hull, range| hull.start..range.end);
            let Some(hull) = hull else { continue };
            segment.named = true;
            let before = segment.count_before(hull.start);
            segments.push(SegmentRef {
                skip: segment.reference.skip + before,
                take: segment.count_before(hull.end) - before,
                ..segment.reference.clone()
            });
        }
        SinkState { mark, settled: mark - count, segments }
    }

    /// Forgets segments all of whose items are before `floor`, the first unsettled item; whether there were any.
    pub(in crate::delivery) fn prune(&mut self, floor: u64) -> bool {
        let mut pruned = false;
        while let Some(segment) = self.segments.pop_front_if(|segment| segment.end() <= floor) {
            self.bytes -= segment.reference.bytes;
            pruned = true;
            if !segment.named && self.condemned.len() < CONDEMNED_MAX {
                self.condemned.push(segment.reference.name);
            }
        }
        pruned
    }

    pub(in crate::delivery) fn condemned(&mut self) -> Vec<String> {
        std::mem::take(&mut self.condemned)
    }

    /// Puts an object (back) on the list of those to delete.
    pub(in crate::delivery) fn condemn(&mut self, name: String) {
        if self.condemned.len() < CONDEMNED_MAX {
            self.condemned.push(name);
        }
    }
}
