//! The word that every batch begins with: format, fields, number of records.
//!
//! ```text
//! bit 63      56 55                40 39                                    0
//!     ┌─────────┬────────────────────┬───────────────────────────────────────┐
//!     │ format  │ hash of the fields │ number of records                     │   little-endian
//!     └─────────┴────────────────────┴───────────────────────────────────────┘
//! ```
//!
//! Forty bits for the number of records cannot be too few: 2^40 of the least records, of one `u32`, take
//! 4 TiB. The hash tells records of other fields apart, all but one pair in 65,536, and with the length,
//! which has to fit to the byte, the odds that foreign bytes pass are smaller still. It is no checksum:
//! the transport has one.

use super::{Kind, Pod, WireError};

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = size_of::<u64>();

const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const FORMAT_BIT: u32 = 56;

/// The header of `count` records.
pub(super) fn encode<R: Pod>(format: u8, count: usize) -> [u8; HEADER_BYTES] {
    let fields = u64::from(const { hash(R::FIELDS) });
    let word = (u64::from(format) << FORMAT_BIT) | (fields << COUNT_BITS) | count as u64;
    word.to_le_bytes()
}

/// The number of records and what follows the header, when it is as long as `body_bytes` says for so many.
pub(super) fn decode<R: Pod>(
    format: u8,
    bytes: &[u8],
    body_bytes: impl Fn(u64) -> u64,
) -> Result<(usize, &[u8]), WireError> {
    let record = std::any::type_name::<R>();
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(WireError::NoHeader { record, found: bytes.len() });
    };
    let word = u64::from_le_bytes(*header);
    let found = (word >> FORMAT_BIT) as u8;
    if found != format {
        return Err(WireError::Format { record, found, expected: format });
    }
    if (word >> COUNT_BITS) as u16 != const { hash(R::FIELDS) } {
        return Err(WireError::Fields { record });
    }
    let count = word & COUNT_MASK;
    let expected = body_bytes(count).saturating_add(HEADER_BYTES as u64);
    let found = bytes.len() as u64;
    match usize::try_from(count) {
        Ok(count) if expected == found => Ok((count, body)),
        _ => Err(WireError::Length { record, found, expected }),
    }
}

/// FNV-1a of the kinds, folded to 16 bits.
const fn hash(fields: &[Kind]) -> u16 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut rest = fields;
    while let [kind, others @ ..] = rest {
        hash = (hash ^ *kind as u64).wrapping_mul(0x0100_0000_01b3);
        rest = others;
    }
    (hash ^ (hash >> 16) ^ (hash >> 32) ^ (hash >> 48)) as u16
}
