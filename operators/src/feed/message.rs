//! What travels between the worker that reads and the worker that owns.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tidewatch_dataflow::operator::Entry;
use tidewatch_dataflow::series::{BUCKETS, Labels};
use tidewatch_dataflow::time::Pane;

use crate::aggregate::Moments;
use crate::detect::sustained::ConditionPartial;

/// The fold of one group's samples of one event pane, admission pane and partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedPartial {
    /// Count, sum, spread, extremes.
    pub moments: Moments,
    /// One for each sustained rule of the feed; none in a correction.
    pub conditions: SmallVec<[Option<ConditionPartial>; 1]>,
}

/// What waits for a pane is moved when it is sorted: 24 bytes say whose and when it is, the moments take 40, and the
/// first condition 40 with the first instant of its samples.
const _: () = assert!(size_of::<Entry<FeedPartial>>() <= 104);

/// A message of a feed. A sender's slot means nothing elsewhere, so its labels go ahead of its first use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FeedMessage {
    /// Slot `slot` of worker `sender` stands for the group `labels`.
    Group {
        /// Stable hash of the labels.
        hash: u64,
        /// Index of the sending worker.
        sender: u32,
        /// The sender's number for the group.
        slot: u32,
        /// The group.
        labels: Labels,
    },
    /// A fold.
    Partial {
        /// The bucket of the group's labels, which decides which worker it goes to.
        bucket: u8,
        /// Index of the sending worker.
        sender: u32,
        /// The sender's number for the group.
        slot: u32,
        /// The partition, as a number that orders like it.
        order: u64,
        /// When the samples were measured.
        event_pane: Pane,
        /// When they are applied.
        admission_pane: Pane,
        /// The fold.
        partial: FeedPartial,
    },
}

/// The bucket of labels with this stable hash. There are 256, so it is one byte.
pub(super) fn bucket_of(stable_hash: u64) -> u8 {
    const { assert!(BUCKETS == 256) };
    (stable_hash % BUCKETS) as u8
}

impl FeedMessage {
    /// The bucket that decides which worker it goes to.
    pub fn bucket(&self) -> u64 {
        match self {
            FeedMessage::Group { hash, .. } => u64::from(bucket_of(*hash)),
            FeedMessage::Partial { bucket, .. } => u64::from(*bucket),
        }
    }
}
