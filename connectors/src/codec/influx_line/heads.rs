//! Series by the text that stands before their fields.
//!
//! Two lines that begin with the same name and tags, byte for byte, belong to the same series of the same
//! table; so nothing has to be checked but that the bytes are equal.

use tidewatch_dataflow::series::{SeriesId, SeriesTable, TableIdentity};

/// 8,192 entries, so a worker that reads some thousand series finds most of them here; an entry takes 32 bytes
/// and its head, 1 MiB in all with the usual 90 bytes of a head, 4.5 MiB at the most.
const SLOTS: usize = 8_192;
/// Longer heads are not remembered.
const HEAD_MAX: usize = 512;

/// Direct-mapped by a hash of the head; the head itself is always compared.
#[derive(Default)]
pub(super) struct Heads {
    /// Whose numbers these are.
    table: Option<TableIdentity>,
    /// Empty until the first head, then [`SLOTS`] long.
    slots: Vec<(Vec<u8>, SeriesId)>,
}

impl Heads {
    /// Forgets everything unless it is about `series`.
    pub(super) fn belong_to(&mut self, series: &SeriesTable) {
        if self.table != Some(series.identity()) {
            self.table = Some(series.identity());
            self.slots.clear();
        }
    }

    /// The series whose lines begin with `head`, if it is remembered.
    pub(super) fn find(&self, head: &[u8]) -> Option<SeriesId> {
        let (known, id) = self.slots.get(slot(head))?;
        (known == head).then_some(*id)
    }

    /// Remembers that lines that begin with `head` belong to `id`.
    pub(super) fn learn(&mut self, head: &[u8], id: SeriesId) {
        if head.len() > HEAD_MAX || head.is_empty() {
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || (Vec::new(), id));
        }
        if let Some(slot) = self.slots.get_mut(slot(head)) {
            // The memory of the head that was there is used again.
            slot.0.clear();
            slot.0.extend_from_slice(head);
            slot.1 = id;
        }
    }
}

/// Eight bytes at a time: any weakness costs a look-up in the table, and nothing else.
fn slot(head: &[u8]) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = head.as_chunks::<8>();
    let mut hash = head.len() as u64;
    for word in words {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
    }
    let tail = rest.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
    hash = (hash.rotate_left(23) ^ tail).wrapping_mul(FACTOR);
    // The top 13 bits: 2^13 is `SLOTS`.
    (hash >> 51) as usize
}
