//! What waits to be applied, by admission pane.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::Pane;

/// The dense number of a group inside one machine.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupId(pub u32);

/// Something admitted: a partial of one group and event pane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry<P> {
    /// The group it belongs to.
    pub group: GroupId,
    /// The pane its samples were measured in; before the admission pane for a correction.
    pub event_pane: Pane,
    /// Decides the order among entries of one group and event pane: the partition, as a number.
    pub order: u64,
    /// The content.
    pub partial: P,
}

/// Entries by admission pane. Bounded by the source's throttle: only what is ahead of the frontier waits here.
#[derive(Debug)]
pub struct Inbox<P> {
    panes: BTreeMap<Pane, Vec<Entry<P>>>,
    /// Panes before this one are applied already.
    next: Pane,
    /// Room that is made for a pane: most have as many entries as the one before.
    room: usize,
}

/// Room for at most so many entries is made ahead: at 100 bytes each, 0.8 MB for each pane that waits.
const ROOM_MAX: usize = 8_192;

impl<P> Default for Inbox<P> {
    fn default() -> Self {
        Inbox { panes: BTreeMap::new(), next: Pane(0), room: 0 }
    }
}

impl<P> Inbox<P> {
    /// Adds an entry to `admission_pane`, or to the first pane not applied yet if that is later, which
    /// a sender that keeps its promises never makes happen.
    pub fn admit(&mut self, admission_pane: Pane, entry: Entry<P>) {
        let pane = self.panes.entry(admission_pane.max(self.next));
        pane.or_insert_with(|| Vec::with_capacity(self.room)).push(entry);
    }

    /// The first pane with entries.
    pub fn first(&self) -> Option<Pane> {
        self.panes.keys().next().copied()
    }

    /// Takes the entries of `pane`, sorted by (group, event pane, order), and marks it applied.
    pub fn take(&mut self, pane: Pane) -> Vec<Entry<P>> {
        self.next = Pane(pane.0.saturating_add(1)).max(self.next);
        let mut entries = self.panes.remove(&pane).unwrap_or_default();
        self.room = entries.len().min(ROOM_MAX);
        // What one worker sends is mostly sorted, and sorting takes half as much memory again even then.
        let key = |e: &Entry<P>| (e.group, e.event_pane, e.order);
        if !entries.is_sorted_by_key(key) {
            entries.sort_by_key(key);
        }
        entries
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.panes.values().map(Vec::len).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }
}
