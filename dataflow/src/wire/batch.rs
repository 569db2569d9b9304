//! The container: a vector of records that knows how it travels.

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::container::{DrainContainer, PushInto, SizableContainer};
use timely::dataflow::channels::ContainerBytes;

use super::WireError;

/// Batches that came from a peer and could not be decoded, in this process since it started.
static UNDECODABLE: AtomicU64 = AtomicU64::new(0);

/// How many batches came from peers and could not be decoded, in this process since it started.
///
/// Anything but 0 means that the run has to end: see [`Batch`].
pub fn undecodable_batches() -> u64 {
    UNDECODABLE.load(Ordering::Relaxed)
}

/// How records become bytes between processes, and bytes records.
pub trait Codec<R>: 'static {
    /// Exactly how many bytes [`encode`](Self::encode) writes; a multiple of 8.
    fn encoded_bytes(records: &[R]) -> usize;

    /// Writes the records. Fails only when `writer` does.
    fn encode<W: Write>(records: &[R], writer: &mut W) -> io::Result<()>;

    /// Reads what [`encode`](Self::encode) wrote, all of it. Never panics, and allocates no more than in
    /// proportion to `bytes`, whatever they are.
    fn decode(bytes: &[u8]) -> Result<Vec<R>, WireError>;
}

/// A container of records for timely streams, which travels between processes as codec `C` says. Use it
/// by its aliases, such as [`Columns`](super::Columns).
///
/// # When bytes are no batch
///
/// [`try_from_bytes`](Self::try_from_bytes) returns the reason. Timely's own way,
/// [`ContainerBytes::from_bytes`], has to return a container, so there the reason is logged,
/// [`undecodable_batches`] goes up, and the container is empty. That is safe, though not pleasant: the
/// records that the sender announced are never accounted for, the frontier cannot pass their time, and so
/// nothing downstream takes the remaining data for all the data. Who runs the dataflow watches the count,
/// or a frontier that stands still, and restarts it from the last checkpoint.
pub struct Batch<R, C> {
    records: Vec<R>,
    codec: PhantomData<fn() -> C>,
}

impl<R, C> Batch<R, C> {
    /// An empty batch, which allocates nothing.
    pub const fn new() -> Self {
        Self { records: Vec::new(), codec: PhantomData }
    }

    /// The records in order.
    pub fn records(&self) -> &[R] {
        &self.records
    }

    /// The records in order.
    pub fn into_records(self) -> Vec<R> {
        self.records
    }
}

impl<R, C: Codec<R>> Batch<R, C> {
    /// Decodes what [`ContainerBytes::into_bytes`] wrote, or says why it can't.
    pub fn try_from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        C::decode(bytes).map(Self::from)
    }
}

impl<R, C: Codec<R>> ContainerBytes for Batch<R, C> {
    fn from_bytes(bytes: Bytes) -> Self {
        Self::try_from_bytes(&bytes).unwrap_or_else(|error| {
            UNDECODABLE.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "batch of a peer lost, the frontier stands still from here");
            Self::new()
        })
    }

    fn length_in_bytes(&self) -> usize {
        C::encoded_bytes(&self.records)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        // Timely reserved as much as was asked for: only a codec that miscounts can fail here, and the
        // receiver refuses what it left.
        if let Err(error) = C::encode(&self.records, writer) {
            tracing::error!(%error, "could not write a batch for a peer, which will refuse it");
        }
    }
}

impl<R, C> Accountable for Batch<R, C> {
    fn record_count(&self) -> i64 {
        self.records.record_count()
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

impl<R: 'static, C: 'static> DrainContainer for Batch<R, C> {
    type Item<'a> = R;
    type DrainIter<'a> = std::vec::Drain<'a, R>;

    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.records.drain(..)
    }
}

impl<R, C> SizableContainer for Batch<R, C> {
    fn at_capacity(&self) -> bool {
        self.records.at_capacity()
    }

    fn ensure_capacity(&mut self, stash: &mut Option<Self>) {
        if self.records.capacity() == 0
            && let Some(stashed) = stash.take()
        {
            self.records = stashed.records;
            self.records.clear();
        }
        self.records.ensure_capacity(&mut None);
    }
}

impl<R, C> PushInto<R> for Batch<R, C> {
    fn push_into(&mut self, record: R) {
        self.records.push(record);
    }
}

impl<R: Copy, C> PushInto<&R> for Batch<R, C> {
    fn push_into(&mut self, record: &R) {
        self.records.push(*record);
    }
}

impl<R, C> From<Vec<R>> for Batch<R, C> {
    fn from(records: Vec<R>) -> Self {
        Self { records, codec: PhantomData }
    }
}

impl<R, C> FromIterator<R> for Batch<R, C> {
    fn from_iter<I: IntoIterator<Item = R>>(records: I) -> Self {
        Self::from(Vec::from_iter(records))
    }
}

impl<'a, R, C> IntoIterator for &'a Batch<R, C> {
    type Item = &'a R;
    type IntoIter = std::slice::Iter<'a, R>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.iter()
    }
}

impl<R, C> IntoIterator for Batch<R, C> {
    type Item = R;
    type IntoIter = std::vec::IntoIter<R>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl<R, C> Default for Batch<R, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Clone, C> Clone for Batch<R, C> {
    fn clone(&self) -> Self {
        Self::from(self.records.clone())
    }

    fn clone_from(&mut self, source: &Self) {
        self.records.clone_from(&source.records);
    }
}

impl<R: PartialEq, C> PartialEq for Batch<R, C> {
    fn eq(&self, other: &Self) -> bool {
        self.records == other.records
    }
}

impl<R: fmt::Debug, C> fmt::Debug for Batch<R, C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Batch").field(&self.records).finish()
    }
}
