//! The samples of one admission pane while they wait, and their order when they are folded.
//!
//! ```text
//! fresh, as they arrive ──begin──► by slot ──advance──► each run in order ──finish──► visited run by run
//!                        counting sort        a few runs at a time, long ones folded ahead
//! ```
//! A run is what one partition brought for one slot. Within it samples are visited by (event time, value),
//! whatever was done ahead: a pane from which nothing more is expected is put in order while the frontier is still
//! on its way to the pane's end, so that little is left to do when it gets there. A sample that comes after that
//! is merged into its run at the end, and the run folded again.

use std::cmp::Ordering;
use std::collections::VecDeque;

use tidewatch_dataflow::time::EventTime;

/// One sample that waits for its pane: 24 bytes.
#[derive(Copy, Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) slot: u32,
    /// The partition, as a number of the fold.
    pub(super) source: u32,
    pub(super) event_time: EventTime,
    pub(super) value: f64,
}

impl Row {
    /// The run it belongs to.
    fn run(&self) -> (u32, u32) {
        (self.slot, self.source)
    }

    /// The order in which a run is folded. Equal rows are equal to the bit.
    fn order(&self, other: &Row) -> Ordering {
        (self.run(), self.event_time)
            .cmp(&(other.run(), other.event_time))
            .then(self.value.total_cmp(&other.value))
    }
}

/// Shorter runs are folded at the end: what would be remembered of them takes more memory than it saves time.
const AHEAD_MIN: usize = 16;

/// The rows of one pane; `F` is what a run is folded to.
#[derive(Debug)]
pub(super) struct PaneRows<F> {
    /// In order of arrival, since the beginning or since the rows were put in order.
    fresh: Vec<Row>,
    /// By slot; up to `done` each run in order.
    sorted: Vec<Row>,
    done: usize,
    has_begun: bool,
    /// Folds of long runs by where they begin in `sorted`.
    ahead: VecDeque<(usize, F)>,
}

impl<F> Default for PaneRows<F> {
    fn default() -> Self {
        PaneRows {
            fresh: Vec::new(),
            sorted: Vec::new(),
            done: 0,
            has_begun: false,
            ahead: VecDeque::new(),
        }
    }
}

impl<F> PaneRows<F> {
    #[inline]
    pub(super) fn push(&mut self, row: Row) {
        self.fresh.push(row);
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.sorted.len()
    }

    /// Whether [`PaneRows::begin`] was called.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Puts what has come so far in order of slots, of which there are `slots`.
    pub(super) fn begin(&mut self, slots: usize) {
        if !self.has_begun {
            self.has_begun = true;
            self.sorted = by_slot(std::mem::take(&mut self.fresh), slots);
        }
    }

    /// Puts runs in order and folds long ones, until `budget` rows are done; returns how many were.
    pub(super) fn advance(&mut self, budget: usize, mut fold: impl FnMut(&[Row]) -> F) -> usize {
        let from = self.done;
        while self.done < self.sorted.len() && self.done - from < budget {
            let at = self.done;
            let rows = sort_next(&mut self.sorted, at);
            self.done += rows.len();
            let mut start = at;
            for run in rows.chunk_by(|a, b| a.source == b.source) {
                if run.len() >= AHEAD_MIN {
                    self.ahead.push_back((start, fold(run)));
                }
                start += run.len();
            }
        }
        self.done - from
    }

    /// Visits every run with its rows in order and its fold.
    pub(super) fn finish(
        mut self,
        slots: usize,
        mut fold: impl FnMut(&[Row]) -> F,
        mut visit: impl FnMut(&[Row], F),
    ) {
        self.begin(slots);
        let PaneRows { fresh: mut after, mut sorted, done, mut ahead, .. } = self;
        after.sort_unstable_by(Row::order);
        let mut after = after.chunk_by(|a, b| a.run() == b.run()).peekable();
        let (mut at, mut merged) = (0, Vec::new());
        while at < sorted.len() {
            let rows = match at < done {
                true => next(&sorted, at),
                false => sort_next(&mut sorted, at),
            };
            for run in rows.chunk_by(|a, b| a.source == b.source) {
                let known = ahead.pop_front_if(|(start, _)| *start == at).map(|(_, fold)| fold);
                at += run.len();
                let key = run.first().map(Row::run);
                let key_of = |run: &&[Row]| run.first().map(Row::run);
                while let Some(before) = after.next_if(|run| key_of(run) < key) {
                    visit(before, fold(before));
                }
                if let Some(late) = after.next_if(|run| key_of(run) == key) {
                    merged.clear();
                    merged.extend_from_slice(run);
                    merged.extend_from_slice(late);
                    merged.sort_by(Row::order);
                    visit(&merged, fold(&merged));
                } else {
                    visit(run, known.unwrap_or_else(|| fold(run)));
                }
            }
        }
        after.for_each(|run| visit(run, fold(run)));
    }
}

