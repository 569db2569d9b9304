//! Plans: for each series, which of its fields feed which group of which feed. Made once for a series.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tidewatch_dataflow::series::{FieldId, Labels, SeriesId, SeriesTable};

use super::FeedSpec;

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
    by_labels: FxHashMap<Labels, u32>,
    /// For each slot its labels and their stable hash.
    pub(super) groups: Vec<(Labels, u64)>,
}

impl Slots {
    fn slot(&mut self, labels: Labels) -> u32 {
        if let Some(slot) = self.by_labels.get(&labels) {
            return *slot;
        }
        let slot = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.groups.push((labels.clone(), labels.stable_hash()));
        self.by_labels.insert(labels, slot);
        slot
    }
}

/// The plans of one worker.
#[derive(Debug)]
pub struct Plans {
    feeds: Vec<Arc<FeedSpec>>,
    fields: Vec<Option<FieldId>>,
    slots: Vec<Slots>,
    by_series: Vec<Option<SmallVec<[Target; 2]>>>,
}

impl Plans {
    /// No plan yet, for `feeds`.
    pub fn new(feeds: &[Arc<FeedSpec>]) -> Self {
        Plans {
            feeds: feeds.to_vec(),
            fields: vec![None; feeds.len()],
            slots: feeds.iter().map(|_| Slots::default()).collect(),
            by_series: Vec::new(),
        }
    }

    /// The groups of feed `feed`.
    pub fn slots(&self, feed: usize) -> Option<&Slots> {
        self.slots.get(feed)
    }

    /// The targets of `series`, worked out at its first appearance.
    pub fn of(&mut self, series: SeriesId, table: &mut SeriesTable) -> &[Target] {
        let at = series.0 as usize;
        if self.by_series.len() <= at {
            self.by_series.resize_with(at + 1, || None);
        }
        if self.by_series.get(at).is_some_and(Option::is_none) {
            let plan = self.compile(series, table);
            if let Some(entry) = self.by_series.get_mut(at) {
                *entry = Some(plan);
            }
        }
        self.by_series.get(at).and_then(|plan| plan.as_deref()).unwrap_or(&[])
    }

    fn compile(&mut self, series: SeriesId, table: &mut SeriesTable) -> SmallVec<[Target; 2]> {
        let mut targets = SmallVec::new();
        for (index, feed) in self.feeds.iter().enumerate() {
            let Some(known) = table.series(series) else { continue };
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
                targets.push(Target { field, feed, slot: slots.slot(group) });
            }
        }
        targets
    }
}
