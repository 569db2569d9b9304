//! What travels between the worker that reads and the worker that owns.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
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
        /// Stable hash of the group's labels.
        hash: u64,
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

impl FeedMessage {
    /// The bucket that decides which worker it goes to.
    pub fn bucket(&self) -> u64 {
        match self {
            FeedMessage::Group { hash, .. } | FeedMessage::Partial { hash, .. } => hash % BUCKETS,
        }
    }
}
