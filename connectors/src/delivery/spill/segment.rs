//! Segments: items in order, written as one object of the state store; how a segment is laid out, and how
//! a checkpoint names one.
//!
//! ```text
//!  "TWSP" │ version u32 │ first sequence u64 │ items u64 │ the items, postcard, one after another │ crc32 u32
//! ```
//! Numbers are little-endian; the checksum covers everything before it.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidewatch_dataflow::checkpoint::StoreError;

const MAGIC: &[u8] = b"TWSP";
const VERSION: u32 = 1;
const HEADER: usize = 4 + 4 + 8 + 8;
const CHECKSUM: usize = 4;

/// 16 MiB: a segment is ended before it grows beyond this, one larger item excepted. It is written from and
/// read into one buffer, so this is also what a sink adds to memory while it writes or reads.
pub(super) const SEGMENT_BYTES: u64 = 16 << 20;

/// Why spilled items cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The store has no such object, could not be reached or refused.
    #[error("could not read the spilled items in `{name}`")]
    Unreadable {
        /// Name of the segment's object.
        name: String,
        /// The cause.
        #[source]
        source: StoreError,
    },
    /// The object is not what was written.
    #[error(
        "the spilled items in `{name}` are damaged: {reason}; put the object back from a copy, or start from \
         an older checkpoint"
    )]
    Damaged {
        /// Name of the segment's object.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Items were offered before, which the restored ones would have to overtake.
    #[error("could not restore spilled items of `{sink}`: it was offered items before")]
    Late {
        /// The sink.
        sink: String,
    },
    /// The sink has no store to read them from.
    #[error(
        "could not restore spilled items of `{sink}`: it was started without a spill; give it the state store \
         that holds them"
    )]
    NoSpill {
        /// The sink.
        sink: String,
    },
}

/// Names a segment, and which of its items are still to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRef {
    /// Name of the object in the state store.
    pub name: String,
    /// Sequence number of its first item, in the run that wrote it.
    pub first_sequence: u64,
    /// How many items it holds.
    pub items: u64,
    /// Size of the object in bytes.
    pub bytes: u64,
    /// The crc32 at its end.
    pub checksum: u32,
    /// How many of its first items are not to be sent: they were settled before.
    pub skip: u64,
    /// How many of the items after those are to be sent; the others lie behind the mark, and are offered again.
    pub take: u64,
}

/// What a restore needs to send every item before a mark that was not settled.
///
/// ```
/// use tidewatch_connectors::delivery::{SegmentRef, SinkState};
/// let mut state = SinkState { mark: 10, settled: 10, segments: Vec::new() };
/// assert_eq!(state.unsettled(), 0);
/// let name = "spill/00000007-p0-influxdb/00000000".to_owned();
/// let checksum = 0x2144_df1c;
/// state.segments.push(SegmentRef { name, first_sequence: 6, items: 5, bytes: 80, checksum, skip: 1, take: 3 });
/// assert_eq!(state.unsettled(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkState {
    /// Sequence number that follows the last item this speaks of.
    pub mark: u64,
    /// How many of the items before the mark were delivered or rejected.
    pub settled: u64,
    /// The segments with the others, in order.
    pub segments: Vec<SegmentRef>,
}

impl SinkState {
    /// How many items a restore sends. A few more than were unsettled when a receipt had singled out items
    /// for another attempt: those between two of them are sent again.
    pub fn unsettled(&self) -> u64 {
        self.segments.iter().map(|segment| segment.take).sum()
    }
}

type Decode<Item> = fn(&[u8]) -> postcard::Result<(Item, &[u8])>;

/// Turns items into bytes and back, so that only who starts a sink must know that they can be.
#[derive(Debug)]
pub(in crate::delivery) struct Codec<Item> {
    encode: fn(&Item, Vec<u8>) -> postcard::Result<Vec<u8>>,
    decode: Decode<Item>,
}

impl<Item> Clone for Codec<Item> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Item> Copy for Codec<Item> {}

impl<Item: Serialize + DeserializeOwned> Codec<Item> {
    pub(in crate::delivery) fn postcard() -> Self {
        Codec {
            encode: |item, buffer| postcard::to_extend(item, buffer),
            decode: |bytes| postcard::take_from_bytes(bytes),
        }
    }
}

