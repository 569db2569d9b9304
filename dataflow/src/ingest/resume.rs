//! Where reading goes on after a restore: for each partition the least offset whose records are not all part
//! of the cut, and the watermark before it.

use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Whether it was lifted: the record at `next` asks for a floor first.
    pub lifted: bool,
    /// The first offset that had not been read when the point was put.
    pub next: Option<i64>,
    /// The bound that all records before `next` were admitted under.
    pub out_of_orderness: Duration,
}

/// What is remembered of the first record of an admission pane.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Bookmark {
    pub(super) offset: i64,
    /// Watermark and floor of the clock before the record.
    pub(super) clock: (Option<EventTime>, EventTime),
    /// Offset and hash of the record before.
    pub(super) before: Option<(i64, u64)>,
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
    /// First instant of the pane bookmarked last, and the first after: most records fall into it, and finding
    /// that out must not cost a division.
    last: (EventTime, EventTime),
}

impl Bookmarks {
    pub(super) fn new(grid: PaneSize) -> Self {
        Bookmarks { grid, panes: BTreeMap::new(), last: (EventTime::MIN, EventTime::MIN) }
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
        if self.last.0 <= admission && admission < self.last.1 {
            return;
        }
        let pane = self.grid.pane(admission);
        self.last = (self.grid.start(pane), self.grid.end(pane));
        self.panes.entry(self.last.0).or_insert_with(|| Bookmark {
            offset,
            clock: clock.parts(),
            before: before(),
        });
    }

    /// The first record with anything admitted at `cut` or later.
    pub(super) fn at(&self, cut: EventTime) -> Option<Bookmark> {
        let open = self.panes.range(cut..).map(|(_, bookmark)| bookmark);
        open.min_by_key(|bookmark| bookmark.offset).copied()
    }

    /// The first instant after the last pane with anything admitted in it that is remembered.
    pub(super) fn end(&self) -> EventTime {
        let last = self.panes.last_key_value();
        last.map_or(EventTime::MIN, |(start, _)| self.grid.end(self.grid.pane(*start)))
    }

    /// Forgets panes that no later cut can lie before.
    pub(super) fn forget_before(&mut self, time: EventTime) {
        while let Some(entry) = self.panes.first_entry()
            && self.grid.end(self.grid.pane(*entry.key())) <= time
        {
            if self.last.0 == *entry.key() {
                self.last = (EventTime::MIN, EventTime::MIN);
            }
            entry.remove();
        }
    }
}
