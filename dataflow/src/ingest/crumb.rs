//! Breadcrumbs: which records a worker is taking in, told to somebody who outlives the process.
//!
//! A record that crashes the process that decodes, admits or folds it would do so at every restart. So source and
//! fold say what they are about to take in and when they have: after a crash, the records of the last word that was
//! not taken back are the suspects, and they are then taken in one at a time until the culprit is known.

use std::cell::RefCell;
use std::rc::Rc;

use crate::record::PartitionId;

/// The breadcrumb of a worker, which several of its operators leave, one after the other.
pub type SharedCrumb = Rc<RefCell<Box<dyn Breadcrumb>>>;

/// Where one worker leaves word of what it decodes, admits and folds. Each call costs a microsecond or two: one pair for
/// each batch is meant.
pub trait Breadcrumb {
    /// Whether the records of `partition` from `first` to `last`, both included, hold one that is
    /// suspected of having crashed an earlier run. Such a batch is read one record at a time, with
    /// [`set`](Self::set) and [`clear`](Self::clear) around each, wherever that is done.
    fn singly(&self, partition: PartitionId, first: i64, last: i64) -> bool;

    /// The records of `partition` from `first` to `last`, both included, are decoded next, or folded.
    fn set(&mut self, partition: PartitionId, first: i64, last: i64);

    /// That is done: nothing is under way.
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
