//! The ports of sources: a reader that hands out borrowed batches, and a codec that decodes them.

use std::num::NonZeroUsize;

use crate::record::{Decoded, PartitionId, RecordBatch};
use crate::series::SeriesTable;
use crate::sink::ConnectorError;

/// What a poll of one partition found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Records were handed out; there may be more.
    Ready,
    /// Nothing is queued now, and it is not known to be the end: a fetch is on its way, the broker is out
    /// of reach, or the partition is new.
    Pending,
    /// The broker answered a fetch at the end of the log, and nothing came since.
    AtEnd,
}

/// Reads the partitions assigned to one worker. Never blocks, and within a partition never goes back.
pub trait SourceReader {
    /// The partitions this reader was opened with, sorted.
    fn partitions(&self) -> &[PartitionId];

    /// Hands at most `budget` records of `partition`, in offset order, to `visit` in one batch or none.
    ///
    /// # Errors
    /// [`ConnectorError`] when the partition cannot be read; the reader stays usable.
    fn poll(
        &mut self,
        partition: PartitionId,
        budget: NonZeroUsize,
        visit: &mut dyn FnMut(RecordBatch<'_>),
    ) -> Result<Poll, ConnectorError>;

    /// Called by the driver once: `wake` is to be called, from any thread, when records arrive after a
    /// poll that returned [`Poll::Pending`] or [`Poll::AtEnd`], and when a partition reaches its end.
    fn on_arrival(&mut self, wake: Box<dyn Fn() + Send + Sync>);

    /// The offset of the next record of `partition`: after the last one handed out, or where reading
    /// starts. `None` before the first record of a partition that is read from its beginning.
    fn position(&self, partition: PartitionId) -> Option<i64>;

    /// Starts to read a further partition, at `offset`, or where the reader's configuration says for new
    /// partitions. Does not block. A partition that is read already goes on as it was.
    ///
    /// # Errors
    /// [`ConnectorError`] when it cannot be read; the others go on.
    fn assign(&mut self, partition: PartitionId, offset: Option<i64>)
    -> Result<(), ConnectorError>;

    /// Whether the log of `partition` turned out not to be the one that was read, and is to be read from its
    /// beginning: its topic was made anew. Polls of it fail from then on. A reader that cannot tell says no.
    fn is_recreated(&self, partition: PartitionId) -> bool {
        let _ = partition;
        false
    }

    /// How many records lie between the position of `partition` and the end of its log, where known.
    fn lag(&self, partition: PartitionId) -> Option<u64>;
}

/// Turns records into points and log lines.
pub trait Codec {
    /// Decodes all records of `batch`, appending to `out` as [`Decoded`] says: a record whole or not
    /// at all. Never fails as a whole.
    fn decode(&mut self, batch: &RecordBatch<'_>, series: &mut SeriesTable, out: &mut Decoded);
}
