//! Pieces: what operators put into a checkpoint, and find again after a restore.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::series::BUCKETS;
use crate::time::EventTime;

/// Why stored state cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The bytes are not what the operator writes: made by another version, or damaged.
    #[error("could not read piece `{piece}` of the state of `{operator}`: {reason}")]
    Unreadable {
        /// The operator.
        operator: String,
        /// The piece.
        piece: String,
        /// What is wrong.
        reason: String,
    },
    /// The state was made under other settings and cannot be taken over.
    #[error("the state of `{operator}` does not fit: {reason}")]
    Mismatch {
        /// The operator.
        operator: String,
        /// What differs, and the remedy.
        reason: String,
    },
}

/// Which groups a worker owns: those whose bucket, `hash % 256`, is its index modulo the number of workers.
///
/// ```
/// use tidewatch_dataflow::checkpoint::Shard;
/// let shards = [0, 1, 2].map(|index| Shard { index, peers: 3 });
/// assert_eq!(shards.iter().filter(|shard| shard.owns(0xfeed)).count(), 1);
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Index of the worker.
    pub index: usize,
    /// How many workers there are.
    pub peers: usize,
}

impl Shard {
    /// The only worker.
    pub const ALL: Shard = Shard { index: 0, peers: 1 };

    /// Whether the group with this stable hash belongs to the worker.
    pub fn owns(self, stable_hash: u64) -> bool {
        stable_hash % BUCKETS % self.peers.max(1) as u64 == self.index as u64
    }
}

/// One named part of an operator's state on one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its name, unique in the operator.
    pub name: Box<str>,
    /// What it holds.
    pub content: PieceContent,
}

/// The content of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceContent {
    /// As at the previous cut of this run.
    Same,
    /// These bytes.
    New(Vec<u8>),
}

/// Collects the pieces of one operator at one cut.
///
/// Pieces that were not put at a cut are not part of it. Cutting state into pieces that change at
/// different times (a table that only grows, one piece for each pane) makes checkpoints incremental.
///
/// ```
/// use std::collections::BTreeMap;
/// use tidewatch_dataflow::checkpoint::{PieceContent, PieceWriter};
/// let mut versions = BTreeMap::new();
/// for (version, is_written) in [(7, true), (7, false), (8, true)] {
///     let mut pieces = PieceWriter::new(&mut versions);
///     pieces.put_version("panes/31", version, || "what is in the pane");
///     let is_same = pieces.finish()[0].content == PieceContent::Same;
///     assert_eq!(is_same, !is_written, "an unchanged piece costs nothing");
/// }
/// ```
#[derive(Debug)]
pub struct PieceWriter<'a> {
    versions: &'a mut BTreeMap<Box<str>, u64>,
    seen: BTreeMap<Box<str>, u64>,
    pieces: Vec<Piece>,
}

impl<'a> PieceWriter<'a> {
    /// A writer that remembers in `versions` what the previous cut held, and leaves there what this one does.
    pub fn new(versions: &'a mut BTreeMap<Box<str>, u64>) -> Self {
        PieceWriter { versions, seen: BTreeMap::new(), pieces: Vec::new() }
    }

    /// Adds a piece that may have changed since the previous cut.
    pub fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.push(name, encode(value));
    }

    /// Adds a piece whose content is a function of `version`: `value` is asked and encoded only if the
    /// previous cut of this run held the piece with another version or not at all.
    pub fn put_version<T: Serialize>(
        &mut self,
        name: &str,
        version: u64,
        value: impl FnOnce() -> T,
    ) {
        if self.versions.get(name) == Some(&version) {
            self.pieces.push(Piece { name: name.into(), content: PieceContent::Same });
        } else {
            self.push(name, encode(&value()));
        }
        self.seen.insert(name.into(), version);
    }

    fn push(&mut self, name: &str, bytes: Vec<u8>) {
        self.pieces.push(Piece { name: name.into(), content: PieceContent::New(bytes) });
    }

    /// The pieces, in the order they were put.
    pub fn finish(self) -> Vec<Piece> {
        *self.versions = self.seen;
        self.pieces
    }
}

/// A value in the format of pieces: postcard.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Encoding into memory fails only for types that do not know their length, which no state has; the
    // empty piece would be refused by whoever reads it.
    postcard::to_allocvec(value).unwrap_or_default()
}

/// What one worker had put, by piece.
#[derive(Clone, Debug, Default)]
pub struct Share {
    pub(super) operator: Arc<str>,
    pub(super) pieces: BTreeMap<Box<str>, Bytes>,
}

/// A range of an object that was read whole.
#[derive(Clone, Debug)]
pub(super) struct Bytes {
    pub(super) object: Arc<[u8]>,
    pub(super) range: std::ops::Range<usize>,
}

