//! What workers tell each other on the control plane.

use serde::{Deserialize, Serialize};

use super::board::Report;
use super::journal::Decision;
use crate::checkpoint::{Cut, ObjectRef};
use crate::record::PartitionId;
use crate::time::EventTime;

/// What workers tell each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// News of a partition, from its reader.
    Report(Report),
    /// The director excuses a silent partition from the minimum.
    Lift {
        /// The partition.
        partition: PartitionId,
        /// The spell of silence this decision is about.
        generation: u32,
        /// The first offset it holds for.
        from: i64,
    },
    /// The director advances time with the clock, since every partition is lifted.
    Advance {
        /// Nothing will be admitted before this.
        to: EventTime,
    },
    /// The director lets a partition take part again.
    Return {
        /// The partition.
        partition: PartitionId,
        /// The spell this decision is about.
        generation: u32,
        /// The first offset it holds for.
        from: i64,
        /// Nothing of it will be admitted before this.
        floor: EventTime,
    },
    /// A reader wants records refused that lie too far in the future.
    Refuse {
        /// The partition.
        partition: PartitionId,
        /// Their offsets.
        offsets: Vec<i64>,
    },
    /// They are refused.
    Refused {
        /// The partition.
        partition: PartitionId,
        /// Their offsets.
        offsets: Vec<i64>,
    },
    /// A process of another machine has found out what crashes it.
    FoundOut {
        /// What is to be decided about it: takes effect with the next run.
        decisions: Vec<Decision>,
    },
    /// A partition was found at run time.
    Discovered {
        /// The partition.
        partition: PartitionId,
    },
    /// The director announces a cut.
    Cut {
        /// The cut.
        cut: Cut,
        /// The last batch of decisions that was told before it.
        journal: u64,
    },
    /// A worker has heard of a cut.
    Heard {
        /// The cut's number.
        sequence: u64,
    },
    /// A process has made its part of a checkpoint durable.
    Part {
        /// The cut's number.
        sequence: u64,
        /// Index of the process.
        process: u32,
        /// The part.
        part: ObjectRef,
    },
    /// A checkpoint is complete.
    Committed {
        /// Its cut.
        cut: Cut,
    },
    /// A reader found that a topic was made anew: nothing more of it is read in this run.
    Recreated {
        /// Index of the topic.
        topic: u32,
    },
    /// Nothing more of a partition is read.
    Ended {
        /// The partition.
        partition: PartitionId,
        /// Everything of it was admitted before this.
        end: EventTime,
    },
    /// Topics begin another generation with the next run: this one is to end.
    Renew {
        /// Indexes of the topics, and numbers of the generations.
        topics: Vec<(u32, u32)>,
    },
    /// One member was told to stop.
    StopWanted,
    /// One member cannot go on.
    EndWanted,
    /// All stop.
    Stop,
}
