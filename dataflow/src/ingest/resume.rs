//! Where reading goes on after a restore: for each partition the least offset whose records are not all part
//! of the cut, and the watermark before it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admission::PartitionClock;
use crate::record::PartitionId;
use crate::time::{EventTime, PaneSize};

/// A partition at a cut.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumePoint {
    /// The partition.
    pub partition: PartitionId,
    /// The first offset to read again; `None` when none was ever read of a partition read from its beginning.
    pub offset: Option<i64>,
    /// Its watermark before that record.
    pub watermark: Option<EventTime>,
    /// Its floor before that record.
    pub floor: EventTime,
    /// Offset and hash of the record before, to recognise a topic that was made anew.
    pub before: Option<(i64, u64)>,
    /// Whether it was lifted: its next record asks for a floor first.
    pub lifted: bool,
}

/// What is remembered of the first record of an admission pane.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Bookmark {
    offset: i64,
    watermark: Option<EventTime>,
    floor: EventTime,
    before: Option<(i64, u64)>,
}

/// For each admission pane that may still be cut, the first record with anything admitted in it.
///
/// Bound: one bookmark for each pane between what is applied and the newest admission time, which the
/// throttle bounds.
#[derive(Debug)]
pub(super) struct Bookmarks {
    /// Cuts come at multiples of it.
    grid: PaneSize,
    panes: BTreeMap<EventTime, Bookmark>,
    /// The pane bookmarked last: most records fall into it.
    last: Option<EventTime>,
}

impl Bookmarks {
    pub(super) fn new(grid: PaneSize) -> Self {
        Bookmarks { grid, panes: BTreeMap::new(), last: None }
    }

    /// Notes that the record at `offset` has something admitted at `admission`; `clock` is as before the
    /// record. `before` tells offset and hash of the record before it.
    #[inline]
    pub(super) fn note(
        &mut self,
        admission: EventTime,
        offset: i64,
        clock: &PartitionClock,
        before: impl FnOnce() -> Option<(i64, u64)>,
    ) {
        let pane = self.grid.floor(admission);
        if self.last == Some(pane) {
            return;
        }
        self.last = Some(pane);
        self.panes.entry(pane).or_insert_with(|| {
            let (watermark, floor) = clock.parts();
            Bookmark { offset, watermark, floor, before: before() }
        });
    }

    /// The least offset with anything admitted at `cut` or later, and the clock before it.
    pub(super) fn at(
        &self,
        cut: EventTime,
    ) -> Option<(i64, PartitionClockParts, Option<(i64, u64)>)> {
        let open = self.panes.range(cut..).map(|(_, bookmark)| bookmark);
        let first = open.min_by_key(|bookmark| bookmark.offset)?;
        Some((first.offset, (first.watermark, first.floor), first.before))
    }

    /// Forgets panes that no later cut can lie before.
    pub(super) fn forget_before(&mut self, time: EventTime) {
        while let Some(entry) = self.panes.first_entry()
            && self.grid.end(self.grid.pane(*entry.key())) <= time
        {
            if self.last == Some(*entry.key()) {
                self.last = None;
            }
            entry.remove();
        }
    }
}

/// Watermark and floor of a clock.
pub(super) type PartitionClockParts = (Option<EventTime>, EventTime);