impl Bytes {
    fn get(&self) -> &[u8] {
        self.object.get(self.range.clone()).unwrap_or_default()
    }
}

impl Share {
    /// The piece `name`, or `None` when the worker had put none.
    ///
    /// # Errors
    /// [`StateError::Unreadable`].
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let Some(bytes) = self.pieces.get(name) else { return Ok(None) };
        match postcard::take_from_bytes(bytes.get()) {
            Ok((value, [])) => Ok(Some(value)),
            Ok((_, rest)) => Err(self.unreadable(name, format!("{} bytes too many", rest.len()))),
            Err(error) => Err(self.unreadable(name, error.to_string())),
        }
    }

    fn unreadable(&self, piece: &str, reason: String) -> StateError {
        StateError::Unreadable {
            operator: self.operator.to_string(),
            piece: piece.to_owned(),
            reason,
        }
    }

    /// Names of all pieces that begin with `prefix`, in order.
    pub fn names(&self, prefix: &str) -> impl Iterator<Item = &str> {
        let from = std::ops::Bound::Included(prefix);
        let range = self.pieces.range::<str, _>((from, std::ops::Bound::Unbounded));
        range.map(|(name, _)| name.as_ref()).take_while(move |name| name.starts_with(prefix))
    }
}

/// The state of one operator as all workers of the run that wrote it had put it.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// One for each worker that put anything.
    pub shares: Vec<Share>,
}

impl Restored {
    /// The state that these pieces make up, as if each list had been put by a worker of its own: for tests
    /// of operators. A piece with [`PieceContent::Same`] counts as missing.
    pub fn from_pieces(operator: &str, workers: Vec<Vec<Piece>>) -> Self {
        let share = |pieces: Vec<Piece>| {
            let pieces = pieces.into_iter().filter_map(|piece| match piece.content {
                PieceContent::Same => None,
                PieceContent::New(bytes) => {
                    let range = 0..bytes.len();
                    Some((piece.name, Bytes { object: bytes.into(), range }))
                }
            });
            Share { operator: operator.into(), pieces: pieces.collect() }
        };
        Restored { shares: workers.into_iter().map(share).collect() }
    }

    /// Whether no worker had put anything.
    pub fn is_empty(&self) -> bool {
        self.shares.iter().all(|share| share.pieces.is_empty())
    }
}

/// An operator whose state survives: it can be written down between two panes, and taken over by any
/// number of workers.
///
/// The state written at a cut holds exactly the effect of what is admitted before it. A restored operator
/// is given nothing admitted before the cut again.
///
/// ```
/// use std::collections::BTreeMap;
/// use tidewatch_dataflow::checkpoint::{Checkpointed, PieceWriter, Restored, Shard, StateError};
/// use tidewatch_dataflow::series::StableHash;
/// use tidewatch_dataflow::time::EventTime;
///
/// #[derive(Default)]
/// struct Visits(BTreeMap<String, u64>);
///
/// impl Checkpointed for Visits {
///     fn snapshot(&mut self, pieces: &mut PieceWriter<'_>) {
///         pieces.put("visits", &self.0);
///     }
///     fn restore(&mut self, state: &Restored, shard: Shard, _: EventTime) -> Result<(), StateError> {
///         for share in &state.shares {
///             let visits: BTreeMap<String, u64> = share.get("visits")?.unwrap_or_default();
///             let own = visits.into_iter().filter(|(page, _)| {
///                 let mut hash = StableHash::default();
///                 hash.write(page.as_bytes());
///                 shard.owns(hash.finish())
///             });
///             self.0.extend(own);
///         }
///         Ok(())
///     }
/// }
///
/// // One worker writes, three go on.
/// let mut before = Visits((0..100).map(|page| (format!("page {page}"), page)).collect());
/// let mut versions = BTreeMap::new();
/// let mut pieces = PieceWriter::new(&mut versions);
/// before.snapshot(&mut pieces);
/// let state = Restored::from_pieces("visits", vec![pieces.finish()]);
/// let mut after = BTreeMap::new();
/// for index in 0..3 {
///     let mut visits = Visits::default();
///     visits.restore(&state, Shard { index, peers: 3 }, EventTime::MIN).unwrap();
///     assert!(!visits.0.is_empty());
///     after.extend(visits.0);
/// }
/// assert_eq!(after, before.0);
/// ```
pub trait Checkpointed {
    /// Puts the whole state, split into pieces as suits it.
    fn snapshot(&mut self, pieces: &mut PieceWriter<'_>);

    /// Takes over what `shard` owns of `state`, which was cut at `at` by perhaps another number of workers.
    /// Called once, before anything is applied.
    ///
    /// # Errors
    /// [`StateError`]; the operator is not used then.
    fn restore(&mut self, state: &Restored, shard: Shard, at: EventTime) -> Result<(), StateError>;
}
