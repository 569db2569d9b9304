//! The plain column format.
//!
//! ```text
//! ┌────────┬───────────────────────┬─────────┬───────────────────────┬─────────┬───
//! │ header │ field 1 of all records│ padding │ field 2 of all records│ padding │ …
//! └────────┴───────────────────────┴─────────┴───────────────────────┴─────────┴───
//!   8 bytes   4 or 8 bytes each, little-endian; zeros up to a multiple of 8
//! ```
//!
//! It is written and read without `unsafe`: values are moved by their little-endian bytes, which on a
//! little-endian machine the compiler turns into plain moves.

use std::io::{self, Write};

use super::{Batch, Codec, ColumnReader, Pod, WireError, header};

/// The first version of the format.
const FORMAT: u8 = 0xc1;

/// Batches of plain records that travel as plain columns.
pub type Columns<R> = Batch<R, ColumnCodec>;

/// Plain little-endian columns: a field of all records, then the next field.
#[derive(Copy, Clone, Debug, Default)]
pub struct ColumnCodec;

/// Bytes of the columns of `count` records. Saturates.
fn body_bytes<R: Pod>(count: u64) -> u64 {
    R::FIELDS.iter().fold(0, |bytes: u64, kind| bytes.saturating_add(kind.column_bytes(count)))
}

impl<R: Pod> Codec<R> for ColumnCodec {
    fn encoded_bytes(records: &[R]) -> usize {
        // What is in memory, where a record is at least as large, is fewer than `usize::MAX`.
        header::HEADER_BYTES + body_bytes::<R>(records.len() as u64) as usize
    }

    fn encode<W: Write>(records: &[R], writer: &mut W) -> io::Result<()> {
        writer.write_all(&header::encode::<R>(FORMAT, records.len()))?;
        R::write_columns(records, writer)
    }

    fn decode(bytes: &[u8]) -> Result<Vec<R>, WireError> {
        let (count, body) = header::decode::<R>(FORMAT, bytes, body_bytes::<R>)?;
        R::read_columns(&mut ColumnReader::new(body, count))
            .ok_or(WireError::Fields { record: std::any::type_name::<R>() })
    }
}
