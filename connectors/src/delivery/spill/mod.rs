//! What stands behind a sink's memory queue: segments of items in a state store.
//!
//! Two things write them:
//! - **overflow**, in the background, when memory holds more than `queue_items`: the newest items go out of
//!   memory, and are read back in order when it empties;
//! - **cuts** ([`SinkHandle::make_durable`](super::SinkHandle::make_durable)): what is not settled yet and in no
//!   segment is written down, and stays in memory as well.
//!
//! One pen is passed between them, so that a segment is written at a time. While one is encoded the sink's
//! task takes nothing from the queue, but its attempt goes on; while it is written nobody waits.
//!
//! # Bounds
//! Overflow writes at most [`Spill::max_bytes`]. Cuts may go beyond it, by the bytes of what is in memory:
//! the bound cannot hold up a checkpoint. A segment has at most `queue_items / 4` items and 16 MiB, one larger
//! item excepted.
//!
//! # Whose objects they are
//! An object that [`make_durable`](super::SinkHandle::make_durable) has named, or that was restored, belongs to the
//! checkpoint layer, which deletes what no kept checkpoint names. All others are deleted here once all their
//! items are settled. What a run that died leaves unnamed is swept when the next one begins.

mod cut;
mod ledger;
mod overflow;
mod segment;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::checkpoint::{StateStore, StoreError};
use tokio::sync::{Mutex, OwnedRwLockReadGuard};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, warn};

pub(super) use cut::make_durable;
pub(super) use ledger::Ledger;
pub(super) use overflow::overflow;
pub(super) use segment::Codec;
pub use segment::{SegmentRef, SinkState, SpillError, verify_segment};

use super::batch::Batch;
use super::chain;
use super::handle::Shared;
use super::waiting::Read;
use segment::{SEGMENT_BYTES, SegmentWriter};

/// So many items are encoded under the queue's lock at a time: 256 of about 1 KB take 0.1 to 0.2 ms.
const SLICE: u64 = 256;

/// Upper end of the delays between attempts to write or delete; the first one is a tenth of a second.
const DELAY_MAX: Duration = Duration::from_secs(30);
const DELAY_MIN: Duration = Duration::from_millis(100);

/// Where a sink spills to.
#[derive(Clone)]
pub struct Spill {
    /// Keeps the segments. It is called on threads where it may block.
    pub store: Arc<dyn StateStore>,
    /// The segments are `PREFIX/00000000` and so on. No other sink and no other run may use it:
    /// `spill/00000007-p0-influxdb` of process 0 in run 7.
    pub prefix: String,
    /// At most this many bytes are written because the queue is full; 0: none, and the queue is full at
    /// `queue_items`. What cuts write is not held up by it.
    pub max_bytes: u64,
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spill { prefix, max_bytes, .. } = self;
        f.debug_struct("Spill").field("prefix", prefix).field("max_bytes", max_bytes).finish()
    }
}

/// The spill of one sink.
#[derive(Debug)]
pub(super) struct Spiller<Item> {
    spill: Spill,
    codec: Codec<Item>,
    /// Number of the next segment; who holds it may write.
    pen: Mutex<u64>,
}

/// What is to be written as one segment.
struct Want {
    /// Sequence numbers, ascending; all in memory.
    ranges: Vec<Range<u64>>,
    /// The object is at most this large.
    bytes_max: u64,
}

struct Encoded {
    segment: SegmentRef,
    runs: Vec<Range<u64>>,
    bytes: Vec<u8>,
}

/// How an attempt to write a segment ended.
#[derive(Debug, PartialEq, Eq)]
enum Put {
    Written,
    /// There was nothing to write.
    Nothing,
    /// Not even the first item fits.
    NoRoom,
}

