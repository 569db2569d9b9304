//! The items under way: what the next attempt sends, and the search for the one that is at fault.
//!
//! ```text
//! parts     [ 4 | 4 | 8 ]        items in order, cut into parts; an attempt sends the first part
//! rejected  [ 2 | 2 | 4 | 8 ]    rejected as a whole: it is halved, the first half goes first
//! settled       [ 2 | 4 | 8 ]    what is in or dead-lettered leaves, what is to be sent again stays
//! ```
//! A part of one item that is rejected is the culprit. A single bad item among `n` is found with about
//! `2 log2(n)` attempts, and items never overtake each other inside a batch.

/// Items in order, cut into parts.
#[derive(Debug)]
pub(super) struct Batch<Item> {
    items: Vec<Item>,
    /// Lengths of the parts, the first part last; none is zero, and they add up to `items.len()`.
    parts: Vec<usize>,
    /// Whether a culprit is being looked for: then nothing is added.
    searching: bool,
}

/// What became of one item of an attempt.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in, and leaves the batch.
    Delivered,
    /// It will never be, and leaves the batch.
    Rejected,
    /// It stays, to be sent again.
    Again,
}

impl<Item> Batch<Item> {
    pub(super) fn new() -> Self {
        Batch { items: Vec::new(), parts: Vec::new(), searching: false }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many items may be added so that it holds at most `batch_items`.
    pub(super) fn room(&self, batch_items: usize) -> usize {
        if self.searching { 0 } else { batch_items.saturating_sub(self.items.len()) }
    }

    /// Adds items at the end of the one part.
    pub(super) fn extend(&mut self, items: impl Iterator<Item = Item>) {
        self.items.extend(items);
        self.parts.clear();
        if !self.items.is_empty() {
            self.parts.push(self.items.len());
        }
    }

    /// The items of the next attempt; empty only when the batch is.
    pub(super) fn part(&self) -> &[Item] {
        let len = self.parts.last().copied().unwrap_or_default();
        self.items.get(..len).unwrap_or(&self.items)
    }

    /// The item with this index among all.
    pub(super) fn get(&self, index: usize) -> Option<&Item> {
        self.items.get(index)
    }

    /// Halves the first part, which has at least two items.
    pub(super) fn halve(&mut self) {
        if let Some(len) = self.parts.pop() {
            let first = len / 2;
            self.parts.push(len - first);
            if first > 0 {
                self.parts.push(first);
            }
            self.searching = true;
        }
    }

    /// Ends an attempt: `fates` has one for each item of the first part. How many stay.
    pub(super) fn settle(&mut self, fates: &[Fate]) -> usize {
        let len = self.parts.pop().unwrap_or_default().min(self.items.len());
        let rest = self.items.split_off(len);
        let mut fates = fates.iter();
        self.items.retain(|_| fates.next() == Some(&Fate::Again));
        let kept = self.items.len();
        if kept > 0 {
            self.parts.push(kept);
        }
        self.items.extend(rest);
        self.searching &= !self.items.is_empty();
        kept
    }

    /// Everything that is left, in order.
    pub(super) fn into_items(self) -> Vec<Item> {
        self.items
    }
}