impl<Item> Codec<Item> {
    /// The items of a segment with these indexes.
    ///
    /// # Errors
    /// What is wrong with `bytes`, which are not what `segment` names.
    pub(super) fn read(
        self,
        segment: &SegmentRef,
        bytes: &[u8],
        indexes: Range<u64>,
    ) -> Result<Vec<Item>, String> {
        if bytes.len() as u64 != segment.bytes {
            return Err(format!("it has {} bytes instead of {}", bytes.len(), segment.bytes));
        }
        let parts = bytes.split_at_checked(HEADER).and_then(|(header, rest)| {
            let (body, _) = rest.split_at_checked(rest.len().checked_sub(CHECKSUM)?)?;
            Some((header, body))
        });
        let Some((header, mut body)) = parts else {
            return Err("it is too short".to_owned());
        };
        let checksum = crc32fast::hash(bytes.get(..HEADER + body.len()).unwrap_or_default());
        let end = bytes.get(HEADER + body.len()..).unwrap_or_default();
        if checksum != segment.checksum || end != checksum.to_le_bytes() {
            return Err("its checksum is wrong".to_owned());
        }
        if header != Self::header(segment.first_sequence, segment.items) {
            return Err("its header is not that of version 1 of these items".to_owned());
        }
        if indexes.end > segment.items {
            return Err(format!("item {} of {} is wanted", indexes.end, segment.items));
        }
        let expected = usize::try_from(indexes.end.saturating_sub(indexes.start)).unwrap_or(0);
        let mut items = Vec::with_capacity(expected);
        for index in 0..indexes.end {
            let (item, rest) =
                (self.decode)(body).map_err(|error| format!("item {index}: {error}"))?;
            body = rest;
            if index >= indexes.start {
                items.push(item);
            }
        }
        Ok(items)
    }

    fn header(first_sequence: u64, items: u64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let fields = MAGIC.iter().copied().chain(VERSION.to_le_bytes());
        let fields = fields.chain(first_sequence.to_le_bytes()).chain(items.to_le_bytes());
        header.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        header
    }
}

/// Checks a segment's object by what it says of itself, whatever its items are; gives how many it holds.
///
/// # Errors
/// What is wrong with it.
pub fn verify_segment(bytes: &[u8]) -> Result<u64, String> {
    let parts = bytes.split_last_chunk::<CHECKSUM>();
    let Some((content, checksum)) = parts.filter(|(content, _)| content.len() >= HEADER) else {
        return Err("it is too short".to_owned());
    };
    if crc32fast::hash(content).to_le_bytes() != *checksum {
        return Err("its checksum is wrong".to_owned());
    }
    let items = content.get(HEADER - 8..HEADER).and_then(|items| items.try_into().ok());
    let is_known = content.starts_with(MAGIC)
        && content.get(MAGIC.len()..).is_some_and(|rest| rest.starts_with(&VERSION.to_le_bytes()));
    match items.map(u64::from_le_bytes).filter(|_| is_known) {
        Some(items) => Ok(items),
        None => Err("it is no segment of version 1".to_owned()),
    }
}

/// A segment being made.
pub(super) struct SegmentWriter<Item> {
    codec: Codec<Item>,
    buffer: Vec<u8>,
    items: u64,
}

impl<Item> SegmentWriter<Item> {
    pub(super) fn new(codec: Codec<Item>) -> Self {
        SegmentWriter { codec, buffer: vec![0; HEADER], items: 0 }
    }

    /// Adds `item` unless the object would then be larger than `bytes_max`; whether it did.
    pub(super) fn push(&mut self, item: &Item, bytes_max: u64) -> postcard::Result<bool> {
        let length = self.buffer.len();
        self.buffer = (self.codec.encode)(item, std::mem::take(&mut self.buffer))?;
        let fits = (self.buffer.len() + CHECKSUM) as u64 <= bytes_max;
        if fits {
            self.items += 1;
        } else {
            self.buffer.truncate(length);
        }
        Ok(fits)
    }

    pub(super) fn items(&self) -> u64 {
        self.items
    }

    /// The object, and what names it.
    pub(super) fn finish(mut self, first_sequence: u64) -> (SegmentRef, Vec<u8>) {
        let header = Codec::<Item>::header(first_sequence, self.items);
        self.buffer.iter_mut().zip(header).for_each(|(byte, field)| *byte = field);
        let checksum = crc32fast::hash(&self.buffer);
        self.buffer.extend_from_slice(&checksum.to_le_bytes());
        let segment = SegmentRef {
            name: String::new(),
            first_sequence,
            items: self.items,
            bytes: self.buffer.len() as u64,
            checksum,
            skip: 0,
            take: self.items,
        };
        (segment, self.buffer)
    }
}