impl<Item: Send + Sync + 'static> Spiller<Item> {
    pub(super) fn new(spill: Spill, codec: Codec<Item>) -> Self {
        Spiller { spill, codec, pen: Mutex::new(0) }
    }

    /// Reads items back.
    pub(super) async fn read(&self, read: Read) -> Result<Vec<Item>, SpillError> {
        let (store, codec) = (Arc::clone(&self.spill.store), self.codec);
        let name = read.segment.name.clone();
        let reading = spawn_blocking(move || {
            let Read { segment, indexes } = read;
            let bytes = store
                .read(&segment.name)
                .map_err(|source| SpillError::Unreadable { name: segment.name.clone(), source })?;
            let items = codec.read(&segment, &bytes, indexes);
            items.map_err(|reason| SpillError::Damaged { name: segment.name, reason })
        });
        reading.await.unwrap_or_else(|failure| {
            let source = failed("read", &name, failure);
            Err(SpillError::Unreadable { name, source })
        })
    }

    /// Whether a segment of an earlier run is whole, and has what it is said to have.
    pub(super) async fn verify(&self, segment: &SegmentRef) -> Result<(), SpillError> {
        let Some(end) = segment.skip.checked_add(segment.take) else {
            let reason = "it is said to have more items than can be".to_owned();
            return Err(SpillError::Damaged { name: segment.name.clone(), reason });
        };
        self.read(Read { segment: segment.clone(), indexes: segment.skip..end }).await.map(drop)
    }

    /// Writes what `want` finds worth writing, trying `attempts` times.
    async fn put(
        &self,
        shared: &Arc<Shared<Item>>,
        serial: &mut u64,
        attempts: u32,
        want: impl FnOnce(&Shared<Item>) -> Option<Want>,
    ) -> Result<Put, StoreError> {
        // While this is held items neither leave the queue nor the batch.
        let batch = Arc::clone(&shared.batch).read_owned().await;
        let Some(want) = want(shared) else { return Ok(Put::Nothing) };
        let (for_encoding, codec) = (Arc::clone(shared), self.codec);
        let encoding = spawn_blocking(move || encode(&for_encoding, batch, &want, codec));
        let encoded = match encoding.await {
            Ok(encoded) => encoded.map_err(|why| failed("create", &self.spill.prefix, why))?,
            Err(failure) => return Err(failed("create", &self.spill.prefix, failure)),
        };
        let Some(Encoded { mut segment, runs, bytes }) = encoded else { return Ok(Put::NoRoom) };
        segment.name = self.create(shared.stats.name(), serial, bytes.into(), attempts).await?;
        shared.queue.update(|waiting| match waiting.open {
            true => {
                shared.stats.add_segment();
                waiting.ledger.add(segment, runs, false);
                // Some may have been settled meanwhile.
                waiting.prune();
            }
            // What it holds was handed back when the sink was closed.
            false => waiting.ledger.condemn(segment.name),
        });
        // There may be an object to delete now.
        shared.queue.surplus.notify_one();
        Ok(Put::Written)
    }

    /// Creates an object with this content; its name.
    async fn create(
        &self,
        sink: &str,
        serial: &mut u64,
        bytes: Arc<[u8]>,
        attempts: u32,
    ) -> Result<String, StoreError> {
        let mut delay = DELAY_MIN;
        let mut attempt = 1;
        loop {
            let name = format!("{}/{serial:08}", self.spill.prefix);
            let (store, content) = (Arc::clone(&self.spill.store), Arc::clone(&bytes));
            let object = name.clone();
            let created = spawn_blocking(move || store.create_same(&object, &content));
            let created =
                created.await.unwrap_or_else(|failure| Err(failed("create", &name, failure)));
            let error = match created {
                Ok(()) => {
                    *serial += 1;
                    return Ok(name);
                }
                Err(error) => error,
            };
            if matches!(error, StoreError::Exists { .. }) {
                *serial += 1;
            }
            if attempt >= attempts {
                return Err(error);
            }
            let error = chain(&error);
            match attempt {
                1 => warn!(sink, error, "could not write a segment, trying again"),
                _ => debug!(sink, error, "could not write a segment, trying again"),
            }
            attempt += 1;
            sleep(delay).await;
            delay = (delay * 2).min(DELAY_MAX);
        }
    }
}

/// The segment that `want` makes; `None` when not even its first item fits.
fn encode<Item>(
    shared: &Shared<Item>,
    batch: OwnedRwLockReadGuard<Batch<Item>>,
    want: &Want,
    codec: Codec<Item>,
) -> Result<Option<Encoded>, String> {
    let mut writer = SegmentWriter::new(codec);
    let mut runs: Vec<Range<u64>> = Vec::new();
    let slices = want.ranges.iter().flat_map(|range| {
        let starts = (range.start..range.end).step_by(SLICE as usize);
        starts.map(move |start| start..range.end.min(start + SLICE))
    });
    'slices: for slice in slices {
        let waiting = shared.queue.lock();
        for sequence in slice {
            let item = waiting.item(&batch, sequence);
            let item = item.ok_or_else(|| format!("item {sequence} is not in memory"))?;
            let bytes_max = match writer.items() {
                0 => want.bytes_max,
                _ => want.bytes_max.min(SEGMENT_BYTES),
            };
            let pushed = writer.push(item, bytes_max);
            match pushed.map_err(|error| format!("item {sequence}: {error}"))? {
                false => break 'slices,
                true => match runs.last_mut() {
                    Some(run) if run.end == sequence => run.end += 1,
                    _ => runs.push(sequence..sequence + 1),
                },
            }
        }
    }
    drop(batch);
    let Some(first) = runs.first() else { return Ok(None) };
    let (segment, bytes) = writer.finish(first.start);
    Ok(Some(Encoded { segment, runs, bytes }))
}

/// A failure that is not the store's own.
fn failed(
    action: &'static str,
    name: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Failed { action, name: name.to_owned(), source: source.into() }
}
