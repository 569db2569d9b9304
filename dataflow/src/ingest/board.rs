//! What every worker knows of all partitions, from the reports of all workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::PartitionId;
use crate::time::EventTime;

/// What the reader of a partition says of it.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The partition.
    pub partition: PartitionId,
    /// Which spell of activity or silence this is; rises.
    pub generation: u32,
    /// Nothing earlier will be admitted; `None` before the first record.
    pub watermark: Option<EventTime>,
    /// At the end of its log, and silent for the idle timeout.
    pub silent: bool,
    /// A record has come after silence: it holds time at `watermark` and waits for its floor.
    pub returning: bool,
    /// The first offset not admitted yet; of meaning when silent or returning.
    pub next: i64,
}

#[derive(Debug, Default)]
struct View {
    report: Option<Report>,
    lifted: Option<u32>,
}

impl View {
    fn is_lifted(&self) -> bool {
        match self.report {
            Some(report) => report.silent && self.lifted == Some(report.generation),
            // Found at run time, and not heard of since.
            None => self.lifted.is_some(),
        }
    }
}

/// The state of all partitions as known on one worker. One entry for each partition of the pipeline.
#[derive(Debug)]
pub struct Board {
    partitions: BTreeMap<PartitionId, View>,
    advanced: EventTime,
}

impl Board {
    /// A board on which nothing is known yet of `partitions`.
    pub fn new(partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        Board {
            partitions: partitions.into_iter().map(|p| (p, View::default())).collect(),
            advanced: EventTime::MIN,
        }
    }

    /// Takes in a report; an older generation than the known one is ignored.
    pub fn report(&mut self, report: Report) {
        let view = self.partitions.entry(report.partition).or_default();
        if view.report.is_none_or(|known| known.generation <= report.generation) {
            view.report = Some(report);
        }
    }

    /// Takes in a partition found at run time: it is lifted until its first record comes.
    pub fn discovered(&mut self, partition: PartitionId) {
        self.partitions.entry(partition).or_insert(View { lifted: Some(0), ..View::default() });
    }

    /// Whether `partition` is known.
    pub fn knows(&self, partition: PartitionId) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// Takes in the lift of a silent partition.
    pub fn lift(&mut self, partition: PartitionId, generation: u32) {
        self.partitions.entry(partition).or_default().lifted = Some(generation);
    }

    /// Takes in the advance of time with the clock.
    pub fn advance(&mut self, to: EventTime) {
        self.advanced = self.advanced.max(to);
    }

    /// How far time was advanced with the clock.
    pub fn advanced(&self) -> EventTime {
        self.advanced
    }

    /// The least watermark of the partitions that take part, [`EventTime::MIN`] while one of them is
    /// unknown; when none takes part, how far time was advanced.
    pub fn least(&self) -> EventTime {
        let live = self.partitions.values().filter(|view| !view.is_lifted());
        live.map(|view| view.report.and_then(|r| r.watermark).unwrap_or(EventTime::MIN))
            .min()
            .unwrap_or(self.advanced)
    }

    /// Reports of the partitions that ask to be lifted.
    pub fn to_lift(&self) -> Vec<Report> {
        let silent = self.partitions.values().filter(|view| !view.is_lifted());
        silent.filter_map(|view| view.report.filter(|report| report.silent)).collect()
    }

    /// Partitions that wait for their floor.
    pub fn returning(&self) -> impl Iterator<Item = Report> + '_ {
        self.partitions.values().filter_map(|view| view.report).filter(|report| report.returning)
    }

    /// All partitions with the offset of the next record of each, 0 where nothing is known.
    pub fn next_offsets(&self) -> impl Iterator<Item = (PartitionId, i64)> + '_ {
        self.partitions.iter().map(|(p, view)| (*p, view.report.map_or(0, |report| report.next)))
    }

    /// Whether every partition is lifted.
    pub fn all_lifted(&self) -> bool {
        self.partitions.values().all(View::is_lifted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId { topic: 0, partition: 0 };
    const Q: PartitionId = PartitionId { topic: 0, partition: 1 };

    fn report(partition: PartitionId, generation: u32, watermark: u64, silent: bool) -> Report {
        let watermark = Some(EventTime::from_millis(watermark));
        Report { partition, generation, watermark, silent, returning: false, next: 0 }
    }

    #[test]
    fn an_unknown_partition_holds_time() {
        let mut board = Board::new([P, Q]);
        board.report(report(P, 0, 50, false));
        assert_eq!(board.least(), EventTime::MIN);
        board.report(report(Q, 0, 70, false));
        assert_eq!(board.least(), EventTime::from_millis(50));
    }

    #[test]
    fn a_lift_that_crosses_a_return_is_stale() {
        let mut board = Board::new([P, Q]);
        board.report(report(P, 1, 50, true));
        board.report(report(Q, 0, 70, false));
        assert_eq!(board.to_lift(), [report(P, 1, 50, true)]);
        board.report(report(P, 2, 60, false));
        board.lift(P, 1);
        assert_eq!(board.least(), EventTime::from_millis(60), "returned, so not lifted");
    }

    #[test]
    fn with_all_lifted_time_follows_the_clock() {
        let mut board = Board::new([P]);
        board.report(report(P, 1, 50, true));
        board.lift(P, 1);
        assert!(board.all_lifted());
        board.advance(EventTime::from_millis(900));
        assert_eq!(board.least(), EventTime::from_millis(900));
    }
}
