//! Breadcrumbs: which records a worker is decoding, told to somebody who outlives the process.
//!
//! A record that crashes the process that decodes it would do so at every restart. So the source says
//! what it is about to decode and when it has: after a crash, the records of the last word that was not
//! taken back are the suspects, and they are then decoded one at a time until the culprit is known.

use crate::record::PartitionId;

/// Where one worker leaves word of what it decodes. Each call costs a microsecond or two: one pair for
/// each batch is meant.
pub trait Breadcrumb {
    /// Whether the records of `partition` from `first` to `last`, both included, hold one that is
    /// suspected of having crashed an earlier run. Such a batch is decoded one record at a time, with
    /// [`set`](Self::set) and [`clear`](Self::clear) around each.
    fn singly(&self, partition: PartitionId, first: i64, last: i64) -> bool;

    /// The records of `partition` from `first` to `last`, both included, are decoded next.
    fn set(&mut self, partition: PartitionId, first: i64, last: i64);

    /// They were decoded: nothing is under way.
    fn clear(&mut self);
}

/// Leaves no word and suspects nobody: for tests, and for programs that nobody restarts.
#[derive(Copy, Clone, Debug, Default)]
pub struct NoCrumbs;

impl Breadcrumb for NoCrumbs {
    fn singly(&self, _: PartitionId, _: i64, _: i64) -> bool {
        false
    }

    fn set(&mut self, _: PartitionId, _: i64, _: i64) {}

    fn clear(&mut self) {}
}
