//! Where reading begins, and what is done when that place is gone.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::record::PartitionId;
use tidewatch_dataflow::time::EventTime;

/// Where to begin in a partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is left.
    Earliest,
    /// After the newest record at the moment of opening.
    Latest,
    /// At this offset. Where the log no longer has it, [`OnRetention`] decides.
    Offset(i64),
    /// At the first record whose Kafka timestamp is this or later; at the end when there is none yet.
    Time(EventTime),
}

/// What to do when retention has removed records that were still to be read: `on_retention` in the
/// pipeline file.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRetention {
    /// Read the partition no further and say what is lost, until a person decides.
    #[default]
    Error,
    /// Go on with the oldest record that is left, and count what is lost.
    Earliest,
}

/// What to do when a topic was deleted and made again under its name: `on_recreated` in the pipeline file.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRecreated {
    /// Read it from its beginning in the next run, which a restart begins.
    #[default]
    Restart,
    /// Read the partition no further and say so, until a person decides.
    Error,
}

/// A record that was read before, to tell whether the log is still the one it was read from.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRecord {
    /// Its offset.
    pub offset: i64,
    /// Its [`record_hash`](tidewatch_dataflow::record::record_hash).
    pub hash: u64,
}

/// A partition that a reader is to read.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Which.
    pub partition: PartitionId,
    /// From where on.
    pub start: Start,
    /// With [`Start::Offset`]: the last record before that offset, if it is remembered. It is fetched
    /// again and compared, and never handed out. Where it is gone (compacted, or past retention), nothing
    /// is compared. Ignored with the other starts.
    pub seen: Option<SeenRecord>,
}

impl From<(PartitionId, Start)> for Assigned {
    fn from((partition, start): (PartitionId, Start)) -> Self {
        Assigned { partition, start, seen: None }
    }
}