/// The rows of one slot, which begin at `at`.
fn next(rows: &[Row], at: usize) -> &[Row] {
    let rest = rows.get(at..).unwrap_or_default();
    rest.chunk_by(|a, b| a.slot == b.slot).next().unwrap_or_default()
}

/// [`next`], put in order.
fn sort_next(rows: &mut [Row], at: usize) -> &[Row] {
    let length = next(rows, at).len();
    let rows = rows.get_mut(at..at + length).unwrap_or_default();
    if !rows.is_sorted_by(|a, b| a.order(b) != Ordering::Greater) {
        rows.sort_unstable_by(Row::order);
    }
    rows
}

/// The rows by slot; each slot's as they came.
fn by_slot(mut rows: Vec<Row>, slots: usize) -> Vec<Row> {
    // Counting takes as long as there are slots.
    let is_sparse = rows.len() < slots / 8 || u32::try_from(rows.len()).is_err();
    if is_sparse || rows.iter().any(|row| row.slot as usize >= slots) {
        rows.sort_by_key(|row| row.slot);
        return rows;
    }
    let mut places = vec![0u32; slots];
    for row in &rows {
        if let Some(count) = places.get_mut(row.slot as usize) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for place in &mut places {
        sum += std::mem::replace(place, sum);
    }
    let free = Row { slot: 0, source: 0, event_time: EventTime::MIN, value: 0.0 };
    let mut sorted = vec![free; rows.len()];
    for row in rows {
        if let Some(place) = places.get_mut(row.slot as usize)
            && let Some(at) = sorted.get_mut(*place as usize)
        {
            *at = row;
            *place += 1;
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row((slot, source, time, value): (u32, u32, u64, u8)) -> Row {
        let event_time = EventTime::from_millis(time);
        Row { slot, source, event_time, value: f64::from(value) - 1.0 }
    }

    proptest! {
        #[test]
        fn oracle_runs_are_visited_as_if_all_were_sorted(
            raw in prop::collection::vec((0..5u32, 0..3u32, 0..9u64, 0..3u8), 0..200),
            begin in 0..250usize, steps in prop::collection::vec(0..40usize, 0..6),
            slots in prop::sample::select(vec![5usize, 3, 100_000]),
        ) {
            let rows: Vec<Row> = raw.into_iter().map(row).collect();
            let mut pane = PaneRows::default();
            let fold = |run: &[Row]| run.to_vec();
            for (at, row) in rows.iter().enumerate() {
                if at == begin {
                    pane.begin(slots);
                    for step in &steps {
                        pane.advance(*step, fold);
                    }
                }
                pane.push(*row);
            }
            prop_assert_eq!(pane.len(), rows.len());
            let mut seen = Vec::new();
            let mut folds = Vec::new();
            pane.finish(slots, fold, |run, fold| {
                seen.push(run.to_vec());
                folds.push(fold);
            });
            let mut expected = rows;
            expected.sort_by(Row::order);
            let expected: Vec<Vec<Row>> =
                expected.chunk_by(|a, b| a.run() == b.run()).map(<[Row]>::to_vec).collect();
            prop_assert_eq!(&seen, &expected);
            prop_assert_eq!(&folds, &expected);
        }
    }

    #[test]
    fn work_is_done_ahead_in_steps() {
        let mut pane = PaneRows::default();
        (0..3_000u64).rev().for_each(|n| pane.push(row((n as u32 % 3, 0, n, 0))));
        pane.begin(3);
        let mut folded = 0;
        let mut fold = |run: &[Row]| folded += run.len();
        assert_eq!(pane.advance(1, &mut fold), 1_000);
        assert_eq!(pane.advance(usize::MAX, &mut fold), 2_000);
        assert_eq!(pane.advance(usize::MAX, &mut fold), 0);
        pane.push(row((1, 0, 7, 0)));
        pane.finish(3, &mut fold, |_, ()| ());
        assert_eq!(
            folded,
            3_000 + 1_001,
            "only the run with the sample that came later is folded again"
        );
    }
}
