//! Counters that are part of the state: what was counted before a cut is known at every cut, so that they go on
//! after a restore and nothing is counted twice.

use std::collections::BTreeMap;

use crate::checkpoint::{Participant, StateError};
use crate::dead_letter::Reason;
use crate::time::{EventTime, PaneSize};

/// Counts of `N` units by admission pane.
///
/// Bound: one row for each pane between the last cut and the newest admission time.
#[derive(Clone, Debug)]
pub struct Ledger<const N: usize> {
    grid: PaneSize,
    /// Everything before this is in the restored state and counted there.
    from: EventTime,
    settled: [u64; N],
    open: BTreeMap<EventTime, [u64; N]>,
    /// The row counted into last, with the first instant of its pane and the first after: most counts fall
    /// into it, and finding that out must not cost a division.
    current: (EventTime, EventTime, [u64; N]),
}

impl<const N: usize> Ledger<N> {
    /// Nothing counted; `grid` divides every cut, and what is admitted before `from` is not counted.
    pub fn new(grid: PaneSize, from: EventTime) -> Self {
        let current = (EventTime::MIN, EventTime::MIN, [0; N]);
        Ledger { grid, from, settled: [0; N], open: BTreeMap::new(), current }
    }

    /// Counts `count` of unit `unit`, admitted at `admission`; whether it was counted.
    #[inline]
    pub fn add(&mut self, unit: usize, admission: EventTime, count: u64) -> bool {
        if admission < self.from {
            return false;
        }
        if admission < self.current.0 || admission >= self.current.1 {
            self.turn_to(admission);
        }
        if let Some(cell) = self.current.2.get_mut(unit) {
            *cell += count;
        }
        true
    }

    fn turn_to(&mut self, admission: EventTime) {
        let pane = self.grid.pane(admission);
        let current = (self.grid.start(pane), self.grid.end(pane), [0; N]);
        let (old, _, counts) = std::mem::replace(&mut self.current, current);
        if counts.iter().any(|count| *count > 0) {
            add(self.open.entry(old).or_insert([0; N]), &counts);
        }
    }

    /// What was counted of everything admitted before `cut`, in this run.
    pub fn settle(&mut self, cut: EventTime) -> [u64; N] {
        self.turn_to(self.current.0);
        while let Some(entry) = self.open.first_entry()
            && *entry.key() < cut
        {
            add(&mut self.settled, &entry.remove());
        }
        self.settled
    }
}

fn add<const N: usize>(sum: &mut [u64; N], counts: &[u64; N]) {
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

/// A ledger that is an operator's part of every checkpoint, and goes on after a restore. The first worker goes on
/// from what all had counted.
pub struct Tally<const N: usize> {
    ledger: Ledger<N>,
    participant: Participant,
    before: [u64; N],
}

impl<const N: usize> Tally<N> {
    /// Goes on from what `participant` finds; `grid` divides every cut.
    ///
    /// # Errors
    /// [`StateError`] when the state cannot be read.
    pub fn try_new(participant: Participant, grid: PaneSize) -> Result<Self, StateError> {
        let mut before = [0; N];
        if participant.shard().index == 0 {
            for share in &participant.restored().shares {
                // A shorter row was written before the last units were added.
                let row: Vec<u64> = share.get("ledger")?.unwrap_or_default();
                before.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
            }
        }
        let ledger = Ledger::new(grid, participant.resumed_at());
        Ok(Tally { ledger, participant, before })
    }

    /// What was counted before the cut that is gone on from: everything on the first worker, nothing elsewhere.
    pub fn before(&self) -> &[u64; N] {
        &self.before
    }

    /// Counts `count` of unit `unit`, admitted at `admission`.
    #[inline]
    pub fn add(&mut self, unit: usize, admission: EventTime, count: u64) {
        self.ledger.add(unit, admission, count);
    }

    /// Puts the counts if a cut is announced that does not lie after `time`, the frontier of what is counted.
    pub fn put_if_due(&mut self, time: EventTime) {
        if let Some(cut) = self.participant.pending()
            && cut <= time
        {
            let mut row = self.ledger.settle(cut);
            add(&mut row, &self.before);
            self.participant.put(|pieces| pieces.put("ledger", row.as_slice()));
        }
    }
}

/// What a source counts; dead letters follow, by reason.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Unit {
    Records,
    Points,
    LogLines,
}

/// Where dead letters begin.
const LETTERS: usize = 3;
/// How many units a source counts.
const UNITS: usize = LETTERS + Reason::ALL.len();

/// The counts of a source.
pub type IngestTally = Tally<UNITS>;

impl IngestTally {
    #[inline]
    pub(super) fn count(&mut self, unit: Unit, admission: EventTime) {
        self.add(unit as usize, admission, 1);
    }

    pub(super) fn count_letter(&mut self, reason: Reason, admission: EventTime) {
        self.add(LETTERS + reason.index(), admission, 1);
    }

    /// Records, points, log lines and dead letters in order of [`Reason::ALL`], before the cut.
    pub(super) fn totals(&self) -> ([u64; LETTERS], &[u64]) {
        let [records, points, log_lines, letters @ ..] = &self.before;
        ([*records, *points, *log_lines], letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_cut_counts_what_lies_before_it() {
        let grid = PaneSize::new(Duration::from_secs(10)).unwrap();
        let at = |seconds: u64| EventTime::from_millis(seconds * 1_000);
        let mut ledger = Ledger::<2>::new(grid, at(10));
        for second in [5, 12, 25, 13, 31, 19, 20] {
            ledger.add(usize::from(second % 2 == 0), at(second), 1);
        }
        assert_eq!(ledger.settle(at(10)), [0, 0]);
        assert_eq!(ledger.settle(at(20)), [2, 1], "13 and 19; 12");
        assert_eq!(ledger.settle(at(30)), [3, 2]);
        assert_eq!(ledger.settle(at(40)), [4, 2]);
    }
}
