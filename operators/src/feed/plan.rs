//! Plans: for each series, which of its fields feed which group of which feed. Made once for a series.

use std::sync::Arc;

use tidewatch_dataflow::series::{FieldId, Labels, SeriesId, SeriesTable};

use super::FeedSpec;
use super::index::LabelsIndex;
use super::message::bucket_of;
use super::quarantine::Fault;

/// Where a field of a series goes.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The field.
    pub field: FieldId,
    /// Index of the feed.
    pub feed: u32,
    /// The feed's slot for the group.
    pub slot: u32,
}

/// The groups of one feed that one worker has seen.
#[derive(Debug, Default)]
pub struct Slots {
    index: LabelsIndex,
    /// The labels of each slot.
    pub(super) groups: Vec<Labels>,
    /// The bucket of each slot.
    pub(super) buckets: Vec<u8>,
}

impl Slots {
    fn slot(&mut self, labels: Labels) -> u32 {
        let (slot, is_new) = self.index.find_or_push(labels, &mut self.groups);
        if is_new {
            let hash = self.groups.last().map_or(0, Labels::stable_hash);
            self.buckets.push(bucket_of(hash));
        }
        slot
    }
}

/// Where the targets of a series stand.
#[derive(Copy, Clone, Debug)]
struct Span {
    first: u32,
    count: u32,
}

/// No plan was made yet.
const UNKNOWN: Span = Span { first: 0, count: u32::MAX };

/// The plans of one worker.
#[derive(Debug)]
pub struct Plans {
    feeds: Vec<Arc<FeedSpec>>,
    fields: Vec<Option<FieldId>>,
    slots: Vec<Slots>,
    by_series: Vec<Span>,
    /// The targets of one series after the other: 12 bytes each, and 8 for a series.
    targets: Vec<Target>,
    /// Where to panic, in tests.
    fault: Option<Fault>,
}

/// What a [`Fault`] calls the fold.
const OPERATOR: &str = "fold";

impl Plans {
    /// No plan yet, for `feeds`.
    pub fn new(feeds: &[Arc<FeedSpec>]) -> Self {
        Plans {
            feeds: feeds.to_vec(),
            fields: vec![None; feeds.len()],
            slots: feeds.iter().map(|_| Slots::default()).collect(),
            by_series: Vec::new(),
            targets: Vec::new(),
            fault: None,
        }
    }

    /// Panics at the first point of a series of `fault`.
    pub(super) fn break_at(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// The groups of feed `feed`.
    pub fn slots(&self, feed: usize) -> Option<&Slots> {
        self.slots.get(feed)
    }

    /// The targets of `series`, worked out at its first appearance.
    pub fn of(&mut self, series: SeriesId, table: &mut SeriesTable) -> &[Target] {
        let at = series.0 as usize;
        if self.by_series.len() <= at {
            self.by_series.resize(at + 1, UNKNOWN);
        }
        if self.by_series.get(at).is_some_and(|span| span.count == UNKNOWN.count) {
            let first = self.targets.len();
            self.compile(series, table);
            let count = u32::try_from(self.targets.len() - first).unwrap_or_default();
            if let Some(span) = self.by_series.get_mut(at) {
                // There are fewer series than 2^32, and most have one target or none.
                *span = Span { first: u32::try_from(first).unwrap_or(u32::MAX), count };
            }
        }
        let Span { first, count } = self.by_series.get(at).copied().unwrap_or(UNKNOWN);
        let targets = self.targets.get(first as usize..).unwrap_or_default();
        targets.get(..count as usize).unwrap_or_default()
    }

    /// Appends the targets of `series`.
    fn compile(&mut self, series: SeriesId, table: &mut SeriesTable) {
        for (index, feed) in self.feeds.iter().enumerate() {
            let Some(known) = table.series(series) else { continue };
            if let Some(fault) = &self.fault
                && fault.strikes(OPERATOR, &known.labels)
            {
                fault.panic();
            }
            if !feed.selector.matches(known) {
                continue;
            }
            let Some(group) = known.labels.select(&feed.selector.group_by) else { continue };
            let (Some(field), Some(slots)) =
                (self.fields.get_mut(index), self.slots.get_mut(index))
            else {
                continue;
            };
            if field.is_none() {
                // A full table of field names leaves the feed without samples; the codec reports it.
                *field = table.intern_field(&feed.selector.field).ok();
            }
            if let Some(field) = *field {
                let feed = u32::try_from(index).unwrap_or(u32::MAX);
                self.targets.push(Target { field, feed, slot: slots.slot(group) });
            }
        }
    }
}
